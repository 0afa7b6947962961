import { constants, createReadStream, fstatSync, openSync } from "node:fs";
import { Socket } from "node:net";
import { addAbortSignal, type Readable } from "node:stream";
import { argumentRangeError, argumentTypeError } from "../errors.ts";
import { formatRule, parseRules, type Rule } from "../rules/index.ts";
import type { Context } from "./command.ts";
import { describeCause } from "./output.ts";

/** Larger than any set of rules that a person wrote; what is larger is another file. */
const MAX_BYTES = 4 << 20;

export const RULES_HELP = "rules: JSON, or one a line; - for the standard input";

/**
 * The rules in a file, `-` for the standard input: JSON, or lines of the one-line form, where `#` begins a comment. Warns of those
 * that do nothing.
 *
 * @throws TypeError or RangeError with the code ERR_INVALID_RULE
 */
export async function readRules(path: string, { signal, warn }: Pick<Context, "signal" | "warn">): Promise<Rule[]> {
  const text = await readText(path, signal);
  const [rules, places] = /^\s*[[{]/.test(text) ? parseJson(text, path) : parseLines(text, path);
  for (const remark of remarks(rules, places, path)) warn(remark);
  return rules;
}

async function readText(path: string, signal: AbortSignal): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  try {
    const input: Readable = path === "-" ? process.stdin : open(path);
    for await (const chunk of addAbortSignal(signal, input)) {
      chunks.push(chunk);
      size += chunk.length;
      if (size > MAX_BYTES) throw argumentRangeError("ERR_INVALID_RULE", `Bad rules: ${path} has more than 4 MiB.`);
    }
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).errno === undefined) throw cause;
    throw argumentTypeError(
      "ERR_INVALID_RULE",
      `${path} cannot be read: ${describeCause(cause as Error)}. Give a file of rules.`,
    );
  }
  try {
    const text = new TextDecoder("utf-8", { fatal: true }).decode(Buffer.concat(chunks));
    if (!text.includes("\0")) return text;
  } catch {}
  throw argumentTypeError("ERR_INVALID_RULE", `${path} is not text in UTF-8. Give a file of rules.`);
}

/** What can be read without waiting in the kernel, where no signal ends it: nobody may ever write to a FIFO. */
function open(path: string): Readable {
  const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  const stat = fstatSync(fd);
  if (stat.isFile()) return createReadStream(path, { fd });
  if (stat.isFIFO()) return new Socket({ fd, readable: true, writable: false });
  throw argumentTypeError("ERR_INVALID_RULE", `${path} is neither a file nor a pipe. Give a file of rules.`);
}

/** Rules, and where each of them stands. */
type Placed = [rules: Rule[], places: readonly string[]];

function parseJson(text: string, path: string): Placed {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw argumentRangeError("ERR_INVALID_RULE", `Bad rules: ${path} is no JSON: ${(cause as Error).message}.`);
  }
  const rules = parseRules(value);
  return [rules, rules.map((_, index) => `rules[${index}]`)];
}

/** What is wrong is told by the file's lines, where the library tells it by the rules' places. */
function parseLines(text: string, path: string): Placed {
  const lines = text.split("\n").map((line, index) => ({ rule: line.trim(), place: `${path}:${index + 1}` }));
  const rules = lines.filter(({ rule }) => rule !== "" && !rule.startsWith("#"));
  const places = rules.map(({ place }) => place);
  try {
    return [parseRules(rules.map(({ rule }) => rule)), places];
  } catch (error) {
    if (error instanceof Error) {
      error.message = error.message.replace(/rules\[(\d+)\]/g, (_, index) => places[index]!);
    }
    throw error;
  }
}

/** What of the rules has no effect, where that is plain: nothing at all, a rule twice, or one that asks what another has decided. */
function remarks(rules: readonly Rule[], places: readonly string[], path: string): string[] {
  if (rules.length === 0) return [`${path} has no rules: nothing is filtered by it`];
  const decided = new Map<string, string>();
  return rules.flatMap((rule, index) => {
    const place = places[index]!;
    const criteria = formatRule({ ...withoutNote(rule), action: "drop" });
    const first = decided.get(formatRule(rule)) ?? decided.get(criteria);
    if (first !== undefined) return [`${place} has no effect: ${first} asks the same, and the first rule decides`];
    decided.set(formatRule(rule), place);
    // One that ends leaves the rest of the time to the next; not every holder need be let go by what lets one of them go.
    if (rule.action !== "accept" && rule.forMs === undefined) decided.set(criteria, place);
    return [];
  });
}

function withoutNote({ comment: _, forMs: __, ...rule }: Rule): Rule {
  return rule;
}
