import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { inFlags, messageInFlags } from "../../lib/cli/library-options.ts";
import { XFilterError } from "../../lib/errors.ts";

const root = join(import.meta.dirname, "../..");

/** Sentences in the sources of the library and its addon. */
function sentences(): string[] {
  const files = ["binding", "lib"].flatMap((folder) =>
    readdirSync(join(root, folder), { recursive: true, encoding: "utf8" })
      .filter((name) => /\.(cc|h|ts)$/.test(name))
      .map((name) => join(root, folder, name)),
  );
  const literals = files.flatMap((file) => readFileSync(file, "utf8").match(/"(?:[^"\\\n]|\\.)*"/g) ?? []);
  return literals.filter((literal) => literal.includes(" "));
}

describe("what the library says, at the command line", () => {
  it.each([
    ["Give it more (walkBudgetMs); it may be lying.", "Give it more (--walk-budget); it may be lying."],
    ["Give the types of exactly this kernel (types).", "Give the types of exactly this kernel (--types)."],
    ["Bad option: memoryMap is of images.", "Bad option: --memory-map is of images."],
    ['consistency "pause" is for guests that run', "--pause is for guests that run"],
    ["flushConntrack.zone is a number", "--flush-conntrack-zone is a number"],
  ])("%j is %j", (message, told) => {
    expect(inFlags(message)).toBe(told);
  });
  it("is what happened alone, where there is nothing to advise", () => {
    const [what, advice] = ["The walk ended (walkBudgetMs).", "Give it more (walkBudgetMs)."];
    expect(messageInFlags(new XFilterError("WALK_BUDGET", what, advice))).toBe(`${what} Give it more (--walk-budget).`);
    expect(messageInFlags(new XFilterError("WALK_BUDGET", what, ""))).toBe(what);
  });
  it("names no budget by the name that only a program can give", () => {
    const budgets = sentences().filter((text) => /\w+BudgetMs/.test(text));
    expect(budgets.length).toBeGreaterThan(2);
    for (const text of budgets) expect(inFlags(text)).not.toMatch(/BudgetMs/);
  });
});
