import { invalidOption, XFilterError } from "../errors.ts";
import type { Guest, InterfacesOptions, SnapshotOptions } from "../guest.ts";
import { type Snapshot, WalkedSnapshot } from "../snapshot.ts";
import type { HostInterface } from "../sources/interfaces.ts";
import { columns } from "./columns.ts";

const ESTABLISHED = 1;
const LISTEN = 10;
/** Nanoseconds from the boot; a process that is started later has a later one. */
const START = 1_000_000_000n;

export interface MemoryProcess {
  readonly pid: number;
  readonly uid: number;
  readonly comm?: string;
  readonly ppid?: number;
  /** Nanoseconds after a process with such a pid would have been started. */
  readonly later?: bigint;
}

/** A connection from the guest's 10.0.0.2. */
export interface MemoryFlow {
  readonly pid: number;
  readonly localPort: number;
  /** null: it listens. */
  readonly remotePort: number | null;
}

/** A device of the host, which the guest's QEMU has open or not. */
export function device(name: string, index: number, open = true): HostInterface {
  return {
    name,
    index,
    mac: `02:00:00:00:00:${index.toString(16).padStart(2, "0")}`,
    master: null,
    guestMac: null,
    open,
  };
}

/** A guest of a few processes with TCP connections to 198.51.100.1, which a test changes between two polls. */
export class MemoryGuest {
  processes: MemoryProcess[] = [];
  flows: MemoryFlow[] = [];
  /** Which boot it is. */
  boot = 1n;
  /** What the next snapshots reject with. */
  failure: Error | null = null;
  /** A process that the walks miss. */
  missing: number | null = null;
  pausable = true;
  /** What the next snapshots reject with after the work that was to be done while the guest was paused. */
  afterPause: Error | null = null;
  snapshots = 0;
  /** How long a snapshot takes, in milliseconds. */
  takes = 0;
  readonly kernel = { banner: "Linux version 6.1", kaslrOffset: 0n, physBase: 0n };

  /** What its QEMU has open; what is named is found here, too. */
  devices: HostInterface[] = [device("tap0", 7)];
  /** What the next look for its devices rejects with. */
  deviceFailure: Error | null = null;

  async interfaces({ names }: InterfacesOptions = {}): Promise<readonly HostInterface[]> {
    if (this.deviceFailure) throw this.deviceFailure;
    if (!names) return this.devices.filter(({ open }) => open);
    return names.map((name) => {
      const found = this.devices.find((device) => device.name === name);
      if (!found) throw new XFilterError("INTERFACE_NOT_FOUND", `no ${name}`, "");
      return found;
    });
  }

  asGuest(): Guest {
    return this as unknown as Guest;
  }

  async snapshot({ whilePaused }: SnapshotOptions = {}): Promise<Snapshot> {
    this.snapshots++;
    if (this.takes > 0) await new Promise((resolve) => setTimeout(resolve, this.takes));
    if (this.failure) throw this.failure;
    const snapshot = new WalkedSnapshot(columns(this.#processes(), this.#sockets()));
    if (whilePaused && !this.pausable) throw invalidOption("not paused");
    await whilePaused?.(snapshot);
    if (this.afterPause) throw this.afterPause;
    return snapshot;
  }

  #processes() {
    const first = [
      { pid: 1, uid: 0, comm: "init" },
      { pid: 2, uid: 0, comm: "kthreadd" },
    ].filter(({ pid }) => pid !== this.missing);
    const all = [...first, ...this.processes];
    return all.map(({ pid, uid, comm = "nc", ppid = 1, later = 0n }: MemoryProcess) => ({
      ...{ pid, comm },
      columns: {
        uid,
        euid: uid,
        ppid,
        netns: 4026531840,
        startTime: START * BigInt(pid) + this.boot + later,
        task: this.boot,
      },
    }));
  }

  #sockets() {
    return this.flows.map(({ pid, localPort, remotePort }, row) => ({
      local: [10, 0, 0, 2],
      remote: remotePort === null ? [0, 0, 0, 0] : [198, 51, 100, 1],
      owners: [{ pid, fd: 3 }],
      columns: {
        ...{
          localPort,
          remotePort: remotePort ?? 0,
          state: remotePort === null ? LISTEN : ESTABLISHED,
          netns: 4026531840,
          inode: 100 + row,
        },
        ...{ sock: BigInt(0x1000 + localPort), uid: this.processes.find((process) => process.pid === pid)?.uid ?? 0 },
      },
    }));
  }
}
