import type { Protocol, SocketState } from "../socket.ts";

/** A port, or a range of ports, both ends included. */
export type PortMatch = number | { readonly from: number; readonly to: number };

/** A process: by its pid, or by pid and start, which no other process of the same boot has. */
export type ProcessMatch =
  | number
  | { readonly pid: number /** Nanoseconds from the guest's boot. */; readonly startTime: bigint };

/** What a rule does to the packets of the flows that it matches. */
export type RuleAction = "drop" | "reject" | "accept" | "log";

/** Where a packet goes, seen from the guest. */
export type Direction = "in" | "out";

/**
 * Who and what to match, and what to do. What is not named matches everything; of a list, one entry is enough. The first
 * rule that matches a packet wins.
 *
 * All ids are those of the guest's initial namespaces.
 */
export interface Rule {
  /** `drop`: discard. `reject`: discard and tell the sender. `accept`: back to the operator's own rules. `log`: the same, and logged. */
  readonly action: RuleAction;

  // Who. For drop, reject and log one matching owner of the socket is enough; for accept, all owners have to match.

  readonly pid?: ProcessMatch | readonly ProcessMatch[];
  /** The children of the processes that `pid` names too, and theirs: once a descendant, always one. */
  readonly descendants?: boolean;
  /** An owner's real or effective user id, or the `sk_uid` of the socket. */
  readonly uid?: number | readonly number[];
  /** An owner's real or effective user id. */
  readonly processUid?: number | readonly number[];
  /** The socket's `sk_uid`: who made it. */
  readonly socketUid?: number | readonly number[];
  /** User who logged in, kept through su and sudo. */
  readonly loginUid?: number | readonly number[];
  /** An owner's real or effective group id. */
  readonly gid?: number | readonly number[];
  /** An owner's command name, exactly. Any process may choose its own. */
  readonly comm?: string | readonly string[];
  /** Path of an owner's cgroup, exactly, or with `/*` at the end that group and all below it. */
  readonly cgroup?: string | readonly string[];
  /** Inode number of the socket's network namespace. */
  readonly netns?: number | readonly number[];

  // What. "Local" is the guest's end.

  readonly protocol?: RuleProtocol | readonly RuleProtocol[];
  readonly localPort?: PortMatch | readonly PortMatch[];
  readonly remotePort?: PortMatch | readonly PortMatch[];
  /** An address or a network, "192.0.2.0/24" or "2001:db8::/32". */
  readonly localAddress?: string | readonly string[];
  /** An address or a network. */
  readonly remoteAddress?: string | readonly string[];
  /** `out` leaves the guest, `in` enters it; both when it is not named. */
  readonly direction?: Direction;
  /** State of the socket. What matched once stays matched, whatever its state becomes. */
  readonly state?: SocketState | readonly SocketState[];

  /** How long the rule is in force, in milliseconds from when it was set. */
  readonly forMs?: number;
  readonly comment?: string;
}

/** What a flow can be told by: TCP and what has ports like it. */
export type RuleProtocol = Extract<Protocol, "tcp" | "udp" | "udplite">;
