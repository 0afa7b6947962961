#!/usr/bin/env node
// Ctrl-C is caught before anything else is loaded: from this line on it ends in 130, with nothing half done.
import { constants } from "node:os";

const interrupt = new AbortController();
let ended: NodeJS.Signals | undefined;
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT"] as const) {
  // Once: a second one ends the process the hard way.
  process.once(signal, () => {
    ended ??= signal;
    interrupt.abort();
  });
}

const { run } = await import("./program.ts");
const code = await run(process.argv.slice(2), interrupt.signal);
process.exitCode = ended && code !== 0 ? 128 + constants.signals[ended] : code;
