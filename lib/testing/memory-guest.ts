import { invalidOption, XFilterError } from "../errors.ts";
import type { Guest, InterfacesOptions, SnapshotOptions } from "../guest.ts";
import { type Kernel, toKernel } from "../kernel.ts";
import { parseNetwork } from "../rules/network.ts";
import type { RuleProtocol } from "../rules/rule.ts";
import { sleep } from "../sleep.ts";
import { type Snapshot, WalkedSnapshot } from "../snapshot.ts";
import { PROTOCOLS } from "../socket.ts";
import type { HostInterface } from "../sources/interfaces.ts";
import { columns, type ProcessCells, type SocketCells } from "./columns.ts";
import { KERNEL } from "./kernel.ts";

const ESTABLISHED = 1;
const UNCONNECTED = 7;
const LISTEN = 10;
const NETNS = 4026531840;
/** Nanoseconds from the boot; a process that is started later has a later one. */
const START = 1_000_000_000n;
/** Flags of a socket: its addresses are IPv4. */
const IPV4 = 12;

/** A process of a guest in memory. */
export interface MemoryProcess {
  readonly pid: number;
  /** Its real and its effective uid. */
  readonly uid: number;
  /** "nc", if not given. */
  readonly comm?: string;
  /** 1, if not given. */
  readonly ppid?: number;
  /** Nanoseconds after a process with such a pid would have been started: another one has the pid. */
  readonly later?: bigint;
}

/** A socket of a guest in memory, of TCP over IPv4 if not told otherwise. */
export interface MemoryFlow {
  /** Who holds it open. */
  readonly pid: number;
  readonly protocol?: RuleProtocol;
  /** "10.0.0.2", if not given; "::" and "0.0.0.0" are none. */
  readonly localAddress?: string;
  readonly localPort: number;
  /** "198.51.100.1", if not given. */
  readonly remoteAddress?: string;
  /** null: it listens, or is connected to nobody. */
  readonly remotePort: number | null;
}

/** A device of the host, which the guest's QEMU has open or not. */
export function memoryDevice(name: string, index: number, open = true): HostInterface {
  const mac = `02:00:00:00:00:${(index & 0xff).toString(16).padStart(2, "0")}`;
  return { name, index, mac, master: null, guestMac: null, open };
}

/**
 * A guest of a few processes with their sockets, which a test changes between two polls. It has init and kthreadd, too. There is
 * more to a guest than this: `watch()`, `cpus()` and `profile()` say that it has not got that.
 */
export class MemoryGuest {
  processes: readonly MemoryProcess[] = [];
  flows: readonly MemoryFlow[] = [];
  /** Which boot it is. */
  boot = 1n;
  /** What the next snapshots reject with. */
  failure: Error | null = null;
  /** Pid of a process that the walks miss. */
  missing: number | null = null;
  /** Whether it can be paused for work on a snapshot. */
  pausable = true;
  /** What the next snapshots reject with after the work that was to be done while the guest was paused. */
  afterPause: Error | null = null;
  /** How many snapshots were asked for. */
  snapshots = 0;
  /** How long a snapshot takes, in milliseconds. */
  takes = 0;
  /** What its QEMU has open; what is named is found here, too. */
  devices: readonly HostInterface[] = [memoryDevice("tap0", 7)];
  /** What the next look for its devices rejects with. */
  deviceFailure: Error | null = null;
  readonly kernel: Kernel = toKernel(KERNEL);
  readonly #closed = new AbortController();
  /** Numbers of sockets by all that tells them apart: a socket is the same at each walk, wherever it stands. */
  readonly #numbers = new Map<string, number>();

  /** For whatever takes what `introspect()` resolves with. */
  asGuest(): Guest {
    return this as unknown as Guest;
  }

  async snapshot({ signal, whilePaused }: SnapshotOptions = {}): Promise<Snapshot> {
    const signals = signal ? [signal, this.#closed.signal] : [this.#closed.signal];
    this.snapshots++;
    for (const { aborted, reason } of signals) if (aborted) throw reason;
    if (this.takes > 0) await sleep(this.takes, signals);
    if (this.failure) throw this.failure;
    const snapshot = new WalkedSnapshot(columns(this.#processes(), this.#sockets()));
    if (whilePaused && !this.pausable) throw invalidOption("whilePaused needs a guest that can be paused");
    await whilePaused?.(snapshot);
    if (this.afterPause) throw this.afterPause;
    return snapshot;
  }

  async interfaces({ names }: InterfacesOptions = {}): Promise<readonly HostInterface[]> {
    this.#closed.signal.throwIfAborted();
    if (this.deviceFailure) throw this.deviceFailure;
    if (!names) {
      const open = this.devices.filter((device) => device.open);
      if (open.length > 0) return open;
      throw new XFilterError("INTERFACE_NOT_FOUND", "its QEMU has no device open", "Put one into `devices`");
    }
    return names.map((name) => {
      const found = this.devices.find((device) => device.name === name);
      if (found) return found;
      throw new XFilterError("INTERFACE_NOT_FOUND", `there is no device ${name}`, "Put it into `devices`");
    });
  }

  watch(): never {
    throw lacking("differences");
  }

  async cpus(): Promise<never> {
    throw lacking("registers");
  }

  profile(): never {
    throw lacking("types");
  }

  async close(): Promise<void> {
    this.#closed.abort(new XFilterError("CLOSED", "this guest was closed", "Make a new one"));
  }

  #processes(): ProcessCells[] {
    const first = [
      { pid: 1, uid: 0, comm: "init" },
      { pid: 2, uid: 0, comm: "kthreadd" },
    ].filter(({ pid }) => pid !== this.missing);
    const all: readonly MemoryProcess[] = [...first, ...this.processes];
    return all.map(({ pid, uid, comm = "nc", ppid = 1, later = 0n }) => ({
      ...{ pid, comm },
      columns: {
        ...{ uid, euid: uid, ppid, netns: NETNS, task: this.boot },
        startTime: START * BigInt(pid) + this.boot + later,
      },
    }));
  }

  #sockets(): SocketCells[] {
    return this.flows.map((flow) => {
      const { pid, protocol = "tcp", localPort, remotePort } = flow;
      const local = bytesOf(flow.localAddress ?? "10.0.0.2");
      const remote = remotePort === null ? local.map(() => 0) : bytesOf(flow.remoteAddress ?? "198.51.100.1");
      const four = local.length === 4;
      const state = remotePort !== null ? ESTABLISHED : protocol === "tcp" ? LISTEN : UNCONNECTED;
      const uid = this.processes.find((process) => process.pid === pid)?.uid ?? 0;
      const text = [this.boot, protocol, local, localPort, remote, remotePort].join(" ");
      const number = this.#numbers.get(text) ?? this.#numbers.size;
      this.#numbers.set(text, number);
      return {
        ...{ local, remote, owners: [{ pid, fd: 3 }] },
        columns: {
          ...{ localPort, remotePort: remotePort ?? 0, state, uid, netns: NETNS, inode: 100 + number },
          ...{ protocol: PROTOCOLS.indexOf(protocol), family: four ? 4 : 6, flags: four ? IPV4 : 0 },
          sock: BigInt(0x1000 + number),
        },
      };
    });
  }
}

// As `AttachedGuest` has it.
if (typeof Symbol.asyncDispose === "symbol") {
  Object.defineProperty(MemoryGuest.prototype, Symbol.asyncDispose, {
    value(this: MemoryGuest): Promise<void> {
      return this.close();
    },
  });
}

function bytesOf(address: string): number[] {
  const network = parseNetwork(address);
  if (network === undefined || address.includes("/")) throw new TypeError(`"${address}" is no address`);
  return [...network.bytes];
}

function lacking(what: string): XFilterError {
  return new XFilterError("KIND_UNSUPPORTED", `a guest in memory has no ${what}`, "Attach to an image for that");
}
