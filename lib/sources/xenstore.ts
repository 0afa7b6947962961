import { runJob } from "../job.ts";
import type { Native } from "../native.ts";
import type { AbortSignalLike } from "../options.ts";

/** @internal What Xen's toolstack keeps of its domains. Rejects with XEN_UNAVAILABLE, SOURCE_PERMISSION. */
export class Xenstore {
  readonly #addon: Pick<Native, "xenstoreRead" | "xenstoreList">;

  constructor(addon: Pick<Native, "xenstoreRead" | "xenstoreList">) {
    this.#addon = addon;
  }

  /** Null: there is nothing. */
  read(path: string, signal?: AbortSignalLike): Promise<string | null> {
    return runJob(() => this.#addon.xenstoreRead(path), signal);
  }

  /** Null: there is no such path. */
  list(path: string, signal?: AbortSignalLike): Promise<string[] | null> {
    return runJob(() => this.#addon.xenstoreList(path), signal);
  }

  /** Those of the names below a path that are numbers: of domains, of their devices. */
  async numbers(path: string, signal?: AbortSignalLike): Promise<number[]> {
    const names = (await this.list(path, signal)) ?? [];
    return names.filter((name) => /^(0|[1-9]\d{0,5})$/.test(name)).map(Number);
  }
}
