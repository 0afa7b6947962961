/** A piece of guest RAM, as QEMU's memory map has it: `size` bytes from the guest-physical address `start` on. */
export interface RamRange {
  readonly start: bigint;
  readonly size: bigint;
}

/** A line of a flat view: a range of addresses, what it is, and the memory region and offset that it leads to. */
interface FlatRange {
  start: bigint;
  end: bigint;
  kind: string;
  region: string;
  offset: bigint;
}

//   0000000000100000-000000007fffffff (prio 0, ram): pc.ram @0000000000100000 KVM
const RANGE = /^ {2}([0-9a-f]{16})-([0-9a-f]{16}) \(prio -?\d+, ([a-z/-]+)\): (.*?)(?: @([0-9a-f]{16}))?(?: KVM)?$/;
// Addresses of guests end far below; a range that goes on to the last one is no RAM.
const LIMIT = 1n << 52n;

/**
 * @internal
 * The guest's RAM in what QEMU's monitor prints for `info mtree -f`: the ranges of the system's address space that are
 * RAM, and those where RAM is read-only for now, as the firmware's shadow below 1 MiB is. ROM, devices' memory and
 * holes are left out. Neighbours that are neighbours in a memory region, too, are one. Ascending; empty if the text is
 * of another form.
 */
export function parseMemoryTree(text: string): RamRange[] {
  const ranges = flatRanges(text);
  const ram = new Set(ranges.filter(isRam).map(({ region }) => region));
  const merged: FlatRange[] = [];
  for (const range of ranges) {
    if (!isRam(range) && !(range.kind === "rom" && ram.has(range.region))) continue;
    const last = merged.at(-1);
    if (last && last.end === range.start && last.region === range.region && offsetAtEnd(last) === range.offset) {
      last.end = range.end;
    } else {
      merged.push({ ...range });
    }
  }
  return merged.map(({ start, end }) => ({ start, size: end - start }));
}

/** RAM and, as QEMU calls persistent memory, nv-ram, which the guest may use as RAM. A device's own is "ramd". */
function isRam({ kind }: FlatRange): boolean {
  return kind === "ram" || kind === "nv-ram";
}

function offsetAtEnd({ start, end, offset }: FlatRange): bigint {
  return offset + (end - start);
}

/** The ranges of the view that the address space "memory" has, with `end` behind the last byte. */
function flatRanges(text: string): FlatRange[] {
  const view = text.split(/^FlatView #/m).find((part) => /^ AS "memory", /m.test(part));
  const ranges: FlatRange[] = [];
  for (const line of view?.split(/\r?\n/) ?? []) {
    const [, first, last, kind, region, offset] = RANGE.exec(line) ?? [];
    if (first === undefined || last === undefined || kind === undefined || region === undefined) continue;
    const range = { start: BigInt(`0x${first}`), end: BigInt(`0x${last}`) + 1n, kind, region };
    if (range.end <= LIMIT) ranges.push({ ...range, offset: BigInt(`0x${offset ?? "0"}`) });
  }
  return ranges;
}
