import { nftables } from "../../lib/backends/index.ts";
import { createFilter } from "../../lib/filter/index.ts";
import { introspect } from "../../lib/index.ts";
import { alice, type LabGuest, mallory, noSshForMallory, usual } from "../../vmcore-fixtures/lab.ts";
import { losses } from "../../vmcore-fixtures/lab-report.ts";
import { type Measurement, summarize } from "../measure.ts";
import type { Answered, Offer } from "./client.ts";
import { Clients } from "./clients.ts";

/** How a filter polls. */
export interface Setting {
  readonly consistency: "validate" | "pause";
  readonly intervalMs: number;
}

export interface Load {
  readonly name: string;
  readonly offer: (seconds: number) => Offer;
}

/** What a web server in a filtered guest answers, over what it answers right before and after without a filter. */
export interface Slowdown extends Setting {
  readonly load: string;
  /** Polls that were done, and those that were left out as one took too long. */
  readonly pollsPerSecond: number;
  readonly missedPolls: number;
  /** Requests a second; medians. */
  readonly alone: number;
  readonly filtered: number;
  /** Of these, round by round. 1: it notices nothing. */
  readonly ratio: Measurement;
  /** The same of medians and of 99 % of the time that a request took, in milliseconds; above 1: it took longer. */
  readonly p50: { readonly alone: number; readonly filtered: number; readonly ratio: Measurement };
  readonly p99: { readonly alone: number; readonly filtered: number; readonly ratio: Measurement };
  readonly requests: number;
  /** What went wrong of them, and of those of the unfiltered guest. */
  readonly failed: number;
  readonly failedAlone: number;
}

/** What a user of the guest of whom the rules do not tell sent meanwhile, and what of it was lost, a line each. */
export interface Unnamed {
  readonly bytes: number;
  readonly opened: number;
  readonly losses: readonly string[];
}

/** As many requests a second as the thesis offered, and as many as get answers. */
export const LOADS: readonly Load[] = [
  { name: "150/s offered", offer: (seconds) => ({ seconds, perSecond: 150 }) },
  { name: "saturation", offer: (seconds) => ({ seconds, connections: 4 }) },
];

export const SETTINGS: readonly Setting[] = (["validate", "pause"] as const).flatMap((consistency) =>
  [10_000, 1_000, 100, 10].map((intervalMs) => ({ consistency, intervalMs })),
);

const PORT = 80;
const BYTES = 4096;

/** One load under one setting, round by round; `alone` has one entry more: before the first, and after each. */
interface Rounds {
  readonly filtered: Answered[];
  readonly alone: (readonly [Answered, Answered])[];
  polls: number;
  missedPolls: number;
}

export interface Plan {
  readonly rounds: number;
  readonly seconds: number;
  readonly loads: readonly Load[];
  readonly settings: readonly Setting[];
  readonly tell: (line: string) => void;
  readonly signal: AbortSignal;
}

const failuresOf = ({ failed }: Answered) => Object.values(failed).reduce((sum, count) => sum + count, 0);

function told({ perSecond, failed }: Answered): string {
  const failures = Object.entries(failed).map(([why, count]) => `, ${count} failed: ${why}`);
  return `${perSecond.toFixed(1)}/s${failures.join("")}`;
}

/** What the server answers while a filter is in force that blocks somebody else's connections. */
async function filtered(lab: LabGuest, setting: Setting, into: Rounds, ask: () => Promise<Answered>) {
  const { consistency, intervalMs } = setting;
  const guest = await introspect({ qemu: { qmp: lab.live.qmp } }, { consistency });
  try {
    const interfaces = await guest.interfaces();
    const filter = createFilter({
      guest,
      rules: noSshForMallory,
      backend: nftables(),
      id: "bench",
      interfaces,
      intervalMs,
    });
    await filter.start();
    try {
      const { polls } = filter.status();
      const answered = await ask();
      const { inForce, missedPolls, polls: now } = filter.status();
      const blocked = inForce.filter(({ pattern }) => pattern.owner?.uid === mallory).length;
      if (blocked !== usual.hold.length)
        throw new Error(`${blocked} of ${usual.hold.length} connections are blocked: what was measured is no filter`);
      into.polls += now - polls;
      into.missedPolls += missedPolls;
      return answered;
    } finally {
      await filter.stop();
    }
  } finally {
    await guest.close();
  }
}

function slowdown(load: string, setting: Setting, { filtered, alone, ...rest }: Rounds, seconds: number): Slowdown {
  const compare = (of: (answered: Answered) => number) => {
    const beside = alone.map(([before, after]) => (of(before) + of(after)) / 2);
    const with_ = filtered.map(of);
    const ratio = with_.map((value, round) => value / beside[round]!);
    const median = (values: readonly number[]) => summarize(load, "", values).median;
    return { alone: median(beside), filtered: median(with_), ratio: summarize(load, "over unfiltered", ratio) };
  };
  const sum = (all: readonly Answered[], of: (answered: Answered) => number) => all.reduce((n, one) => n + of(one), 0);
  return {
    ...setting,
    load,
    pollsPerSecond: rest.polls / (seconds * filtered.length),
    missedPolls: rest.missedPolls,
    ...compare(({ perSecond }) => perSecond),
    p50: compare(({ latency }) => latency.p50),
    p99: compare(({ latency }) => latency.p99),
    requests: sum(filtered, ({ requests }) => requests),
    failed: sum(filtered, failuresOf),
    failedAlone: sum(
      alone.map(([, after]) => after),
      failuresOf,
    ),
  };
}

/** Rounds of: not filtered, filtered by one setting, not filtered, filtered by the next, … `seconds` each, for each load. */
export async function measureSlowdowns(
  lab: LabGuest,
  { rounds, seconds, loads, settings, tell, signal }: Plan,
): Promise<{ readonly slowdowns: Slowdown[]; readonly unnamed: Unnamed }> {
  await lab.serveWeb(alice, PORT, BYTES);
  // They stay, and say nothing that would have to be blocked: so the guest does the same with a filter and without.
  await lab.talk({ uid: mallory, hold: usual.hold, every: 3_600_000 });
  const unnamed = await lab.talk({ uid: alice, ...usual, every: 200, renew: 2_000 });
  const clients = await Clients.at(lab.outside, PORT, BYTES);
  try {
    const all = loads.map(() => settings.map((): Rounds => ({ filtered: [], alone: [], polls: 0, missedPolls: 0 })));
    for (let round = 0; round < rounds; round++) {
      for (const [i, { name, offer }] of loads.entries()) {
        const ask = () => clients.ask(offer(seconds), signal);
        if (round === 0) await ask(); // warms up
        let before = await ask();
        for (const [j, setting] of settings.entries()) {
          const into = all[i]![j]!;
          const during = await filtered(lab, setting, into, ask);
          const after = await ask();
          into.filtered.push(during);
          into.alone.push([before, after]);
          before = after;
          const what = `${name}, ${setting.consistency} every ${setting.intervalMs} ms`;
          tell(`round ${round + 1} of ${rounds}: ${what}: ${told(during)}; without a filter ${told(after)}`);
        }
      }
    }
    const last = await unnamed.stop();
    return {
      slowdowns: loads.flatMap(({ name }, i) =>
        settings.map((setting, j) => slowdown(name, setting, all[i]![j]!, seconds)),
      ),
      unnamed: {
        bytes: last.held.reduce((sum, { sent }) => sum + sent, 0),
        opened: last.opened.reduce((sum, { opened }) => sum + opened, 0),
        losses: losses(last, await lab.outside.report()),
      },
    };
  } finally {
    await clients.close();
  }
}
