import { formatIPv4, formatIPv6, hex } from "./address.ts";
import type { NativeSockets } from "./native.ts";
import type { Process } from "./process.ts";

/** Protocol of a socket. */
export type Protocol = "tcp" | "udp" | "udplite" | "raw" | "icmp";

/**
 * State of a socket: the kernel's TCP state for tcp; for other protocols ESTABLISHED when connected, else UNCONN.
 * UNKNOWN is a number that no kernel uses.
 */
export type SocketState = (typeof TCP_STATES)[number] | "UNCONN" | "UNKNOWN";

/** @internal In the order of the addon's numbers. */
export const UNOWNED_REASONS = [
  null,
  "time-wait",
  "syn-recv",
  "orphan",
  "not-accepted",
  "in-flight",
  "io-uring",
  "kernel",
  "unknown",
] as const;

/**
 * Why no process holds a socket.
 *
 * | reason | meaning |
 * | --- | --- |
 * | `time-wait` | closed by both sides; the kernel keeps the tuple for a while |
 * | `syn-recv` | a connection request that its listener has not completed |
 * | `orphan` | closed by its process; what is in its queue is still sent |
 * | `not-accepted` | in a listener's accept queue |
 * | `in-flight` | in a message of a UNIX socket, on its way between processes (SCM_RIGHTS) |
 * | `io-uring` | a registered file of an io_uring instance |
 * | `kernel` | made by the kernel for itself |
 * | `unknown` | none of these was found to be the case |
 */
export type UnownedReason = NonNullable<(typeof UNOWNED_REASONS)[number]>;

/** One end of a flow. */
export interface Endpoint {
  /** IPv4 as "192.0.2.7", IPv6 in RFC 5952's form "2001:db8::1"; "0.0.0.0" and "::" where the socket has none. */
  readonly address: string;
  /** 0 where the socket has none. A raw socket's local port is its IP protocol number. */
  readonly port: number;
}

/** A process that holds a socket open. */
export interface Owner {
  readonly pid: number;
  /** Number of the file descriptor. A process that holds a socket twice is its owner twice. */
  readonly fd: number;
  /** The process's command name. Escape it where you print it. */
  readonly comm: string;
  /** The process's real user id. */
  readonly uid: number | null;
}

/** A socket of the guest, as its `sock` told. */
export interface Socket {
  readonly protocol: Protocol;
  /** The socket's own family. 6 for a socket that talks IPv4 by mapped addresses, while its addresses are IPv4. */
  readonly family: 4 | 6;
  readonly state: SocketState;
  readonly local: Endpoint;
  readonly remote: Endpoint;
  /** `sk_uid`, the user who made the socket; null where the kernel keeps none. */
  readonly uid: number | null;
  /** Inode number in sockfs, as in `/proc/PID/fd`; 0: none. */
  readonly inode: number;
  /** Inode number of the network namespace; null when unknown. */
  readonly netns: number | null;
  /** Index of the interface it is bound to; null: not bound. */
  readonly boundInterface: number | null;
  /** An IPv6 wildcard socket that owns IPv4 too. */
  readonly dualStack: boolean;
  /** A TCP subflow of an MPTCP socket; its owners are those of the MPTCP socket. */
  readonly mptcp: boolean;
  /** Who holds it open: none, one or many, by pid, then fd. */
  readonly owners: readonly Owner[];
  /** Why no process holds it; null when one does. */
  readonly unownedReason: UnownedReason | null;
  /** Guest virtual address of the `sock`. */
  readonly sock: bigint;
  toJSON(): SocketJson;
}

/**
 * A socket in JSON, one line of `xfilter ss --json`. The fields and their order are a contract under SemVer;
 * more may be added at the end. `sock` is a hex string.
 */
export interface SocketJson extends Omit<Socket, "sock" | "toJSON"> {
  readonly sock: string;
}

/** @internal In the order of the addon's numbers. */
export const PROTOCOLS: readonly Protocol[] = ["tcp", "udp", "udplite", "raw", "icmp"];

/** From include/net/tcp_states.h, from 1 on. NEW_SYN_RECV (12) is SYN_RECV to everybody outside of the kernel. */
const TCP_STATES = [
  "ESTABLISHED",
  "SYN_SENT",
  "SYN_RECV",
  "FIN_WAIT1",
  "FIN_WAIT2",
  "TIME_WAIT",
  "CLOSE",
  "CLOSE_WAIT",
  "LAST_ACK",
  "LISTEN",
  "CLOSING",
  "SYN_RECV",
] as const;

const NO_UID = 0xffffffff;
const DUAL_STACK = 1;
const MPTCP_SUBFLOW = 2;
const LOCAL_IS_IPV4 = 4;
const REMOTE_IS_IPV4 = 8;

/** @internal What a row of sockets needs to know of the rest of the snapshot. */
export interface SocketTables {
  readonly sockets: NativeSockets;
  /** Owners from row `from` up to, not including, row `to` of the owner columns. */
  owners(from: number, to: number): readonly Owner[];
}

/** @internal One row of the columns. */
export class SocketRow implements Socket {
  readonly #tables: SocketTables;
  readonly #row: number;

  constructor(tables: SocketTables, row: number) {
    this.#tables = tables;
    this.#row = row;
  }

  get #columns() {
    return this.#tables.sockets;
  }
  #flag(flag: number): boolean {
    return (this.#columns.flags[this.#row]! & flag) !== 0;
  }
  #endpoint(addresses: Uint8Array, ports: Uint16Array, isIPv4: boolean): Endpoint {
    const at = 16 * this.#row;
    return { address: isIPv4 ? formatIPv4(addresses, at) : formatIPv6(addresses, at), port: ports[this.#row]! };
  }

  get protocol() {
    return PROTOCOLS[this.#columns.protocol[this.#row]!]!;
  }
  get family() {
    return this.#columns.family[this.#row] === 6 ? 6 : 4;
  }
  get state(): SocketState {
    const number = this.#columns.state[this.#row]!;
    if (this.protocol !== "tcp") return number === 1 ? "ESTABLISHED" : "UNCONN";
    return TCP_STATES[number - 1] ?? "UNKNOWN";
  }
  get local() {
    return this.#endpoint(this.#columns.localAddress, this.#columns.localPort, this.#flag(LOCAL_IS_IPV4));
  }
  get remote() {
    return this.#endpoint(this.#columns.remoteAddress, this.#columns.remotePort, this.#flag(REMOTE_IS_IPV4));
  }
  get uid() {
    const uid = this.#columns.uid[this.#row]!;
    return uid === NO_UID ? null : uid;
  }
  get inode() {
    return this.#columns.inode[this.#row]!;
  }
  get netns() {
    return this.#columns.netns[this.#row]! || null;
  }
  get boundInterface() {
    return this.#columns.boundInterface[this.#row]! || null;
  }
  get dualStack() {
    return this.#flag(DUAL_STACK);
  }
  get mptcp() {
    return this.#flag(MPTCP_SUBFLOW);
  }
  get owners() {
    const { ownersEnd } = this.#columns;
    return this.#tables.owners(ownersEnd[this.#row - 1] ?? 0, ownersEnd[this.#row]!);
  }
  get unownedReason(): UnownedReason | null {
    return UNOWNED_REASONS[this.#columns.unownedReason[this.#row]!] ?? null;
  }
  get sock() {
    return this.#columns.sock[this.#row]!;
  }

  toJSON(): SocketJson {
    // One literal: a spread costs more than all the fields, and a listing has thousands of rows.
    return {
      protocol: this.protocol,
      family: this.family,
      state: this.state,
      local: this.local,
      remote: this.remote,
      uid: this.uid,
      inode: this.inode,
      netns: this.netns,
      boundInterface: this.boundInterface,
      dualStack: this.dualStack,
      mptcp: this.mptcp,
      owners: this.owners,
      unownedReason: this.unownedReason,
      sock: hex(this.sock),
    };
  }

  [Symbol.for("nodejs.util.inspect.custom")](): Omit<Socket, "toJSON"> {
    return { ...this.toJSON(), sock: this.sock };
  }
}

/** @internal */
export function toOwner({ pid, comm, uid }: Process, fd: number): Owner {
  return { pid, fd, comm, uid };
}
