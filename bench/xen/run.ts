// `npm run bench:xen`, described in docs/performance.md: what a poll of a domain of Xen costs, how long the domain stands for
// it, and how soon a rule bites. It measures and asserts nothing. Xen is emulated: counts and ratios say more than times.
import { spawnSync } from "node:child_process";
import { copyFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import type { Firewall } from "../../test/xen/dom0/firewalls.ts";
import { XenLab } from "../../vmcore-fixtures/xen/live.ts";
import { type DomainRecipe, domainRecipes } from "../../vmcore-fixtures/xen/recipes.ts";
import { startUsersDomain } from "../../vmcore-fixtures/xen/users-domain.ts";
import type { Spread } from "../measure.ts";
import { conditions, head, row } from "../report.ts";
import type { Blocking, Rounds } from "./blocking.ts";
import type { Polling } from "./pauses.ts";

const usage = `Usage: npm run bench:xen -- [--domain NAME] [--polls N] [--rounds N] [--markdown FILE]

Boots Xen in an emulated machine (as npm run test:xen does) and a domain, polls it in Dom0, and blocks a user of it
there. With 10,000 polls of each kind it takes more than an hour.

  --domain NAME     which of vmcore-fixtures/xen/recipes.ts (default xen-pv-6.1)
  --polls N         of each kind (default 10000)
  --rounds N        in each of which every firewall blocks two connections (default 20)
  --markdown FILE   write the tables there, too
`;

/** What bench/xen/main.cc measured of one way to poll; calls are a poll's. */
interface Series {
  readonly meanMs: number;
  readonly minMs: number;
  readonly maxMs: number;
  readonly calls: Readonly<Record<"state" | "registers" | "pause" | "unpause" | "map" | "unmap", number>>;
  readonly pagesMapped: number;
}

type Way = "bare" | "cold" | "anew" | "kept" | "unpaused";
type Polls = { readonly [way in Way]: Series } & { readonly processes: number; readonly sockets: number };

interface Polled {
  readonly polls: Polls;
  /** By the library, in milliseconds. */
  readonly pauses: Spread;
}

type Blockings = ReadonlyMap<Firewall, Blocking>;

const WAYS: Readonly<Record<Way, string>> = {
  bare: "pause and unpause, nothing between",
  cold: "paused, nothing mapped before",
  anew: "paused, what the last poll used mapped in one go",
  kept: "paused, all still mapped",
  unpaused: "no pause, made sure of, all still mapped",
};
const FIREWALLS: readonly Firewall[] = ["nftables", "iptables-nft", "iptables-legacy"];

const INTERVAL_MS = 200;

/** At most: of a poll, as one that takes longer is an outage by itself; of a round; and of all else. */
const SECONDS = { poll: 1, round: 60, rest: 600 };

const root = join(import.meta.dirname, "../..");
const program = join(root, "build/xfilter_bench_xen");

const log = (line: string) => console.error(line);

function buildProgram(): void {
  const words = ["--build", join(root, "build"), "--target", "xfilter_bench_xen"];
  const { status, stderr } = spawnSync("cmake", words, { encoding: "utf8" });
  if (status !== 0) throw new Error(`cmake: ${stderr}`);
}

async function measurePolls(lab: XenLab, recipe: DomainRecipe, polls: number): Promise<Polled> {
  const { name } = recipe;
  await lab.start(recipe);
  log(`Polls: ${polls} of each kind …`);
  const { id } = (await lab.list()).find((domain) => domain.name === name)!;
  copyFileSync(program, join(lab.dom0.share, "bench"));
  const seconds = SECONDS.rest + polls * SECONDS.poll * Object.keys(WAYS).length;
  const lines = (await lab.dom0.run(`/share/bench ${id} ${polls}`, seconds)).trim().split("\n");
  log(`Polls by the library: ${polls} …`);
  const polling: Polling = { name, polls };
  const pauses = await lab.run<Spread>("bench/xen/pauses.ts", polling, SECONDS.rest + polls * SECONDS.poll);
  await lab.xl("destroy", name); // leaves its CPUs to the next
  return { polls: JSON.parse(lines.at(-1)!) as Polls, pauses };
}

async function measureBlocking(lab: XenLab, recipe: DomainRecipe, rounds: number): Promise<Blockings> {
  const name = "users";
  await startUsersDomain(lab, { ...recipe, name });
  const blocking = new Map<Firewall, Blocking>();
  for (const firewall of FIREWALLS) {
    log(`${firewall}: ${rounds} rounds …`);
    const argument: Rounds = { name, firewall, intervalMs: INTERVAL_MS, rounds };
    const seconds = SECONDS.rest + rounds * SECONDS.round;
    blocking.set(firewall, await lab.run<Blocking>("bench/xen/blocking.ts", argument, seconds));
  }
  return blocking;
}

/** What is measured, each part as soon as it is: what comes after takes long. */
async function* measure(recipe: DomainRecipe, polls: number, rounds: number): AsyncGenerator<string> {
  const abort = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM"] as const)
    process.once(signal, () => abort.abort(new Error("Interrupted")));
  const lab = await XenLab.start({ signal: abort.signal, log });
  try {
    const polled = await measurePolls(lab, recipe, polls);
    const { processes, sockets } = polled.polls;
    yield section(
      `${recipe.name}: ${processes} processes, ${sockets} sockets; ${polls} polls of each kind.`,
      pollTable(polled),
    );
    yield section(
      `At a vif that is routed, polled every ${INTERVAL_MS} ms; ${rounds} rounds, each of two connections of one user.`,
      blockingTable(await measureBlocking(lab, recipe, rounds)),
    );
  } finally {
    await lab.close();
  }
}

const section = (about: string, table: readonly string[]) => `${[about, "", ...table].join("\n")}\n\n`;

const fixed = (numbers: readonly number[], digits: number) => numbers.map((number) => number.toFixed(digits));

function pollTable({ polls, pauses }: Polled): string[] {
  const { bare } = polls;
  const times = (what: string, { meanMs, minMs, maxMs }: Pick<Series, "meanMs" | "minMs" | "maxMs">) => [
    ...[what, ...fixed([meanMs, minMs, maxMs], 2)],
    ...fixed([meanMs / bare.meanMs, minMs / bare.minMs], 1),
  ];
  const rows = (Object.keys(WAYS) as Way[]).map((way) => {
    const { calls, pagesMapped } = polls[way];
    const all = Object.values(calls).reduce((sum, count) => sum + count, 0);
    return [...times(WAYS[way], polls[way]), ...fixed([all, calls.state, calls.registers, calls.map, pagesMapped], 1)];
  });
  // Dom0's clock, which may move in steps of milliseconds: no ratio of what was least.
  const { mean, min, max } = pauses;
  const byGuard = "paused by the library's guard, all still mapped, without registers; by Dom0's clock";
  const byLibrary = [byGuard, ...fixed([mean, min, max], 1), (mean / bare.meanMs).toFixed(1), ...Array(6).fill("")];
  const header = ["a poll", "mean, ms", "least", "most", "mean, of a bare pair's", "least, of it"];
  const counts = ["calls of Xen", "state", "registers", "map", "pages mapped"];
  return [...head([...header, ...counts]), ...[...rows, byLibrary].map(row)];
}

function blockingTable(blocking: Blockings): string[] {
  const rows = Array.from(blocking, ([firewall, { lastPassed, applied, polls, missedPolls, bytesOfOther, lost }]) => {
    const { p50, mean, min, max } = lastPassed;
    const counts = [polls, missedPolls, bytesOfOther].map(String);
    return row([firewall, ...fixed([p50, mean, min, max, applied.p50], 0), ...counts, lost.join("; ") || "nothing"]);
  });
  const times = ["median, ms", "mean", "least", "most", "the firewall's change, median"];
  const counts = ["polls", "left out", "bytes of another user", "of these lost"];
  return [...head(["last byte after rules", ...times, ...counts]), ...rows];
}

async function main(): Promise<void> {
  const { values: options } = parseArgs({
    options: {
      domain: { type: "string", default: "xen-pv-6.1" },
      polls: { type: "string", default: "10000" },
      rounds: { type: "string", default: "20" },
      markdown: { type: "string" },
      help: { type: "boolean", short: "h" },
    },
  });
  if (options.help) return void process.stdout.write(usage);
  const recipe = domainRecipes.find(({ name }) => name === options.domain);
  if (!recipe)
    throw new RangeError(`There is no domain ${options.domain}: ${domainRecipes.map(({ name }) => name).join(", ")}`);
  const [polls, rounds] = (["polls", "rounds"] as const).map((name) => {
    const number = Number(options[name]);
    if (!Number.isInteger(number) || number < 1)
      throw new RangeError(`--${name} is a number from 1 on, not ${options[name]}`);
    return number;
  }) as [number, number];
  buildProgram();
  let text = `# Measured, on Xen\n\nWritten by \`npm run bench:xen\`: ${conditions()}.\n\n`;
  for await (const part of measure(recipe, polls, rounds)) {
    process.stdout.write(part);
    text += part;
    if (options.markdown) writeFileSync(options.markdown, text);
  }
}

main().catch((error: Error) => {
  console.error(error.message);
  process.exitCode = 1;
});
