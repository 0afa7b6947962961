import { toXFilterError, XFilterError } from "../errors.ts";
import type { Plan, Unenforceable } from "../rules/pattern.ts";
import { createPlan, emptyPlanState, type PlanState, widenedPlan } from "../rules/plan.ts";
import type { Rule } from "../rules/rule.ts";
import { formatRule } from "../rules/text.ts";
import { sleep } from "../sleep.ts";
import type { Snapshot } from "../snapshot.ts";
import { bootId, tellsBoot } from "./boot-id.ts";
import { requireCapable, withinCapabilities } from "./capabilities.ts";
import type { ClearedReason, FilterEvent, OnUnreadable } from "./event.ts";
import { Failures } from "./failures.ts";
import type { FilterStatus } from "./filter.ts";
import { InForceTable } from "./in-force.ts";
import type { CheckedOptions } from "./options.ts";
import { StateFile } from "./state-file.ts";

const NOTHING: Plan = { patterns: [], unenforceable: [] };

/** Errors after which there is no guest to come back. */
const OVER: readonly string[] = ["SOURCE_GONE", "CLOSED"];

/** @internal One poll: snapshot → plan → difference → backend. Calls must not overlap. */
export class Enforcer {
  readonly #options: CheckedOptions;
  readonly #tell: (event: FilterEvent) => void;
  readonly #signal: AbortSignal;
  readonly #stateFile: StateFile | null;
  #rules: readonly Rule[];
  #newRules = false;
  #state: PlanState = emptyPlanState();
  #bootId: string | null = null;
  #plan: Plan = NOTHING;
  /** Those that the plan at work was made from: patterns name them by their index. */
  #planned: readonly Rule[] = [];
  /** Those of the plan in force. */
  #ruling: readonly Rule[] = [];
  readonly #inForce: InForceTable;
  #unenforceable = new Map<string, Unenforceable>();
  #unreadableSince: number | null = null;
  #applied: OnUnreadable | null = null;
  /** Whether the firewall may hold something else than `#plan`. */
  #inDoubt = true;
  /** Whether what the firewall holds for the guest may be this filter's doing. */
  #adopted = false;
  /** The firewall's, and the guest's. */
  readonly #failures: Failures;
  readonly #stateFailures: Failures;
  #inspectedAt = 0;
  #reconciledAt = 0;
  #lastApplyMs = 0;

  constructor(options: CheckedOptions, tell: (event: FilterEvent) => void, signal: AbortSignal) {
    this.#options = options;
    this.#tell = tell;
    this.#signal = signal;
    this.#rules = options.rules;
    this.#inForce = new InForceTable(tell);
    this.#failures = new Failures(tell);
    this.#stateFailures = new Failures(tell);
    this.#stateFile = options.stateDirectory === null ? null : new StateFile(options.stateDirectory, options.id);
  }

  /** The first poll. Rejects, the firewall unchanged, where it cannot be done. */
  async open(): Promise<void> {
    const { guest, backend, hold, leaseMs } = this.#options;
    if (leaseMs !== null && !backend.capabilities.leases) {
      throw new XFilterError("BACKEND_UNSUPPORTED", `the backend ${backend.name} knows no leases`, "Let it persist");
    }
    // That the guest cannot be paused is found out here, and not by polls that fail.
    const whilePaused = hold === "apply" ? async () => {} : undefined;
    const snapshot = await guest.snapshot({ signal: this.#signal, whilePaused });
    await this.#boot(bootId(guest.kernel, snapshot));
    requireCapable(this.#rules, backend.capabilities, backend.name);
    const plan = this.#planOf(snapshot);
    this.#stateFile?.save(this.#bootId!, this.#state);
    await this.#apply(plan, "gone");
  }

  setRules(rules: readonly Rule[]): void {
    const { backend } = this.#options;
    if (this.#bootId !== null) requireCapable(rules, backend.capabilities, backend.name);
    this.#rules = rules;
    this.#newRules = true;
  }

  /** Rejects when the guest is gone; everything else becomes an event. */
  async poll(): Promise<void> {
    const { guest, hold } = this.#options;
    const signal = this.#signal;
    let enforced = false;
    const renewing = new AbortController();
    const renewed = this.#renewUntil(renewing.signal);
    const enforce = async (snapshot: Snapshot) => {
      renewing.abort();
      await renewed;
      await this.#enforce(snapshot);
      enforced = true;
    };
    try {
      if (hold === "apply") await guest.snapshot({ signal, whilePaused: enforce });
      else await enforce(await guest.snapshot({ signal }));
    } catch (error) {
      renewing.abort();
      await renewed;
      if (signal.aborted) throw signal.reason;
      const failure = toXFilterError(error);
      if (OVER.includes(failure.code)) throw failure;
      // The guest ran on before the firewall was done: no reason to take out what is in force by now.
      if (enforced) this.#failures.failed(failure);
      else await this.#endure(failure);
    }
  }

  /** A guest that makes its walks take long does not outlive the lease by it. */
  async #renewUntil(stop: AbortSignal): Promise<void> {
    const { leaseMs } = this.#options;
    if (leaseMs === null) return;
    while (!stop.aborted && !this.#signal.aborted) {
      await sleep(leaseMs / 3, [stop, this.#signal]).catch(() => {});
      if (stop.aborted || this.#signal.aborted) return;
      await this.#orTell(() => this.#apply(this.#plan, "gone")).catch(() => {});
    }
  }

  async #enforce(snapshot: Snapshot): Promise<void> {
    await this.#orTell(async () => {
      const { kernel } = this.#options.guest;
      // A snapshot that lacks the processes by which a boot is known is no other boot.
      const id = tellsBoot(snapshot) ? bootId(kernel, snapshot) : this.#bootId!;
      let why: ClearedReason = this.#newRules ? "rules" : "gone";
      if (id !== this.#bootId) {
        why = "booted";
        await this.#boot(id);
        this.#tell({ type: "booted", time: Date.now(), bootId: id });
      }
      this.#newRules = false;
      if (this.#unreadableSince !== null) {
        this.#unreadableSince = null;
        this.#applied = null;
        this.#tell({ type: "readable", time: Date.now() });
      }
      await this.#apply(this.#planOf(snapshot), why);
    });
    this.#saveState();
  }

  /** A disk that is full ends nothing: it is told, and what is to be blocked is blocked. */
  #saveState(): void {
    try {
      this.#stateFile?.save(this.#bootId!, this.#state);
      this.#stateFailures.worked();
    } catch (error) {
      this.#stateFailures.failed(toXFilterError(error));
    }
  }

  /** Another boot: nobody in it is who he was. */
  async #boot(id: string): Promise<void> {
    const { backend, id: name, interfaces, leaseMs } = this.#options;
    if (this.#bootId !== null) await backend.close({ keep: true });
    await backend.open({ id: name, bootId: id, interfaces }, { signal: this.#signal, leaseMs });
    this.#state = this.#stateFile?.load(id) ?? emptyPlanState();
    this.#bootId = id;
    this.#inDoubt = true;
  }

  #planOf(snapshot: Snapshot): Plan {
    const { neverBlock, maxFlows, backend } = this.#options;
    const now = Date.now();
    const rules = this.#rules;
    const { plan, state } = createPlan({ snapshot, rules, state: this.#state, now, neverBlock, maxFlows });
    this.#planned = rules;
    this.#state = state;
    this.#tellUnenforceable(plan.unenforceable);
    return withinCapabilities(plan, backend.capabilities);
  }

  #tellUnenforceable(unenforceable: readonly Unenforceable[]): void {
    const known = this.#unenforceable;
    this.#unenforceable = new Map(unenforceable.map((entry) => [`${entry.reason} ${entry.rule} ${entry.sock}`, entry]));
    for (const [key, entry] of this.#unenforceable) {
      if (known.has(key)) continue;
      this.#tell({ type: "unenforceable", time: Date.now(), matched: this.#planned[entry.rule]!, ...entry });
    }
  }

  /** The guest cannot be read. */
  async #endure(error: XFilterError): Promise<void> {
    const { onUnreadable, maxHoldMs, neverBlock, backend } = this.#options;
    const now = Date.now();
    this.#unreadableSince ??= now;
    const held = onUnreadable === "hold" && now - this.#unreadableSince < maxHoldMs;
    const applied = onUnreadable === "hold" && !held ? "release" : onUnreadable;
    if (applied !== this.#applied) this.#tell({ type: "unreadable", time: now, error, applied });
    this.#applied = applied;
    const plans = {
      hold: () => this.#stillRuled(now),
      release: () => NOTHING,
      widen: () => {
        this.#planned = this.#notOver(now);
        return widenedPlan(this.#planned, neverBlock);
      },
    };
    await this.#orTell(async () => {
      const plan = withinCapabilities(plans[applied](), backend.capabilities);
      await this.#apply(plan, applied === "hold" ? "rules" : "unreadable");
    });
  }

  /** What is in force, without that of rules which were taken away since, or whose time has run out. */
  #stillRuled(now: number): Plan {
    const texts = new Set(this.#notOver(now).map(formatRule));
    const stays = this.#ruling.map((rule) => texts.has(formatRule(rule)));
    return { ...this.#plan, patterns: this.#plan.patterns.filter(({ rule }) => rule === null || stays[rule]) };
  }

  #notOver(now: number): readonly Rule[] {
    const since = new Map(this.#state.rules.map((rule) => [rule.text, rule.since]));
    return this.#rules.filter((rule) => now < (since.get(formatRule(rule)) ?? now) + (rule.forMs ?? Infinity));
  }

  /** The firewall's own failures end no filter: it tries again at the next poll. */
  async #orTell(work: () => Promise<void>): Promise<void> {
    try {
      await work();
      this.#failures.worked();
    } catch (error) {
      if (this.#signal.aborted) throw this.#signal.reason;
      this.#inDoubt = true;
      this.#failures.failed(toXFilterError(error));
    }
  }

  /** Asks the firewall only when there is something to change, to look at or to renew. */
  async #apply(plan: Plan, why: ClearedReason): Promise<void> {
    const { reconcileMs, leaseMs } = this.#options;
    const start = performance.now();
    const { patterns } = this.#plan;
    // Where the rules changed places, the same patterns may stand in another order.
    const changed =
      plan.patterns.length !== patterns.length || plan.patterns.some(({ key }, place) => key !== patterns[place]!.key);
    if (this.#inDoubt || start - this.#inspectedAt >= reconcileMs) await this.#inspect(!this.#inDoubt);
    const renew = leaseMs !== null && start - this.#reconciledAt >= leaseMs / 3;
    if (!changed && !this.#inDoubt && !renew) return;
    try {
      await this.#options.backend.reconcile(plan, { signal: this.#signal });
      this.#adopted = true;
    } catch (error) {
      // Whoever was interrupted may have been done.
      this.#adopted ||= this.#signal.aborted;
      throw error;
    }
    this.#lastApplyMs = performance.now() - start;
    this.#reconciledAt = start;
    this.#inDoubt = false;
    this.#plan = plan;
    this.#ruling = this.#planned;
    this.#inForce.replace(plan, this.#planned, why);
  }

  /** Looks at what the firewall really holds. `expected`: it should be what was put there. */
  async #inspect(expected: boolean): Promise<void> {
    const installed = await this.#options.backend.inspect({ signal: this.#signal });
    this.#inspectedAt = performance.now();
    const differences = this.#inForce.compare(installed);
    if (!expected || (installed.bites && differences.length === 0)) return;
    this.#tell({ type: "repaired", time: Date.now(), problems: [...installed.problems, ...differences] });
    this.#inDoubt = true;
  }

  status(): Omit<FilterStatus, "running" | "polls" | "missedPolls" | "lastPollMs"> {
    return {
      bootId: this.#bootId,
      lastApplyMs: this.#lastApplyMs,
      inForce: this.#inForce.list(),
      unenforceable: [...this.#unenforceable.values()],
      unreadableSince: this.#unreadableSince,
    };
  }

  /** Takes what is in force out of the firewall, or leaves it. What another filter left is not ours before it was adopted. */
  async close(keep: boolean): Promise<void> {
    if (this.#bootId === null) return;
    await this.#options.backend.close({ keep: keep || !this.#adopted });
    if (!keep) this.#inForce.replace(NOTHING, [], "stopped");
  }
}
