import { invalidOption, XFilterError } from "../../errors.ts";
import { checkKeys } from "../../options.ts";
import type { Plan } from "../../rules/pattern.ts";
import type {
  BackendCapabilities,
  GuestScope,
  Installed,
  InstalledPattern,
  OpenOptions,
  Reconciled,
  RuleBackend,
} from "../backend.ts";
import { changedInterfaces, refuseChanged, requireInterfaces } from "../interface.ts";
import { type Reach, reach } from "./attachment.ts";
import { ConntrackZone, type FlushConntrackOptions } from "./conntrack.ts";
import { FilterTable, removeChains } from "./filter-table.ts";
import type { Frame } from "./frame.ts";
import { chainsOfGuest } from "./names.ts";
import { type IptablesVariant, Xtables } from "./xtables.ts";

/** Options of `iptables`. */
export interface IptablesOptions {
  /** `iptables-nft` or `iptables-legacy`; what the host calls `iptables`, if not given. */
  readonly variant?: IptablesVariant | undefined;
  /**
   * When a flow is blocked, its entries of the host's connection tracking are deleted, those in this guest's own zone. Needs `conntrack`. Where it is
   * not given, they stay.
   */
  readonly flushConntrack?: FlushConntrackOptions | undefined;
}

const FAMILIES = [4, 6] as const;
const ALL = ["drop", "reject", "accept", "log"] as const;

/**
 * A firewall of iptables and ip6tables: chains of its own in their tables filter, to which FORWARD, INPUT and OUTPUT lead first of all. For hosts
 * whose packets nftables may not touch; `nftables` catches more. Needs `iptables-restore`,
 * CAP_NET_ADMIN, and for a guest on a bridge br_netfilter, switched on.
 *
 * A plan is put in force in one step for each IP version; where one of the two fails, the error says so. No leases.
 *
 * @throws TypeError, RangeError with the code ERR_INVALID_OPTION
 */
export function iptables(options: IptablesOptions = {}): RuleBackend {
  checkKeys(options, ["variant", "flushConntrack"], "the options of iptables");
  const { variant, flushConntrack } = options;
  if (variant !== undefined && variant !== "nft" && variant !== "legacy")
    throw invalidOption('variant is "nft" or "legacy"');
  return new IptablesBackend(variant ?? null, flushConntrack === undefined ? null : new ConntrackZone(flushConntrack));
}

class IptablesBackend implements RuleBackend {
  readonly name: string;
  readonly #variant: IptablesVariant | null;
  readonly #conntrack: ConntrackZone | null;
  #scope: GuestScope | undefined;
  /** Whose chains are to be taken out at the end, also where they were kept for a boot for which the backend could not be opened. */
  #guest: string | undefined;
  #reach: Reach = { attachments: [], blind: null };
  #tables: readonly FilterTable[] = [];
  /** Whether something was made again by a change that then failed elsewhere. */
  #repaired = false;

  constructor(variant: IptablesVariant | null, conntrack: ConntrackZone | null) {
    this.name = variant === null ? "iptables" : `iptables-${variant}`;
    this.#variant = variant;
    this.#conntrack = conntrack;
  }

  get capabilities(): BackendCapabilities {
    const { blind } = this.#reach;
    return {
      actions: { out: ALL, in: blind === null ? ALL : [] },
      ...(blind !== null && { why: { in: blind } }),
      families: FAMILIES,
      counters: true,
      leases: false,
    };
  }

  async open(scope: GuestScope, { signal, leaseMs }: OpenOptions): Promise<void> {
    if (leaseMs !== null) {
      const advice = "Let it persist, or use the backend nftables";
      throw new XFilterError("BACKEND_UNSUPPORTED", "iptables knows no rules that end by themselves", advice);
    }
    await requireInterfaces(scope.interfaces);
    await refuseChanged(scope.interfaces);
    const found = await reach(scope.interfaces);
    const tables = FAMILIES.map((family) => new FilterTable(new Xtables(family, this.#variant)));
    for (const table of tables) await table.test(frameOf(scope, found), signal);
    await this.#conntrack?.open(signal);
    this.#scope = scope;
    this.#guest = scope.id;
    this.#reach = found;
    this.#tables = tables;
    this.#repaired = false;
  }

  async inspect({ signal }: { readonly signal: AbortSignal }): Promise<Installed> {
    const scope = this.#opened();
    const problems = await changedInterfaces(scope.interfaces);
    if (problems.length === 0) problems.push(...(await this.#attached(scope)));
    const frame = frameOf(scope, this.#reach);
    const patterns: InstalledPattern[] = [];
    for (const table of this.#tables) {
      const look = await table.look(frame, signal);
      patterns.push(...look.patterns);
      problems.push(...look.problems);
    }
    const { blind } = this.#reach;
    if (blind !== null && patterns.some(({ direction }) => direction === "in")) problems.push(blind.message);
    await this.#conntrack?.goOn(signal);
    return { patterns, bites: problems.length === 0, problems };
  }

  async reconcile(plan: Plan, { signal }: { readonly signal: AbortSignal }): Promise<Reconciled> {
    const scope = this.#opened();
    await this.#releaseChanged(scope, signal);
    this.#reach = await reach(scope.interfaces);
    const { blind } = this.#reach;
    if (blind !== null && plan.patterns.some(({ direction }) => direction === "in")) throw blind;
    const frame = frameOf(scope, this.#reach);
    const wanted = new Set(plan.patterns.map(({ key }) => key));
    const changes = FAMILIES.map((family, index) => async () => {
      const patterns = plan.patterns.filter((pattern) => pattern.family === family);
      const applied = await this.#tables[index]!.apply(frame, patterns, signal);
      this.#repaired ||= applied.repaired;
      return applied.held;
    });
    const held = new Set((await changeBoth(changes, signal)).flat());
    const repaired = this.#repaired;
    await this.#conntrack?.flush(plan.patterns, repaired, signal);
    this.#repaired = false;
    const added = [...wanted].filter((key) => !held.has(key));
    const removed = [...held].filter((key) => !wanted.has(key));
    return { added, removed, unchanged: wanted.size - added.length, repaired };
  }

  async close({ keep }: { readonly keep: boolean }): Promise<void> {
    this.#scope = undefined;
    if (keep || this.#guest === undefined) return;
    // Not to be aborted: it is little.
    const { signal } = new AbortController();
    const chains = [chainsOfGuest(this.#guest)];
    const removals = FAMILIES.map((family) => () => removeChains(new Xtables(family, this.#variant), chains, signal));
    await changeBoth(removals, signal);
    this.#guest = undefined;
  }

  #opened(): GuestScope {
    if (this.#scope === undefined) throw new XFilterError("CLOSED", "The backend is not open", "Open it first");
    return this.#scope;
  }

  /** How the guest's devices are attached now; what is in the way of that, one line each. */
  async #attached({ interfaces }: GuestScope): Promise<string[]> {
    try {
      const before = JSON.stringify(this.#reach.attachments);
      this.#reach = await reach(interfaces);
      if (JSON.stringify(this.#reach.attachments) === before) return [];
      // Until the next reconciliation, which makes new jumps, as these are not those that were made.
      return ["the guest's device was put into a bridge, or taken out of one"];
    } catch (error) {
      if (error instanceof XFilterError) return [error.message];
      throw error;
    }
  }

  /** Rules go by a device's name: whoever has it now is not to be filtered as this guest. */
  async #releaseChanged(scope: GuestScope, signal: AbortSignal): Promise<void> {
    const changed: string[] = [];
    for (const device of scope.interfaces)
      if ((await changedInterfaces([device])).length > 0) changed.push(device.name);
    if (changed.length === 0) return;
    const frame = frameOf(scope, this.#reach);
    const releases = this.#tables.map((table) => () => table.release(frame, changed, signal));
    await changeBoth(releases, signal);
    await refuseChanged(scope.interfaces);
  }
}

/**
 * Each IP version is changed in one step, but they are two: one after the other, as legacy ones share a lock. That one fails keeps the other from
 * nothing.
 */
async function changeBoth<T>(changes: readonly (() => Promise<T>)[], signal: AbortSignal): Promise<T[]> {
  const done: T[] = [];
  const failed: { index: number; cause: unknown }[] = [];
  for (const [index, change] of changes.entries()) {
    try {
      done.push(await change());
    } catch (cause) {
      failed.push({ index, cause });
    }
  }
  signal.throwIfAborted();
  const [first] = failed;
  if (first === undefined) return done;
  if (done.length === 0 || !(first.cause instanceof XFilterError)) throw first.cause;
  const [changed, not] = first.index === 0 ? ["IPv6", "IPv4"] : ["IPv4", "IPv6"];
  const { code, what, advice } = first.cause;
  const both = `${changed} was changed as planned, ${not} was not: ${what}`;
  throw new XFilterError(code, both, advice, { cause: first.cause });
}

function frameOf(scope: GuestScope, { attachments }: Reach): Frame {
  return { guest: scope.id, chains: chainsOfGuest(scope.id), attachments };
}
