import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { type GuestNetwork, HOST, sh } from "../../test/backends/network.ts";
import { run } from "../../vmcore-fixtures/command.ts";
import { type Spread, spread } from "../measure.ts";
import { CONTENDERS, openWith } from "./contender.ts";

/** Packets in a second of a flow that no pattern names, past so many that others are named by. */
export interface Rate {
  /** Null: no backend has put anything there. */
  readonly backend: string | null;
  readonly inForce: number;
  readonly rounds: number;
  readonly perSecond: Spread;
  /** Over the rate without a backend, round by round. */
  readonly ratio: Spread;
}

const SINK_PORT = 9;

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

/** Floods the guest's device, in turn without a backend and with each of them, with so many flows in force. */
export async function measureRates(
  network: GuestNetwork,
  inForce: readonly number[],
  rounds: number,
  ms: number,
  signal: AbortSignal,
): Promise<Rate[]> {
  const directory = await mkdtemp(join(tmpdir(), "xfilter-flood-"));
  const program = join(directory, "flood");
  await run("gcc", ["-O1", "-Wall", "-Wextra", "-Werror", "-o", program, join(import.meta.dirname, "flood.c")]);
  const sink = spawn(program, ["sink", `${SINK_PORT}`], { stdio: ["ignore", "pipe", "inherit"] });
  const bare: number[] = [];
  const trials = CONTENDERS.flatMap((create) =>
    inForce.map((flows) => ({ create, flows, backend: create().name, rates: [] as number[] })),
  );
  try {
    await once(sink.stdout, "data");
    sh("nft delete table netdev operator"); // it counts packets, which costs each of them the same
    await flood(network, program, ms);
    for (let round = 0; round < rounds; round++) {
      bare.push(await flood(network, program, ms));
      for (const { create, flows, rates } of trials) {
        const opened = await openWith(flows, create, network, signal);
        rates.push(await flood(network, program, ms));
        await opened.close({ keep: false });
      }
    }
  } finally {
    sink.kill("SIGKILL");
    await rm(directory, { recursive: true });
  }
  const rate = (backend: string | null, flows: number, rates: readonly number[]): Rate => {
    const ratio = spread(rates.map((value, round) => value / bare[round]!));
    return { backend, inForce: flows, rounds, perSecond: spread(rates), ratio };
  };
  return [rate(null, 0, bare), ...trials.map(({ backend, flows, rates }) => rate(backend, flows, rates))];
}
