// The main job on the image that comes with the repository: who runs in this guest, and who owns which socket?
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { unpack } from "../vmcore-fixtures/unpack.ts";

const command = join(import.meta.dirname, "..", "dist", "cli", "main.js");
const { image } = await unpack();

for (const name of ["info", "ps", "ss"]) {
  console.log(`\n$ xfilter ${name} ${image}\n`);
  const { status } = spawnSync(process.execPath, [command, name, image], { stdio: "inherit" });
  if (status !== 0) process.exit(status ?? 1);
}
