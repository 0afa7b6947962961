import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Guest, introspect } from "../../lib/index.ts";
import { run } from "../../vmcore-fixtures/command.ts";
import type { LiveGuest } from "../../vmcore-fixtures/live.ts";
import { type Measurement, measureInterleaved, summarize } from "../measure.ts";

/** Walks of one guest in turn: where it runs, and over an image of the same moment. */
export interface WalkTimes {
  readonly live: Measurement;
  readonly image: Measurement;
  /** Median by median. */
  readonly ratio: number;
}

/** The guest's RAM as it is at a moment when it is stopped. Holes read as zero, and stay holes. */
async function dump(live: LiveGuest, bytes: bigint, path: string): Promise<void> {
  await live.monitor.execute("stop");
  try {
    await live.monitor.execute("pmemsave", { val: 0, size: Number(bytes), filename: path });
  } finally {
    await live.monitor.execute("cont");
  }
  await run("fallocate", ["--dig-holes", path]);
}

/** The guest stands still, but runs: `quality.elapsedNs` of both. */
export async function walkTimes(name: string, live: LiveGuest, rounds: number): Promise<WalkTimes> {
  const directory = await mkdtemp(join(tmpdir(), "xfilter-bench-"));
  const path = join(directory, "memory.raw");
  const guests: Guest[] = [];
  try {
    const running = await introspect({ qemu: { qmp: live.qmp } });
    guests.push(running);
    await dump(live, running.kernel.memoryBytes, path);
    const frozen = await introspect({ vmcore: path });
    guests.push(frozen);
    const layer = (what: string, guest: Guest) => ({
      ...{ what, every: 1 },
      once: async () => (await guest.snapshot()).quality.elapsedNs / 1e6,
    });
    const times = await measureInterleaved([layer("live", running), layer("image", frozen)], rounds);
    const { processes, sockets } = (await frozen.snapshot()).quality;
    const title = `${name} (${processes} processes, ${sockets} sockets)`;
    const of = (what: string) => summarize(title, what, times.get(what)!);
    return { live: of("live"), image: of("image"), ratio: of("live").median / of("image").median };
  } finally {
    for (const guest of guests) await guest.close();
    await rm(directory, { recursive: true, force: true });
  }
}
