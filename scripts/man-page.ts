// Writes dist/xfilter.1, of what the command's own help says.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import {
  type ArgumentNode,
  allCommands,
  type CommandNode,
  commandTree,
  type OptionNode,
} from "../lib/cli/command-tree.ts";
import { Output } from "../lib/cli/output.ts";
import { createProgram } from "../lib/cli/program.ts";

const { signal } = new AbortController();
const context = { signal, output: new Output(process.stdout, {}, signal), warn: () => {} };
const tree = commandTree(createProgram(context, () => {}));
const commands = allCommands(tree).filter(({ path, children }) => !/(^|\bhelp)$/.test(path) && children.length === 0);
/** Told once: what every command has, and what all have that read a guest. */
const everywhere = tree.options.map(spelling);
const ofGuests = commands
  .find(({ path }) => path === "info")!
  .options.filter((option) => !everywhere.includes(spelling(option)));

/** As mdoc(7) reads it: no macro at the start of a line, no escape, ASCII. */
function text(words: string): string {
  return words
    .replaceAll("\\", "\\e")
    .replaceAll("-", "\\-")
    .replace(/[^\n -~]/gu, (letter) => `\\[u${letter.codePointAt(0)!.toString(16).toUpperCase().padStart(4, "0")}]`)
    .replace(/^(?=[.'])/gm, "\\&");
}

const sentence = (words: string) => text(`${words[0]!.toUpperCase()}${words.slice(1)}.`);

function spelling({ flags }: OptionNode): string {
  return flags.join(" ");
}

function option({ flags, value, description }: OptionNode): string {
  const spelt = flags.map((flag) => `Fl ${text(flag.slice(1))}${value ? ` Ar ${value.name}` : ""}`);
  return `.It ${spelt.join(" , ")}\n${sentence(description)}`;
}

const list = (items: readonly string[]) => (items.length === 0 ? [] : [".Bl -tag -width Ds", ...items, ".El"]);

function argument({ value, description }: ArgumentNode): string[] {
  return description === "" || value.name === "TARGET" ? [] : [`.It Ar ${value.name}\n${sentence(description)}`];
}

function command({ path, summary, options, arguments: words }: CommandNode): string {
  const named = words.map(({ value, required }) => (required ? ` ${value.name}` : ` [${value.name}]`));
  const readsGuest = ofGuests.every((one) => options.some((option) => spelling(option) === spelling(one)));
  const told = [...everywhere, ...(readsGuest ? ofGuests.map(spelling) : [])];
  const own = options.filter((option) => !told.includes(spelling(option)));
  return [
    `.Ss ${text(path)}${named.join("")}`,
    sentence(summary),
    ...(readsGuest ? ["It reads a guest."] : []),
    ...list([...words.flatMap(argument), ...own.map(option)]),
  ].join("\n");
}

const today = new Date().toLocaleDateString("en-US", { dateStyle: "long", timeZone: "UTC" });
const page = `.Dd ${today}
.Dt XFILTER 1
.Os
.Sh NAME
.Nm xfilter
.Nd processes and sockets of a Linux guest, from its memory, and a firewall by them
.Sh SYNOPSIS
.Nm
.Ar command
.Op Ar options
.Op Ar TARGET
.Sh DESCRIPTION
${text(tree.summary)}
Nothing is installed in the guest, and nothing has to be configured.
.Pp
A
.Ar TARGET
is the path of a memory image, or
.Cm vmcore: Ns Ar PATH ;
or a guest that runs in QEMU:
.Cm qemu: Ns Ar PATH
of its QMP socket, or
.Cm qemu:pid: Ns Ar PID ;
in Xen's Dom0, a domain's
.Cm xen: Ns Ar NAME
or
.Cm xen: Ns Ar ID .
.Pp
Each command has these options:
${list(tree.options.map(option)).join("\n")}
.Pp
Those that read a guest have these, too:
${list(ofGuests.map(option)).join("\n")}
.Sh COMMANDS
${commands.map(command).join("\n")}
.Sh FILES
.Bl -tag -width Ds
.It Pa /run/xfilter
What filters have to remember, and how they stand.
.It Pa /etc/xfilter
Rules and settings of the guests that the service
.Pa xfilter@.service
filters.
.El
.Sh EXIT STATUS
.Bl -tag -width Ds
.It 0
Done, also when the reader of a pipe had enough.
.It 1
Failed.
.It 2
Called wrongly, or with wrong rules.
.It 130 , 143 , 129 , 131
Ended by SIGINT, SIGTERM, SIGHUP or SIGQUIT; filters end with 0.
.El
.Sh EXAMPLES
Who talks ssh in a guest that runs:
.Pp
.Dl xfilter ss qemu:/run/vm1.qmp | grep :22
.Pp
Keep its user 1003 from doing so, until Ctrl\\-C:
.Pp
.Dl xfilter block qemu:/run/vm1.qmp \\-\\-uid 1003 \\-\\-remote\\-port 22
.Sh SEE ALSO
.Xr systemd.service 5 ,
.Xr ip 8 ,
.Xr nft 8
.Pp
There is more in the directory
.Pa docs
of the package:
.Pa cli.md , filter.md , rules.md , operations.md .
`;

writeFileSync(join(import.meta.dirname, "../dist/xfilter.1"), page);
