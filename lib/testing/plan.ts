import type { FlowPattern, Plan } from "../rules/pattern.ts";
import { patternKey } from "../rules/pattern-key.ts";

/** A plan that holds these patterns in this order, as if its first rule had matched them. */
export function planOf(patterns: readonly FlowPattern[]): Plan {
  return {
    unenforceable: [],
    patterns: patterns.map((flow) => ({
      ...flow,
      key: patternKey(flow),
      rule: 0,
      owner: null,
      sock: null,
      reason: "matched" as const,
    })),
  };
}
