import { XFilterError } from "../../lib/errors.ts";
import type { Guest } from "../../lib/guest.ts";
import { MemoryGuest } from "../../lib/testing/index.ts";

/** A host with guests in memory, in each of which mallory talks ssh and http; they come and go. */
export class MemoryHost {
  /** Names of those that are there. */
  readonly here: Set<string>;
  readonly #attached = new Map<MemoryGuest, string>();

  constructor(...names: readonly string[]) {
    this.here = new Set(names);
  }

  /** As `introspect()`, the target being the name. */
  readonly attach = async (target: string): Promise<Guest> => {
    if (!this.here.has(target)) throw new XFilterError("SOURCE_NOT_FOUND", `there is no ${target}`, "Start it");
    const guest = new MemoryGuest();
    guest.processes = [{ pid: 103, uid: 1003 }];
    guest.flows = [22, 80].map((remotePort) => ({ pid: 103, localPort: 40_000 + remotePort, remotePort }));
    this.#attached.set(guest, target);
    const close = guest.close.bind(guest);
    guest.close = async () => {
      this.#attached.delete(guest);
      await close();
    };
    return guest.asGuest();
  };

  /** How many are attached to. */
  get open(): number {
    return this.#attached.size;
  }

  leave(name: string): void {
    this.here.delete(name);
    for (const [guest, target] of this.#attached) {
      if (target === name) guest.failure = new XFilterError("SOURCE_GONE", `${name} has ended`, "");
    }
  }
}
