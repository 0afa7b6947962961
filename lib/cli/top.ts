import type { Command } from "commander";
import { escapeText } from "../escape.ts";
import type { Process, Snapshot, Socket } from "../index.ts";
import { sleep } from "../sleep.ts";
import { type Context, guestCommand, type Invocation } from "./command.ts";
import { compareSockets, formatEndpoint, formatProtocol } from "./flow.ts";
import { intervalOption, STANDS_STILL } from "./interval.ts";
import type { Output, Size } from "./output.ts";
import { incompleteness } from "./quality.ts";
import { Screen } from "./screen.ts";
import { type Column, shortenEnd } from "./table.ts";

const COLUMNS: readonly Column[] = [
  { title: "PID", align: "right" },
  { title: "UID", align: "right" },
  { title: "EUID", align: "right" },
  { title: "COMMAND", flexible: true },
  { title: "FLOWS", align: "right" },
  { title: "", flexible: true, shorten: shortenFlows },
];

/** Whole flows as far as there is room, and how many more there are: never half an address. */
function shortenFlows(flows: string, width: number): string {
  const all = flows.split(", ");
  for (let shown = all.length - 1; shown > 0; shown--) {
    const text = `${all.slice(0, shown).join(", ")} +${all.length - shown}`;
    if (text.length <= width) return text;
  }
  return "…".slice(0, width);
}

/** A process and the sockets that it holds. */
interface Row {
  readonly process: Process;
  readonly flows: readonly Socket[];
}

export function topCommand(context: Context): Command {
  const command = guestCommand(
    "top",
    "show the processes with their flows, refreshed, until q or Ctrl-C",
    context,
    (all) => top(all, command.opts<{ interval: number }>().interval),
  );
  return command.addOption(intervalOption(1_000, "1s"));
}

async function top(invocation: Invocation, intervalMs: number): Promise<void> {
  const { output, json, runs, warn, signal } = invocation;
  if (!runs) warn(STANDS_STILL);
  if (json) {
    await refresh(invocation, intervalMs, signal, (_, rows) => {
      const time = new Date().toISOString();
      return output.json(rows.map(({ process, flows }) => ({ time, ...process.toJSON(), flows })));
    });
  } else if (output.size) {
    const screen = new Screen(output, signal);
    const hint = screen.hasKeys ? "  (q quits)" : "";
    const show = async (snapshot: Snapshot, rows: readonly Row[]) => {
      const [title, notice] = head(invocation, snapshot);
      screen.show((size) => frame([title + hint, notice], rows, output, size));
    };
    await screen.during(() => refresh(invocation, intervalMs, screen.ended, show));
  } else {
    await refresh(invocation, intervalMs, signal, (snapshot, rows) =>
      output.lines([...head(invocation, snapshot), ...output.tableLines(COLUMNS, rows.map(cells)), ""]),
    );
  }
}

async function refresh(
  { guest, output }: Invocation,
  intervalMs: number,
  signal: AbortSignal,
  show: (snapshot: Snapshot, rows: readonly Row[]) => Promise<void>,
): Promise<void> {
  for (let due = performance.now(); !output.gone; due = Math.max(due + intervalMs, performance.now())) {
    await sleep(Math.max(0, due - performance.now()), [signal]);
    const snapshot = await guest.snapshot({ signal });
    await show(snapshot, busiestFirst(snapshot));
  }
}

/** Processes with flows, most flows first. */
function busiestFirst(snapshot: Snapshot): Row[] {
  return snapshot.processes
    .toArray()
    .map((process) => ({ process, flows: snapshot.socketsOf(process.pid).sort(compareSockets) }))
    .filter(({ flows }) => flows.length > 0)
    .sort((a, b) => b.flows.length - a.flows.length || a.process.pid - b.process.pid);
}

/** A line that says of what and when this is, and one that says what it may lack, if anything. */
function head({ guest, runs }: Invocation, { quality }: Snapshot): [title: string, notice: string] {
  const clock = new Date().toTimeString().slice(0, 8);
  const walk = `${(quality.elapsedNs / 1e6).toFixed(1)} ms`;
  const counts = `${quality.processes} processes, ${quality.sockets} sockets`;
  const title = `${clock}  ${escapeText(guest.kernel.release)}  ${counts}, read in ${walk}`;
  return [title, incompleteness(quality, runs) ?? ""];
}

function cells({ process: { pid, uid, euid, comm }, flows }: Row): string[] {
  const id = (value: number | null) => (value === null ? "-" : String(value));
  const shown = flows.map((flow) => {
    const { state, local, remote } = flow;
    const ends =
      state === "LISTEN" || remote.port === 0
        ? formatEndpoint(local)
        : `${formatEndpoint(local)}-${formatEndpoint(remote)}`;
    return `${formatProtocol(flow)} ${ends}`;
  });
  return [String(pid), id(uid), id(euid), escapeText(comm) || '""', String(flows.length), shown.join(", ")];
}

/** As many lines as the screen has; the last says how many processes there was no room for. */
export function frame(
  head: readonly string[],
  rows: readonly Row[],
  output: Pick<Output, "tableLines">,
  size: Size,
): string[] {
  // Whether the last column of a terminal can be written without going to the next line, no two agree.
  const width = size.columns - 1;
  const room = Math.max(0, size.rows - head.length);
  const table = output.tableLines(COLUMNS, rows.slice(0, size.rows).map(cells), width);
  const shown = 1 + rows.length <= room ? table : table.slice(0, Math.max(0, room - 1));
  const more = rows.length - Math.max(0, shown.length - 1);
  const rest = `… and ${more} more: a taller terminal has room for them, a pipe for all`;
  return [
    ...head.map((line) => shortenEnd(line, width)),
    ...shown,
    ...(shown.length < table.length ? [shortenEnd(rest, width)] : []),
  ];
}
