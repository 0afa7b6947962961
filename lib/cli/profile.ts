import { writeFile } from "node:fs/promises";
import { Command, Option } from "commander";
import { createProfile } from "../index.ts";
import { attach, type Context, notEmpty } from "./command.ts";
import { attachBudgetOption } from "./library-options.ts";
import { OutputError } from "./output.ts";

interface Options {
  readonly symbols?: string;
  readonly guest?: boolean;
  readonly output?: string;
  readonly attachBudget?: number;
}

/** Makes a profile of one kernel, of its files or of what a guest carries itself. */
export function profileCommand(context: Context): Command {
  const { output, signal } = context;
  return new Command("profile")
    .description("make a small file of what the walk needs to know of one kernel, for --profile")
    .argument("<FILE>", "a vmlinux, a BTF file or an ISF file of that kernel; with --guest a TARGET")
    .option("--symbols <PATH>", "its System.map, where FILE has no symbols", notEmpty)
    .addOption(
      new Option(
        "--guest",
        "FILE is a TARGET, a memory image or a running guest (qemu:…, xen:…): take what its kernel says of itself",
      ).conflicts("symbols"),
    )
    .option("-o, --output <PATH>", "write the profile there instead of printing it", notEmpty)
    .addOption(attachBudgetOption())
    .action(async (file: string, { symbols, guest, output: path, attachBudget }: Options) => {
      const profile = guest
        ? await profileOfGuest(file, attachBudget)
        : await createProfile({ types: file, symbols, signal });
      if (path === undefined) await output.lines([profile.trimEnd()]);
      else await write(path, profile);
    });

  async function profileOfGuest(target: string, attachBudgetMs: number | undefined): Promise<string> {
    const guest = await attach(context, target, { attachBudgetMs });
    try {
      return guest.profile();
    } finally {
      await guest.close();
    }
  }
}

async function write(path: string, profile: string): Promise<void> {
  try {
    await writeFile(path, profile);
  } catch (cause) {
    throw new OutputError(cause as NodeJS.ErrnoException, path, "Give a path that can be written");
  }
}
