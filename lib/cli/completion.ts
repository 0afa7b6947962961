import { Argument, Command } from "commander";
import type { Context } from "./command.ts";
import { type CommandNode, commandTree } from "./command-tree.ts";
import { bashCompletion } from "./completion/bash.ts";
import { fishCompletion } from "./completion/fish.ts";
import { zshCompletion } from "./completion/zsh.ts";

const SHELLS: Readonly<Record<string, (root: CommandNode) => string>> = {
  bash: bashCompletion,
  zsh: zshCompletion,
  fish: fishCompletion,
};

/** Prints what makes a shell complete the words of this command, as its own help has them. */
export function completionCommand({ output }: Context): Command {
  return new Command("completion")
    .description("print a script that makes a shell complete xfilter's commands and options")
    .addArgument(new Argument("<SHELL>", "the shell that reads it").choices(Object.keys(SHELLS)))
    .action(async (shell: string, _options: unknown, command: Command) => {
      await output.text(SHELLS[shell]!(commandTree(command.parent!)));
    });
}
