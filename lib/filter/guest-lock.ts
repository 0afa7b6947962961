import { closeSync, fstatSync, ftruncateSync, readFileSync, readlinkSync, rmSync, statSync, writeSync } from "node:fs";
import { XFilterError } from "../errors.ts";
import type { GuestInterface } from "../guest-interface.ts";
import { loadNative } from "../native.ts";
import { StateDirectory } from "./state-directory.ts";

/**
 * @internal Keeps a guest and its devices for one filter, of all that have one state directory: by locks on files in it, which the
 * kernel gives up when their process ends. One guest may have several names; its devices have one.
 */
export class GuestLock {
  readonly #directory: StateDirectory;
  /** Descriptors of the files by their paths. */
  readonly #held = new Map<string, number>();
  /** Path of the guest's own. */
  #guest = "";

  /** @throws XFilterError: STATE_IO for a directory that cannot be used */
  constructor(directory: string) {
    this.#directory = new StateDirectory(directory);
  }

  /** @throws XFilterError: FILTER_RUNS where another filter has it */
  takeGuest(id: string): void {
    const key = `guest ${id}`;
    this.#take(key, "this guest");
    this.#guest = this.#path(key);
  }

  /** Those that the guest has by now. @throws XFilterError: FILTER_RUNS where another filter has one of them */
  takeDevices(interfaces: readonly GuestInterface[]): void {
    const before = new Set(this.#held.keys());
    try {
      for (const one of interfaces) this.#take(deviceKey(one), `the device ${one.name}`);
    } catch (error) {
      this.#drop((path) => !before.has(path));
      throw error;
    }
  }

  /** Gives up the devices that are none of these. */
  keepDevices(interfaces: readonly GuestInterface[]): void {
    const kept = new Set(interfaces.map((one) => this.#path(deviceKey(one))));
    this.#drop((path) => path !== this.#guest && !kept.has(path));
  }

  release(): void {
    this.#drop(() => true);
  }

  #drop(which: (path: string) => boolean): void {
    for (const [path, fd] of [...this.#held].filter(([path]) => which(path))) {
      this.#held.delete(path);
      try {
        rmSync(path, { force: true });
      } catch {
        // The lock is what counts; a file without one says nothing.
      }
      closeSync(fd);
    }
  }

  #path(key: string): string {
    return this.#directory.path(key, ".lock");
  }

  #take(key: string, what: string): void {
    const path = this.#path(key);
    if (this.#held.has(path)) return;
    const fd = lock(path);
    if (fd === null) {
      const by = `process ${holder(path) ?? "of unknown id"} filters ${what} already, and each would undo what the other does`;
      throw new XFilterError(
        "FILTER_RUNS",
        by,
        "Give all rules to one of them (a file of rules: xfilter filter --rules)",
      );
    }
    ftruncateSync(fd);
    writeSync(fd, `${process.pid}\n`);
    this.#held.set(path, fd);
  }
}

/** Who releases it takes the file away: whoever had it open has the lock of a file that is no longer there, and tries again. */
function lock(path: string): number | null {
  for (;;) {
    const fd = loadNative().lockFile(path);
    if (fd === null || statSync(path, { throwIfNoEntry: false })?.ino === fstatSync(fd).ino) return fd;
    closeSync(fd);
  }
}

function holder(path: string): number | null {
  try {
    return Number.parseInt(readFileSync(path, "latin1"), 10) || null;
  } catch {
    return null;
  }
}

function deviceKey({ index }: GuestInterface): string {
  return `device ${readlinkSync("/proc/self/ns/net")} ${index}`;
}
