/** What many runs of one thing took, in milliseconds. */
export interface Measurement {
  readonly image: string;
  readonly what: string;
  readonly runs: number;
  readonly median: number;
  readonly min: number;
  readonly max: number;
}

/** Runs `once`, which returns its own milliseconds, until there are `runs` of them after a few to warm up. */
export async function measure(
  image: string,
  what: string,
  runs: number,
  once: () => Promise<number> | number,
): Promise<Measurement> {
  for (let i = 0; i < Math.min(3, runs); i++) await once();
  const times: number[] = [];
  for (let i = 0; i < runs; i++) times.push(await once());
  times.sort((a, b) => a - b);
  return { image, what, runs, median: times[Math.floor(runs / 2)]!, min: times[0]!, max: times[runs - 1]! };
}

/** Milliseconds of `work`. */
export async function timed(work: () => Promise<unknown> | unknown): Promise<number> {
  const start = performance.now();
  await work();
  return performance.now() - start;
}
