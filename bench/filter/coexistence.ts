// `npm run bench:coexistence`, described in docs/performance.md: how long others who change the host's rules put a filter out of action, and what is
// left of it in theirs. The guest is one in memory, packets and firewalls are real. Times depend on the machine; differences do not, and make it fail.
import { writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { conditions, head, row } from "../report.ts";
import { BACKENDS, type Disturbed, measureDisturbed } from "./disturbed.ts";

const HELP = `npm run bench:coexistence -- [options], as root

  --rounds N         of each disturbance: 10
  --backend NAME     instead of all: ${Object.keys(BACKENDS).join(", ")}; again for more
  --reconcile MS     from one of the filter's looks at the firewall to the next: 5000
  --markdown FILE    write the table there, too
  --json             print it as JSON
`;

const { values: options } = parseArgs({
  options: {
    rounds: { type: "string", default: "10" },
    backend: { type: "string", multiple: true, default: Object.keys(BACKENDS) },
    reconcile: { type: "string", default: "5000" },
    markdown: { type: "string" },
    json: { type: "boolean", default: false },
    help: { type: "boolean", default: false },
  },
});

function count(name: "rounds" | "reconcile"): number {
  const value = Number(options[name]);
  if (Number.isInteger(value) && value > 0) return value;
  throw new RangeError(`--${name} is a number from 1 on, not ${options[name]}`);
}

function markdown(measured: readonly Disturbed[], about: string): string {
  return [
    "# Measured, beside other firewalls",
    "",
    `Written by \`npm run bench:coexistence -- --rounds ${options.rounds} --reconcile ${options.reconcile}\`: ${about}.`,
    "A filter polls every 200 ms; a packet of a blocked flow comes each millisecond. Time from the disturbance's end to the last of them that",
    "passed, 0 where none did.",
    "",
    ...head([
      "backend",
      "disturbance",
      "rounds",
      "ms: median",
      "worst",
      "packets: median",
      "worst",
      "differences left",
    ]),
    ...measured.map(({ backend, by, rounds, bites, packets, different }) =>
      row([
        ...[backend, by, rounds, bites.p50.toFixed(0), bites.max.toFixed(0), packets.p50, packets.max],
        different === 0 ? "none" : `in ${different} rounds`,
      ]),
    ),
    "",
  ].join("\n");
}

if (options.help) {
  console.log(HELP);
  process.exit(0);
}
const unknown = options.backend.find((name) => !(name in BACKENDS));
if (unknown !== undefined)
  throw new RangeError(`--backend is one of ${Object.keys(BACKENDS).join(", ")}, not ${unknown}`);
const interrupted = new AbortController();
for (const name of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(name, () => interrupted.abort());
const { signal } = interrupted;
const about = conditions();
try {
  const measured: Disturbed[] = [];
  const [rounds, reconcileMs] = [count("rounds"), count("reconcile")];
  for (const backend of options.backend)
    measured.push(
      ...(await measureDisturbed({ backend, rounds, reconcileMs, signal, tell: (line) => console.error(line) })),
    );
  if (options.markdown) writeFileSync(options.markdown, markdown(measured, about));
  console.log(options.json ? JSON.stringify(measured) : markdown(measured, about));
  if (measured.some(({ different }) => different > 0)) process.exitCode = 1;
} catch (error) {
  if (!signal.aborted) throw error;
  console.error("Interrupted: nothing is left.");
  process.exitCode = 130;
}
