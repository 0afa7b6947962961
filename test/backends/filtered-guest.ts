import type { RuleBackend } from "../../lib/backends/index.ts";
import { createFilter, type Filter } from "../../lib/filter/index.ts";
import { MemoryGuest } from "../../lib/testing/index.ts";
import { ethernet, ipv4, UDP, u16 } from "./frame.ts";
import { GUEST, OUTSIDE } from "./network.ts";
import type { TablesNetwork } from "./tables-network.ts";

/** A guest in memory with one user who is blocked, on a real device. */
export const ID = "vm1";
const MALLORY = 1003;
/** Ports of the flow that is blocked. */
export const BLOCKED = { from: 1000, to: 22 };

/** Starts a filter of it, which looks at the firewall so often. */
export async function filterGuest(network: TablesNetwork, backend: RuleBackend, reconcileMs: number): Promise<Filter> {
  const guest = new MemoryGuest();
  guest.devices = [{ ...(await network.device()), master: null, guestMac: null, open: true }];
  guest.processes = [{ pid: 103, uid: MALLORY, comm: "mallory" }];
  guest.flows = [
    {
      ...{ pid: 103, protocol: "udp", localAddress: GUEST.v4, localPort: BLOCKED.from },
      ...{ remoteAddress: OUTSIDE.v4, remotePort: BLOCKED.to },
    },
  ];
  const rules = [`deny udp from any to any ${BLOCKED.to} uid ${MALLORY}`];
  const filter = createFilter({ guest: guest.asGuest(), rules, backend, id: ID, intervalMs: 200, reconcileMs });
  await filter.start();
  return filter;
}

const BYTES = 32;

/** A datagram from the guest to the outside. */
export function datagram(toPort: number, fromPort = 1001, from: string = GUEST.v4): Buffer {
  const payload = Buffer.concat([u16(fromPort, toPort, 8 + BYTES, 0), Buffer.alloc(BYTES)]);
  return ethernet(ipv4({ from, to: OUTSIDE.v4 }, UDP, payload));
}

export const blocked = datagram(BLOCKED.to, BLOCKED.from);
