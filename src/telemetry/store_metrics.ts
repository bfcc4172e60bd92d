/**
 * Counters and durations of the calls to the store, and the state of its watch.
 *
 * @module
 */

import type { Counter, Gauge, Histogram } from "prom-client";
import type { MetricRegistry } from "./prometheus_metrics.ts";

/** An operation of a store. */
export type StoreOperation = "read" | "write" | "list";

/**
 * The result of a call to a store: it succeeded, a write conflicted, the store
 * did not answer, the caller aborted the call, or the program has a bug.
 */
export type StoreResult = "ok" | "conflict" | "unavailable" | "aborted" | "error";

/** Upper bounds in seconds. A call to a store times out after 10 s. */
const BUCKETS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];

const RESULTS: Readonly<Record<StoreOperation, readonly StoreResult[]>> = {
  read: ["ok", "unavailable", "aborted", "error"],
  write: ["ok", "unavailable", "aborted", "error", "conflict"],
  list: ["ok", "unavailable", "aborted", "error"],
};

/** The metrics of the store. */
export class StoreMetrics {
  readonly #operations: Counter<"operation" | "result">;
  readonly #durations: Histogram<"operation">;
  readonly #watchSynced: Gauge<never>;

  /** Makes the metrics, at 0. */
  constructor(registry: MetricRegistry) {
    this.#operations = registry.counter("fleetlock_store_operations_total", "Number of calls to the store by result", [
      "operation",
      "result",
    ]);
    this.#durations = registry.histogram(
      "fleetlock_store_operation_duration_seconds",
      "Duration of a call to the store",
      ["operation"],
      BUCKETS,
    );
    for (const [operation, results] of Object.entries(RESULTS)) {
      this.#durations.zero({ operation });
      for (const result of results) this.#operations.inc({ operation, result }, 0);
    }
    this.#watchSynced = registry.gauge(
      "fleetlock_watch_synced",
      "Whether the watch of the store is synchronized (0 or 1)",
    );
    this.#watchSynced.set(0);
  }

  /** Counts a call to the store and the seconds that it took. */
  storeOperationDone(operation: StoreOperation, result: StoreResult, seconds: number): void {
    this.#operations.inc({ operation, result });
    this.#durations.observe({ operation }, seconds);
  }

  /** Sets whether the watch of the store is synchronized. */
  setWatchSynced(synced: boolean): void {
    this.#watchSynced.set(synced ? 1 : 0);
  }
}
