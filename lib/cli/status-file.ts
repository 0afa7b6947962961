import { createHash } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { GuestInterface } from "../backends/backend.ts";
import type { FilterStatus } from "../filter/index.ts";
import { patternJson } from "./filter-event.ts";

/** Where `xfilter filter` keeps what has to survive it. Of the running host: a guest does not survive it either. */
export const STATE_DIRECTORY = "/run/xfilter";

const SUFFIX = ".status.json";

/** How a filter stood when it last changed something, for `xfilter status`. */
export interface FilterReport {
  readonly guest: string;
  /** Process that filters; null: it ended, and left what was in force. */
  readonly agent: number | null;
  /** ISO 8601. */
  readonly time: string;
  readonly interfaces: readonly GuestInterface[];
  readonly bootId: string | null;
  readonly inForce: readonly Record<string, unknown>[];
  readonly unenforceable: readonly { readonly reason: string; readonly what: string }[];
  readonly unreadableSince: number | null;
}

/** The report of one guest's filter, in a file. */
export class StatusFile {
  readonly #path: string;
  readonly #guest: string;
  #last: FilterReport | undefined;

  constructor(directory: string, guest: string) {
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    this.#path = join(directory, `${createHash("sha256").update(guest).digest("hex").slice(0, 32)}${SUFFIX}`);
    this.#guest = guest;
  }

  write(
    { bootId, inForce, unenforceable, unreadableSince }: FilterStatus,
    interfaces: readonly GuestInterface[],
  ): void {
    this.#write({
      ...{
        guest: this.#guest,
        agent: process.pid,
        time: new Date().toISOString(),
        interfaces,
        bootId,
        unreadableSince,
      },
      inForce: inForce.map(({ pattern, rule }) => patternJson(pattern, rule)),
      unenforceable: unenforceable.map(({ reason, what }) => ({ reason, what })),
    });
  }

  /** The filter ends. */
  end(keep: boolean): void {
    if (keep && this.#last) this.#write({ ...this.#last, agent: null });
    else rmSync(this.#path, { force: true });
  }

  #write(report: FilterReport): void {
    this.#last = report;
    writeFileSync(`${this.#path}.new`, JSON.stringify(report), { mode: 0o600 });
    renameSync(`${this.#path}.new`, this.#path);
  }
}

/** The reports of all filters that keep their state in a directory; what cannot be read is left out. */
export function readReports(directory: string): FilterReport[] {
  return filesIn(directory).flatMap((name) => {
    try {
      return [JSON.parse(readFileSync(join(directory, name), "utf8")) as FilterReport];
    } catch {
      return [];
    }
  });
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
