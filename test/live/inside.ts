// Run in a network namespace of its own: makes devices with `ip`, starts a QEMU without a kernel that stands still, and prints
// which devices of the host are its guest's, or why they are not.
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { qemuInterfaces } from "../../lib/sources/interfaces.ts";
import { Monitor } from "../../lib/sources/monitor.ts";
import { namedInterfaces, qemuHoldings } from "../../lib/sources/named-interfaces.ts";
import type { Inside, Outcome } from "./inside-options.ts";

const { before = [], qemu, after = [], by, names = [] }: Inside = JSON.parse(process.argv[2]!);
const ip = (commands: readonly string[]) => {
  for (const command of commands) execFileSync("ip", command.split(" "));
};
const folder = mkdtempSync(join(tmpdir(), "xfilter-inside-"));
const qmp = join(folder, "qmp");

async function outcome(pid: number, monitor: Monitor): Promise<Outcome> {
  try {
    if (by === "names") return { interfaces: await namedInterfaces(names, await qemuHoldings(pid)) };
    if (by === "pid") return { interfaces: await qemuInterfaces(pid) };
    return { interfaces: await qemuInterfaces(pid, await monitor.networks()) };
  } catch (error) {
    const { code, message } = error as { code: string; message: string };
    return { code, message };
  }
}

const monitor = new Monitor(qmp);
ip(before);
const fixed = `-S -nodefaults -display none -accel tcg -m 64 -qmp unix:${qmp},server=on,wait=off`;
const child = spawn("qemu-system-x86_64", `${fixed} ${qemu}`.trim().split(" "), {
  stdio: ["ignore", "ignore", "inherit"],
});
try {
  for (let tries = 0; !existsSync(qmp) && child.exitCode === null && tries < 1000; tries++) await setTimeout(10);
  // It answers when it has made its devices.
  await monitor.connect();
  ip(after);
  process.stdout.write(`${JSON.stringify({ pid: child.pid, ...(await outcome(child.pid!, monitor)) })}\n`);
  // Until the test has seen enough.
  await once(process.stdin.resume(), "end");
} finally {
  monitor.close();
  child.kill("SIGKILL");
  rmSync(folder, { recursive: true, force: true });
}
