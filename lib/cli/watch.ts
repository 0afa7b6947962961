import type { Command } from "commander";
import { escapeWord } from "../escape.ts";
import type { Changes, Difference, Process, Socket } from "../index.ts";
import { type Context, guestCommand, type Invocation } from "./command.ts";
import { compareSockets, formatEndpoint, formatOwners, formatProtocol } from "./flow.ts";
import { intervalOption, STANDS_STILL } from "./interval.ts";
import { incompleteness } from "./quality.ts";

/** One change, an object a line in JSON. */
interface Event {
  /** ISO 8601. */
  readonly time: string;
  readonly event: string;
  readonly process?: Process;
  readonly socket?: Socket;
  readonly before?: Process | Socket;
  readonly count?: number;
}

export function watchCommand(context: Context): Command {
  const command = guestCommand(
    "watch",
    "print which processes and sockets come, go and change, until Ctrl-C",
    context,
    (invocation) => watch(invocation, command.opts<{ interval: number }>().interval),
  );
  return command.addOption(intervalOption(1_000, "1s"));
}

async function watch({ guest, runs, output, signal, json, warn }: Invocation, intervalMs: number): Promise<void> {
  let warned: string | undefined;
  if (!runs) warn(STANDS_STILL);
  for await (const difference of guest.watch({ intervalMs, signal })) {
    const { initial, time, processes, sockets, quality } = difference;
    const counts = { processes: processes.came.length, sockets: sockets.came.length };
    if (initial && json) await output.json([{ time: new Date(time).toISOString(), event: "watching", ...counts }]);
    if (initial && !json) await output.lines([`watching ${counts.processes} processes, ${counts.sockets} sockets`]);
    const events = initial ? [] : eventsOf(difference);
    if (json) await output.json(events);
    else await output.lines(events.map(formatEvent));
    const incomplete = quality ? incompleteness(quality, runs) : undefined;
    if (incomplete !== undefined && incomplete !== warned) warn(incomplete);
    warned = incomplete ?? warned;
    if (output.gone) return;
  }
}

/** What went comes before what came: a port that is used again is closed first. */
export function eventsOf({ time, processes, sockets, missedPolls, reattached }: Difference): Event[] {
  const at = new Date(time).toISOString();
  const events: Event[] = missedPolls > 0 ? [{ time: at, event: "polls-missed", count: missedPolls }] : [];
  if (reattached) events.push({ time: at, event: "guest-reattached" });
  const add = <T extends Process | Socket>(
    key: "process" | "socket",
    names: Record<keyof Changes<T>, string>,
    changes: Changes<T>,
    compare: (a: T, b: T) => number,
  ) => {
    for (const thing of [...changes.gone].sort(compare)) events.push({ time: at, event: names.gone, [key]: thing });
    for (const thing of [...changes.came].sort(compare)) events.push({ time: at, event: names.came, [key]: thing });
    for (const { before, after } of changes.changed) {
      events.push({ time: at, event: names.changed, [key]: after, before });
    }
  };
  const processNames = { came: "process-started", gone: "process-ended", changed: "process-changed" };
  const socketNames = { came: "socket-opened", gone: "socket-closed", changed: "socket-changed" };
  add("process", processNames, processes, (a, b) => a.pid - b.pid);
  add("socket", socketNames, sockets, compareSockets);
  return events;
}

const SIGNS: Record<string, string> = {
  started: "+",
  opened: "+",
  ended: "-",
  closed: "-",
  changed: "~",
  missed: "!",
  reattached: "!",
};

const REATTACHED = "the guest was reset or got other RAM, and was attached to again";

/** "12:03:04.512 + tcp ESTABLISHED 192.0.2.7:40000 198.51.100.2:22 uid 1003 539/nc/3" */
export function formatEvent({ time, event, process, socket, before, count }: Event): string {
  const [, kind] = event.split("-");
  const happened = kind === "missed" ? `polls left out because one took too long: ${count}` : REATTACHED;
  const thing = process ?? socket;
  const was = before && thing ? ` (was ${differing(before, thing)})` : "";
  return `${clock(time)} ${SIGNS[kind!]} ${thing ? describe(thing) : happened}${was}`;
}

/** Where the reader is, "12:03:04.512". */
function clock(time: string): string {
  return `${new Date(time).toTimeString().slice(0, 8)}${time.slice(19, 23)}`;
}

// What changes all the time, or says the same as another field.
const NOT_SAID = ["state", "cpu", "threads", "ppid", "session", "containerId"];

/** "uid 1003, euid 1003": the fields of `before` that are others now. */
function differing(before: Process | Socket, after: Process | Socket): string {
  if (!("comm" in before)) return describe(before);
  const now: Record<string, unknown> = { ...after.toJSON() };
  return Object.entries(before.toJSON())
    .filter(([key, value]) => value !== now[key] && !NOT_SAID.includes(key))
    .map(([key, value]) => `${key} ${escapeWord(String(value ?? "-"), /^[^\s",]+$/)}`)
    .join(", ");
}

function describe(thing: Process | Socket): string {
  if ("comm" in thing) {
    const { pid, comm, uid, euid, gid, ppid } = thing;
    const ids = `uid ${uid ?? "-"}${euid === uid ? "" : ` (effective ${euid ?? "-"})`} gid ${gid ?? "-"}`;
    return `process ${pid} ${escapeWord(comm)} ${ids} parent ${ppid ?? "-"}`;
  }
  const { state, local, remote, uid } = thing;
  const owners = [formatOwners(thing)].flat().join(" ");
  const ends = `${formatEndpoint(local)} ${formatEndpoint(remote)}`;
  return `${formatProtocol(thing)} ${state} ${ends} uid ${uid ?? "-"} ${owners}`;
}
