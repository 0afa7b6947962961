import { isWhole } from "../quality.ts";
import type { Unenforceable } from "../rules/pattern.ts";
import { createPlan, emptyPlanState, type PlanState } from "../rules/plan.ts";
import type { Rule } from "../rules/rule.ts";
import { formatRule } from "../rules/text.ts";
import { type Snapshot, WalkedSnapshot } from "../snapshot.ts";
import { withinCapabilities } from "./capabilities.ts";
import type { FilterEvent } from "./event.ts";
import type { Ruling } from "./firewall.ts";
import type { CheckedOptions } from "./options.ts";

/** @internal From a snapshot to what the rules ask of it, with what has to be remembered from one to the next. */
export class Planner {
  readonly #options: CheckedOptions;
  readonly #tell: (event: FilterEvent) => void;
  #rules: readonly Rule[];
  #state: PlanState = emptyPlanState();
  #unenforceable = new Map<string, Unenforceable>();
  /** Texts of rules of which it was told that their time is over. */
  #over = new Set<string>();
  /** What holds as long as nothing changes in the guest, until that time. */
  #last: { readonly snapshot: WalkedSnapshot; readonly ruling: Ruling; readonly until: number } | null = null;

  constructor(options: CheckedOptions, tell: (event: FilterEvent) => void) {
    this.#options = options;
    this.#tell = tell;
    this.#rules = options.rules;
  }

  get rules(): readonly Rule[] {
    return this.#rules;
  }
  set rules(rules: readonly Rule[]) {
    this.#rules = rules;
    this.#over.clear();
    this.#last = null;
  }

  get state(): PlanState {
    return this.#state;
  }
  /** What is known of a boot. */
  set state(state: PlanState) {
    this.#state = state;
    this.#last = null;
  }

  get unenforceable(): readonly Unenforceable[] {
    return [...this.#unenforceable.values()];
  }

  /** Of a guest in which nothing changed, what it was: a plan that is made again of the state that it left is the same. */
  ruling(snapshot: Snapshot): Ruling {
    const now = Date.now();
    if (this.#last && now < this.#last.until && isSame(snapshot, this.#last.snapshot)) return this.#last.ruling;
    const { neverBlock, maxFlows, backend } = this.#options;
    const rules = this.#rules;
    const { plan, state } = createPlan({ snapshot, rules, state: this.#state, now, neverBlock, maxFlows });
    this.#state = state;
    this.#tellUnenforceable(plan.unenforceable);
    const until = this.#lasting(now).reduce((first, [, end]) => Math.min(first, end), Infinity);
    const ruling = { plan: withinCapabilities(plan, backend.capabilities), rules };
    this.#last = snapshot instanceof WalkedSnapshot && isWhole(snapshot.quality) ? { snapshot, ruling, until } : null;
    return ruling;
  }

  rulesNotOver(): readonly Rule[] {
    return this.#lasting(Date.now()).map(([rule]) => rule);
  }

  /** The rules whose time has not run out, and when it does; of the others it is told, once. */
  #lasting(time: number): [Rule, number][] {
    const since = new Map(this.#state.rules.map((rule) => [rule.text, rule.since]));
    return this.#rules.flatMap((rule): [Rule, number][] => {
      if (rule.forMs === undefined) return [[rule, Infinity]];
      const text = formatRule(rule);
      const end = (since.get(text) ?? time) + rule.forMs;
      if (end > time) return [[rule, end]];
      if (!this.#over.has(text)) this.#tell({ type: "expired", time, rule });
      this.#over.add(text);
      return [];
    });
  }

  #tellUnenforceable(unenforceable: readonly Unenforceable[]): void {
    const known = this.#unenforceable;
    this.#unenforceable = new Map(unenforceable.map((entry) => [`${entry.reason} ${entry.rule} ${entry.sock}`, entry]));
    for (const [key, entry] of this.#unenforceable) {
      if (known.has(key)) continue;
      this.#tell({ type: "unenforceable", time: Date.now(), matched: this.#rules[entry.rule]!, ...entry });
    }
  }
}

function isSame(snapshot: Snapshot, before: WalkedSnapshot): boolean {
  return snapshot instanceof WalkedSnapshot && isWhole(snapshot.quality) && snapshot.sameAs(before);
}
