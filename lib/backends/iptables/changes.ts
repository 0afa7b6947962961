import type { KeyedPattern } from "./rule.ts";

/** What makes of one order of patterns another. */
export interface Changes {
  /** Numbers of rules to take out, from 1, the last first. */
  readonly gone: readonly number[];
  /** Rules to put in, in order: the number that each has then. */
  readonly come: readonly { readonly at: number; readonly pattern: KeyedPattern }[];
}

/** As few as there can be: the longest run of patterns that stay in their order stays where it is. */
export function changesBetween(held: readonly KeyedPattern[], wanted: readonly KeyedPattern[]): Changes {
  const places = new Map(wanted.map(({ key }, place) => [key, place]));
  const kept = longestRun(held.map(({ key }) => places.get(key)));
  const gone = held.map((_, index) => index + 1).filter((number) => !kept.has(number - 1));
  const staying = new Set([...kept].map((index) => held[index]!.key));
  const come = wanted.flatMap((pattern, place) => (staying.has(pattern.key) ? [] : [{ at: place + 1, pattern }]));
  return { gone: gone.reverse(), come };
}

/** Indices of a longest increasing subsequence; what is undefined is in none. */
function longestRun(places: readonly (number | undefined)[]): Set<number> {
  /** By length: the index at which a run of it ends lowest; and what stands before each in its run. */
  const ends: number[] = [];
  const before: number[] = [];
  places.forEach((place, index) => {
    if (place === undefined) return;
    let [low, high] = [0, ends.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (places[ends[middle]!]! < place) low = middle + 1;
      else high = middle;
    }
    before[index] = low === 0 ? -1 : ends[low - 1]!;
    ends[low] = index;
  });
  const run = new Set<number>();
  for (let index = ends.at(-1) ?? -1; index !== -1; index = before[index]!) run.add(index);
  return run;
}
