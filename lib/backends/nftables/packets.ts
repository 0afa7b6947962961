import type { Json } from "./nft.ts";

/** EtherTypes. */
export const protocol = { ip: 0x0800, arp: 0x0806, ip6: 0x86dd } as const;
/** EtherTypes of tags: 802.1Q, 802.1ad, and what was there before it. */
export const TAGS = [0x8100, 0x88a8, 0x9100] as const;

export function match(left: Json, right: Json): Json {
  return { match: { op: "==", left, right } };
}

/** One of. */
export function matchSet(left: Json, values: readonly Json[]): Json {
  return match(left, { set: values });
}

/** `length` bytes from `offset` on in the frame as it is on the wire, tags and all. */
export function frameBytes(offset: number, length: 1 | 2 | 4): Json {
  return { payload: { base: "ll", offset: offset * 8, len: length * 8 } };
}

/** Ports of DHCP, DHCPv6: a guest without an address is of no use to anybody. Never blocked. */
const DHCP = { 4: [67, 68], 6: [546, 547] } as const;

export function dhcp(family: 4 | 6): Json[] {
  return ["sport", "dport"].map((field) => matchSet({ payload: { protocol: "udp", field } }, DHCP[family]));
}

/** Both ports in one, either way. */
export function dhcpPorts(family: 4 | 6): number[] {
  const [server, client] = DHCP[family];
  return [server * 65536 + client, client * 65536 + server];
}
