import { execFile } from "node:child_process";
import { once } from "node:events";
import { closeSync, ftruncateSync, openSync, readFileSync, rmSync } from "node:fs";
import { promisify } from "node:util";
import { Worker } from "node:worker_threads";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Guest, introspect, type Snapshot, type Target } from "../../lib/index.ts";
import { type LiveGuest, type LiveOptions, startLive } from "../../vmcore-fixtures/live.ts";
import { recipes } from "../../vmcore-fixtures/recipes.ts";
import { differencesFromTruth } from "./truth.ts";

const MEBIBYTES = 160;
// As small as leaves the balloon something to take.
const small = { ...recipes.find(({ name }) => name === "linux-6.1-small")!, memory: `${MEBIBYTES}M` };
const balloon = ["-device", "virtio-balloon-pci,id=balloon"];

/** KiB of the guest's RAM that exist on the host: what the mapping of its size has in memory. */
function residentKib(pid: number): number {
  const smaps = readFileSync(`/proc/${pid}/smaps`, "utf8");
  const [, resident] = new RegExp(`^Size: +${MEBIBYTES * 1024} kB$[^]*?^Rss: +(\\d+) kB$`, "m").exec(smaps) ?? [];
  return Number(resident);
}

async function within<T>(target: string | Target, body: (guest: Guest) => Promise<T>): Promise<T> {
  const guest = await introspect(target);
  try {
    return await body(guest);
  } finally {
    await guest.close();
  }
}

const snapshotOf = (target: string | Target): Promise<Snapshot> =>
  within(target, (guest) => guest.snapshot({ details: true }));

describe.each(["shared-file", "memfd", "private"] as const)(
  "a running guest with %s RAM",
  (ram: LiveOptions["ram"]) => {
    let live: LiveGuest;
    beforeAll(async () => {
      live = await startLive(small, { ram, qemu: balloon, signal: new AbortController().signal });
    });
    afterAll(() => live?.close());

    it.each(["qmp", "pid"] as const)("is read as it says of itself, by its %s", async (by) => {
      const target = { qemu: by === "qmp" ? { qmp: live.qmp } : { pid: live.pid } };
      await within(target, async (guest) => {
        expect(await differencesFromTruth(live, guest)).toEqual([]);
        expect((await guest.snapshot()).quality).toMatchObject({ badPointers: 0, torn: 0, limited: 0 });
      });
    });

    it("takes no more memory on the host by being attached to, scanned and walked, ballooned or not", async () => {
      const grown = async () => {
        const before = residentKib(live.pid);
        for (let i = 0; i < 5; i++) await snapshotOf(`qemu:${live.qmp}`);
        await snapshotOf(`qemu:pid:${live.pid}`);
        return residentKib(live.pid) - before;
      };
      const resident = residentKib(live.pid);
      await live.monitor.execute("balloon", { value: (MEBIBYTES - 32) << 20 });
      await expect.poll(() => resident - residentKib(live.pid), { timeout: 30_000 }).toBeGreaterThan(24 << 10);
      // The guest runs on and may take a page of its own; a scan that touched the hole would be 32 MiB.
      expect(await grown()).toBeLessThan(1024);
    });

    it("is read on when its monitor's connection ends, and the monitor found again when it is needed", async () => {
      await within({ qemu: { qmp: live.qmp } }, async (guest) => {
        await guest.snapshot();
        // Of the two monitors on the command line, the second.
        await live.monitor.execute("yank", { instances: [{ type: "chardev", id: "compat_monitor1" }] });
        for (let i = 0; i < 3; i++) expect((await guest.snapshot()).processes.length).toBeGreaterThan(10);
        // Nobody has it any more.
        await within({ qemu: { qmp: live.qmp } }, (other) => other.snapshot());
        expect((await guest.snapshot()).processes.length).toBeGreaterThan(10);
      });
      const paused = await introspect({ qemu: { qmp: live.qmp } }, { consistency: "pause" });
      await paused.snapshot();
      await live.monitor.execute("yank", { instances: [{ type: "chardev", id: "compat_monitor1" }] });
      await expect
        .poll(() =>
          paused.snapshot().then(
            ({ quality }) => quality.pauseMs > 0,
            () => false,
          ),
        )
        .toBe(true);
      await paused.close();
    });

    it("gives its monitor back when it is closed", async () => {
      await within({ qemu: { qmp: live.qmp } }, (guest) => guest.snapshot());
      await within({ qemu: { qmp: live.qmp } }, (guest) => guest.snapshot());
    });

    it("is refused to a user who may not look into the process", async () => {
      const [major] = process.versions.node.split(".");
      expect(Number(major)).toBeGreaterThanOrEqual(20);
      const script = `import("${import.meta.resolve("../../dist/index.js")}").then(({ introspect }) =>
      introspect("qemu:pid:${live.pid}").then(() => "read", (error) => error.code)).then((text) => console.log(text));`;
      const user = ["--reuid=65534", "--regid=65534", "--clear-groups", "--"];
      const { stdout } = await promisify(execFile)("setpriv", [...user, process.execPath, "-e", script]);
      expect(stdout.trim()).toBe("SOURCE_PERMISSION");
    });

    it("ends in an error when its memory is cut off or its QEMU is killed, in a worker thread too", async () => {
      const guest = await introspect({ qemu: { qmp: live.qmp } });
      const worker = new Worker(new URL("./worker.mjs", import.meta.url), {
        workerData: { library: import.meta.resolve("../../dist/index.js"), target: `qemu:pid:${live.pid}` },
      });
      await once(worker, "message");
      const gone = once(live.qemu, "close");
      const failed = once(worker, "message");
      worker.postMessage("until it fails");
      const code = live.memory ? "SOURCE_TRUNCATED" : "SOURCE_GONE";
      if (live.memory) {
        const file = openSync(live.memory, "r+");
        rmSync(live.memory);
        await guest.snapshot();
        // QEMU gets the SIGBUS, and ends.
        ftruncateSync(file, 0);
        closeSync(file);
      } else {
        live.qemu.kill("SIGKILL");
      }
      await gone;
      await expect(guest.snapshot()).rejects.toMatchObject({ code });
      expect(await failed).toEqual([code]);
      worker.postMessage("once more");
      expect(await once(worker, "message")).toEqual([code]);
      await worker.terminate();
      await guest.close();
      await expect(introspect({ qemu: { pid: live.pid } })).rejects.toMatchObject({ code: "SOURCE_NOT_FOUND" });
      await expect(introspect({ qemu: { qmp: live.qmp } })).rejects.toMatchObject({ code: "SOURCE_NOT_FOUND" });
    });
  },
);

describe("a running guest that gets more memory", () => {
  it("is read with it, and without it when it is gone again", async () => {
    const qemu = ["-m", `${MEBIBYTES}M,slots=2,maxmem=1G`];
    const live = await startLive(small, {
      ram: "memfd",
      qemu,
      commandLine: "memhp_default_state=online_movable",
      signal: new AbortController().signal,
    });
    try {
      await within({ qemu: { qmp: live.qmp } }, async (guest) => {
        await guest.snapshot();
        const before = guest.kernel.memoryBytes;
        await live.monitor.execute("object-add", {
          "qom-type": "memory-backend-memfd",
          id: "more",
          size: 128 << 20,
          share: true,
        });
        await live.monitor.execute("device_add", { driver: "pc-dimm", id: "dimm", memdev: "more" });
        const grown = async () => {
          await guest.snapshot();
          return guest.kernel.memoryBytes - before;
        };
        await expect.poll(grown, { timeout: 30_000, interval: 200 }).toBe(128n << 20n);
        await expect(introspect({ qemu: { pid: live.pid } })).rejects.toMatchObject({ code: "RAM_UNKNOWN" });
        const { processes, quality } = await guest.snapshot();
        expect(processes.length).toBeGreaterThan(50);
        expect(quality).toMatchObject({ badPointers: 0, limited: 0 });
        await live.monitor.execute("device_del", { id: "dimm" });
        await expect.poll(grown, { timeout: 30_000, interval: 200 }).toBe(0n);
        await live.monitor.execute("object-del", { id: "more" });
        await guest.snapshot();
        expect(guest.kernel.memoryBytes).toBe(before);
      });
    } finally {
      await live.close();
    }
  });
});
