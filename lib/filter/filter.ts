import { argumentTypeError, toXFilterError, XFilterError } from "../errors.ts";
import type { ClosesItself } from "../guest.ts";
import type { GuestInterface } from "../guest-interface.ts";
import type { AbortSignalLike } from "../options.ts";
import type { Quality } from "../quality.ts";
import type { Unenforceable } from "../rules/pattern.ts";
import type { Rule } from "../rules/rule.ts";
import { parseRules } from "../rules/schema.ts";
import { sleep } from "../sleep.ts";
import { EVENTS, POLLS } from "./channels.ts";
import { Enforcer } from "./enforcer.ts";
import type { FilterEvent } from "./event.ts";
import { EventQueue } from "./event-queue.ts";
import type { InForce } from "./in-force.ts";
import { FilterLog } from "./log.ts";
import { type CheckedOptions, checkFilterOptions, type FilterOptions } from "./options.ts";

/** How a filter stands. */
export interface FilterStatus {
  readonly running: boolean;
  readonly bootId: string | null;
  readonly polls: number;
  /** Polls left out because one took longer than the interval. */
  readonly missedPolls: number;
  /** Milliseconds that the last poll took, and of these the firewall. */
  readonly lastPollMs: number;
  readonly lastApplyMs: number;
  /** Devices at which the rules are in force; none before `start()`. */
  readonly interfaces: readonly GuestInterface[];
  readonly inForce: readonly InForce[];
  readonly unenforceable: readonly Unenforceable[];
  /** Packets that what was in force stopped since the start, as of the last look at the firewall; null where nobody counts. */
  readonly packetsStopped: number | null;
  /** How good the last reading of the guest was; null before the first. */
  readonly lastWalk: Quality | null;
  /** Since when the guest cannot be read, in milliseconds since 1970; null while it can. */
  readonly unreadableSince: number | null;
}

/** Keeps a firewall in step with rules, a guest's processes and their sockets. `await using` stops it. */
export interface Filter extends ClosesItself {
  /**
   * Puts the rules in force, and then polls until `stop()`. Resolves when the first poll is in force; where that fails, nothing is
   * changed and it rejects.
   *
   * @throws XFilterError: those of `guest.snapshot()`, of `guest.interfaces()` and of the backend
   */
  start(): Promise<void>;
  /**
   * What happens until the filter ends: for the first who asks from its start on, for others from now on. A consumer who is too
   * slow is told how much it lost.
   */
  events(options?: { readonly signal?: AbortSignalLike | undefined }): AsyncGenerator<FilterEvent, void, undefined>;
  status(): FilterStatus;
  /**
   * Rules from the next poll on. What older rules blocked flows again, unless the new ones hold the same rule.
   *
   * @throws TypeError or RangeError with the code ERR_INVALID_RULE: the old rules stay
   */
  setRules(rules: readonly (Rule | string)[]): void;
  /** Ends the polling and takes what is in force out of the firewall, or leaves it there (`keep`). May be called again. */
  stop(options?: { readonly keep?: boolean }): Promise<void>;
}

/**
 * A filter for one guest. Changes nothing before `start()`.
 *
 * @throws TypeError or RangeError with the code ERR_INVALID_OPTION or ERR_INVALID_RULE
 */
export function createFilter(options: FilterOptions): Filter {
  return new PollingFilter(checkFilterOptions(options));
}

class PollingFilter implements Filter {
  readonly #options: CheckedOptions;
  readonly #enforcer: Enforcer;
  readonly #log: FilterLog | null;
  /** Of the first who asks for events. */
  readonly #firstQueue = new EventQueue();
  readonly #queues = new Set([this.#firstQueue]);
  #asked = false;
  readonly #stop = new AbortController();
  #started: Promise<void> | undefined;
  #running: Promise<void> | undefined;
  #stopping: Promise<void> | undefined;
  #ended = false;
  #polls = 0;
  #missedPolls = 0;
  #lastPollMs = 0;

  constructor(options: CheckedOptions) {
    this.#options = options;
    this.#log = options.logger && new FilterLog(options.logger, options.id);
    this.#enforcer = new Enforcer(options, (event) => this.#tell(event), this.#stop.signal);
  }

  start(): Promise<void> {
    this.#started ??= this.#start();
    return this.#started;
  }

  async #start(): Promise<void> {
    this.#requireNotStopped();
    await this.#traced(() => this.#enforcer.open());
    this.#requireNotStopped();
    this.#polls++;
    this.#log?.started(this.#options.backend.name, this.#enforcer.status().interfaces);
    this.#running = this.#run();
  }

  #requireNotStopped(): void {
    if (this.#stop.signal.aborted) {
      throw new XFilterError("CLOSED", "this filter was stopped", "Make a new one with createFilter()");
    }
  }

  async #run(): Promise<void> {
    const { intervalMs } = this.#options;
    const signals = [this.#stop.signal];
    let due = performance.now() + intervalMs;
    try {
      for (;;) {
        await sleep(Math.max(0, due - performance.now()), signals);
        const start = performance.now();
        await this.#traced(() => this.#enforcer.poll());
        const end = performance.now();
        this.#polls++;
        this.#lastPollMs = end - start;
        const missed = Math.max(0, Math.floor((end - due) / intervalMs));
        if (missed > 0) {
          this.#missedPolls += missed;
          this.#tell({ type: "overrun", time: Date.now(), missedPolls: missed });
        }
        due += (missed + 1) * intervalMs;
      }
    } catch (error) {
      if (this.#stop.signal.aborted) return;
      this.#end(toXFilterError(error));
    }
  }

  #traced(poll: () => Promise<Quality | null>): Promise<Quality | null> {
    return POLLS.run({ filter: this, id: this.#options.id }, poll);
  }

  /** The guest is gone, and with it what would have been filtered. */
  #end(error: XFilterError): void {
    this.#stopping ??= this.#close(false, error);
    this.#stopping.catch(() => {});
  }

  events({
    signal,
  }: {
    readonly signal?: AbortSignalLike | undefined;
  } = {}): AsyncGenerator<FilterEvent, void, undefined> {
    const queue = this.#asked ? new EventQueue() : this.#firstQueue;
    this.#asked = true;
    if (this.#ended) queue.end();
    else this.#queues.add(queue);
    const done = () => this.#queues.delete(queue);
    return (async function* () {
      try {
        yield* queue.iterate(signal);
      } finally {
        done();
      }
    })();
  }

  status(): FilterStatus {
    return {
      running: this.#running !== undefined && !this.#ended,
      polls: this.#polls,
      missedPolls: this.#missedPolls,
      lastPollMs: this.#lastPollMs,
      ...this.#enforcer.status(),
    };
  }

  setRules(rules: readonly (Rule | string)[]): void {
    if (!Array.isArray(rules)) throw argumentTypeError("ERR_INVALID_RULE", "Bad rules: not a list.");
    this.#enforcer.setRules(parseRules(rules));
  }

  stop({ keep = false }: { readonly keep?: boolean } = {}): Promise<void> {
    this.#stopping ??= this.#close(keep, null);
    return this.#stopping;
  }

  async #close(keep: boolean, error: XFilterError | null): Promise<void> {
    this.#stop.abort(new XFilterError("CLOSED", "this filter was stopped", "Make a new one with createFilter()"));
    await Promise.allSettled([this.#started]);
    if (error === null) await Promise.allSettled([this.#running]);
    try {
      await this.#enforcer.close(keep);
    } catch (cause) {
      this.#tell({ type: "failed", time: Date.now(), error: toXFilterError(cause) });
      throw cause;
    } finally {
      this.#ended = true;
      this.#tell({ type: "ended", time: Date.now(), error });
      for (const queue of this.#queues) queue.end();
    }
  }

  #tell(event: FilterEvent): void {
    for (const queue of this.#queues) queue.push(event);
    if (EVENTS.hasSubscribers) EVENTS.publish({ filter: this, id: this.#options.id, event });
    this.#log?.event(event);
  }

  declare [Symbol.asyncDispose]: () => Promise<void>;
}

// A runtime without the symbol has no `await using` either.
if (typeof Symbol.asyncDispose === "symbol") {
  PollingFilter.prototype[Symbol.asyncDispose] = function (this: PollingFilter) {
    return this.stop();
  };
}
