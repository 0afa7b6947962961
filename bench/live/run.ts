// `npm run bench:live`, described in docs/performance.md: what reading a guest that runs costs, us and the guest. It measures and
// asserts nothing: figures depend on the machine.
import { writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { type LiveOptions, startLive } from "../../vmcore-fixtures/live.ts";
import { recipes } from "../../vmcore-fixtures/recipes.ts";
import type { Measurement, Spread } from "../measure.ts";
import { conditions, head, row } from "../report.ts";
import { type Pauses, pauses } from "./pauses.ts";
import { type Consistency, type Slowdown, slowdowns } from "./slowdown.ts";
import { type WalkTimes, walkTimes } from "./walk-times.ts";

const { values: options } = parseArgs({
  options: {
    guest: { type: "string", multiple: true, default: ["linux-6.1", "linux-6.1-big"] },
    walks: { type: "string", default: "300" },
    rounds: { type: "string", default: "10" },
    seconds: { type: "string", default: "2" },
    polls: { type: "string", default: "10000" },
    json: { type: "boolean", default: false },
    markdown: { type: "string" },
  },
});

interface Measured {
  readonly guest: string;
  readonly ram: LiveOptions["ram"];
  readonly walk: WalkTimes;
  readonly slowdown: readonly Slowdown[];
  readonly pauses: readonly Pauses[];
}

const KINDS: readonly LiveOptions["ram"][] = ["shared-file", "private"];
const CONSISTENCIES: readonly Consistency[] = ["validate", "pause"];

/** Slowdown and pauses are those of the first guest alone: they depend on how long a walk takes, and that is known. */
async function measure(guest: string, ram: LiveOptions["ram"]): Promise<Measured> {
  const recipe = recipes.find(({ name }) => name === guest);
  if (!recipe) throw new RangeError(`There is no guest ${guest}: ${recipes.map(({ name }) => name).join(", ")}`);
  const live = await startLive(recipe, { ram, disk: true, nic: true, signal: new AbortController().signal });
  try {
    const walk = await walkTimes(`${guest}, ${ram}`, live, Number(options.walks));
    const [slowdown, paused]: [Slowdown[], Pauses[]] = [[], []];
    if (guest !== options.guest[0]) return { guest, ram, walk, slowdown, pauses: paused };
    for (const writer of [false, true]) {
      console.error(`${guest}, ${ram}: paused${writer ? ", while its disk is written to" : ""} …`);
      paused.push(await pauses(live, writer, Number(options.polls)));
    }
    for (const consistency of CONSISTENCIES) {
      console.error(`${guest}, ${ram}: polled with ${consistency} …`);
      slowdown.push(...(await slowdowns(live, consistency, Number(options.rounds), Number(options.seconds))));
    }
    return { guest, ram, walk, slowdown, pauses: paused };
  } finally {
    await live.close();
  }
}

const spread = ({ median, lower, upper }: Measurement, digits: number) =>
  `${median.toFixed(digits)} (${lower.toFixed(digits)}–${upper.toFixed(digits)})`;

const inOrder = ({ mean, min, p50, p99, max }: Spread) => [mean, min, p50, p99, max].map((ms) => ms.toFixed(2));

function markdown(all: readonly Measured[], about: string): string {
  const slowed = all.flatMap(({ guest, ram, slowdown }) =>
    slowdown.map(({ consistency, intervalMs, pollsPerSecond, loop, echo }) =>
      row([
        ...[`${guest}, ${ram}`, consistency, `${intervalMs} ms`, pollsPerSecond.toFixed(1)],
        ...[spread(loop, 3), spread(echo, 3)],
      ]),
    ),
  );
  return [
    "# Measured, live",
    "",
    `Written by \`npm run bench:live\`: ${about}. Medians, and the middle half of the runs.`,
    "",
    "## The walk, live and over an image of the same moment, in ms",
    "",
    ...head(["guest", "live", "image", "ratio"]),
    ...all.map(({ walk: { live, image, ratio } }) =>
      row([live.image, spread(live, 3), spread(image, 3), ratio.toFixed(2)]),
    ),
    "",
    "## Pauses, from STOP to RESUME, and the walk in them, in ms",
    "",
    ...head(["guest", "disk", "polls", "mean", "min", "p50", "p99", "max", "walk: mean", "min", "p50", "p99", "max"]),
    ...all.flatMap(({ guest, ram, pauses: kinds }) =>
      kinds.map(({ writer, polls, paused, walk }) =>
        row([`${guest}, ${ram}`, writer ? "written to" : "idle", polls, ...inOrder(paused), ...inOrder(walk)]),
      ),
    ),
    "",
    "## What the guest gets done while it is polled, over what it gets done when it is not",
    "",
    ...head(["guest", "consistency", "every", "polls/s", "loop", "round trips"]),
    ...slowed,
    "",
  ].join("\n");
}

const about = conditions();
const all: Measured[] = [];
for (const guest of options.guest) for (const ram of KINDS) all.push(await measure(guest, ram));
if (options.markdown) writeFileSync(options.markdown, markdown(all, about));
console.log(options.json ? all.map((measured) => JSON.stringify(measured)).join("\n") : markdown(all, about));
