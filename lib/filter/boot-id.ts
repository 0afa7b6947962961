import { createHash } from "node:crypto";
import type { Kernel } from "../kernel.ts";
import type { Snapshot } from "../snapshot.ts";

const FIRST: readonly number[] = [1, 2];

/** @internal Whether a snapshot has the processes by which a boot is known: a walk may miss anybody. */
export function tellsBoot(snapshot: Snapshot): boolean {
  return FIRST.every((pid) => snapshot.process(pid) !== undefined);
}

/**
 * @internal Names one boot of a guest: 32 hex digits, the same at each walk of that boot and for every agent that reads it. Made
 * of what a kernel draws or measures once a boot: where it put itself (KASLR), and where and at which nanosecond its first two
 * processes were made. The guest's own `boot_id` would be all zeros until somebody in there reads it.
 */
export function bootId(kernel: Pick<Kernel, "banner" | "kaslrOffset" | "physBase">, snapshot: Snapshot): string {
  const first = FIRST.map((pid) => {
    const process = snapshot.process(pid);
    return process ? `${process.task} ${process.startTime}` : "";
  });
  const text = [kernel.banner, kernel.kaslrOffset, kernel.physBase, ...first].join("\n");
  return createHash("sha256").update(text).digest("hex").slice(0, 32);
}
