import { XFilterError } from "../errors.ts";
import type { Plan, PlannedPattern } from "../rules/pattern.ts";
import type { BackendCapabilities, GuestScope, Installed, OpenOptions, Reconciled, RuleBackend } from "./backend.ts";

/** Options of `dryRun`. */
export interface DryRunOptions {
  /** Takes a line of what would be done, without its end; the standard output, if not given. */
  readonly write?: (line: string) => void;
  /** The backend that would be used: what it cannot do, this one refuses, too. It is not opened. */
  readonly like?: RuleBackend;
}

/**
 * A backend that changes nothing: it tells what another would do, and remembers it as if it had been done.
 *
 * A line for each pattern: `+` put in force, `-` taken out, its key, and which rule asked for it and why. It holds no bytes that
 * the guest chose.
 */
export function dryRun(options: DryRunOptions = {}): RuleBackend {
  const { write = (line) => process.stdout.write(`${line}\n`), like } = options;
  return new DryRunBackend(write, like);
}

const ANYTHING: BackendCapabilities = {
  actions: { out: ["drop", "reject", "accept", "log"], in: ["drop", "reject", "accept", "log"] },
  families: [4, 6],
  counters: false,
  leases: true,
};

class DryRunBackend implements RuleBackend {
  readonly name = "dry-run";
  readonly capabilities: BackendCapabilities;
  readonly #write: (line: string) => void;
  #open = false;
  #held = new Map<string, PlannedPattern>();

  constructor(write: (line: string) => void, like: RuleBackend | undefined) {
    this.#write = write;
    this.capabilities = { ...(like?.capabilities ?? ANYTHING), counters: false };
  }

  async open(_scope: GuestScope, { signal }: OpenOptions): Promise<void> {
    signal.throwIfAborted();
    this.#open = true;
  }

  async inspect({ signal }: { readonly signal: AbortSignal }): Promise<Installed> {
    this.#check(signal);
    const patterns = Array.from(this.#held.values(), ({ rule: _, owner: __, sock: ___, reason: ____, ...pattern }) => ({
      ...pattern,
      packets: null,
    }));
    return { patterns, bites: true, problems: [] };
  }

  async reconcile(plan: Plan, { signal }: { readonly signal: AbortSignal }): Promise<Reconciled> {
    this.#check(signal);
    const wanted = new Map(plan.patterns.map((pattern) => [pattern.key, pattern]));
    const removed = [...this.#held.keys()].filter((key) => !wanted.has(key));
    const added = [...wanted.keys()].filter((key) => !this.#held.has(key));
    for (const key of removed) this.#write(`- ${key}`);
    for (const key of added) {
      const { rule, reason } = wanted.get(key)!;
      this.#write(`+ ${key} (${rule === null ? "" : `rule ${rule}, `}${reason})`);
    }
    this.#held = wanted;
    return { added, removed, unchanged: wanted.size - added.length, repaired: false };
  }

  async close({ keep }: { readonly keep: boolean }): Promise<void> {
    if (!keep) for (const key of this.#held.keys()) this.#write(`- ${key}`);
    this.#held.clear();
    this.#open = false;
  }

  #check(signal: AbortSignal): void {
    signal.throwIfAborted();
    if (!this.#open) throw new XFilterError("CLOSED", "The backend is not open", "Open it first");
  }
}
