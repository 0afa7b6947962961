/** @internal A guest virtual address or offset in hex, "0xffff888003a40000"; negative ones with the sign in front. */
export function hex(value: bigint): string {
  return value < 0n ? `-0x${(-value).toString(16)}` : `0x${value.toString(16)}`;
}

/** @internal 4 bytes in network order as text, "192.0.2.7". */
export function formatIPv4(bytes: Uint8Array): string {
  return bytes.subarray(0, 4).join(".");
}

/**
 * @internal 16 bytes in network order as RFC 5952 text: lower case, no leading zeros, `::` for the longest run of at
 * least two zero groups, the first of equals. Never the mixed form: v4-mapped sockets are given as IPv4.
 */
export function formatIPv6(bytes: Uint8Array): string {
  const groups = Array.from({ length: 8 }, (_, i) => (bytes[2 * i]! << 8) | bytes[2 * i + 1]!);
  const run = longestZeroRun(groups);
  const text = (from: number, to: number) =>
    groups
      .slice(from, to)
      .map((group) => group.toString(16))
      .join(":");
  return run.length < 2 ? text(0, 8) : `${text(0, run.start)}::${text(run.start + run.length, 8)}`;
}

function longestZeroRun(groups: readonly number[]): { start: number; length: number } {
  let best = { start: 0, length: 0 };
  let start = 0;
  groups.forEach((group, i) => {
    if (group !== 0) start = i + 1;
    else if (i + 1 - start > best.length) best = { start, length: i + 1 - start };
  });
  return best;
}
