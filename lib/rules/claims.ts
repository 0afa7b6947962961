import { hex } from "../address.ts";
import type { Owner, Socket } from "../socket.ts";
import { candidates, type SocketQuery } from "../socket-rows.ts";
import type { Claim, Verdict } from "./claim.ts";
import { type Flow, isFlowProtocol, toFlow, tupleKey } from "./flow.ts";
import type { Matcher } from "./matcher.ts";
import { type HeldFlow, MISSING_MAX } from "./state.ts";
import type { Unenforced } from "./unenforced.ts";

/** A claim while it is made. */
interface Draft {
  readonly flow: Flow;
  readonly socket: Socket | null;
  readonly verdicts: Verdict[];
  missing: number;
}

/** @internal What was blocked before, with the rules that are still there. */
export interface Held {
  readonly flow: HeldFlow;
  readonly rules: readonly { readonly rule: Matcher; readonly owner: Owner | null }[];
}

/** @internal */
export interface FoundClaim extends Claim {
  /** null: missing. */
  readonly socket: Socket | null;
  /** In how many plans in a row its socket was missing. */
  readonly missing: number;
}

/** @internal The sockets of which rules have something to say, or had. `whole`: nothing was left out of the snapshot. */
export function findClaims(
  sockets: Iterable<Socket>,
  matchers: readonly Matcher[],
  held: readonly Held[],
  whole: boolean,
  unenforced: Unenforced,
): FoundClaim[] {
  const bySock = new Map(held.map((entry) => [BigInt(entry.flow.sock), entry]));
  const query = queryOf(matchers, held);
  const drafts = new Map<Socket, Draft>();
  const met = new Set<Held>();
  for (const socket of query ? candidates(sockets, query) : sockets) {
    if (!isFlowProtocol(socket.protocol)) {
      findRaw(socket, matchers, unenforced);
      continue;
    }
    const verdicts = verdictsOf(socket, matchers);
    const before = bySock.size > 0 ? bySock.get(socket.sock) : undefined;
    if (verdicts.length === 0 && !before) continue;
    const flow = toFlow(socket);
    if (flow === null) continue;
    const sticks = before !== undefined && isSame(before.flow, flow);
    const draft = { flow, socket, verdicts, missing: 0 };
    if (sticks) {
      met.add(before);
      stick(draft, before);
    }
    if (verdicts.length > 0) drafts.set(socket, draft);
  }
  const found = [...drafts.values()];
  const unmet = held.filter((entry) => !met.has(entry));
  if (unmet.length > 0) for (const draft of remains(sockets, unmet, drafts, whole)) found.push(draft);
  for (const { verdicts } of found) verdicts.sort((a, b) => a.rule.index - b.rule.index);
  return found;
}

/** The sockets that rules may match, and those where blocked ones were; null: any. */
function queryOf(matchers: readonly Matcher[], held: readonly Held[]): SocketQuery | null {
  const pids = new Set<number>();
  const uids = new Set<number>();
  for (const { query } of matchers) {
    if (query === null) return null;
    for (const pid of query.pids) pids.add(pid);
    for (const uid of query.uids) uids.add(uid);
  }
  return { pids, uids, localPorts: new Set(held.map(({ flow }) => flow.local.port)) };
}

function verdictsOf(socket: Socket, matchers: readonly Matcher[]): Verdict[] {
  const verdicts: Verdict[] = [];
  let known: readonly Owner[] | undefined;
  const owners = () => {
    known ??= socket.owners;
    return known;
  };
  for (const rule of matchers) {
    const match = rule.matchSocket(socket, owners);
    if (match) verdicts.push({ rule, owner: match.owner, sticks: false });
  }
  return verdicts;
}

function findRaw(socket: Socket, matchers: readonly Matcher[], unenforced: Unenforced): void {
  for (const matcher of matchers) {
    if (!matcher.hasWho || matcher.action === "accept") continue;
    // A raw socket may send what looks like any protocol's; one for ICMP only that.
    if (socket.protocol === "icmp" && matcher.rule.protocol !== undefined) continue;
    const match = matcher.matchPortless(socket);
    if (match)
      unenforced.add(
        "raw",
        matcher,
        match.owner,
        socket.sock,
        `a socket for ${socket.protocol}: its packets carry no ports to know them by`,
      );
  }
}

/**
 * Whether it is the socket that was blocked, as it was. Slabs give a sock's memory to the next one, perhaps with the same port: its
 * inode number tells, which a socket gets when it is accepted and loses when it is closed.
 */
function isSame(before: HeldFlow, flow: Flow): boolean {
  const inode = before.inode === 0 || flow.inode === 0 || before.inode === flow.inode;
  return inode && tupleKey(before) === tupleKey(flow);
}

function stick(draft: Draft, { rules }: Held): void {
  for (const { rule, owner } of rules) {
    if (!draft.verdicts.some((verdict) => verdict.rule === rule)) draft.verdicts.push({ rule, owner, sticks: true });
  }
}

/**
 * What is left of blocked sockets that are gone: a tuple that waits for its time to run out, at another address. Where the snapshot is not
 * whole, the socket may only be missing from it: it is believed in for a while, unless its tuple is somebody's.
 */
function remains(
  sockets: Iterable<Socket>,
  unmet: readonly Held[],
  drafts: Map<Socket, Draft>,
  whole: boolean,
): Draft[] {
  const left = new Map(unmet.map((entry) => [tupleKey(entry.flow), entry]));
  const ports = new Set(unmet.map(({ flow }) => flow.local.port));
  const waiting: [Socket, Flow, Held][] = [];
  const taken = new Set<Held>();
  for (const socket of candidates(sockets, { localPorts: ports })) {
    if (!isFlowProtocol(socket.protocol) || !ports.has(socket.local.port)) continue;
    const flow = toFlow(socket);
    const before = flow && left.get(tupleKey(flow));
    if (!before) continue;
    if (socket.unownedReason === "time-wait") waiting.push([socket, flow, before]);
    else taken.add(before);
  }
  const found: Draft[] = [];
  const kept = new Set(taken);
  for (const [socket, flow, before] of waiting) {
    if (taken.has(before)) continue;
    kept.add(before);
    const draft = drafts.get(socket) ?? { flow, socket, verdicts: [], missing: 0 };
    if (!drafts.has(socket)) found.push(draft);
    stick(draft, before);
  }
  if (whole) return found;
  for (const before of unmet) {
    const missing = before.flow.missing + 1;
    if (kept.has(before) || missing > MISSING_MAX) continue;
    const { sock, inode, netns, protocol, families, local, remote } = before.flow;
    const flow = { sock: BigInt(sock), inode, netns, protocol, families, local, remote };
    const draft: Draft = { flow, socket: null, verdicts: [], missing };
    stick(draft, before);
    found.push(draft);
  }
  return found;
}

/** @internal What has to be remembered of a claim that is in force. `rules`: those that block it, by their place in the state. */
export function toHeld({ flow, missing }: FoundClaim, rules: HeldFlow["rules"]): HeldFlow {
  const { sock, inode, netns, protocol, families, local, remote } = flow;
  return { sock: hex(sock), inode, netns, protocol, families: [...families], local, remote, missing, rules };
}
