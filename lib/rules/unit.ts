import type { Claim, Verdict } from "./claim.ts";
import type { FlowPattern, PatternReason, PlannedPattern } from "./pattern.ts";
import { flowKey } from "./pattern-key.ts";
import type { Direction, RuleAction } from "./rule.ts";

/** @internal Patterns that are put in force together, or not at all: an exception never without what it excepts from, nor the other way round. */
export class Unit {
  readonly key: string;
  /** Patterns of each rank in their order: those that name a flow, those that name a local address, those that name a port. */
  readonly ranks: [PlannedPattern[], PlannedPattern[], PlannedPattern[]] = [[], [], []];
  readonly #inForce = new Map<Claim, Set<Verdict>>();
  readonly #flows = new Set<string>();

  constructor(key: string) {
    this.key = key;
  }

  get size(): number {
    return this.#flows.size;
  }
  /** Index of the first rule that asks for it. */
  get rule(): number {
    let first = Infinity;
    for (const [, { rule }] of this.claims()) first = Math.min(first, rule.index);
    return first;
  }

  /** Who asked for it. */
  *claims(): Generator<[Claim, Verdict]> {
    for (const [claim, verdicts] of this.#inForce) for (const verdict of verdicts) yield [claim, verdict];
  }

  /** A pattern that a rule asks for. */
  add(rank: 0 | 1 | 2, flow: Omit<FlowPattern, "action">, claim: Claim, verdict: Verdict): void {
    const { rule, owner, sticks } = verdict;
    const reason = sticks ? "sticks" : "matched";
    this.#push(rank, { ...flow, action: rule.action }, { rule: rule.index, owner, sock: claim.flow.sock, reason });
    if (rule.action !== "accept") this.#note(claim, verdict);
  }

  /** What becomes of packets that go this way by patterns for more than a flow, but for letting them go. */
  widerActions(direction: Direction): ReadonlySet<RuleAction> {
    const wider = [...this.ranks[1], ...this.ranks[2]].filter((pattern) => pattern.direction === direction);
    return new Set(wider.map(({ action }) => action).filter((action) => action !== "accept"));
  }

  /** Another unit's patterns of a flow that this one's wider patterns would treat otherwise: they must not be in force alone. */
  follow(other: Unit, wider: Readonly<Record<Direction, ReadonlySet<RuleAction>>>): void {
    const otherwise = other.ranks[0].filter(({ direction, action }) =>
      [...wider[direction]].some((wide) => wide !== action),
    );
    if (otherwise.length === 0) return;
    for (const pattern of otherwise) this.#push(0, pattern, pattern);
    for (const [claim, verdict] of other.claims()) this.#note(claim, verdict);
  }

  #note(claim: Claim, verdict: Verdict): void {
    const verdicts = this.#inForce.get(claim);
    if (verdicts) verdicts.add(verdict);
    else this.#inForce.set(claim, new Set([verdict]));
  }

  /** What keeps a flow out of a pattern behind it. */
  except(rank: 0 | 1 | 2, flow: Omit<FlowPattern, "action">, sock: bigint): void {
    const why = { rule: null, owner: null, sock, reason: "exception" as PatternReason };
    this.#push(rank, { ...flow, action: "accept" }, why);
  }

  #push(rank: 0 | 1 | 2, pattern: FlowPattern, why: Pick<PlannedPattern, "rule" | "owner" | "sock" | "reason">): void {
    // A second pattern for the same packets never comes to decide, and no firewall's set holds it.
    const flow = flowKey(pattern);
    if (this.#flows.has(flow)) return;
    this.#flows.add(flow);
    this.ranks[rank].push({ ...pattern, key: `${flow} ${pattern.action}`, ...why });
  }
}
