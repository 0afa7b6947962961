// The main job on the image that comes with the repository: who runs in this guest, and who owns which socket?
import { spawnSync } from "node:child_process";
import { existsSync, lstatSync, rmSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { unpack } from "../vmcore-fixtures/unpack.ts";

const root = join(import.meta.dirname, "..");
const command = join(root, "dist", "cli", "main.js");
const { image } = await unpack();
const name = giveName();

for (const subcommand of ["info", "ps", "ss"]) {
  console.log(`\n$ npx xfilter ${subcommand} ${name}\n`);
  const { status } = spawnSync(process.execPath, [command, subcommand, name], { cwd: root, stdio: "inherit" });
  if (status !== 0) process.exit(status ?? 1);
}
console.log(`
Now you: the image is ${name}, ${name === image ? "" : "here in the checkout, "}as in the examples of README.md and docs/. For instance:

    npx xfilter ps --details ${name}
    npx xfilter ss --json ${name}
`);

/** The name that the documents' examples use, unless a file of the user's has it. */
function giveName(): string {
  const link = join(root, "memory.elf");
  if (lstatSync(link, { throwIfNoEntry: false })?.isSymbolicLink()) rmSync(link);
  if (existsSync(link)) return image;
  symlinkSync(image, link);
  return "memory.elf";
}
