import type { OtherSocket } from "../../../lib/other-socket.ts";
import type { Process } from "../../../lib/process.ts";
import type { Rows } from "../../../lib/rows.ts";
import type { NamespaceFacts } from "../../../lib/rules/nic.ts";
import type { PlannedPattern } from "../../../lib/rules/pattern.ts";
import { patternKey } from "../../../lib/rules/pattern-key.ts";
import { createPlan, emptyPlanState, type PlanInput, type PlanState } from "../../../lib/rules/plan.ts";
import { parseRules } from "../../../lib/rules/schema.ts";
import type { Socket } from "../../../lib/socket.ts";
import { QUALITY } from "../../../lib/testing/columns.ts";

// Snapshots made by hand, for plans. Network namespace 1 has the guest's network card.

export interface Who extends Partial<Omit<Process, "toJSON">> {
  readonly pid: number;
}

/** A process; real and effective uid are `uid`. */
export function made(who: Who): Process {
  const { uid = 0, gid = 0 } = who;
  const ids = { uid, euid: uid, suid: uid, fsuid: uid, gid, egid: gid, sgid: gid, fsgid: gid };
  const rest = { ppid: 1, comm: `p${who.pid}`, loginuid: 0xffffffff, session: 1, sessionid: 0xffffffff, state: "S" };
  const more = { kernelThread: false, threads: 1, startTime: BigInt(who.pid), nspid: who.pid, netns: 1, pidns: 1 };
  const last = {
    cpu: null,
    task: 0n,
    cgroup: null,
    containerId: null,
    exe: undefined,
    args: undefined,
    argsAbsent: undefined,
  };
  return { ...ids, ...rest, ...more, ...last, ...who, toJSON: () => ({}) as never };
}

export interface What extends Partial<Omit<Socket, "local" | "remote" | "owners" | "toJSON">> {
  /** "10.0.2.15:40000", "[2001:db8::1]:22". */
  readonly local: string;
  readonly remote?: string;
  /** Pids. */
  readonly owners?: readonly number[];
}

let socks = 0xffff_8880_0000_0000n;

function end(text: string) {
  const [, six, four, port] = /^(?:\[(.*)\]|([^:]*)):(\d+)$/.exec(text)!;
  return { address: (six ?? four)!, port: Number(port) };
}

/** A socket; tcp unless told otherwise, made by the first owner. */
export function socket(processes: readonly Process[], what: What): Socket {
  const local = end(what.local);
  const six = local.address.includes(":");
  const remote = end(what.remote ?? (six ? "[::]:0" : "0.0.0.0:0"));
  const protocol = what.protocol ?? "tcp";
  const connected = remote.port !== 0;
  const held = (what.owners ?? []).map((pid) => processes.find((process) => process.pid === pid)!);
  const owners = held.map(({ pid, comm, uid }, index) => ({ pid, fd: 3 + index, comm, uid }));
  socks += 0x100n;
  const state = connected ? "ESTABLISHED" : protocol === "tcp" ? "LISTEN" : "UNCONN";
  const rest = {
    boundInterface: null,
    dualStack: false,
    mptcp: false,
    unownedReason: owners.length > 0 ? null : "unknown",
  };
  return {
    ...({
      protocol,
      family: six ? 6 : 4,
      state,
      uid: held[0]?.uid ?? 0,
      inode: Number(socks & 0xfffff00n),
      netns: 1,
    } as const),
    ...(rest as Pick<Socket, keyof typeof rest>),
    sock: socks,
    ...what,
    ...{ local, remote, owners, toJSON: () => ({}) as never },
  };
}

export function rows<T>(list: readonly T[]): Rows<T> {
  return Object.assign([...list], { toArray: () => [...list], toJSON: () => [...list] }) as unknown as Rows<T>;
}

export interface MadeSnapshot {
  readonly processes?: readonly Process[];
  readonly sockets?: readonly Socket[];
  readonly otherSockets?: readonly OtherSocket[];
  readonly torn?: number;
  readonly networkNamespaces?: readonly NamespaceFacts[];
}

export function snapshot({
  processes = [],
  sockets = [],
  otherSockets = [],
  torn = 0,
  ...rest
}: MadeSnapshot): PlanInput["snapshot"] {
  const all = processes.some(({ pid }) => pid === 1) ? processes : [made({ pid: 1, ppid: 0 }), ...processes];
  const quality = { ...QUALITY, torn, pauseMs: 0 };
  return { processes: rows(all), sockets: rows(sockets), otherSockets: rows(otherSockets), quality, ...rest };
}

/** A guest of some polls, to which the same rules apply until others are set. */
export class Polls {
  rules: unknown;
  state: PlanState = emptyPlanState();
  now = 1_000_000;
  options: Pick<PlanInput, "neverBlock" | "maxFlows"> = {};

  constructor(...rules: unknown[]) {
    this.rules = rules;
  }

  poll(seen: MadeSnapshot) {
    const input = { snapshot: snapshot(seen), rules: parseRules(this.rules), state: this.state, now: this.now };
    const { plan, state } = createPlan({ ...input, ...this.options });
    // As if the agent had been started again.
    this.state = JSON.parse(JSON.stringify(state));
    return { ...plan, keys: plan.patterns.map(shown) };
  }
}

/** A pattern on a line: its key, and why it is there if not because it matched. */
export function shown(pattern: PlannedPattern): string {
  if (pattern.key !== patternKey(pattern)) throw new Error(`${pattern.key} is not the key of ${patternKey(pattern)}`);
  return pattern.reason === "matched" ? pattern.key : `${pattern.key} (${pattern.reason})`;
}
