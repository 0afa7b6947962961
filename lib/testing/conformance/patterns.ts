import type { BackendCapabilities } from "../../backends/backend.ts";
import { overlap, parseNetwork } from "../../rules/network.ts";
import type { Packet } from "../../rules/packet.ts";
import type { FlowPattern } from "../../rules/pattern.ts";
import type { Direction, RuleAction } from "../../rules/rule.ts";

const GUEST = { 4: "192.0.2.10", 6: "2001:db8::10" };
const PEER = { 4: "198.51.100.20", 6: "2001:db8:1::20" };
/** Where the peer is. */
const NETWORK = { 4: "198.51.100.0/24", 6: "2001:db8:1::/64" };
/** Where, within that, it is. */
const PART = { 4: "198.51.100.16/28", 6: "2001:db8:1::/96" };
const ANY = { address: null, ports: null };

/** What a backend can do, one way. */
export interface Way {
  readonly direction: Direction;
  readonly family: 4 | 6;
  /** By which it stops packets. */
  readonly block: RuleAction;
}

/** Every way in which a backend can stop packets. */
export function waysOf({ actions, families }: BackendCapabilities): Way[] {
  return (["out", "in"] as const).flatMap((direction) => {
    const block = (["drop", "reject"] as const).find((action) => actions[direction].includes(action));
    return block === undefined ? [] : families.map((family) => ({ direction, family, block }));
  });
}

/** A connection of TCP from or to the guest's `port`, stopped. */
export function connection(
  { direction, family, block }: Way,
  port: number,
  change: Partial<FlowPattern> = {},
): FlowPattern {
  const local = { address: GUEST[family], port };
  return {
    ...{ direction, family, protocol: "tcp", local, remote: { address: PEER[family], ports: [22, 22] }, action: block },
    ...change,
  };
}

/** As many connections, from the port on. */
export function connections(way: Way, port: number, count: number): FlowPattern[] {
  return Array.from({ length: count }, (_, index) => connection(way, port + index));
}

/** One of each kind that a plan may hold and the backend can, those that say more of the guest's end first. */
export function assorted(capabilities: BackendCapabilities): FlowPattern[] {
  const ways = waysOf(capabilities);
  const each = (make: (way: Way) => FlowPattern | FlowPattern[]) => ways.flatMap(make);
  return [
    ...each((way) => capabilities.actions[way.direction].map((action, i) => connection(way, 1000 + i, { action }))),
    ...each((way) => connection(way, 1000, { protocol: "udp" })),
    ...each((way) => connection(way, 1000, { protocol: "udplite" })),
    ...each((way) => {
      const remote = { address: NETWORK[way.family], ports: [22, 25] as const };
      return connection(way, 1100, { remote });
    }),
    ...each((way) => connection(way, 1101, { remote: ANY })),
    ...each((way) => {
      const local = { address: null, port: 1200 };
      return connection(way, 1200, { local, protocol: "udp", remote: { address: null, ports: [1024, 65535] } });
    }),
    ...each((way) => connection(way, 1201, { local: { address: null, port: 1201 }, remote: ANY })),
    ...each((way) => {
      const remote = { address: PART[way.family], ports: [25, 25] as const };
      return connection(way, 0, { local: { address: null, port: null }, remote });
    }),
  ];
}

/** Patterns that overlap: which comes first decides. An exception for a part of a network that is stopped, and the other way round. */
export function overlapping(way: Way): { inside: FlowPattern; outside: FlowPattern } {
  const local = { address: null, port: 5000 };
  return {
    inside: connection(way, 5000, { local, remote: { address: PART[way.family], ports: null }, action: "accept" }),
    outside: connection(way, 5000, { local, remote: { address: NETWORK[way.family], ports: null } }),
  };
}

/** A socket without another end that is stopped, and the connection of somebody else at its port, which is not. */
export function excepted(way: Way): { exception: FlowPattern; wide: FlowPattern } {
  return {
    exception: connection(way, 6000, { action: "accept" }),
    wide: connection(way, 6000, { local: { address: null, port: 6000 }, remote: ANY }),
  };
}

/** A packet that the pattern matches, if it is one of these. */
export function packetOf({ direction, family, protocol, local, remote }: FlowPattern): Packet {
  const single = (address: string | null) => (address?.includes("/") ? null : address);
  return {
    ...{ direction, protocol },
    local: { address: single(local.address) ?? GUEST[family], port: local.port ?? 40_999 },
    remote: { address: single(remote.address) ?? PEER[family], port: remote.ports?.[0] ?? 4000 },
  };
}

/** One that none of these patterns matches. */
export function innocent({ direction, family }: Way): Packet {
  const [local, remote] = [GUEST, PEER].map((addresses) => ({ address: addresses[family], port: 999 }));
  return { direction, protocol: "tcp", local: local!, remote: remote! };
}

/** Whether some packet meets both. */
export function overlaps(a: FlowPattern, b: FlowPattern): boolean {
  if (a.direction !== b.direction || a.family !== b.family || a.protocol !== b.protocol) return false;
  if (a.local.port !== null && b.local.port !== null && a.local.port !== b.local.port) return false;
  const [from, to] = a.remote.ports ?? [0, 65535];
  const [first, last] = b.remote.ports ?? [0, 65535];
  return (
    from <= last && first <= to && meet(a.local.address, b.local.address) && meet(a.remote.address, b.remote.address)
  );
}

function meet(a: string | null, b: string | null): boolean {
  const [one, other] = [a, b].map((text) => (text === null ? undefined : parseNetwork(text)));
  return one === undefined || other === undefined || overlap(one, other);
}
