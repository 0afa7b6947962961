import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { run } from "../../vmcore-fixtures/command.ts";
import type { LabGuest } from "../../vmcore-fixtures/lab.ts";

/** A packet from a guest. */
export interface Packet {
  /** Whether it came out of the guest, or went on to the outside. */
  readonly how: "came" | "went";
  /** Nanoseconds, as `process.hrtime.bigint()` counts. */
  readonly time: bigint;
  /** Protocol, family and source port. */
  readonly flow: string;
  readonly bytes: number;
}

/** Every packet from a guest for a port, on both sides of its firewall: wire.c. */
export class Wire {
  private readonly program: ChildProcess;
  private readonly directory: string;
  private packets: Packet[] = [];

  private constructor(program: ChildProcess, directory: string) {
    this.program = program;
    this.directory = directory;
  }

  static async of(guest: LabGuest, port: number): Promise<Wire> {
    return Wire.between(guest.tap, guest.uplink, port);
  }

  /** From a guest's device to the one by which its packets go out. */
  static async between(tap: string, outside: string, port: number): Promise<Wire> {
    const directory = await mkdtemp(join(tmpdir(), "xfilter-wire-"));
    const binary = join(directory, "wire");
    await run("gcc", ["-O1", "-Wall", "-Wextra", "-Werror", "-o", binary, join(import.meta.dirname, "wire.c")]);
    const words = ["--pdeathsig", "KILL", binary, tap, outside, `${port}`];
    const program = spawn("setpriv", words, { stdio: ["ignore", "pipe", "inherit"] });
    const wire = new Wire(program, directory);
    const lines = createInterface(program.stdout!);
    await once(lines, "line");
    lines.on("line", (line) => wire.take(line));
    return wire;
  }

  private take(line: string): void {
    const [how, time, protocol, family, port, bytes] = line.split(" ") as [Packet["how"], ...string[]];
    this.packets.push({ how, time: BigInt(time!), flow: `${protocol}${family}:${port}`, bytes: Number(bytes) });
  }

  /** Forgets what came before. */
  clear(): void {
    this.packets = [];
  }

  /** Those of whichever flow, as its ports may be changed on the way. */
  get all(): readonly Packet[] {
    return this.packets;
  }

  of(flow: string): Packet[] {
    return this.packets.filter((packet) => packet.flow === flow);
  }

  async close(): Promise<void> {
    const gone = once(this.program, "close");
    if (this.program.kill("SIGKILL")) await gone;
    await rm(this.directory, { recursive: true });
  }
}
