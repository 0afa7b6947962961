import type { BackendCapabilities } from "../backends/backend.ts";
import { XFilterError } from "../errors.ts";
import { DIRECTIONS } from "../rules/ends.ts";
import type { Plan, PlannedPattern } from "../rules/pattern.ts";
import { patternKey } from "../rules/pattern-key.ts";
import type { Direction, Rule } from "../rules/rule.ts";

/** @internal Refuses rules that the backend cannot hold, before anything is changed. */
export function requireCapable(rules: readonly Rule[], capabilities: BackendCapabilities, name: string): void {
  const { actions, families, why } = capabilities;
  rules.forEach(({ action, direction }, index) => {
    // A sender who is told is told by the packets that leave; what enters of the same flow may just be dropped.
    const does = (way: Direction) =>
      actions[way].includes(action) || (action === "reject" && !direction && actions[way].includes("drop"));
    const cannot = (direction ? [direction] : DIRECTIONS).find((way) => !does(way));
    const neither = action === "reject" && !direction && !DIRECTIONS.some((way) => actions[way].includes(action));
    if (cannot === undefined && !neither) return;
    const cause = cannot && why?.[cannot];
    if (cause !== undefined) throw cause;
    const what = `the backend ${name} cannot ${action} packets that ${cannot === "in" ? "enter" : "leave"} the guest, as rule ${index + 1} asks`;
    throw new XFilterError("BACKEND_UNSUPPORTED", what, "Use another action or direction, or another backend");
  });
  if (families.length === 0)
    throw new XFilterError("BACKEND_UNSUPPORTED", `the backend ${name} holds no family`, "Use another");
}

/** @internal The plan with `drop` where the backend cannot `reject` in that direction. */
export function withinCapabilities(plan: Plan, { actions }: BackendCapabilities): Plan {
  const fits = ({ action, direction }: PlannedPattern) => action !== "reject" || actions[direction].includes("reject");
  if (plan.patterns.every(fits)) return plan;
  const patterns = plan.patterns.map((pattern) => {
    if (fits(pattern)) return pattern;
    const dropped = { ...pattern, action: "drop" as const };
    return { ...dropped, key: patternKey(dropped) };
  });
  const keys = new Set<string>();
  return { ...plan, patterns: patterns.filter(({ key }) => !keys.has(key) && keys.add(key)) };
}
