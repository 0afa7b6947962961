import type { Owner } from "../socket.ts";
import type { Direction, RuleAction, RuleProtocol } from "./rule.ts";

/** A flow with wildcards, a direction and an action: what a firewall can hold. null matches everything. */
export interface FlowPattern {
  readonly direction: Direction;
  readonly family: 4 | 6;
  readonly protocol: RuleProtocol;
  /**
   * The guest's end. Address and port of a socket, or of its rule where the socket has no address. Only a pattern that stands
   * for a rule without its sockets (`onUnreadable: "widen"`) has no port.
   */
  readonly local: { readonly address: string | null; readonly port: number | null };
  /** The other end: of a connected socket its address and port, of others what the rule allows: a network, a range. */
  readonly remote: {
    /** "192.0.2.7", or a network in CIDR. */
    readonly address: string | null;
    /** First and last port. */
    readonly ports: readonly [from: number, to: number] | null;
  };
  readonly action: RuleAction;
}

/** A pattern and why it is there. */
export interface PlannedPattern extends FlowPattern {
  /** Text of the pattern, by which it is the same in two plans and in the firewall: no two of a plan have one. */
  readonly key: string;
  /** Index of the rule in the rules that the plan was made from; null: an exception that keeps another socket's flow out of a wider pattern. */
  readonly rule: number | null;
  /** The owner by whom the rule matched; null where it did not match by an owner. */
  readonly owner: Owner | null;
  /** Guest virtual address of the `sock`; null where the pattern stands for a rule without its sockets. */
  readonly sock: bigint | null;
  readonly reason: PatternReason;
}

/**
 * Why a pattern is in a plan.
 *
 * | reason | meaning |
 * | --- | --- |
 * | `matched` | the rule matches the socket as it is |
 * | `sticks` | the rule matched the socket, or what is left of it, in an earlier plan |
 * | `exception` | it keeps a flow of another socket out of a wider pattern that follows |
 * | `widened` | the guest cannot be read: the rule without its *who*, for everybody |
 */
export type PatternReason = "matched" | "sticks" | "exception" | "widened";

/** What the rules ask for and no firewall outside of the guest can do. */
export interface Unenforceable {
  readonly reason: UnenforceableReason;
  /** Index of the rule. */
  readonly rule: number;
  /** Guest virtual address of the `sock`; of a socket that no flow tells of, too. */
  readonly sock: bigint;
  readonly owner: Owner | null;
  /** One line for people: which socket, and why. Holds no bytes that the guest chose, but its numbers. */
  readonly what: string;
}

/**
 * Why a flow cannot be filtered from outside.
 *
 * | reason | meaning |
 * | --- | --- |
 * | `loopback` | it does not leave the guest |
 * | `nat` | its network namespace has no network card: the guest rewrites or tunnels its packets on their way |
 * | `raw` | its packets look like anybody's: a raw or ICMP socket |
 * | `no-flow` | a socket that sends past every flow (`snapshot.otherSockets`) |
 * | `shared-port` | others use the same local address and port, and their packets cannot be told from its own |
 * | `never-block` | the operator named its other end as never to be blocked |
 * | `local-network` | the rule names a network of the guest's own addresses, the socket is bound to none, and they are not known |
 * | `limit` | more patterns than `maxFlows` |
 */
export type UnenforceableReason =
  | "loopback"
  | "nat"
  | "raw"
  | "no-flow"
  | "shared-port"
  | "never-block"
  | "local-network"
  | "limit";

/**
 * What a firewall should hold for one guest, in order: of the patterns that match a packet, the first decides; where none
 * does, the packet goes its way.
 *
 * Patterns of one end are in the order of how exactly they name it, as the guest's kernel chooses the socket for a packet: first
 * those with both ends (a connected socket's), then those with a local address, then those with a local port alone, then
 * those without.
 */
export interface Plan {
  readonly patterns: readonly PlannedPattern[];
  readonly unenforceable: readonly Unenforceable[];
}
