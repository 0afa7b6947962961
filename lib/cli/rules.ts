import { Command } from "commander";
import { formatRule, type Rule } from "../rules/index.ts";
import type { Context } from "./command.ts";
import { RULES_HELP, readRules } from "./rules-file.ts";

export function rulesCommand(context: Context): Command {
  const { output } = context;
  const check = new Command("check")
    .description("read rules and print them in their one-line form, or say what is wrong with them")
    .argument("<FILE>", RULES_HELP)
    .option("--json", "print them as JSON, an object a line")
    .action(async (file: string, { json = false }: { json?: boolean }) => {
      const rules = await readRules(file, context);
      await (json ? output.json(rules.map(ruleJson)) : output.lines(rules.map(formatRule)));
    });
  return new Command("rules").description("work on rules without a guest").addCommand(check);
}

/** As `parseRules` reads it: JSON has no numbers for a process's start. */
function ruleJson(rule: Rule): unknown {
  return JSON.parse(JSON.stringify(rule, (_, value) => (typeof value === "bigint" ? `${value}` : value)));
}
