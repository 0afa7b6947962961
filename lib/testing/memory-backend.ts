import type {
  BackendCapabilities,
  GuestScope,
  Installed,
  OpenOptions,
  Reconciled,
  RuleBackend,
} from "../backends/backend.ts";
import { XFilterError } from "../errors.ts";
import type { ProgramAbortSignal } from "../options.ts";
import type { Plan } from "../rules/pattern.ts";
import { type HeldPattern, MemoryFirewall } from "./memory-firewall.ts";

/** A backend of a firewall in memory, for tests of what uses a backend: it tells what is asked of it, and fails as it is told. */
export class MemoryBackend implements RuleBackend {
  readonly name = "memory";
  capabilities: BackendCapabilities = {
    actions: { out: ["drop", "reject", "accept", "log"], in: ["drop", "accept", "log"] },
    families: [4, 6],
    counters: true,
    leases: true,
  };
  /** Shared by those who work for one host. */
  readonly firewall: MemoryFirewall;
  /** Each call, in order: "open", "inspect", "reconcile", "close", "close, kept". */
  readonly calls: string[] = [];
  /** Of the last `open`. */
  scope: GuestScope | null = null;
  /** The next calls of `reconcile` reject with these, one after the other, and change nothing. */
  readonly failures: Error[] = [];
  /** What `inspect` rejects with. */
  inspectFailure: Error | null = null;
  /** Runs in each reconciliation before it takes effect. */
  during: (signal: ProgramAbortSignal) => Promise<void> = async () => {};
  /** Runs when a reconciliation took effect, and may yet fail. */
  after: (signal: ProgramAbortSignal) => Promise<void> = async () => {};
  #open = false;
  #leaseMs: number | null = null;
  /** Keys of what this object put in force last. */
  #wanted: readonly string[] = [];

  constructor(firewall = new MemoryFirewall()) {
    this.firewall = firewall;
  }

  /** What is in force for the guest, as `MemoryFirewall.held` tells it; nothing before `open`. */
  get held(): Map<string, HeldPattern> {
    return this.scope === null ? new Map() : this.firewall.held(this.scope.id);
  }

  async open(scope: GuestScope, { signal, leaseMs }: OpenOptions): Promise<void> {
    this.calls.push("open");
    signal.throwIfAborted();
    this.scope = scope;
    this.#open = true;
    this.#leaseMs = leaseMs;
    this.#wanted = [];
  }

  async inspect({ signal }: { readonly signal: ProgramAbortSignal }): Promise<Installed> {
    this.calls.push("inspect");
    this.#check(signal);
    if (this.inspectFailure) throw this.inspectFailure;
    return { patterns: [...this.held.values()], bites: true, problems: [] };
  }

  async reconcile(plan: Plan, { signal }: { readonly signal: ProgramAbortSignal }): Promise<Reconciled> {
    this.calls.push("reconcile");
    this.#check(signal);
    const failure = this.failures.shift();
    if (failure) throw failure;
    await this.during(signal);
    signal.throwIfAborted();
    const before = this.held;
    const repaired = this.#wanted.some((key) => !before.has(key));
    const patterns = plan.patterns.map(({ rule: _, owner: __, sock: ___, reason: ____, ...pattern }) => ({
      ...pattern,
      packets: null,
    }));
    this.firewall.replace(this.scope!.id, patterns, this.#leaseMs);
    this.#wanted = patterns.map(({ key }) => key);
    const added = this.#wanted.filter((key) => !before.has(key));
    const removed = [...before.keys()].filter((key) => !this.held.has(key));
    await this.after(signal);
    return { added, removed, unchanged: this.#wanted.length - added.length, repaired };
  }

  async close({ keep }: { readonly keep: boolean }): Promise<void> {
    this.calls.push(keep ? "close, kept" : "close");
    if (!keep) this.held.clear();
    this.#open = false;
  }

  #check(signal: ProgramAbortSignal): void {
    signal.throwIfAborted();
    if (!this.#open) throw new XFilterError("CLOSED", "The backend is not open", "Open it first");
  }
}
