import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { introspect, type Target } from "../../lib/index.ts";
import { type LiveGuest, type LiveOptions, startLive } from "../../vmcore-fixtures/live.ts";
import { type Recipe, recipes } from "../../vmcore-fixtures/recipes.ts";
import { differencesFromTruth } from "./truth.ts";

const MEBIBYTES = 160;
const small = { ...recipes.find(({ name }) => name === "linux-6.1-small")!, memory: `${MEBIBYTES}M` };

async function within(recipe: Recipe, ram: LiveOptions["ram"], use: (live: LiveGuest) => Promise<void>): Promise<void> {
  const live = await startLive(recipe, { ram, signal: new AbortController().signal });
  try {
    await use(live);
  } finally {
    await live.close();
  }
}

/** Where what is read is not what the guest says, and the MiB of its RAM. */
async function reading(live: LiveGuest, target: Target): Promise<{ differences: string[]; mebibytes: number }> {
  const guest = await introspect(target);
  try {
    const differences = await differencesFromTruth(live, guest);
    const { quality } = await guest.snapshot();
    expect(quality).toMatchObject({ badPointers: 0, torn: 0, limited: 0 });
    return { differences, mebibytes: Number(guest.kernel.memoryBytes >> 20n) };
  } finally {
    await guest.close();
  }
}

describe("a running guest", () => {
  it.each([
    { machine: "q35", ram: "private", below: 2 },
    { machine: "pc", ram: "shared-file", below: 3 },
  ] as const)(
    "of 4 GiB, of which $machine puts $below below the hole, is read by QMP and by its process id",
    async ({ machine, ram }) => {
      await within({ ...small, machine, memory: "4G" }, ram, async (live) => {
        const whole = { differences: [], mebibytes: 4096 };
        expect(await reading(live, { qemu: { qmp: live.qmp } })).toEqual(whole);
        expect(await reading(live, { qemu: { pid: live.pid } })).toEqual(whole);
      });
    },
  );

  it("of two NUMA nodes is read by QMP, and refused by its process id", async () => {
    await within(small, "nodes", async (live) => {
      expect(await reading(live, { qemu: { qmp: live.qmp } })).toEqual({ differences: [], mebibytes: MEBIBYTES });
      // Where the kernel itself is in both, there is none in either.
      const code = expect.stringMatching(/^(RAM_UNKNOWN|KERNEL_NOT_FOUND)$/);
      await expect(introspect({ qemu: { pid: live.pid } })).rejects.toMatchObject({ code });
    });
  });

  const [, free] = /^HugePages_Free: +(\d+)$/m.exec(readFileSync("/proc/meminfo", "utf8")) ?? [];
  const [, kib] = /^Hugepagesize: +(\d+) kB$/m.exec(readFileSync("/proc/meminfo", "utf8")) ?? [];
  const lacking = Math.ceil((MEBIBYTES * 1024) / Number(kib)) - Number(free);
  const reason = lacking > 0 ? ` (${lacking} more are wanted in /proc/sys/vm/nr_hugepages)` : "";
  it.skipIf(lacking > 0)(`in huge pages is read, and takes none of them by it${reason}`, async () => {
    await within(small, "hugetlb", async (live) => {
      const taken = () => [
        readFileSync(`/proc/${live.pid}/smaps`, "utf8").match(/^(Shared|Private)_Hugetlb: +[1-9].*/gm),
        readFileSync("/proc/meminfo", "utf8").match(/^HugePages_(Free|Rsvd).*/gm),
      ];
      const before = taken();
      const whole = { differences: [], mebibytes: MEBIBYTES };
      expect(await reading(live, { qemu: { qmp: live.qmp } })).toEqual(whole);
      expect(await reading(live, { qemu: { pid: live.pid } })).toEqual(whole);
      expect(taken()).toEqual(before);
    });
  });
});
