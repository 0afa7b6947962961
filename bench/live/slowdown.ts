import { fork } from "node:child_process";
import { once } from "node:events";
import { connect } from "node:net";
import { join } from "node:path";
import type { LiveGuest } from "../../vmcore-fixtures/live.ts";
import { type Measurement, summarize } from "../measure.ts";
import type { Polled } from "./poller.ts";

export type Consistency = "validate" | "pause";

/** What a guest gets done while it is polled, over what it gets done when it is not, just before and after. */
export interface Slowdown {
  readonly consistency: Consistency;
  readonly intervalMs: number;
  readonly pollsPerSecond: number;
  /** Iterations of a loop on one of its CPUs; round trips to its echo server. 1: it notices nothing. */
  readonly loop: Measurement;
  readonly echo: Measurement;
}

export const INTERVALS = [10, 100, 1000];

/** By the host's clock: the guest's own stands still while it is stopped. */
async function loopRate(live: LiveGuest, seconds: number): Promise<number> {
  const start = performance.now();
  const iterations = Number(await live.command(`loop ${seconds * 1000}`));
  return iterations / (performance.now() - start);
}

async function echoRate(live: LiveGuest, seconds: number): Promise<number> {
  const socket = connect(live.echo!.port, live.echo!.host).setNoDelay();
  await once(socket, "connect");
  let trips = 0;
  socket.on("data", () => {
    trips++;
    socket.write("x");
  });
  const start = performance.now();
  socket.write("x");
  await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
  const rate = trips / (performance.now() - start);
  socket.destroy();
  return rate;
}

interface Rates {
  loop: number;
  echo: number;
}

async function rates(live: LiveGuest, seconds: number): Promise<Rates> {
  return { loop: await loopRate(live, seconds), echo: await echoRate(live, seconds) };
}

/** Rounds of: not polled, polled at one interval, not polled, polled at the next, … `seconds` for each rate. */
export async function slowdowns(
  live: LiveGuest,
  consistency: Consistency,
  rounds: number,
  seconds: number,
): Promise<Slowdown[]> {
  const poller = fork(join(import.meta.dirname, "poller.ts"), [live.qmp, consistency], {
    execArgv: ["--import", "tsx"],
  });
  const answer = async (): Promise<unknown> => (await Promise.race([once(poller, "message"), ended]))[0];
  const ended = once(poller, "exit").then(([code]) => Promise.reject(new Error(`the poller ended with ${code}`)));
  ended.catch(() => {});
  const ratios = INTERVALS.map(() => ({ loop: [] as number[], echo: [] as number[], polls: 0, seconds: 0 }));
  try {
    await answer();
    let before = await rates(live, seconds);
    for (let round = 0; round < rounds; round++) {
      for (const [index, intervalMs] of INTERVALS.entries()) {
        const start = performance.now();
        poller.send(intervalMs);
        const polled = await rates(live, seconds);
        const told = answer();
        poller.send(null as never);
        const { polls } = (await told) as Polled;
        const into = ratios[index]!;
        into.seconds += (performance.now() - start) / 1000;
        into.polls += polls;
        const after = await rates(live, seconds);
        into.loop.push((2 * polled.loop) / (before.loop + after.loop));
        into.echo.push((2 * polled.echo) / (before.echo + after.echo));
        before = after;
      }
    }
  } finally {
    poller.kill();
  }
  return INTERVALS.map((intervalMs, index) => {
    const { loop, echo, polls, seconds: all } = ratios[index]!;
    const of = (what: string, values: number[]) => summarize(`every ${intervalMs} ms`, what, values);
    return { consistency, intervalMs, pollsPerSecond: polls / all, loop: of("loop", loop), echo: of("echo", echo) };
  });
}
