import type { Filter } from "../../lib/filter/index.ts";
import { mallory, noSshForMallory, type Talker } from "../../vmcore-fixtures/lab.ts";
import { type Spread, spread, timed } from "../measure.ts";
import { type Bench, filterOf, nextPoll } from "./blocking.ts";

/** What polls took, in milliseconds, and of it the firewall. */
export interface Polls {
  readonly what: string;
  readonly polls: number;
  readonly poll: Spread;
  readonly apply: Spread | null;
  /** A snapshot of the same guest, without a filter. */
  readonly snapshot: Spread | null;
}

const INTERVAL_MS = 50;
/** What one talker of the lab can hold. */
const AT_ONCE = 32;
const TALKERS = 32;

async function snapshots({ guest }: Bench, count: number): Promise<Spread> {
  const times: number[] = [];
  for (let i = 0; i < count; i++) times.push(await timed(() => guest.snapshot()));
  return spread(times);
}

async function idle(filter: Filter, polls: number, snapshot: Spread): Promise<Polls> {
  const times: number[] = [];
  const flows = filter.status().inForce.length;
  while (times.length < polls) times.push(await nextPoll(filter));
  return { what: `no change, ${flows} flows in force`, polls, poll: spread(times), apply: null, snapshot };
}

/** Polls that change nothing, with few flows and with many, and polls that block many connections at once and let them go. */
export async function measurePolls(bench: Bench, polls: number, changes: number): Promise<Polls[]> {
  const talkers: Talker[] = [
    await bench.lab.talk({ uid: mallory, hold: ["tcp4:22", "tcp6:22", "udp4:22", "udp6:22"] }),
  ];
  const filter = filterOf(bench, INTERVAL_MS, noSshForMallory);
  const few = await snapshots(bench, polls);
  await filter.start();
  const measured = [await idle(filter, polls, few)];
  // Half of each protocol: the outside has no room for more of TCP.
  const hold = Array.from({ length: AT_ONCE }, (_, i) => (i % 2 === 0 ? "tcp4:22" : "udp4:22"));
  filter.setRules([]);
  await nextPoll(filter);
  for (let i = 0; i < TALKERS; i++) talkers.push(await bench.lab.talk({ uid: mallory, hold, every: 60_000 }));
  const many = await snapshots(bench, polls);
  const [set, cleared] = [
    { poll: [] as number[], apply: [] as number[] },
    { poll: [] as number[], apply: [] as number[] },
  ];
  let most = 0;
  for (let i = 0; i < changes; i++) {
    for (const [rules, times] of [[noSshForMallory, set] as const, [[], cleared] as const]) {
      await nextPoll(filter);
      filter.setRules(rules);
      times.poll.push(await nextPoll(filter));
      times.apply.push(filter.status().lastApplyMs);
      most = Math.max(most, filter.status().inForce.length);
    }
  }
  const change = (what: string, { poll, apply }: typeof set) => ({
    ...{ what, polls: poll.length, poll: spread(poll), apply: spread(apply), snapshot: null },
  });
  measured.push(change(`${most} new flows`, set), change(`${most} flows no more`, cleared));
  filter.setRules(noSshForMallory);
  await nextPoll(filter);
  measured.push(await idle(filter, polls, many));
  await filter.stop();
  for (const talker of talkers) await talker.exit("reset");
  return measured;
}
