import { escapeText } from "../escape.ts";
import type { Owner } from "../socket.ts";
import type { FilterEvent } from "./event.ts";
import { eventJson } from "./event-json.ts";

/** What a filter logs to: pino's loggers are of this shape, and `console` is. */
export interface FilterLogger {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

type Level = keyof FilterLogger;

/** @internal */
export const LEVELS: readonly Level[] = ["debug", "info", "warn", "error"];

/** @internal What happens to one filter, as lines of a log. Whatever becomes of them, the filter goes on. */
export class FilterLog {
  readonly #logger: FilterLogger;
  readonly #id: string;

  constructor(logger: FilterLogger, id: string) {
    this.#logger = logger;
    this.#id = id;
  }

  event(event: FilterEvent): void {
    // A log has a time of its own.
    const { time: _, event: type, ...fields } = eventJson(event);
    this.#write(levelOf(event), { event: type, ...printable(fields) }, messageOf(event));
  }

  started(backend: string, interfaces: readonly { readonly name: string }[]): void {
    const names = interfaces.map(({ name }) => name);
    this.#write("info", { event: "started", backend, interfaces: names }, "the rules are in force");
  }

  #write(level: Level, fields: object, message: string): void {
    try {
      const written: unknown = this.#logger[level]({ guest: this.#id, ...fields }, message);
      // One that is asynchronous fails later, and ends the process if nobody looks.
      if (written instanceof Promise) written.catch(() => {});
    } catch {
      // There is nowhere to tell it.
    }
  }
}

/** What needs somebody is an error, or a warning where the filter has seen to it. */
function levelOf(event: FilterEvent): Level {
  switch (event.type) {
    case "failed":
    case "unreadable":
      return "error";
    case "ended":
      return event.error ? "error" : "info";
    case "unenforceable":
    case "repaired":
    case "rebound":
    case "dropped":
      return "warn";
    case "overrun":
      return "debug";
    case "set":
    case "cleared":
      // An exception concerns nobody: it is for whom a wider pattern would.
      return event.rule === null ? "debug" : "info";
    default:
      return "info";
  }
}

function messageOf(event: FilterEvent): string {
  switch (event.type) {
    case "set":
      return `in force: ${event.pattern.key}`;
    case "cleared":
      return `no longer in force: ${event.pattern.key}`;
    case "unenforceable":
      return `cannot be enforced: ${escapeText(event.what)}`;
    case "repaired":
      return "the firewall had been changed, and was repaired";
    case "rebound":
      return "the guest's devices are others than before";
    case "failed":
      return `failed, and is tried again: ${escapeText(event.error.message)}`;
    case "unreadable":
      return `the guest cannot be read: ${escapeText(event.error.message)}`;
    case "readable":
      return "the guest can be read again";
    case "booted":
      return "the guest booted anew";
    case "expired":
      return "the time of a rule is over";
    case "overrun":
      return "polls were left out because one took too long";
    case "dropped":
      return "events were lost";
    case "ended":
      return event.error ? `ended: ${escapeText(event.error.message)}` : "stopped";
  }
}

/** A command's name is what the guest chose, an error may quote its QEMU, and a log may be shown by a terminal. */
function printable(fields: Record<string, unknown>): Record<string, unknown> {
  const { owner, error } = fields as { owner?: Owner | null; error?: { readonly message: string } | null };
  return {
    ...fields,
    ...(owner && { owner: { ...owner, comm: escapeText(owner.comm) } }),
    ...(error && { error: { ...error, message: escapeText(error.message) } }),
  };
}
