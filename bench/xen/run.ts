// `npm run bench:xen`, described in docs/performance.md: what a poll of a domain of Xen costs, and how long the domain stands for
// it. It measures and asserts nothing. Xen is emulated: counts and ratios say more than times.
import { spawnSync } from "node:child_process";
import { copyFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { XenLab } from "../../vmcore-fixtures/xen/live.ts";
import { domainRecipes } from "../../vmcore-fixtures/xen/recipes.ts";
import { conditions, head, row } from "../report.ts";

const usage = `Usage: npm run bench:xen -- [--domain NAME] [--polls N] [--markdown FILE]

Boots Xen and a domain, and polls it in Dom0.

  --domain NAME    which of vmcore-fixtures/xen/recipes.ts (default xen-pv-6.1)
  --polls N        of each kind, of those that map page by page a tenth (default 10000)
  --markdown FILE  write the table there, too
`;

/** What bench/xen/main.cc measured of one way to poll; calls are a poll's. */
interface Series {
  readonly polls: number;
  readonly meanMs: number;
  readonly minMs: number;
  readonly maxMs: number;
  readonly calls: Readonly<Record<"state" | "registers" | "pause" | "unpause" | "map" | "unmap", number>>;
  readonly pagesMapped: number;
}

type Way = "bare" | "cold" | "anew" | "kept" | "unpaused";
type Measured = { readonly [way in Way]: Series } & { readonly processes: number; readonly sockets: number };

const WAYS: Readonly<Record<Way, string>> = {
  bare: "pause and unpause, nothing between",
  cold: "paused, nothing mapped before",
  anew: "paused, what the last poll used mapped in one go",
  kept: "paused, all still mapped",
  unpaused: "no pause, made sure of, all still mapped",
};

/** A poll of more than a second would be an outage by itself. */
const SECONDS_A_POLL = 1;

const root = join(import.meta.dirname, "../..");
const program = join(root, "build/xfilter_bench_xen");

function buildProgram(): void {
  const words = ["--build", join(root, "build"), "--target", "xfilter_bench_xen"];
  const { status, stderr } = spawnSync("cmake", words, { encoding: "utf8" });
  if (status !== 0) throw new Error(`cmake: ${stderr}`);
}

async function measure(name: string, polls: number): Promise<Measured> {
  const recipe = domainRecipes.find((one) => one.name === name);
  if (!recipe) throw new RangeError(`There is no domain ${name}: ${domainRecipes.map((one) => one.name).join(", ")}`);
  const abort = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM"] as const)
    process.once(signal, () => abort.abort(new Error("Interrupted")));
  const lab = await XenLab.start({ signal: abort.signal, log: (line) => console.error(line) });
  try {
    await lab.start(recipe);
    const { id } = (await lab.list()).find((domain) => domain.name === name)!;
    copyFileSync(program, join(lab.dom0.share, "bench"));
    const seconds = 600 + polls * SECONDS_A_POLL * Object.keys(WAYS).length;
    const lines = (await lab.dom0.run(`/share/bench ${id} ${polls}`, seconds)).trim().split("\n");
    return JSON.parse(lines.at(-1)!) as Measured;
  } finally {
    await lab.close();
  }
}

function table(name: string, measured: Measured): string {
  const { bare, processes, sockets } = measured;
  const rows = (Object.keys(WAYS) as Way[]).map((way) => {
    const { polls, meanMs, minMs, maxMs, calls, pagesMapped } = measured[way];
    const all = Object.values(calls).reduce((sum, count) => sum + count, 0);
    return row([
      WAYS[way],
      String(polls),
      ...[meanMs, minMs, maxMs].map((ms) => ms.toFixed(2)),
      ...[meanMs / bare.meanMs, minMs / bare.minMs].map((ratio) => ratio.toFixed(1)),
      ...[all, calls.state, calls.registers, calls.map, pagesMapped].map((count) => count.toFixed(1)),
    ]);
  });
  const times = ["mean, ms", "least", "most", "mean, of a bare pair's", "least, of it"];
  const counts = ["calls of Xen", "state", "registers", "map", "pages mapped"];
  return [
    `${name}: ${processes} processes, ${sockets} sockets.`,
    "",
    ...head(["a poll", "polls", ...times, ...counts]),
    ...rows,
    "",
  ].join("\n");
}

async function main(): Promise<void> {
  const { values: options } = parseArgs({
    options: {
      domain: { type: "string", default: "xen-pv-6.1" },
      polls: { type: "string", default: "10000" },
      markdown: { type: "string" },
      help: { type: "boolean", short: "h" },
    },
  });
  if (options.help) return void process.stdout.write(usage);
  const polls = Number(options.polls);
  if (!Number.isInteger(polls) || polls < 1)
    throw new RangeError(`--polls is a number from 1 on, not ${options.polls}`);
  buildProgram();
  const text = table(options.domain, await measure(options.domain, polls));
  process.stdout.write(text);
  if (options.markdown) {
    const about = `Written by \`npm run bench:xen\`: ${conditions()}.`;
    writeFileSync(options.markdown, `# Measured, on Xen\n\n${about}\n\n${text}`);
  }
}

main().catch((error: Error) => {
  console.error(error.message);
  process.exitCode = 1;
});
