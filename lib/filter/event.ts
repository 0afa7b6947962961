import type { XFilterError } from "../errors.ts";
import type { GuestInterface } from "../guest-interface.ts";
import type { PlannedPattern, Unenforceable } from "../rules/pattern.ts";
import type { Rule } from "../rules/rule.ts";

/**
 * What a filter did or met.
 *
 * | type | meaning |
 * | --- | --- |
 * | `set` | a pattern was put in force |
 * | `cleared` | a pattern was taken out of the firewall |
 * | `unenforceable` | a rule asks for what no firewall outside of the guest can do; once for each socket |
 * | `repaired` | somebody else had changed what is ours in the firewall, and it was made again: it is in force when this is told |
 * | `rebound` | the guest has other network devices than before, and what is in force is at these; nothing is, where it has none. What went by a device that was not known before passed |
 * | `failed` | the firewall could not be changed or looked at, a device of the guest not be found, or the state not be written; what was in force is, as far as is known. Tried again at each poll, told once until it works or fails otherwise |
 * | `unreadable` | the guest cannot be read, and `onUnreadable` was applied; once until it can again |
 * | `readable` | the guest can be read again |
 * | `booted` | the guest booted anew: what was known of its processes is void |
 * | `expired` | a rule's time (`for`) is over; once for each |
 * | `overrun` | polls were left out because one took longer than the interval |
 * | `dropped` | events that this consumer did not fetch in time, and lost |
 * | `ended` | the filter stopped: by `stop()`, or because the guest is gone |
 */
export type FilterEvent = { /** Milliseconds since 1970. */ readonly time: number } & (
  | { readonly type: "set"; readonly pattern: PlannedPattern; readonly rule: Rule | null }
  | {
      readonly type: "cleared";
      readonly pattern: PlannedPattern;
      readonly rule: Rule | null;
      readonly why: ClearedReason;
      /** Packets that met the pattern, at least: counted when the firewall was last looked at. null where nobody counts. */
      readonly packets: number | null;
    }
  | ({ readonly type: "unenforceable"; readonly matched: Rule } & Unenforceable)
  | { readonly type: "repaired"; readonly problems: readonly string[] }
  | { readonly type: "rebound"; readonly interfaces: readonly GuestInterface[] }
  | { readonly type: "failed"; readonly error: XFilterError }
  | { readonly type: "unreadable"; readonly error: XFilterError; readonly applied: OnUnreadable }
  | { readonly type: "readable" }
  | { readonly type: "booted"; readonly bootId: string }
  | { readonly type: "expired"; readonly rule: Rule }
  | { readonly type: "overrun"; readonly missedPolls: number }
  | { readonly type: "dropped"; readonly count: number }
  | { readonly type: "ended"; readonly error: XFilterError | null }
);

/**
 * Why a pattern was taken out of the firewall.
 *
 * | why | meaning |
 * | --- | --- |
 * | `gone` | its socket and what was left of it are gone, or it is no longer in the way |
 * | `rules` | the rules were changed |
 * | `booted` | the guest booted anew |
 * | `unreadable` | the guest cannot be read |
 * | `device` | the devices at which it was in force are not the guest's any more, and it has no others |
 * | `stopped` | the filter was stopped, or the guest is gone |
 */
export type ClearedReason = "gone" | "rules" | "booted" | "unreadable" | "device" | "stopped";

/**
 * What a filter does while the guest cannot be read.
 *
 * | value | meaning |
 * | --- | --- |
 * | `hold` | what is in force stays, for `maxHoldMs`; then `release` |
 * | `release` | nothing is in force |
 * | `widen` | each rule is in force for everybody, without its *who*: the only one by which a guest cannot free itself |
 */
export type OnUnreadable = "hold" | "release" | "widen";
