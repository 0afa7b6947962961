import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { readDevice } from "../../lib/backends/interface.ts";
import type { GuestInterface } from "../../lib/guest-interface.ts";
import { SENDER } from "./frame.ts";

/** The host's device, the guest's behind it, and their addresses. */
export const TAP = "tap0";
export const GUEST = { v4: "10.1.0.2", v6: "2001:db8:1::2" };
export const HOST = { v4: "10.1.0.1", v6: "2001:db8:1::1" };

export function sh(command: string): string {
  return execFileSync("sh", ["-euc", command], { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
}

/** A network namespace that stands for a guest, joined to this one by a pair of devices. */
export class GuestNetwork {
  readonly #holder: ChildProcess;
  readonly #folder = mkdtempSync(join(tmpdir(), "xfilter-frames-"));
  readonly #frames = join(this.#folder, "frames");

  constructor() {
    execFileSync("cc", ["-O1", "-o", this.#frames, join(import.meta.dirname, "frames.c")]);
    this.#holder = spawn("unshare", ["--net", "sleep", "infinity"], { stdio: "ignore" });
    const own = sh("readlink /proc/self/ns/net");
    while (sh(`readlink /proc/${this.#holder.pid}/ns/net`) === own) sh("sleep 0.01");
    this.plug();
  }

  /** Makes the pair of devices. */
  plug(): void {
    const { pid } = this.#holder;
    sh(`ip link add ${TAP} type veth peer name eth0 netns ${pid}
      ip addr add ${HOST.v4}/24 dev ${TAP}; ip addr add ${HOST.v6}/64 dev ${TAP} nodad; ip link set ${TAP} up`);
    this.sh(`ip addr add ${GUEST.v4}/24 dev eth0; ip addr add ${GUEST.v6}/64 dev eth0 nodad
      ip link set lo up; ip link set eth0 up`);
    this.watch();
  }

  /** Makes an operator's own chains behind ours, which count what came past them. */
  watch(): void {
    const chain = (name: string, hook: string) =>
      `chain ${name} { type filter hook ${hook} device ${TAP} priority 100; ether saddr ${SENDER} counter; }`;
    sh(
      `nft 'add table netdev operator; delete table netdev operator; table netdev operator { ${chain("out", "ingress")}; ${chain("in", "egress")}; }'`,
    );
  }

  unplug(): void {
    sh(`ip link del ${TAP}`);
  }

  /** Runs in the guest. */
  sh(command: string): string {
    return sh(`nsenter -t ${this.#holder.pid} -n sh -euc '${command}'`);
  }

  /** A program in the guest, with what it prints. */
  spawn(command: string, ...words: string[]): ChildProcess {
    return spawn("nsenter", ["-t", String(this.#holder.pid), "-n", command, ...words], {
      stdio: ["ignore", "pipe", "inherit"],
    });
  }

  async device(): Promise<GuestInterface> {
    return (await readDevice(TAP))!;
  }

  /** How many of the frames come past what is in force: sent from the guest, or to it. */
  passed(direction: "out" | "in", ...frames: Buffer[]): number {
    const before = this.#count(direction);
    const input = frames.map((frame) => frame.toString("hex")).join("\n");
    if (direction === "in") execFileSync(this.#frames, [TAP], { input });
    else execFileSync("nsenter", ["-t", String(this.#holder.pid), "-n", this.#frames, "eth0"], { input });
    return this.#count(direction) - before;
  }

  /** Sends a frame from the guest over and over while something is done; how many were sent, and came past. */
  async passedWhile(frame: Buffer, work: () => Promise<void>): Promise<{ sent: number; passed: number }> {
    const before = this.#count("out");
    const words = ["-t", String(this.#holder.pid), "-n", this.#frames, "eth0"];
    const sender = spawn("nsenter", words, { stdio: ["pipe", "ignore", "inherit"] });
    let sent = 0;
    let done = false;
    const feed = async () => {
      const line = `${frame.toString("hex")}\n`;
      for (; !done; sent += 100) if (!sender.stdin!.write(line.repeat(100))) await once(sender.stdin!, "drain");
      sender.stdin!.end();
      await once(sender, "close");
    };
    await Promise.all([feed(), work().finally(() => (done = true))]);
    return { sent, passed: this.#count("out") - before };
  }

  close(): void {
    this.#holder.kill("SIGKILL");
    rmSync(this.#folder, { recursive: true });
  }

  #count(chain: string): number {
    return Number(/packets (\d+)/.exec(sh(`nft list chain netdev operator ${chain}`))![1]);
  }
}
