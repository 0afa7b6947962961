import { readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { toXFilterError } from "../errors.ts";
import { patternJson } from "../filter/event-json.ts";
import type { FilterStatus } from "../filter/index.ts";
import { StateDirectory } from "../filter/state-directory.ts";
import type { GuestInterface } from "../guest-interface.ts";
import { messageInFlags } from "./library-options.ts";

/** Where `xfilter filter` keeps what has to survive it. Of the running host: a guest does not survive it either. */
export const STATE_DIRECTORY = "/run/xfilter";

const SUFFIX = ".status.json";

/** How a filter stood when it last changed something, for `xfilter status`. */
export interface FilterReport {
  readonly guest: string;
  /** Process that filters; null: it ended, and left what was in force. */
  readonly agent: number | null;
  /** When it was started, as its kernel tells: another process that has its pid is another. */
  readonly agentStart: string | null;
  /** ISO 8601. */
  readonly time: string;
  readonly interfaces: readonly GuestInterface[];
  readonly bootId: string | null;
  readonly inForce: readonly Record<string, unknown>[];
  readonly unenforceable: readonly { readonly reason: string; readonly what: string }[];
  readonly unreadableSince: number | null;
}

/** With ten thousand flows the report is of megabytes, and each may come with an event of its own. */
const WRITE_EVERY_MS = 1_000;

/** The report of one guest's filter, in a file. */
export class StatusFile {
  readonly #directory: StateDirectory;
  readonly #path: string;
  readonly #guest: string;
  readonly #read: () => FilterStatus;
  readonly #warn: (message: string) => void;
  #timer: NodeJS.Timeout | undefined;
  #begun = false;
  #failing = false;

  /** @throws XFilterError: STATE_IO */
  constructor(directory: string, guest: string, read: () => FilterStatus, warn: (message: string) => void) {
    this.#directory = new StateDirectory(directory);
    this.#path = this.#directory.path(guest, SUFFIX);
    this.#guest = guest;
    this.#read = read;
    this.#warn = warn;
  }

  /** The filter runs: what another one left is over. */
  begin(): void {
    this.#begun = true;
    this.#write(process.pid);
  }

  /** Is written soon, once for all that changes until then. */
  changed(): void {
    if (!this.#begun) return;
    this.#timer ??= setTimeout(() => this.#write(process.pid), WRITE_EVERY_MS).unref();
  }

  /** The filter ends. */
  end(keep: boolean): void {
    if (!this.#begun) return;
    if (keep) this.#write(null);
    clearTimeout(this.#timer);
    if (!keep) rmSync(this.#path, { force: true });
  }

  #write(agent: number | null): void {
    this.#timer = undefined;
    try {
      this.#directory.write(this.#path, JSON.stringify(this.#report(agent)));
      this.#failing = false;
    } catch (error) {
      if (!this.#failing) this.#warn(messageInFlags(toXFilterError(error)));
      this.#failing = true;
    }
  }

  #report(agent: number | null): FilterReport {
    const { bootId, interfaces, inForce, unenforceable, unreadableSince } = this.#read();
    return {
      ...{ guest: this.#guest, agent, agentStart: agent === null ? null : startOf(agent) },
      ...{ time: new Date().toISOString(), interfaces, bootId, unreadableSince },
      inForce: inForce.map(({ pattern, rule }) => patternJson(pattern, rule)),
      unenforceable: unenforceable.map(({ reason, what }) => ({ reason, what })),
    };
  }
}

/** The reports of all filters that keep their state in a directory; what cannot be read is left out. */
export function readReports(directory: string): FilterReport[] {
  return filesIn(directory).flatMap((name) => readReport(join(directory, name)) ?? []);
}

function readReport(path: string): FilterReport | null {
  try {
    const report = JSON.parse(readFileSync(path, "utf8")) as FilterReport;
    const { guest, inForce, unenforceable } = report;
    return typeof guest === "string" && Array.isArray(inForce) && Array.isArray(unenforceable) ? report : null;
  } catch {
    return null;
  }
}

/** Whether the process that wrote a report still is there. */
export function agentRuns({ agent, agentStart }: FilterReport): boolean {
  return Number.isInteger(agent) && agentStart !== null && startOf(agent!) === agentStart;
}

/** Ticks from the boot to the start of a process; null if there is none. */
function startOf(pid: number): string | null {
  try {
    // The command, in parentheses, may hold anything; 20 fields behind it.
    return readFileSync(`/proc/${pid}/stat`, "latin1").split(") ").at(-1)!.split(" ")[19] ?? null;
  } catch {
    return null;
  }
}

function filesIn(directory: string): string[] {
  try {
    return readdirSync(directory)
      .filter((name) => name.endsWith(SUFFIX))
      .sort();
  } catch {
    return [];
  }
}
