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
  readonly #held = new Map<string, number>();

  /** @throws XFilterError: STATE_IO for a directory that cannot be used */
  constructor(directory: string) {
    this.#directory = new StateDirectory(directory);
  }

  /** @throws XFilterError: FILTER_RUNS where another filter has it */
  takeGuest(id: string): void {
    this.#take(`guest ${id}`, "this guest");
  }

  /** Those that the guest has by now. @throws XFilterError: FILTER_RUNS where another filter has one of them */
  takeDevices(interfaces: readonly GuestInterface[]): void {
    for (const { name, index } of interfaces) {
      this.#take(`device ${readlinkSync("/proc/self/ns/net")} ${index}`, `the device ${name}`);
    }
  }

  release(): void {
    for (const [path, fd] of this.#held) {
      rmSync(path, { force: true });
      closeSync(fd);
    }
    this.#held.clear();
  }

  #take(key: string, what: string): void {
    const path = this.#directory.path(key, ".lock");
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
