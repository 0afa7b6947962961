import { readlinkSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { run } from "./command.ts";
import { LabProgram } from "./lab-program.ts";
import { type HeardReport, parseHeard, type TalkReport } from "./lab-report.ts";
import { type Attachment, labAddresses, makeWire, type Wire } from "./lab-wire.ts";
import { type LiveGuest, startLive } from "./live.ts";
import { compileLab, liveBoot } from "./live-boot.ts";
import { recipes } from "./recipes.ts";

export const alice = 1001;
export const mallory = 1003;

const services = ["tcp4:22", "tcp6:22", "udp4:22", "udp6:22", "tcp4:80", "tcp6:80", "udp4:80", "udp6:80"].join(",");

/** Settings of guest/live/lab_talk.c. */
export interface Talk {
  readonly uid: number;
  readonly comm?: string;
  /** Flows such as "tcp4:22", or "tcp4:22:40000" from that local port. */
  readonly hold?: readonly string[];
  readonly open?: readonly string[];
  /** Whom it talks to: the outside. */
  readonly to?: keyof typeof labAddresses;
  /** Milliseconds. */
  readonly every?: number;
  readonly renew?: number;
  readonly patience?: number;
  readonly drain?: number;
  readonly pid?: number;
  readonly lineage?: boolean;
  /** Wants nothing back. */
  readonly quiet?: boolean;
}

/** What alice and mallory do: connections to port 22 that stay and such that come and go, and fetching from port 80. */
export const usual = {
  hold: ["tcp4:22", "tcp6:22", "udp4:22", "udp6:22"],
  open: ["tcp4:22", "tcp6:22", "udp4:22", "udp6:22", "tcp4:80"],
} as const;

let talkers = 0;

function settings({ to = "outside", lineage, quiet, ...talk }: Talk): string[] {
  const own = Object.entries(talk).map(([name, value]) => `${name}=${Array.isArray(value) ? value.join(",") : value}`);
  return [
    ...own,
    `to4=${labAddresses[to].v4}`,
    `to6=${labAddresses[to].v6}`,
    `talker=${++talkers}`,
    `quiet=${Number(quiet ?? 0)}`,
    `lineage=${Number(lineage ?? 0)}`,
  ];
}

/** What runs in a guest under a name, and is asked and told by it. */
export interface Talker {
  readonly started: TalkReport;
  report(): Promise<TalkReport>;
  /** Sends no more, waits until everything has come back, as long as `drain`, and ends. */
  stop(): Promise<TalkReport>;
  /** Ends with what is under way: closed, reset, or with as much queued on each held connection as it takes. */
  exit(how: "exit" | "reset" | "queue"): Promise<TalkReport>;
  /** Of a lineage: ends the parent. */
  orphan(): Promise<TalkReport>;
}

export class LabGuest {
  readonly live: LiveGuest;
  readonly tap: string;
  /** The machine's device towards its outside. */
  readonly uplink: string;
  readonly outside: Outside;
  private readonly wire: Wire;
  private names = 0;

  constructor(live: LiveGuest, wire: Wire, outside: Outside) {
    this.live = live;
    this.tap = wire.tap;
    this.uplink = wire.uplink;
    this.wire = wire;
    this.outside = outside;
  }

  talk(talk: Talk): Promise<Talker> {
    return this.talker("talk", talk);
  }

  /** The same from a network behind the guest's, with an address of its own, that goes out by masquerade. IPv4 alone, and once. */
  contain(talk: Talk): Promise<Talker> {
    return this.talker("container", talk);
  }

  /** A user who listens, on endpoints such as "tcp4:2222", and what he heard. */
  async serve(uid: number, on: readonly string[]): Promise<() => Promise<HeardReport>> {
    const control = `/serve-${this.names++}`;
    await this.lab("serve", control, `uid=${uid}`, `on=${on.join(",")}`);
    return async () => parseHeard(await this.lab("ask", control, "report"));
  }

  /** A web server, over IPv4: whatever it is asked for, the answer has so many bytes. */
  async serveWeb(uid: number, port: number, bytes: number): Promise<void> {
    await this.lab("web", `uid=${uid}`, "comm=web", `port=${port}`, `bytes=${bytes}`);
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

  async giveAddresses(): Promise<void> {
    await this.lab("network", labAddresses.guest.v4, labAddresses.guest.v6);
  }

  private lab(...words: string[]): Promise<string> {
    return this.live.command(`lab ${words.join(" ")}`);
  }

  private async talker(program: "talk" | "container", talk: Talk): Promise<Talker> {
    const control = `/talk-${this.names++}`;
    const ask = async (what: string) => JSON.parse(await this.lab("ask", control, what)) as TalkReport;
    return {
      started: JSON.parse(await this.lab(program, control, ...settings(talk))) as TalkReport,
      report: () => ask("report"),
      stop: () => ask("stop"),
      exit: ask,
      orphan: () => ask("orphan"),
    };
  }
}

/** A network of its own at the other end of a guest's wire, with servers on TCP and UDP ports 22 and 80. */
export class Outside {
  private readonly server: LabProgram;
  private readonly program: string;
  private readonly directory: string;
  private readonly programs: LabProgram[] = [];

  constructor(server: LabProgram, program: string, directory: string) {
    this.server = server;
    this.program = program;
    this.directory = directory;
  }

  report(): Promise<HeardReport> {
    return this.server.heard();
  }

  /** What a program is started with to be out there: a program that becomes the one named behind it. */
  get enter(): readonly string[] {
    return ["nsenter", `--net=/proc/${this.server.pid}/ns/net`];
  }

  /** Somebody out there who talks to the guest. */
  async talk(talk: Omit<Talk, "to" | "uid">): Promise<Talker> {
    const control = join(this.directory, `talk-${this.programs.length}`);
    const words = ["talk", ...settings({ ...talk, uid: 0, to: "guest" })];
    const program = await LabProgram.start(this.enter, this.program, control, words);
    this.programs.push(program);
    const ask = (what: string) => program.ask(what);
    return {
      started: await ask("report"),
      report: () => ask("report"),
      stop: () => ask("stop"),
      exit: ask,
      orphan: () => ask("orphan"),
    };
  }

  async close(): Promise<void> {
    for (const program of [this.server, ...this.programs]) await program.close();
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

async function makeOutside(wire: Wire, program: string, directory: string): Promise<Outside> {
  const control = join(directory, wire.uplink);
  const server = await LabProgram.start(["unshare", "--net"], program, control, ["serve", `on=${services}`]);
  await wire.makeUplink(server.pid);
  return new Outside(server, program, directory);
}

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
