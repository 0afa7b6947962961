import { Command } from "commander";
import { formatRule } from "../rules/index.ts";
import type { Context } from "./command.ts";
import { readRules } from "./rules-file.ts";

export function rulesCommand({ output }: Context): Command {
  const check = new Command("check")
    .description("read rules and print them in their one-line form, or say what is wrong with them")
    .argument("<FILE>", "rules: JSON, or one a line")
    .action((file: string) => output.lines(readRules(file).map(formatRule)));
  return new Command("rules").description("work on rules without a guest").addCommand(check);
}
