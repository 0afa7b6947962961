import { XFilterError } from "../errors.ts";
import { Guard } from "./guard.ts";
import type { Pausable } from "./messages.ts";
import { Turns } from "./turns.ts";

/** @internal Stops one guest for each piece of work, one after the other. */
export class Pauses {
  readonly budgetMs: number;
  readonly #guard: Guard;
  /** As which the guard has the guest. */
  readonly #guest: number;
  readonly #turns = new Turns();
  #closed = false;

  private constructor(guard: Guard, guest: number, budgetMs: number) {
    this.#guard = guard;
    this.#guest = guest;
    this.budgetMs = budgetMs;
  }

  /** Rejects as `Guard.hold` does. */
  static async open(pausable: Pausable, budgetMs: number): Promise<Pauses> {
    const guard = Guard.shared();
    return new Pauses(guard, await guard.hold(pausable), budgetMs);
  }

  /**
   * Does the work while the guest stands still; it is told whether that is by us. Where it stood still before, whoever stopped it may
   * resume it at any time, and for a domain of Xen that may be another agent's pause. Rejects with PAUSE_BUDGET when that took too long, and the guest ran
   * on before the work was done; with GUEST_CHANGED, the work not done, when it is not the guest that was attached to,
   * or these pauses were closed.
   */
  during<T>(work: (stopped: boolean) => Promise<T>): Promise<{ result: T; pauseMs: number }> {
    return this.#turns.take(() => this.#during(work));
  }

  async #during<T>(work: (stopped: boolean) => Promise<T>): Promise<{ result: T; pauseMs: number }> {
    const stop = this.#closed ? "changed" : await this.#guard.stop(this.#guest, this.budgetMs);
    if (stop === "changed") {
      throw new XFilterError(
        "GUEST_CHANGED",
        "The guest is not the one that was attached to",
        "Attach to the guest again",
      );
    }
    let result: T | undefined;
    let failure: { error: unknown } | undefined;
    try {
      result = await work(stop === "stopped");
    } catch (error) {
      failure = { error };
    }
    const pause = stop === "stopped" ? await this.#guard.resume(this.#guest) : undefined;
    if (pause?.expired) {
      const what = `the guest was resumed before the walk was done, after ${pause.milliseconds.toFixed(1)} ms`;
      throw new XFilterError("PAUSE_BUDGET", what, "Give it more (pauseBudgetMs), or walk without a pause");
    }
    if (failure) throw failure.error;
    return { result: result as T, pauseMs: pause?.milliseconds ?? 0 };
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#turns.done();
    await this.#guard.release(this.#guest);
  }
}
