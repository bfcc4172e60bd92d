/**
 * The server's metrics in the Prometheus text format. The only module that knows
 * prom-client, of which it loads just the parts that it uses: the package's
 * index costs more memory and start-up time than the rest of the server, and
 * its default metrics are wrong on Deno. What the lock gauges say is asked of the
 * store at each scrape, so it is true after a restart and after a change by hand.
 *
 * @module
 */

import process from "node:process";
import type { Counter, Gauge, Histogram, Registry } from "prom-client";
import CounterClass from "prom-client/lib/counter.js";
import GaugeClass from "prom-client/lib/gauge.js";
import HistogramClass from "prom-client/lib/histogram.js";
import RegistryClass from "prom-client/lib/registry.js";
import type { DrainResult } from "../lock/drain_report.ts";
import type { Group } from "../lock/identity.ts";
import type { Versioned } from "../lock/lock_store.ts";

/** What a request was for. */
export type Endpoint = "pre-reboot" | "steady-state" | "other";

/** What a store was asked to do. */
export type StoreOperation = "read" | "write" | "list";

/** How that ended: done; by a conflict; without an answer; ended by the caller; or by a fault of our own. */
export type StoreResult = "ok" | "conflict" | "unavailable" | "aborted" | "error";

/** Options of {@link Metrics}. */
export interface MetricsOptions {
  /** The program's version, such as `0.1.0`. */
  readonly version: string;
  /** Milliseconds since the epoch. @default {Date.now} */
  readonly now?: () => number;
  /** How long a scrape waits for the groups, in milliseconds; after that it goes without them. @default {3000} */
  readonly groupsTimeoutMs?: number;
}

/** Where the lock gauges come from. */
export interface LockSource {
  /** All groups. */
  groups(): Promise<ReadonlyMap<Group, Versioned>>;
  /** How many clients of a group may hold a slot. */
  readonly slots: number;
}

/** How an eviction was answered. */
export type EvictionResult =
  | "accepted"
  | "gone"
  | "replaced"
  | "blocked"
  | "several_budgets"
  | "namespace_ending"
  | "failed";

/** Told how drains go. */
export interface DrainMetrics {
  /** A drain ended, after so many seconds. */
  drainEnded(group: string, result: DrainResult, seconds: number): void;
  /** An eviction was answered. */
  eviction(result: EvictionResult): void;
  /** How many pods the group's drains here wait for, and how many of those a budget holds back. */
  podsLeft(group: string, left: number, blocked: number): void;
  /** Whether the watch of the nodes is in step. */
  nodesSynced(synced: boolean): void;
  /** How many nodes have a machine-id that is none. */
  malformedNodes(count: number): void;
  /** A cordon that had outlived its lock was lifted. */
  repaired(): void;
}

// prom-client types its index only.
const typed = <T>(untyped: unknown): T => untyped as T;
const NewRegistry = typed<new () => Registry>(RegistryClass);
const NewCounter = typed<new <T extends string>(options: object) => Counter<T>>(CounterClass);
const NewGauge = typed<new <T extends string>(options: object) => Gauge<T>>(GaugeClass);
const NewHistogram = typed<new <T extends string>(options: object) => Histogram<T>>(HistogramClass);

/** A reply may wait for a drain for minutes. */
const REQUEST_BUCKETS = [0.001, 0.005, 0.025, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 240, 300];
/** A call to a store is given up after 10 s. */
const STORE_BUCKETS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];

/** A drain may take hours, where the operator lets it. */
const DRAIN_BUCKETS = [1, 5, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600];

const DRAIN_PHASES = ["draining", "drained", "failed"] as const;
const DRAIN_RESULTS: readonly DrainResult[] = ["drained", "proceeded", "failed", "abandoned", "interrupted", "error"];
const EVICTION_RESULTS: readonly EvictionResult[] = [
  "accepted",
  "gone",
  "replaced",
  "blocked",
  "several_budgets",
  "namespace_ending",
  "failed",
];

/** What was counted since the last page: a plain number costs a fifth of a counter. */
interface Tally {
  readonly counter: Counter.Internal;
  count: number;
}

/** All metrics of one server. */
export class Metrics {
  /** The media type of {@link render}'s text. */
  readonly contentType: string;
  readonly #registry = new NewRegistry();
  readonly #now: () => number;
  readonly #groupsTimeoutMs: number;
  #locks: LockSource | undefined;

  readonly #lockState: Gauge<"group">;
  readonly #transitions: Gauge<"group">;
  readonly #holders: Gauge<"group">;
  readonly #slots: Gauge<"group">;
  readonly #heldSeconds: Gauge<"group">;
  readonly #lockRequests: Tally;
  readonly #unlockRequests: Tally;
  /** All that were counted outside the registry since the last page. */
  readonly #tallies: Tally[] = [];
  readonly #requests: Counter<"endpoint" | "kind">;
  readonly #requestCounters: Readonly<Record<Endpoint, Map<string, Tally>>> = {
    "pre-reboot": new Map(),
    "steady-state": new Map(),
    other: new Map(),
  };
  readonly #requestDurations: Readonly<Record<Endpoint, Histogram.Internal<"endpoint">>>;
  readonly #storeOperations: Counter<"operation" | "result">;
  readonly #storeDurations: Histogram<"operation">;
  readonly #watchSynced: Gauge<never>;
  #drainPhases: Gauge<"group" | "phase"> | undefined;

  /** Makes every metric, at 0 where it has no value yet. */
  constructor(options: MetricsOptions) {
    this.contentType = this.#registry.contentType;
    this.#now = options.now ?? Date.now;
    this.#groupsTimeoutMs = options.groupsTimeoutMs ?? 3_000;

    this.#lockState = this.#gauge("fleetlock_lock_state", "Whether a reboot slot of the group is held (0 or 1)", [
      "group",
    ]);
    this.#transitions = this.#gauge("fleetlock_lock_transition_count", "Grants of the group's slots so far", ["group"]);
    this.#holders = this.#gauge("fleetlock_lock_holders", "Clients that hold a slot of the group", ["group"]);
    this.#slots = this.#gauge("fleetlock_lock_slots", "Clients of the group that may hold a slot", ["group"]);
    this.#heldSeconds = this.#gauge(
      "fleetlock_lock_held_seconds",
      "Age of the group's oldest grant that is still held; 0 when free",
      ["group"],
    );
    this.#lockRequests = this.#tally(
      this.#counter("fleetlock_lock_request_count", "Well-formed pre-reboot requests"),
    );
    this.#unlockRequests = this.#tally(
      this.#counter("fleetlock_unlock_request_count", "Well-formed steady-state requests"),
    );
    this.#requests = this.#counter("fleetlock_requests_total", "Requests by endpoint and outcome", [
      "endpoint",
      "kind",
    ]);
    const durations = this.#histogram(
      "fleetlock_request_duration_seconds",
      "Time from a request to its reply",
      ["endpoint"],
      REQUEST_BUCKETS,
    );
    const durationsOf = (endpoint: Endpoint) => {
      durations.zero({ endpoint });
      return durations.labels(endpoint);
    };
    this.#requestDurations = {
      "pre-reboot": durationsOf("pre-reboot"),
      "steady-state": durationsOf("steady-state"),
      other: durationsOf("other"),
    };
    this.#storeOperations = this.#counter("fleetlock_store_operations_total", "Calls to the store by result", [
      "operation",
      "result",
    ]);
    this.#storeDurations = this.#histogram(
      "fleetlock_store_operation_duration_seconds",
      "Time of a call to the store",
      ["operation"],
      STORE_BUCKETS,
    );
    for (const operation of ["read", "write", "list"] satisfies StoreOperation[]) {
      this.#storeDurations.zero({ operation });
      const results: StoreResult[] = ["ok", "unavailable", "aborted", "error"];
      if (operation === "write") results.push("conflict");
      for (const result of results) this.#storeOperations.inc({ operation, result }, 0);
    }
    this.#watchSynced = this.#gauge("fleetlock_watch_synced", "Whether the watch of the store is in step (0 or 1)");
    this.#watchSynced.set(0);
    this.#gauge<"version" | "deno">("fleetlock_build_info", "1, with what runs here as labels", ["version", "deno"])
      .set({ version: options.version, deno: Deno.version.deno }, 1);
    this.#describeProcess();
  }

  /** Says where the lock gauges come from. Until then, they are not there. */
  collectLocks(locks: LockSource): void {
    this.#locks = locks;
  }

  /** Makes the counters of the outcomes that an endpoint can have, so that they start at 0. */
  expectRequests(endpoint: Endpoint, kinds: readonly string[]): void {
    for (const kind of kinds) this.#requestTally(endpoint, kind);
  }

  /**
   * Adds the metrics of draining nodes.
   *
   * @returns To be told of it: `seconds` are a drain's time, `left` the pods that
   * drains here wait for, `blocked` those of them that a budget holds back.
   */
  addDrains(): DrainMetrics {
    const durations = this.#histogram(
      "fleetlock_drain_duration_seconds",
      "Time of a drain in this process, by result",
      ["result"],
      DRAIN_BUCKETS,
    );
    for (const result of DRAIN_RESULTS) durations.zero({ result });
    const evictions = this.#counter("fleetlock_evictions_total", "Answers to evictions", ["result"]);
    for (const result of EVICTION_RESULTS) evictions.inc({ result }, 0);
    const left = this.#gauge("fleetlock_drain_pods_left", "Pods that the group's drains here wait for", ["group"]);
    const blocked = this.#gauge("fleetlock_drain_pods_blocked", "Those of them that a budget holds back", ["group"]);
    const nodesSynced = this.#gauge("fleetlock_nodes_synced", "Whether the watch of the nodes is in step (0 or 1)");
    nodesSynced.set(0);
    const malformed = this.#gauge("fleetlock_nodes_malformed", "Nodes whose machine-id is none");
    malformed.set(0);
    const repairs = this.#counter("fleetlock_cordons_repaired_total", "Cordons lifted that had outlived their locks");
    this.#drainPhases = this.#gauge("fleetlock_drain_phase", "Holders of the group whose drain is in the phase", [
      "group",
      "phase",
    ]);
    return {
      drainEnded: (_group, result, seconds) => durations.observe({ result }, seconds),
      eviction: (result) => evictions.inc({ result }),
      podsLeft(group, podsLeft, podsBlocked) {
        left.set({ group }, podsLeft);
        blocked.set({ group }, podsBlocked);
      },
      nodesSynced: (synced) => nodesSynced.set(synced ? 1 : 0),
      malformedNodes: (count) => malformed.set(count),
      repaired: () => repairs.inc(),
    };
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
   * @param kind Its outcome, out of a closed table: each new one is a series for good.
   * @param seconds What it took.
   */
  requestDone(endpoint: Endpoint, kind: string, seconds: number): void {
    this.#requestTally(endpoint, kind).count++;
    this.#requestDurations[endpoint].observe(seconds);
  }

  /** Counts a call to the store, which took so many seconds. */
  storeOperationDone(operation: StoreOperation, result: StoreResult, seconds: number): void {
    this.#storeOperations.inc({ operation, result });
    this.#storeDurations.observe({ operation }, seconds);
  }

  /** Notes whether the watch of the store is in step. */
  setWatchSynced(synced: boolean): void {
    this.#watchSynced.set(synced ? 1 : 0);
  }

  /**
   * Renders the page.
   *
   * @returns The Prometheus text format, version 0.0.4. Where the store does not
   * name its groups in time, the lock gauges are left out: no value is better than an old one.
   * @throws Whatever the lock source throws.
   */
  async render(): Promise<string> {
    const groups = await this.#groups();
    const perGroup = [this.#lockState, this.#transitions, this.#holders, this.#slots, this.#heldSeconds];
    for (const gauge of perGroup) gauge.reset();
    this.#drainPhases?.reset();
    for (const [group, { state }] of groups) {
      const since = state.holders.length > 0 ? Math.min(...state.holders.map((holder) => holder.since)) : undefined;
      for (const phase of DRAIN_PHASES) {
        this.#drainPhases?.set({ group, phase }, state.holders.filter((holder) => holder.node?.phase === phase).length);
      }
      this.#lockState.set({ group }, state.holders.length > 0 ? 1 : 0);
      this.#transitions.set({ group }, finite(state.transitions));
      this.#holders.set({ group }, state.holders.length);
      this.#slots.set({ group }, this.#locks?.slots ?? 0);
      this.#heldSeconds.set({ group }, since === undefined ? 0 : Math.max(0, finite((this.#now() - since) / 1000)));
    }
    for (const tally of this.#tallies) {
      tally.counter.inc(tally.count);
      tally.count = 0;
    }
    return await this.#registry.metrics();
  }

  async #groups(): Promise<ReadonlyMap<Group, Versioned>> {
    const none = new Map<Group, Versioned>();
    if (this.#locks === undefined) return none;
    let timer;
    const late = new Promise<ReadonlyMap<Group, Versioned>>((resolve) => {
      timer = setTimeout(() => resolve(none), this.#groupsTimeoutMs);
    });
    try {
      return await Promise.race([this.#locks.groups(), late]);
    } finally {
      clearTimeout(timer);
    }
  }

  #requestTally(endpoint: Endpoint, kind: string): Tally {
    const tallies = this.#requestCounters[endpoint];
    let tally = tallies.get(kind);
    if (tally === undefined) tallies.set(kind, tally = this.#tally(this.#requests.labels(endpoint, kind)));
    return tally;
  }

  #tally(counter: Counter.Internal): Tally {
    counter.inc(0);
    const tally = { counter, count: 0 };
    this.#tallies.push(tally);
    return tally;
  }

  /** The usual process metrics, as far as Deno tells them. */
  #describeProcess(): void {
    const memory = this.#gauge("process_resident_memory_bytes", "Resident memory", [], () => {
      const { rss, heapTotal, heapUsed } = Deno.memoryUsage();
      memory.set(rss);
      heap.set(heapTotal);
      heapInUse.set(heapUsed);
    });
    const heap = this.#gauge("fleetlock_heap_size_bytes", "The JavaScript heap's size");
    const heapInUse = this.#gauge("fleetlock_heap_used_bytes", "The part of the JavaScript heap that is in use");
    let counted = 0;
    const cpu: Counter<never> = this.#counter("process_cpu_seconds_total", "CPU time, user and system", [], () => {
      const { user, system } = process.cpuUsage();
      const seconds = (user + system) / 1e6;
      cpu.inc(Math.max(0, seconds - counted));
      counted = Math.max(counted, seconds);
    });
    this.#gauge("process_start_time_seconds", "When the process started, since the epoch")
      .set(performance.timeOrigin / 1000);
    let open = countOpenFiles();
    if (open === undefined) return;
    const files = this.#gauge("process_open_fds", "Open file descriptors", [], () => {
      // Where none can be opened any more, not even this, the last count is nearest to the truth.
      files.set(open = countOpenFiles() ?? open!);
    });
  }

  #gauge<T extends string = never>(
    name: string,
    help: string,
    labelNames: readonly T[] = [],
    collect?: () => void,
  ): Gauge<T> {
    return new NewGauge<T>({ name, help, labelNames, collect, registers: [this.#registry] });
  }

  #counter<T extends string = never>(
    name: string,
    help: string,
    labelNames: readonly T[] = [],
    collect?: () => void,
  ): Counter<T> {
    return new NewCounter<T>({ name, help, labelNames, collect, registers: [this.#registry] });
  }

  #histogram<T extends string>(name: string, help: string, labelNames: readonly T[], buckets: number[]): Histogram<T> {
    return new NewHistogram<T>({ name, help, labelNames, buckets, registers: [this.#registry] });
  }
}

/**
 * Counts the process's open files.
 *
 * @returns undefined where they cannot be counted. For /proc, Deno wants all permissions, not just that to read.
 */
function countOpenFiles(): number | undefined {
  try {
    // One is the folder itself, open to be read.
    return [...Deno.readDirSync("/proc/self/fd")].length - 1;
  } catch {
    return undefined;
  }
}

/** What an administrator wrote into a store may be no number. */
function finite(value: number): number {
  return Number.isFinite(value) ? value : 0;
}
