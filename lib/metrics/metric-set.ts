import type { PromClient, PromConfiguration, PromLabels, PromRegistry } from "./prom-client.ts";

/** In seconds: a walk of a small guest takes a fraction of a millisecond, and may take ten seconds. */
const BUCKETS = [0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10];

/** Gives a value to a guest's series; `by` is the value of the metric's other label. */
type Add = (guest: string, value: number, by?: string) => void;

/**
 * @internal Metrics of guests in a registry: each has the label `guest`, and at most one more, of a few values. Remembers which
 * series there are, as prom-client takes out only what is named in full.
 */
export class MetricSet {
  readonly #client: PromClient;
  readonly #register: PromRegistry;
  readonly #names: string[] = [];
  /** How to take the series out, by guest and by what tells them apart. */
  readonly #series = new Map<string, Map<string, () => void>>();

  constructor(client: PromClient, register: PromRegistry) {
    this.#client = client;
    this.#register = register;
  }

  counter(name: string, help: string, { label, collect }: { label?: string; collect?: () => void } = {}): Add {
    const counter = new this.#client.Counter({
      ...this.#configuration(name, help, label),
      ...(collect && { collect }),
    });
    return this.#adder(name, label, counter, (labels, value) => counter.inc(labels, value));
  }

  gauge(name: string, help: string, collect: () => void): Add {
    const gauge = new this.#client.Gauge({ ...this.#configuration(name, help), collect });
    return this.#adder(name, undefined, gauge, (labels, value) => gauge.set(labels, value));
  }

  /** Of seconds. */
  histogram(name: string, help: string, label?: string): Add {
    const histogram = new this.#client.Histogram({ ...this.#configuration(name, help, label), buckets: BUCKETS });
    return this.#adder(name, label, histogram, (labels, value) => histogram.observe(labels, value));
  }

  /** Takes a guest's series out. */
  forget(guest: string): void {
    for (const remove of this.#series.get(guest)?.values() ?? []) remove();
    this.#series.delete(guest);
  }

  /** Takes all metrics out of the registry. */
  close(): void {
    for (const name of this.#names) this.#register.removeSingleMetric(name);
  }

  #configuration(name: string, help: string, label?: string): PromConfiguration {
    return { name, help, labelNames: label === undefined ? ["guest"] : ["guest", label], registers: [] };
  }

  #adder(
    name: string,
    label: string | undefined,
    metric: { remove(labels: PromLabels): void },
    add: (labels: PromLabels, value: number) => void,
  ): Add {
    this.#register.registerMetric(metric);
    // Until here the name may have been another's.
    this.#names.push(name);
    return (guest, value, by = "") => {
      const labels = label === undefined ? { guest } : { guest, [label]: by };
      const series = this.#series.get(guest) ?? new Map();
      this.#series.set(guest, series);
      series.set(`${name} ${by}`, () => metric.remove(labels));
      add(labels, value);
    };
  }
}
