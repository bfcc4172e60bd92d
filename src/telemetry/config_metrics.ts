/**
 * Metrics of the configuration file.
 *
 * @module
 */

import type { MetricRegistry } from "./prometheus_metrics.ts";

/** Where the values come from. They are read at each scrape. */
export interface ConfigSource {
  /** Identifies the bytes of the file in force. */
  readonly hash: string;
  /** What is wrong with what is in the file's place now; empty where it is in force. */
  readonly errors: readonly unknown[];
  /** How many new contents of the file could not be used. */
  readonly failures: number;
}

/** Adds the metrics. */
export function addConfigMetrics(registry: MetricRegistry, source: ConfigSource): void {
  const info = registry.gauge(
    "fleetlock_config_info",
    "Always 1; the label is a hash of the bytes of the configuration file in force, to find replicas that differ",
    ["hash"],
    () => {
      info.reset();
      info.set({ hash: source.hash }, 1);
    },
  );
  const stale = registry.gauge(
    "fleetlock_config_stale",
    "Whether the configuration file cannot be used, so that an earlier version of it is in force (0 or 1)",
    [],
    () => {
      stale.set(source.errors.length > 0 ? 1 : 0);
    },
  );
  let counted = 0;
  const failures = registry.counter(
    "fleetlock_config_reload_failures_total",
    "Number of new contents of the configuration file that could not be used",
    [],
    () => {
      failures.inc(source.failures - counted);
      counted = source.failures;
    },
  );
}
