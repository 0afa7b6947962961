import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { installedGuests, iptables, nftables, type RuleBackend, removeGuests } from "../../lib/backends/index.ts";
import { run } from "../../lib/cli/program.ts";
import type { Filter } from "../../lib/filter/index.ts";
import { blocked, datagram, filterGuest } from "./filtered-guest.ts";
import { type Neighbour, neighbours } from "./neighbour.ts";
import { sh } from "./network.ts";
import { clearRulesets, ruleset, rulesetOfOthers } from "./ruleset.ts";
import { TablesNetwork } from "./tables-network.ts";

// Others change the host's firewall while a filter runs: theirs and ours both work afterwards, and ours is taken out of theirs without a
// trace. The guest is one in memory; network, packets, firewalls and firewalld are real. What libvirt and Docker do is done by hand.

const LOOK_MS = 100;
const { signal } = new AbortController();

const REMOVALS: readonly [how: string, remove: (filter: Filter) => Promise<void>][] = [
  ["filter.stop()", (filter) => filter.stop()],
  [
    "removeGuests()",
    async (filter) => {
      await filter.stop({ keep: true });
      await removeGuests(await installedGuests({ signal }), { signal });
    },
  ],
  [
    "xfilter clear --all",
    async (filter) => {
      await filter.stop({ keep: true });
      expect(await run(["clear", "--all"], signal)).toBe(0);
    },
  ],
];

/** A backend that does nothing while something else is done. */
class TakingTurns {
  #turn: Promise<unknown> = Promise.resolve();

  with<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#turn.then(work);
    this.#turn = done.catch(() => {});
    return done;
  }

  of(backend: RuleBackend): RuleBackend {
    return {
      name: backend.name,
      get capabilities() {
        return backend.capabilities;
      },
      open: (scope, options) => backend.open(scope, options),
      inspect: (options) => this.with(() => backend.inspect(options)),
      reconcile: (plan, options) => this.with(() => backend.reconcile(plan, options)),
      close: (options) => backend.close(options),
    };
  }
}

describe.each<[string, () => RuleBackend, "nft" | "legacy"]>([
  ["nftables", nftables, "nft"],
  ["iptables-nft", () => iptables({ variant: "nft" }), "nft"],
  ["iptables-legacy", () => iptables({ variant: "legacy" }), "legacy"],
])("%s", (_, create, variant) => {
  let network: TablesNetwork;
  let filter: Filter | undefined;
  beforeAll(() => {
    network = new TablesNetwork("routed");
    // It counts what comes by, and is of no use here.
    sh("nft delete table netdev operator");
  });
  afterAll(() => network?.close());
  afterEach(async () => {
    await filter?.stop();
    clearRulesets();
  });

  const passes = (frame: Buffer) => network.sent(frame) === 1;

  function expectTheirsToWork({ stops }: Neighbour): void {
    expect(passes(datagram(7))).toBe(true);
    expect(passes(datagram(stops.port, 1001, stops.from))).toBe(false);
  }

  describe.each(neighbours(variant).map((one, index) => [one.name, one, REMOVALS[index % REMOVALS.length]!] as const))(
    "%s",
    (_, neighbour, [how, remove]) => {
      afterEach(() => neighbour.end());

      it(`theirs and ours both work, and ${how} leaves theirs as they were`, async () => {
        expect(passes(blocked)).toBe(true);
        expect(passes(datagram(neighbour.stops.port, 1001, neighbour.stops.from))).toBe(true);
        await neighbour.begin();
        await neighbour.disturb();
        expect(passes(blocked)).toBe(true);
        expectTheirsToWork(neighbour);
        const without = ruleset();
        await neighbour.end();
        clearRulesets();

        await neighbour.begin();
        const turns = new TakingTurns();
        filter = await filterGuest(network, neighbour.countsPlaces ? turns.of(create()) : create(), LOOK_MS);
        expect(passes(blocked)).toBe(false);
        expect(passes(datagram(7))).toBe(true);
        await turns.with(async () => neighbour.disturb());
        await expect.poll(() => passes(blocked), { timeout: 20_000 }).toBe(false);
        // And it stays so: nobody takes turns with us.
        await sleep(5 * LOOK_MS);
        expect(passes(blocked)).toBe(false);
        expectTheirsToWork(neighbour);
        expect(rulesetOfOthers()).toBe(without);
        await remove(filter);
        expect(ruleset()).toBe(without);
        expect(passes(blocked)).toBe(true);
        expectTheirsToWork(neighbour);
      });
    },
  );
});
