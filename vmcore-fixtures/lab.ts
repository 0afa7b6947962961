import { readlinkSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { run } from "./command.ts";
import { LabProgram } from "./lab-program.ts";
import { type HeardReport, parseHeard, type TalkReport } from "./lab-report.ts";
import { type LiveGuest, startLive } from "./live.ts";
import { compileLab, liveBoot } from "./live-boot.ts";
import { recipes } from "./recipes.ts";

/** Every guest has the same addresses, and so has every outside. */
export const labAddresses = {
  guest: { v4: "10.77.0.15", v6: "fd77::15" },
  outside: { v4: "10.77.0.1", v6: "fd77::1" },
  /** The machine itself, on the bridge of the first guest alone: traffic to it is not forwarded. */
  host: { v4: "10.77.0.2", v6: "fd77::2" },
} as const;

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
  readonly bridge: string;
  readonly mac: string;
  readonly outside: Outside;
  private names = 0;

  constructor(live: LiveGuest, wire: Wire, outside: Outside) {
    this.live = live;
    this.tap = wire.tap;
    this.bridge = wire.bridge;
    this.mac = wire.mac;
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
    await makeTap(tap, this.bridge);
    await monitor.execute("netdev_add", { type: "tap", id: "nic", ifname: tap, script: "no", downscript: "no" });
    const card = { id: "card", bus: "bay", netdev: "nic", mac: this.mac, romfile: "" };
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

interface Wire {
  readonly tap: string;
  readonly bridge: string;
  readonly mac: string;
}

/** A network of its own at the other end of a guest's bridge, with servers on TCP and UDP ports 22 and 80. */
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
  /** Who runs the second guest's QEMU, as `LiveOptions.user`. The machine has to let him open /dev/net/tun. */
  readonly userOfB?: number;
}

const ip = async (...words: string[]) => void (await run("ip", words));

async function makeTap(tap: string, bridge: string, user = 0): Promise<void> {
  await ip("tuntap", "add", tap, "mode", "tap", "user", String(user));
  await ip("link", "set", tap, "master", bridge, "up");
}

async function makeWire(letter: string, user?: number): Promise<Wire> {
  const wire = { tap: `tap-${letter}`, bridge: `br-${letter}`, mac: `52:54:00:77:00:0${letter}` };
  await ip("link", "add", wire.bridge, "type", "bridge", "mcast_snooping", "0");
  await makeTap(wire.tap, wire.bridge, user);
  await ip("link", "set", wire.bridge, "up");
  return wire;
}

async function makeOutside(letter: string, { bridge }: Wire, program: string, directory: string): Promise<Outside> {
  const control = join(directory, `outside-${letter}`);
  const server = await LabProgram.start(["unshare", "--net"], program, control, ["serve", `on=${services}`]);
  const inside = async (...words: string[]) =>
    void (await run("nsenter", [`--net=/proc/${server.pid}/ns/net`, "ip", ...words]));
  const [here, there] = [`out-${letter}`, "eth0"];
  await ip(
    "link",
    "add",
    here,
    "master",
    bridge,
    "up",
    "type",
    "veth",
    "peer",
    "name",
    there,
    "netns",
    `${server.pid}`,
  );
  await inside("link", "set", "lo", "up");
  await inside("address", "add", `${labAddresses.outside.v4}/24`, "dev", there);
  await inside("address", "add", `${labAddresses.outside.v6}/64`, "dev", there, "nodad");
  await inside("link", "set", there, "up");
  return new Outside(server, program, directory);
}

async function giveHostAddresses({ bridge }: Wire): Promise<void> {
  const { guest, host } = labAddresses;
  await ip("address", "add", `${host.v4}/32`, "dev", bridge);
  await ip("address", "add", `${host.v6}/128`, "dev", bridge, "nodad");
  await ip("route", "add", `${guest.v4}/32`, "dev", bridge, "src", host.v4);
  await ip("-6", "route", "add", `${guest.v6}/128`, "dev", bridge, "src", host.v6);
}

/** The devices have fixed names and would be the machine's own: nothing is made outside of a network made for it. */
export function refuseTheMachinesOwnNetwork(): void {
  if (process.env.XFILTER_LAB_NETWORK !== readlinkSync("/proc/self/ns/net"))
    throw new Error("The lab takes a network namespace of its own: run it by npm run test:filter or test:backends");
}

/**
 * Two guests with the same addresses, each with a tap, a bridge and an outside of its own, in the network namespace of this
 * process, which has to be made for it: test/filter/in-namespace.sh.
 */
export async function startLab({ signal, userOfB }: LabOptions): Promise<Lab> {
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
    const wires: [Wire, Wire] = [await makeWire("a"), await makeWire("b", userOfB)];
    for (const { tap, bridge } of wires) {
      closers.push(() => ip("link", "delete", bridge));
      closers.push(() => ip("tuntap", "delete", tap, "mode", "tap"));
    }
    await giveHostAddresses(wires[0]);
    const guest = async (letter: string, wire: Wire, user?: number): Promise<LabGuest> => {
      const outside = await makeOutside(letter, wire, program, directory);
      closers.push(() => outside.close());
      // With its network it would go too, but some time after: the next lab wants the name.
      closers.push(() => ip("link", "delete", `out-${letter}`));
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
    const [a, b] = await Promise.all([guest("a", wires[0]), guest("b", wires[1], userOfB)]);
    return { a, b, host, close };
  } catch (error) {
    await close().catch(() => {}); // what went wrong first is what is told
    throw error;
  }
}
