import { setTimeout as sleep } from "node:timers/promises";
import { nftables } from "../../lib/backends/index.ts";
import { createFilter, type Filter } from "../../lib/filter/index.ts";
import type { Guest } from "../../lib/index.ts";
import { busy, type LabGuest, mallory, noSshForMallory, type Talker } from "../../vmcore-fixtures/lab.ts";
import { type Spread, spread } from "../measure.ts";
import type { Wire } from "./wire.ts";

/** How long it took until a user's connections were blocked, each from the same kind of beginning. */
export interface Blocking {
  readonly intervalMs: number;
  readonly from: "start()" | "setRules()" | "a new connection";
  readonly connections: number;
  /** Milliseconds to the last packet that passed, and to the first that came and did not; 0: nothing passed. */
  readonly lastPassed: Spread;
  readonly firstBlocked: Spread;
  /** What passed of each connection in that time. */
  readonly packets: Spread;
  readonly bytes: Spread;
  /** Connections of which nothing was seen to be blocked: in no figure. */
  readonly unblocked: number;
}

export interface Bench {
  readonly lab: LabGuest;
  readonly guest: Guest;
  readonly wire: Wire;
}

/** How long a connection has to be blocked before it counts as that, and within what time. */
const STANDS_MS = 100;
const PATIENCE_MS = 5_000;

const talk = ({ lab }: Bench) => lab.talk({ uid: mallory, ...busy, drain: 500 });

const flowsOf = ({ started }: Talker) =>
  started.held.map(({ protocol, family, localPort }) => `${protocol}${family}:${localPort}`);

export function filterOf({ guest }: Bench, intervalMs: number, rules: readonly string[]): Filter {
  return createFilter({ guest, rules, backend: nftables(), id: "bench", intervalMs });
}

/** Resolves after the poll that ends next: what it took, in milliseconds. */
export async function nextPoll(filter: Filter): Promise<number> {
  const { polls } = filter.status();
  while (filter.status().polls === polls) await sleep(1);
  return filter.status().lastPollMs;
}

/** What of a flow passed since then, and what came first after that and did not. */
function passage(wire: Wire, flow: string, since: bigint) {
  const all = wire.of(flow).filter(({ time }) => time >= since);
  const went = all.filter(({ how }) => how === "went");
  const last = went.at(-1)?.time ?? since;
  return { went, last, blocked: all.find(({ how, time }) => how === "came" && time >= last) };
}

/** Resolves when all of them are blocked: of TCP that may be seen only when its sender tries again. */
async function untilTheyStand(wire: Wire, flows: readonly string[], since: bigint): Promise<void> {
  const deadline = performance.now() + PATIENCE_MS;
  const stands = (flow: string) => {
    const { blocked } = passage(wire, flow, since);
    return blocked && Number(process.hrtime.bigint() - blocked.time) / 1e6 > STANDS_MS;
  };
  while (!flows.every(stands) && performance.now() < deadline) await sleep(10);
}

/** Waits for a moment at that part of the time from a poll to the next: rounds take them in turn, so that none counts more often. */
async function between(filter: Filter, intervalMs: number, part: number): Promise<void> {
  await nextPoll(filter);
  await sleep(part * intervalMs);
}

/** Gathers what became of connections. */
class Tally {
  private readonly times: Record<"lastPassed" | "firstBlocked" | "packets" | "bytes", number[]> = {
    lastPassed: [],
    firstBlocked: [],
    packets: [],
    bytes: [],
  };
  private unblocked = 0;

  /** `since`: when it began; null: with the connection's own first packet. */
  add(wire: Wire, flow: string, since: bigint | null): void {
    const start = since ?? wire.of(flow)[0]?.time ?? 0n;
    const { went, last, blocked } = passage(wire, flow, start);
    if (!blocked) {
      this.unblocked++;
      return;
    }
    const ms = (time: bigint) => Number(time - start) / 1e6;
    this.times.lastPassed.push(ms(last));
    this.times.firstBlocked.push(ms(blocked.time));
    this.times.packets.push(went.length);
    this.times.bytes.push(went.reduce((sum, { bytes }) => sum + bytes, 0));
  }

  result(intervalMs: number, from: Blocking["from"]): Blocking {
    const { lastPassed, firstBlocked, packets, bytes } = this.times;
    return {
      ...{ intervalMs, from, connections: lastPassed.length, unblocked: this.unblocked },
      ...{ lastPassed: spread(lastPassed), firstBlocked: spread(firstBlocked) },
      ...{ packets: spread(packets), bytes: spread(bytes) },
    };
  }
}

/** Resolves when every flow passes again: one of TCP when its sender tries again. */
async function untilTheyFlow(wire: Wire, flows: readonly string[]): Promise<void> {
  wire.clear();
  while (!flows.every((flow) => wire.of(flow).filter(({ how }) => how === "went").length > 3)) await sleep(20);
}

/** Connections that are there when the filter starts, or when it is given the rule, at any time between two polls. */
export async function blockingOfOld(
  bench: Bench,
  from: "start()" | "setRules()",
  intervalMs: number,
  connections: number,
): Promise<Blocking> {
  const tally = new Tally();
  const talker = await talk(bench);
  const flows = flowsOf(talker);
  let filter: Filter | undefined;
  const rounds = Math.ceil(connections / flows.length);
  for (let round = 0; round < rounds; round++) {
    await untilTheyFlow(bench.wire, flows);
    if (from === "start()") filter = filterOf(bench, intervalMs, noSshForMallory);
    else if (!filter) {
      filter = filterOf(bench, intervalMs, []);
      await filter.start();
    }
    if (from === "setRules()") await between(filter, intervalMs, (round + Math.random()) / rounds);
    const since = process.hrtime.bigint();
    if (from === "start()") await filter.start();
    else filter.setRules(noSshForMallory);
    await untilTheyStand(bench.wire, flows, since);
    for (const flow of flows) tally.add(bench.wire, flow, since);
    if (from === "start()") await filter.stop();
    else filter.setRules([]);
  }
  await filter?.stop();
  await talker.exit("reset");
  return tally.result(intervalMs, from);
}

/** Connections that begin while the rule is in force, from their first packet. */
export async function blockingOfNew(bench: Bench, intervalMs: number, connections: number): Promise<Blocking> {
  const tally = new Tally();
  const filter = filterOf(bench, intervalMs, noSshForMallory);
  await filter.start();
  const rounds = Math.ceil(connections / busy.hold.length);
  for (let round = 0; round < rounds; round++) {
    await between(filter, intervalMs, (round + Math.random()) / rounds);
    bench.wire.clear();
    const talker = await talk(bench);
    const flows = flowsOf(talker);
    await untilTheyStand(bench.wire, flows, 0n);
    for (const flow of flows) tally.add(bench.wire, flow, null);
    await talker.exit("reset");
  }
  await filter.stop();
  return tally.result(intervalMs, "a new connection");
}
