import type { Argument, Command, Option } from "commander";

/** What may stand in a place of the command line, as its help names it. */
export type Value =
  | { readonly kind: "path" | "directory" | "other"; readonly name: string }
  | { readonly kind: "choice"; readonly name: string; readonly choices: readonly string[] };

export interface OptionNode {
  /** `-o` and `--output`, or one of them. */
  readonly flags: readonly string[];
  /** Null: it takes none. */
  readonly value: Value | null;
  readonly summary: string;
  /** The same, with what can be chosen and what stands if it is not given. */
  readonly description: string;
  readonly required: boolean;
}

export interface ArgumentNode {
  readonly value: Value;
  readonly description: string;
  readonly required: boolean;
}

export interface CommandNode {
  /** Words behind `xfilter`: "", "filter", "rules check". */
  readonly path: string;
  readonly summary: string;
  readonly options: readonly OptionNode[];
  readonly arguments: readonly ArgumentNode[];
  readonly children: readonly CommandNode[];
}

/** What the help of a command and of those below it says. */
export function commandTree(command: Command, path = ""): CommandNode {
  const help = command.createHelp();
  return {
    path,
    summary: command.description(),
    options: help
      .visibleOptions(command)
      .map((option) => ({ ...optionNode(option), description: help.optionDescription(option) })),
    arguments: command.registeredArguments.map(argumentNode),
    children: help.visibleCommands(command).map((child) => commandTree(child, `${path} ${child.name()}`.trim())),
  };
}

/** A command and all below it. */
export function allCommands(node: CommandNode): CommandNode[] {
  return [node, ...node.children.flatMap(allCommands)];
}

function optionNode({ flags, short, long, required, mandatory, description, argChoices }: Option) {
  return {
    flags: [short, long].filter((flag) => flag !== undefined),
    value: required ? value(/<(.+)>/.exec(flags)![1]!, argChoices) : null,
    summary: description,
    required: mandatory,
  };
}

function argumentNode(argument: Argument): ArgumentNode {
  const { required, description, argChoices } = argument;
  return { value: value(argument.name(), argChoices), description, required };
}

const PATHS = ["PATH", "FILE", "TARGET"];

function value(name: string, choices: readonly string[] | undefined): Value {
  if (choices) return { kind: "choice", name, choices };
  return { kind: PATHS.includes(name) ? "path" : name === "DIRECTORY" ? "directory" : "other", name };
}
