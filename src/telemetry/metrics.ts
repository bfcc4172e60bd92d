/**
 * The server's metrics: one registry, the parts that fill it, and the page that
 * Prometheus scrapes. What each part measures is in a file of its own.
 *
 * @module
 */

import { type Clock, systemClock } from "../lock/clock.ts";
import type { YieldCause } from "../lock/hold_outcomes.ts";
import type { Group } from "../lock/identity.ts";
import type { IgnoredReason, ReasonKind } from "../lock/policy.ts";
import type { Versioned } from "../lock/lock_store.ts";
import type { Holder } from "../lock/semaphore.ts";
import { within } from "../lock/within.ts";
import { addClusterMetrics, type ClusterSource } from "./cluster_metrics.ts";
import { addConfigMetrics, type ConfigSource } from "./config_metrics.ts";
import { DrainMetrics, type StuckHold } from "./drain_metrics.ts";
import { LockMetrics } from "./lock_metrics.ts";
import { addProcessMetrics } from "./process_metrics.ts";
import { MetricRegistry } from "./prometheus_metrics.ts";
import { type Endpoint, RequestMetrics } from "./request_metrics.ts";
import { StoreMetrics, type StoreOperation, type StoreResult } from "./store_metrics.ts";

export type { Endpoint };

/** Options of {@link Metrics}. */
export interface MetricsOptions {
  /** The program's version, such as `0.1.0`. */
  readonly version: string;
  /** The clock that ages and time limits go by. @default {systemClock} */
  readonly clock?: Pick<Clock, "now" | "sleep">;
  /**
   * How long a scrape waits for the groups, in milliseconds. After that it leaves out the lock gauges.
   *
   * @default {3000}
   */
  readonly groupsTimeoutMs?: number;
}

/** Where the values of the lock gauges come from. */
export interface LockSource {
  /** All groups. */
  groups(): Promise<ReadonlyMap<Group, Versioned>>;
  /** How many clients of a group may hold a slot at a time. */
  slotsOf(group: Group): number;
  /** When the windows of a group next allow a grant, in milliseconds since the epoch; undefined where it has none. */
  nextOpeningOf?(group: Group): number | undefined;
  /** For how long this process has seen a hold, in milliseconds: the clock of its grant may have been ahead. */
  seenForMs?(group: Group, holder: Holder): number;
}

/** All metrics of one server. */
export class Metrics {
  readonly #registry = new MetricRegistry();
  readonly #clock: Pick<Clock, "now" | "sleep">;
  readonly #groupsTimeoutMs: number;
  readonly #locks: LockMetrics;
  readonly #requests: RequestMetrics;
  readonly #store: StoreMetrics;
  #drains: DrainMetrics | undefined;
  #source: LockSource | undefined;
  #holds: (() => Iterable<StuckHold>) | undefined;
  #waiting: ((stored: Iterable<Group>) => ReadonlyMap<Group, number>) | undefined;

  /** Makes every metric, at 0 if it has no value yet. */
  constructor(options: MetricsOptions) {
    this.#clock = options.clock ?? systemClock;
    this.#groupsTimeoutMs = options.groupsTimeoutMs ?? 3_000;
    this.#locks = new LockMetrics(this.#registry);
    this.#requests = new RequestMetrics(this.#registry);
    this.#store = new StoreMetrics(this.#registry);
    addProcessMetrics(this.#registry, options.version);
  }

  /** The media type of {@link render}'s text. */
  get contentType(): string {
    return this.#registry.contentType;
  }

  /** Sets where the values of the lock gauges come from. Until then, the page has no lock gauges. */
  collectLocks(source: LockSource): void {
    this.#source = source;
  }

  /** Sets where the states of the holds come from, for a server that drains nodes. */
  collectHolds(holds: () => Iterable<StuckHold>): void {
    this.#holds = holds;
  }

  /**
   * Sets where the numbers of waiting clients come from. A group that is not in the map has no series.
   *
   * @param waiting Is given the groups of the store. Clients can name any group, so what it adds must be bounded.
   */
  collectWaiting(waiting: (stored: Iterable<Group>) => ReadonlyMap<Group, number>): void {
    this.#waiting = waiting;
  }

  /** Adds the metrics of the connection to a cluster. Must be called once at most. */
  addCluster(source: ClusterSource): void {
    addClusterMetrics(this.#registry, source);
  }

  /** Adds the metrics of a configuration file. Must be called once at most. */
  addConfig(source: ConfigSource): void {
    addConfigMetrics(this.#registry, source);
  }

  /** Adds the metrics of the drains. Must be called once at most. */
  addDrains(): DrainMetrics {
    return this.#drains = new DrainMetrics(this.#registry);
  }

  /** See {@link LockMetrics.grantedWithoutNode}. */
  grantedWithoutNode(): void {
    this.#locks.grantedWithoutNode();
  }

  /** See {@link LockMetrics.policyRefused}. */
  policyRefused(kind: ReasonKind): void {
    this.#locks.policyRefused(kind);
  }

  /** See {@link LockMetrics.policyIgnored}. */
  policyIgnored(kind: ReasonKind, because: IgnoredReason["because"]): void {
    this.#locks.policyIgnored(kind, because);
  }

  /** See {@link LockMetrics.monitorFailed}. */
  monitorFailed(monitor: "prometheus" | "alertmanager", onError: "refuse" | "allow"): void {
    this.#locks.monitorFailed(monitor, onError);
  }

  /** See {@link LockMetrics.yielded}. */
  yielded(cause: YieldCause["kind"]): void {
    this.#locks.yielded(cause);
  }

  /** See {@link LockMetrics.releasedGone}. */
  releasedGone(): void {
    this.#locks.releasedGone();
  }

  /** See {@link RequestMetrics.expectRequests}. */
  expectRequests(endpoint: Endpoint, kinds: readonly string[]): void {
    this.#requests.expectRequests(endpoint, kinds);
  }

  /** See {@link RequestMetrics.lockRequested}. */
  lockRequested(): void {
    this.#requests.lockRequested();
  }

  /** See {@link RequestMetrics.unlockRequested}. */
  unlockRequested(): void {
    this.#requests.unlockRequested();
  }

  /** See {@link RequestMetrics.requestDone}. */
  requestDone(endpoint: Endpoint, kind: string, seconds: number): void {
    this.#requests.requestDone(endpoint, kind, seconds);
  }

  /** See {@link RequestMetrics.readinessTold}. */
  readinessTold(isReady: boolean): void {
    this.#requests.readinessTold(isReady);
  }

  /** See {@link StoreMetrics.storeOperationDone}. */
  storeOperationDone(operation: StoreOperation, result: StoreResult, seconds: number): void {
    this.#store.storeOperationDone(operation, result, seconds);
  }

  /** See {@link StoreMetrics.setWatchSynced}. */
  setWatchSynced(synced: boolean): void {
    this.#store.setWatchSynced(synced);
  }

  /**
   * Renders the page.
   *
   * @returns The Prometheus text format, version 0.0.4. If the store does not
   * list its groups in time, the page has no lock gauges, since an old value would be worse than none.
   * @throws What the source of the locks throws.
   */
  async render(): Promise<string> {
    const groups = await this.#groups();
    this.#locks.reset();
    this.#drains?.show(groups);
    for (const [group, { state }] of groups ?? []) {
      const now = this.#clock.now();
      const ages = state.holders.map((holder) => {
        return Math.max(now - holder.since, this.#source?.seenForMs?.(group, holder) ?? 0);
      });
      this.#locks.show(group, state, { slots: this.#source?.slotsOf(group) ?? 0, now, heldMs: Math.max(0, ...ages) });
    }
    this.#drains?.showStuck(this.#holds?.() ?? []);
    const waiting = this.#waiting?.(groups?.keys() ?? []) ?? new Map<Group, number>();
    for (const [group, count] of waiting) this.#locks.showWaiting(group, count);
    for (const group of new Set([...groups?.keys() ?? [], ...waiting.keys()])) {
      const opening = this.#source?.nextOpeningOf?.(group);
      if (opening !== undefined) this.#locks.showOpening(group, opening);
    }
    return await this.#registry.render();
  }

  async #groups(): Promise<ReadonlyMap<Group, Versioned> | undefined> {
    if (this.#source === undefined) return undefined;
    const groups = await within(this.#groupsTimeoutMs, this.#source.groups(), this.#clock);
    return groups === "late" ? undefined : groups;
  }
}
