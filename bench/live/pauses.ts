import { setTimeout as sleep } from "node:timers/promises";
import { introspect } from "../../lib/index.ts";
import type { LiveGuest } from "../../vmcore-fixtures/live.ts";
import { type Spread, spread } from "../measure.ts";

/** What polls with `consistency: "pause"` took: all of the time in which the guest stood, and the walk in it. */
export interface Pauses {
  readonly writer: boolean;
  readonly polls: number;
  readonly paused: Spread;
  readonly walk: Spread;
}

const GAP_MS = 5; // in which the guest runs, and its disk gets work

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
