import type { InstalledGuest } from "../backend.ts";
import { removeChains } from "./filter-table.ts";
import { installedPatterns, readListing, readSaved, type SavedTable } from "./listing.ts";
import { guestOfChain, guestOfRule } from "./names.ts";
import { Xtables } from "./xtables.ts";

/** The commands of both variants, whatever the host calls iptables. */
const VARIANTS = (["nft", "legacy"] as const).map((variant) => ({
  backend: `iptables-${variant}`,
  commands: ([4, 6] as const).map((family) => new Xtables(family, variant)),
}));

/** Lists what is in force by iptables on this host, of either variant, for all guests; nothing where it is not installed. */
export async function guestsOfIptables(signal: AbortSignal): Promise<InstalledGuest[]> {
  const guests: InstalledGuest[] = [];
  for (const { backend, commands } of VARIANTS) guests.push(...(await guestsOf(backend, commands, signal)));
  return guests;
}

async function guestsOf(backend: string, commands: readonly Xtables[], signal: AbortSignal): Promise<InstalledGuest[]> {
  const saved: { table: SavedTable; family: 4 | 6 }[] = [];
  for (const xtables of commands) {
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
    return { backend, table: name, guest: nameOf(name, parts[0]?.table), interfaces: [...interfaces], patterns };
  });
}

/** Takes out what is in force for guests (`chainsOfGuest`), by either variant, in one step for each IP version. */
export async function removeFromIptables(
  guests: readonly { readonly table: string; readonly backend?: string | undefined }[],
  signal: AbortSignal,
): Promise<void> {
  const failures: unknown[] = [];
  for (const { backend, commands } of VARIANTS) {
    const names = guests.filter((guest) => (guest.backend ?? backend) === backend).map(({ table }) => table);
    if (names.length === 0) continue;
    // What stands in the way in one of them is no reason to leave them in the others.
    for (const xtables of commands) await removeChains(xtables, names, signal).catch((error) => failures.push(error));
  }
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
