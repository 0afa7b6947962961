import { toXFilterError, XFilterError } from "../errors.ts";
import type { GuestInterface } from "../guest-interface.ts";
import type { Plan } from "../rules/pattern.ts";
import type { Rule } from "../rules/rule.ts";
import { areSame, findDevices, findDevicesAgain, includesDevice } from "./devices.ts";
import type { ClearedReason, FilterEvent } from "./event.ts";
import type { GuestLock } from "./guest-lock.ts";
import { InForceTable } from "./in-force.ts";
import type { CheckedOptions } from "./options.ts";

/** @internal A plan, and the rules that its patterns name by their index. */
export interface Ruling {
  readonly plan: Plan;
  readonly rules: readonly Rule[];
}

/** @internal */
export const NO_RULING: Ruling = { plan: { patterns: [], unenforceable: [] }, rules: [] };

const NOTHING: ReadonlyMap<string, number | null> = new Map();

/** From one look that failed to the next, if they are not more often anyway. */
const LOOK_AGAIN_MS = 1_000;

/** @internal What a guest's firewall holds: put there by its backend, looked at now and then, mended, renewed. Calls must not overlap. */
export class Firewall {
  readonly #options: CheckedOptions;
  readonly #tell: (event: FilterEvent) => void;
  readonly #signal: AbortSignal;
  readonly #lock: GuestLock | null;
  readonly #inForce: InForceTable;
  #bootId = "";
  #interfaces: readonly GuestInterface[] = [];
  /** All that these ever were. */
  #everInterfaces: readonly GuestInterface[] = [];
  #open = false;
  #wanted = NO_RULING;
  #why: ClearedReason = "gone";
  /** Whether it may hold something else than what is wanted. */
  #inDoubt = true;
  /** Whether what it holds for the guest may be this filter's doing. */
  #adopted = false;
  /** What it held for the guest before the first change, by keys, and how much each had counted; null: not looked at yet. */
  #before: ReadonlyMap<string, number | null> | null = null;
  /** What was found missing or strange, and is not mended yet. */
  #damage: readonly string[] = [];
  /** Whether it was opened for other devices, at which nothing is in force yet. */
  #rebound = false;
  /** Whether the devices that it was opened for are not the guest's any more, and no others are. */
  #unbound = false;
  /** Devices at which it was put in force last. */
  #enforcedAt: readonly GuestInterface[] = [];
  #nextLook = 0;
  /** What the last look rejected with. */
  #lookFailure: unknown = null;
  #renewed = 0;
  #lastApplyMs = 0;

  constructor(
    options: CheckedOptions,
    tell: (event: FilterEvent) => void,
    signal: AbortSignal,
    lock: GuestLock | null,
  ) {
    this.#options = options;
    this.#tell = tell;
    this.#signal = signal;
    this.#lock = lock;
    this.#inForce = new InForceTable(tell);
  }

  /** For a boot of the guest, the first or another. Changes nothing. */
  async open(bootId: string): Promise<void> {
    const { guest, interfaces, reconcileMs } = this.#options;
    const nextLook = performance.now() + reconcileMs;
    if (this.#bootId === "") {
      this.#interfaces = await findDevices(guest, interfaces);
      this.#lock?.takeDevices(this.#interfaces);
      this.#nextLook = nextLook;
    } else {
      // A domain of Xen boots with others than it had. Where those are not found yet, they are looked for again, and that is told.
      const { problem } = await this.#findAgain();
      this.#nextLook = problem ? 0 : nextLook;
    }
    this.#bootId = bootId;
    await this.#reopen();
  }

  async #reopen(): Promise<void> {
    const { backend, id, leaseMs } = this.#options;
    if (this.#open && !this.#unbound) await backend.close({ keep: true });
    this.#open = false;
    this.#inDoubt = true;
    if (this.#unbound) return;
    const scope = { id, bootId: this.#bootId, interfaces: this.#interfaces };
    try {
      await backend.open(scope, { signal: this.#signal, leaseMs });
    } catch (error) {
      await this.#takeOutAstray();
      throw error;
    }
    this.#open = true;
  }

  /** What is in force, or was to be when the firewall failed. */
  get wanted(): Ruling {
    return this.#wanted;
  }

  /** Asks the firewall only when there is something to change or to renew. */
  async apply(ruling: Ruling, why: ClearedReason): Promise<void> {
    const told = this.#wanted;
    const changed = !isSamePlan(ruling.plan, told.plan);
    this.#wanted = ruling;
    // What failed to be taken out keeps its reason.
    if (changed || !this.#inDoubt) this.#why = why;
    if (changed || this.#inDoubt || this.#isDue()) await this.#reconcile();
    // Others may be blocked by the same patterns, and by other rules.
    else if (ruling !== told && !this.#unbound) this.#inForce.replace(ruling.plan, ruling.rules, why);
  }

  /** Renews what ends by itself, when it is time. */
  async renew(): Promise<void> {
    if (this.#isDue()) await this.#reconcile();
  }

  #isDue(): boolean {
    const { leaseMs } = this.#options;
    return leaseMs !== null && performance.now() - this.#renewed >= leaseMs / 3;
  }

  /**
   * When it is time, looks at what the firewall really holds, and which devices the guest has by now, and mends what is not as it
   * has to be. Until the next one it ends as the last one did: nothing is well by then.
   */
  async look(): Promise<void> {
    const now = performance.now();
    if (now >= this.#nextLook) {
      this.#lookFailure = null;
      await this.#look(now).catch((error) => {
        this.#lookFailure = error;
      });
    }
    if (this.#lookFailure !== null) throw this.#lookFailure;
  }

  /** The guest may have other devices than a moment ago. */
  lookSoon(): void {
    this.#nextLook = 0;
  }

  async #look(now: number): Promise<void> {
    const { reconcileMs } = this.#options;
    this.#nextLook = now + Math.min(reconcileMs, LOOK_AGAIN_MS);
    const problem = await this.#rebind();
    try {
      await this.#inspect();
      if (this.#inDoubt) await this.#reconcile();
    } catch (error) {
      // Where the device is gone, that is why nothing else can be done.
      throw problem ?? error;
    }
    if (problem) throw problem;
    this.#nextLook = now + reconcileMs;
  }

  /** To the devices that the guest has by now. What cannot be found out about them comes back. */
  async #rebind(): Promise<XFilterError | null> {
    try {
      const { areOthers, problem } = await this.#findAgain();
      if (areOthers) await this.#reopen();
      return problem;
    } catch (error) {
      if (this.#signal.aborted) throw this.#signal.reason;
      return toXFilterError(error);
    }
  }

  /** Takes up the devices that the guest has by now: whether they are others, and what is wrong with one of them. */
  async #findAgain() {
    const { guest, interfaces } = this.#options;
    const last = this.#interfaces;
    this.#everInterfaces = [
      ...this.#everInterfaces,
      ...last.filter((one) => !includesDevice(this.#everInterfaces, one)),
    ];
    const { devices, problem } = await findDevicesAgain(guest, interfaces, { last, ever: this.#everInterfaces });
    const areOthers = !areSame(devices, last);
    if (areOthers) {
      this.#lock?.takeDevices(devices);
      this.#interfaces = devices;
      this.#rebound = true;
      this.#unbound = devices.length === 0;
    }
    return { areOthers, problem };
  }

  /** Nothing of a guest's may be in force at what is another's by now. */
  async #unbind(): Promise<void> {
    if (!this.#inDoubt) return;
    await this.#takeOut();
    this.#inDoubt = false;
    this.#tellMended();
  }

  /** Where nothing can be put in force at the guest's devices, and all that is is at others: whoever has those by now is not to be filtered as it. */
  async #takeOutAstray(): Promise<void> {
    const astray = !this.#interfaces.some((device) => includesDevice(this.#enforcedAt, device));
    if (astray && this.#enforcedAt.length > 0 && !this.#signal.aborted) await this.#takeOut();
  }

  async #takeOut(): Promise<void> {
    this.#open = false;
    await this.#options.backend.close({ keep: false });
    this.#enforcedAt = [];
    this.#inForce.replace(NO_RULING.plan, [], "device");
  }

  async #inspect(): Promise<void> {
    if (!this.#open) return;
    const installed = await this.#options.backend.inspect({ signal: this.#signal });
    const differences = this.#inForce.compare(installed);
    // In doubt, nothing is known that could have been changed by others.
    if (this.#inDoubt || (installed.bites && differences.length === 0)) return;
    this.#damage = [...installed.problems, ...differences];
    this.#inDoubt = true;
  }

  async #reconcile(): Promise<void> {
    if (this.#unbound) return this.#unbind();
    const { backend } = this.#options;
    const start = performance.now();
    const { plan, rules } = this.#wanted;
    const found = this.#damage;
    this.#inDoubt = true;
    try {
      if (!this.#open) await this.#reopen();
      this.#before ??= await this.#packets();
      const { repaired } = await backend.reconcile(plan, { signal: this.#signal });
      this.#adopted = true;
      if (repaired && found.length === 0) this.#damage = ["what is ours was found changed while it was to be changed"];
    } catch (error) {
      // Whoever was interrupted may have been done, and whoever failed in part; but what was there before is another's.
      this.#adopted ||=
        this.#signal.aborted || (this.#before?.size === 0 && (await this.#packets().catch(() => NOTHING)).size > 0);
      if (error instanceof XFilterError && error.code === "INTERFACE_CHANGED") this.#nextLook = 0;
      await this.#takeOutAstray();
      throw error;
    }
    this.#enforcedAt = this.#interfaces;
    this.#lastApplyMs = performance.now() - start;
    this.#renewed = start;
    this.#inDoubt = false;
    this.#inForce.replace(plan, rules, this.#why, this.#before);
    this.#before = NOTHING;
    this.#tellMended();
  }

  async #packets(): Promise<ReadonlyMap<string, number | null>> {
    const { patterns } = await this.#options.backend.inspect({ signal: this.#signal });
    return new Map(patterns.map(({ key, packets }) => [key, packets]));
  }

  #tellMended(): void {
    const time = Date.now();
    if (this.#rebound) {
      this.#lock?.keepDevices(this.#interfaces);
      this.#tell({ type: "rebound", time, interfaces: this.#interfaces });
    } else if (this.#damage.length > 0) this.#tell({ type: "repaired", time, problems: this.#damage });
    this.#rebound = false;
    this.#damage = [];
  }

  status() {
    const packetsStopped = this.#options.backend.capabilities.counters ? this.#inForce.stopped : null;
    const inForce = this.#inForce.list();
    return { lastApplyMs: this.#lastApplyMs, interfaces: this.#interfaces, inForce, packetsStopped };
  }

  /** Takes what is in force out, or leaves it; whether it took it out. What another filter left is not ours before it was adopted. */
  async close(keep: boolean): Promise<boolean> {
    if (this.#bootId === "") return false;
    const takes = !keep && this.#adopted;
    await this.#options.backend.close({ keep: !takes });
    if (!keep) this.#inForce.replace(NO_RULING.plan, [], "stopped");
    return takes;
  }
}

/** Where rules changed places, the same patterns may stand in another order. */
function isSamePlan({ patterns }: Plan, other: Plan): boolean {
  return (
    patterns.length === other.patterns.length && patterns.every(({ key }, place) => key === other.patterns[place]!.key)
  );
}
