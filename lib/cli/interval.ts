import { Option } from "commander";
import { parseDuration } from "./duration.ts";

const HOUR_MS = 3_600_000;

/** `--interval`, of the commands that go on until they are interrupted. */
export function intervalOption(milliseconds: number, time: string): Option {
  return new Option("--interval <TIME>", "from one poll to the next: 200ms, 1s; at most 1h")
    .argParser(parseDuration(HOUR_MS))
    .default(milliseconds, time);
}

/** What is said of an image that is to be watched. */
export const STANDS_STILL =
  "an image stands still: nothing will change, until Ctrl-C. Guests that run are given as qemu:… or xen:…";
