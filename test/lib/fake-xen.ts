import type { NativeDomain, NativeDomainId, NativeJob } from "../../lib/native.ts";
import type { PausingAddon } from "../../lib/pause/guarded-domain.ts";
import type { XenAddon } from "../../lib/sources/xen.ts";

export const uuid = (digit: string) => digit.repeat(32);

/** A Xen that a test fills: what the addon would tell of it. */
export class FakeXen implements XenAddon, PausingAddon {
  readonly domains = new Map<number, NativeDomain>();
  /** What xenstore holds, by path. */
  readonly store = new Map<string, string>();
  /** Who counts as having paused each domain, as often. */
  readonly pauses = new Map<number, number>();
  /** Each question and command, in order. */
  readonly calls: string[] = [];
  /** What the next calls reject with; null: they do not. */
  readonly failures: (Error | null)[] = [];

  /** A domain that runs, of a toolstack like xl. */
  add(id: number, name: string, state: Partial<NativeDomain> = {}): void {
    this.domains.set(id, {
      ...{ id, uuid: uuid("a"), paused: false, shutdown: null, dying: false },
      ...state,
    });
    this.store.set(`/local/domain/${id}/name`, name);
  }

  /** As xl leaves it: nothing of it is in xenstore any more. */
  remove(id: number): void {
    this.domains.delete(id);
    for (const path of [...this.store.keys()]) {
      if (path.startsWith(`/local/domain/${id}/`) || path.startsWith(`/libxl/${id}/`)) this.store.delete(path);
    }
  }

  change(id: number, state: Partial<NativeDomain>): void {
    this.domains.set(id, { ...this.domains.get(id)!, ...state });
  }

  xenDomain = (id: number): NativeJob<NativeDomain | null> =>
    this.#job(`domain ${id}`, () => {
      const domain = this.domains.get(id);
      return domain ? { ...domain, paused: domain.paused || (this.pauses.get(id) ?? 0) > 0 } : null;
    });

  xenstoreRead = (path: string): NativeJob<string | null> =>
    this.#job(`read ${path}`, () => this.store.get(path) ?? null);

  xenstoreList = (path: string): NativeJob<string[] | null> =>
    this.#job(`list ${path}`, () => {
      const below = [...this.store.keys()].filter((key) => key.startsWith(`${path}/`));
      const names = below.map((key) => key.slice(path.length + 1).split("/")[0]!);
      return names.length > 0 ? [...new Set(names)] : null;
    });

  xenPause = (domain: NativeDomainId): NativeJob<void> => this.#count("pause", domain, 1);

  xenUnpause = (domain: NativeDomainId): NativeJob<void> => this.#count("unpause", domain, -1);

  #count(call: string, { id, uuid }: NativeDomainId, by: number): NativeJob<void> {
    return this.#job(`${call} ${id}`, () => {
      if (this.domains.get(id)?.uuid !== uuid) throw Object.assign(new Error("it has ended"), { code: "SOURCE_GONE" });
      const count = (this.pauses.get(id) ?? 0) + by;
      if (count < 0) throw Object.assign(new Error("Invalid argument"), { code: "XEN_UNAVAILABLE" });
      this.pauses.set(id, count);
    });
  }

  #job<T>(call: string, work: () => T): NativeJob<T> {
    const answer = async () => {
      this.calls.push(call);
      const failure = this.failures.shift();
      if (failure) throw failure;
      return work();
    };
    return { promise: answer(), cancel() {} };
  }
}
