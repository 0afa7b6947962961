import { InvalidArgumentError } from "commander";
import { parseDuration as millisecondsOf } from "../rules/duration.ts";

/** Parses an option's value: "200ms", "10s", "5m", "2h", "1d", or a number of milliseconds; from 1 ms to `most`. */
export function parseDuration(most: number): (text: string) => number {
  return (text) => {
    const milliseconds = (/^\d+$/.test(text) ? Number(text) : millisecondsOf(text)) ?? 0;
    if (milliseconds >= 1 && milliseconds <= most) return milliseconds;
    throw new InvalidArgumentError(`It is a time such as 200ms, 10s or 5m, at most ${most / 1000} s.`);
  };
}
