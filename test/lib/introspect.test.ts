import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Worker } from "node:worker_threads";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Guest, introspect } from "../../lib/index.ts";
import { unpack } from "../../vmcore-fixtures/unpack.ts";

let image: string;
const folder = mkdtempSync(join(tmpdir(), "xfilter-introspect-"));

beforeAll(async () => {
  ({ image } = await unpack());
});
afterAll(() => rmSync(folder, { recursive: true }));

/** A file with this content. */
function file(name: string, content: Uint8Array | string): string {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
}

async function withGuest<T>(use: (guest: Guest) => Promise<T>): Promise<T> {
  const guest = await introspect(image);
  try {
    return await use(guest);
  } finally {
    await guest.close();
  }
}

describe("introspect", () => {
  it("finds the kernel of a guest, and tells how", async () => {
    const { release, banner, steps, format } = await withGuest(async ({ kernel }) => kernel);
    expect(banner).toContain(`Linux version ${release} `);
    expect(format).toBe("elf");
    expect(steps.map(({ name }) => name)).toEqual(expect.arrayContaining(["memory", "kallsyms", "btf", "layout"]));
  });
  it.each([
    ["no file", () => join(folder, "nowhere"), "SOURCE_NOT_FOUND"],
    ["a folder", () => folder, "SOURCE_FORMAT"],
    ["an empty file", () => file("empty", ""), "SOURCE_FORMAT"],
    ["memory without a kernel", () => file("zeros", new Uint8Array(8 << 20)), "KERNEL_NOT_FOUND"],
    ["the head of an ELF file and nothing else", () => file("head", "\x7fELF\x02\x01\x01"), "SOURCE_TRUNCATED"],
  ])("rejects %s with what happened and what to do", async (_, path, code) => {
    const error = await introspect(path()).catch((reason: unknown) => reason);
    expect(error).toMatchObject({ name: "XFilterError", code, advice: expect.stringMatching(/\.$/) });
  });
  it("says so when the given types are none", async () => {
    const types = file("types.btf", "these are no types");
    await expect(introspect(image, { types })).rejects.toMatchObject({ code: "TYPES_INVALID" });
  });
  const wrong = [{ attachBudgetMs: 0 }, { walkBudgetMs: 0 }, { walkBudgetMs: 1.5 }, { walkBudgetMs: Number.NaN }];
  it.each(wrong)("rejects the option %j as out of range", async (options) => {
    const error = { name: "RangeError", code: "ERR_INVALID_OPTION" };
    await expect(introspect(image, options as never)).rejects.toMatchObject(error);
  });
  it.each([
    { types: 1 },
    { types: {} },
    { symbols: "" },
    { profile: "p", types: "t" },
    { signal: {} },
    { walkBudgetMs: "1" },
    { keepMappings: true },
    { keepMappings: "no" },
    { typse: {} },
    null,
    "map",
  ])("rejects the option %j as of the wrong type", async (options) => {
    const error = { name: "TypeError", code: "ERR_INVALID_OPTION" };
    await expect(introspect(image, options as never)).rejects.toMatchObject(error);
  });
  it("names the option that it does not know", async () => {
    const unknown = introspect(image, { walkBudget: 5 } as never);
    await expect(unknown).rejects.toThrow(
      '"walkBudget" is not among the options, which are signal, types, symbols, profile, memoryMap, consistency, attachBudgetMs, walkBudgetMs, pauseBudgetMs, keepMappings.',
    );
  });
  it("gives up when its time is up", async () => {
    // The types alone, 4 MB to check to the last one, take longer on any machine.
    await expect(introspect(image, { attachBudgetMs: 1 })).rejects.toMatchObject({ code: "ATTACH_BUDGET" });
  });
  it("rejects with the signal's reason, before and while it searches", async () => {
    const reason = new Error("enough");
    await expect(introspect(image, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    const abort = new AbortController();
    const attached = introspect(image, { signal: abort.signal });
    abort.abort(reason);
    await expect(attached).rejects.toBe(reason);
  });
});

describe("a guest's snapshot", () => {
  it("has the first processes", async () => {
    const snapshot = await withGuest((guest) => guest.snapshot());
    expect(snapshot.process(1)).toMatchObject({ pid: 1, ppid: 0, kernelThread: false });
    expect(snapshot.process(2)).toMatchObject({ comm: "kthreadd", kernelThread: true });
    expect(snapshot.quality).toMatchObject({ processes: snapshot.processes.length, badPointers: 0 });
  });
  it("is the same whenever it is taken from an image", async () => {
    const [first, second] = await withGuest((guest) => Promise.all([guest.snapshot(), guest.snapshot()]));
    expect({ ...second?.toJSON(), quality: null }).toEqual({ ...first?.toJSON(), quality: null });
  });
  it("agrees with itself on who owns what", async () => {
    const snapshot = await withGuest((guest) => guest.snapshot());
    expect(snapshot.sockets.length).toBeGreaterThan(0);
    for (const socket of snapshot.sockets) {
      for (const { pid } of socket.owners) expect(snapshot.socketsOf(pid)).toContain(socket);
    }
  });
  it("rejects with the signal's reason when aborted", async () => {
    const reason = new Error("enough");
    await withGuest(async (guest) => {
      await expect(guest.snapshot({ signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    });
  });
  it("is finished before close() lets go of the image", async () => {
    const guest = await introspect(image);
    const snapshots = Array.from({ length: 8 }, () => guest.snapshot());
    await guest.close();
    for (const snapshot of await Promise.all(snapshots)) expect(snapshot.process(1)?.pid).toBe(1);
    await expect(guest.snapshot()).rejects.toMatchObject({ code: "CLOSED" });
  });
});

describe("worker threads", () => {
  const lib = JSON.stringify(join(import.meta.dirname, "../../dist/index.cjs"));
  const program = (work: string) => `
    const { parentPort, workerData } = require("node:worker_threads");
    const { introspect } = require(${lib});
    (async () => {
      const guest = await introspect(workerData);
      ${work}
    })();`;

  function worker(work: string): Worker {
    return new Worker(program(work), { eval: true, workerData: image });
  }
  const message = (from: Worker) =>
    new Promise((resolve, reject) => from.once("message", resolve).once("error", reject));

  it("each attach for themselves", async () => {
    const work = "parentPort.postMessage((await guest.snapshot()).processes.length); await guest.close();";
    const counts = await Promise.all([worker(work), worker(work)].map(message));
    expect(counts[0]).toBeGreaterThan(1);
    expect(counts[1]).toBe(counts[0]);
  });
  it("may be ended in the middle of a walk, and the others go on", async () => {
    const endless =
      "parentPort.postMessage('walking'); for (;;) await Promise.all([guest.snapshot(), guest.snapshot()]);";
    const ended = worker(endless);
    await message(ended);
    await ended.terminate();
    expect((await withGuest((guest) => guest.snapshot())).process(1)?.pid).toBe(1);
  });
  it("may be ended while a guest is searched", async () => {
    const searching = new Worker(
      `const { introspect } = require(${lib});
       const { parentPort, workerData } = require("node:worker_threads");
       introspect(workerData).catch(() => {});
       parentPort.postMessage("searching");`,
      { eval: true, workerData: image },
    );
    await message(searching);
    await searching.terminate();
    expect((await withGuest((guest) => guest.snapshot())).process(1)?.pid).toBe(1);
  });
});
