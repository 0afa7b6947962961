// A process that polls a guest, as an agent would: forked by slowdown.ts with a QMP socket and a consistency. Told an interval it
// polls, told null it stops and says how that was.
import { setTimeout as sleep } from "node:timers/promises";
import { introspect } from "../../lib/index.ts";

/** What polling for a while was like. */
export interface Polled {
  readonly polls: number;
  /** Of the walks, in milliseconds. */
  readonly walkMs: number;
  /** From STOP to RESUME, all of them together; 0 without pauses. */
  readonly pausedMs: number;
}

const [qmp, consistency] = process.argv.slice(2) as [string, "validate" | "pause"];
const guest = await introspect({ qemu: { qmp } }, { consistency });

let polling: Promise<Polled> | undefined;
let stop: AbortController;

async function poll(intervalMs: number, signal: AbortSignal): Promise<Polled> {
  let [polls, walkMs, pausedMs] = [0, 0, 0];
  for (let next = performance.now(); !signal.aborted; ) {
    const { quality } = await guest.snapshot();
    polls++;
    walkMs += quality.elapsedNs / 1e6;
    pausedMs += quality.pauseMs;
    next = Math.max(next + intervalMs, performance.now());
    await sleep(next - performance.now(), undefined, { signal }).catch(() => {});
  }
  return { polls, walkMs, pausedMs };
}

process.on("message", async (intervalMs: number | null) => {
  if (intervalMs !== null) {
    stop = new AbortController();
    polling = poll(intervalMs, stop.signal);
    return;
  }
  stop.abort();
  process.send!(await polling);
});
process.on("disconnect", () => void guest.close().then(() => process.exit()));
process.send!("ready");
