import type { Installed } from "../backends/backend.ts";
import type { Plan, PlannedPattern } from "../rules/pattern.ts";
import type { Rule, RuleAction } from "../rules/rule.ts";
import type { ClearedReason, FilterEvent } from "./event.ts";

/** A pattern that is in force, for whom, and what it did. */
export interface InForce {
  readonly pattern: PlannedPattern;
  readonly rule: Rule | null;
  /** Milliseconds since 1970. */
  readonly since: number;
  /** Packets that met it when the firewall was last looked at; null where nobody counts. */
  readonly packets: number | null;
}

const STOPS: readonly RuleAction[] = ["drop", "reject"];

/** @internal What a filter has put in force, and tells of as it changes. */
export class InForceTable {
  readonly #tell: (event: FilterEvent) => void;
  readonly #entries = new Map<string, InForce>();
  #stopped = 0;

  constructor(tell: (event: FilterEvent) => void) {
    this.#tell = tell;
  }

  /**
   * The firewall holds the plan; its patterns name `rules` by their index. Of one that was in force it tells nothing anew, but whose it is.
   * `counted`: what the firewall had counted, by keys, of patterns that another filter left there.
   */
  replace(
    { patterns }: Plan,
    rules: readonly Rule[],
    why: ClearedReason,
    counted?: ReadonlyMap<string, number | null>,
  ): void {
    const time = Date.now();
    const keys = new Set(patterns.map(({ key }) => key));
    for (const [key, { pattern, rule, packets }] of this.#entries) {
      if (keys.has(key)) continue;
      this.#entries.delete(key);
      this.#tell({ type: "cleared", time, pattern, rule, why, packets });
    }
    for (const pattern of patterns) {
      const rule = pattern.rule === null ? null : rules[pattern.rule]!;
      const before = this.#entries.get(pattern.key);
      const packets = before?.packets ?? counted?.get(pattern.key) ?? null;
      this.#entries.set(pattern.key, { pattern, rule, since: before?.since ?? time, packets });
      if (!before) this.#tell({ type: "set", time, pattern, rule });
    }
  }

  /** Takes over what was counted, and says how much the firewall's patterns differ from these: nothing, or a line. */
  compare({ patterns }: Installed): string[] {
    const packets = new Map(patterns.map((pattern) => [pattern.key, pattern.packets]));
    for (const [key, entry] of this.#entries) {
      const counted = packets.get(key) ?? entry.packets;
      this.#entries.set(key, { ...entry, packets: counted });
      if (STOPS.includes(entry.pattern.action)) this.#stopped += newPackets(entry.packets ?? 0, counted ?? 0);
    }
    const missing = [...this.#entries.keys()].filter((key) => !packets.has(key)).length;
    const foreign = [...packets.keys()].filter((key) => !this.#entries.has(key)).length;
    return missing + foreign > 0 ? [`${missing} patterns were missing, ${foreign} were not ours`] : [];
  }

  /** Packets that were stopped since the start. */
  get stopped(): number {
    return this.#stopped;
  }

  list(): InForce[] {
    return [...this.#entries.values()];
  }
}

/** Of a pattern that somebody else took out, and that was put in again, the firewall counts from nothing. */
function newPackets(before: number, now: number): number {
  return now < before ? now : now - before;
}
