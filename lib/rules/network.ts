import { formatIPv4, formatIPv6 } from "../address.ts";

/** @internal Addresses that share their first `length` bits; an address alone shares all of them. */
export interface Network {
  readonly family: 4 | 6;
  /** 4 or 16 bytes in network order; behind `length` bits they are 0. */
  readonly bytes: Uint8Array;
  readonly length: number;
}

/** @internal "192.0.2.7", "192.0.2.0/24", "2001:db8::/32"; undefined if it is neither an address nor a network. Bits behind the length are dropped. */
export function parseNetwork(text: string): Network | undefined {
  const [, address = "", digits] = /^([^/]*)(?:\/(\d{1,3}))?$/.exec(text) ?? [];
  const family = address.includes(":") ? 6 : 4;
  const bytes = family === 6 ? parseIPv6(address) : parseIPv4(address);
  if (bytes === undefined) return undefined;
  const length = digits === undefined ? bytes.length * 8 : Number(digits);
  if (length > bytes.length * 8) return undefined;
  for (let i = 0; i < bytes.length; i++) {
    const kept = Math.min(8, Math.max(0, length - 8 * i));
    bytes[i]! &= 0xff00 >> kept;
  }
  return { family, bytes, length };
}

/** @internal As `parseNetwork` takes it, the same text for the same network: an address alone has no length. */
export function formatNetwork({ family, bytes, length }: Network): string {
  const address = family === 4 ? formatIPv4(bytes) : formatIPv6(bytes);
  return length === bytes.length * 8 ? address : `${address}/${length}`;
}

/** @internal Whether all addresses of the second are the first's. */
export function contains(outer: Network, inner: Network): boolean {
  if (outer.family !== inner.family || outer.length > inner.length) return false;
  const whole = outer.length >> 3;
  for (let i = 0; i < whole; i++) if (outer.bytes[i] !== inner.bytes[i]) return false;
  const mask = 0xff00 >> (outer.length & 7);
  return whole === outer.bytes.length || ((outer.bytes[whole]! ^ inner.bytes[whole]!) & mask & 0xff) === 0;
}

/** @internal Whether some address is of both. */
export function overlap(a: Network, b: Network): boolean {
  return contains(a, b) || contains(b, a);
}

/** @internal Whether it is one address. */
export function isAddress({ bytes, length }: Network): boolean {
  return length === bytes.length * 8;
}

/** @internal What makes a text one that no rule may name, as a clause; undefined: it is an address or a network. */
export function networkProblem(text: string): string | undefined {
  const network = parseNetwork(text);
  if (network === undefined) return `is no address or network such as "192.0.2.7", "192.0.2.0/24" or "2001:db8::/32"`;
  const { family, bytes, length } = network;
  if (family === 6 && contains(MAPPED, network)) {
    const plain = formatNetwork({ family: 4, bytes: bytes.slice(12), length: length - 96 });
    return `is an IPv4 address in IPv6's form: write "${plain}"`;
  }
  const address = parseNetwork(text.replace(/\/.*/, ""))!;
  if (address.bytes.every((byte, i) => byte === bytes[i])) return undefined;
  return `has bits set behind its prefix: write "${formatNetwork(network)}"`;
}

function parseIPv4(text: string): Uint8Array | undefined {
  const parts = text.split(".");
  // Not "010", which C's inet_aton takes for 8.
  if (parts.length !== 4 || !parts.every((part) => /^(0|[1-9]\d{0,2})$/.test(part) && Number(part) <= 255)) return;
  return Uint8Array.from(parts, Number);
}

function parseIPv6(text: string): Uint8Array | undefined {
  const halves = text.split("::");
  if (halves.length > 2) return undefined;
  const [head, tail] = halves.map((half, index) => groups(half, index === halves.length - 1));
  if (head === undefined || (halves.length === 2 && tail === undefined)) return undefined;
  // "::" stands for at least one group.
  const length = head.length + (tail?.length ?? 0);
  if (halves.length === 2 ? length > 14 : length !== 16) return undefined;
  const bytes = new Uint8Array(16);
  bytes.set(head);
  if (tail !== undefined) bytes.set(tail, 16 - tail.length);
  return bytes;
}

/** Bytes of what stands between two ends of an IPv6 address; at its end the last may be an IPv4 address. */
function groups(text: string, atEnd: boolean): number[] | undefined {
  if (text === "") return [];
  const bytes: number[] = [];
  const parts = text.split(":");
  for (const [index, part] of parts.entries()) {
    const ipv4 = atEnd && index === parts.length - 1 && part.includes(".") ? parseIPv4(part) : undefined;
    if (ipv4 !== undefined) bytes.push(...ipv4);
    else if (/^[0-9a-f]{1,4}$/i.test(part))
      bytes.push(Number.parseInt(part, 16) >> 8, Number.parseInt(part, 16) & 0xff);
    else return undefined;
  }
  return bytes;
}

const MAPPED = parseNetwork("::ffff:0:0/96")!;
