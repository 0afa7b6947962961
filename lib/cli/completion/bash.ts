import { allCommands, type CommandNode, type Value } from "../command-tree.ts";
import { quote } from "./quote.ts";

export function bashCompletion(root: CommandNode): string {
  const commands = allCommands(root);
  return `# Completion of xfilter for bash, made by \`xfilter completion bash\`.
_xfilter() {
  local current=\${COMP_WORDS[COMP_CWORD]} previous=\${COMP_WORDS[COMP_CWORD - 1]} command= words= i
  # --option=value is three words.
  if [[ $current == = ]]; then
    current=
  elif [[ $previous == = ]]; then
    previous=\${COMP_WORDS[COMP_CWORD - 2]}
  fi
  for ((i = 1; i < COMP_CWORD; i++)); do
    case "$command \${COMP_WORDS[i]}" in
      ${commands
        .slice(1)
        .map(({ path }) => quote(` ${path}`))
        .join(" | ")}) command+=" \${COMP_WORDS[i]}" ;;
    esac
  done
  COMPREPLY=()
  case "$command $previous" in
${commands.flatMap(optionValues).join("\n")}
  esac
  if [[ $current == -* ]]; then
    case $command in
${commands.map((node) => `      ${pattern(node)}) words=${quote(flags(node).join(" "))} ;;`).join("\n")}
    esac
  else
    case $command in
${commands.map((node) => `      ${pattern(node)}) ${positional(node)} ;;`).join("\n")}
    esac
  fi
  mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
}
_xfilter_paths() {
  mapfile -t COMPREPLY < <(compgen "$1" -- "$2")
  # Outside of a completion there is nothing to quote for.
  compopt -o filenames 2>/dev/null
}
complete -F _xfilter xfilter
`;
}

const pattern = ({ path }: CommandNode) => quote(path === "" ? "" : ` ${path}`);
const flags = ({ options }: CommandNode) => options.flatMap((option) => option.flags);

function optionValues({ path, options }: CommandNode): string[] {
  return options
    .filter(({ value }) => value !== null)
    .map((option) => {
      const cases = option.flags.map((flag) => quote(path === "" ? ` ${flag}` : ` ${path} ${flag}`)).join(" | ");
      return `    ${cases}) ${valueWords(option.value!)}; return ;;`;
    });
}

function valueWords(value: Value): string {
  if (value.kind === "choice")
    return `mapfile -t COMPREPLY < <(compgen -W ${quote(value.choices.join(" "))} -- "$current")`;
  if (value.kind === "other") return ":";
  return `_xfilter_paths ${value.kind === "path" ? "-f" : "-d"} "$current"`;
}

function positional({ children, arguments: [first] }: CommandNode): string {
  if (children.length > 0) return `words=${quote(children.map(({ path }) => path.split(" ").at(-1)).join(" "))}`;
  return first ? `${valueWords(first.value)}; return` : ":";
}
