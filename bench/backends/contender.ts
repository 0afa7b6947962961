import { iptables, nftables, type RuleBackend } from "../../lib/backends/index.ts";
import { planOf } from "../../lib/testing/plan.ts";
import type { GuestNetwork } from "../../test/backends/network.ts";
import { pattern } from "../../test/backends/plan.ts";

/** The firewalls that are compared. */
export const CONTENDERS: readonly (() => RuleBackend)[] = [
  () => nftables(),
  () => iptables({ variant: "nft" }),
  () => iptables({ variant: "legacy" }),
];

const FIRST_PORT = 1024;

/** So many flows of the guest, each from a port of its own to one of the host's. */
export const planWith = (flows: number) =>
  planOf(Array.from({ length: flows }, (_, i) => pattern({ protocol: "udp", local: { port: FIRST_PORT + i } })));

/** Opens a backend for the guest, with so many flows in force. */
export async function openWith(
  flows: number,
  create: () => RuleBackend,
  network: GuestNetwork,
  signal: AbortSignal,
): Promise<RuleBackend> {
  const backend = create();
  const interfaces = [await network.device()];
  await backend.open({ id: "bench", bootId: "1", interfaces }, { signal, leaseMs: null });
  await backend.reconcile(planWith(flows), { signal });
  return backend;
}
