import { channel } from "node:diagnostics_channel";
import type { Quality } from "../quality.ts";
import { Tracer } from "../traced.ts";
import type { FilterEvent } from "./event.ts";
import type { Filter } from "./filter.ts";

/** Message of the channel `xfilter-core:filter:event`: what a filter did or met, as `filter.events()` tells it. */
export interface FilterEventMessage {
  readonly filter: Filter;
  /** Of its options. */
  readonly id: string;
  readonly event: FilterEvent;
}

/** Message of the tracing channel `xfilter-core:filter:poll`: one poll of a filter, `start()` the first. */
export interface FilterPollMessage {
  readonly filter: Filter;
  /** Of its options. */
  readonly id: string;
  /** In `asyncStart` and `asyncEnd`, of a poll that was done: its walk; null where the guest could not be read. */
  readonly result?: Quality | null;
  /** What ended the filter, or its start. */
  readonly error?: unknown;
}

/** Message of the tracing channel `xfilter-core:filter:backend`: a filter's call of its backend. */
export interface BackendCallMessage {
  /** Of the filter's options. */
  readonly id: string;
  /** Name of the backend. */
  readonly backend: string;
  readonly method: "open" | "inspect" | "reconcile" | "close";
  /** In `asyncStart` and `asyncEnd`: what it answered, or rejected with. */
  readonly result?: unknown;
  readonly error?: unknown;
}

/** @internal */
export const EVENTS = channel("xfilter-core:filter:event");
/** @internal */
export const POLLS = new Tracer<FilterPollMessage>("xfilter-core:filter:poll");
/** @internal */
export const BACKEND_CALLS = new Tracer<BackendCallMessage>("xfilter-core:filter:backend");
