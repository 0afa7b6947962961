import type { InstalledPattern } from "../backend.ts";
import { guestOfChain } from "./names.ts";
import { chainFlow, readRule } from "./rule.ts";
import { type ChainRule, inOrder, isWay, readWay } from "./tree.ts";

/** A rule, as iptables-save prints it. */
export interface SavedRule {
  readonly chain: string;
  /** What stands behind `-A CHAIN `. */
  readonly text: string;
  /** "packets:bytes". */
  readonly counts: string;
}

/** The table filter. */
export interface SavedTable {
  readonly chains: readonly string[];
  readonly rules: readonly SavedRule[];
}

/** Reads what `iptables-save --counters` prints; of several tables the filter alone. */
export function readSaved(text: string): SavedTable {
  const chains: string[] = [];
  const rules: SavedRule[] = [];
  let table = "";
  for (const line of text.split("\n")) {
    if (line.startsWith("*")) table = line.slice(1);
    if (table !== "filter") continue;
    const [, chain] = /^:(\S+) /.exec(line) ?? [];
    if (chain !== undefined) chains.push(chain);
    const [, counts, at, rule] = /^\[(\d+:\d+)\] -A (\S+) ?(.*)$/.exec(line) ?? [];
    if (at !== undefined) rules.push({ chain: at, text: rule!, counts: counts! });
  }
  return { chains, rules };
}

/** What chains hold of patterns. */
export interface Held {
  /** By chain, in order: patterns, and the ways to other chains of them. */
  readonly rules: ReadonlyMap<string, readonly ChainRule[]>;
  /** Packets and bytes, by `countKey`. */
  readonly counts: ReadonlyMap<string, Counts>;
}

export type Counts = readonly [packets: number, bytes: number];

export function countKey(chain: string, { key }: ChainRule): string {
  return `${chain} ${key}`;
}

/** What the table holds of one guest. */
export interface Listing extends Held {
  /** Rules of other chains by which packets come here. */
  readonly jumps: readonly SavedRule[];
  /** All of ours but the chains of patterns that others of them lead to, and their rules: only to be compared. */
  readonly frame: string;
  /** What is wrong, one line each. */
  readonly problems: readonly string[];
}

/** Reads what is a guest's of a table; null if nothing is. */
export function readListing(saved: SavedTable, guest: string, family: 4 | 6): Listing | null {
  const own = saved.chains.filter((chain) => guestOfChain(chain) === guest).sort();
  if (own.length === 0) return null;
  const flows = new Map(own.map((chain) => [chain, chainFlow(chain, family)]));
  const rules = new Map<string, ChainRule[]>();
  for (const [chain, flow] of flows) if (flow !== undefined) rules.set(chain, []);
  const counts = new Map<string, Counts>();
  const jumps: SavedRule[] = [];
  const frame = own.filter((chain) => !rules.has(chain));
  const problems: string[] = [];
  for (const line of saved.rules) {
    const { chain, text } = line;
    const flow = flows.get(chain);
    if (flow !== undefined) {
      const rule = readRule(text, flow, guest) ?? readWay(text, flow);
      if (rule === undefined) problems.push(`the chain ${chain} has a rule that is not of xfilter's making`);
      else {
        rules.get(chain)!.push(rule);
        const [packets, bytes] = line.counts.split(":").map(Number);
        counts.set(countKey(chain, rule), [packets!, bytes!]);
      }
    } else if (guestOfChain(chain) === guest) frame.push(`${chain} ${text}`);
    else if (leadsTo(line) === guest) {
      jumps.push(line);
      frame.push(`${chain} ${text}`);
    }
  }
  problems.push(...overtaken(saved.rules, guest));
  return { rules, counts, jumps, frame: frame.join("\n"), problems };
}

/** The patterns, each once, in an order in which they decide. */
export function installedPatterns({ rules, counts }: Held): InstalledPattern[] {
  const packets = new Map<string, number>();
  for (const [chain, list] of rules) {
    for (const rule of list) {
      const [more] = counts.get(countKey(chain, rule)) ?? [0];
      if (!isWay(rule)) packets.set(rule.key, (packets.get(rule.key) ?? 0) + more);
    }
  }
  return inOrder(rules.values()).map((pattern) => ({ ...pattern, packets: packets.get(pattern.key)! }));
}

/** The guest (`chainsOfGuest`) to whose chain a rule leads; null if it leads to none of ours. */
export function leadsTo({ text }: SavedRule): string | null {
  const [, target] = / -[jg] (\S+)$/.exec(` ${text}`) ?? [];
  return target === undefined ? null : guestOfChain(target);
}

/** Chains in which rules of somebody else stand in front of ours: what they accept would never come here. */
function overtaken(rules: readonly SavedRule[], guest: string): string[] {
  const foreign = new Map<string, number>();
  const problems = new Map<string, string>();
  for (const rule of rules) {
    const target = leadsTo(rule);
    const ahead = foreign.get(rule.chain);
    if (target === null) foreign.set(rule.chain, (ahead ?? 0) + 1);
    else if (target === guest && ahead !== undefined && guestOfChain(rule.chain) === null) {
      problems.set(rule.chain, `in the chain ${rule.chain} ours stand behind ${ahead} of somebody else`);
    }
  }
  return [...problems.values()];
}
