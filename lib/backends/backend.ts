import type { XFilterError } from "../errors.ts";
import type { GuestInterface } from "../guest-interface.ts";
import type { ProgramAbortSignal } from "../options.ts";
import type { FlowPattern, Plan } from "../rules/pattern.ts";
import type { Direction, RuleAction } from "../rules/rule.ts";

/** Which guest a backend works for. */
export interface GuestScope {
  /** Names the guest on this host, the same after a restart of the agent. Any text. */
  readonly id: string;
  /** Of the guest's boot. */
  readonly bootId: string;
  readonly interfaces: readonly GuestInterface[];
}

/** What a backend's firewall can hold; rules that ask for more are refused before anything is changed. */
export interface BackendCapabilities {
  /** Actions that it can do, by direction. */
  readonly actions: Readonly<Record<Direction, readonly RuleAction[]>>;
  /** Why there is nothing that it can do in a direction. */
  readonly why?: Readonly<Partial<Record<Direction, XFilterError>>>;
  readonly families: readonly (4 | 6)[];
  /** Whether it counts the packets of each pattern. */
  readonly counters: boolean;
  /** Whether it can forget the plan by itself when the agent dies (`leaseMs`). */
  readonly leases: boolean;
}

/** A pattern that is in force, and what it did. */
export interface InstalledPattern extends FlowPattern {
  readonly key: string;
  /** Packets that met it since it was put in force; null where that is not counted. */
  readonly packets: number | null;
}

/** What the firewall holds for a guest. */
export interface Installed {
  readonly patterns: readonly InstalledPattern[];
  /** Whether the packets of every interface go through what is held. False: something of ours is missing, or was put out of action. */
  readonly bites: boolean;
  /** What is missing or strange, one line each. */
  readonly problems: readonly string[];
}

/** What is in force for a guest in this host's firewall, whoever put it there. */
export interface InstalledGuest {
  /** What holds it: "nftables", "iptables-nft" or "iptables-legacy". */
  readonly backend: string;
  /** Name of its table, or of its tables: in several families. Of iptables what the names of its chains begin with. */
  readonly table: string;
  /** `GuestScope.id`, its bytes other than plain ASCII as `\xNN`, cut with "..." if it is long; null if the table does not tell. */
  readonly guest: string | null;
  /** Names of the devices for which it is in force, indices of those that are gone. */
  readonly interfaces: readonly (string | number)[];
  readonly patterns: readonly InstalledPattern[];
}

/** What a reconciliation did, in patterns' keys. */
export interface Reconciled {
  readonly added: readonly string[];
  readonly removed: readonly string[];
  readonly unchanged: number;
  /** Whether something of ours was missing that had been there, and was made again. */
  readonly repaired: boolean;
}

/** How a backend is opened. */
export interface OpenOptions {
  readonly signal: ProgramAbortSignal;
  /** Milliseconds after which what is in force ends by itself unless a reconciliation renews it; null: it stays. */
  readonly leaseMs: number | null;
}

/** What makes a firewall hold a plan. Calls of one backend do not overlap. */
export interface RuleBackend {
  readonly name: string;
  readonly capabilities: BackendCapabilities;
  /** Checks tools, privileges and interfaces. Changes nothing in the firewall: what an earlier agent left is adopted by the first reconciliation. */
  open(scope: GuestScope, options: OpenOptions): Promise<void>;
  /** What is in force for the guest, and whether it still bites. */
  inspect(options: { readonly signal: ProgramAbortSignal }): Promise<Installed>;
  /** Makes the firewall hold the plan, in one step: all of it or nothing. */
  reconcile(plan: Plan, options: { readonly signal: ProgramAbortSignal }): Promise<Reconciled>;
  /** Takes what is in force out of the firewall, or leaves it there (`keep`). */
  close(options: { readonly keep: boolean }): Promise<void>;
}
