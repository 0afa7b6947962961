import { spawnSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import type { Times } from "./measure.ts";

const root = join(import.meta.dirname, "..");
const build = join(root, "build");
const program = join(build, "xfilter_bench");

/** Builds the program of the core's layers. */
export function buildNative(): void {
  run("cmake", ["--build", build, "--target", "xfilter_bench", "--parallel", String(availableParallelism())]);
}

/** The core's layers, without Node. */
export function nativeTimes(image: string, runs: number): Times {
  return parseTimes(lines(run(program, [image, String(runs)])));
}

/** What another program that follows the floor's pointers must count, by the core's own walk. */
export function expectedCounts(image: string): unknown {
  return JSON.parse(run(program, ["--expected", image]));
}

/** Compiles the floor for one raw image; null, with the reason on stderr, for an image that it cannot be measured on. */
export function buildFloor(image: string): string | null {
  const directory = join(build, "bench");
  mkdirSync(directory, { recursive: true });
  const { status, stdout, stderr } = spawnSync(program, ["--offsets", image], { encoding: "utf8" });
  if (status !== 0) {
    console.error(`no floor: ${stderr.trim()}`);
    return null;
  }
  writeFileSync(join(directory, "floor_layout.h"), stdout);
  const floor = join(directory, "floor");
  run("cc", ["-std=gnu11", "-O2", "-I", directory, join(root, "bench", "floor", "floor.c"), "-o", floor]);
  return floor;
}

/** Fails where the floor counted other sockets than the walk. */
export function floorTimes(floor: string, image: string, runs: number): Times {
  return parseTimes(lines(run(floor, [image, String(runs)])));
}

/** Of lines of JSON, a layer each. */
export function parseTimes(rows: readonly string[]): Times {
  return new Map(
    rows.map((line) => {
      const { what, times } = JSON.parse(line) as { what: string; times: number[] };
      return [what, times];
    }),
  );
}

function lines(text: string): string[] {
  return text.trim().split("\n");
}

function run(command: string, args: readonly string[]): string {
  const { status, signal, error, stdout, stderr } = spawnSync(command, args, {
    encoding: "utf8",
    maxBuffer: 64 << 20,
  });
  if (status !== 0) throw new Error(`${command} ${args.join(" ")}: ${error?.message ?? signal ?? stderr}`);
  return stdout;
}
