// `npm run bench:web`, described in docs/performance.md: the thesis's experiment, what a web server in a guest still answers while
// a filter polls that guest. Figures depend on the machine; what is lost does not, and makes it fail.
import { writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { startLab } from "../../vmcore-fixtures/lab.ts";
import type { Measurement } from "../measure.ts";
import { conditions, head, row } from "../report.ts";
import { LOADS, measureSlowdowns, SETTINGS, type Slowdown, type Unnamed } from "./slowdown.ts";

const HELP = `npm run bench:web -- [options], as root

  --rounds N         of everything: 5
  --seconds N        of each measurement, with a filter and without: 12
  --interval MS      of a filter's polls, instead of 10000, 1000, 100 and 10; again for more
  --markdown FILE    write the tables there, too
  --json             print them as JSON
`;

const { values: options } = parseArgs({
  options: {
    rounds: { type: "string", default: "5" },
    seconds: { type: "string", default: "12" },
    interval: { type: "string", multiple: true },
    markdown: { type: "string" },
    json: { type: "boolean", default: false },
    help: { type: "boolean", default: false },
  },
});

interface Measured {
  readonly slowdowns: readonly Slowdown[];
  readonly unnamed: Unnamed;
}

function count(name: "rounds" | "seconds"): number {
  const value = Number(options[name]);
  if (Number.isInteger(value) && value > 0) return value;
  throw new RangeError(`--${name} is a number from 1 on, not ${options[name]}`);
}

const spread = ({ median, lower, upper }: Measurement) =>
  `${median.toFixed(3)} (${lower.toFixed(3)}–${upper.toFixed(3)})`;

const both = ({ alone, filtered }: { alone: number; filtered: number }, digits: number) =>
  `${alone.toFixed(digits)} → ${filtered.toFixed(digits)}`;

function markdown({ slowdowns, unnamed }: Measured, about: string): string {
  const setting = ({ load, consistency, intervalMs }: Slowdown) => [
    ...[load, consistency === "pause" ? "yes" : "no", `${intervalMs} ms`],
  ];
  return [
    "# Measured, a web server in a filtered guest",
    "",
    `Written by \`npm run bench:web -- --rounds ${options.rounds} --seconds ${options.seconds}\`: ${about}.`,
    "Medians without a filter → with one; of ratios, round by round, the median and the middle half.",
    "",
    ...head(["load", "paused", "polled every", "polls/s", "requests/s", "ratio", "failed", "failed without"]),
    ...slowdowns.map((one) =>
      row([
        ...[...setting(one), one.pollsPerSecond.toFixed(1), both(one, 1), spread(one.ratio)],
        ...[`${one.failed} of ${one.requests}`, one.failedAlone],
      ]),
    ),
    "",
    "## How long a request takes, in ms",
    "",
    ...head(["load", "paused", "polled every", "median", "ratio", "99 %", "ratio"]),
    ...slowdowns.map((one) =>
      row([...setting(one), both(one.p50, 1), spread(one.p50.ratio), both(one.p99, 1), spread(one.p99.ratio)]),
    ),
    "",
    `Of another user whom no rule names ${unnamed.bytes} bytes were sent on connections that stay and ${unnamed.opened} connections`,
    `opened; lost: ${unnamed.losses.join("; ") || "nothing"}.`,
    "",
  ].join("\n");
}

async function measure(signal: AbortSignal): Promise<Measured> {
  const [rounds, seconds] = [count("rounds"), count("seconds")];
  const intervals = options.interval?.map(Number);
  const settings = intervals
    ? (["validate", "pause"] as const).flatMap((consistency) =>
        intervals.map((intervalMs) => ({ consistency, intervalMs })),
      )
    : SETTINGS;
  const minutes = (LOADS.length * (2 * settings.length + 1) * rounds * seconds) / 60;
  console.error(`Booting two guests; then it takes ${minutes.toFixed(0)} minutes …`);
  const lab = await startLab({ signal });
  try {
    await lab.b.live.monitor.execute("stop"); // the bench has no use for it
    const tell = (line: string) => console.error(line);
    return await measureSlowdowns(lab.a, { rounds, seconds, loads: LOADS, settings, tell, signal });
  } finally {
    await lab.close();
  }
}

if (options.help) {
  console.log(HELP);
  process.exit(0);
}
const interrupted = new AbortController();
for (const name of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(name, () => interrupted.abort());
const about = conditions();
try {
  const measured = await measure(interrupted.signal);
  if (options.markdown) writeFileSync(options.markdown, markdown(measured, about));
  console.log(options.json ? JSON.stringify(measured) : markdown(measured, about));
  if (measured.unnamed.losses.length > 0 || measured.slowdowns.some(({ failed }) => failed > 0)) process.exitCode = 1;
} catch (error) {
  if (!interrupted.signal.aborted) throw error;
  console.error("Interrupted: nothing is left.");
  process.exitCode = 130;
}
