import type { Claim, Verdict } from "./claim.ts";
import type { PlannedPattern } from "./pattern.ts";
import { describeFlow, type Unenforced } from "./unenforced.ts";
import type { Unit } from "./unit.ts";

/**
 * @internal The patterns of as many units as there is room for, the rules that are in force by them, and the units' keys. `before`: the
 * keys of those that were in force.
 */
export function withinLimit(
  units: readonly Unit[],
  before: readonly string[],
  maxFlows: number,
  unenforced: Unenforced,
) {
  const inForce = new Map<Claim, Set<Verdict>>();
  const keys: string[] = [];
  const ranks: [PlannedPattern[], PlannedPattern[], PlannedPattern[]] = [[], [], []];
  const chosen = choose(units, new Set(before), maxFlows);
  for (const unit of byKey(units)) {
    const fits = chosen === null || chosen.has(unit);
    if (fits) {
      keys.push(unit.key);
      unit.ranks.forEach((patterns, rank) => {
        for (const pattern of patterns) ranks[rank]!.push(pattern);
      });
    }
    for (const [claim, verdict] of unit.claims()) {
      const verdicts = inForce.get(claim);
      if (!fits) tellLimit(claim, verdict, maxFlows, unenforced);
      else if (verdicts) verdicts.add(verdict);
      else inForce.set(claim, new Set([verdict]));
    }
  }
  return { patterns: [...exact(ranks[0]), ...ranks[1], ...ranks[2]], inForce, keys };
}

function tellLimit({ flow }: Claim, { rule, owner }: Verdict, maxFlows: number, unenforced: Unenforced): void {
  const what = `${describeFlow(flow)}: there is no room for more than ${maxFlows} patterns`;
  unenforced.add("limit", rule, owner, flow.sock, what);
}

/** The units that there is room for: what is in force comes first, then the order of the rules. null: all. */
function choose(units: readonly Unit[], before: ReadonlySet<string>, maxFlows: number): Set<Unit> | null {
  if (units.reduce((sum, { size }) => sum + size, 0) <= maxFlows) return null;
  const keyed = byKey(units).map((unit) => ({ unit, known: before.has(unit.key), rule: unit.rule }));
  keyed.sort((a, b) => Number(b.known) - Number(a.known) || a.rule - b.rule);
  let room = maxFlows;
  const fitting = keyed.filter(({ unit }) => {
    const fits = unit.size <= room;
    if (fits) room -= unit.size;
    return fits;
  });
  return new Set(fitting.map(({ unit }) => unit));
}

/** The order of the patterns, whoever of them was there first: it stays from plan to plan. */
function byKey(units: readonly Unit[]): Unit[] {
  return [...units].sort((a, b) => Number(a.key > b.key) - Number(a.key < b.key));
}

/** By what they match. Of what is left of a socket and a socket that is blocked, with the same ends, the block counts. */
function exact(patterns: readonly PlannedPattern[]): PlannedPattern[] {
  const byFlow = new Map<string, PlannedPattern>();
  for (const pattern of patterns) {
    const flow = pattern.key.slice(0, -pattern.action.length);
    const other = byFlow.get(flow);
    if (!other || other.reason === "exception") byFlow.set(flow, pattern);
  }
  return [...byFlow.values()];
}
