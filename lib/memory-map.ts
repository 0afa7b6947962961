import { argumentRangeError, invalidOption } from "./errors.ts";
import type { NativeMemoryMapEntry } from "./native.ts";
import { checkKeys } from "./options.ts";

/** A piece of guest-physical memory and where it lies in the image's file, in bytes. */
export interface MemoryMapEntry {
  /** Guest-physical address. */
  readonly start: bigint | number;
  readonly size: bigint | number;
  /** Where in the file it begins. */
  readonly offset: bigint | number;
}

// The widest physical address that x86_64 defines.
const LIMIT = 1n << 52n;
const PAGE = 4096n;
const MAX_ENTRIES = 65536;

/** @internal Throws TypeError or RangeError ERR_INVALID_OPTION. */
export function checkMemoryMap(map: readonly MemoryMapEntry[] | undefined): NativeMemoryMapEntry[] | undefined {
  if (map === undefined) return undefined;
  if (!Array.isArray(map)) throw invalidOption("memoryMap is not an array");
  if (map.length === 0 || map.length > MAX_ENTRIES) throw impossible(`has ${map.length} entries`);
  const entries = map.map(checkEntry);
  const sorted = entries.toSorted((a, b) => (a.start < b.start ? -1 : 1));
  sorted.forEach(({ start }, i) => {
    const before = sorted[i - 1];
    if (before && before.start + before.size > start) throw impossible(`has the address 0x${start.toString(16)} twice`);
  });
  return entries;
}

/** @internal "START:SIZE:OFFSET,…", each a number in decimal or, with 0x in front, in hex. Throws as the check does. */
export function parseMemoryMap(text: string): MemoryMapEntry[] {
  return text.split(",").map((entry) => {
    const numbers = entry.split(":");
    if (numbers.length !== 3 || !numbers.every((number) => /^(0x[0-9a-f]+|\d+)$/i.test(number))) {
      throw invalidOption(`${JSON.stringify(entry)} in the memory map is not START:SIZE:OFFSET`);
    }
    const [start, size, offset] = numbers.map(BigInt);
    return { start: start!, size: size!, offset: offset! };
  });
}

function checkEntry(entry: MemoryMapEntry): NativeMemoryMapEntry {
  checkKeys(entry, ["start", "size", "offset"], "the keys of a memoryMap entry");
  const start = bytes("start", entry.start);
  const size = bytes("size", entry.size);
  const offset = bytes("offset", entry.offset);
  if (size === 0n) throw impossible("has an entry of no bytes");
  if (start % PAGE !== 0n || size % PAGE !== 0n)
    throw impossible("has an entry that is not of whole pages of 4096 bytes");
  if (start + size > LIMIT || offset + size > LIMIT) throw impossible("goes beyond 2^52");
  return { start, size, offset };
}

function bytes(name: string, value: unknown): bigint {
  if (typeof value === "number" && !Number.isSafeInteger(value)) throw impossible(`has the ${name} ${value}`);
  if (typeof value !== "number" && typeof value !== "bigint") {
    throw invalidOption(`${name} in memoryMap is neither a bigint nor a number`);
  }
  if (value < 0) throw impossible(`has the ${name} ${value}`);
  return BigInt(value);
}

function impossible(why: string): RangeError {
  return argumentRangeError("ERR_INVALID_OPTION", `Bad option: memoryMap ${why}.`);
}
