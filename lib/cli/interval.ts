import { InvalidArgumentError, Option } from "commander";

/** `--interval`, of the commands that go on until they are interrupted. */
export function intervalOption(): Option {
  return new Option("--interval <MS>", "milliseconds from one poll to the next, 1 to 3600000")
    .argParser((text) => {
      const milliseconds = Number(text);
      if (/^\d+$/.test(text) && milliseconds >= 1 && milliseconds <= 3_600_000) return milliseconds;
      throw new InvalidArgumentError("It is a whole number from 1 to 3600000.");
    })
    .default(1000);
}

/** What is said of an image that is to be watched. */
export const STANDS_STILL = "an image stands still: nothing will change. Guests that run are given as qemu:…";
