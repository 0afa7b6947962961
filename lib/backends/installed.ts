import { XFilterError } from "../errors.ts";
import type { ProgramAbortSignal } from "../options.ts";
import type { InstalledGuest } from "./backend.ts";
import { guestsOfIptables, removeFromIptables } from "./iptables/guests.ts";
import { chainsOfGuest, guestOfChain } from "./iptables/names.ts";
import { tablesOfGuest as nftTablesOfGuest } from "./nftables/names.ts";
import { guestsOfNftables, ours, removeFromNftables } from "./nftables/tables.ts";

/** `InstalledGuest.table` of a guest (`GuestScope.id`), whichever backend put it in force: one of these. */
export function tablesOfGuest(guest: string): readonly string[] {
  return [...nftTablesOfGuest(guest), chainsOfGuest(guest)];
}

/** Lists what is in force on this host, for all guests, by nftables and by iptables. One of them may be missing. */
export async function installedGuests({
  signal,
}: {
  readonly signal: ProgramAbortSignal;
}): Promise<readonly InstalledGuest[]> {
  const byNftables = await guestsOfNftables(signal).catch((error: unknown) => {
    if (error instanceof XFilterError && error.code === "BACKEND_NOT_FOUND") return [];
    throw error;
  });
  return [...byNftables, ...(await guestsOfIptables(signal))];
}

/** Takes out what is in force for these guests, in one step for each table. The agent of a guest, if it runs, puts it back. */
export async function removeGuests(
  guests: readonly Pick<InstalledGuest, "table">[],
  { signal }: { readonly signal: ProgramAbortSignal },
): Promise<void> {
  const names = guests.map(({ table }) => table);
  const tables = names.filter(ours);
  const chains = names.filter((name) => guestOfChain(`${name}_o`) === name);
  const foreign = names.find((name) => !tables.includes(name) && !chains.includes(name));
  if (foreign !== undefined) throw new TypeError(`${JSON.stringify(foreign)} is no table of xfilter's`);
  if (tables.length > 0) await removeFromNftables(tables, signal);
  if (chains.length > 0) await removeFromIptables(chains, signal);
}
