import { readFileSync, statSync } from "node:fs";
import { argumentRangeError, argumentTypeError } from "../errors.ts";
import { parseRules, type Rule } from "../rules/index.ts";

/** Larger than any set of rules that a person wrote; what is larger is another file. */
const MAX_BYTES = 4 << 20;

/**
 * The rules in a file: JSON, or lines of the one-line form, where `#` begins a comment.
 *
 * @throws TypeError or RangeError with the code ERR_INVALID_OPTION or ERR_INVALID_RULE
 */
export function readRules(path: string): Rule[] {
  const text = readText(path);
  return /^\s*[[{]/.test(text) ? parseRules(parseJson(text, path)) : parseLines(text, path);
}

function readText(path: string): string {
  try {
    if (statSync(path).size <= MAX_BYTES) return readFileSync(path, "utf8");
  } catch (cause) {
    throw argumentTypeError("ERR_INVALID_OPTION", `Bad option: rules cannot be read: ${(cause as Error).message}.`);
  }
  throw argumentRangeError("ERR_INVALID_RULE", `Bad rules: ${path} has more than 4 MiB.`);
}

function parseJson(text: string, path: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw argumentRangeError("ERR_INVALID_RULE", `Bad rules: ${path} is no JSON: ${(cause as Error).message}.`);
  }
}

/** What is wrong is told by the file's lines, where the library tells it by the rules' places. */
function parseLines(text: string, path: string): Rule[] {
  const lines = text.split("\n").map((line, index) => ({ rule: line.trim(), number: index + 1 }));
  const rules = lines.filter(({ rule }) => rule !== "" && !rule.startsWith("#"));
  try {
    return parseRules(rules.map(({ rule }) => rule));
  } catch (error) {
    if (error instanceof Error) {
      error.message = error.message.replace(/rules\[(\d+)\]/g, (_, index) => `${path}:${rules[index]?.number}`);
    }
    throw error;
  }
}
