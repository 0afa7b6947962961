import { readFileSync, rmSync } from "node:fs";
import { emptyPlanState, type PlanState, parsePlanState } from "../rules/plan.ts";
import { StateDirectory } from "./state-directory.ts";

/** @internal What a filter remembers of one guest, in a file, so that another process goes on where this one ended. */
export class StateFile {
  readonly #directory: StateDirectory;
  readonly #path: string;
  #written = "";
  #saved: PlanState | null = null;

  /** @throws XFilterError: STATE_IO for a directory that cannot be used */
  constructor(directory: string, id: string) {
    this.#directory = new StateDirectory(directory);
    this.#path = this.#directory.path(id, ".json");
  }

  /** An empty one where there is none, of another boot, or broken: whoever it was about cannot be told any more. */
  load(bootId: string): PlanState {
    try {
      const { boot, state } = JSON.parse(readFileSync(this.#path, "utf8"));
      return boot === bootId ? parsePlanState(state) : emptyPlanState();
    } catch {
      return emptyPlanState();
    }
  }

  /**
   * Written only where it changed.
   *
   * @throws XFilterError: STATE_IO
   */
  save(bootId: string, state: PlanState): void {
    if (state === this.#saved) return;
    const text = JSON.stringify({ boot: bootId, state });
    if (text !== this.#written) this.#directory.write(this.#path, text);
    this.#written = text;
    this.#saved = state;
  }

  /** Nothing of it is in force any more: whoever comes next begins anew. */
  forget(): void {
    rmSync(this.#path, { force: true });
  }
}
