import { type Counts, countKey, type Held } from "./listing.ts";
import { chainFlow } from "./rule.ts";
import { type ChainRule, chainRuleText } from "./tree.ts";

/** Chains and their rules, in order. */
export type Rules = ReadonlyMap<string, readonly ChainRule[]>;

/** What makes of chains of patterns others. */
export interface ChainChanges {
  /** Makes the chains that come: ahead of all that leads to them. */
  readonly made: readonly string[];
  /** Changes rules, and takes out the chains that go, to which nothing leads then. */
  readonly changed: readonly string[];
  /** What the rules then have counted. */
  readonly counts: Held["counts"];
}

/** `anew`: whatever was held, all of it comes again. What a pattern's rules have counted that go, the first of those has that come. */
export function chainChanges(
  held: Held,
  wanted: Rules,
  anew: boolean,
  { chains, family }: { readonly chains: string; readonly family: 4 | 6 },
): ChainChanges {
  const heirs = anew ? new Map<string, string>() : heirsOf(held, wanted);
  const steps = [...wanted].map(([chain, rules]) => {
    const before = anew ? [] : (held.rules.get(chain) ?? []);
    return { chain, before, ...changesBetween(before, rules, ({ key }) => heirs.get(key) === chain) };
  });
  const counts = new Map(held.counts);
  const lost = new Map<string, Counts>();
  const lose = (chain: string, rule: ChainRule) => {
    const [packets, bytes] = counts.get(countKey(chain, rule)) ?? [0, 0];
    const [before, bytesBefore] = lost.get(rule.key) ?? [0, 0];
    counts.delete(countKey(chain, rule));
    lost.set(rule.key, [before + packets, bytesBefore + bytes]);
  };
  for (const { chain, before, gone } of steps) for (const number of gone) lose(chain, before[number - 1]!);
  for (const [chain, rules] of held.rules) if (anew || !wanted.has(chain)) for (const rule of rules) lose(chain, rule);

  const rules = steps.flatMap(({ chain, before, gone, come }) => {
    const flow = chainFlow(chain, family)!;
    const end = before.length - gone.length;
    return [
      ...gone.map((number) => `-D ${chain} ${number}`),
      ...come.map(({ at, rule }, index) => {
        // Behind the last one is no place to insert at: appended it is, and quicker.
        const verb = at > end + index ? `-A ${chain}` : `-I ${chain} ${at}`;
        const counted = lost.get(rule.key);
        lost.delete(rule.key);
        if (counted !== undefined) counts.set(countKey(chain, rule), counted);
        return `${counted === undefined ? "" : `[${counted.join(":")}] `}${verb} ${chainRuleText(rule, flow, chains)}`;
      }),
    ];
  });
  const come = [...wanted.keys()].filter((chain) => anew || !held.rules.has(chain));
  const go = [...held.rules.keys()].filter((chain) => !wanted.has(chain));
  return {
    // Makes a chain, or empties the one that is there.
    made: come.map((chain) => `:${chain} - [0:0]`),
    changed: [...rules, ...go.map((chain) => `-F ${chain}`), ...go.map((chain) => `-X ${chain}`)],
    counts,
  };
}

/** Of patterns that have counted where they are no longer, a chain that has them: there they are made again, with all counts. */
function heirsOf(held: Held, wanted: Rules): Map<string, string> {
  const counted = new Set<string>();
  for (const [chain, rules] of held.rules) {
    const staying = new Set(wanted.get(chain)?.map(({ key }) => key));
    for (const rule of rules)
      if (!staying.has(rule.key) && (held.counts.get(countKey(chain, rule))?.[0] ?? 0) > 0) counted.add(rule.key);
  }
  const heirs = new Map<string, string>();
  if (counted.size === 0) return heirs;
  for (const [chain, rules] of wanted) for (const { key } of rules) if (counted.has(key)) heirs.set(key, chain);
  return heirs;
}

/** What makes of one order of rules another. */
export interface Changes {
  /** Numbers of rules to take out, from 1, the last first. */
  readonly gone: readonly number[];
  /** Rules to put in, in order: the number that each has then. */
  readonly come: readonly { readonly at: number; readonly rule: ChainRule }[];
}

/** As few as there can be: the longest run of rules that stay in their order stays where it is, but for those that are to be made `again`. */
export function changesBetween(
  held: readonly ChainRule[],
  wanted: readonly ChainRule[],
  again: (rule: ChainRule) => boolean = () => false,
): Changes {
  if (held.length === wanted.length && held.every((rule, place) => rule.key === wanted[place]!.key && !again(rule)))
    return { gone: [], come: [] };
  const places = new Map(wanted.map(({ key }, place) => [key, place]));
  const kept = longestRun(held.map((rule) => (again(rule) ? undefined : places.get(rule.key))));
  const gone = held.map((_, index) => index + 1).filter((number) => !kept.has(number - 1));
  const staying = new Set([...kept].map((index) => held[index]!.key));
  const come = wanted.flatMap((rule, place) => (staying.has(rule.key) ? [] : [{ at: place + 1, rule }]));
  return { gone: gone.reverse(), come };
}

/** Indices of a longest increasing subsequence; what is undefined is in none. */
function longestRun(places: readonly (number | undefined)[]): Set<number> {
  /** By length: the index at which a run of it ends lowest; and what stands before each in its run. */
  const ends: number[] = [];
  const before: number[] = [];
  places.forEach((place, index) => {
    if (place === undefined) return;
    let [low, high] = [0, ends.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (places[ends[middle]!]! < place) low = middle + 1;
      else high = middle;
    }
    before[index] = low === 0 ? -1 : ends[low - 1]!;
    ends[low] = index;
  });
  const run = new Set<number>();
  for (let index = ends.at(-1) ?? -1; index !== -1; index = before[index]!) run.add(index);
  return run;
}
