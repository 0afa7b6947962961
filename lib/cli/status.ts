import { Command } from "commander";
import { type InstalledGuest, installedGuests, removeGuests, tablesOfGuest } from "../backends/index.ts";
import { type Context, notEmpty } from "./command.ts";
import { escapeText } from "./escape.ts";
import { agentRuns, type FilterReport, readReports, STATE_DIRECTORY } from "./status-file.ts";

/** What the firewall holds for one guest, and what its filter said last. */
interface GuestStatus {
  readonly guest: string | null;
  readonly table: string;
  /** Process that filters; null: nobody does, what is in force was left. */
  readonly agent: number | null;
  readonly interfaces: InstalledGuest["interfaces"];
  readonly patterns: readonly Record<string, unknown>[];
  readonly unenforceable: FilterReport["unenforceable"];
  readonly unreadableSince: number | null;
}

export function statusCommand({ output, signal }: Context): Command {
  const command = new Command("status")
    .description("print what is in force on this host, for which guest and whom, and what it stopped")
    .option("--json", "print JSON, one object a line")
    .option("--state <DIRECTORY>", "where the filters keep their state", notEmpty, STATE_DIRECTORY);
  return command.action(async ({ json, state }: { json?: boolean; state: string }) => {
    const statuses = join(await installedGuests({ signal }), readReports(state));
    await (json ? output.json(statuses) : output.lines(statuses.flatMap(formatStatus)));
    if (!json && statuses.length === 0) await output.lines(["nothing is in force"]);
  });
}

export function clearCommand({ output, signal }: Context): Command {
  const command = new Command("clear")
    .description("take what is in force out of the firewall; a filter that runs puts it back")
    .argument("[TARGET]", "the guest, as it was given to filter")
    .option("--all", "of all guests");
  return command.action(async (target: string | undefined, { all = false }: { all?: boolean }) => {
    if (all === (target !== undefined)) command.error("error: it takes either a TARGET or --all");
    const installed = await installedGuests({ signal });
    // By its table: the name that is read back may be escaped and cut.
    const tables: readonly string[] = target === undefined ? [] : tablesOfGuest(target);
    const meant = all ? installed : installed.filter(({ table }) => tables.includes(table));
    await removeGuests(meant, { signal });
    await output.lines(
      meant.map(({ guest, table, patterns }) => `cleared ${guest ?? table}: ${patterns.length} patterns`),
    );
    if (meant.length === 0) await output.lines(["nothing was in force"]);
  });
}

/** Packets come from the firewall, owners and rules from the filter's report. */
export function join(installed: readonly InstalledGuest[], reports: readonly FilterReport[]): GuestStatus[] {
  return installed.map(({ table, guest, interfaces, patterns }) => {
    const report = reports.find((report) => tablesOfGuest(report.guest).includes(table));
    const planned = new Map(report?.inForce.map((pattern) => [pattern.key, pattern]));
    return {
      ...{ guest: report?.guest ?? guest, table, interfaces, agent: report && agentRuns(report) ? report.agent : null },
      patterns: patterns.map((pattern) => ({ ...planned.get(pattern.key), ...pattern })),
      unenforceable: report?.unenforceable ?? [],
      unreadableSince: report?.unreadableSince ?? null,
    };
  });
}

function formatStatus({
  guest,
  table,
  agent,
  interfaces,
  patterns,
  unenforceable,
  unreadableSince,
}: GuestStatus): string[] {
  const by = agent === null ? "nobody filters any more" : `by process ${agent}`;
  const since = unreadableSince === null ? [] : [`  ! cannot be read since ${new Date(unreadableSince).toISOString()}`];
  return [
    `${escapeText(guest ?? table)} on ${interfaces.join(", ") || "no device"}, ${by}: ${patterns.length} patterns`,
    ...since,
    ...patterns.map(formatInstalled),
    ...unenforceable.map(({ reason, what }) => `  ! cannot be enforced: ${escapeText(what)} (${reason})`),
  ];
}

function formatInstalled({ key, packets, owner, rule }: Record<string, unknown>): string {
  const { pid, comm } = (owner ?? {}) as { pid?: number; comm?: string };
  const who = pid === undefined ? "" : ` of ${pid}/${escapeText(comm ?? "")}`;
  const by = typeof rule === "string" ? ` by "${escapeText(rule)}"` : "";
  return `  ${escapeText(String(key))}${who}${by}${packets === null ? "" : `, ${packets} packets`}`;
}
