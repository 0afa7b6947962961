import { allCommands, type CommandNode, type OptionNode, type Value } from "../command-tree.ts";
import { quote } from "./quote.ts";

export function zshCompletion(root: CommandNode): string {
  return `#compdef xfilter
# Completion of xfilter for zsh, made by \`xfilter completion zsh\`.
${allCommands(root).map(commandFunction).join("\n")}
if [[ $funcstack[1] == _xfilter ]]; then
  _xfilter "$@"
else
  compdef _xfilter xfilter
fi
`;
}

const functionOf = ({ path }: CommandNode) => `_xfilter${path === "" ? "" : `_${path.replaceAll(" ", "_")}`}`;
const last = ({ path }: CommandNode) => path.split(" ").at(-1)!;

function commandFunction(node: CommandNode): string {
  const { children, options } = node;
  const specifications = options.map(optionSpecification);
  if (children.length === 0)
    return functionText(node, [...specifications, ...node.arguments.map(argumentSpecification)]);
  const names = children.map((child) => `    ${quote(`${last(child)}:${escaped(child.summary, ":")}`)}`);
  const calls = children.map((child) => `      ${last(child)}) ${functionOf(child)} ;;`);
  return `${functionOf(node)}() {
  local curcontext=$curcontext state line
  local -a commands=(
${names.join("\n")}
  )
  _arguments -C \\
    ${[...specifications, quote("1:command:->command"), quote("*::argument:->argument")].join(" \\\n    ")}
  case $state in
    command) _describe command commands ;;
    argument) case $line[1] in
${calls.join("\n")}
    esac ;;
  esac
}`;
}

function functionText(node: CommandNode, specifications: readonly string[]): string {
  return `${functionOf(node)}() {
  _arguments \\
    ${specifications.join(" \\\n    ")}
}`;
}

/** Of two spellings, either excludes the other. */
function optionSpecification({ flags, value, summary }: OptionNode): string {
  const end = `[${escaped(summary, "[]")}]${value ? `:${valueWords(value)}` : ""}`;
  const one = (flag: string, before: string) =>
    quote(`${before}${flag}${value && flag.startsWith("--") ? "=" : ""}${end}`);
  if (flags.length === 1) return one(flags[0]!, value ? "*" : "");
  return flags.map((flag) => one(flag, `(${flags.join(" ")})`)).join(" ");
}

function argumentSpecification({ value, required }: CommandNode["arguments"][number], index: number): string {
  return quote(`${index + 1}:${required ? "" : ":"}${valueWords(value)}`);
}

function valueWords(value: Value): string {
  if (value.kind === "choice") return `${value.name}:(${value.choices.join(" ")})`;
  return `${value.name}:${{ path: "_files", directory: "_directories", other: "" }[value.kind]}`;
}

function escaped(text: string, what: string): string {
  return Array.from(text, (letter) => (what.includes(letter) || letter === "\\" ? `\\${letter}` : letter)).join("");
}
