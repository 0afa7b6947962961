import { join } from "node:path";
import { LabProgram } from "./lab-program.ts";
import { type HeardReport, parseHeard, type TalkReport } from "./lab-report.ts";
import { labAddresses, type Wire } from "./lab-wire.ts";

export const alice = 1001;
export const mallory = 1003;

/** Rules by which mallory may not go to port 22. */
export const noSshForMallory = ["tcp", "udp"].map(
  (protocol) => `deny ${protocol} from any to any 22 out uid ${mallory}`,
);

export const services = ["tcp4:22", "tcp6:22", "udp4:22", "udp6:22", "tcp4:80", "tcp6:80", "udp4:80", "udp6:80"].join(
  ",",
);

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

/** Connections to port 22 that stay, talking so often that what was heard of them last was heard shortly before they were blocked. */
export const busy = { hold: ["tcp4:22", "udp6:22"], every: 5 } as const;

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

/** The users of a guest, and what they do. */
export class LabUsers {
  readonly outside: Outside;
  private readonly command: (text: string) => Promise<string>;
  private names = 0;

  /** `command`: what guest/live/agent.c of the guest answers. */
  constructor(command: (text: string) => Promise<string>, outside: Outside) {
    this.command = command;
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

  async giveAddresses(): Promise<void> {
    await this.lab("network", labAddresses.guest.v4, labAddresses.guest.v6);
  }

  private lab(...words: string[]): Promise<string> {
    return this.command(`lab ${words.join(" ")}`);
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

export async function makeOutside(wire: Wire, program: string, directory: string): Promise<Outside> {
  const control = join(directory, wire.uplink);
  const server = await LabProgram.start(["unshare", "--net"], program, control, ["serve", `on=${services}`]);
  await wire.makeUplink(server.pid);
  return new Outside(server, program, directory);
}
