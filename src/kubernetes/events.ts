/**
 * Kubernetes Events about what the server does to nodes and locks, for
 * `kubectl describe` and `kubectl get events`. Sent aside: nothing waits for
 * them, no failure of theirs is felt, and they are few: what repeats becomes a
 * series, and a burst is cut.
 *
 * @module
 */

import type { ConfigurationOptions } from "@kubernetes/client-node/dist/gen/configuration.js";
import type { EventsV1Event } from "@kubernetes/client-node/dist/gen/models/EventsV1Event.js";
import { of } from "@kubernetes/client-node/dist/gen/rxjsStub.js";
import { type Clock, systemClock } from "../lock/clock.ts";
import type { KubernetesClient } from "./client.ts";
import { KubernetesError, type Permission } from "./errors.ts";

/** What happened. */
export type EventReason =
  | "Cordoned"
  | "Drained"
  | "DrainBlocked"
  | "DrainTimedOut"
  | "Uncordoned"
  | "LockGranted"
  | "LockReleased";

/** The object that an Event is about: a Node, or a Lease in the server's namespace. */
export interface EventSubject {
  /** Its kind. */
  readonly kind: "Node" | "Lease";
  /** Its name. */
  readonly name: string;
  /** The Lease's; a Node is its own. */
  readonly uid?: string;
}

/** Options of {@link ClusterEvents}. */
export interface EventsOptions {
  /** Names this process among its replicas, such as its pod's name. */
  readonly instance: string;
  /** How many may wait to be sent; further ones are dropped. @default {100} */
  readonly maxWaiting?: number;
  /** How long after its last occurrence an Event may still grow into a series, in milliseconds. @default {360_000} */
  readonly seriesMs?: number;
  /** The shortest time between two reports of one series, in milliseconds. @default {60_000} */
  readonly seriesPauseMs?: number;
  /** Time. @default {systemClock} */
  readonly clock?: Clock;
  /** Told of the first failure, and of the first after each success. */
  readonly onFailure?: (error: unknown) => void;
}

/** The name under which Events are reported. */
export const REPORTING_CONTROLLER = "fleetlock.internal/fleetlock";

/** Lists what sending Events needs. Without it, there are none. */
export function eventPermissions(namespace: string): Permission[] {
  const namespaces = [...new Set(["default", namespace])];
  return namespaces.flatMap((one) =>
    ["create", "patch"].map((verb) => ({ verb, group: "events.k8s.io", resource: "events", namespace: one }))
  );
}

/** The most Events that are remembered for a series. */
const MAX_SERIES = 500;

/** How many Events are sent in a burst, and how fast that fills up again, in milliseconds an Event. */
const BURST = 25;
const REFILL_MS = 1_000;

interface Series {
  readonly namespace: string;
  readonly name: Promise<string | undefined>;
  count: number;
  lastSeen: number;
  lastSent: number;
}

/** Sends Events (create and patch events of events.k8s.io). Dispose of it to send what waits no more. */
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

  /** Sends over `client`, which stays its owner's to dispose of. */
  constructor(client: KubernetesClient, options: EventsOptions) {
    this.#client = client;
    this.#options = {
      maxWaiting: 100,
      seriesMs: 360_000,
      seriesPauseMs: 60_000,
      clock: systemClock,
      ...options,
    };
    this.#refilledAt = this.#options.clock.monotonic();
  }

  /** How many Events were not sent because there were too many. */
  get dropped(): number {
    return this.#dropped;
  }

  /**
   * Reports that something happened. Returns at once and never throws.
   *
   * @param note For a person. Its first 1,000 characters count.
   * @param warning Whether it is a Warning rather than Normal.
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
        await this.#client.apis.events.createNamespacedEvent({ namespace, body: event }, options(this.#closing.signal));
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

  /** Waits until what was recorded has been sent or has failed. For tests. */
  async settled(): Promise<void> {
    await this.#tail;
  }

  /** Ends what is under way; what waits is not sent. */
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
    const { kind, name, uid } = subject;
    const regarding = kind === "Node"
      // By its name, as the kubelet does: `kubectl describe node` asks for that UID.
      ? { apiVersion: "v1", kind, name, uid: name }
      : { apiVersion: "coordination.k8s.io/v1", kind, name, namespace, uid };
    return {
      metadata: { namespace, name: `${name}.${crypto.randomUUID().replaceAll("-", "").slice(0, 16)}` },
      // The client library has a class for this time; a string goes through as it is.
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
      await this.#client.apis.events.patchNamespacedEvent(call, options(this.#closing.signal, true));
    } catch (error) {
      // The API server forgets Events after an hour; the series then ends with it.
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

/** A time as the API's MicroTime has it. */
function microTime(ms: number): string {
  return new Date(ms).toISOString().replace("Z", "000Z");
}

function options(signal: AbortSignal, patch = false): ConfigurationOptions {
  return {
    middleware: [{
      pre(context) {
        context.setSignal(signal);
        if (patch) context.setHeaderParam("Content-Type", "application/merge-patch+json");
        return of(context);
      },
      post: (context) => of(context),
    }],
  };
}
