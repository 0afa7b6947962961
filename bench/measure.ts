/** What many runs of one thing took, in milliseconds. */
export interface Measurement {
  readonly image: string;
  readonly what: string;
  readonly runs: number;
  readonly median: number;
  readonly min: number;
  readonly max: number;
  /** Quartiles: half of the runs lie between them. */
  readonly lower: number;
  readonly upper: number;
}

/** A thing to measure: `once` returns its own milliseconds and runs in every `every`-th round. */
export interface Layer {
  readonly what: string;
  readonly every: number;
  once(): Promise<number>;
}

/** The milliseconds of each run, by what ran. */
export type Times = Map<string, number[]>;

const WARM_UP_ROUNDS = 3;

/**
 * Runs layers round by round, one after the other: what disturbs the machine for a while disturbs all of them, not the one
 * whose turn it was. The first rounds only warm up, and run every layer.
 */
export async function measureInterleaved(layers: readonly Layer[], rounds: number): Promise<Times> {
  const times: Times = new Map(layers.map(({ what }) => [what, []]));
  for (let round = -WARM_UP_ROUNDS; round < rounds; round++) {
    for (const { what, every, once } of layers) {
      if (round >= 0 && round % every !== 0) continue;
      const time = await once();
      if (round >= 0) times.get(what)!.push(time);
    }
  }
  return times;
}

/** Adds to `all` what another turn measured. */
export function addTimes(all: Times, turn: Times): void {
  for (const [what, times] of turn) all.set(what, [...(all.get(what) ?? []), ...times]);
}

export function summarize(image: string, what: string, times: readonly number[]): Measurement {
  const sorted = [...times].sort((a, b) => a - b);
  const runs = sorted.length;
  const at = (part: number) => sorted[Math.min(runs - 1, Math.floor(runs * part))] ?? Number.NaN;
  return { image, what, runs, median: at(0.5), min: at(0), max: at(1), lower: at(0.25), upper: at(0.75) };
}

/** How values are distributed, in their own unit. */
export interface Spread {
  readonly mean: number;
  readonly min: number;
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
}

export function spread(values: readonly number[]): Spread {
  const sorted = values.toSorted((a, b) => a - b);
  const at = (part: number) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? Number.NaN;
  const mean = sorted.reduce((sum, value) => sum + value, 0) / sorted.length;
  return { mean, min: at(0), p50: at(0.5), p99: at(0.99), max: at(1) };
}

/** Milliseconds of `work`. */
export async function timed(work: () => Promise<unknown> | unknown): Promise<number> {
  const start = performance.now();
  await work();
  return performance.now() - start;
}
