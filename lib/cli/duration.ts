import { InvalidArgumentError } from "commander";

const UNITS: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** Parses an option's value: "200ms", "10s", "5m", "2h", "1d", or a number of milliseconds; from 1 ms to `most`. */
export function parseDuration(most: number): (text: string) => number {
  return (text) => {
    const [, number, unit = "ms"] = /^(\d+)(ms|s|m|h|d)?$/.exec(text) ?? [];
    const milliseconds = Number(number) * UNITS[unit]!;
    if (milliseconds >= 1 && milliseconds <= most) return milliseconds;
    throw new InvalidArgumentError(`It is a time such as 200ms, 10s or 5m, at most ${most / 1000} s.`);
  };
}
