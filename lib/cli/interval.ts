import { Option } from "commander";
import { parseMilliseconds } from "./milliseconds.ts";

/** `--interval`, of the commands that go on until they are interrupted. */
export function intervalOption(): Option {
  return new Option("--interval <MS>", "milliseconds from one poll to the next, 1 to 3600000")
    .argParser(parseMilliseconds(3_600_000))
    .default(1000);
}

/** What is said of an image that is to be watched. */
export const STANDS_STILL = "an image stands still: nothing will change. Guests that run are given as qemu:…";
