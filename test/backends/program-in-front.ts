import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { sh } from "./network.ts";

/** A firewall's program in front of the host's own: a shell script, in which $own is that one. */
export class ProgramInFront {
  readonly #path = process.env.PATH;
  /** Where it is, and whatever it keeps. */
  protected readonly folder = mkdtempSync(join(tmpdir(), "xfilter-in-front-"));

  constructor(name: string, script: string) {
    const own = sh(`command -v ${name}`).trim();
    writeFileSync(join(this.folder, name), `#!/bin/sh\nown=${own}\n${script}\n`, { mode: 0o755 });
    process.env.PATH = `${this.folder}:${this.#path}`;
  }

  close(): void {
    process.env.PATH = this.#path;
    rmSync(this.folder, { recursive: true });
  }
}
