import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { expect, it } from "vitest";
import { qemuInterfaces } from "../../lib/sources/interfaces.ts";
import type { Inside, Outcome } from "./inside-options.ts";

/** What a program sees that is in one network namespace with a QEMU; `body` runs outside of it, while they are there. */
async function inside(options: Inside, body: (pid: number) => Promise<void> = async () => {}): Promise<Outcome> {
  const program = ["--import", "tsx", join(import.meta.dirname, "inside.ts"), JSON.stringify(options)];
  const child = spawn("unshare", ["--net", process.execPath, ...program], { stdio: ["pipe", "pipe", "inherit"] });
  const exit = once(child, "exit");
  try {
    const lines = createInterface(child.stdout);
    const ended = exit.then(([status]) => Promise.reject(new Error(`inside.ts ended with ${status}`)));
    const [line] = (await Promise.race([once(lines, "line"), ended])) as [string];
    const { pid, ...outcome } = JSON.parse(line) as Outcome & { pid: number };
    await body(pid);
    return outcome as Outcome;
  } finally {
    child.stdin.end();
    await exit;
  }
}

const tap = (name: string, more = "") => `-netdev tap,id=${name},ifname=${name},script=no,downscript=no${more}`;
const card = (netdev: string, mac: string) => `-device virtio-net-pci,romfile=,netdev=${netdev},mac=${mac}`;
const bridged = ["link add br0 type bridge", "link set vm1 address fe:54:00:00:00:01", "link set vm1 master br0"];
const VM1 = { name: "vm1", index: expect.any(Number), mac: "fe:54:00:00:00:01", master: "br0", open: true };

it("finds a guest's tap by QEMU's process, and the guest's card behind it by its monitor", async () => {
  const qemu = `${tap("vm1")} ${card("vm1", "52:54:00:00:00:01")}`;
  const by = (by: Inside["by"]) => inside({ qemu, after: bridged, by });
  expect(await by("qmp")).toEqual({ interfaces: [{ ...VM1, guestMac: "52:54:00:00:00:01" }] });
  expect(await by("pid")).toEqual({ interfaces: [{ ...VM1, guestMac: null }] });
});

it("finds each of several, one that has several queues once", async () => {
  const first = `${tap("vm1")} ${card("vm1", "52:54:00:00:00:01")}`;
  const second = `${tap("vm2", ",queues=4")} ${card("vm2", "52:54:00:00:00:02")},mq=on`;
  expect(await inside({ qemu: `${first} ${second}`, by: "qmp" })).toMatchObject({
    interfaces: [
      { name: "vm1", guestMac: "52:54:00:00:00:01" },
      { name: "vm2", guestMac: "52:54:00:00:00:02", master: null },
    ],
  });
});

it("finds a tap by the name that it has now", async () => {
  const after = ["link set vm1 name moved"];
  const outcome = await inside({ qemu: `${tap("vm1")} ${card("vm1", "52:54:00:00:00:01")}`, after, by: "pid" });
  expect(outcome).toMatchObject({ interfaces: [{ name: "moved" }] });
});

it("refuses a guest of whose packets a part is never seen, beside a tap, too", async () => {
  const user = "-netdev user,id=u";
  const both = `${tap("vm1")} ${card("vm1", "52:54:00:00:00:01")} ${user} ${card("u", "52:54:00:00:00:02")}`;
  expect(await inside({ qemu: both, by: "qmp" })).toMatchObject({
    code: "INTERFACE_UNSEEN",
    message: expect.stringContaining('QEMU\'s network "user"'),
  });
  expect(await inside({ qemu: `${user} ${card("u", "52:54:00:00:00:02")}`, by: "qmp" })).toMatchObject({
    code: "INTERFACE_UNSEEN",
  });
});

it("finds no device of a guest that has none, and says what can be done", async () => {
  expect(await inside({ qemu: "", by: "qmp" })).toMatchObject({
    code: "INTERFACE_NOT_FOUND",
    message: expect.stringContaining("--interface"),
  });
});

it("does not look for a guest's tap in another network namespace than QEMU's", async () => {
  await inside({ qemu: `${tap("vm1")} ${card("vm1", "52:54:00:00:00:01")}`, by: "pid" }, async (pid) => {
    await expect(qemuInterfaces(pid)).rejects.toMatchObject({
      code: "INTERFACE_NOT_FOUND",
      message: expect.stringContaining(`nsenter --net=/proc/${pid}/ns/net`),
    });
  });
});

it("finds no tap that was deleted under QEMU", async () => {
  const after = ["link delete vm1"];
  expect(await inside({ qemu: `${tap("vm1")} ${card("vm1", "52:54:00:00:00:01")}`, after, by: "pid" })).toMatchObject({
    code: "INTERFACE_NOT_FOUND",
  });
});

it("takes devices by their names, each once, where netfilter sees the guest's packets at them", async () => {
  const before = ["link add vm1 index 77 type veth peer name vm2", ...bridged];
  const by = (...names: string[]) => inside({ before, qemu: "", by: "names", names });
  expect(await by("vm1", "vm1")).toEqual({ interfaces: [{ ...VM1, index: 77, guestMac: null, open: false }] });
  expect(await by("vm1", "vm3")).toMatchObject({
    code: "INTERFACE_NOT_FOUND",
    message: expect.stringContaining('"vm3"'),
  });
  for (const name of ["lo", "br0"]) expect(await by("vm1", name)).toMatchObject({ code: "INTERFACE_UNSEEN" });
});

it("tells of a device that is named whether the guest's QEMU has it open", async () => {
  const qemu = `${tap("vm1")} ${card("vm1", "52:54:00:00:00:01")}`;
  const after = [...bridged, "tuntap add vm2 mode tap"];
  const named = await inside({ qemu, after, by: "names", names: ["vm1", "vm2"] });
  expect(named).toMatchObject({
    interfaces: [
      { name: "vm1", open: true },
      { name: "vm2", open: false },
    ],
  });
});

it.each([
  ["has the default route", ["link set vm1 up", "address add 192.0.2.2/24 dev vm1", "route add default via 192.0.2.1"]],
  ["has it over IPv6", ["link set vm1 up", "-6 route add default dev vm1"]],
])("refuses a device as a guest's that %s", async (_, more) => {
  const before = ["link add vm1 type veth peer name vm2", "link set vm2 up", ...more];
  expect(await inside({ before, qemu: "", by: "names", names: ["vm1"] })).toMatchObject({
    code: "INTERFACE_FOREIGN",
    message: expect.stringContaining('"vm1"'),
  });
});
