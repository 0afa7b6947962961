import type { AbortSignalLike } from "../options.ts";
import type { FilterEvent } from "./event.ts";

/** More than a poll of a busy guest brings; a consumer who is slower than that loses the oldest. */
const MAX_EVENTS = 4096;

/** @internal The events that one consumer has not fetched yet. */
export class EventQueue {
  #events: FilterEvent[] = [];
  #dropped = 0;
  #ended = false;
  #wake = () => {};

  push(event: FilterEvent): void {
    this.#events.push(event);
    if (this.#events.length > MAX_EVENTS) {
      this.#events.shift();
      this.#dropped++;
    }
    this.#wake();
  }

  /** No more comes: the iteration ends when what is there was fetched. */
  end(): void {
    this.#ended = true;
    this.#wake();
  }

  /** Rejects with the signal's reason when it is aborted. */
  async *iterate(signal: AbortSignalLike | undefined): AsyncGenerator<FilterEvent, void, undefined> {
    for (;;) {
      if (signal?.aborted) throw signal.reason;
      if (this.#dropped > 0) {
        const count = this.#dropped;
        this.#dropped = 0;
        yield { type: "dropped", time: Date.now(), count };
        continue;
      }
      const event = this.#events.shift();
      if (event) yield event;
      else if (this.#ended) return;
      else await this.#more(signal);
    }
  }

  #more(signal: AbortSignalLike | undefined): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = () => {
        signal?.removeEventListener("abort", this.#wake);
        this.#wake = () => {};
        resolve();
      };
      signal?.addEventListener("abort", this.#wake, { once: true });
    });
  }
}
