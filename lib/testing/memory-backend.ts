import type {
  BackendCapabilities,
  GuestScope,
  Installed,
  OpenOptions,
  Reconciled,
  RuleBackend,
} from "../backends/backend.ts";
import type { Plan, PlannedPattern } from "../rules/pattern.ts";

/** A firewall in memory: what the loop does to it, and what others may do behind its back. */
export class MemoryBackend implements RuleBackend {
  readonly name = "memory";
  capabilities: BackendCapabilities = {
    actions: { out: ["drop", "reject", "accept", "log"], in: ["drop", "accept", "log"] },
    families: [4, 6],
    counters: true,
    leases: true,
  };
  held = new Map<string, PlannedPattern>();
  /** Each call, in order. */
  readonly calls: string[] = [];
  scope: GuestScope | null = null;
  /** The next calls of `reconcile` reject with these. */
  readonly failures: Error[] = [];
  /** What `inspect` rejects with. */
  inspectFailure: Error | null = null;
  /** Whether reconciliations say that they repaired something. */
  repairs = false;
  /** Runs in the middle of each reconciliation. */
  during: () => Promise<void> = async () => {};
  /** Runs when a reconciliation took effect, and may yet fail. */
  after: (signal: AbortSignal) => Promise<void> = async () => {};

  async open(scope: GuestScope, _: OpenOptions): Promise<void> {
    this.calls.push("open");
    this.scope = scope;
  }

  async inspect(): Promise<Installed> {
    this.calls.push("inspect");
    if (this.inspectFailure) throw this.inspectFailure;
    const patterns = [...this.held.values()].map((pattern) => ({ ...pattern, packets: 7 }));
    return { patterns, bites: true, problems: [] };
  }

  async reconcile(plan: Plan, { signal }: { readonly signal: AbortSignal }): Promise<Reconciled> {
    this.calls.push("reconcile");
    const failure = this.failures.shift();
    if (failure) throw failure;
    await this.during();
    const before = this.held;
    this.held = new Map(plan.patterns.map((pattern) => [pattern.key, pattern]));
    const added = [...this.held.keys()].filter((key) => !before.has(key));
    const removed = [...before.keys()].filter((key) => !this.held.has(key));
    await this.after(signal);
    return { added, removed, unchanged: this.held.size - added.length, repaired: this.repairs };
  }

  async close({ keep }: { readonly keep: boolean }): Promise<void> {
    this.calls.push(keep ? "close, kept" : "close");
    if (!keep) this.held.clear();
  }
}
