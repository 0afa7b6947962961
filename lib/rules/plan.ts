import { argumentRangeError } from "../errors.ts";
import { isWhole } from "../quality.ts";
import type { Snapshot } from "../snapshot.ts";
import { bites, type Claim, decide, demands, type Verdict } from "./claim.ts";
import { findClaims, type Held, toHeld } from "./claims.ts";
import { Crowd } from "./crowd.ts";
import { DIRECTIONS, type EndsContext } from "./ends.ts";
import { AddressBook, isLoopback } from "./flow.ts";
import { withinLimit } from "./limit.ts";
import { Matcher } from "./matcher.ts";
import { type Network, networkProblem, parseNetwork } from "./network.ts";
import { type NamespaceFacts, nicNamespaces } from "./nic.ts";
import type { Plan } from "./pattern.ts";
import { type Pinned, ProcessIndex, pin } from "./pins.ts";
import type { Rule } from "./rule.ts";
import type { PlanState, RuleState } from "./state.ts";
import { formatRule } from "./text.ts";
import { describeFlow, Unenforced } from "./unenforced.ts";
import { connectedUnits, portUnits } from "./units.ts";

export { emptyPlanState, type PlanState, parsePlanState } from "./state.ts";
export { widenedPlan } from "./widened.ts";

/** What a plan is made of. The same makes the same plan; nothing of it is changed. */
export interface PlanInput {
  readonly snapshot: Pick<Snapshot, "processes" | "sockets" | "otherSockets" | "quality"> & {
    readonly networkNamespaces?: readonly NamespaceFacts[];
  };
  /** As `parseRules` gives them. */
  readonly rules: readonly Rule[];
  /** Of the plan before, of the same boot of the guest; `emptyPlanState()` at first. */
  readonly state: PlanState;
  /** Milliseconds since the epoch, by which a rule's time runs out. */
  readonly now: number;
  /** Addresses and networks to which no flow is ever blocked. */
  readonly neverBlock?: readonly string[];
  /** Patterns at most, 65,536 when it is not given. Those in force come first. */
  readonly maxFlows?: number;
}

const MAX_FLOWS = 65_536;

/** What a firewall should hold, by what a snapshot says and the rules ask. */
export function createPlan(input: PlanInput): { plan: Plan; state: PlanState } {
  const { snapshot, state, now, neverBlock = [], maxFlows = MAX_FLOWS } = input;
  const processes = new ProcessIndex(snapshot.processes);
  const whole = isWhole(snapshot.quality);
  const unenforced = new Unenforced();
  const context = { addresses: new AddressBook(), neverBlock: neverBlock.map(toNever), unenforced };

  const { matchers, ruleStates } = ready(input.rules, state, now, processes, whole);
  const held = stillRuled(state, matchers);
  const claims = findClaims(snapshot.sockets, matchers, held, whole, unenforced);
  findFlowless(snapshot, matchers, unenforced);
  const nics = nicNamespaces(snapshot.networkNamespaces, processes);
  const sent = claims.filter((claim) => leavesGuest(claim, nics, context));
  const asking = sent.filter((claim) => biting(claim, context).size > 0);
  const crowd = new Crowd(snapshot.sockets, sent, asking, nics);
  const connected = connectedUnits(asking, crowd, context);
  const units = [
    ...connected.values(),
    ...portUnits(asking, connected, crowd, snapshot.networkNamespaces, context),
  ].filter(({ size }) => size > 0);
  const { patterns, inForce, keys } = withinLimit(units, state.inForce, maxFlows, unenforced);

  const places = new Map(ruleStates.map(({ text }, place) => [text, place]));
  const next = sent.flatMap((claim) => {
    const rules = [...(inForce.get(claim) ?? [])]
      .filter(({ rule: { action } }) => action === "drop" || action === "reject")
      .map(({ rule, owner }) => ({ rule: places.get(rule.text)!, owner }))
      .sort((a, b) => a.rule - b.rule);
    return rules.length === 0 ? [] : [toHeld(claim, rules)];
  });
  next.sort((a, b) => order(a.sock, b.sock) || order(JSON.stringify(a), JSON.stringify(b)));
  return {
    plan: { patterns, unenforceable: unenforced.list() },
    state: { version: 1, rules: ruleStates, held: next, inForce: keys },
  };
}

function order(a: string, b: string): number {
  return Number(a > b) - Number(a < b);
}

function toNever(text: string): Network {
  const problem = networkProblem(text);
  if (problem === undefined) return parseNetwork(text)!;
  throw argumentRangeError("ERR_INVALID_OPTION", `Bad option: neverBlock: "${text}" ${problem}.`);
}

/** The rules whose time has not run out. A rule is who its text says, wherever it stands; of two with one text the first counts. */
function ready(rules: readonly Rule[], state: PlanState, now: number, processes: ProcessIndex, whole: boolean) {
  const before = new Map(state.rules.map((rule) => [rule.text, rule]));
  const matchers: Matcher[] = [];
  const ruleStates: RuleState[] = [];
  const texts = new Set<string>();
  for (const [index, rule] of rules.entries()) {
    const text = formatRule(rule);
    if (texts.has(text)) continue;
    texts.add(text);
    const known = before.get(text);
    const since = known?.since ?? now;
    const pinned: Pinned = pin(rule, known, processes, whole);
    ruleStates.push({ text, since, pins: pinned.pins, descendants: pinned.descendants });
    if (rule.forMs !== undefined && now >= since + rule.forMs) continue;
    matchers.push(new Matcher(rule, index, text, pinned, processes));
  }
  return { matchers, ruleStates };
}

function stillRuled(state: PlanState, matchers: readonly Matcher[]): Held[] {
  const byText = new Map(matchers.map((matcher) => [matcher.text, matcher]));
  return state.held.flatMap((flow) => {
    const rules = flow.rules.flatMap(({ rule, owner }) => {
      const matcher = byText.get(state.rules[rule]?.text ?? "");
      return matcher ? [{ rule: matcher, owner }] : [];
    });
    return rules.length > 0 ? [{ flow, rules }] : [];
  });
}

function findFlowless({ otherSockets }: PlanInput["snapshot"], matchers: readonly Matcher[], unenforced: Unenforced) {
  const asking = matchers.filter(({ hasWho, action }) => hasWho && action !== "accept");
  if (asking.length === 0) return;
  for (const socket of otherSockets) {
    for (const matcher of asking) {
      const match = matcher.matchPortless(socket);
      const what = `a socket of kind ${socket.kind} sends past every flow`;
      if (match) unenforced.add("no-flow", matcher, match.owner, socket.sock, what);
    }
  }
}

/** Whether its packets come by in the form that its sock tells. If they do not, that is said of the rules that would block them. */
function leavesGuest(claim: Claim, nics: ReadonlySet<number> | null, context: EndsContext): boolean {
  const { netns, sock } = claim.flow;
  const nat = nics !== null && netns !== null && !nics.has(netns);
  const loopback = isLoopback(claim.flow);
  if (!nat && !loopback) return true;
  const flow = describeFlow(claim.flow);
  for (const { rule, owner } of biting(claim, context)) {
    if (loopback) context.unenforced.add("loopback", rule, owner, sock, `${flow}: does not leave the guest`);
    else {
      const what = `${flow}: NOT BLOCKED: network namespace ${netns} has no network card, the guest rewrites its packets`;
      context.unenforced.add("nat", rule, owner, sock, what);
    }
  }
  return false;
}

/** The rules that would keep some of its packets. */
function biting(claim: Claim, { addresses }: EndsContext): Set<Verdict> {
  const { families, local, remote } = claim.flow;
  const found = new Set<Verdict>();
  if (remote === null && local.address === null) {
    // Addresses that rules name for it come to bear at ends of their own.
    for (const verdict of claim.verdicts) {
      const { action, localNetworks } = verdict.rule;
      if (action !== "accept" && localNetworks?.some(({ family }) => families.includes(family))) found.add(verdict);
    }
  }
  for (const direction of DIRECTIONS) {
    if (remote) {
      const verdict = decide(claim, direction, addresses);
      if (verdict && verdict.rule.action !== "accept") found.add(verdict);
      continue;
    }
    for (const family of families) {
      for (const demand of demands(claim, family, local.address, direction, addresses)) {
        if (bites(demand)) found.add(demand.verdict);
      }
    }
  }
  return found;
}
