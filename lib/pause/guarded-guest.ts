import type { Qmp, QmpEvent } from "../sources/qmp.ts";
import type { Pause } from "./messages.ts";

/** @internal A guest whose monitor the guard holds. Its requests are served one after the other. */
export class GuardedGuest {
  readonly #qmp: Qmp;
  #stopped: QmpEvent | undefined;
  #resumed: QmpEvent | undefined;
  #expiry: NodeJS.Timeout | undefined;
  #expired: Pause | undefined;
  #turn: Promise<unknown> = Promise.resolve();

  constructor(qmp: Qmp) {
    this.#qmp = qmp;
    qmp.onEvent((event) => {
      if (event.name === "STOP") this.#stopped = event;
      if (event.name === "RESUME") this.#resumed = event;
    });
  }

  /** Whether the guest was running, and stands still now. One that was stopped already is nobody's to resume. */
  stop(budgetMs: number): Promise<boolean> {
    return this.#next(async () => {
      this.#stopped = undefined;
      this.#expired = undefined;
      // QEMU sends the event before the answer, and none where the guest stood still.
      await this.#qmp.execute("stop");
      if (!this.#stopped) return false;
      this.#expiry = setTimeout(() => {
        this.#next(async () => {
          const pause = await this.#resume();
          this.#expired = pause && { ...pause, expired: true };
        }).catch(() => {});
      }, budgetMs);
      return true;
    });
  }

  /** The pause that this ended, or that has ended because its time was up; undefined if there was none. */
  resume(): Promise<Pause | undefined> {
    return this.#next(async () => (await this.#resume()) ?? this.#expired);
  }

  async release(): Promise<void> {
    try {
      await this.resume();
    } finally {
      this.#qmp.close();
    }
  }

  #next<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#turn.then(work, work);
    this.#turn = turn;
    return turn;
  }

  async #resume(): Promise<Pause | undefined> {
    clearTimeout(this.#expiry);
    const stopped = this.#stopped;
    if (!stopped) return undefined;
    this.#resumed = undefined;
    await this.#qmp.execute("cont");
    this.#stopped = undefined;
    // Somebody else may have resumed it meanwhile: then `cont` makes no event.
    const { microseconds } = this.#resumed ?? { microseconds: Date.now() * 1000 };
    return { milliseconds: (microseconds - stopped.microseconds) / 1000, expired: false };
  }
}
