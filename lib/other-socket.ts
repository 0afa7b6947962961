import { hex } from "./address.ts";
import type { NativeOtherSockets } from "./native.ts";
import type { Owner } from "./socket.ts";

const OTHER_KINDS = ["packet", "vsock", "xdp", "sctp", "dccp", "smc", "raw-header"] as const;

/**
 * What a socket is that sends past every flow.
 *
 * | kind | meaning |
 * | --- | --- |
 * | `packet` | AF_PACKET: whole frames |
 * | `vsock` | AF_VSOCK: to the host or another guest, past every network device |
 * | `xdp` | AF_XDP: whole frames, past the guest's kernel |
 * | `sctp`, `dccp`, `smc` | protocols that are not listed as flows |
 * | `raw-header` | a raw socket that writes its own IP header (IP_HDRINCL); it is among `sockets` too |
 */
export type OtherKind = (typeof OTHER_KINDS)[number];

/** A socket that no flow tells of, and that a filter of flows cannot see. */
export interface OtherSocket {
  readonly kind: OtherKind;
  /** Inode number in sockfs, as in `/proc/PID/fd`. */
  readonly inode: number;
  /** Inode number of the network namespace; null when unknown. */
  readonly netns: number | null;
  /** Who holds it open, by pid, then fd. */
  readonly owners: readonly Owner[];
  /** Guest virtual address of the `sock`. */
  readonly sock: bigint;
  toJSON(): OtherSocketJson;
}

/** An {@link OtherSocket} in JSON. */
export interface OtherSocketJson extends Omit<OtherSocket, "sock" | "toJSON"> {
  /** "0x" and hexadecimal digits. */
  readonly sock: string;
}

/** @internal What a row of other sockets needs to know of the rest of the snapshot. */
export interface OtherSocketTables {
  readonly otherSockets: NativeOtherSockets;
  /** Owners from row `from` up to, not including, row `to` of the owner columns. */
  owners(from: number, to: number): readonly Owner[];
}

/** @internal One row of the columns. */
export class OtherSocketRow implements OtherSocket {
  readonly #tables: OtherSocketTables;
  readonly #row: number;

  constructor(tables: OtherSocketTables, row: number) {
    this.#tables = tables;
    this.#row = row;
  }

  get #columns() {
    return this.#tables.otherSockets;
  }
  get kind() {
    return OTHER_KINDS[this.#columns.kind[this.#row]!]!;
  }
  get inode() {
    return this.#columns.inode[this.#row]!;
  }
  get netns() {
    return this.#columns.netns[this.#row]! || null;
  }
  get owners() {
    const { ownersEnd } = this.#columns;
    return this.#tables.owners(ownersEnd[this.#row - 1] ?? 0, ownersEnd[this.#row]!);
  }
  get sock() {
    return this.#columns.sock[this.#row]!;
  }

  toJSON(): OtherSocketJson {
    const { kind, inode, netns, owners, sock } = this;
    return { kind, inode, netns, owners, sock: hex(sock) };
  }

  [Symbol.for("nodejs.util.inspect.custom")](): Omit<OtherSocket, "toJSON"> {
    return { ...this.toJSON(), sock: this.sock };
  }
}
