import { writeFile } from "node:fs/promises";
import { Command, Option } from "commander";
import { createProfile, introspect } from "../index.ts";
import { type Context, notEmpty } from "./command.ts";

interface Options {
  readonly symbols?: string;
  readonly guest?: boolean;
  readonly output?: string;
}

/** Makes a profile of one kernel, of its files or of what a guest carries itself. */
export function profileCommand({ output, signal }: Context): Command {
  return new Command("profile")
    .description("make a small file of what the walk needs to know of one kernel, for --profile")
    .argument("<FILE>", "a vmlinux, a BTF file or an ISF file of that kernel; with --guest a memory image")
    .option("--symbols <PATH>", "its System.map, where FILE has no symbols", notEmpty)
    .addOption(
      new Option("--guest", "FILE is a memory image: take what its kernel says of itself").conflicts("symbols"),
    )
    .option("-o, --output <PATH>", "write the profile there instead of printing it", notEmpty)
    .action(async (file: string, { symbols, guest, output: path }: Options) => {
      const profile = guest ? await profileOfGuest(file) : await createProfile({ types: file, symbols, signal });
      if (path === undefined) await output.lines([profile.trimEnd()]);
      else await writeFile(path, profile);
    });

  async function profileOfGuest(target: string): Promise<string> {
    const guest = await introspect(target, { signal });
    try {
      return guest.profile();
    } finally {
      await guest.close();
    }
  }
}
