import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { invalidOption, toXFilterError } from "../errors.ts";
import type { BackendCallMessage, FilterEventMessage, FilterPollMessage } from "../filter/channels.ts";
import type { Filter, FilterStatus } from "../filter/filter.ts";
import { checkKeys } from "../options.ts";
import { MetricSet } from "./metric-set.ts";
import type { PromClient, PromRegistry } from "./prom-client.ts";

/** Where metrics go. */
export interface FilterMetricsOptions {
  /** Default: prom-client's own. */
  readonly register?: PromRegistry;
}

/** Metrics of all filters of this process. */
export interface FilterMetrics {
  /** Takes out what there is of a guest, by its filter's `id`: it has no filter any more, and will have none. */
  forget(id: string): void;
  /** Ends the counting, and takes the metrics out of the registry. */
  close(): void;
}

/**
 * Measures every filter of this process from now on, in metrics of prom-client (docs/embedding.md lists them). Their label `guest` is
 * the filter's `id`; nothing that a guest chose is in a label.
 *
 *     import * as client from "prom-client";
 *     const metrics = filterMetrics(client);
 *     await client.register.metrics();
 *
 * @throws TypeError with the code ERR_INVALID_OPTION for what is not prom-client; prom-client's own for a registry that has the names already
 */
export function filterMetrics(client: PromClient, options: FilterMetricsOptions = {}): FilterMetrics {
  checkKeys(options, ["register"]);
  for (const name of ["Counter", "Gauge", "Histogram"] as const) {
    if (typeof client?.[name] === "function") continue;
    throw invalidOption('client is not prom-client: import * as client from "prom-client"');
  }
  const set = new MetricSet(client, options.register ?? client.register);
  try {
    return new ProcessMetrics(set);
  } catch (error) {
    set.close();
    throw error;
  }
}

/** What is counted of each walk: member of its `Quality`, metric, help. */
const TROUBLES = [
  ["retries", "xfilter_walk_retries_total", "Objects of the guest that were read again because they had moved"],
  ["torn", "xfilter_walk_torn_total", "Links of the guest's memory that disagreed"],
  ["abandoned", "xfilter_walk_abandoned_total", "Objects of the guest left out because their links disagreed"],
  ["badPointers", "xfilter_walk_bad_pointers_total", "Objects of the guest whose memory could not be read in full"],
  ["limited", "xfilter_walk_limited_total", "Values of the guest beyond a bound of xfilter-core's own"],
] as const;

/** What is the case, by a filter's status: metric, help, value. */
const STATES: readonly (readonly [name: string, help: string, of: (status: FilterStatus) => number])[] = [
  ["xfilter_running", "Whether a filter of the guest runs", ({ running }) => Number(running)],
  ["xfilter_patterns_in_force", "Patterns in force", ({ inForce }) => inForce.length],
  [
    "xfilter_unenforceable",
    "Flows that the rules name and cannot be filtered",
    (status) => status.unenforceable.length,
  ],
  ["xfilter_unreadable_seconds", "How long the guest could not be read by now; 0 while it can", unreadableSeconds],
  ["xfilter_last_apply_seconds", "Time that the last change of the firewall took", (s) => s.lastApplyMs / 1_000],
  ["xfilter_guest_processes", "Processes in the guest, by the last walk", ({ lastWalk }) => lastWalk?.processes ?? 0],
  ["xfilter_guest_sockets", "Sockets in the guest, by the last walk", ({ lastWalk }) => lastWalk?.sockets ?? 0],
];

class ProcessMetrics implements FilterMetrics {
  readonly #set: MetricSet;
  /** Those that run, by their ids. */
  readonly #filters = new Map<string, Filter>();
  /** Packets that were counted already. */
  readonly #packets = new WeakMap<Filter, number>();
  /** When a message's work began. */
  readonly #begun = new WeakMap<object, number>();
  readonly #subscriptions: (readonly [name: string, listener: (message: unknown) => void])[];
  readonly #add;

  constructor(set: MetricSet) {
    this.#set = set;
    const eachFilter = (tell: (id: string, filter: Filter) => void) => () => {
      for (const [id, filter] of this.#filters) tell(id, filter);
    };
    const collect = eachFilter((id, filter) => this.#countPackets(id, filter));
    this.#add = {
      polls: set.counter("xfilter_polls_total", "Polls of the guest"),
      missed: set.counter("xfilter_missed_polls_total", "Polls left out because one took too long"),
      poll: set.histogram("xfilter_poll_seconds", "Time that a poll took, from the guest to the firewall"),
      walk: set.histogram("xfilter_walk_seconds", "Time that reading the guest took"),
      pause: set.counter("xfilter_pause_seconds_total", "Time that the guest stood still for its walks"),
      backend: set.histogram("xfilter_backend_seconds", "Time that a call of the backend took", "method"),
      events: set.counter("xfilter_events_total", "Events of the filter", { label: "event" }),
      errors: set.counter("xfilter_errors_total", "Errors that the filter told", { label: "code" }),
      packets: set.counter("xfilter_packets_stopped_total", "Packets that were stopped", { collect }),
      troubles: TROUBLES.map(([key, name, help]) => [key, set.counter(name, help)] as const),
      states: STATES.map(([name, help, of]) => {
        const add = set.gauge(
          name,
          help,
          eachFilter((id, filter) => add(id, of(filter.status()))),
        );
        return [add, of] as const;
      }),
    };
    this.#subscriptions = [
      ["xfilter-core:filter:event", (message) => this.#event(message as FilterEventMessage)],
      ["tracing:xfilter-core:filter:poll:start", (message) => this.#begin(message as object)],
      ["tracing:xfilter-core:filter:poll:asyncEnd", (message) => this.#poll(message as FilterPollMessage)],
      ["tracing:xfilter-core:filter:backend:start", (message) => this.#begin(message as object)],
      ["tracing:xfilter-core:filter:backend:asyncEnd", (message) => this.#call(message as BackendCallMessage)],
    ];
    for (const [name, listener] of this.#subscriptions) subscribe(name, listener);
  }

  forget(id: string): void {
    this.#filters.delete(id);
    this.#set.forget(id);
  }

  close(): void {
    for (const [name, listener] of this.#subscriptions) unsubscribe(name, listener);
    this.#filters.clear();
    this.#set.close();
  }

  #begin(message: object): void {
    this.#begun.set(message, performance.now());
  }

  /** Seconds since then; null of what had begun before anybody measured. */
  #seconds(message: object): number | null {
    const begun = this.#begun.get(message);
    return begun === undefined ? null : (performance.now() - begun) / 1_000;
  }

  #poll(message: FilterPollMessage): void {
    const { filter, id, result, error } = message;
    if (error !== undefined) {
      // What ends a filter that runs is an event, too, and what stops one that starts is no error.
      if (!filter.status().running && toXFilterError(error).code !== "CLOSED") this.#error(id, error);
      return;
    }
    this.#filters.set(id, filter);
    const seconds = this.#seconds(message);
    this.#add.polls(id, 1);
    if (seconds !== null) this.#add.poll(id, seconds);
    if (!result) return;
    this.#add.walk(id, result.elapsedNs / 1e9);
    this.#add.pause(id, result.pauseMs / 1_000);
    for (const [key, add] of this.#add.troubles) add(id, result[key]);
  }

  #call(message: BackendCallMessage): void {
    const seconds = this.#seconds(message);
    if (seconds !== null) this.#add.backend(message.id, seconds, message.method);
  }

  #event({ filter, id, event }: FilterEventMessage): void {
    this.#add.events(id, 1, event.type);
    if (event.type === "overrun") this.#add.missed(id, event.missedPolls);
    if ("error" in event && event.error !== null) this.#error(id, event.error);
    // Another one may have its name by now.
    if (event.type !== "ended" || this.#filters.get(id) !== filter) return;
    this.#filters.delete(id);
    this.#countPackets(id, filter);
    for (const [add, of] of this.#add.states) add(id, of(filter.status()));
  }

  #error(id: string, error: unknown): void {
    this.#add.errors(id, 1, toXFilterError(error).code);
  }

  #countPackets(id: string, filter: Filter): void {
    const { packetsStopped } = filter.status();
    if (packetsStopped === null) return;
    this.#add.packets(id, packetsStopped - (this.#packets.get(filter) ?? 0));
    this.#packets.set(filter, packetsStopped);
  }
}

function unreadableSeconds({ unreadableSince }: FilterStatus): number {
  return unreadableSince === null ? 0 : (Date.now() - unreadableSince) / 1_000;
}
