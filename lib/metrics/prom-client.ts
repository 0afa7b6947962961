/** What is used of the module prom-client, which is one as it is. These types need no prom-client. */
export interface PromClient {
  readonly Counter: new (configuration: PromConfiguration) => PromCounter;
  readonly Gauge: new (configuration: PromConfiguration) => PromGauge;
  readonly Histogram: new (configuration: PromConfiguration & { buckets?: number[] }) => PromHistogram;
  /** Its default registry. */
  readonly register: PromRegistry;
}

/** How a metric of prom-client is made. */
export interface PromConfiguration {
  name: string;
  help: string;
  labelNames?: readonly string[];
  /** None: it is registered afterwards. */
  registers: never[];
  /** Called when the metric is asked for. */
  collect?: () => void;
}

/** A registry of prom-client. */
export interface PromRegistry {
  metrics(): Promise<string>;
  registerMetric(metric: object): void;
  removeSingleMetric(name: string): void;
}

/** Labels of a time series. */
export type PromLabels = Record<string, string>;

/** A counter of prom-client. */
export interface PromCounter {
  inc(labels: PromLabels, value?: number): void;
  remove(labels: PromLabels): void;
}

/** A gauge of prom-client. */
export interface PromGauge {
  set(labels: PromLabels, value: number): void;
  remove(labels: PromLabels): void;
}

/** A histogram of prom-client. */
export interface PromHistogram {
  observe(labels: PromLabels, value: number): void;
  remove(labels: PromLabels): void;
}
