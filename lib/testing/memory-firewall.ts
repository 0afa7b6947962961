import type { InstalledPattern } from "../backends/backend.ts";
import { decidingPattern, type Packet } from "../rules/packet.ts";
import type { RuleAction } from "../rules/rule.ts";

/** What is in force for a guest. */
export interface HeldPattern extends InstalledPattern {
  readonly packets: number;
}

interface Held {
  patterns: Map<string, HeldPattern>;
  /** Monotonic milliseconds at which it ends by itself. */
  until: number;
}

/** A firewall in memory: what agents' backends put there outlives them, and anybody may change it behind their backs. */
export class MemoryFirewall {
  readonly #guests = new Map<string, Held>();

  /** What is in force for a guest by its id, by key and in order. It is no copy: to change it is to act as somebody else on the host. */
  held(id: string): Map<string, HeldPattern> {
    const held = this.#guests.get(id);
    if (held !== undefined && performance.now() < held.until) return held.patterns;
    const nothing = new Map<string, HeldPattern>();
    this.#guests.set(id, { patterns: nothing, until: Infinity });
    return nothing;
  }

  /** Puts these in force and nothing else, in one step. Without a lease they stay. */
  replace(id: string, patterns: readonly InstalledPattern[], leaseMs: number | null = null): void {
    const before = this.held(id);
    const next = patterns.map((pattern): [string, HeldPattern] => {
      return [pattern.key, { ...pattern, packets: before.get(pattern.key)?.packets ?? 0 }];
    });
    this.#guests.set(id, { patterns: new Map(next), until: performance.now() + (leaseMs ?? Infinity) });
  }

  /** What is decided on a packet of a guest, which counts; undefined where no pattern matches it. */
  send(id: string, packet: Packet): RuleAction | undefined {
    const held = this.held(id);
    const found = decidingPattern(held.values(), packet);
    if (found) held.set(found.key, { ...found, packets: found.packets + 1 });
    return found?.action;
  }
}
