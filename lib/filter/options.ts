import type { RuleBackend } from "../backends/backend.ts";
import { argumentRangeError, invalidOption } from "../errors.ts";
import type { Guest } from "../guest.ts";
import type { GuestInterface } from "../guest-interface.ts";
import { checkKeys } from "../options.ts";
import type { Rule } from "../rules/rule.ts";
import { parseRules } from "../rules/schema.ts";
import { BackendCalls } from "./backend-calls.ts";
import type { OnUnreadable } from "./event.ts";
import { type FilterLogger, LEVELS } from "./log.ts";

/** What to filter, by which rules, and how. */
export interface FilterOptions {
  /** Stays the caller's: the filter does not close it. */
  readonly guest: Guest;
  /** Rules as objects, or in their one-line form. */
  readonly rules: readonly (Rule | string)[];
  readonly backend: RuleBackend;
  /** Names the guest on this host, the same after a restart: its QMP socket's path, its domain's name. */
  readonly id: string;
  /**
   * The host's network devices that are the guest's. Left out: those that its QEMU has open, whichever they are from time to time.
   * Names: those, and what is made again under one of them only while that QEMU has it open. As `guest.interfaces()` tells
   * them: exactly those, and none that is made later.
   */
  readonly interfaces?: GivenInterfaces;
  /** Milliseconds from the start of one poll to the start of the next: 1 to 3,600,000, default 200. */
  readonly intervalMs?: number;
  /** Milliseconds from one look at what the firewall really holds to the next: default 5,000. */
  readonly reconcileMs?: number;
  /**
   * Of a guest that is paused for its walks: whether it runs on after the walk (default), or only when the firewall holds what the
   * walk found, so that nothing slips out between.
   */
  readonly hold?: "walk" | "apply";
  readonly onUnreadable?: OnUnreadable;
  /** Milliseconds that "hold" holds: default 300,000. */
  readonly maxHoldMs?: number;
  /** What becomes of what is in force when this process dies: it stays (default), or it ends after so many milliseconds. */
  readonly onAgentDeath?: "persist" | { readonly leaseMs: number };
  /** Addresses and networks that are never blocked, "192.0.2.1" or "2001:db8::/64". */
  readonly neverBlock?: readonly string[];
  /** Patterns at most: default 65,536. What is more is `unenforceable`. */
  readonly maxFlows?: number;
  /** Path of a directory in which pins and sticking verdicts survive this process. Default: they do not. */
  readonly stateDirectory?: string;
  /** Gets a line for each event, with objects that JSON can hold, in which nothing that the guest chose acts on a terminal. Default: none. */
  readonly logger?: FilterLogger;
}

/** Names of devices, or devices. */
export type GivenInterfaces = readonly string[] | readonly GuestInterface[];

/** @internal */
export interface CheckedOptions {
  readonly guest: Guest;
  readonly rules: readonly Rule[];
  readonly backend: RuleBackend;
  readonly id: string;
  readonly interfaces: GivenInterfaces | null;
  readonly intervalMs: number;
  readonly reconcileMs: number;
  readonly hold: "walk" | "apply";
  readonly onUnreadable: OnUnreadable;
  readonly maxHoldMs: number;
  readonly leaseMs: number | null;
  readonly neverBlock: readonly string[];
  readonly maxFlows: number;
  readonly stateDirectory: string | null;
  readonly logger: FilterLogger | null;
}

const KEYS = [
  ...["guest", "rules", "backend", "id", "interfaces", "intervalMs", "reconcileMs", "hold", "onUnreadable"],
  ...["maxHoldMs", "onAgentDeath", "neverBlock", "maxFlows", "stateDirectory", "logger"],
];
const METHODS = ["open", "inspect", "reconcile", "close"] as const;
const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const MAX_FLOWS = 65_536;
/** A lease is renewed by the first poll after a third of its time; a shorter one would be renewed at every poll. */
const MIN_LEASE_MS = 1_000;

/** @internal Throws TypeError and RangeError with the codes ERR_INVALID_OPTION and ERR_INVALID_RULE. */
export function checkFilterOptions(options: FilterOptions): CheckedOptions {
  checkKeys(options, KEYS);
  const { guest, backend, id, interfaces = null, hold = "walk", onUnreadable = "hold" } = options;
  const { neverBlock = [], stateDirectory = null, onAgentDeath = "persist", intervalMs = 200, logger = null } = options;
  if (typeof guest?.snapshot !== "function") throw invalidOption("guest is not what introspect() resolves with");
  if (!isBackend(backend))
    throw invalidOption(`backend is no RuleBackend, which has ${METHODS.join(", ")}, and capabilities`);
  if (typeof id !== "string" || id === "") throw invalidOption("id is not a text that names the guest");
  oneOf("hold", hold, ["walk", "apply"]);
  oneOf("onUnreadable", onUnreadable, ["hold", "release", "widen"]);
  if (typeof onAgentDeath !== "object" || onAgentDeath === null) oneOf("onAgentDeath", onAgentDeath, ["persist"]);
  const leaseMs = typeof onAgentDeath === "object" ? leaseOf(onAgentDeath, intervalMs) : null;
  if (stateDirectory !== null && (typeof stateDirectory !== "string" || stateDirectory === "")) {
    throw invalidOption("stateDirectory is no path");
  }
  if (logger !== null && LEVELS.some((level) => typeof logger?.[level] !== "function")) {
    throw invalidOption(`logger has not all of ${LEVELS.join(", ")}`);
  }
  if (!Array.isArray(neverBlock)) throw invalidOption("neverBlock is not a list of addresses and networks");
  return {
    ...{ guest, id, hold, onUnreadable, neverBlock, stateDirectory, logger },
    backend: new BackendCalls(backend, id),
    interfaces: interfaces === null ? null : eachOnce(interfaces),
    rules: parseRules(options.rules),
    intervalMs: numberFrom("intervalMs", intervalMs, 1, HOUR_MS),
    reconcileMs: numberFrom("reconcileMs", options.reconcileMs ?? 5_000, 100, HOUR_MS),
    maxHoldMs: numberFrom("maxHoldMs", options.maxHoldMs ?? 300_000, 0, DAY_MS),
    leaseMs,
    maxFlows: numberFrom("maxFlows", options.maxFlows ?? MAX_FLOWS, 1, MAX_FLOWS),
  };
}

function isBackend(value: RuleBackend | null | undefined): value is RuleBackend {
  return typeof value?.capabilities?.actions === "object" && METHODS.every((name) => typeof value[name] === "function");
}

/** A device that is named twice is one: it would be two at the start, and one at each look. */
function eachOnce(interfaces: GivenInterfaces): GivenInterfaces {
  if (!Array.isArray(interfaces)) throw invalidOption("interfaces is not a list");
  const given: readonly unknown[] = interfaces;
  if (given.every((one) => typeof one === "string")) return [...new Set(given)];
  if (!given.every(isDevice)) throw invalidOption("interfaces is neither a list of names nor one of devices");
  return given.filter((device, place) => given.findIndex(({ index }) => index === device.index) === place);
}

function isDevice(value: unknown): value is GuestInterface {
  const { name, index, mac } = (value ?? {}) as Partial<GuestInterface>;
  return typeof name === "string" && Number.isInteger(index) && typeof mac === "string";
}

/** One that ends between two polls would let everybody go in between. */
function leaseOf({ leaseMs }: { readonly leaseMs: number }, intervalMs: number): number {
  return numberFrom("onAgentDeath.leaseMs", leaseMs, Math.max(MIN_LEASE_MS, 3 * intervalMs), DAY_MS);
}

function oneOf(name: string, value: unknown, values: readonly string[]): void {
  if (!values.includes(value as string)) throw invalidOption(`${name} is none of ${values.join(", ")}`);
}

function numberFrom(name: string, value: number, least: number, most: number): number {
  if (typeof value !== "number") throw invalidOption(`${name} is not a number`);
  if (value >= least && value <= most) return value;
  throw argumentRangeError("ERR_INVALID_OPTION", `${name} is a number from ${least} to ${most}, not ${value}.`);
}
