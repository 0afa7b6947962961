import type { InstalledGuest } from "../backend.ts";
import { removeChains } from "./filter-table.ts";
import { installedPatterns, readListing, readSaved, type SavedTable } from "./listing.ts";
import { guestOfChain, guestOfRule } from "./names.ts";
import { Xtables } from "./xtables.ts";

/** The commands of both variants, whatever the host calls iptables. */
const EACH = ([4, 6] as const).flatMap((family) =>
  (["nft", "legacy"] as const).map((variant) => new Xtables(family, variant)),
);

/** Lists what is in force by iptables on this host, of either variant, for all guests; nothing where it is not installed. */
export async function guestsOfIptables(signal: AbortSignal): Promise<InstalledGuest[]> {
  const saved: { table: SavedTable; family: 4 | 6 }[] = [];
  for (const xtables of EACH) {
    const found = await xtables.saveExisting(signal);
    if (found !== null) saved.push({ table: readSaved(found.text), family: xtables.family });
  }
  const names = saved.flatMap(({ table }) => table.chains.flatMap((chain) => guestOfChain(chain) ?? []));
  return [...new Set(names)].map((name) => {
    const parts = saved.flatMap(({ table, family }) => {
      const listing = readListing(table, name, family);
      return listing === null ? [] : [{ table, listing }];
    });
    const patterns = parts.flatMap(({ listing }) => installedPatterns(listing));
    const interfaces = new Set(parts.flatMap(({ listing }) => listing.jumps.flatMap(deviceOf)));
    return { table: name, guest: nameOf(name, parts[0]?.table), interfaces: [...interfaces], patterns };
  });
}

/** Takes out what is in force for guests (`chainsOfGuest`), in one step for each IP version. */
export async function removeFromIptables(guests: readonly string[], signal: AbortSignal): Promise<void> {
  const failures: unknown[] = [];
  // What stands in the way in one of them is no reason to leave them in the others.
  for (const xtables of EACH) await removeChains(xtables, guests, signal).catch((error) => failures.push(error));
  if (failures.length > 0) throw failures[0];
}

function deviceOf({ text }: { readonly text: string }): string[] {
  const [, name] = /(?:^| )(?:-[io]|--physdev-(?:in|out)) (\S+)/.exec(text) ?? [];
  return name === undefined ? [] : [name];
}

function nameOf(guest: string, table: SavedTable | undefined): string | null {
  const own = table?.rules.filter(({ chain }) => guestOfChain(chain) === guest) ?? [];
  return own.map(({ text }) => guestOfRule(text)).find((name) => name !== null) ?? null;
}
