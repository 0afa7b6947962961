import { nftables, type RuleBackend } from "../../lib/backends/index.ts";
import type { FlowPattern } from "../../lib/rules/pattern.ts";
import { planOf } from "../../lib/testing/plan.ts";
import { GuestNetwork, type Way } from "./network.ts";
import { OldKernel } from "./old-kernel.ts";

const { signal } = new AbortController();

/** A guest's network with the backend at its device, that of a kernel without a hook for what enters it if `old`. */
export class GuardedGuest {
  readonly network: GuestNetwork;
  readonly backend: RuleBackend;
  readonly #kernel: OldKernel | null;

  private constructor(way: Way, old: boolean) {
    this.#kernel = old ? new OldKernel() : null;
    this.network = new GuestNetwork(way);
    this.backend = nftables();
  }

  static async start({ way = "straight" as Way, old = false } = {}): Promise<GuardedGuest> {
    const guest = new GuardedGuest(way, old);
    const interfaces = [await guest.network.device()];
    await guest.backend.open({ id: "guarded", bootId: "1", interfaces }, { signal, leaseMs: null });
    return guest;
  }

  async force(...patterns: FlowPattern[]): Promise<void> {
    await this.backend.reconcile(planOf(patterns), { signal });
  }

  async close(): Promise<void> {
    await this.backend.close({ keep: false });
    this.network.close();
    this.#kernel?.leave();
  }
}
