import * as v from "valibot";
import { argumentTypeError } from "../errors.ts";

const whole = v.pipe(v.number(), v.integer(), v.minValue(0));
const decimal = v.pipe(v.string(), v.regex(/^\d{1,20}$/));
const processId = v.strictObject({ pid: whole, startTime: decimal });
const family = v.picklist([4, 6]);
const owner = v.strictObject({ pid: whole, fd: whole, comm: v.string(), uid: v.nullable(whole) });

const ruleState = v.strictObject({
  /** The rule's canonical text, by which it is known whatever stands around it. */
  text: v.string(),
  /** When it was set: `now` of its first plan. */
  since: v.number(),
  /** Whom its bare pids meant when they were seen first. */
  pins: v.array(processId),
  /** Descendants that are known, and in how many plans in a row each was missing. */
  descendants: v.array(v.strictObject({ pid: whole, startTime: decimal, missing: whole })),
});

const heldFlow = v.strictObject({
  sock: v.pipe(v.string(), v.regex(/^0x[0-9a-f]{1,16}$/)),
  inode: whole,
  netns: v.nullable(whole),
  protocol: v.picklist(["tcp", "udp", "udplite"]),
  families: v.array(family),
  local: v.strictObject({ address: v.nullable(v.string()), port: whole }),
  remote: v.nullable(v.strictObject({ address: v.string(), port: whole })),
  /** In how many plans in a row the socket was missing from a snapshot that was not whole. */
  missing: whole,
  /** Rules that block it: index into `rules`. */
  rules: v.array(v.strictObject({ rule: whole, owner: v.nullable(owner) })),
});

const planState = v.strictObject({
  version: v.literal(1),
  rules: v.array(ruleState),
  held: v.array(heldFlow),
  /** What was in force: it is not given up for what comes after it when there is no room for all. */
  inForce: v.array(v.string()),
});

/**
 * What a plan has to know of the plans before it: whom pids meant, who descends from whom, which sockets are blocked and
 * since when rules are set. JSON as it is. It holds for one boot of one guest: keep it with the boot's id, and throw it away with it.
 */
export type PlanState = Readonly<v.InferOutput<typeof planState>>;
/** @internal */
export type RuleState = v.InferOutput<typeof ruleState>;
/** @internal */
export type HeldFlow = v.InferOutput<typeof heldFlow>;
/** @internal */
export type ProcessId = v.InferOutput<typeof processId>;

/** @internal Polls in a row for which that which is missing is still believed in, while the guest cannot be read as a whole. */
export const MISSING_MAX = 5;

/** The state before the first plan. */
export function emptyPlanState(): PlanState {
  return { version: 1, rules: [], held: [], inForce: [] };
}

/**
 * A state that was kept as JSON.
 *
 * @throws TypeError with the code ERR_INVALID_OPTION if it is none, or of another version
 */
export function parsePlanState(value: unknown): PlanState {
  const { success, output, issues } = v.safeParse(planState, value);
  if (success && output.held.every(({ rules }) => rules.every(({ rule }) => rule < output.rules.length))) return output;
  const [issue] = issues ?? [];
  const where = issue ? `${v.getDotPath(issue) ?? "the whole"}: ${issue.message}` : "a rule that it names is missing";
  throw argumentTypeError("ERR_INVALID_OPTION", `Bad state of a plan: ${where}. Begin with emptyPlanState().`);
}
