/**
 * The loop that keeps a firewall in step with rules and a guest's processes.
 *
 * @packageDocumentation
 */
export type { BackendCallMessage, FilterEventMessage, FilterPollMessage } from "./channels.ts";
export type { ClearedReason, FilterEvent, OnUnreadable } from "./event.ts";
export { createFilter, type Filter, type FilterStatus } from "./filter.ts";
export type { InForce } from "./in-force.ts";
export type { FilterLogger } from "./log.ts";
export type { FilterOptions, GivenInterfaces } from "./options.ts";
