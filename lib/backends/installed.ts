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

/**
 * Takes out what is in force for these guests, in one step for each table: what a `backend` holds, or, where none is named, whatever has the
 * table. The agent of a guest, if it runs, puts it back.
 */
export async function removeGuests(
  guests: readonly { readonly table: string; readonly backend?: string | undefined }[],
  { signal }: { readonly signal: ProgramAbortSignal },
): Promise<void> {
  const tables = guests.map(({ table }) => table).filter(ours);
  const chains = guests.filter(({ table }) => guestOfChain(`${table}_o`) === table);
  const foreign = guests.find((guest) => !tables.includes(guest.table) && !chains.includes(guest));
  if (foreign !== undefined) throw new TypeError(`${JSON.stringify(foreign.table)} is no table of xfilter's`);
  if (tables.length > 0) await removeFromNftables(tables, signal);
  if (chains.length > 0) await removeFromIptables(chains, signal);
}
