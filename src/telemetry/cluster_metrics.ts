/**
 * Metrics of the connection to a Kubernetes cluster: the difference of the
 * clocks, and the permissions that are missing.
 *
 * @module
 */

import type { MetricRegistry } from "./prometheus_metrics.ts";

/** Where the values come from. They are read at each scrape. */
export interface ClusterSource {
  /** The API server's time. */
  readonly clock: {
    /** How far this machine's clock is ahead of the API server's, in milliseconds; undefined where that is unknown. */
    readonly skewMs: number | undefined;
  };
  /** The permissions. */
  readonly permissions: {
    /** Whether the API server has said which ones are missing. */
    readonly isAnswered: boolean;
    /** Those that are missing. */
    readonly missing: { readonly required: readonly unknown[]; readonly optional: readonly unknown[] };
  };
}

/** Adds the metrics. Each has no value until it is known. */
export function addClusterMetrics(registry: MetricRegistry, { clock, permissions }: ClusterSource): void {
  const skew = registry.gauge(
    "fleetlock_clock_skew_seconds",
    "This machine's clock minus the API server's",
    [],
    () => {
      skew.remove();
      if (clock.skewMs !== undefined) skew.set(clock.skewMs / 1000);
    },
  );
  const missing = registry.gauge(
    "fleetlock_permissions_missing",
    "Number of the server's permissions in the cluster that are missing",
    ["requirement"],
    () => {
      if (!permissions.isAnswered) return;
      missing.set({ requirement: "required" }, permissions.missing.required.length);
      missing.set({ requirement: "optional" }, permissions.missing.optional.length);
    },
  );
}
