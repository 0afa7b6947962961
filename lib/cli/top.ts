import type { Command } from "commander";
import type { Process, Snapshot, Socket } from "../index.ts";
import { sleep } from "../sleep.ts";
import { type Context, guestCommand, type Invocation } from "./command.ts";
import { escapeText } from "./escape.ts";
import { compareSockets, formatEndpoint, formatProtocol } from "./flow.ts";
import { intervalOption, STANDS_STILL } from "./interval.ts";
import { type Column, formatTable } from "./table.ts";

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

// The alternate screen keeps what was on the terminal; the cursor would flicker.
const ENTER = "\x1b[?1049h\x1b[?25l";
const LEAVE = "\x1b[?25h\x1b[?1049l";
const HOME = "\x1b[H";
const CLEAR_LINE = "\x1b[K";
const CLEAR_BELOW = "\x1b[J";

/** A process and the sockets that it holds. */
interface Row {
  readonly process: Process;
  readonly flows: readonly Socket[];
}

export function topCommand(context: Context): Command {
  const command = guestCommand("top", "show the processes with their flows, refreshed, until Ctrl-C", context, (all) =>
    top(all, command.opts<{ interval: number }>().interval),
  );
  return command.addOption(intervalOption());
}

async function top(invocation: Invocation, intervalMs: number): Promise<void> {
  const { output, json, guest, warn } = invocation;
  if (guest.kernel.format !== "qemu") warn(STANDS_STILL);
  const head = (snapshot: Snapshot) => title(invocation, snapshot);
  if (json) {
    await refresh(invocation, intervalMs, (_, rows) => {
      const time = new Date().toISOString();
      return output.json(rows.map(({ process, flows }) => ({ time, ...process.toJSON(), flows })));
    });
  } else if (output.size) {
    await output.between(ENTER, LEAVE, () =>
      refresh(invocation, intervalMs, (snapshot, rows) => output.text(frame(head(snapshot), rows, output.size!))),
    );
  } else {
    await refresh(invocation, intervalMs, (snapshot, rows) => output.lines([head(snapshot), ...table(rows), ""]));
  }
}

async function refresh(
  { guest, output, signal }: Invocation,
  intervalMs: number,
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

function title({ guest }: Invocation, { quality }: Snapshot): string {
  const clock = new Date().toTimeString().slice(0, 8);
  const walk = `${(quality.elapsedNs / 1e6).toFixed(1)} ms`;
  return `${clock}  ${escapeText(guest.kernel.release)}  ${quality.processes} processes, ${quality.sockets} sockets, read in ${walk}`;
}

function table(rows: readonly Row[], width?: number): string[] {
  return formatTable(COLUMNS, rows.map(cells), width).flat();
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

/** As many lines as the screen has, each overwritten where it stands: nothing flickers. */
function frame(
  head: string,
  rows: readonly Row[],
  { columns, rows: height }: { columns: number; rows: number },
): string {
  const lines = [head.slice(0, columns), "", ...table(rows.slice(0, height), columns)].slice(0, height - 1);
  return `${HOME}${lines.map((line) => `${line}${CLEAR_LINE}`).join("\r\n")}${CLEAR_BELOW}`;
}
