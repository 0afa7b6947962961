import { toXFilterError, type XFilterError } from "../errors.ts";
import type { FilterEvent } from "./event.ts";

/** @internal Tells what fails once, until it works or fails otherwise: polls come many a second. */
export class Failures {
  readonly #tell: (event: FilterEvent) => void;
  #failing = "";

  constructor(tell: (event: FilterEvent) => void) {
    this.#tell = tell;
  }

  failed(error: XFilterError): void {
    if (error.message !== this.#failing) this.#tell({ type: "failed", time: Date.now(), error });
    this.#failing = error.message;
  }

  /** Tells that the work failed, instead of rejecting; but rejects with the signal's reason when that is why. */
  async orTell(work: () => Promise<void> | void, signal: AbortSignal): Promise<void> {
    try {
      await work();
      this.#failing = "";
    } catch (error) {
      if (signal.aborted) throw signal.reason;
      this.failed(toXFilterError(error));
    }
  }
}
