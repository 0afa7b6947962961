import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type PlanState, parsePlanState } from "../rules/plan.ts";

/** @internal What a filter remembers of one guest, in a file, so that another process goes on where this one ended. */
export class StateFile {
  readonly #path: string;
  #written = "";

  /** @throws what the file system says of a directory that cannot be made */
  constructor(directory: string, id: string) {
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    this.#path = join(directory, `${createHash("sha256").update(id).digest("hex").slice(0, 32)}.json`);
  }

  /** undefined where there is none, of another boot, or broken: whoever it was about cannot be told any more. */
  load(bootId: string): PlanState | undefined {
    try {
      const { boot, state } = JSON.parse(readFileSync(this.#path, "utf8"));
      return boot === bootId ? parsePlanState(state) : undefined;
    } catch {
      return undefined;
    }
  }

  /** Written only where it changed, and in one step: a reader finds the old or the new one. */
  save(bootId: string, state: PlanState): void {
    const text = JSON.stringify({ boot: bootId, state });
    if (text === this.#written) return;
    writeFileSync(`${this.#path}.new`, text, { mode: 0o600 });
    renameSync(`${this.#path}.new`, this.#path);
    this.#written = text;
  }
}
