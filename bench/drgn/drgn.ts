import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import type { Times } from "../measure.ts";
import { expectedCounts, parseTimes } from "../native.ts";

/** A Python that has drgn, and the kernel with its debug information. */
export interface Drgn {
  readonly python: string;
  readonly vmlinux: string;
}

/** What the options ask for; null: nothing. drgn reads no guest without the debug information of its kernel. */
export function chooseDrgn(python: string | undefined, vmlinux: string | undefined): Drgn | null {
  if (python === undefined && vmlinux === undefined) return null;
  if (python === undefined || vmlinux === undefined) throw new RangeError("--drgn and --vmlinux go together");
  if (!existsSync(vmlinux)) throw new RangeError(`${vmlinux} does not exist`);
  return { python, vmlinux };
}

/**
 * drgn's start and walk; null, with the reason on stderr, for an image that it does not read. Fails where it counted other
 * sockets than the walk.
 */
export function drgnTimes({ python, vmlinux }: Drgn, image: string, runs: number): Times | null {
  const script = join(import.meta.dirname, "walk.py");
  const { status, error, stdout, stderr } = spawnSync(python, [script, image, vmlinux, String(runs)], {
    encoding: "utf8",
  });
  if (error) throw error;
  if (status !== 0) {
    console.error(`no drgn: ${stderr.trim().split("\n").at(-1)}`);
    return null;
  }
  const lines = stdout.trim().split("\n");
  const counted: unknown = JSON.parse(lines.pop()!);
  const expected = expectedCounts(image);
  if (!isDeepStrictEqual(counted, expected)) {
    throw new Error(`drgn counted ${JSON.stringify(counted)}, the walk ${JSON.stringify(expected)}`);
  }
  return parseTimes(lines);
}
