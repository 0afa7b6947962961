// `npm run bench:backends`, described in docs/performance.md: what a change costs by each firewall, and what each packet then does. It
// measures and asserts nothing: figures depend on the machine.
import { writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { GuestNetwork } from "../../test/backends/network.ts";
import type { Spread } from "../measure.ts";
import { conditions, head, row } from "../report.ts";
import { type Change, measureChanges } from "./changes.ts";
import { CONTENDERS } from "./contender.ts";
import { measureRates, type Rate } from "./rates.ts";

const HELP = `npm run bench:backends -- [options], as root

  --rounds N         of each change; of packets, twice as many: 10
  --markdown FILE    write the tables there, too
  --json             print them as JSON
`;

const { values: options } = parseArgs({
  options: {
    rounds: { type: "string", default: "10" },
    markdown: { type: "string" },
    json: { type: "boolean", default: false },
    help: { type: "boolean", default: false },
  },
});

interface Measured {
  readonly changes: readonly Change[];
  readonly rates: readonly Rate[];
}

const CHANGED = [1, 100, 1_000];
const IN_FORCE = { changes: [0, 10_000], rates: [0, 100, 10_000] };
const FLOOD_MS = 250;

async function measure(rounds: number, signal: AbortSignal): Promise<Measured> {
  const network = new GuestNetwork();
  try {
    const changes: Change[] = [];
    for (const create of CONTENDERS) {
      for (const flows of IN_FORCE.changes) {
        console.error(`${create().name}, ${flows} flows in force …`);
        changes.push(...(await measureChanges(create, network, flows, CHANGED, rounds, signal)));
      }
    }
    console.error("Packets …");
    return { changes, rates: await measureRates(network, IN_FORCE.rates, 2 * rounds, FLOOD_MS, signal) };
  } finally {
    network.close();
  }
}

const slashed = ({ p50, max }: Spread) => `${p50.toFixed(1)} / ${max.toFixed(1)}`;

function markdown({ changes, rates }: Measured, about: string): string {
  return [
    "# Measured, the backends",
    "",
    `Written by \`npm run bench:backends -- --rounds ${options.rounds}\`: ${about}.`,
    "",
    "## A change, in ms: median / worst",
    "",
    ...head(["backend", "in force", "flows changed", "put in force", "looked at", "taken out"]),
    ...changes.map(({ backend, inForce, changed, come, look, go }) =>
      row([backend, inForce, changed, ...[come, look, go].map(slashed)]),
    ),
    "",
    "## Packets that pass",
    "",
    ...head(["backend", "in force", "packets/s: median", "over none: median", "min", "max"]),
    ...rates.map(({ backend, inForce, perSecond, ratio }) =>
      row([
        ...[backend ?? "none", inForce, perSecond.p50.toFixed(0)],
        ...[ratio.p50, ratio.min, ratio.max].map((value) => value.toFixed(3)),
      ]),
    ),
    "",
  ].join("\n");
}

if (options.help) {
  console.log(HELP);
  process.exit(0);
}
const rounds = Number(options.rounds);
if (!Number.isInteger(rounds) || rounds < 1)
  throw new RangeError(`--rounds is a number from 1 on, not ${options.rounds}`);
const interrupted = new AbortController();
for (const name of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(name, () => interrupted.abort());
const about = conditions();
try {
  const measured = await measure(rounds, interrupted.signal);
  if (options.markdown) writeFileSync(options.markdown, markdown(measured, about));
  console.log(options.json ? JSON.stringify(measured) : markdown(measured, about));
} catch (error) {
  if (!interrupted.signal.aborted) throw error;
  console.error("Interrupted: nothing is left.");
  process.exitCode = 130;
}
