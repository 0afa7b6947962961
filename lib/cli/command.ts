import { Command, InvalidArgumentError } from "commander";
import {
  type Guest,
  type IntrospectOptions,
  introspect,
  type KernelFiles,
  type MemoryMapEntry,
  type Snapshot,
} from "../index.ts";
import { parseMemoryMap } from "../memory-map.ts";
import { isOfRunning } from "../sources/target.ts";
import { attachBudgetOption, pauseBudgetOption, walkBudgetOption } from "./library-options.ts";
import type { Output } from "./output.ts";
import { incompleteness } from "./quality.ts";
import { tellOfWaiting } from "./waiting.ts";

/** What every command gets. */
export interface Context {
  readonly output: Output;
  /** Aborted by Ctrl-C. */
  readonly signal: AbortSignal;
  /** Says something on stderr that is no failure. */
  warn(message: string): void;
}

/** What a command works with once its target is attached. */
export interface Invocation extends Context {
  /** As it was given. */
  readonly target: string;
  /** Whether the target is a guest that runs, and no image. */
  readonly runs: boolean;
  readonly guest: Guest;
  readonly json: boolean;
  /** Takes a snapshot. After the command's output is written, what the snapshot may lack is warned of. */
  snapshot(options?: { details: boolean }): Promise<Snapshot>;
}

interface Options extends KernelFiles {
  readonly json?: boolean;
  readonly pause?: boolean;
  readonly memoryMap?: readonly MemoryMapEntry[];
  readonly attachBudget?: number;
  readonly walkBudget?: number;
  readonly pauseBudget?: number;
}

const TARGET_HELP =
  "path of a memory image, or vmcore:PATH; a running guest's qemu:PATH of its QMP socket, qemu:pid:PID, or xen:NAME or xen:ID of its domain (./ in front of a path that looks like a URI)";

/** A command that attaches to TARGET, does its work and lets go. */
export function guestCommand(
  name: string,
  summary: string,
  context: Context,
  run: (invocation: Invocation) => Promise<void>,
): Command {
  return new Command(name)
    .description(summary)
    .argument("<TARGET>", TARGET_HELP)
    .option("--json", "print JSON, one object a line")
    .option(
      "--types <PATH>",
      "take the kernel's types from its vmlinux, a BTF or an ISF file, not from the guest",
      notEmpty,
    )
    .option("--symbols <PATH>", "take its symbols from a System.map, its vmlinux or an ISF file", notEmpty)
    .option("--profile <PATH>", "take both from a file that `xfilter profile` made", notEmpty)
    .option("--pause", "stop a running guest while it is read, by its QMP socket or by Xen")
    .option(
      "--memory-map <MAP>",
      "where the guest's memory lies in the file: START:SIZE:OFFSET, more after commas",
      parseMemoryMap,
    )
    .addOption(attachBudgetOption())
    .addOption(walkBudgetOption())
    .addOption(pauseBudgetOption())
    .action(async (target: string, options: Options, command: Command) => {
      const { json = false, pause = false, types, symbols, profile, memoryMap } = options;
      const { attachBudget: attachBudgetMs, walkBudget: walkBudgetMs, pauseBudget: pauseBudgetMs } = options;
      if (pauseBudgetMs !== undefined && !pause) command.error("error: --pause-budget is for --pause");
      const guest = await attach(context, target, {
        ...{ types, symbols, profile, memoryMap },
        ...{ attachBudgetMs, walkBudgetMs, pauseBudgetMs, consistency: pause ? "pause" : undefined },
      });
      const runs = isOfRunning(target);
      let incomplete: string | undefined;
      const snapshot = async (options = { details: false }) => {
        const taken = await guest.snapshot({ ...options, signal: context.signal });
        incomplete = incompleteness(taken.quality, runs);
        return taken;
      };
      try {
        await run({ ...context, target, runs, guest, json, snapshot });
        if (incomplete !== undefined) context.warn(incomplete);
      } finally {
        await guest.close();
      }
    });
}

/** Attaches, and tells whoever sits at the terminal why that takes long. */
export async function attach({ signal }: Context, target: string, options: IntrospectOptions): Promise<Guest> {
  const stopTelling = tellOfWaiting(process.stderr);
  try {
    return await introspect(target, { ...options, signal });
  } finally {
    stopTelling();
  }
}

/** The value of an option that is a path: a shell's unset variable is none. */
export function notEmpty(path: string): string {
  if (path === "") throw new InvalidArgumentError("It is empty.");
  return path;
}
