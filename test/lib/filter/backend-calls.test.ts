import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { XFilterError } from "../../../lib/errors.ts";
import { createFilter, type Filter, type FilterEvent } from "../../../lib/filter/index.ts";
import { MemoryBackend } from "../../../lib/testing/memory-backend.ts";
import { MemoryGuest } from "../../../lib/testing/memory-guest.ts";

let guest: MemoryGuest;
let backend: MemoryBackend;
let filter: Filter;

beforeEach(() => {
  guest = new MemoryGuest();
  guest.processes = [{ pid: 103, uid: 1003 }];
  guest.flows = [{ pid: 103, localPort: 40003, remotePort: 22 }];
  backend = new MemoryBackend();
  filter = make();
});

afterEach(() => filter.stop().catch(() => {}));

function make(): Filter {
  const rules = ["deny tcp from any to any 22 out uid 1003"];
  return createFilter({ guest: guest.asGuest(), backend, id: "vm1", rules, intervalMs: 5 });
}

async function failure(): Promise<XFilterError> {
  const events: AsyncIterable<FilterEvent> = filter.events();
  for await (const event of events) if (event.type === "failed") return event.error;
  throw new Error("The filter ended without a failure.");
}

describe("what a backend throws that knows nothing of the library's codes", () => {
  it("is a failure of that backend, with the cause, where the filter starts", async () => {
    const cause = new Error("connect ECONNREFUSED 192.0.2.1:443");
    backend.failures.push(cause);
    await expect(filter.start()).rejects.toMatchObject({
      ...{ name: "XFilterError", code: "BACKEND_FAILED", cause },
      message: expect.stringMatching(
        /^The backend memory failed in reconcile\(\): connect ECONNREFUSED 192\.0\.2\.1:443\./,
      ),
      advice: expect.stringMatching(/cause/),
    });
  });

  it("is told as such where the filter runs, and tried again", async () => {
    await filter.start();
    const failed = failure();
    backend.failures.push(Object.assign(new Error("no room"), { code: "ENOSPC" }));
    guest.flows = [...guest.flows, { pid: 103, localPort: 40004, remotePort: 22 }];
    expect(await failed).toMatchObject({ code: "BACKEND_FAILED", cause: { code: "ENOSPC" } });
    await expect.poll(() => backend.held.size).toBe(2);
  });

  it("is told so where it is no error at all, or thrown at once", async () => {
    backend.open = () => {
      throw null;
    };
    await expect(filter.start()).rejects.toMatchObject({
      code: "BACKEND_FAILED",
      message: expect.stringMatching(/in open\(\): null/),
    });
  });

  it("is told so by stop(), too", async () => {
    await filter.start();
    backend.close = async () => {
      throw new Error("busy");
    };
    await expect(filter.stop()).rejects.toMatchObject({
      code: "BACKEND_FAILED",
      message: expect.stringMatching(/in close\(\): busy/),
    });
  });

  it("is told so of a time limit of its own: nobody aborted", async () => {
    backend.failures.push(new DOMException("The operation was aborted due to timeout", "TimeoutError"));
    await expect(filter.start()).rejects.toMatchObject({ code: "BACKEND_FAILED" });
  });
});

it("a backend's error that has one of the library's codes stays what it is", async () => {
  const advice = "Ask the administrator.";
  backend.failures.push(Object.assign(new Error("Not yours."), { code: "BACKEND_PERMISSION", advice }));
  await expect(filter.start()).rejects.toMatchObject({ code: "BACKEND_PERMISSION", advice });
});

it("whatever a backend throws after it was aborted, is the abort", async () => {
  const begun = new Promise<void>((resolve) => {
    backend.during = async (signal) => {
      resolve();
      await new Promise((aborted) => signal.addEventListener("abort", aborted));
      throw new Error("the connection was closed");
    };
  });
  const start = filter.start();
  await begun;
  await Promise.all([filter.stop(), expect(start).rejects.toMatchObject({ code: "CLOSED" })]);
});

describe("a backend that does not keep to its contract", () => {
  it.each(["inspect", "reconcile"] as const)("is told by its name where %s() answers nothing", async (method) => {
    Object.assign(backend, { [method]: async () => undefined });
    const message = new RegExp(`backend memory answered ${method}\\(\\)`);
    await expect(filter.start()).rejects.toMatchObject({
      code: "BACKEND_FAILED",
      message: expect.stringMatching(message),
    });
  });

  it("is refused at once where it lacks a method or its capabilities", () => {
    Object.assign(backend, { close: undefined });
    expect(make).toThrow(/backend is no RuleBackend, which has open, inspect, reconcile, close/);
  });
});
