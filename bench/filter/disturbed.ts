import { setTimeout as sleep } from "node:timers/promises";
import { type IptablesVariant, iptables, nftables, type RuleBackend } from "../../lib/backends/index.ts";
import { blocked, filterGuest } from "../../test/backends/filtered-guest.ts";
import { type Neighbour, neighbours } from "../../test/backends/neighbour.ts";
import { sh, TAP } from "../../test/backends/network.ts";
import { clearRulesets, ruleset, rulesetOfOthers } from "../../test/backends/ruleset.ts";
import { TablesNetwork, UP } from "../../test/backends/tables-network.ts";
import { type Spread, spread } from "../measure.ts";
import { Wire } from "./wire.ts";

/** What became of a filter of a guest, and of its neighbour, when that changed the host's rules. */
export interface Disturbed {
  readonly backend: string;
  readonly by: string;
  readonly rounds: number;
  /** Milliseconds from the disturbance's end to the last packet of a blocked flow that passed; 0: none did. */
  readonly bites: Spread;
  /** How many passed from the beginning of the disturbance on. */
  readonly packets: Spread;
  /** In how many rounds the neighbour's rules were other than without a filter, beside it and after it. */
  readonly different: number;
}

export const BACKENDS: Readonly<Record<string, { create(): RuleBackend; variant: IptablesVariant }>> = {
  nftables: { create: nftables, variant: "nft" },
  "iptables-nft": { create: () => iptables({ variant: "nft" }), variant: "nft" },
  "iptables-legacy": { create: () => iptables({ variant: "legacy" }), variant: "legacy" },
};

export interface Setting {
  readonly backend: keyof typeof BACKENDS;
  readonly rounds: number;
  /** How often the filter looks at the firewall. */
  readonly reconcileMs: number;
  readonly signal: AbortSignal;
  tell(line: string): void;
}

/** A packet of the blocked flow so often: no time is told more exactly. */
const EVERY_US = 1_000;
/** How long nothing has to pass for it to bite. */
const STANDS_MS = 300;
const PORT = 22;

export async function measureDisturbed(setting: Setting): Promise<Disturbed[]> {
  const { backend, rounds, signal, tell } = setting;
  const network = new TablesNetwork("routed");
  const wire = await Wire.between(TAP, UP, PORT);
  const sender = network.repeat("out", network.fromGuest(blocked), EVERY_US);
  const measured: Disturbed[] = [];
  try {
    sh("nft delete table netdev operator");
    for (const neighbour of neighbours(BACKENDS[backend]!.variant)) {
      const without = await alone(neighbour);
      const [bites, packets]: [number[], number[]] = [[], []];
      let different = 0;
      for (let round = 0; round < rounds; round++) {
        const one = await disturb(network, wire, neighbour, without, setting, (round + Math.random()) / rounds);
        bites.push(one.bites);
        packets.push(one.packets);
        if (one.different) different++;
        signal.throwIfAborted();
      }
      const one = { backend, by: neighbour.name, rounds, bites: spread(bites), packets: spread(packets), different };
      tell(`${backend}, ${one.by}: ${one.bites.p50.toFixed(0)} ms, worst ${one.bites.max.toFixed(0)} ms`);
      measured.push(one);
    }
    return measured;
  } finally {
    sender.kill("SIGKILL");
    clearRulesets();
    await wire.close();
    network.close();
  }
}

/** The neighbour's rules where there is no filter. */
async function alone(neighbour: Neighbour): Promise<string> {
  clearRulesets();
  try {
    await neighbour.begin();
    await neighbour.disturb();
    return ruleset();
  } finally {
    await neighbour.end();
    clearRulesets();
  }
}

/** `part`: of the time from one look to the next, after which it begins. Rounds take them in turn, so that none counts more often. */
async function disturb(
  network: TablesNetwork,
  wire: Wire,
  neighbour: Neighbour,
  without: string,
  { backend, reconcileMs, signal }: Setting,
  part: number,
): Promise<{ bites: number; packets: number; different: boolean }> {
  await neighbour.begin();
  const filter = await filterGuest(network, BACKENDS[backend]!.create(), reconcileMs);
  try {
    await sleep(part * reconcileMs, undefined, { signal });
    wire.clear();
    await neighbour.disturb();
    const end = process.hrtime.bigint();
    const last = await untilItStands(wire, 2 * reconcileMs + 5_000, signal);
    const packets = wire.all.filter(({ how }) => how === "went").length;
    const beside = rulesetOfOthers();
    await filter.stop();
    return {
      bites: last === null || last < end ? 0 : Number(last - end) / 1e6,
      packets,
      different: beside !== without || ruleset() !== without,
    };
  } finally {
    await filter.stop();
    await neighbour.end();
    clearRulesets();
  }
}

/** Resolves when nothing has passed for a while: when the last one did, null where none did. */
async function untilItStands(wire: Wire, patienceMs: number, signal: AbortSignal): Promise<bigint | null> {
  const begun = process.hrtime.bigint();
  const deadline = performance.now() + patienceMs;
  while (performance.now() < deadline) {
    await sleep(20, undefined, { signal });
    const last = wire.all.findLast(({ how }) => how === "went")?.time ?? null;
    const since = last === null || last < begun ? begun : last;
    const comes = wire.all.some(({ how, time }) => how === "came" && time > since);
    if (comes && Number(process.hrtime.bigint() - since) / 1e6 > STANDS_MS) return last;
  }
  throw new Error("The filter does not bite again");
}
