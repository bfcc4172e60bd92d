/**
 * Kubernetes Events about what the server does to nodes and locks, for
 * `kubectl describe` and `kubectl get events`. They are sent in the background:
 * nothing waits for them, and their failures affect nothing else. Their number
 * is limited: repetitions become a series, and bursts are cut.
 *
 * @module
 */

import type { EventsV1Event } from "@kubernetes/client-node/dist/gen/models/EventsV1Event.js";
import { type Clock, systemClock } from "../lock/clock.ts";
import { callOptions, MERGE_PATCH } from "./calls.ts";
import type { KubernetesClient } from "./client.ts";
import { KubernetesError, type Permission } from "./errors.ts";
import { microTime } from "./micro_time.ts";

/** What an Event says happened. */
export type EventReason =
  | "Cordoned"
  | "Drained"
  | "DrainBlocked"
  | "DrainTimedOut"
  | "Uncordoned"
  | "LockGranted"
  | "LockYielded"
  | "PolicyIgnored"
  | "SkipUsed"
  | "SkipStays"
  | "SkipLost"
  | "LockStuck"
  | "LockReleased"
  | "NodeGoneReleased"
  | "GroupPaused"
  | "GroupResumed"
  | "DeferralLifted"
  | "NodeHeld"
  | "NodeHoldLifted";

/** The object that an Event is about: a Node, or a Lease in the client's namespace. */
export interface EventSubject {
  /** The object's kind. */
  readonly kind: "Node" | "Lease";
  /** The object's name. */
  readonly name: string;
}

/** Options of {@link ClusterEvents}. */
export interface EventsOptions {
  /** Names this process among its replicas, such as its pod's name. */
  readonly instance: string;
  /** How many Events may wait to be sent. Further ones are dropped. @default {100} */
  readonly maxWaiting?: number;
  /** How long after its last occurrence an Event still continues its series, in milliseconds. @default {360_000} */
  readonly seriesMs?: number;
  /** The shortest time between two reports of one series, in milliseconds. @default {60_000} */
  readonly seriesPauseMs?: number;
  /** Tells the time and measures the two above. @default {systemClock} */
  readonly clock?: Clock;
  /** Called at the first failure, and at the first after each success. */
  readonly onFailure?: (error: unknown) => void;
}

/** The controller that Events name as their source. */
const REPORTING_CONTROLLER = "fleetlock.internal/fleetlock";

/** Lists the permissions for sending Events. Without them, Events fail and nothing else does. */
export function eventPermissions(namespace: string): Permission[] {
  const namespaces = [...new Set(["default", namespace])];
  return namespaces.flatMap((one) =>
    ["create", "patch"].map((verb) => ({ verb, group: "events.k8s.io", resource: "events", namespace: one }))
  );
}

/** The largest number of series that are remembered. */
const MAX_SERIES = 500;

/** How many Events may be sent in a burst. */
const BURST = 25;

/** How long it takes until one more Event may be sent, in milliseconds. */
const REFILL_MS = 1_000;

/** An Event and its repetitions. */
interface Series {
  readonly namespace: string;
  /** The Event's name, once it has been sent; undefined where that failed. */
  readonly name: Promise<string | undefined>;
  count: number;
  lastSeen: number;
  lastSent: number;
}

/** Sends Events (create and patch events of events.k8s.io). Dispose of it to stop; Events that wait are not sent. */
export class ClusterEvents implements AsyncDisposable {
  readonly #client: KubernetesClient;
  readonly #options: Required<Omit<EventsOptions, "onFailure">> & Pick<EventsOptions, "onFailure">;
  readonly #series = new Map<string, Series>();
  readonly #closing = new AbortController();
  #waiting = 0;
  #tail: Promise<unknown> = Promise.resolve();
  #tokens = BURST;
  #refilledAt: number;
  #failed = false;
  #dropped = 0;

  /** Sends Events over `client`, which its owner disposes of. */
  constructor(client: KubernetesClient, options: EventsOptions) {
    this.#client = client;
    const { maxWaiting = 100, seriesMs = 360_000, seriesPauseMs = 60_000, clock = systemClock } = options;
    this.#options = { ...options, maxWaiting, seriesMs, seriesPauseMs, clock };
    this.#refilledAt = this.#options.clock.monotonic();
  }

  /** How many Events were dropped because there were too many. */
  get dropped(): number {
    return this.#dropped;
  }

  /**
   * Records an Event. Returns at once and never throws.
   *
   * @param note A sentence for people. Only its first 1,000 characters are sent.
   * @param warning Whether the Event's type is Warning rather than Normal.
   */
  record(subject: EventSubject, reason: EventReason, note: string, warning = false): void {
    const now = this.#options.clock.now();
    const key = JSON.stringify([subject.kind, subject.name, reason, note]);
    const known = this.#series.get(key);
    if (known !== undefined && now - known.lastSeen < this.#options.seriesMs) {
      known.count++;
      known.lastSeen = now;
      if (now - known.lastSent < this.#options.seriesPauseMs) return;
      known.lastSent = now;
      this.#enqueue(async () => {
        const name = await known.name;
        if (name !== undefined) await this.#grow(known, name);
      });
      return;
    }
    const namespace = subject.kind === "Node" ? "default" : this.#client.namespace;
    const sent = Promise.withResolvers<string | undefined>();
    this.#series.delete(key);
    this.#series.set(key, { namespace, name: sent.promise, count: 1, lastSeen: now, lastSent: now });
    if (this.#series.size > MAX_SERIES) this.#series.delete(this.#series.keys().next().value!);
    const event = this.#event(subject, namespace, reason, note, warning, now);
    const queued = this.#enqueue(async () => {
      try {
        const options = callOptions(this.#closing.signal);
        await this.#client.apis.events.createNamespacedEvent({ namespace, body: event }, options);
        sent.resolve(event.metadata!.name);
      } finally {
        sent.resolve(undefined);
      }
    });
    if (!queued) {
      sent.resolve(undefined);
      this.#series.delete(key);
    }
  }

  /** Waits until every recorded Event has been sent or has failed. For tests, and for processes that end. */
  async settled(): Promise<void> {
    await this.#tail;
  }

  /** Ends the call under way. Events that wait are not sent. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort();
    await this.#tail;
  }

  #event(
    subject: EventSubject,
    namespace: string,
    reason: EventReason,
    note: string,
    warning: boolean,
    now: number,
  ): EventsV1Event {
    const { kind, name } = subject;
    const regarding = kind === "Node"
      // The name stands for the UID, as in the kubelet's Events: `kubectl describe node` looks for that.
      ? { apiVersion: "v1", kind, name, uid: name }
      : { apiVersion: "coordination.k8s.io/v1", kind, name, namespace };
    return {
      metadata: { namespace, name: `${name}.${crypto.randomUUID().replaceAll("-", "").slice(0, 16)}` },
      // Typed as a class of the client library, which sends a string as it is.
      eventTime: microTime(now),
      reportingController: REPORTING_CONTROLLER,
      reportingInstance: this.#options.instance.slice(0, 128) || "unknown",
      action: reason,
      reason,
      regarding,
      note: note.slice(0, 1000),
      type: warning ? "Warning" : "Normal",
    } as unknown as EventsV1Event;
  }

  async #grow(series: Series, name: string): Promise<void> {
    const body = { series: { count: series.count, lastObservedTime: microTime(series.lastSeen) } };
    const call = { name, namespace: series.namespace, body };
    try {
      await this.#client.apis.events.patchNamespacedEvent(call, callOptions(this.#closing.signal, MERGE_PATCH));
    } catch (error) {
      // The API server deletes Events after an hour, which ends their series.
      if (!(error instanceof KubernetesError && error.status === 404)) throw error;
      for (const [key, one] of this.#series) if (one === series) this.#series.delete(key);
    }
  }

  #enqueue(send: () => Promise<void>): boolean {
    if (this.#closing.signal.aborted || this.#waiting >= this.#options.maxWaiting || !this.#takeToken()) {
      this.#dropped++;
      return false;
    }
    this.#waiting++;
    this.#tail = this.#tail.then(async () => {
      try {
        if (this.#closing.signal.aborted) return;
        await send();
        this.#failed = false;
      } catch (error) {
        if (!this.#failed && !this.#closing.signal.aborted) this.#options.onFailure?.(error);
        this.#failed = true;
      } finally {
        this.#waiting--;
      }
    });
    return true;
  }

  #takeToken(): boolean {
    const now = this.#options.clock.monotonic();
    this.#tokens = Math.min(BURST, this.#tokens + (now - this.#refilledAt) / REFILL_MS);
    this.#refilledAt = now;
    if (this.#tokens < 1) return false;
    this.#tokens--;
    return true;
  }
}
