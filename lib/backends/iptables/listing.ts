import { guestOfChain } from "./names.ts";
import { type KeyedPattern, readRule } from "./rule.ts";

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

/** What the table holds of one guest. */
export interface Listing {
  /** Its patterns in order, by the chain that holds them. */
  readonly held: ReadonlyMap<string, readonly KeyedPattern[]>;
  /** "packets:bytes" of patterns, by key. */
  readonly counts: ReadonlyMap<string, string>;
  /** Rules of other chains by which packets come here. */
  readonly jumps: readonly SavedRule[];
  /** All of ours but the patterns: only to be compared. */
  readonly frame: string;
  /** What is wrong, one line each. */
  readonly problems: readonly string[];
}

/** What a chain whose rules are patterns is called behind its guest's name. */
const HOLDS_PATTERNS = /_[oi][tul]$/;

/** Reads what is a guest's of a table; null if nothing is. */
export function readListing({ chains, rules }: SavedTable, guest: string, family: 4 | 6): Listing | null {
  const own = chains.filter((chain) => guestOfChain(chain) === guest).sort();
  if (own.length === 0) return null;
  const held = new Map<string, KeyedPattern[]>(
    own.filter((chain) => HOLDS_PATTERNS.test(chain)).map((chain) => [chain, []]),
  );
  const counts = new Map<string, string>();
  const [jumps, frame, problems]: [SavedRule[], string[], string[]] = [[], [...own], []];
  for (const rule of rules) {
    const patterns = held.get(rule.chain);
    if (patterns !== undefined) {
      const pattern = readRule(rule.text, rule.chain, guest, family);
      if (pattern === undefined) problems.push(`the chain ${rule.chain} has a rule that is not of xfilter's making`);
      else {
        patterns.push(pattern);
        counts.set(pattern.key, rule.counts);
      }
    } else if (guestOfChain(rule.chain) === guest) frame.push(`${rule.chain} ${rule.text}`);
    else if (leadsTo(rule) === guest) {
      jumps.push(rule);
      frame.push(`${rule.chain} ${rule.text}`);
    }
  }
  return { held, counts, jumps, frame: frame.join("\n"), problems: [...problems, ...overtaken(rules, guest)] };
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
      problems.set(rule.chain, `${ahead} rules of somebody else stand in front of ours in the chain ${rule.chain}`);
    }
  }
  return [...problems.values()];
}
