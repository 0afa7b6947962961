import type { Reconciled, RuleBackend } from "../../../lib/backends/backend.ts";
import type { Plan } from "../../../lib/rules/pattern.ts";
import { MemoryBackend } from "../../../lib/testing/memory-backend.ts";
import type { MemoryFirewall } from "../../../lib/testing/memory-firewall.ts";

type Make = (firewall: MemoryFirewall) => RuleBackend;

/** Backends with one fault each, as people make them. */
export const FAULTY = {
  "is not atomic": (firewall) => new NotAtomic(firewall),
  "forgets on close": (firewall) => new Forgetful(firewall),
  "ignores exceptions": (firewall) => new WithoutExceptions(firewall),
  "loses order": (firewall) => new Unordered(firewall),
  "does not adopt": (firewall) => new NotAdopting(firewall),
} as const satisfies Record<string, Make>;

type Options = { readonly signal: AbortSignal };

/** One pattern after the other. */
class NotAtomic extends MemoryBackend {
  override async reconcile(plan: Plan, { signal }: Options): Promise<Reconciled> {
    const { patterns } = await this.inspect({ signal });
    const wanted = new Set(plan.patterns.map(({ key }) => key));
    for (const { key } of patterns) {
      if (wanted.has(key)) continue;
      signal.throwIfAborted();
      this.held.delete(key);
      await null;
    }
    for (const { rule: _, owner: __, sock: ___, reason: ____, ...pattern } of plan.patterns) {
      if (this.held.has(pattern.key)) continue;
      signal.throwIfAborted();
      this.held.set(pattern.key, { ...pattern, packets: 0 });
      await null;
    }
    const before = patterns.map(({ key }) => key);
    const added = [...wanted].filter((key) => !before.includes(key));
    const removed = before.filter((key) => !wanted.has(key));
    // What is now in force, in the plan's order.
    const result = await super.reconcile(plan, { signal });
    return { ...result, added, removed, unchanged: wanted.size - added.length };
  }
}

/** What it kept is gone with it. */
class Forgetful extends MemoryBackend {
  override close(): Promise<void> {
    return super.close({ keep: false });
  }
}

/** A list of what is blocked, as many a firewall's interface has it. */
class WithoutExceptions extends MemoryBackend {
  override reconcile(plan: Plan, options: Options): Promise<Reconciled> {
    return super.reconcile({ ...plan, patterns: plan.patterns.filter(({ action }) => action !== "accept") }, options);
  }
}

/** A set. */
class Unordered extends MemoryBackend {
  override reconcile(plan: Plan, options: Options): Promise<Reconciled> {
    const patterns = plan.patterns.toSorted((a, b) => Number(a.key > b.key) - Number(a.key < b.key));
    return super.reconcile({ ...plan, patterns }, options);
  }
}

/** It knows of its own doings alone. */
class NotAdopting extends MemoryBackend {
  #own = new Set<string>();

  override async open(...[scope, options]: Parameters<MemoryBackend["open"]>): Promise<void> {
    this.#own = new Set();
    await super.open(scope, options);
  }

  override async reconcile(plan: Plan, options: Options): Promise<Reconciled> {
    const others = [...this.held.values()].filter(({ key }) => !this.#own.has(key));
    const own = new Set(plan.patterns.map(({ key }) => key));
    const result = await super.reconcile(plan, options);
    for (const pattern of others) this.held.set(pattern.key, pattern);
    const added = [...own].filter((key) => !this.#own.has(key));
    const removed = [...this.#own].filter((key) => !own.has(key));
    this.#own = own;
    return { ...result, added, removed, unchanged: own.size - added.length };
  }
}
