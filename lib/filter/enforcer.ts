import { toXFilterError, XFilterError } from "../errors.ts";
import type { Kernel } from "../kernel.ts";
import type { Quality } from "../quality.ts";
import { emptyPlanState } from "../rules/plan.ts";
import type { Rule } from "../rules/rule.ts";
import { sleep } from "../sleep.ts";
import type { Snapshot } from "../snapshot.ts";
import { bootId, tellsBoot } from "./boot-id.ts";
import { requireCapable, withinCapabilities } from "./capabilities.ts";
import type { ClearedReason, FilterEvent } from "./event.ts";
import { Failures } from "./failures.ts";
import type { FilterStatus } from "./filter.ts";
import { Firewall } from "./firewall.ts";
import { GuestLock } from "./guest-lock.ts";
import type { CheckedOptions } from "./options.ts";
import { Planner } from "./planner.ts";
import { StateFile } from "./state-file.ts";
import { Unreadable } from "./unreadable.ts";

/** Errors after which there is no guest to come back. */
const OVER: readonly string[] = ["SOURCE_GONE", "CLOSED"];

/** A guest that is not read by then counts as one that cannot be: as long as a walk may take, unless told. */
const LATE_MS = 10_000;
/** How often things are seen to while a guest is read. */
const MEANWHILE_MS = 1_000;

/** @internal One poll: snapshot → plan → firewall. Calls must not overlap. */
export class Enforcer {
  readonly #options: CheckedOptions;
  readonly #tell: (event: FilterEvent) => void;
  readonly #signal: AbortSignal;
  readonly #firewall: Firewall;
  readonly #unreadable: Unreadable;
  readonly #planner: Planner;
  readonly #lock: GuestLock | null;
  readonly #stateFile: StateFile | null;
  #newRules = false;
  #bootId: string | null = null;
  /** As what the guest was attached to: another object each time. */
  #kernel: Kernel;
  #lastWalk: Quality | null = null;
  readonly #failures: Failures;
  readonly #lookFailures: Failures;
  readonly #stateFailures: Failures;

  constructor(options: CheckedOptions, tell: (event: FilterEvent) => void, signal: AbortSignal) {
    this.#options = options;
    this.#tell = tell;
    this.#signal = signal;
    this.#planner = new Planner(options, tell);
    this.#kernel = options.guest.kernel;
    const { stateDirectory, id } = options;
    this.#lock = stateDirectory === null ? null : new GuestLock(stateDirectory);
    this.#firewall = new Firewall(options, tell, signal, this.#lock);
    this.#unreadable = new Unreadable(options, tell);
    this.#failures = new Failures(tell);
    this.#lookFailures = new Failures(tell);
    this.#stateFailures = new Failures(tell);
    this.#stateFile = stateDirectory === null ? null : new StateFile(stateDirectory, id);
  }

  /** The first poll, and its walk. Rejects, the firewall unchanged, where it cannot be done. */
  async open(): Promise<Quality | null> {
    try {
      this.#lock?.takeGuest(this.#options.id);
      await this.#open();
      return this.#lastWalk;
    } catch (error) {
      // Who is stopped meanwhile has something to take out yet.
      if (!this.#signal.aborted) this.#lock?.release();
      throw error;
    }
  }

  async #open(): Promise<void> {
    const { guest, backend, hold, leaseMs } = this.#options;
    const signal = this.#signal;
    if (leaseMs !== null && !backend.capabilities.leases) {
      throw new XFilterError("BACKEND_UNSUPPORTED", `the backend ${backend.name} knows no leases`, "Let it persist");
    }
    // Which boot it is has to be known before anything can be prepared: a guest that is held is not held for that.
    const whilePaused = hold === "apply" ? async () => {} : undefined;
    const first = await guest.snapshot({ signal, whilePaused });
    await this.#boot(bootId(guest.kernel, first));
    requireCapable(this.#planner.rules, backend.capabilities, backend.name);
    if (hold === "walk") return this.#begin(first);
    let begun = false;
    const begin = async (snapshot: Snapshot) => {
      await this.#begin(snapshot);
      begun = true;
    };
    try {
      await guest.snapshot({ signal, whilePaused: begin });
    } catch (error) {
      // As in a poll: the guest ran on too early, which is told, and the rules are in force.
      if (!begun || signal.aborted) throw error;
      this.#failures.failed(toXFilterError(error));
    }
  }

  async #begin(snapshot: Snapshot): Promise<void> {
    this.#lastWalk = snapshot.quality;
    const ruling = this.#planner.ruling(snapshot);
    this.#stateFile?.save(this.#bootId!, this.#planner.state);
    await this.#firewall.apply(ruling, "gone");
  }

  setRules(rules: readonly Rule[]): void {
    const { backend } = this.#options;
    if (this.#bootId !== null) requireCapable(rules, backend.capabilities, backend.name);
    this.#planner.rules = rules;
    this.#newRules = true;
  }

  /** Its walk, if the guest could be read. Rejects when the guest is gone; everything else becomes an event. */
  async poll(): Promise<Quality | null> {
    const { guest, hold } = this.#options;
    const signal = this.#signal;
    const reading = new AbortController();
    const meanwhile = this.#meanwhile(reading.signal);
    let enforced = false;
    let walk: Quality | null = null;
    const wasRead = async () => {
      reading.abort();
      await meanwhile;
    };
    const enforce = async (snapshot: Snapshot) => {
      await wasRead();
      walk = snapshot.quality;
      await this.#failures.orTell(() => this.#enforce(snapshot), signal);
      enforced = true;
    };
    try {
      // How long the guest stood still is known when it runs on.
      if (hold === "apply") walk = (await guest.snapshot({ signal, whilePaused: enforce })).quality;
      else await enforce(await guest.snapshot({ signal }));
    } catch (error) {
      await wasRead();
      if (signal.aborted) throw signal.reason;
      const failure = toXFilterError(error);
      if (OVER.includes(failure.code)) throw failure;
      // The guest ran on before the firewall was done: no reason to take out what is in force by now.
      if (enforced) this.#failures.failed(failure);
      else await this.#endure(failure);
    }
    // A disk that is full ends nothing: it is told, and what is to be blocked is blocked.
    if (enforced)
      await this.#stateFailures.orTell(() => this.#stateFile?.save(this.#bootId!, this.#planner.state), signal);
    await this.#look();
    if (walk) this.#lastWalk = walk;
    return walk;
  }

  /** A guest that makes its walks take long does not outlive a lease by it, nor what others do to the firewall. */
  async #meanwhile(stop: AbortSignal): Promise<void> {
    const start = performance.now();
    const every = Math.min(MEANWHILE_MS, (this.#options.leaseMs ?? Infinity) / 3);
    try {
      for (;;) {
        await sleep(every, [stop, this.#signal]);
        if (performance.now() - start < LATE_MS) {
          await this.#failures.orTell(() => this.#firewall.renew(), this.#signal);
        } else {
          const what = `the guest has not been read for ${LATE_MS / 1000} s, and is waited for`;
          await this.#endure(new XFilterError("SNAPSHOT_LATE", what, "It may boot, or its host be busy"));
        }
        await this.#look();
      }
    } catch {
      // The guest was read, or the filter is stopped.
    }
  }

  #look(): Promise<void> {
    return this.#lookFailures.orTell(() => this.#firewall.look(), this.#signal);
  }

  async #enforce(snapshot: Snapshot): Promise<void> {
    const { kernel } = this.#options.guest;
    // A domain of Xen that was restored is the same boot, with other devices.
    if (kernel !== this.#kernel) this.#firewall.lookSoon();
    this.#kernel = kernel;
    // A snapshot that lacks the processes by which a boot is known is no other boot.
    const id = tellsBoot(snapshot) ? bootId(kernel, snapshot) : this.#bootId!;
    let why: ClearedReason = this.#newRules ? "rules" : "gone";
    if (id !== this.#bootId) {
      why = "booted";
      await this.#boot(id);
      this.#tell({ type: "booted", time: Date.now(), bootId: id });
    }
    this.#newRules = false;
    this.#unreadable.over();
    await this.#firewall.apply(this.#planner.ruling(snapshot), why);
  }

  /** Another boot: nobody in it is who he was. */
  async #boot(id: string): Promise<void> {
    await this.#firewall.open(id);
    this.#planner.state = this.#stateFile?.load(id) ?? emptyPlanState();
    this.#bootId = id;
  }

  /** The guest cannot be read. */
  async #endure(error: XFilterError): Promise<void> {
    const { backend } = this.#options;
    await this.#failures.orTell(async () => {
      const [{ plan, rules }, why] = this.#unreadable.ruling(
        error,
        this.#firewall.wanted,
        this.#planner.rulesNotOver(),
      );
      await this.#firewall.apply({ plan: withinCapabilities(plan, backend.capabilities), rules }, why);
    }, this.#signal);
  }

  status(): Omit<FilterStatus, "running" | "polls" | "missedPolls" | "lastPollMs"> {
    return {
      bootId: this.#bootId,
      unenforceable: this.#planner.unenforceable,
      lastWalk: this.#lastWalk,
      unreadableSince: this.#unreadable.since,
      ...this.#firewall.status(),
    };
  }

  async close(keep: boolean): Promise<void> {
    try {
      // What another filter keeps in force, or remembers, is not this one's to take away.
      if (await this.#firewall.close(keep)) this.#stateFile?.forget();
    } finally {
      this.#lock?.release();
    }
  }
}
