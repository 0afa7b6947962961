import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { systemPath } from "../system-path.ts";

/**
 * systemd, where it is what started this process and waits to be told (sd_notify(3)). Told by `systemd-notify`: its socket is one of
 * datagrams, which Node.js has none of.
 */
export class ServiceManager {
  readonly #warn: (message: string) => void;
  #watchdog: NodeJS.Timeout | undefined;

  private constructor(warn: (message: string) => void) {
    this.#warn = warn;
  }

  static of({ NOTIFY_SOCKET }: NodeJS.ProcessEnv, warn: (message: string) => void): ServiceManager | null {
    return NOTIFY_SOCKET ? new ServiceManager(warn) : null;
  }

  /** The service has started; from now on it is told that this process's event loop runs, as often as it asks for. */
  async ready(status: string, { WATCHDOG_USEC, WATCHDOG_PID }: NodeJS.ProcessEnv): Promise<void> {
    await this.#tell("READY=1", `STATUS=${status}`);
    const isAsked = WATCHDOG_USEC !== undefined && [undefined, String(process.pid)].includes(WATCHDOG_PID);
    if (!isAsked) return;
    // Twice in the time after which it takes this process for dead.
    this.#watchdog = setInterval(() => void this.#tell("WATCHDOG=1"), Number(WATCHDOG_USEC) / 2000).unref();
  }

  ended(): void {
    clearInterval(this.#watchdog);
  }

  async #tell(...words: readonly string[]): Promise<void> {
    try {
      await promisify(execFile)("systemd-notify", words, { env: { ...process.env, PATH: systemPath() } });
    } catch (error) {
      this.#warn(`systemd could not be told ${words[0]}: ${(error as Error).message.split("\n")[0]}`);
    }
  }
}
