/**
 * Metrics of filters, by prom-client, which whoever uses this installs and gives.
 *
 * @packageDocumentation
 */
export { type FilterMetrics, type FilterMetricsOptions, filterMetrics } from "./filter-metrics.ts";
export type {
  PromClient,
  PromConfiguration,
  PromCounter,
  PromGauge,
  PromHistogram,
  PromLabels,
  PromRegistry,
} from "./prom-client.ts";
