import { allCommands, type CommandNode, type OptionNode, type Value } from "../command-tree.ts";

export function fishCompletion(root: CommandNode): string {
  const commands = allCommands(root);
  const paths = commands.slice(1).map(({ path }) => quote(` ${path}`));
  return `# Completion of xfilter for fish, made by \`xfilter completion fish\`.
function __xfilter_is
    set -l command
    for word in (commandline -opc)[2..]
        contains -- "$command $word" ${paths.join(" ")}
        and set command "$command $word"
    end
    test "$command" = "$argv[1]"
end
complete -c xfilter -f
${commands.flatMap(lines).join("\n")}
`;
}

/** In single quotes fish knows two escapes. */
function quote(text: string): string {
  return `'${text.replace(/['\\]/g, "\\$&")}'`;
}

function lines(node: CommandNode): string[] {
  const condition = quote(`__xfilter_is "${node.path === "" ? "" : ` ${node.path}`}"`);
  const line = (rest: string, summary: string) => `complete -c xfilter -n ${condition} ${rest} -d ${quote(summary)}`;
  const children = node.children.map((child) => line(`-a ${child.path.split(" ").at(-1)}`, child.summary));
  const [first] = node.children.length === 0 ? node.arguments : [];
  return [
    ...children,
    ...node.options.map((option) => line(optionWords(option), option.summary)),
    ...(first && first.value.kind !== "other" ? [line(valueWords(first.value), first.value.name)] : []),
  ];
}

function optionWords({ flags, value }: OptionNode): string {
  const names = flags.map((flag) => (flag.startsWith("--") ? `-l ${flag.slice(2)}` : `-s ${flag.slice(1)}`));
  return [...names, ...(value ? ["-r", valueWords(value)] : [])].join(" ");
}

function valueWords(value: Value): string {
  if (value.kind === "choice") return `-f -a ${quote(value.choices.join(" "))}`;
  return { path: "-F", directory: "-f -a '(__fish_complete_directories)'", other: "-f" }[value.kind];
}
