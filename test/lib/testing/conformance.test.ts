import { describe, expect, it } from "vitest";
import { dryRun } from "../../../lib/backends/dry-run.ts";
import type { RuleBackend } from "../../../lib/backends/index.ts";
import {
  type BackendUnderTest,
  backendConformance,
  comesPast,
  MemoryBackend,
  MemoryFirewall,
} from "../../../lib/testing/index.ts";
import { FAULTY } from "./faulty-backends.ts";

/** A backend of a firewall in memory, with all that lets the kit see what it does. */
function inMemory(make: (firewall: MemoryFirewall) => RuleBackend): BackendUnderTest {
  const firewall = new MemoryFirewall();
  return {
    create: () => make(firewall),
    passes: (packet, guest) => comesPast(firewall.send(guest, packet)),
    disturbances: {
      "somebody takes a pattern out": (guest) => {
        const [first] = firewall.held(guest).keys();
        firewall.held(guest).delete(first!);
      },
      "somebody takes all out": (guest) => firewall.held(guest).clear(),
    },
  };
}

/** What the case says, if it fails. */
async function failure(subject: BackendUnderTest, name: string): Promise<string | null> {
  const found = backendConformance(subject).find((one) => one.name === name)!;
  expect(found.skip).toBe(null);
  return found.run().then(
    () => null,
    (error: Error) => error.message,
  );
}

describe("the backend in memory", () => {
  const backends: MemoryBackend[] = [];
  const subject: BackendUnderTest = {
    ...inMemory((firewall) => {
      const backend = new MemoryBackend(firewall);
      backends.push(backend);
      return backend;
    }),
    breakNextChange: (guest) => {
      for (const backend of backends) if (backend.scope?.id === guest) backend.failures.push(new Error("broken"));
    },
  };
  for (const { name, skip, run } of backendConformance(subject)) it.skipIf(skip !== null)(name, run);
});

describe("the dry run", () => {
  const cases = backendConformance({ create: () => dryRun({ write: () => {} }), outlivesAgent: false });
  for (const { name, skip, run } of cases) it.skipIf(skip !== null)(name, run);
});

it("a backend without leases is not opened with one", async () => {
  class Lasting extends MemoryBackend {
    override capabilities = { ...new MemoryBackend().capabilities, leases: false };

    override open(...[scope, options]: Parameters<MemoryBackend["open"]>): Promise<void> {
      return options.leaseMs === null ? super.open(scope, options) : Promise.reject(new Error("a lease"));
    }
  }
  expect(
    await failure(
      inMemory((firewall) => new Lasting(firewall)),
      "lets go when its lease ends, if it says so",
    ),
  ).toBe(null);
});

describe("a backend that", () => {
  const found: Record<keyof typeof FAULTY, [name: string, message: RegExp]> = {
    "is not atomic": ["holds the old plan or the new one when a change is aborted", /neither the old plan nor the new/],
    "forgets on close": ["leaves what is in force when it is closed to keep it", /missing: "/],
    "ignores exceptions": ["honours exceptions", /missing: ".* accept"/],
    "loses order": ["keeps the order in which patterns decide", /stands ahead of/],
    "does not adopt": ["adopts what an earlier agent of the guest left", /`added` tells, not asked for/],
  };
  for (const [fault, make] of Object.entries(FAULTY)) {
    const [name, message] = found[fault as keyof typeof FAULTY];
    it(`${fault} is found, by what it says itself`, async () => {
      const firewall = new MemoryFirewall();
      expect(await failure({ create: () => make(firewall) }, name)).toMatch(message);
    });
    it(`${fault} is found with a probe`, async () => {
      expect(await failure(inMemory(make), name)).not.toBe(null);
    });
  }

  it("says that it holds what it does not is found by what becomes of packets", async () => {
    const firewall = new MemoryFirewall();
    const blind = { create: () => new MemoryBackend(firewall), passes: () => true };
    const name = "holds each kind of pattern that it can, and lets all go for an empty plan";
    expect(await failure(blind, name)).toMatch(/came past, and ".*" decides on it/);
  });
});
