import type { Command } from "commander";
import { escapeText, escapeWord } from "../escape.ts";
import type { Process } from "../index.ts";
import { type Context, guestCommand } from "./command.ts";
import type { Column } from "./table.ts";

const COLUMNS: readonly Column[] = [
  { title: "PID", align: "right" },
  { title: "PPID", align: "right" },
  { title: "UID", align: "right" },
  { title: "EUID", align: "right" },
  { title: "STATE" },
  { title: "THREADS", align: "right" },
  { title: "START", align: "right" },
  { title: "COMMAND", flexible: true },
];

const DETAILS: readonly Column[] = [
  { title: "EXE", flexible: true },
  { title: "ARGS", flexible: true },
  { title: "CGROUP", flexible: true },
];

export function psCommand(context: Context): Command {
  const command = guestCommand("ps", "list the guest's processes", context, async (invocation) => {
    const { output, snapshot, json, warn } = invocation;
    const { details = false } = command.opts<{ details?: boolean }>();
    const { processes, discrepancies } = await snapshot({ details });
    const sorted = processes.toArray().sort((a, b) => a.pid - b.pid);
    if (json) await output.json(sorted);
    else if (details)
      await output.table(
        [...COLUMNS, ...DETAILS],
        sorted.map((p) => [...cells(p), ...detailCells(p)]),
      );
    else await output.table(COLUMNS, sorted.map(cells));
    for (const { kind, process } of discrepancies) {
      const list = kind === "not-in-task-list" ? "the list of tasks" : "the pid table";
      warn(`process ${process.pid} (${process.comm}) is not in ${list}: somebody hides it, or the memory is torn`);
    }
  });
  return command.option("--details", "also read each process's program, arguments and cgroup");
}

function detailCells({ exe, args, argsAbsent, cgroup }: Process): string[] {
  const shown = args?.map((arg) => escapeWord(arg)).join(" ");
  return [escapeText(exe ?? "-"), shown ?? (argsAbsent ? "(absent)" : "-"), escapeText(cgroup ?? "-")];
}

function cells({ pid, ppid, uid, euid, state, threads, startTime, comm, kernelThread }: Process): string[] {
  const name = escapeText(comm) || '""';
  const ids = [pid, ppid, uid, euid].map((id) => (id === null ? "-" : String(id)));
  // As ps does: a kernel thread's name in brackets.
  return [...ids, escapeText(state), String(threads), formatStart(startTime), kernelThread ? `[${name}]` : name];
}

/** Time from boot to start, "12.34s", "1:02:03" or "4d 01:02:03". */
export function formatStart(nanoseconds: bigint): string {
  const seconds = nanoseconds / 1_000_000_000n;
  if (seconds < 60n) return `${(Number(nanoseconds / 10_000_000n) / 100).toFixed(2)}s`;
  const two = (value: bigint) => String(value).padStart(2, "0");
  const [days, hours, minutes] = [seconds / 86_400n, (seconds / 3600n) % 24n, (seconds / 60n) % 60n];
  const clock = `${two(minutes)}:${two(seconds % 60n)}`;
  return days > 0n ? `${days}d ${two(hours)}:${clock}` : `${hours}:${clock}`;
}
