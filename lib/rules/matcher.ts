import type { OtherSocket } from "../other-socket.ts";
import type { Process } from "../process.ts";
import type { Owner, Socket } from "../socket.ts";
import { type Network, parseNetwork } from "./network.ts";
import { type Pinned, type ProcessIndex, processKey } from "./pins.ts";
import type { PortMatch, Rule, RuleAction } from "./rule.ts";
import { entries } from "./text.ts";

/** @internal First and last. */
export type PortRange = readonly [from: number, to: number];

/** @internal By whom a rule matched; null: not by an owner. */
export interface Match {
  readonly owner: Owner | null;
}

/** What a process meets of a rule: bits. */
const CRITERIA = 1;
const UID = 2;

/** @internal A rule that is ready to be asked of thousands of sockets. null: everything. */
export class Matcher {
  readonly rule: Rule;
  /** In the rules that the plan is made from. */
  readonly index: number;
  readonly text: string;
  readonly action: RuleAction;
  readonly localPorts: readonly PortRange[] | null;
  readonly remotePorts: readonly PortRange[] | null;
  readonly localNetworks: readonly Network[] | null;
  readonly remoteNetworks: readonly Network[] | null;
  /** Whether it says who. */
  readonly hasWho: boolean;
  readonly #processes: ProcessIndex;
  readonly #criteria: readonly ((process: Process) => boolean)[];
  readonly #uid: ReadonlySet<number> | null;
  readonly #socketUid: ReadonlySet<number> | null;
  readonly #netns: ReadonlySet<number> | null;
  readonly #protocol: ReadonlySet<string> | null;
  readonly #state: ReadonlySet<string> | null;
  readonly #met = new Map<number, number>();

  constructor(rule: Rule, index: number, text: string, pinned: Pinned, processes: ProcessIndex) {
    this.rule = rule;
    this.index = index;
    this.text = text;
    this.action = rule.action;
    this.localPorts = toRanges(rule.localPort);
    this.remotePorts = toRanges(rule.remotePort);
    this.localNetworks = toNetworks(rule.localAddress);
    this.remoteNetworks = toNetworks(rule.remoteAddress);
    this.#processes = processes;
    this.#uid = toSet(rule.uid);
    this.#socketUid = toSet(rule.socketUid);
    this.#netns = toSet(rule.netns);
    this.#protocol = toSet(rule.protocol);
    this.#state = toSet(rule.state);
    this.#criteria = criteriaOf(rule, pinned);
    this.hasWho = this.#ownerSaid || this.#socketUid !== null || this.#netns !== null;
  }

  /** Whether it takes an owner to match. */
  get #ownerSaid(): boolean {
    return this.#criteria.length > 0 || this.#uid !== null;
  }

  /** The sockets that it may match; null: any. */
  get query(): { readonly pids: readonly number[]; readonly uids: Iterable<number> } | null {
    if (!this.#ownerSaid) return this.#socketUid && { pids: [], uids: this.#socketUid };
    const pids = this.#processes.pids().filter((pid) => this.#meets(pid) === (CRITERIA | UID));
    return { pids, uids: this.#uid ?? [] };
  }

  /** Whether it is for packets that go this way. */
  goes(direction: "in" | "out"): boolean {
    return this.rule.direction === undefined || this.rule.direction === direction;
  }

  /** By whom it matches a socket, its addresses left aside; undefined: it does not. */
  matchSocket(socket: Socket, owners: () => readonly Owner[]): Match | undefined {
    if (this.#protocol && !this.#protocol.has(socket.protocol)) return undefined;
    return this.#match(socket, socket, owners);
  }

  /** The same of a socket whose packets show no ports: `protocol` is not asked. */
  matchPortless(socket: Socket | OtherSocket): Match | undefined {
    return this.#match(socket, "uid" in socket ? socket : null, () => socket.owners);
  }

  #match(
    { netns }: { netns: number | null },
    socket: Socket | null,
    owners: () => readonly Owner[],
  ): Match | undefined {
    if (this.#netns && !(netns !== null && this.#netns.has(netns))) return undefined;
    if (this.#state && !(socket && this.#state.has(socket.state))) return undefined;
    const socketUid = socket && (this.#socketUid || this.#uid) ? socket.uid : null;
    if (this.#socketUid && !(socketUid !== null && this.#socketUid.has(socketUid))) return undefined;
    if (!this.#ownerSaid) return { owner: null };
    if (this.action === "accept") return this.#matchAll(owners());
    return this.#matchAny(owners(), socketUid !== null && this.#uid?.has(socketUid) === true);
  }

  /** A socket that nobody is known to hold is not everybody's. */
  #matchAll(owners: readonly Owner[]): Match | undefined {
    const all = owners.length > 0 && owners.every(({ pid }) => this.#meets(pid) === (CRITERIA | UID));
    return all ? { owner: owners[0]! } : undefined;
  }

  #matchAny(owners: readonly Owner[], bySocketUid: boolean): Match | undefined {
    const owner = owners.find(({ pid }) => this.#meets(pid) === (CRITERIA | UID));
    if (owner) return { owner };
    if (!bySocketUid) return undefined;
    if (this.#criteria.length === 0) return { owner: null };
    const holder = owners.find(({ pid }) => this.#meets(pid) & CRITERIA);
    return holder && { owner: holder };
  }

  #meets(pid: number): number {
    let met = this.#met.get(pid);
    if (met === undefined) {
      const process = this.#processes.get(pid);
      met = process ? this.#look(process) : 0;
      this.#met.set(pid, met);
    }
    return met;
  }

  #look(process: Process): number {
    const { uid, euid } = process;
    const byUid = this.#uid === null || [uid, euid].some((id) => id !== null && this.#uid!.has(id));
    return (this.#criteria.every((meets) => meets(process)) ? CRITERIA : 0) | (byUid ? UID : 0);
  }
}

function criteriaOf(rule: Rule, { meant }: Pinned): ((process: Process) => boolean)[] {
  const criteria: ((process: Process) => boolean)[] = [];
  const has = (ids: ReadonlySet<number>, id: number | null) => id !== null && ids.has(id);
  const processUid = toSet(rule.processUid);
  const loginUid = toSet(rule.loginUid);
  const gid = toSet(rule.gid);
  const comm = toSet(rule.comm);
  const cgroups = entries(rule.cgroup);
  if (rule.pid !== undefined) criteria.push(({ pid, startTime }) => meant.has(processKey(pid, startTime)));
  if (processUid) criteria.push(({ uid, euid }) => has(processUid, uid) || has(processUid, euid));
  if (loginUid) criteria.push(({ loginuid }) => loginUid.has(loginuid));
  if (gid) criteria.push((process) => has(gid, process.gid) || has(gid, process.egid));
  if (comm) criteria.push((process) => comm.has(process.comm));
  if (cgroups.length > 0) criteria.push(({ cgroup }) => cgroup !== null && cgroups.some((path) => isIn(cgroup, path)));
  return criteria;
}

/** "/a/*" is the group /a and all below it. */
function isIn(cgroup: string, path: string): boolean {
  if (!path.endsWith("/*")) return cgroup === path;
  return cgroup === path.slice(0, -2) || cgroup.startsWith(path.slice(0, -1));
}

function toSet<T extends string | number>(value: T | readonly T[] | undefined): ReadonlySet<T> | null {
  return value === undefined ? null : new Set(entries(value));
}

function toRanges(ports: PortMatch | readonly PortMatch[] | undefined): PortRange[] | null {
  if (ports === undefined) return null;
  return entries(ports).map((port) => (typeof port === "number" ? [port, port] : [port.from, port.to]));
}

function toNetworks(addresses: string | readonly string[] | undefined): Network[] | null {
  return addresses === undefined ? null : entries(addresses).map((text) => parseNetwork(text)!);
}
