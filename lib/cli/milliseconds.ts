import { InvalidArgumentError } from "commander";

/** Parses an option's value: a whole number of milliseconds, from 1 to `most`. */
export function parseMilliseconds(most: number): (text: string) => number {
  return (text) => {
    const milliseconds = Number(text);
    if (/^\d+$/.test(text) && milliseconds >= 1 && milliseconds <= most) return milliseconds;
    throw new InvalidArgumentError(`It is a whole number from 1 to ${most}.`);
  };
}
