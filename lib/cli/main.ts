#!/usr/bin/env node
// Ctrl-C is caught before anything else is loaded: from this line on it ends in 130, with nothing half done.
const interrupt = new AbortController();
// Once: a second Ctrl-C ends the process the hard way.
process.once("SIGINT", () => interrupt.abort());

const { run } = await import("./program.ts");
process.exitCode = await run(process.argv.slice(2), interrupt.signal);
