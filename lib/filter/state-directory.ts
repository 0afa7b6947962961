import { createHash } from "node:crypto";
import { lstatSync, mkdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { XFilterError } from "../errors.ts";

/** @internal Where filters keep what survives them: a directory in which nobody else can put a file or a link. */
export class StateDirectory {
  readonly #path: string;

  /** @throws XFilterError: STATE_IO for a directory that cannot be made, or that others may write */
  constructor(path: string) {
    this.#path = path;
    attempt(`the directory ${path} cannot be made`, () => makeDirectory(path));
    const { uid, mode } = attempt(`the directory ${path} cannot be read`, () => lstatSync(path));
    const others = (mode & 0o022) !== 0 || (uid !== 0 && uid !== process.geteuid!());
    if (others) throw failed(`the directory ${path} is somebody else's, a link, or others may write to it`);
  }

  /** A guest's file; the name tells nothing, and holds no byte, of the guest's. */
  path(id: string, suffix: string): string {
    return join(this.#path, createHash("sha256").update(id).digest("hex").slice(0, 32) + suffix);
  }

  /**
   * In one step: a reader finds the old or the new text.
   *
   * @throws XFilterError: STATE_IO
   */
  write(path: string, text: string): void {
    attempt(`${path} cannot be written`, () => {
      rmSync(`${path}.new`, { force: true });
      writeFileSync(`${path}.new`, text, { mode: 0o600, flag: "wx" });
      renameSync(`${path}.new`, path);
    });
  }
}

/** One level. All of them is what Node.js 20 tries for ever where the kernel has no such place, as in /proc. */
function makeDirectory(path: string): void {
  try {
    mkdirSync(path, { mode: 0o700 });
  } catch (cause) {
    // What it is, if it is there, is looked at next.
    if ((cause as NodeJS.ErrnoException).code !== "EEXIST") throw cause;
  }
}

function attempt<T>(what: string, work: () => T): T {
  try {
    return work();
  } catch (cause) {
    throw failed(`${what}: ${(cause as Error).message}`, cause);
  }
}

function failed(what: string, cause?: unknown): XFilterError {
  const advice = "Give a directory of the user who runs this, on a disk with room (stateDirectory)";
  return new XFilterError("STATE_IO", what, advice, { cause });
}
