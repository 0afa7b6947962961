import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { readDevice } from "../../lib/backends/interface.ts";
import type { GuestInterface } from "../../lib/guest-interface.ts";
import { SENDER, sentTo } from "./frame.ts";

/** The host's device, the guest's behind it, and their addresses. */
export const TAP = "tap0";
export const GUEST = { v4: "10.1.0.2", v6: "2001:db8:1::2" };
export const HOST = { v4: "10.1.0.1", v6: "2001:db8:1::1" };

export function sh(command: string): string {
  return execFileSync("sh", ["-euc", command], { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
}

/**
 * How what enters the guest comes to its device: straight, by a bridge from another port of it (shown to iptables on the way: `filtered`), by a
 * bridge from the host itself, by the host's routing.
 */
export type Way = "straight" | "bridged" | "filtered" | "host" | "routed";

const BRIDGE = "br0";
/** The host's device towards the outside. */
const UP = "up0";
/** The outside behind a router: its own addresses, and the host's there. */
export const OUTSIDE = { v4: "10.2.0.2", v6: "2001:db8:2::2" };
const GATEWAY = { v4: "10.2.0.1", v6: "2001:db8:2::1" };

/** A network namespace with a device `eth0`, until its holder is killed. */
class Namespace {
  readonly #holder = spawn("unshare", ["--net", "sleep", "infinity"], { stdio: "ignore" });
  readonly #programs: ChildProcess[] = [];
  readonly pid = this.#holder.pid!;

  constructor() {
    const own = sh("readlink /proc/self/ns/net");
    while (sh(`readlink /proc/${this.pid}/ns/net`) === own) sh("sleep 0.01");
  }

  /** Joins it to this namespace, by a device of the name here. */
  join(device: string, { v4, v6 }: { v4: string; v6: string }): void {
    sh(`ip link add ${device} type veth peer name eth0 netns ${this.pid}; ip link set ${device} up`);
    this.sh(`ip addr add ${v4}/24 dev eth0; ip addr add ${v6}/64 dev eth0 nodad
      ip link set lo up; ip link set eth0 up`);
  }

  enter(command: string, ...words: string[]): [command: string, words: string[]] {
    return ["nsenter", ["-t", String(this.pid), "-n", command, ...words]];
  }

  sh(command: string): string {
    return sh(`nsenter -t ${this.pid} -n sh -euc '${command}'`);
  }

  /** A program in there, with what it prints. */
  spawn(command: string, ...words: string[]): ChildProcess {
    const child = spawn(...this.enter(command, ...words), { stdio: ["ignore", "pipe", "inherit"] });
    this.#programs.push(child);
    return child;
  }

  close(): void {
    for (const process of [...this.#programs, this.#holder]) process.kill("SIGKILL");
  }
}

/** A network namespace that stands for a guest, joined to this one by a pair of devices; and whoever sends to it. */
export class GuestNetwork {
  readonly guest = new Namespace();
  /** Null where this namespace sends itself. */
  readonly outside: Namespace | null;
  readonly way: Way;
  readonly #folder = mkdtempSync(join(tmpdir(), "xfilter-frames-"));
  readonly #frames = join(this.#folder, "frames");

  constructor(way: Way = "straight") {
    this.way = way;
    execFileSync("cc", ["-O1", "-o", this.#frames, join(import.meta.dirname, "frames.c")]);
    if (this.#bridged) sh(`ip link add ${BRIDGE} type bridge; ip link set ${BRIDGE} up`);
    this.outside = way === "straight" || way === "host" ? null : new Namespace();
    this.outside?.join(UP, OUTSIDE);
    if (this.#bridged && this.outside !== null) {
      sh(`ip link set ${UP} master ${BRIDGE}`);
      // Where there is no br_netfilter, nobody shows anything.
      const shown = way === "filtered" ? 1 : 0;
      for (const tables of ["iptables", "ip6tables"])
        sh(`sysctl -qw net.bridge.bridge-nf-call-${tables}=${shown} 2> /dev/null || true`);
    }
    if (way === "routed") {
      sh(`ip addr add ${GATEWAY.v4}/24 dev ${UP}; ip addr add ${GATEWAY.v6}/64 dev ${UP} nodad
        sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1`);
    }
    this.plug();
  }

  get #bridged(): boolean {
    return this.way !== "straight" && this.way !== "routed";
  }

  /** Addresses of whoever sends to the guest. */
  get peer(): { v4: string; v6: string } {
    return this.way === "routed" ? OUTSIDE : HOST;
  }

  /** Makes the pair of devices. */
  plug(): void {
    this.guest.join(TAP, GUEST);
    const at = this.#bridged ? BRIDGE : TAP;
    if (this.#bridged) sh(`ip link set ${TAP} master ${BRIDGE}`);
    sh(`ip addr replace ${HOST.v4}/24 dev ${at}; ip addr replace ${HOST.v6}/64 dev ${at} nodad`);
    const mac = this.guest.sh("ip -br link show eth0").split(/\s+/)[2]!;
    for (const address of Object.values(GUEST)) this.neighbour(address, mac);
    this.watch();
  }

  /** Says where an address is, so that nothing waits for an answer. */
  neighbour(address: string, mac: string, device = this.#bridged ? BRIDGE : TAP): void {
    sh(`ip neigh replace ${address} lladdr ${mac} dev ${device} nud permanent`);
  }

  /** Counts what comes past our chains: out of the guest by an operator's behind them, into it by what arrives. */
  watch(): void {
    const chain = (device: string, ...asked: string[]) =>
      `add table netdev operator; delete table netdev operator; table netdev operator { chain c { type filter hook ingress device ${device} priority 300; ${asked.map((ask) => `${ask} counter;`).join(" ")} }; }`;
    const sender = `ether saddr ${SENDER}`;
    const routed = [`ip saddr ${OUTSIDE.v4}`, `ip6 saddr ${OUTSIDE.v6}`];
    sh(`nft '${chain(TAP, sender)}'`);
    this.guest.sh(`nft "${chain("eth0", ...(this.way === "routed" ? routed : [sender]))}"`);
  }

  unplug(): void {
    sh(`ip link del ${TAP}`);
  }

  async device(): Promise<GuestInterface> {
    return (await readDevice(TAP))!;
  }

  /** How many of the frames come past what is in force: sent from the guest, or to it. */
  passed(direction: "out" | "in", ...frames: Buffer[]): number {
    const before = this.#count(direction);
    this.send(direction, ...frames);
    return this.#count(direction) - before;
  }

  /** Returns when they are on their way. */
  send(direction: "out" | "in", ...frames: Buffer[]): void {
    const input = frames.map((frame) => this.#addressed(direction, frame).toString("hex")).join("\n");
    execFileSync(...this.#sender(direction), { input });
  }

  /** Sends a frame over and over, so many microseconds apart, until it is killed. */
  repeat(direction: "out" | "in", frame: Buffer, microseconds: number): ChildProcess {
    const sender = spawn(...this.#sender(direction, `${microseconds}`), { stdio: ["pipe", "ignore", "inherit"] });
    sender.stdin!.end(`${this.#addressed(direction, frame).toString("hex")}\n`);
    return sender;
  }

  #sender(direction: "out" | "in", ...words: string[]): [command: string, words: string[]] {
    if (direction === "out") return this.guest.enter(this.#frames, "eth0", ...words);
    if (this.outside !== null) return this.outside.enter(this.#frames, "eth0", ...words);
    return [this.#frames, [this.#bridged ? BRIDGE : TAP, ...words]];
  }

  /** A router forwards only what is sent to it. */
  #addressed(direction: "out" | "in", frame: Buffer): Buffer {
    const router = direction === "in" && this.way === "routed";
    return router ? sentTo(sh(`cat /sys/class/net/${UP}/address`).trim(), frame) : frame;
  }

  /** Sends a frame over and over while something is done; how many were sent, and came past. */
  async passedWhile(
    direction: "out" | "in",
    frame: Buffer,
    work: () => Promise<void>,
  ): Promise<{ sent: number; passed: number }> {
    const before = this.#count(direction);
    const sender = spawn(...this.#sender(direction), { stdio: ["pipe", "ignore", "inherit"] });
    let sent = 0;
    let done = false;
    const feed = async () => {
      const line = `${this.#addressed(direction, frame).toString("hex")}\n`;
      for (; !done; sent += 100) if (!sender.stdin!.write(line.repeat(100))) await once(sender.stdin!, "drain");
      sender.stdin!.end();
      await once(sender, "close");
    };
    await Promise.all([feed(), work().finally(() => (done = true))]);
    return { sent, passed: this.#count(direction) - before };
  }

  close(): void {
    this.guest.close();
    this.outside?.close();
    for (const device of [TAP, UP, BRIDGE]) sh(`ip link del ${device} 2> /dev/null || true`);
    rmSync(this.#folder, { recursive: true });
  }

  #count(direction: "out" | "in"): number {
    const list = "nft list table netdev operator";
    const counts = (direction === "out" ? sh(list) : this.guest.sh(list)).matchAll(/packets (\d+)/g);
    return [...counts].reduce((sum, [, packets]) => sum + Number(packets), 0);
  }
}
