import type { FlowPattern } from "xfilter-core/rules";

/** What a firewall that knows no "drop" holds of a port of the guest's: what is in the list may pass, and all else at that port is dropped. */
export interface AllowList {
  readonly direction: FlowPattern["direction"];
  readonly family: FlowPattern["family"];
  readonly protocol: FlowPattern["protocol"];
  /** Of the guest; null: all ports that have no list. A port without a list is open. */
  readonly port: number | null;
  readonly allow: readonly Allowed[];
}

/** First and last of what may pass. */
export interface Allowed {
  readonly local: readonly [from: string, to: string];
  readonly remote: readonly [from: string, to: string];
  readonly remotePorts: readonly [from: number, to: number];
}

type Range = readonly [from: bigint, to: bigint];
/** Local addresses, remote addresses, remote ports. */
type Box = readonly [Range, Range, Range];

const ALL_PORTS: Range = [0n, 65535n];

/**
 * The lists that let pass exactly what patterns, of which the first that matches decides, let pass. Throws where there would be more
 * than so many entries: each pattern may make six of one.
 */
export function allowLists(patterns: readonly FlowPattern[], maxEntries: number): AllowList[] {
  const lists = new Map<string, AllowList>();
  let entries = 0;
  for (const { direction, family, protocol, local } of patterns) {
    const { port } = local;
    const key = `${direction} ${family} ${protocol} ${port}`;
    if (lists.has(key)) continue;
    const here = patterns.filter((other) => {
      const isSame = other.direction === direction && other.family === family && other.protocol === protocol;
      return isSame && (other.local.port === port || other.local.port === null);
    });
    const allow = allowed(here, family, maxEntries).map((box) => toAllowed(box, family));
    // A list takes room, too.
    entries += 1 + allow.length;
    if (entries > maxEntries) throw tooMany(maxEntries);
    lists.set(key, { direction, family, protocol, port, allow });
  }
  return [...lists.values()];
}

function allowed(patterns: readonly FlowPattern[], family: 4 | 6, maxEntries: number): Box[] {
  const all: Range = [0n, 2n ** (family === 4 ? 32n : 128n) - 1n];
  const boxes: Box[] = [];
  let undecided: Box[] = [[all, all, ALL_PORTS]];
  for (const { action, local, remote } of patterns) {
    const [from, to] = remote.ports ?? [0, 65535];
    const box: Box = [rangeOf(local.address, all), rangeOf(remote.address, all), [BigInt(from), BigInt(to)]];
    if (action === "accept") boxes.push(...undecided.flatMap((rest) => common(rest, box)));
    undecided = undecided.flatMap((rest) => without(rest, box));
    if (boxes.length + undecided.length > maxEntries) throw tooMany(maxEntries);
  }
  return [...boxes, ...undecided];
}

function tooMany(maxEntries: number): Error {
  return new RangeError(`the plan takes more than the ${maxEntries} entries that the firewall has room for`);
}

/** What both have: one box, or none. */
function common(box: Box, other: Box): Box[] {
  const both = box.map(([from, to], side): Range => {
    const [first, last] = other[side]!;
    // biome-ignore lint/complexity/useMathMinMax: these take no bigint
    return [from > first ? from : first, to < last ? to : last];
  }) as unknown as Box;
  return both.every(([from, to]) => from <= to) ? [both] : [];
}

/** What a box has and the other one has not. */
function without(box: Box, other: Box): Box[] {
  const [hole] = common(box, other);
  if (!hole) return [box];
  const rest: Range[] = [...box];
  return hole.flatMap(([from, to], side) => {
    const [first, last] = rest[side]!;
    const cut = (range: Range) => (range[0] <= range[1] ? [rest.with(side, range) as unknown as Box] : []);
    const pieces = [...cut([first, from - 1n]), ...cut([to + 1n, last])];
    rest[side] = [from, to];
    return pieces;
  });
}

function toAllowed([local, remote, [from, to]]: Box, family: 4 | 6): Allowed {
  const addresses = ([from, to]: Range) => [format(from, family), format(to, family)] as const;
  return { local: addresses(local), remote: addresses(remote), remotePorts: [Number(from), Number(to)] };
}

/** Of an address, or a network in CIDR; null: of all. */
function rangeOf(text: string | null, all: Range): Range {
  if (text === null) return all;
  const [address, length] = text.split("/");
  const first = parse(address!);
  const bits = BigInt(all[1].toString(2).length);
  return [first, first + 2n ** (bits - (length === undefined ? bits : BigInt(length))) - 1n];
}

function parse(address: string): bigint {
  if (!address.includes(":")) return address.split(".").reduce((sum, byte) => sum * 256n + BigInt(byte), 0n);
  const [head, tail] = address.split("::").map((half) => half.split(":").filter((group) => group !== ""));
  const groups = tail ? [...head!, ...Array(8 - head!.length - tail.length).fill("0"), ...tail] : head!;
  return groups.reduce((sum, group) => sum * 65536n + BigInt(`0x${group}`), 0n);
}

function format(address: bigint, family: 4 | 6): string {
  const part = (count: number, bits: number, base: number, mark: string) => {
    const parts = Array.from({ length: count }, (_, place) =>
      BigInt.asUintN(bits, address >> BigInt((count - 1 - place) * bits)),
    );
    return parts.map((one) => one.toString(base)).join(mark);
  };
  return family === 4 ? part(4, 8, 10, ".") : part(8, 16, 16, ":");
}
