// `npm run bench:filter`, described in docs/performance.md: how soon a rule bites, and what it costs. It measures and asserts
// nothing: figures depend on the machine.
import { writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { introspect } from "../../lib/index.ts";
import { alice, mallory, startLab, usual } from "../../vmcore-fixtures/lab.ts";
import { losses } from "../../vmcore-fixtures/lab-report.ts";
import type { Spread } from "../measure.ts";
import { conditions, head, row } from "../report.ts";
import { type Blocking, blockingOfNew, blockingOfOld } from "./blocking.ts";
import { measurePolls, type Polls } from "./polls.ts";
import { Wire } from "./wire.ts";

const HELP = `npm run bench:filter -- [options], as root

  --runs N           connections of each kind: 50
  --rounds N         of polls: 10
  --markdown FILE    write the tables there, too
  --json             print them as JSON
`;

const { values: options } = parseArgs({
  options: {
    runs: { type: "string", default: "50" },
    rounds: { type: "string", default: "10" },
    markdown: { type: "string" },
    json: { type: "boolean", default: false },
    help: { type: "boolean", default: false },
  },
});

/** What users of whom no rule tells sent, and what of it was lost, a line each. */
interface Unnamed {
  readonly who: string;
  readonly bytes: number;
  readonly opened: number;
  readonly losses: readonly string[];
}

interface Measured {
  readonly blocking: readonly Blocking[];
  readonly unnamed: readonly Unnamed[];
  readonly polls: readonly Polls[];
}

const INTERVALS_MS = [200, 20];

const [runs, rounds] = [Number(options.runs), Number(options.rounds)];

async function inTheLab(): Promise<Measured> {
  console.error("Booting two guests …");
  const lab = await startLab({ signal: new AbortController().signal });
  const guest = await introspect({ qemu: { qmp: lab.a.live.qmp } });
  const wire = await Wire.of(lab.a, 22);
  try {
    const others = [
      { who: "alice, in the same guest", of: lab.a, talker: await lab.a.talk({ uid: alice, ...usual }) },
      { who: "mallory's twin, in the other guest", of: lab.b, talker: await lab.b.talk({ uid: mallory, ...usual }) },
    ];
    const bench = { lab: lab.a, guest, wire };
    const blocking: Blocking[] = [];
    for (const intervalMs of INTERVALS_MS) {
      console.error(`Blocking, polled every ${intervalMs} ms …`);
      for (const from of ["start()", "setRules()"] as const)
        blocking.push(await blockingOfOld(bench, from, intervalMs, runs));
      blocking.push(await blockingOfNew(bench, intervalMs, runs));
    }
    console.error("Polls …");
    const polls = await measurePolls(bench, 2 * runs, rounds);
    const unnamed: Unnamed[] = [];
    for (const { who, of, talker } of others) {
      const last = await talker.stop();
      const bytes = last.held.reduce((sum, { sent }) => sum + sent, 0);
      const opened = last.opened.reduce((sum, { opened }) => sum + opened, 0);
      unnamed.push({ who, bytes, opened, losses: losses(last, await of.outside.report()) });
    }
    return { blocking, unnamed, polls };
  } finally {
    await wire.close();
    await guest.close();
    await lab.close();
  }
}

const three = ({ p50, p99, max }: Spread, digits: number) => [p50, p99, max].map((value) => value.toFixed(digits));
const slashed = (spread: Spread, digits = 0) => three(spread, digits).join(" / ");

function markdown({ blocking, unnamed, polls }: Measured, about: string): string {
  return [
    "# Measured, the filter",
    "",
    `Written by \`npm run bench:filter -- --runs ${runs} --rounds ${rounds}\`: ${about}. Median / p99 / maximum.`,
    "",
    "## Until a user's connections are blocked, in ms, and what passed of each until then",
    "",
    ...head([
      "from",
      "polled every",
      "connections",
      "last that passed",
      "first blocked",
      "packets",
      "bytes",
      "not seen",
    ]),
    ...blocking.map((one) =>
      row([
        ...[
          one.from,
          `${one.intervalMs} ms`,
          one.connections,
          slashed(one.lastPassed, 1),
          slashed(one.firstBlocked, 1),
        ],
        ...[slashed(one.packets), slashed(one.bytes), one.unblocked],
      ]),
    ),
    "",
    ...head(["users whom no rule names", "bytes on connections that stay", "other connections", "lost"]),
    ...unnamed.map(({ who, bytes, opened, losses }) => row([who, bytes, opened, losses.join("; ") || "nothing"])),
    "",
    "## Polls, in ms",
    "",
    ...head(["what", "polls", "poll", "of it the firewall", "a snapshot alone"]),
    ...polls.map(({ what, polls, poll, apply, snapshot }) =>
      row([what, polls, slashed(poll, 1), ...[apply, snapshot].map((part) => (part === null ? "" : slashed(part, 1)))]),
    ),
    "",
  ].join("\n");
}

if (options.help) {
  console.log(HELP);
  process.exit(0);
}
const about = conditions();
const measured = await inTheLab();
if (options.markdown) writeFileSync(options.markdown, markdown(measured, about));
console.log(options.json ? JSON.stringify(measured) : markdown(measured, about));
