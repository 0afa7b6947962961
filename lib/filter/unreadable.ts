import type { XFilterError } from "../errors.ts";
import { widenedPlan } from "../rules/plan.ts";
import type { Rule } from "../rules/rule.ts";
import { formatRule } from "../rules/text.ts";
import type { ClearedReason, FilterEvent, OnUnreadable } from "./event.ts";
import { NO_RULING, type Ruling } from "./firewall.ts";
import type { CheckedOptions } from "./options.ts";

/** @internal What is in force for a guest while it cannot be read. */
export class Unreadable {
  readonly #options: CheckedOptions;
  readonly #tell: (event: FilterEvent) => void;
  #since: number | null = null;
  #applied: OnUnreadable | null = null;

  constructor(options: CheckedOptions, tell: (event: FilterEvent) => void) {
    this.#options = options;
    this.#tell = tell;
  }

  /** Milliseconds since 1970; null: it can be read. */
  get since(): number | null {
    return this.#since;
  }

  /** The guest was read. */
  over(): void {
    if (this.#since !== null) this.#tell({ type: "readable", time: Date.now() });
    this.#since = null;
    this.#applied = null;
  }

  /**
   * The guest could not be read. What is to be in force, by the rules that hold now, where so far it was `ruling`, and why what is not any
   * more is let go.
   */
  ruling(error: XFilterError, ruling: Ruling, rules: readonly Rule[]): [Ruling, ClearedReason] {
    const { onUnreadable, maxHoldMs, neverBlock, maxFlows } = this.#options;
    const time = Date.now();
    this.#since ??= time;
    const tooLong = onUnreadable === "hold" && time - this.#since >= maxHoldMs;
    const applied = tooLong ? "release" : onUnreadable;
    if (applied !== this.#applied) this.#tell({ type: "unreadable", time, error, applied });
    this.#applied = applied;
    if (applied === "hold") return [stillRuled(ruling, rules), "rules"];
    if (applied === "release") return [NO_RULING, "unreadable"];
    return [{ plan: widenedPlan(rules, neverBlock, maxFlows), rules }, "unreadable"];
  }
}

/** Without what was asked for by rules that do not hold any more. */
function stillRuled({ plan, rules }: Ruling, now: readonly Rule[]): Ruling {
  const texts = new Set(now.map(formatRule));
  const stays = rules.map((rule) => texts.has(formatRule(rule)));
  const patterns = plan.patterns.filter(({ rule }) => rule === null || stays[rule]);
  return { plan: { ...plan, patterns }, rules };
}
