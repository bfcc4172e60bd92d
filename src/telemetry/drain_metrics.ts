/**
 * Metrics of the drains and of the nodes. They exist only in a server that drains
 * nodes.
 *
 * @module
 */

import type { Counter, Gauge, Histogram } from "prom-client";
import type { Group } from "../lock/identity.ts";
import type { GroupState } from "../lock/semaphore.ts";
import type { MetricRegistry } from "./prometheus_metrics.ts";

const RESULTS = ["drained", "proceeded", "failed", "abandoned", "interrupted", "error"] as const;

/** How a drain ended. */
export type DrainResult = typeof RESULTS[number];

const EVICTION_RESULTS = [
  "accepted",
  "gone",
  "replaced",
  "blocked",
  "several_budgets",
  "namespace_ending",
  "failed",
] as const;

/** How the API server answered an eviction. */
export type EvictionResult = typeof EVICTION_RESULTS[number];

const PHASES = ["draining", "drained", "failed"] as const;

/** Upper bounds in seconds. A drain can take hours if the operator allows it. */
const BUCKETS = [1, 5, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600];

/** The metrics of the drains. */
export class DrainMetrics {
  readonly #durations: Histogram<"result">;
  readonly #evictions: Counter<"result">;
  readonly #podsLeft: Gauge<"group">;
  readonly #podsBlocked: Gauge<"group">;
  readonly #nodesSynced: Gauge<never>;
  readonly #malformedNodes: Gauge<never>;
  readonly #repairs: Counter<never>;
  readonly #phases: Gauge<"group" | "phase">;

  /** Makes the metrics, at 0. */
  constructor(registry: MetricRegistry) {
    this.#durations = registry.histogram(
      "fleetlock_drain_duration_seconds",
      "Duration of a drain in this process, by result",
      ["result"],
      BUCKETS,
    );
    for (const result of RESULTS) this.#durations.zero({ result });
    this.#evictions = registry.counter("fleetlock_evictions_total", "Number of evictions by result", ["result"]);
    for (const result of EVICTION_RESULTS) this.#evictions.inc({ result }, 0);
    this.#podsLeft = registry.gauge(
      "fleetlock_drain_pods_left",
      "Number of pods that the group's drains in this process wait for",
      ["group"],
    );
    this.#podsBlocked = registry.gauge(
      "fleetlock_drain_pods_blocked",
      "Number of those pods whose PodDisruptionBudget blocks the eviction",
      ["group"],
    );
    this.#nodesSynced = registry.gauge(
      "fleetlock_nodes_synced",
      "Whether the watch of the nodes is synchronized (0 or 1)",
    );
    this.#nodesSynced.set(0);
    this.#malformedNodes = registry.gauge("fleetlock_nodes_malformed", "Number of nodes whose machine-id is malformed");
    this.#malformedNodes.set(0);
    this.#repairs = registry.counter("fleetlock_cordons_repaired_total", "Number of stale cordons that were lifted");
    this.#phases = registry.gauge(
      "fleetlock_drain_phase",
      "Number of the group's holders whose drain is in the phase",
      ["group", "phase"],
    );
  }

  /** Counts a drain that ended, and the seconds that it took. */
  drainEnded(_group: string, result: DrainResult, seconds: number): void {
    this.#durations.observe({ result }, seconds);
  }

  /** Counts an answer to an eviction. */
  eviction(result: EvictionResult): void {
    this.#evictions.inc({ result });
  }

  /** Sets how many pods the group's drains in this process wait for, and how many of them a budget blocks. */
  podsLeft(group: string, left: number, blocked: number): void {
    this.#podsLeft.set({ group }, left);
    this.#podsBlocked.set({ group }, blocked);
  }

  /** Sets whether the watch of the nodes is synchronized. */
  nodesSynced(synced: boolean): void {
    this.#nodesSynced.set(synced ? 1 : 0);
  }

  /** Sets how many nodes have a malformed machine-id. */
  malformedNodes(count: number): void {
    this.#malformedNodes.set(count);
  }

  /** Counts a stale cordon that was lifted. */
  repaired(): void {
    this.#repairs.inc();
  }

  /** Removes the series of the drains' phases. */
  resetPhases(): void {
    this.#phases.reset();
  }

  /** Sets the series of the drains' phases of one group. */
  showPhases(group: Group, { holders }: GroupState): void {
    for (const phase of PHASES) {
      this.#phases.set({ group, phase }, holders.filter((holder) => holder.node?.phase === phase).length);
    }
  }
}
