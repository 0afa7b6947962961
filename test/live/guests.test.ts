import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Guest, introspect, type Target } from "../../lib/index.ts";
import { type LiveGuest, startLive } from "../../vmcore-fixtures/live.ts";
import { recipes } from "../../vmcore-fixtures/recipes.ts";
import { type ChurnTally, walkUnderChurn } from "./tally.ts";
import { differencesFromTruth, log } from "./truth.ts";

async function attached<T>(target: Target, body: (guest: Guest) => Promise<T>): Promise<T> {
  const guest = await introspect(target);
  try {
    return await body(guest);
  } finally {
    await guest.close();
  }
}

describe.each([
  { name: "linux-6.1", ram: "shared-file" },
  { name: "linux-6.1", ram: "private" },
  { name: "linux-7.2", ram: "memfd" },
  { name: "linux-7.2", ram: "private" },
] as const)("$name with $ram memory, a disk and a NIC", ({ name, ram }) => {
  const abort = new AbortController();
  let live: LiveGuest;

  beforeAll(async () => {
    const recipe = recipes.find((candidate) => candidate.name === name)!;
    live = await startLive(recipe, { ram, disk: true, nic: true, signal: abort.signal });
  });

  afterAll(async () => {
    await live?.close();
    abort.abort();
  });

  it("is read by its QMP socket as it says of itself", async () => {
    const found = await attached({ qemu: { qmp: live.qmp } }, (guest) => differencesFromTruth(live, guest));
    expect(found).toEqual([]);
  });

  it("is read by its process id as it says of itself", async () => {
    const found = await attached({ qemu: { pid: live.pid } }, (guest) => differencesFromTruth(live, guest));
    expect(found).toEqual([]);
  });

  it("tells its card from what its kernel makes itself, by its namespace's devices", async () => {
    const { networkNamespaces } = await attached({ qemu: { qmp: live.qmp } }, (guest) => guest.snapshot());
    const [initial] = networkNamespaces.filter(({ initial }) => initial);
    expect(initial?.devices?.filter(({ physical }) => physical)).toEqual([
      expect.objectContaining({ mac: "52:54:00:12:34:56", addresses: expect.arrayContaining(["10.0.3.15"]) }),
    ]);
    expect(initial?.devices?.map(({ name }) => name)).toContain("dummy0");
  });

  it("has a network of QEMU's own, which the host's netfilter does not see", async () => {
    const interfaces = (target: Target) => attached(target, (guest) => guest.interfaces());
    await expect(interfaces({ qemu: { qmp: live.qmp } })).rejects.toMatchObject({ code: "INTERFACE_UNSEEN" });
    await expect(interfaces({ qemu: { pid: live.pid } })).rejects.toMatchObject({ code: "INTERFACE_NOT_FOUND" });
  });

  describe("while its users churn", () => {
    let tally: ChurnTally;

    beforeAll(async () => {
      const run = { walks: 2000, seconds: 20, atLeast: 50 };
      tally = await attached({ qemu: { qmp: live.qmp } }, (guest) => walkUnderChurn(live, guest, run));
      const { examples, elapsed: _, ...counts } = tally;
      log(`${name}, ${ram}: ${JSON.stringify(counts)}`);
      for (const example of examples) log(`${name}, ${ram}: ${example}`);
    });

    it("is walked over while processes come and go, and no walk fails", () => {
      expect(tally.processes).toBeGreaterThan(50);
      expect(tally.errors).toEqual({});
    });

    it("gives nobody's port to another", () => {
      expect(tally.findings.falseAttributions).toEqual({ total: 0, walks: 0 });
    });

    it("misses nothing that stays without saying that it left something out, which it seldom does", () => {
      expect(tally.findings.untold).toEqual({ total: 0, walks: 0 });
      expect(tally.findings.missing.walks).toBeLessThanOrEqual(Math.ceil(tally.walks / 100));
    });

    it("takes no process for hidden because it comes or goes", () => {
      expect(tally.findings.discrepancies).toEqual({ total: 0, walks: 0 });
    });
  });
});
