import { Option } from "commander";
import type { FilterOptions } from "../filter/index.ts";
import type { IntrospectOptions, XFilterError } from "../index.ts";
import { parseMilliseconds } from "./milliseconds.ts";

/** As of the library's `…BudgetMs`. */
const MAX_BUDGET_MS = 600_000;

function budget(flag: string, what: string): Option {
  return new Option(`--${flag} <MS>`, `milliseconds that ${what}`).argParser(parseMilliseconds(MAX_BUDGET_MS));
}

export const attachBudgetOption = () => budget("attach-budget", "the search for the kernel may take (60000)");
export const walkBudgetOption = () => budget("walk-budget", "one reading of the guest may take (10000)");
export const pauseBudgetOption = () => budget("pause-budget", "a pause may take, with --pause (1000)");

/** The library's options that its messages name, as the command line spells them. */
const SPELLINGS: readonly [name: keyof IntrospectOptions | keyof FilterOptions, flag: string][] = [
  ["types", "--types"],
  ["symbols", "--symbols"],
  ["profile", "--profile"],
  ["memoryMap", "--memory-map"],
  ["attachBudgetMs", "--attach-budget"],
  ["walkBudgetMs", "--walk-budget"],
  ["pauseBudgetMs", "--pause-budget"],
  ["stateDirectory", "--state"],
];

/** An error's message; what happened may quote a path, and stays as it is. */
export function messageInFlags({ what, advice }: XFilterError): string {
  return `${what} ${inFlags(advice)}`.trim();
}

/**
 * What the library says, in the words of the command line. Its advice names an option in parentheses, a message about
 * a bad option in front of the verb.
 */
export function inFlags(message: string): string {
  const named = message
    .replace('consistency "pause"', "--pause")
    .replace(/^Bad option: memoryMap\b/, "Bad option: --memory-map")
    .replace(/^Bad option: neverBlock\b/, "Bad option: --never-block")
    .replace(/^flushConntrack\.zone is/, "--flush-conntrack-zone is")
    .replace(/^onAgentDeath\.leaseMs is/, "--lease is, in milliseconds,");
  return SPELLINGS.reduce((text, [name, flag]) => text.replaceAll(`(${name})`, `(${flag})`), named);
}
