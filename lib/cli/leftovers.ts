import { type InstalledGuest, installedGuests, removeGuests, tablesOfGuest } from "../backends/index.ts";
import { toXFilterError } from "../errors.ts";
import { counted } from "./counted.ts";

/**
 * Takes out what other backends have in force for a guest, once `backend` has: whoever held it is no more, as two filters cannot have one
 * guest, and nobody would ever let go whom it blocks.
 */
export async function removeLeftovers(
  id: string,
  backend: string,
  signal: AbortSignal,
  warn: (message: string) => void,
): Promise<void> {
  const tables = tablesOfGuest(id);
  // "iptables" is one of the two: which one, the host knows.
  const isOurs = (one: InstalledGuest) => one.backend === backend || one.backend.startsWith(`${backend}-`);
  try {
    const left = (await installedGuests({ signal })).filter((one) => tables.includes(one.table) && !isOurs(one));
    await removeGuests(left, { signal });
    for (const { backend, patterns } of left)
      warn(
        `what a filter with ${backend} had left in force for this guest is taken out: ${counted(patterns.length, "pattern")}`,
      );
  } catch (error) {
    if (signal.aborted) return;
    const { code, message } = toXFilterError(error);
    warn(`what filters with other backends may have left in force for this guest stays: ${code}: ${message}`);
  }
}
