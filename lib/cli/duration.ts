import { InvalidArgumentError } from "commander";
import { formatDuration, parseDuration as millisecondsOf } from "../rules/duration.ts";

/** Parses an option's value, as rules write times: "200ms", "10s", "5m", "2h", "1d"; from 1 ms to `most`. */
export function parseDuration(most: number): (text: string) => number {
  return (text) => {
    const milliseconds = millisecondsOf(text) ?? 0;
    if (milliseconds >= 1 && milliseconds <= most) return milliseconds;
    throw new InvalidArgumentError(
      `It is not a time such as "500ms", "90s", "10m", "2h" or "7d", at most ${formatDuration(most)}.`,
    );
  };
}
