import { readlinkSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { run } from "./command.ts";
import { LabProgram } from "./lab-program.ts";
import { LabUsers, makeOutside, type Outside, services } from "./lab-users.ts";
import { type Attachment, makeWire, type Wire } from "./lab-wire.ts";
import { type LiveGuest, startLive } from "./live.ts";
import { compileLab, liveBoot } from "./live-boot.ts";
import { recipes } from "./recipes.ts";

// What a user of a guest does is said there.
export { alice, busy, mallory, noSshForMallory, type Outside, type Talk, type Talker, usual } from "./lab-users.ts";

export class LabGuest extends LabUsers {
  readonly live: LiveGuest;
  readonly tap: string;
  /** The machine's device towards its outside. */
  readonly uplink: string;
  private readonly wire: Wire;

  constructor(live: LiveGuest, wire: Wire, outside: Outside) {
    super((text) => live.command(text), outside);
    this.live = live;
    this.tap = wire.tap;
    this.uplink = wire.uplink;
    this.wire = wire;
  }

  /** Takes the guest's card away, and deletes its tap. */
  async unplug(tap = this.tap): Promise<void> {
    const { monitor } = this.live;
    await monitor.execute("device_del", { id: "card" });
    // The guest has to let go of it first.
    for (;;) {
      const devices = (await monitor.execute("qom-list", { path: "/machine/peripheral" })) as { name: string }[];
      if (devices.every(({ name }) => name !== "card")) break;
      await sleep(100);
    }
    await monitor.execute("netdev_del", { id: "nic" });
    await ip("tuntap", "delete", tap, "mode", "tap");
  }

  /** Gives it one anew, on a new tap of this name, and the addresses that it had. */
  async plug(tap = this.tap): Promise<void> {
    const { monitor } = this.live;
    await this.wire.makeTap(tap);
    await monitor.execute("netdev_add", { type: "tap", id: "nic", ifname: tap, script: "no", downscript: "no" });
    const card = { id: "card", bus: "bay", netdev: "nic", mac: this.wire.mac, romfile: "" };
    await monitor.execute("device_add", { driver: "virtio-net-pci", ...card });
    await this.giveAddresses();
  }
}

export interface Lab {
  readonly a: LabGuest;
  readonly b: LabGuest;
  /** What the machine itself, at `labAddresses.host`, heard on ports 22 and 80. */
  readonly host: LabProgram;
  close(): Promise<void>;
}

export interface LabOptions {
  readonly signal: AbortSignal;
  /** "bridged", if not given. */
  readonly attachment?: Attachment;
  /** Who runs the second guest's QEMU, as `LiveOptions.user`. The machine has to let him open /dev/net/tun. */
  readonly userOfB?: number;
}

const ip = async (...words: string[]) => void (await run("ip", words));

/** The devices have fixed names and would be the machine's own: nothing is made outside of a network made for it. */
export function refuseTheMachinesOwnNetwork(): void {
  if (process.env.XFILTER_LAB_NETWORK !== readlinkSync("/proc/self/ns/net"))
    throw new Error("The lab takes a network namespace of its own: run it by npm run test:filter or test:backends");
}

/**
 * Two guests with the same addresses, each with a tap and an outside of its own, and a bridge or routes between them, in the network namespace of this
 * process, which has to be made for it: test/filter/in-namespace.sh.
 */
export async function startLab({ signal, attachment = "bridged", userOfB }: LabOptions): Promise<Lab> {
  refuseTheMachinesOwnNetwork();
  const directory = await mkdtemp(join(tmpdir(), "xfilter-lab-"));
  const program = join(directory, "lab");
  const closers: (() => Promise<void>)[] = [() => rm(directory, { recursive: true, force: true })];
  const abort = new AbortController();
  const close = async () => {
    abort.abort(); // a guest that still boots, when the other one failed
    // A program that was killed took its network with it: what cannot be closed keeps nothing else from being closed.
    const failures: unknown[] = [];
    for (const closer of closers.splice(0).reverse()) await closer().catch((error) => failures.push(error));
    if (failures.length > 0) throw failures[0];
  };
  const recipe = { ...recipes.find(({ name }) => name === "linux-6.1")!, memory: "256M" };
  try {
    await compileLab(program);
    const wires = [makeWire("a", attachment), makeWire("b", attachment)] as const;
    for (const [index, wire] of wires.entries()) {
      closers.push(() => wire.close());
      await wire.open(index === 0);
      await wire.makeTap(wire.tap, index === 1 ? userOfB : undefined);
      closers.push(() => ip("tuntap", "delete", wire.tap, "mode", "tap"));
    }
    const guest = async (wire: Wire, user?: number): Promise<LabGuest> => {
      const outside = await makeOutside(wire, program, directory);
      closers.push(() => outside.close());
      // With its network it would go too, but some time after: the next lab wants the name.
      closers.push(() => ip("link", "delete", wire.uplink));
      const nic = { tap: wire.tap, mac: wire.mac };
      const live = await startLive(recipe, {
        ram: "memfd",
        workload: "lab",
        nic,
        ...(user !== undefined && { user }),
        signal: AbortSignal.any([signal, abort.signal]),
      });
      closers.push(() => live.close());
      const labGuest = new LabGuest(live, wire, outside);
      await labGuest.giveAddresses();
      return labGuest;
    };
    const host = await LabProgram.start([], program, join(directory, "host"), ["serve", `on=${services}`]);
    closers.push(() => host.close());
    await liveBoot(recipe, "lab"); // once for both
    const [a, b] = await Promise.all([guest(wires[0]), guest(wires[1], userOfB)]);
    return { a, b, host, close };
  } catch (error) {
    await close().catch(() => {}); // what went wrong first is what is told
    throw error;
  }
}
