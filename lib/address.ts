/** @internal A guest virtual address or offset in hex, "0xffff888003a40000"; negative ones with the sign in front. */
export function hex(value: bigint): string {
  return value < 0n ? `-0x${(-value).toString(16)}` : `0x${value.toString(16)}`;
}

/** @internal The 4 bytes from `at` on, in network order, as text: "192.0.2.7". */
export function formatIPv4(bytes: Uint8Array, at = 0): string {
  return `${bytes[at]}.${bytes[at + 1]}.${bytes[at + 2]}.${bytes[at + 3]}`;
}

/** @internal The 6 bytes from `at` on as text: "52:54:00:12:34:56". */
export function formatMac(bytes: Uint8Array, at = 0): string {
  return Array.from(bytes.subarray(at, at + 6), (byte) => byte.toString(16).padStart(2, "0")).join(":");
}

/**
 * @internal The 16 bytes from `at` on, in network order, as RFC 5952 text: lower case, no leading zeros, `::` for the
 * longest run of at least two zero groups, the first of equals. Never the mixed form: v4-mapped sockets are given as IPv4.
 */
export function formatIPv6(bytes: Uint8Array, at = 0): string {
  const run = longestZeroRun(bytes, at);
  const end = run.start + run.length;
  return run.length < 2 ? groups(bytes, at, 0, 8) : `${groups(bytes, at, 0, run.start)}::${groups(bytes, at, end, 8)}`;
}

function group(bytes: Uint8Array, at: number, index: number): number {
  return (bytes[at + 2 * index]! << 8) | bytes[at + 2 * index + 1]!;
}

/** Groups from `first` up to, not including, `end`, as text. */
function groups(bytes: Uint8Array, at: number, first: number, end: number): string {
  let text = "";
  for (let i = first; i < end; i++) text += `${i === first ? "" : ":"}${group(bytes, at, i).toString(16)}`;
  return text;
}

function longestZeroRun(bytes: Uint8Array, at: number): { start: number; length: number } {
  const best = { start: 0, length: 0 };
  for (let i = 0, start = 0; i < 8; i++) {
    if (group(bytes, at, i) !== 0) {
      start = i + 1;
    } else if (i + 1 - start > best.length) {
      best.start = start;
      best.length = i + 1 - start;
    }
  }
  return best;
}
