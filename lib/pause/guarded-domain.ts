import { setTimeout as sleep } from "node:timers/promises";
import { toXFilterError } from "../errors.ts";
import type { Native, NativeDomain, NativeDomainId } from "../native.ts";
import type { Guarded, Pause, Stop } from "./messages.ts";
import { Turns } from "./turns.ts";

/** @internal What of the addon a domain is paused by. */
export type PausingAddon = Pick<Native, "xenDomain" | "xenPause" | "xenUnpause">;

/** A guest must not stand still because one call failed. */
const MAX_RESUME_TRIES = 10;
const RESUME_POLL_MS = 100;

/** @internal A domain that the guard pauses. Xen counts its pauses: to each of ours belongs one unpause, and no other. */
export class GuardedDomain implements Guarded {
  readonly #domain: NativeDomainId;
  readonly #addon: PausingAddon;
  /** When the pause began, by this process's own clock. */
  #paused: number | undefined;
  #expiry: NodeJS.Timeout | undefined;
  #expired: Pause | undefined;
  readonly #turns = new Turns();

  /** Rejects with XEN_UNAVAILABLE, SOURCE_PERMISSION: not only when the guest is to be resumed. */
  static async hold(domain: NativeDomainId, addon: PausingAddon): Promise<GuardedDomain> {
    await domainNow(domain, addon);
    return new GuardedDomain(domain, addon);
  }

  private constructor(domain: NativeDomainId, addon: PausingAddon) {
    this.#domain = domain;
    this.#addon = addon;
  }

  stop(budgetMs: number): Promise<Stop> {
    return this.#turns.take(async () => {
      // What could not be resumed before.
      await this.#resume();
      const now = await domainNow(this.#domain, this.#addon);
      if (now === null || now.dying) return "changed";
      // By somebody else, or because it has shut down.
      if (now.paused || now.shutdown !== null) return "stood";
      this.#expired = undefined;
      const start = performance.now();
      await this.#addon.xenPause(this.#domain).promise;
      this.#paused = start;
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

  resume(): Promise<Pause | undefined> {
    return this.#turns.take(async () => (await this.#resume()) ?? this.#expired);
  }

  async release(): Promise<void> {
    await this.resume();
  }

  async #resume(): Promise<Pause | undefined> {
    clearTimeout(this.#expiry);
    const start = this.#paused;
    if (start === undefined) return undefined;
    const ours = await unpause(this.#domain, this.#addon);
    const milliseconds = performance.now() - start;
    this.#paused = undefined;
    return { milliseconds, expired: !ours };
  }
}

/** Whether it stood still until now: somebody else may have resumed it. */
async function unpause(domain: NativeDomainId, addon: PausingAddon): Promise<boolean> {
  for (let tries = 1; ; tries++) {
    try {
      await addon.xenUnpause(domain).promise;
      return true;
    } catch (error) {
      const now = await domainNow(domain, addon).catch(() => undefined);
      // One that is gone never ran on.
      if (now === null || now?.dying) return true;
      // Xen refuses it of a domain that nobody has paused.
      if (now?.paused === false) return false;
      if (tries === MAX_RESUME_TRIES) {
        tellOfStanding(domain, error);
        throw error;
      }
    }
    await sleep(RESUME_POLL_MS);
  }
}

/** The agent, whose stderr this is, may be gone, or not have asked for it. */
function tellOfStanding({ id }: NativeDomainId, error: unknown): void {
  const why = JSON.stringify(toXFilterError(error).message);
  process.stderr.write(
    `xfilter-core: domain ${id} could not be resumed: it stands still; run xl unpause ${id}. (${why})\n`,
  );
}

/** @internal Whether it stands still, by anybody's doing. */
export async function isPaused(domain: NativeDomainId, addon: PausingAddon): Promise<boolean> {
  return (await domainNow(domain, addon))?.paused ?? false;
}

/**
 * @internal Of a guard that was killed, which was asked to pause a domain that ran, and may have done so or not: it pauses none that
 * stands still already, so one that does was paused by it.
 */
export async function unpauseWithoutGuard(domain: NativeDomainId, addon: PausingAddon): Promise<void> {
  // Where that cannot be told, to try is the way to find out: Xen refuses it of a domain that runs.
  if (await isPaused(domain, addon).catch(() => true)) await unpause(domain, addon);
}

/** Null: it is gone, and whoever has its id is another. */
async function domainNow({ id, uuid }: NativeDomainId, { xenDomain }: PausingAddon): Promise<NativeDomain | null> {
  const now = await xenDomain(id).promise;
  return now?.uuid === uuid ? now : null;
}
