import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { GuestLock } from "../../../lib/filter/guest-lock.ts";
import type { GuestInterface } from "../../../lib/guest-interface.ts";

const TAP = { name: "tap0", index: 7 } as GuestInterface;

let directory: string;
let locks: GuestLock[];
let child: ChildProcess | undefined;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "xfilter-lock-"));
  locks = [];
});
afterEach(async () => {
  if (child) await killed(child);
  child = undefined;
  for (const lock of locks) lock.release();
  rmSync(directory, { recursive: true });
});

function locked(id: string, devices: readonly GuestInterface[] = []): GuestLock {
  const lock = new GuestLock(directory);
  locks.push(lock);
  lock.takeGuest(id);
  lock.takeDevices(devices);
  return lock;
}

/** Another process that has a guest, and waits. */
async function elsewhere(id: string): Promise<number> {
  const file = JSON.stringify(join(import.meta.dirname, "../../../lib/filter/guest-lock.ts"));
  const program = `
    const { GuestLock } = await import(${file});
    new GuestLock(${JSON.stringify(directory)}).takeGuest(${JSON.stringify(id)});
    console.log("locked");
    setInterval(() => {}, 1000);`;
  child = spawn(process.execPath, ["--import", "tsx", "--input-type=module", "-e", program], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  await once(child.stdout!, "data");
  return child.pid!;
}

async function killed(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exit = once(child, "exit");
  child.kill("SIGKILL");
  await exit;
}

it("keeps a guest for one filter, and says which process that is", () => {
  locked("vm1");
  expect(() => locked("vm1")).toThrow(
    expect.objectContaining({ code: "FILTER_RUNS", message: expect.stringContaining(`Process ${process.pid}`) }),
  );
  locked("vm2");
});

it("keeps a guest's devices, whatever the guest is called", () => {
  locked("qemu:/run/vm1.qmp", [TAP]);
  expect(() => locked("qemu:pid:1234", [TAP])).toThrow(/the device tap0/);
  // The name is another's by now.
  locked("vm3", [{ ...TAP, index: 8 }]);
});

it("takes what it has already, and leaves nothing", () => {
  const lock = locked("vm1", [TAP]);
  lock.takeGuest("vm1");
  lock.takeDevices([TAP]);
  lock.release();
  expect(readdirSync(directory)).toEqual([]);
  locked("vm1", [TAP]);
});

it("ends with its process, however that ended", async () => {
  const pid = await elsewhere("vm1");
  expect(() => locked("vm1")).toThrow(`Process ${pid} filters this guest`);
  await killed(child!);
  locked("vm1");
});
