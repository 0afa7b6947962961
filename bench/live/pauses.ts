import { setTimeout as sleep } from "node:timers/promises";
import { introspect } from "../../lib/index.ts";
import type { LiveGuest } from "../../vmcore-fixtures/live.ts";

/** Milliseconds. */
export interface Spread {
  readonly mean: number;
  readonly min: number;
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
}

/** What polls with `consistency: "pause"` took: all of the time in which the guest stood, and the walk in it. */
export interface Pauses {
  readonly writer: boolean;
  readonly polls: number;
  readonly paused: Spread;
  readonly walk: Spread;
}

const GAP_MS = 5; // in which the guest runs, and its disk gets work

function spread(values: number[]): Spread {
  const sorted = values.sort((a, b) => a - b);
  const at = (part: number) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? Number.NaN;
  const mean = sorted.reduce((sum, value) => sum + value, 0) / sorted.length;
  return { mean, min: at(0), p50: at(0.5), p99: at(0.99), max: at(1) };
}

/** Polls a guest that stands still, or whose disk is written to as fast as it can. */
export async function pauses(live: LiveGuest, writer: boolean, polls: number): Promise<Pauses> {
  const guest = await introspect({ qemu: { qmp: live.qmp } }, { consistency: "pause" });
  if (writer) await live.command("write start");
  try {
    const [paused, walk]: [number[], number[]] = [[], []];
    for (let poll = 0; poll < polls; poll++) {
      const { quality } = await guest.snapshot();
      paused.push(quality.pauseMs);
      walk.push(quality.elapsedNs / 1e6);
      await sleep(GAP_MS);
    }
    return { writer, polls, paused: spread(paused), walk: spread(walk) };
  } finally {
    if (writer) await live.command("write stop");
    await guest.close();
  }
}
