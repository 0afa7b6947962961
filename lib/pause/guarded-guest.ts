import { setTimeout as sleep } from "node:timers/promises";
import { XFilterError } from "../errors.ts";
import { Monitor } from "../sources/monitor.ts";
import type { Qmp, QmpEvent } from "../sources/qmp.ts";
import type { Guarded, Pause, Stop } from "./messages.ts";
import { Turns } from "./turns.ts";

/** A guest must not stand still because its monitor's connection ended: it is made again so often, in about a second. */
const MAX_RESUME_TRIES = 10;
const RESUME_POLL_MS = 100;

/** @internal A guest whose monitor the guard holds. */
export class GuardedGuest implements Guarded {
  readonly #path: string;
  readonly #monitor: Monitor;
  #stopping = false;
  #stopped: QmpEvent | undefined;
  #resumed: QmpEvent | undefined;
  #expiry: NodeJS.Timeout | undefined;
  #expired: Pause | undefined;
  readonly #turns = new Turns();

  /** Rejects as `Monitor.locate` does. */
  static async hold(path: string): Promise<GuardedGuest> {
    const guest = new GuardedGuest(path);
    try {
      await guest.#monitor.locate();
      return guest;
    } catch (error) {
      guest.#monitor.close();
      throw error;
    }
  }

  private constructor(path: string) {
    this.#path = path;
    this.#monitor = new Monitor(path, (event) => {
      // Who else stops it has his reasons, and it is his to resume.
      if (event.name === "STOP" && this.#stopping) this.#stopped = event;
      if (event.name === "RESUME") this.#resumed = event;
    });
  }

  stop(budgetMs: number): Promise<Stop> {
    return this.#turns.take(async () => {
      // What a connection that ended has left standing.
      await this.#resume();
      const qmp = await this.#monitor.connect();
      if (await this.#monitor.changed()) return "changed";
      const { running } = (await qmp.execute("query-status")) as { running?: unknown };
      if (running !== true) return "stood";
      this.#expired = undefined;
      this.#resumed = undefined;
      await this.#stop(qmp);
      if (!this.#stopped) return "stood";
      this.#expiry = setTimeout(() => {
        this.#turns
          .take(async () => {
            const pause = await this.#resume();
            this.#expired = pause && { ...pause, expired: true };
          })
          .catch(() => {});
      }, budgetMs);
      return "stopped";
    });
  }

  /** QEMU sends the event before the answer, and none where somebody else was first. */
  async #stop(qmp: Qmp): Promise<void> {
    try {
      this.#stopping = true;
      await qmp.execute("stop");
    } catch (error) {
      // It may stand still all the same.
      if (!isRefusal(error)) await this.#continue();
      throw error;
    } finally {
      this.#stopping = false;
    }
  }

  resume(): Promise<Pause | undefined> {
    return this.#turns.take(async () => (await this.#resume()) ?? this.#expired);
  }

  async release(): Promise<void> {
    try {
      await this.resume();
    } finally {
      this.#monitor.close();
    }
  }

  async #resume(): Promise<Pause | undefined> {
    clearTimeout(this.#expiry);
    const stopped = this.#stopped;
    if (!stopped) return undefined;
    // By somebody else, who may have stopped it again since.
    const expired = this.#resumed !== undefined;
    if (!expired) await this.#continue();
    this.#stopped = undefined;
    const { microseconds } = this.#resumed ?? { microseconds: Date.now() * 1000 };
    return { milliseconds: (microseconds - stopped.microseconds) / 1000, expired };
  }

  async #continue(): Promise<void> {
    for (let tries = 1; ; tries++) {
      try {
        const qmp = await this.#monitor.connect();
        await qmp.execute("cont");
        return;
      } catch (error) {
        if (isRefusal(error) || tries === MAX_RESUME_TRIES) {
          this.#tellOfStanding(error);
          throw error;
        }
      }
      await sleep(RESUME_POLL_MS);
    }
  }

  /** The agent, whose stderr this is, may be gone, or not have asked for it. */
  #tellOfStanding(error: unknown): void {
    const path = JSON.stringify(this.#path);
    const why = JSON.stringify(error instanceof Error ? error.message : String(error));
    process.stderr.write(
      `xfilter-core: the guest at ${path} could not be resumed: unless its QEMU has ended it stands still; ` +
        `give its monitor the command cont. (${why})\n`,
    );
  }
}

function isRefusal(error: unknown): boolean {
  return error instanceof XFilterError && error.code === "QMP_REFUSED";
}
