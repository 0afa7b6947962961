import type { Claim, Verdict } from "./claim.ts";
import type { PlannedPattern } from "./pattern.ts";
import { describeFlow, type Unenforced } from "./unenforced.ts";
import type { Unit } from "./unit.ts";

/** @internal The patterns of as many units as there is room for, in their order, and the rules that are in force by them. */
export function withinLimit(units: readonly Unit[], maxFlows: number, unenforced: Unenforced) {
  const inForce = new Map<Claim, Verdict[]>();
  const ranks: [PlannedPattern[], PlannedPattern[], PlannedPattern[]] = [[], [], []];
  let room = maxFlows;
  for (const unit of byPrecedence(units, maxFlows)) {
    const fits = unit.size <= room;
    if (fits) {
      room -= unit.size;
      unit.ranks.forEach((patterns, rank) => {
        for (const pattern of patterns) ranks[rank]!.push(pattern);
      });
    }
    for (const [claim, verdict] of unit.claims()) {
      const verdicts = inForce.get(claim);
      if (!fits) tellLimit(claim, verdict, maxFlows, unenforced);
      else if (verdicts) verdicts.push(verdict);
      else inForce.set(claim, [verdict]);
    }
  }
  return { patterns: [...exact(ranks[0]), ...ranks[1], ...ranks[2]], inForce };
}

function tellLimit({ flow }: Claim, { rule, owner }: Verdict, maxFlows: number, unenforced: Unenforced): void {
  const what = `${describeFlow(flow)}: there is no room for more than ${maxFlows} patterns`;
  unenforced.add("limit", rule, owner, flow.sock, what);
}

/** What is in force comes first, then the order of the rules. */
function byPrecedence(units: readonly Unit[], maxFlows: number): Unit[] {
  const total = units.reduce((sum, { size }) => sum + size, 0);
  const keyed = units.map((unit) => ({
    ...{ unit, key: unit.key },
    // Where there is room for all, only the order of the patterns is at stake, and that has to stay.
    ...(total > maxFlows ? { known: unit.known, rule: unit.rule } : { known: true, rule: 0 }),
  }));
  keyed.sort((a, b) => Number(b.known) - Number(a.known) || a.rule - b.rule || Number(a.key > b.key) - 0.5);
  return keyed.map(({ unit }) => unit);
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
