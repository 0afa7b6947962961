import { closeSync, openSync, writeSync } from "node:fs";
import { escapeJson } from "../escape.ts";
import { OutputError } from "./output.ts";

/** A file that gets a line of JSON for each change. Only appended to: several filters may share one, and a rotated one is reopened by a restart. */
export class Audit {
  readonly #file: number;
  readonly #warn: (message: string) => void;
  /** Lines that could not be written since the last that could. */
  #lost = 0;

  /** @throws OutputError for a file that cannot be opened; later, what cannot be written is warned of */
  constructor(path: string, warn: (message: string) => void) {
    this.#warn = warn;
    try {
      this.#file = openSync(path, "a", 0o600);
    } catch (cause) {
      throw new OutputError(cause as NodeJS.ErrnoException, "The audit file", "Give another path (--audit)");
    }
  }

  /** One write a line, which the kernel appends as a whole. A full disk lets nobody go who is to be blocked. */
  write(entry: unknown): void {
    const lost =
      this.#lost > 0 ? `${escapeJson({ time: new Date().toISOString(), event: "lost", count: this.#lost })}\n` : "";
    const line = Buffer.from(`${lost}${escapeJson(entry)}\n`);
    try {
      if (writeSync(this.#file, line) < line.length) throw new Error("No space for the whole line");
      this.#lost = 0;
    } catch (cause) {
      if (this.#lost++ > 0) return;
      const { message } = new OutputError(cause as Error, "The audit file", "The filter goes on; make room");
      this.#warn(message);
    }
  }

  close(): void {
    closeSync(this.#file);
  }
}
