import { type Discrepancy, type DiscrepancyKind, toDiscrepancies } from "./discrepancy.ts";
import type { NativeOwners, NativeSnapshot } from "./native.ts";
import { type NetworkNamespace, toNetworkNamespaces } from "./network-namespace.ts";
import { type OtherSocket, type OtherSocketJson, OtherSocketRow } from "./other-socket.ts";
import { type Process, type ProcessJson, ProcessRow } from "./process.ts";
import type { Quality } from "./quality.ts";
import { LazyRows, type Rows } from "./rows.ts";
import { type Owner, type Socket, type SocketJson, SocketRow, toOwner } from "./socket.ts";
import { SocketRows } from "./socket-rows.ts";
import { StringTable } from "./strings.ts";

/** What one walk over a guest saw. Stays usable when the guest is closed. */
export interface Snapshot {
  readonly processes: Rows<Process>;
  readonly sockets: Rows<Socket>;
  /** Sockets that send past every flow: a filter of flows must know that it cannot see them. */
  readonly otherSockets: Rows<OtherSocket>;
  /** Every network namespace, whether a process is in it or not, with its devices. */
  readonly networkNamespaces: readonly NetworkNamespace[];
  /** Processes that one of the kernel's lists has and the other has not. Empty for an honest guest that stood still. */
  readonly discrepancies: readonly Discrepancy[];
  /** How good the reading was. */
  readonly quality: Quality;
  /** The process with a pid of the guest's initial namespace, undefined when there is none. */
  process(pid: number): Process | undefined;
  /** The sockets that a process holds open, each once; empty when it holds none or there is no such process. */
  socketsOf(pid: number): Socket[];
  toJSON(): SnapshotJson;
}

/** A snapshot in JSON. */
export interface SnapshotJson {
  readonly processes: readonly ProcessJson[];
  readonly sockets: readonly SocketJson[];
  readonly otherSockets: readonly OtherSocketJson[];
  readonly networkNamespaces: readonly NetworkNamespace[];
  readonly discrepancies: readonly { kind: DiscrepancyKind; process: ProcessJson }[];
  readonly quality: Quality;
}

/** @internal A snapshot over the addon's columns. */
export class WalkedSnapshot implements Snapshot {
  readonly processes: LazyRows<Process>;
  readonly sockets: SocketRows;
  readonly otherSockets: LazyRows<OtherSocket>;
  readonly networkNamespaces: readonly NetworkNamespace[];
  readonly discrepancies: readonly Discrepancy[];
  readonly quality: Quality;
  readonly #native: NativeSnapshot;
  #rowOfPid: Map<number, number> | undefined;
  #socketsOfProcess: Map<number, Set<number>> | undefined;

  constructor(native: NativeSnapshot, pauseMs = 0) {
    const strings = new StringTable(native.strings);
    const ownersIn = (columns: NativeOwners) => (from: number, to: number) => {
      const owners: Owner[] = [];
      for (let row = from; row < to; row++) {
        owners.push(toOwner(this.processes.row(columns.process[row]!), columns.fd[row]!));
      }
      return owners.length > 1 ? owners.sort((a, b) => a.pid - b.pid || a.fd - b.fd) : owners;
    };
    const tables = { sockets: native.sockets, owners: ownersIn(native.owners) };
    const otherTables = { otherSockets: native.otherSockets, owners: ownersIn(native.otherOwners) };
    this.#native = native;
    this.processes = new LazyRows(native.processes.count, (row) => new ProcessRow(native.processes, strings, row));
    this.sockets = new SocketRows(native, (row) => new SocketRow(tables, row));
    this.otherSockets = new LazyRows(native.otherSockets.count, (row) => new OtherSocketRow(otherTables, row));
    this.networkNamespaces = toNetworkNamespaces(native, strings);
    this.discrepancies = toDiscrepancies(native.discrepancies, (row) => this.processes.row(row));
    this.quality = { ...native.quality, pauseMs };
  }

  process(pid: number): Process | undefined {
    const row = this.#row(pid);
    return row === undefined ? undefined : this.processes.row(row);
  }

  socketsOf(pid: number): Socket[] {
    const row = this.#row(pid);
    if (row === undefined) return [];
    this.#socketsOfProcess ??= indexSockets(this.#native);
    return Array.from(this.#socketsOfProcess.get(row) ?? [], (socket) => this.sockets.row(socket));
  }

  /** Whether it holds what another walk's does: how good the reading was, what runs and how many threads there are left aside. */
  sameAs(other: WalkedSnapshot): boolean {
    const { quality, processes, ...tables } = this.#native;
    const { cpu, state, threads, ...columns } = processes;
    return sameColumns(tables, other.#native) && sameColumns(columns, other.#native.processes);
  }

  #row(pid: number): number | undefined {
    this.#rowOfPid ??= indexPids(this.#native);
    return this.#rowOfPid.get(pid);
  }

  toJSON(): SnapshotJson {
    return {
      processes: this.processes.toArray().map((process) => process.toJSON()),
      sockets: this.sockets.toArray().map((socket) => socket.toJSON()),
      otherSockets: this.otherSockets.toArray().map((socket) => socket.toJSON()),
      networkNamespaces: this.networkNamespaces,
      discrepancies: this.discrepancies.map(({ kind, process }) => ({ kind, process: process.toJSON() })),
      quality: this.quality,
    };
  }
}

/** Whether all that the first table, or table of tables, has is byte for byte in the other. */
function sameColumns(columns: object, others: object): boolean {
  return Object.entries(columns).every(([name, column]) => {
    const other = others[name as keyof typeof others] as unknown;
    if (!ArrayBuffer.isView(column))
      return typeof column === "object" ? sameColumns(column, other as object) : column === other;
    return Buffer.compare(bytesOf(column), bytesOf(other as ArrayBufferView)) === 0;
  });
}

function bytesOf({ buffer, byteOffset, byteLength }: ArrayBufferView): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength);
}

function indexPids({ processes: { count, pid } }: NativeSnapshot): Map<number, number> {
  const rows = new Map<number, number>();
  // Backwards, so that the first of two equal pids (a guest that lies) is the one that stays.
  for (let row = count - 1; row >= 0; row--) rows.set(pid[row]!, row);
  return rows;
}

/** Socket rows of each process row, in their order. */
function indexSockets({ sockets, owners }: NativeSnapshot): Map<number, Set<number>> {
  const index = new Map<number, Set<number>>();
  for (let socket = 0, owner = 0; socket < sockets.count; socket++) {
    for (; owner < sockets.ownersEnd[socket]!; owner++) {
      const process = owners.process[owner]!;
      const held = index.get(process);
      if (held) held.add(socket);
      else index.set(process, new Set([socket]));
    }
  }
  return index;
}
