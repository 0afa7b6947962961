import { afterAll, beforeAll, expect, it } from "vitest";
import { installedGuests, iptables, nftables, type RuleBackend, removeGuests } from "../../lib/backends/index.ts";
import { removeLeftovers } from "../../lib/cli/leftovers.ts";
import { GuestNetwork } from "./network.ts";
import { pattern, planOf } from "./plan.ts";

// A filter ended and left what was in force; the next one of the same guest has another backend.

const { signal } = new AbortController();
let network: GuestNetwork;
beforeAll(() => {
  network = new GuestNetwork();
});
afterAll(async () => {
  await removeGuests(await installedGuests({ signal }), { signal });
  network?.close();
});

async function leave(id: string, backend: RuleBackend): Promise<void> {
  await backend.open({ id, bootId: "1", interfaces: [await network.device()] }, { signal, leaseMs: null });
  await backend.reconcile(planOf([pattern()]), { signal });
  await backend.close({ keep: true });
}

it("what other backends hold for a guest goes, and its own and other guests' stays", async () => {
  await leave("vm1", nftables());
  await leave("vm1", iptables({ variant: "nft" }));
  await leave("vm1", iptables({ variant: "legacy" }));
  await leave("vm2", nftables());
  const inForce = async () => {
    const guests = await installedGuests({ signal });
    return guests.map(({ guest, backend, patterns }) => `${guest} ${backend} ${patterns.length}`).sort();
  };
  expect(await inForce()).toEqual(["vm1 iptables-legacy 1", "vm1 iptables-nft 1", "vm1 nftables 1", "vm2 nftables 1"]);

  const told: string[] = [];
  await removeLeftovers("vm1", "iptables-legacy", signal, (message) => told.push(message));
  expect(await inForce()).toEqual(["vm1 iptables-legacy 1", "vm2 nftables 1"]);
  expect(told).toEqual([
    "what a filter with nftables had left in force for this guest is taken out: 1 pattern",
    "what a filter with iptables-nft had left in force for this guest is taken out: 1 pattern",
  ]);

  // What the host calls iptables is one of the two.
  await removeLeftovers("vm1", "iptables", signal, expect.unreachable);
  expect(await inForce()).toEqual(["vm1 iptables-legacy 1", "vm2 nftables 1"]);
});
