import * as v from "valibot";
import { argumentRangeError, argumentTypeError } from "../errors.ts";
import { parseDuration } from "./duration.ts";
import { formatNetwork, type Network, parseNetwork } from "./network.ts";
import type { PortMatch, ProcessMatch, Rule } from "./rule.ts";
import { RULE_MEMBERS, ruleObject } from "./rule-object.ts";
import { entries, RuleTextError, readRuleText } from "./text.ts";

const RULES_MAX = 10_000;
/** More of them help nobody. */
const PROBLEMS_SHOWN = 50;

/** What is wrong, and whether it is of the wrong kind altogether. */
interface Problem {
  readonly path: string;
  readonly what: string;
  readonly kind: boolean;
}

/**
 * Rules as they may be written: a list, or an object with the member `rules`, of objects and texts in the one-line form; what
 * `JSON.parse` made of a file, too. In their canonical form: a list of one is the one, ranges of one port are the port.
 *
 * @throws TypeError or RangeError with the code ERR_INVALID_RULE, whose message has a line for each thing that is wrong
 */
export function parseRules(value: unknown): Rule[] {
  const problems: Problem[] = [];
  const rules = listOf(value, problems).map((rule, index) => parseEntry(rule, `rules[${index}]`, problems));
  refuse(problems);
  return rules as Rule[];
}

/**
 * One rule: an object, or a text in the one-line form.
 *
 * @throws TypeError or RangeError with the code ERR_INVALID_RULE
 */
export function parseRule(value: unknown): Rule {
  const problems: Problem[] = [];
  const rule = parseEntry(value, "rule", problems);
  refuse(problems);
  return rule!;
}

function refuse(problems: readonly Problem[]): void {
  if (problems.length === 0) return;
  const lines = problems.slice(0, PROBLEMS_SHOWN).map(({ path, what }) => `${path}: ${what}`);
  if (problems.length > lines.length) lines.push(`and ${problems.length - lines.length} more`);
  const message = lines.length === 1 ? `Bad rule: ${lines[0]}.` : `Bad rules:\n  ${lines.join("\n  ")}`;
  const make = problems.some(({ kind }) => kind) ? argumentTypeError : argumentRangeError;
  throw make("ERR_INVALID_RULE", message);
}

function listOf(value: unknown, problems: Problem[]): readonly unknown[] {
  let rules = value;
  if (isObject(value)) {
    rules = value.rules;
    for (const key of Object.keys(value)) {
      if (key !== "rules") problems.push({ path: key, what: "is not known beside `rules`", kind: true });
    }
  }
  if (!Array.isArray(rules)) {
    problems.push({ path: "rules", what: "is not a list of rules", kind: true });
    return [];
  }
  if (rules.length <= RULES_MAX) return rules;
  problems.push({ path: "rules", what: `has more than ${RULES_MAX} entries`, kind: false });
  return [];
}

function parseEntry(value: unknown, path: string, problems: Problem[]): Rule | undefined {
  const found = problems.length;
  const raw = typeof value === "string" ? readText(value, path, problems) : value;
  if (problems.length > found) return;
  const { output, issues = [] } = v.safeParse(ruleObject, raw);
  const unknownKeys = isObject(raw) ? Object.keys(raw).filter((key) => !RULE_MEMBERS.includes(key)) : [];
  for (const key of unknownKeys) problems.push({ path: `${path}.${key}`, what: unknownKey(key), kind: true });
  for (const issue of issues) {
    const [first] = issue.path ?? [];
    // valibot tells the first only.
    if (issue.path?.length === 1 && unknownKeys.includes(String(first!.key))) continue;
    problems.push({ path: path + pathOf(issue.path), what: issueText(issue), kind: issue.kind === "schema" });
  }
  if (problems.length > found) return;
  const { for: time, ...members } = output as v.InferOutput<typeof ruleObject>;
  const forMs = time === undefined ? members.forMs : parseDuration(time);
  if (time !== undefined && members.forMs !== undefined) {
    problems.push({ path: `${path}.for`, what: "is there beside `forMs`: give one of them", kind: false });
  }
  const rule = canonical({ ...members, forMs } as Rule);
  for (const [member, what] of contradictions(rule)) problems.push({ path: `${path}.${member}`, what, kind: false });
  return rule;
}

function readText(text: string, path: string, problems: Problem[]): unknown {
  try {
    return readRuleText(text);
  } catch (error) {
    if (!(error instanceof RuleTextError)) throw error;
    problems.push({ path, what: error.message, kind: false });
    return undefined;
  }
}

function pathOf(path: readonly { readonly key: unknown }[] | undefined): string {
  return (path ?? []).map(({ key }) => (typeof key === "number" ? `[${key}]` : `.${String(key)}`)).join("");
}

function issueText({ type, expected, received, message }: v.BaseIssue<unknown>): string {
  if (type === "strict_object" && received === "undefined") return "is missing";
  if (type === "strict_object" && expected === "never") return "is not known";
  return message;
}

function unknownKey(key: string): string {
  const plain = (name: string) => name.toLowerCase().replaceAll(/[^a-z]/g, "");
  const meant = RULE_MEMBERS.find((name) => plain(name) === plain(key));
  return meant ? `is not known: \`${meant}\` is` : `is not known: a rule has ${RULE_MEMBERS.join(", ")}`;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Lists of one, ranges of one, what says nothing: each in the one form that reads back from the text. */
function canonical(rule: Rule): Rule {
  const port = (match: PortMatch) => (typeof match === "object" && match.from === match.to ? match.from : match);
  const process = (match: ProcessMatch) => (typeof match === "object" ? { ...match } : match);
  const address = (text: string) => formatNetwork(parseNetwork(text)!);
  const members: Record<string, unknown> = {
    ...rule,
    pid: single(entries(rule.pid).map(process)),
    descendants: rule.descendants || undefined,
    localPort: single(entries(rule.localPort).map(port)),
    remotePort: single(entries(rule.remotePort).map(port)),
    localAddress: single(entries(rule.localAddress).map(address)),
    remoteAddress: single(entries(rule.remoteAddress).map(address)),
    comment: rule.comment?.trim() || undefined,
  };
  const named = Object.entries(members).map(([name, value]) => [name, Array.isArray(value) ? single(value) : value]);
  return Object.fromEntries(named.filter(([, value]) => value !== undefined)) as Rule;
}

function single<T>(list: readonly T[]): T | readonly T[] | undefined {
  return list.length > 1 ? list : list[0];
}

/** What no flow can meet. */
function* contradictions(rule: Rule): Generator<[member: string, what: string]> {
  if (rule.descendants && rule.pid === undefined) yield ["descendants", "needs `pid`: whose descendants?"];
  const families = (addresses: Rule["localAddress"]): ReadonlySet<Network["family"]> =>
    new Set(entries(addresses).map((text) => parseNetwork(text)!.family));
  const local = families(rule.localAddress);
  const remote = families(rule.remoteAddress);
  if (local.size > 0 && remote.size > 0 && ![...local].some((family) => remote.has(family))) {
    yield ["remoteAddress", "is of the other IP version than `localAddress`: no flow has both"];
  }
}
