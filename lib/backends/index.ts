export type { GuestInterface } from "../guest-interface.ts";
export type { AbortSignalLike, ProgramAbortSignal } from "../options.ts";
export type {
  FlowPattern,
  PatternReason,
  Plan,
  PlannedPattern,
  Unenforceable,
  UnenforceableReason,
} from "../rules/pattern.ts";
export type { Direction, RuleAction, RuleProtocol } from "../rules/rule.ts";
export type {
  BackendCapabilities,
  GuestScope,
  Installed,
  InstalledGuest,
  InstalledPattern,
  OpenOptions,
  Reconciled,
  RuleBackend,
} from "./backend.ts";
export { type DryRunOptions, dryRun } from "./dry-run.ts";
export { installedGuests, removeGuests, tablesOfGuest } from "./installed.ts";
export { type IptablesOptions, iptables } from "./iptables/backend.ts";
export type { FlushConntrackOptions } from "./iptables/conntrack.ts";
export type { IptablesVariant } from "./iptables/xtables.ts";
export { nftables } from "./nftables/backend.ts";
