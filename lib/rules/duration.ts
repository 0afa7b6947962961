const UNITS = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;

/** @internal Milliseconds of "500ms", "90s", "10m", "2h" or "7d"; undefined of anything else. */
export function parseDuration(text: string): number | undefined {
  const [, number, unit] = /^(\d{1,12})(ms|s|m|h|d)$/.exec(text) ?? [];
  return number === undefined ? undefined : Number(number) * UNITS[unit as keyof typeof UNITS];
}

/** @internal In the largest unit that leaves no fraction. */
export function formatDuration(milliseconds: number): string {
  const units = Object.entries(UNITS).reverse();
  const [name, size] = units.find(([, size]) => milliseconds % size === 0)!;
  return `${milliseconds / size}${name}`;
}
