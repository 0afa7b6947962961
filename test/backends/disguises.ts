import {
  DESTINATION,
  type Ends,
  ethernet,
  extension,
  FRAGMENT,
  fragment6,
  HOP_BY_HOP,
  ipv4,
  ipv6,
  ROUTING,
  TCP,
  tcp,
  UDP,
  u8,
  u16,
  udp,
} from "./frame.ts";

/** EtherTypes of tags. */
export const Q = 0x8100;
export const AD = 0x88a8;

type Row = [name: string, frame: Buffer];

/** Fragments of IPv6 that are not a blocked flow's of TCP between two ports, or are only what follows its first. */
export function harmlessFragments(ends6: Ends, from: number, to: number): Row[] {
  const fragment = (...parts: Buffer[]) => ethernet(ipv6(ends6, FRAGMENT, Buffer.concat(parts)));
  return [
    ["a later fragment of IPv6", fragment(fragment6(TCP, 1, false), tcp(from, to))],
    ["a first fragment of a flow that nobody blocks", fragment(fragment6(UDP, 0, true), udp(1, 2))],
    ["an echo in fragments", fragment(fragment6(58, 0, true), u8(128, 0, 0, 0, 0, 1, 0, 1))],
  ];
}

/** Ways to hide a flow of TCP between two ports behind tags. */
export function tagged(ends4: Ends, ends6: Ends, from: number, to: number): Row[] {
  const plain4 = ipv4(ends4, TCP, tcp(from, to));
  const plain6 = ipv6(ends6, TCP, tcp(from, to));
  return [
    ["a tag of 802.1Q", ethernet(plain4, [Q])],
    ["a tag of 802.1Q over IPv6", ethernet(plain6, [Q])],
    ["a tag of 802.1ad", ethernet(plain6, [AD])],
    ["two tags", ethernet(plain4, [AD, Q])],
    ["two tags over IPv6", ethernet(plain6, [Q, Q])],
    ["two old tags", ethernet(plain6, [0x9100, Q])],
    ["a tag of 802.1Q behind an old one", ethernet(plain4, [0x9100])],
    ["three tags", ethernet(plain4, [AD, Q, Q])],
    ["five tags", ethernet(plain6, [AD, AD, Q, Q, Q])],
    ["a tagged first fragment", ethernet(ipv4(ends4, TCP, tcp(from, to), { fragment: [0, true] }), [Q])],
    ["a tagged first fragment of IPv6 without its transport header", ethernet(headless(ends6), [Q])],
  ];
}

/** Ways to hide it behind headers and in fragments. */
export function disguised(ends4: Ends, ends6: Ends, from: number, to: number): Row[] {
  const segment = tcp(from, to);
  const over4 = (options: Parameters<typeof ipv4>[3], payload = segment) =>
    ethernet(ipv4(ends4, TCP, payload, options));
  const over6 = (next: number, ...parts: Buffer[]) => ethernet(ipv6(ends6, next, Buffer.concat(parts)));
  return [
    ["IPv4 options", over4({ options: u8(1, 1, 1, 0) })],
    ["a first fragment", over4({ fragment: [0, true] })],
    ["a tiny first fragment", over4({ fragment: [0, true] }, u16(from, to, 0, 0))],
    ["extension headers", over6(HOP_BY_HOP, chain([HOP_BY_HOP, ROUTING, DESTINATION], segment))],
    ["a long extension header", over6(DESTINATION, extension(TCP, 60), segment)],
    ["a first fragment of IPv6", over6(FRAGMENT, fragment6(TCP, 0, true), segment)],
    ["a fragment of one", over6(FRAGMENT, fragment6(TCP, 0, false), segment)],
    ["a first fragment without its transport header", ethernet(headless(ends6))],
    [
      "a first fragment that ends in an extension header",
      over6(FRAGMENT, fragment6(DESTINATION, 0, true), extension(TCP, 4).subarray(0, 8)),
    ],
    ["two fragment headers", over6(FRAGMENT, fragment6(FRAGMENT, 0, false), fragment6(TCP, 0, true), segment)],
  ];
}

function headless(ends: Ends): Buffer {
  return ipv6(ends, FRAGMENT, Buffer.concat([fragment6(DESTINATION, 0, true), extension(TCP, 2)]));
}

/** Extension headers in front of a payload of TCP. */
function chain(headers: readonly number[], payload: Buffer): Buffer {
  return Buffer.concat([...headers.map((_, index) => extension(headers[index + 1] ?? TCP)), payload]);
}
