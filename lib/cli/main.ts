#!/usr/bin/env node
import { createRequire } from "node:module";
import { Command, CommanderError } from "commander";
import type { Context } from "./command.ts";
import { escapeText } from "./escape.ts";
import { infoCommand } from "./info.ts";
import { Output } from "./output.ts";
import { psCommand } from "./ps.ts";
import { ssCommand } from "./ss.ts";

const FAILED = 1;
const USAGE = 2;
const INTERRUPTED = 130;

const interrupt = new AbortController();
// Once: a second Ctrl-C ends the process the hard way.
process.once("SIGINT", () => interrupt.abort());

const { signal } = interrupt;
process.exitCode = await main(process.argv.slice(2), {
  signal,
  output: new Output(process.stdout, process.env, signal),
});

async function main(args: readonly string[], context: Context): Promise<number> {
  try {
    await createProgram(context).parseAsync(args, { from: "user" });
    return 0;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : USAGE;
    if (context.signal.aborted) return INTERRUPTED;
    const { code = "INTERNAL", message = String(error) } = error as { code?: string; message?: string };
    printError(code, message);
    return code === "ERR_INVALID_TARGET" || code === "ERR_INVALID_OPTION" ? USAGE : FAILED;
  }
}

function createProgram(context: Context): Command {
  const { version } = createRequire(import.meta.url)("../../package.json") as { version: string };
  const program = new Command("xfilter").description(
    "Lists the processes of a Linux guest and their sockets, from the guest's memory.",
  );
  for (const make of [infoCommand, psCommand, ssCommand]) program.addCommand(make(context));
  for (const command of [program, ...program.commands]) {
    command
      .version(version, "-V, --version", "print the version")
      .helpOption("-h, --help", "print this help")
      .exitOverride()
      .configureOutput({ outputError: (text) => printError("USAGE", usageMessage(text)) });
  }
  return program;
}

/** commander's "error: missing required argument 'TARGET'" as what happened and what to do. */
function usageMessage(text: string): string {
  const what = text
    .replace(/^error: /, "")
    .replace(/\s+/g, " ")
    .trim();
  return `${what[0]?.toUpperCase()}${what.slice(1)}. See xfilter --help, or --help of the command.`;
}

/** One line on stderr. The message may hold bytes of the guest or of a path. */
function printError(code: string, message: string): void {
  process.stderr.write(`xfilter: ${code}: ${escapeText(message)}\n`);
}
