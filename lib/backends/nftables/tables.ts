import { XFilterError } from "../../errors.ts";
import type { InstalledGuest } from "../backend.ts";
import { PREFIX } from "../names.ts";
import { refused } from "../program.ts";
import { joinListings, readListing } from "./listing.ts";
import { applyCommands, type Json, listObjects, runNft } from "./nft.ts";

/** A table by name, in a family of nft's. */
export interface TableName {
  readonly family: string;
  readonly name: string;
}

/** Lists what is in force by nftables on this host, for all guests. */
export async function guestsOfNftables(signal: AbortSignal): Promise<InstalledGuest[]> {
  const guests: InstalledGuest[] = [];
  const tables = await tablesOfOurs(signal);
  for (const table of new Set(tables.map(({ name }) => name))) {
    const parts = tables.filter(({ name }) => name === table);
    const listed = await Promise.all(parts.map((part) => listTable(part, signal)));
    // They may have gone since.
    const there = listed.filter((objects) => objects !== null);
    if (there.length === 0) continue;
    const { guest, bound, patterns } = joinListings(there.map(readListing));
    guests.push({ backend: "nftables", table, guest, interfaces: bound, patterns });
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

/** Tables that have one of these names, in any family. */
export async function tablesNamed(names: readonly string[], signal: AbortSignal): Promise<readonly TableName[]> {
  return (await tablesOfOurs(signal)).filter(({ name }) => names.includes(name));
}

async function tablesOfOurs(signal: AbortSignal): Promise<(TableName & { handle: number })[]> {
  const objects = await listObjects(["list", "tables"], signal);
  const tables = objects.map((object) => (object as { table?: TableName & { handle: number } }).table);
  return tables.filter((table) => table !== undefined && ours(table.name)) as (TableName & { handle: number })[];
}

/** Takes out what is in force for guests (`tablesOfGuest`), in one step. */
export async function removeFromNftables(names: readonly string[], signal: AbortSignal): Promise<void> {
  await removeTables(await tablesNamed(names, signal), signal);
}

/** Deletes tables in one step, also if they went since they were listed. */
export async function removeTables(tables: readonly TableName[], signal: AbortSignal): Promise<void> {
  if (tables.length === 0) return;
  const commands = tables.flatMap(({ family, name }): Json[] => {
    const table = { family, name };
    return [{ add: { table } }, { delete: { table } }];
  });
  await applyCommands(commands, signal);
}

/**
 * A table in nft's JSON; null if there is none. Nothing of one that nft cannot print: 1.0.6 ends, with success, at the flags of a table
 * that was put to sleep, where what it has in memory for their names makes no text.
 */
export async function listTable({ family, name }: TableName, signal: AbortSignal): Promise<readonly Json[] | null> {
  try {
    return await listObjects(["list", "table", family, name], signal);
  } catch (error) {
    if (absent(error)) return null;
    if (error instanceof XFilterError && error.cause instanceof SyntaxError) return [];
    throw error;
  }
}

/**
 * How nft prints what of a table does not change with what is in force: devices and handles, too, which its JSON does not
 * tell. Only to be compared.
 */
export async function frameText({ family, name }: TableName, signal: AbortSignal): Promise<string | null> {
  try {
    // -s without counters, -t without elements, -a with handles.
    const text = await runNft(["-sta", "list", "table", family, name], null, signal);
    return text.replace(/^\tchain list_\w+ \{[\s\S]*?^\t\}\n/gm, "").replace(/\n+/g, "\n");
  } catch (error) {
    if (absent(error)) return null;
    throw error;
  }
}

function absent(error: unknown): boolean {
  return refused(error) && (error as XFilterError).message.includes("No such file or directory");
}

/** Whether a table is one of xfilter's. */
export function ours(table: string): boolean {
  return new RegExp(`^${PREFIX}[0-9a-f]{16}[01]$`).test(table);
}
