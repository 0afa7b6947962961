import * as v from "valibot";
import { argumentTypeError } from "../errors.ts";
import type { Owner } from "../socket.ts";
import type { RuleProtocol } from "./rule.ts";

/**
 * What a plan has to know of the plans before it: whom pids meant, who descends from whom, which sockets are blocked and
 * since when rules are set. JSON as it is. It holds for one boot of one guest: keep it with the boot's id, and throw it away with it.
 */
export interface PlanState {
  readonly version: 1;
  readonly rules: readonly RuleState[];
  /** Sockets that are blocked. */
  readonly held: readonly HeldFlow[];
  /** What was in force: it is not given up for what comes after it when there is no room for all. */
  readonly inForce: readonly string[];
}

/** What stays known of a rule. */
export interface RuleState {
  /** The rule's canonical text, by which it is known whatever stands around it. */
  readonly text: string;
  /** When it was set: `now` of its first plan. */
  readonly since: number;
  /** Whom its bare pids meant when they were seen first. */
  readonly pins: readonly ProcessId[];
  /** Descendants that are known, and in how many plans in a row each was missing. */
  readonly descendants: readonly (ProcessId & { readonly missing: number })[];
}

/** A process; `startTime` in nanoseconds from the guest's boot, in decimal. */
export interface ProcessId {
  readonly pid: number;
  readonly startTime: string;
}

/** A socket that rules block, also after its process has let it go. */
export interface HeldFlow {
  /** Address of the `sock`, in hex. */
  readonly sock: string;
  readonly inode: number;
  readonly netns: number | null;
  readonly protocol: RuleProtocol;
  readonly families: readonly (4 | 6)[];
  readonly local: { readonly address: string | null; readonly port: number };
  readonly remote: { readonly address: string; readonly port: number } | null;
  /** In how many plans in a row the socket was missing from a snapshot that was not whole. */
  readonly missing: number;
  /** Rules that block it, by their index in `PlanState.rules`, and by which owner each of them does. */
  readonly rules: readonly { readonly rule: number; readonly owner: Owner | null }[];
}

const whole = v.pipe(v.number(), v.integer(), v.minValue(0));
const decimal = v.pipe(v.string(), v.regex(/^\d{1,20}$/));
const family = v.picklist([4, 6]);
const owner = v.strictObject({ pid: whole, fd: whole, comm: v.string(), uid: v.nullable(whole) });

const ruleState = v.strictObject({
  text: v.string(),
  since: v.number(),
  pins: v.array(v.strictObject({ pid: whole, startTime: decimal })),
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
  missing: whole,
  rules: v.array(v.strictObject({ rule: whole, owner: v.nullable(owner) })),
});

const planState = v.strictObject({
  version: v.literal(1),
  rules: v.array(ruleState),
  held: v.array(heldFlow),
  inForce: v.array(v.string()),
});

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
