import { closeSync, openSync, writeSync } from "node:fs";
import { escapeJson } from "./escape.ts";

/** A file that gets a line of JSON for each change. Only appended to: several filters may share one, and a rotated one is reopened by a restart. */
export class Audit {
  readonly #file: number;

  /** @throws what the file system says of a file that cannot be written */
  constructor(path: string) {
    this.#file = openSync(path, "a", 0o600);
  }

  /** One write a line, which the kernel appends as a whole. */
  write(entry: unknown): void {
    writeSync(this.#file, `${escapeJson(entry)}\n`);
  }

  close(): void {
    closeSync(this.#file);
  }
}
