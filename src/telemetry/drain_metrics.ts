/**
 * Metrics of the drains and of the nodes. They exist only in a server that drains
 * nodes.
 *
 * @module
 */

import type { Counter, Gauge, Histogram } from "prom-client";
import type { DrainResult } from "../lock/drain_report.ts";
import type { Group } from "../lock/identity.ts";
import type { Versioned } from "../lock/lock_store.ts";
import type { MetricRegistry } from "./prometheus_metrics.ts";

/** How the API server answered an eviction. */
export type EvictionResult =
  | "accepted"
  | "gone"
  | "replaced"
  | "blocked"
  | "several_budgets"
  | "namespace_ending"
  | "failed";

/** Where a hold is, and whether it is stuck there. */
export interface StuckHold {
  /** The group whose slot is held. */
  readonly group: Group;
  /** What the account of the state says of it. */
  readonly holder: { readonly stage: string; readonly isStuck: boolean };
}

const RESULTS: readonly DrainResult[] = ["drained", "proceeded", "failed", "abandoned", "interrupted", "error"];
const EVICTION_RESULTS: readonly EvictionResult[] = [
  "accepted",
  "gone",
  "replaced",
  "blocked",
  "several_budgets",
  "namespace_ending",
  "failed",
];
const PHASES = ["draining", "drained", "failed"] as const;

/** Upper bounds in seconds. A drain can take hours if the operator allows it. */
const BUCKETS = [1, 5, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600];

/** The metrics of the drains. */
export class DrainMetrics {
  readonly #durations: Histogram<"result">;
  readonly #evictions: Counter<"result">;
  readonly #podsLeft: Gauge<"group">;
  readonly #podsBlocked: Gauge<"group">;
  /** What the drains in this process have told last. */
  readonly #waits = new Map<Group, { readonly left: number; readonly blocked: number }>();
  readonly #nodesSynced: Gauge<never>;
  readonly #malformedNodes: Gauge<never>;
  readonly #repairs: Counter<never>;
  readonly #phases: Gauge<"group" | "phase">;
  readonly #stuck: Gauge<"group" | "state">;
  readonly #unheldReboots: Counter<never>;

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
    this.#stuck = registry.gauge(
      "fleetlock_lock_stuck",
      "Number of the group's holds that have been in the state for too long, and of hosts that are rolled-back, as this process sees it",
      ["group", "state"],
    );
    this.#unheldReboots = registry.counter(
      "fleetlock_unheld_reboots_total",
      "Number of reboots of nodes that this process saw and whose host held no slot",
    );
    this.#unheldReboots.inc(0);
  }

  /** Counts a drain that ended, and the seconds that it took. */
  drainEnded(_group: Group, result: DrainResult, seconds: number): void {
    this.#durations.observe({ result }, seconds);
  }

  /** Counts an answer to an eviction. */
  eviction(result: EvictionResult): void {
    this.#evictions.inc({ result });
  }

  /** Sets how many pods the group's drains in this process wait for, and how many of them a budget blocks. */
  podsLeft(group: Group, left: number, blocked: number): void {
    this.#waits.set(group, { left, blocked });
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

  /** Counts a reboot without a slot. */
  unheldReboot(): void {
    this.#unheldReboots.inc();
  }

  /** Sets the series of the stuck holds. @param holds Where each hold is, and whether it is stuck there. */
  showStuck(holds: Iterable<StuckHold>): void {
    this.#stuck.reset();
    for (const { group, holder: { stage, isStuck } } of holds) {
      if (stage !== "unknown") this.#stuck.inc({ group, state: stage }, isStuck ? 1 : 0);
    }
  }

  /**
   * Sets the series of all groups, and removes those of groups that the store does not have any more.
   *
   * @param groups The groups of the store; undefined if the store did not tell in time. Then the page has only what
   * this process knows itself: the pods that its drains wait for.
   */
  show(groups: ReadonlyMap<Group, Pick<Versioned, "state">> | undefined): void {
    for (const gauge of [this.#phases, this.#podsLeft, this.#podsBlocked]) gauge.reset();
    for (const [group, { left, blocked }] of this.#waits) {
      if (groups === undefined) this.#showWaits(group, left, blocked);
      else if (!groups.has(group) && left === 0) this.#waits.delete(group);
    }
    for (const [group, { state }] of groups ?? []) {
      const { left, blocked } = this.#waits.get(group) ?? { left: 0, blocked: 0 };
      this.#showWaits(group, left, blocked);
      for (const phase of PHASES) {
        this.#phases.set({ group, phase }, state.holders.filter((holder) => holder.node?.phase === phase).length);
      }
    }
  }

  #showWaits(group: Group, left: number, blocked: number): void {
    this.#podsLeft.set({ group }, left);
    this.#podsBlocked.set({ group }, blocked);
  }
}
