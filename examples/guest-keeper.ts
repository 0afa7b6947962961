import { setTimeout as sleep } from "node:timers/promises";
import type { Guest } from "xfilter-core";
import type { RuleBackend } from "xfilter-core/backends";
import { createFilter, type Filter, type FilterLogger } from "xfilter-core/filter";
import type { Rule } from "xfilter-core/rules";

/** Whom to filter, and how. */
export interface Task {
  /** As `introspect()` takes it. */
  readonly target: string;
  readonly rules: readonly Rule[];
  /** Name of one of `KeeperOptions.backends`. */
  readonly backend: string;
}

export interface KeeperOptions {
  readonly logger: FilterLogger;
  readonly attach: (target: string, options: { readonly signal: AbortSignal }) => Promise<Guest>;
  readonly backends: Readonly<Record<string, () => RuleBackend>>;
  /** Where pins and verdicts survive this process; nowhere, if not given. */
  readonly stateDirectory?: string;
  /** Milliseconds before a guest is tried again, and twice as many each time, at most the second: 1,000 and 60,000 if not given. */
  readonly retryMs?: readonly [first: number, most: number];
}

/** Keeps a filter of one guest, whether or not the guest is there: one that is not, or no longer, is tried again. */
export class GuestKeeper {
  readonly #id: string;
  readonly #options: KeeperOptions;
  readonly #stop = new AbortController();
  readonly #done: Promise<boolean>;
  #task: Task;
  #keep = true;
  #filter: Filter | null = null;

  /** Begins when another keeper of the guest is done. */
  constructor(id: string, task: Task, options: KeeperOptions, after: Promise<unknown> = Promise.resolve()) {
    this.#id = id;
    this.#task = task;
    this.#options = options;
    this.#done = after.then(() => this.#run());
  }

  /** Other rules, from the next poll on. False where more than the rules is another: that takes another keeper. Throws for rules that the backend cannot hold; the old ones stay. */
  change(task: Task): boolean {
    const { target, backend } = this.#task;
    if (this.#stop.signal.aborted || task.target !== target || task.backend !== backend) return false;
    this.#filter?.setRules(task.rules);
    this.#task = task;
    return true;
  }

  /** What is in force is left, or taken out: whether that could be done. The first call decides. */
  stop({ keep }: { readonly keep: boolean }): Promise<boolean> {
    if (!this.#stop.signal.aborted) this.#keep = keep;
    this.#stop.abort();
    return this.#done;
  }

  async #run(): Promise<boolean> {
    const { logger, retryMs: [first, most] = [1_000, 60_000] } = this.#options;
    const { signal } = this.#stop;
    for (let wait = first; !signal.aborted; wait = Math.min(2 * wait, most)) {
      const begun = performance.now();
      try {
        await this.#filterUntilStopped(signal);
      } catch (error) {
        const { code, message } = error as { code?: unknown; message?: unknown };
        if (signal.aborted && (error === signal.reason || code === "CLOSED")) break;
        // It was there for a while: that it is gone is news.
        if (performance.now() - begun > most) wait = first;
        const next = signal.aborted ? "the filter did not end well" : `tried again in ${wait} ms`;
        logger.error({ guest: this.#id, error: { code, message } }, `${next}: ${message}`);
        if (signal.aborted) return false;
        await sleep(wait, null, { signal }).catch(() => {});
      }
    }
    return true;
  }

  /** Rejects when the guest is not there or gone, and when the filter cannot begin or end. */
  async #filterUntilStopped(signal: AbortSignal): Promise<void> {
    const { attach, backends, logger, stateDirectory } = this.#options;
    const { target, backend } = this.#task;
    const guest = await attach(target, { signal });
    try {
      // Others may have come while the guest was looked for.
      const { rules } = this.#task;
      const state = stateDirectory === undefined ? {} : { stateDirectory };
      const filter = createFilter({ guest, rules, backend: backends[backend]!(), id: this.#id, logger, ...state });
      const stop = () => filter.stop({ keep: this.#keep });
      // How that went is asked below.
      const abort = () => void stop().catch(() => {});
      signal.addEventListener("abort", abort, { once: true });
      this.#filter = filter;
      try {
        signal.throwIfAborted();
        await filter.start();
        for await (const event of filter.events()) if (event.type === "ended" && event.error) throw event.error;
      } finally {
        this.#filter = null;
        signal.removeEventListener("abort", abort);
        await stop();
      }
    } finally {
      await guest.close();
    }
  }
}
