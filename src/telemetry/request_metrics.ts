/**
 * Counters and durations of the requests.
 *
 * @module
 */

import type { Counter, Gauge, Histogram } from "prom-client";
import type { MetricRegistry, Tally } from "./prometheus_metrics.ts";

/** The endpoint of a request. */
export type Endpoint = "pre-reboot" | "steady-state" | "other";

/** Upper bounds in seconds. A reply can wait for a drain for minutes. */
const BUCKETS = [0.001, 0.005, 0.025, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 240, 300];

/** The metrics of the requests. */
export class RequestMetrics {
  readonly #registry: MetricRegistry;
  readonly #lockRequests: Tally;
  readonly #unlockRequests: Tally;
  readonly #requests: Counter<"endpoint" | "kind">;
  readonly #ready: Gauge<never>;
  readonly #tallies: Readonly<Record<Endpoint, Map<string, Tally>>> = {
    "pre-reboot": new Map(),
    "steady-state": new Map(),
    other: new Map(),
  };
  readonly #durations: Readonly<Record<Endpoint, Histogram.Internal<"endpoint">>>;

  /** Makes the metrics, at 0. */
  constructor(registry: MetricRegistry) {
    this.#registry = registry;
    this.#lockRequests = registry.tally(
      registry.counter("fleetlock_lock_request_count", "Number of well-formed pre-reboot requests"),
    );
    this.#unlockRequests = registry.tally(
      registry.counter("fleetlock_unlock_request_count", "Number of well-formed steady-state requests"),
    );
    this.#requests = registry.counter("fleetlock_requests_total", "Number of requests by endpoint and outcome", [
      "endpoint",
      "kind",
    ]);
    this.#ready = registry.gauge(
      "fleetlock_ready",
      "Whether the last answer on /-/ready was ready (0 or 1); absent until somebody asks",
    );
    // prom-client starts a gauge without labels at 0, which would say that the server is not ready.
    this.#ready.remove();
    const durations = registry.histogram(
      "fleetlock_request_duration_seconds",
      "Time from a request to its reply",
      ["endpoint"],
      BUCKETS,
    );
    const durationsOf = (endpoint: Endpoint) => {
      durations.zero({ endpoint });
      return durations.labels(endpoint);
    };
    this.#durations = {
      "pre-reboot": durationsOf("pre-reboot"),
      "steady-state": durationsOf("steady-state"),
      other: durationsOf("other"),
    };
  }

  /** Makes the series of the outcomes that an endpoint can have, so that they start at 0. */
  expectRequests(endpoint: Endpoint, kinds: readonly string[]): void {
    for (const kind of kinds) this.#tallyOf(endpoint, kind);
  }

  /** Sets what the last answer on `/-/ready` was. */
  readinessTold(isReady: boolean): void {
    this.#ready.set(isReady ? 1 : 0);
  }

  /** Counts a well-formed pre-reboot request. */
  lockRequested(): void {
    this.#lockRequests.count++;
  }

  /** Counts a well-formed steady-state request. */
  unlockRequested(): void {
    this.#unlockRequests.count++;
  }

  /**
   * Counts a request.
   *
   * @param kind The outcome, from a closed set: each new outcome adds a series for good.
   * @param seconds How long the request took.
   */
  requestDone(endpoint: Endpoint, kind: string, seconds: number): void {
    this.#tallyOf(endpoint, kind).count++;
    this.#durations[endpoint].observe(seconds);
  }

  #tallyOf(endpoint: Endpoint, kind: string): Tally {
    const tallies = this.#tallies[endpoint];
    let tally = tallies.get(kind);
    if (tally === undefined) {
      tally = this.#registry.tally(this.#requests, endpoint, kind);
      tallies.set(kind, tally);
    }
    return tally;
  }
}
