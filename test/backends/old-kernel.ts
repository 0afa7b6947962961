import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/**
 * Has nft say no to what kernels before 5.16 do not know, as they do; all else is done by the real one. In its place stands a
 * program that comes first in PATH.
 */
export class OldKernel {
  readonly #folder = mkdtempSync(join(tmpdir(), "xfilter-old-kernel-"));
  readonly #path = process.env.PATH;

  /** `unknown`: words of nft's JSON. */
  constructor(...unknown: readonly string[]) {
    const words = ["egress", ...unknown].map((word) => `-e '"${word}"'`).join(" ");
    const program = join(this.#folder, "nft");
    writeFileSync(
      program,
      `#!/bin/sh
case "$*" in
*flowtables) [ ! -e '${this.#flowtables}' ] || exec cat '${this.#flowtables}' ;;
*'-f -') if grep -q ${words} /dev/stdin; then echo 'Error: Could not process rule: Operation not supported' >&2; exit 1; fi ;;
esac
PATH='${this.#path}:/usr/sbin:/sbin'
exec nft "$@"
`,
    );
    chmodSync(program, 0o755);
    process.env.PATH = `${this.#folder}:${this.#path}`;
  }

  get #flowtables(): string {
    return join(this.#folder, "flowtables.json");
  }

  /** What `nft -j list flowtables` says from now on: this machine's kernel may have none. */
  offload(table: string, devices: readonly string[]): void {
    const flowtable = {
      family: "inet",
      name: table,
      table: "theirs",
      handle: 1,
      hook: "ingress",
      prio: 0,
      dev: devices,
    };
    writeFileSync(this.#flowtables, JSON.stringify({ nftables: [{ metainfo: { version: "1.0.6" } }, { flowtable }] }));
  }

  leave(): void {
    process.env.PATH = this.#path;
    rmSync(this.#folder, { recursive: true });
  }
}
