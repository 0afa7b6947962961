import { setTimeout as sleep } from "node:timers/promises";
import type { Filter } from "../../lib/filter/index.ts";

/** Resolves after the poll that ends next: what it took, in milliseconds. */
export async function nextPoll(filter: Filter): Promise<number> {
  const { polls } = filter.status();
  while (filter.status().polls === polls) await sleep(1);
  return filter.status().lastPollMs;
}

/** Waits for a moment at that part of the time from a poll to the next: rounds take them in turn, so that none counts more often. */
export async function between(filter: Filter, intervalMs: number, part: number): Promise<void> {
  await nextPoll(filter);
  await sleep(part * intervalMs);
}
