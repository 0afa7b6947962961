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
  InstalledPattern,
  OpenOptions,
  Reconciled,
  RuleBackend,
} from "./backend.ts";
export { type DryRunOptions, dryRun } from "./dry-run.ts";
export { nftables } from "./nftables/backend.ts";
export { tablesOfGuest } from "./nftables/names.ts";
export { type InstalledGuest, installedGuests, removeGuests } from "./nftables/tables.ts";
