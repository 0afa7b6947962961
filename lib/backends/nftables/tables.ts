import type { XFilterError } from "../../errors.ts";
import type { InstalledPattern } from "../backend.ts";
import { readListing } from "./listing.ts";
import { TABLE_PREFIX } from "./names.ts";
import { applyCommands, type Json, listObjects, refused, runNft } from "./nft.ts";

/** A guest's table in this host's firewall, whoever put it there. */
export interface InstalledGuest {
  /** Name of its table. */
  readonly table: string;
  /** `GuestScope.id`, its bytes other than plain ASCII as `\xNN`, cut with "..." if it is long; null if the table does not tell. */
  readonly guest: string | null;
  /** Names of the devices for which it is in force, indices of those that are gone. */
  readonly interfaces: readonly (string | number)[];
  readonly patterns: readonly InstalledPattern[];
}

/** Lists what is in force on this host, for all guests. */
export async function installedGuests({
  signal,
}: {
  readonly signal: AbortSignal;
}): Promise<readonly InstalledGuest[]> {
  const guests: InstalledGuest[] = [];
  for (const { name } of await tablesOfOurs(signal)) {
    const listed = await listTable(name, signal);
    // It may have gone since.
    if (listed === null) continue;
    const { guest, bound, patterns } = readListing(listed);
    guests.push({ table: name, guest, interfaces: bound, patterns });
  }
  return guests;
}

/**
 * Which of a guest's tables is in force; the first, if there is none. There are both where an agent ended between
 * making one and taking the other out: then the later one is whole.
 */
export async function tableInForce(names: readonly [string, string], signal: AbortSignal): Promise<string> {
  const there = (await tablesOfOurs(signal)).filter(({ name }) => names.includes(name));
  return there.sort((a, b) => b.handle - a.handle)[0]?.name ?? names[0];
}

async function tablesOfOurs(signal: AbortSignal): Promise<{ name: string; handle: number }[]> {
  const objects = await listObjects(["list", "tables", "netdev"], signal);
  const tables = objects.map((object) => (object as { table?: { name: string; handle: number } }).table);
  return tables.filter((table) => table !== undefined && ours(table.name)) as { name: string; handle: number }[];
}

/** Takes out what is in force for these guests, in one step. The agent of a guest, if it runs, puts it back. */
export async function removeGuests(
  guests: readonly Pick<InstalledGuest, "table">[],
  { signal }: { readonly signal: AbortSignal },
): Promise<void> {
  const tables = guests.map(({ table }) => table);
  const foreign = tables.find((table) => !ours(table));
  if (foreign !== undefined) throw new TypeError(`${JSON.stringify(foreign)} is no table of xfilter's`);
  await removeTables(tables, signal);
}

/** Deletes tables, also those that are not there. */
export async function removeTables(tables: readonly string[], signal: AbortSignal): Promise<void> {
  if (tables.length === 0) return;
  const commands = tables.flatMap((name): Json[] => {
    const table = { family: "netdev", name };
    return [{ add: { table } }, { delete: { table } }];
  });
  await applyCommands(commands, signal);
}

/** A table in nft's JSON; null if there is none. */
export async function listTable(name: string, signal: AbortSignal): Promise<readonly Json[] | null> {
  try {
    return await listObjects(["list", "table", "netdev", name], signal);
  } catch (error) {
    if (absent(error)) return null;
    throw error;
  }
}

/**
 * How nft prints what of a table does not change with what is in force: devices and handles, too, which its JSON does not
 * tell. Only to be compared.
 */
export async function frameText(name: string, signal: AbortSignal): Promise<string | null> {
  try {
    // -s without counters, -t without elements, -a with handles.
    const text = await runNft(["-sta", "list", "table", "netdev", name], null, signal);
    return text.replace(/^\tchain list_\w+ \{[\s\S]*?^\t\}\n/gm, "").replace(/\n+/g, "\n");
  } catch (error) {
    if (absent(error)) return null;
    throw error;
  }
}

function absent(error: unknown): boolean {
  return refused(error) && (error as XFilterError).message.includes("No such file or directory");
}

function ours(table: string): boolean {
  return new RegExp(`^${TABLE_PREFIX}[0-9a-f]{16}[01]$`).test(table);
}
