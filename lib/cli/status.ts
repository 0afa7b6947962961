import { Command, Option } from "commander";
import { type InstalledGuest, installedGuests, removeGuests, tablesOfGuest } from "../backends/index.ts";
import { escapeText } from "../escape.ts";
import { targetName } from "../sources/target.ts";
import { type Context, notEmpty } from "./command.ts";
import { counted } from "./counted.ts";
import { formatUnenforceable } from "./filter-event.ts";
import { agentRuns, type FilterReport, readReports, STATE_DIRECTORY } from "./status-file.ts";

/** What the firewall holds for one guest, and what its filter said last. */
interface GuestStatus {
  readonly guest: string | null;
  readonly backend: string;
  readonly table: string;
  /** Process that filters; null: nobody does, what is in force was left. */
  readonly agent: number | null;
  readonly interfaces: InstalledGuest["interfaces"];
  readonly patterns: readonly Record<string, unknown>[];
  readonly unenforceable: FilterReport["unenforceable"];
  readonly unreadableSince: number | null;
}

const stateOption = () =>
  new Option("--state <DIRECTORY>", "where the filters keep their state").argParser(notEmpty).default(STATE_DIRECTORY);

export function statusCommand({ output, signal, warn }: Context): Command {
  const command = new Command("status")
    .description("print what is in force on this host, for which guest and whom, and what it stopped")
    .argument("[TARGET]", "a guest, as it was given to filter; all of them, if it is not given")
    .option("--json", "print JSON, one object a line")
    .addOption(stateOption());
  return command.action(async (target: string | undefined, { json, state }: { json?: boolean; state: string }) => {
    const installed = await installedGuests({ signal });
    const statuses = join(of(target, installed), readReports(state));
    if (statuses.length === 0) warnOfOthers(installed, warn);
    await (json ? output.json(statuses) : output.lines(statuses.flatMap(formatStatus)));
    if (!json && statuses.length === 0) await output.lines(["nothing is in force"]);
  });
}

interface ClearFlags {
  readonly all?: boolean;
  readonly json?: boolean;
  readonly state: string;
}

export function clearCommand({ output, signal, warn }: Context): Command {
  const command = new Command("clear")
    .description("take what is in force out of the firewall; a filter that runs puts it back")
    .argument("[TARGET]", "the guest, as it was given to filter")
    .option("--all", "of all guests")
    .option("--json", "print JSON, one object a line")
    .addOption(stateOption());
  return command.action(async (target: string | undefined, { all = false, json = false, state }: ClearFlags) => {
    if (all === (target !== undefined)) command.error("error: it takes either a TARGET or --all");
    const installed = await installedGuests({ signal });
    const meant = join(of(target, installed), readReports(state));
    await removeGuests(meant, { signal });
    if (meant.length === 0) warnOfOthers(installed, warn);
    for (const { guest, agent } of meant) {
      if (agent !== null)
        warn(`process ${agent} filters ${guest} and puts it back: to end it (kill ${agent}) is to clear it`);
    }
    const cleared = meant.map(({ guest, backend, table, patterns }) => {
      return { guest, backend, table, patterns: patterns.length };
    });
    if (json) return output.json(cleared);
    await output.lines(
      cleared.map(
        ({ guest, table, patterns }) => `cleared ${escapeText(guest ?? table)}: ${counted(patterns, "pattern")}`,
      ),
    );
    if (meant.length === 0) await output.lines(["nothing was in force"]);
  });
}

/** Of a guest that was named otherwise when it was filtered, "nothing" would be taken for an answer. */
function warnOfOthers(installed: readonly InstalledGuest[], warn: (message: string) => void): void {
  const names = installed.map(({ guest, table }) => escapeText(guest ?? table));
  if (names.length > 0) warn(`by this name nothing is in force, but for ${names.join(", ")}`);
}

/** By its tables: the name that is read back may be escaped and cut. */
function of(target: string | undefined, installed: readonly InstalledGuest[]): readonly InstalledGuest[] {
  if (target === undefined) return installed;
  const tables = [target, targetName(target)].flatMap((name) => tablesOfGuest(name));
  return installed.filter(({ table }) => tables.includes(table));
}

/** Packets come from the firewall, owners and rules from the filter's report. */
export function join(installed: readonly InstalledGuest[], reports: readonly FilterReport[]): GuestStatus[] {
  return installed.map(({ backend, table, guest, interfaces, patterns }) => {
    const report = reports.find((report) => tablesOfGuest(report.guest).includes(table));
    const planned = new Map(report?.inForce.map((pattern) => [pattern.key, pattern]));
    return {
      ...{ guest: report?.guest ?? guest, backend, table, interfaces },
      agent: report && agentRuns(report) ? report.agent : null,
      patterns: patterns.map((pattern) => ({ ...planned.get(pattern.key), ...pattern })),
      unenforceable: report?.unenforceable ?? [],
      unreadableSince: report?.unreadableSince ?? null,
    };
  });
}

export function formatStatus({
  guest,
  backend,
  table,
  agent,
  interfaces,
  patterns,
  unenforceable,
  unreadableSince,
}: GuestStatus): string[] {
  const by = agent === null ? "nobody filters any more" : `by process ${agent}`;
  const since = unreadableSince === null ? [] : [`  ! cannot be read since ${new Date(unreadableSince).toISOString()}`];
  const name = escapeText(guest ?? table);
  if (interfaces.length === 0)
    return [
      `${name}, ${by}: nothing is in force any more, its lease ended; what is left of it xfilter clear takes out`,
    ];
  return [
    `${name} on ${interfaces.join(", ")} with ${backend}, ${by}: ${counted(patterns.length, "pattern")}`,
    ...since,
    ...patterns.map(formatInstalled),
    ...formatUnenforceable(unenforceable).map((line) => `  ! ${escapeText(line)}`),
  ];
}

function formatInstalled({ key, packets, owner, rule }: Record<string, unknown>): string {
  const { pid, comm } = (owner ?? {}) as { pid?: number; comm?: string };
  const who = pid === undefined ? "" : ` of ${pid}/${escapeText(comm ?? "")}`;
  const by = typeof rule === "string" ? ` by "${escapeText(rule)}"` : "";
  return `  ${escapeText(String(key))}${who}${by}${packets === null ? "" : `, ${counted(Number(packets), "packet")}`}`;
}
