import { createRequire } from "node:module";
import { Command, CommanderError } from "commander";
import { escapeText } from "../escape.ts";
import { XFilterError } from "../index.ts";
import type { Context } from "./command.ts";
import { completionCommand } from "./completion.ts";
import { blockCommand, filterCommand } from "./filter.ts";
import { infoCommand } from "./info.ts";
import { inFlags, messageInFlags } from "./library-options.ts";
import { Output } from "./output.ts";
import { planCommand } from "./plan.ts";
import { profileCommand } from "./profile.ts";
import { psCommand } from "./ps.ts";
import { rulesCommand } from "./rules.ts";
import { ssCommand } from "./ss.ts";
import { clearCommand, statusCommand } from "./status.ts";
import { topCommand } from "./top.ts";
import { watchCommand } from "./watch.ts";

const COMMANDS: readonly ((context: Context) => Command)[] = [
  ...[infoCommand, psCommand, ssCommand, watchCommand, topCommand, profileCommand],
  ...[planCommand, filterCommand, blockCommand, rulesCommand, statusCommand, clearCommand],
  completionCommand,
];

const FAILED = 1;
const USAGE = 2;
const INTERRUPTED = 130;

/** Runs the command line; never rejects. Resolves with the exit code. */
export async function run(args: readonly string[], signal: AbortSignal): Promise<number> {
  const output = new Output(process.stdout, process.env, signal);
  // Kept by commander's synchronous callback, printed as everything else is.
  let help = "";
  const context: Context = { signal, output, warn: (message) => printError("warning", message) };
  const program = createProgram(context, (text) => {
    help += text;
  });
  try {
    try {
      await program.parseAsync(args, { from: "user" });
    } catch (error) {
      if (!(error instanceof CommanderError)) throw error;
      if (error.exitCode !== 0) return USAGE;
      await output.lines([help.trimEnd()]);
    }
    return 0;
  } catch (error) {
    if (signal.aborted) return INTERRUPTED;
    return report(error);
  }
}

/** Prints what went wrong and tells the exit code for it. */
function report(error: unknown): number {
  if (error instanceof XFilterError) {
    printError(error.code, messageInFlags(error));
    return FAILED;
  }
  const { code = "INTERNAL", message = String(error) } = (error ?? {}) as { code?: string; message?: string };
  if (code === "ERR_INVALID_RULE") {
    // Each line says what to do. They are one here, as each error is.
    printError("USAGE", message.replace(/:\n\s*/, ": ").replace(/\n\s*/g, "; "));
    return USAGE;
  }
  if (code === "ERR_INVALID_TARGET" || code === "ERR_INVALID_OPTION") {
    printError("USAGE", usageMessage(code === "ERR_INVALID_OPTION" ? inFlags(message) : message));
    return USAGE;
  }
  printError(code, message);
  return FAILED;
}

/** The command with all below it; `writeOut` gets its help and version. */
export function createProgram(context: Context, writeOut: (text: string) => void): Command {
  const { version } = createRequire(import.meta.url)("../../package.json") as { version: string };
  const program = new Command("xfilter").description(
    "Lists the processes of a Linux guest and their sockets, from the guest's memory, and filters by them.",
  );
  for (const make of COMMANDS) program.addCommand(make(context));
  const all = (command: Command): Command[] => [command, ...command.commands.flatMap(all)];
  for (const command of all(program)) {
    command
      .version(version, "-V, --version", "print the version")
      .helpOption("-h, --help", "print this help")
      .exitOverride()
      .configureOutput({ writeOut, outputError: (text) => printError("USAGE", usageMessage(text)) });
  }
  return program;
}

/** commander's "error: missing required argument 'TARGET'" as what happened and what to do. */
function usageMessage(text: string): string {
  const what = text
    .replace(/^error: /, "")
    .replace(/\s+/g, " ")
    .trim()
    .replace(/\.$/, "");
  return `${what[0]?.toUpperCase()}${what.slice(1)}. See xfilter --help, or --help of the command.`;
}

/** One line on stderr. The message may hold bytes of the guest or of a path. */
function printError(code: string, message: string): void {
  process.stderr.write(`xfilter: ${code}: ${escapeText(message)}\n`);
}
