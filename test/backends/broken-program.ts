import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { sh } from "./network.ts";

/** A firewall's program in front of the host's own: where it is told to, it hands on the half of a change, and fails. */
export class BrokenProgram {
  readonly #folder = mkdtempSync(join(tmpdir(), "xfilter-broken-"));
  readonly #path = process.env.PATH;
  readonly #program: string;

  /** `changes`: an argument that it has where it changes something. */
  constructor(name: string, changes: string) {
    const own = sh(`command -v ${name}`).trim();
    this.#program = join(this.#folder, name);
    writeFileSync(
      this.#program,
      `#!/bin/sh
      case " $* " in *" ${changes} "*) ;; *) exec ${own} "$@" ;; esac
      for failure in "$0".failure.*; do
        rm "$failure" 2> /dev/null || break
        bytes=$(tee "$0.input" | wc -c)
        head -c $((bytes / 2)) "$0.input" | ${own} "$@"
        exit 1
      done
      exec ${own} "$@"`,
      { mode: 0o755 },
    );
    process.env.PATH = `${this.#folder}:${this.#path}`;
  }

  /** The next change fails, and what a backend tries in its place, as somebody may have changed what it saw. */
  break(): void {
    for (const attempt of [1, 2]) writeFileSync(`${this.#program}.failure.${attempt}`, "");
  }

  close(): void {
    process.env.PATH = this.#path;
    rmSync(this.#folder, { recursive: true });
  }
}
