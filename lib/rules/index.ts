/**
 * Rules by process and user, and the plan that they make of a snapshot. Pure functions: nothing here reads a guest or
 * changes a firewall.
 *
 * @packageDocumentation
 */

export type * from "./pattern.ts";
export { patternKey } from "./pattern-key.ts";
export { createPlan, emptyPlanState, type PlanInput, type PlanState, parsePlanState, widenedPlan } from "./plan.ts";
export type * from "./rule.ts";
export { parseRule, parseRules } from "./schema.ts";
export { formatRule } from "./text.ts";
