// Builds and runs the core's C++ tests, in the build directory of the addon.
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { unpack } from "../vmcore-fixtures/unpack.ts";

const root = join(import.meta.dirname, "..");
const build = join(root, "build");

if (!existsSync(join(build, "CMakeCache.txt"))) run("npx", ["cmake-js", "configure", "--config", "Release"]);
run("cmake", ["--build", build, "--target", "xfilter_tests", "--parallel", String(availableParallelism())]);
process.env.XFILTER_IMAGE = (await unpack()).image;
run(join(build, "xfilter_tests"), process.argv.slice(2));

function run(command: string, args: readonly string[]): void {
  const { status, error } = spawnSync(command, args, { cwd: root, stdio: "inherit" });
  if (error) console.error(`${command}: ${error.message}`);
  if (status !== 0) process.exit(status ?? 1);
}
