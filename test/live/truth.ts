import type { Guest, Snapshot } from "../../lib/index.ts";
import type { LiveGuest } from "../../vmcore-fixtures/live.ts";
import type { Truth } from "../../vmcore-fixtures/truth.ts";
import { compare } from "../kernels/compare.ts";

export const log = (line: string) => process.stderr.write(`${line}\n`);

/** What stands still is compared; kernel workers come and go all the same. */
function differences(truth: Truth, snapshot: Snapshot): string[] {
  const reading = snapshot.toJSON();
  const workers = [...truth.processes, ...reading.processes].filter(({ comm }) => comm.startsWith("kworker/"));
  return compare({ ...truth, unstable: workers.map(({ pid, comm }) => ({ pid, comm })) }, reading);
}

/**
 * Right after the truth. A connection whose time is up goes in between now and then, and a process is seen
 * running: that does not happen thrice.
 */
export async function differencesFromTruth(live: Pick<LiveGuest, "truth">, guest: Guest): Promise<string[]> {
  for (let tries = 1; ; tries++) {
    const found = differences(await live.truth(), await guest.snapshot({ details: true }));
    for (const difference of found) log(`try ${tries}: ${difference}`);
    if (found.length === 0 || tries === 3) return found;
  }
}
