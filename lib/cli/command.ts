import { Command } from "commander";
import { type Guest, introspect } from "../index.ts";
import type { Output } from "./output.ts";

/** What every command gets. */
export interface Context {
  readonly output: Output;
  /** Aborted by Ctrl-C. */
  readonly signal: AbortSignal;
}

/** What a command works with once its target is attached. */
export interface Invocation extends Context {
  readonly guest: Guest;
  readonly json: boolean;
}

const TARGET_HELP = "path of a memory image, or vmcore:PATH (./ in front of a path that looks like a URI)";

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
    .option("--types-btf <PATH>", "take the kernel's types from a BTF file instead of the guest's memory")
    .action(async (target: string, { json = false, typesBtf }: { json?: boolean; typesBtf?: string }) => {
      const types = typesBtf === undefined ? undefined : { btf: typesBtf };
      const guest = await introspect(target, { signal: context.signal, types });
      try {
        await run({ ...context, guest, json });
      } finally {
        await guest.close();
      }
    });
}
