import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { nftables, type RuleBackend } from "../../lib/backends/index.ts";
import { planOf } from "../../lib/testing/plan.ts";
import { type GuestNetwork, HOST, sh } from "../../test/backends/network.ts";
import { pattern } from "../../test/backends/plan.ts";
import { run } from "../../vmcore-fixtures/command.ts";
import { type Spread, spread, timed } from "../measure.ts";

/** What nftables takes for a plan of so many patterns, in milliseconds. */
export interface Reconciling {
  readonly patterns: number;
  readonly runs: number;
  /** All of it, where there was nothing; one pattern more, then; nothing to do; everything out. */
  readonly all: Spread;
  readonly one: Spread;
  readonly none: Spread;
  readonly clear: Spread;
}

/** Packets of a flow that no pattern names, in a second, past a table with so many patterns; null: without a table. */
export interface Rate {
  readonly patterns: number | null;
  readonly rounds: number;
  readonly perSecond: Spread;
  /** Over the rate with no pattern, round by round. */
  readonly ratio: Spread;
}

const { signal } = new AbortController();
const FIRST_PORT = 1024;
const SINK_PORT = 9;
const MANY = 10_000;

const planWith = (patterns: number) =>
  planOf(Array.from({ length: patterns }, (_, i) => pattern({ protocol: "udp", local: { port: FIRST_PORT + i } })));

async function openOn(network: GuestNetwork): Promise<RuleBackend> {
  const backend = nftables();
  const interfaces = [await network.device()];
  await backend.open({ id: "bench", bootId: "1", interfaces }, { signal, leaseMs: null });
  await backend.reconcile(planWith(0), { signal });
  return backend;
}

export async function measureReconciling(network: GuestNetwork, patterns: number, runs: number): Promise<Reconciling> {
  const backend = await openOn(network);
  const times: Record<"all" | "one" | "none" | "clear", number[]> = { all: [], one: [], none: [], clear: [] };
  const plans = {
    all: planWith(patterns),
    one: planWith(patterns + 1),
    none: planWith(patterns + 1),
    clear: planWith(0),
  };
  for (let run = 0; run < runs; run++)
    for (const step of ["all", "one", "none", "clear"] as const)
      times[step].push(await timed(() => backend.reconcile(plans[step], { signal })));
  await backend.close({ keep: false });
  const { all, one, none, clear } = times;
  return { patterns, runs, all: spread(all), one: spread(one), none: spread(none), clear: spread(clear) };
}

/** Datagrams that came to a socket of this network, those for which it had no room among them. */
function arrived(): number {
  const [names, values] = readFileSync("/proc/self/net/snmp", "utf8")
    .split("\n")
    .filter((line) => line.startsWith("Udp:"))
    .map((line) => line.split(" "));
  return ["InDatagrams", "InErrors"].reduce((sum, name) => sum + Number(values![names!.indexOf(name)]), 0);
}

async function flood(network: GuestNetwork, program: string, ms: number): Promise<number> {
  const before = arrived();
  const sender = network.guest.spawn(program, "send", HOST.v4, `${SINK_PORT}`, `${ms}`);
  const took = Number(await text(sender.stdout!));
  return ((arrived() - before) / took) * 1000;
}

/** Floods the guest's device, in turn without a table, with an empty one and with a full one. */
export async function measureRates(network: GuestNetwork, rounds: number, ms: number): Promise<Rate[]> {
  const directory = await mkdtemp(join(tmpdir(), "xfilter-flood-"));
  const program = join(directory, "flood");
  await run("gcc", ["-O1", "-Wall", "-Wextra", "-Werror", "-o", program, join(import.meta.dirname, "flood.c")]);
  const sink = spawn(program, ["sink", `${SINK_PORT}`], { stdio: ["ignore", "pipe", "inherit"] });
  const kinds = [null, 0, MANY];
  const rates: number[][] = kinds.map(() => []);
  try {
    await once(sink.stdout, "data");
    sh("nft delete table netdev operator"); // it counts packets, which costs each of them the same
    await flood(network, program, ms);
    for (let round = 0; round < rounds; round++) {
      for (const [i, patterns] of kinds.entries()) {
        const backend = patterns === null ? null : await openOn(network);
        if (patterns) await backend!.reconcile(planWith(patterns), { signal });
        rates[i]!.push(await flood(network, program, ms));
        await backend?.close({ keep: false });
      }
    }
  } finally {
    sink.kill("SIGKILL");
    await rm(directory, { recursive: true });
  }
  const empty = rates[1]!;
  return kinds.map((patterns, i) => ({
    patterns,
    rounds,
    perSecond: spread(rates[i]!),
    ratio: spread(rates[i]!.map((rate, round) => rate / empty[round]!)),
  }));
}
