// The main job on the image that comes with the repository: who runs in this guest, who owns which socket, and what would a rule
// about one of its users put in force?
import { spawnSync } from "node:child_process";
import { existsSync, lstatSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { unpack } from "../vmcore-fixtures/unpack.ts";

const root = join(import.meta.dirname, "..");
const command = join(root, "dist", "cli", "main.js");
const RULE = "deny tcp from any to any 22 out uid 1003";
const { image } = await unpack();
const name = giveName();

for (const subcommand of ["info", "ps", "ss"]) show([subcommand, name]);
const rules = writeRules();
console.log(`\n$ cat ${rules}\n\n${RULE}`);
show(["plan", name, "--rules", rules]);
console.log(`
That is what \`xfilter filter\` would put into the firewall, were it a guest that runs: nothing was changed.

Now you: the image is ${name}, ${name === image ? "" : "here in the checkout, "}as in the examples of README.md and docs/. For instance:

    npx xfilter ps --details ${name}
    npx xfilter ss --json ${name}
`);

function show(words: readonly string[]): void {
  console.log(`\n$ npx xfilter ${words.join(" ")}\n`);
  const { status } = spawnSync(process.execPath, [command, ...words], { cwd: root, stdio: "inherit" });
  if (status !== 0) process.exit(status ?? 1);
}

/** As the documents' examples name them, unless a file of the user's is called so. */
function writeRules(): string {
  const [own, text] = [join(root, "vm1.rules"), `${RULE}\n`];
  const free = !existsSync(own) || readFileSync(own, "utf8") === text;
  const path = free ? "vm1.rules" : ".cache/demo.rules";
  mkdirSync(dirname(join(root, path)), { recursive: true });
  writeFileSync(join(root, path), text);
  return path;
}

/** The name that the documents' examples use, unless a file of the user's has it. */
function giveName(): string {
  const link = join(root, "memory.elf");
  if (lstatSync(link, { throwIfNoEntry: false })?.isSymbolicLink()) rmSync(link);
  if (existsSync(link)) return image;
  symlinkSync(image, link);
  return "memory.elf";
}
