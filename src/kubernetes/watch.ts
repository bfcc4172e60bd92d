/**
 * Follows a resource: lists it, then watches it from there, for as long as
 * wanted. It knows nothing of the objects but their resourceVersion.
 *
 * @see https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes
 * @module
 */

import { ObjectSerializer } from "@kubernetes/client-node/dist/gen/models/ObjectSerializer.js";
import { type Clock, systemClock } from "../lock/clock.ts";
import { UnavailableError } from "../lock/errors.ts";
import type { KubernetesClient } from "./client.ts";
import { errorOfStatus, ForbiddenError, KubernetesError } from "./errors.ts";
import { readJsonLines } from "./json_lines.ts";

/** What {@link watchResource} tells. None of the methods may throw. */
export interface ResourceWatcher<T> {
  /** Everything there is, at the start and whenever changes may have been missed. */
  synced(items: T[], resourceVersion: string): void;
  /** One object changed; a deleted one is as it was last, with the resourceVersion of its deletion. */
  changed(type: "ADDED" | "MODIFIED" | "DELETED", object: T): void;
  /** Changes may be missed from now on, until the next {@link synced}. */
  lost(error: unknown): void;
}

/** What to watch, and how. */
export interface WatchOptions {
  /** The path of the collection, such as `/api/v1/nodes`. */
  readonly path: string;
  /** The name of the objects' class in the client library, such as "V1Node"; that of the list is it with "List". */
  readonly model: string;
  /** Such as `spec.nodeName=a`. */
  readonly fieldSelector?: string;
  /** Such as `app=web`. */
  readonly labelSelector?: string;
  /**
   * How long nothing, not even a bookmark, may come before the connection counts
   * as silent, in milliseconds. The API server sends a bookmark every minute.
   * @default {75_000}
   */
  readonly silenceMs?: number;
  /** How long the API server is asked to keep a watch going, in milliseconds; up to a tenth more by chance. @default {300_000} */
  readonly windowMs?: number;
  /** The first pause after a failure, in milliseconds; doubles up to {@link maxPauseMs}, less up to half by chance. @default {500} */
  readonly pauseMs?: number;
  /** The longest pause, in milliseconds. @default {30_000} */
  readonly maxPauseMs?: number;
  /** The pause after being told that we may not, in milliseconds. @default {60_000} */
  readonly forbiddenPauseMs?: number;
  /**
   * What pauses are measured with.
   * @default {systemClock}
   */
  readonly clock?: Clock;
  /** A number from 0 (inclusive) to 1. @default {Math.random} */
  readonly random?: () => number;
}

/** An object with what every Kubernetes object has. */
interface KubernetesObject {
  metadata?: { resourceVersion?: string };
}

/** A line of a watch. */
interface WatchLine {
  type?: string;
  object?: KubernetesObject & { code?: number };
}

/** The connection was cut off because nothing had come for too long. */
const SILENT = "the watch's connection has gone silent";

/** A watch that lasted this long, in milliseconds, was a success: the next failure counts as the first. */
const HEALTHY_MS = 10_000;

/**
 * Follows a resource (list and watch) until the signal aborts. Does not throw:
 * every fault is told by `lost`, and tried again after a pause.
 *
 * @param signal Ends the watch.
 */
export async function watchResource<T>(
  client: KubernetesClient,
  options: WatchOptions,
  watcher: ResourceWatcher<T>,
  signal: AbortSignal,
): Promise<void> {
  const { clock = systemClock, random = Math.random, pauseMs = 500, maxPauseMs = 30_000 } = options;
  let failures = 0;
  while (!signal.aborted) {
    const began = clock.monotonic();
    try {
      await follow(client, options, watcher, signal);
    } catch (error) {
      if (signal.aborted) return;
      watcher.lost(error);
      failures = clock.monotonic() - began >= HEALTHY_MS ? 1 : failures + 1;
      // The server has forgotten the version that we watched from: nothing is wrong, so list again at once.
      const expired = error instanceof KubernetesError && error.status === 410 && failures === 1;
      const most = Math.min(pauseMs * 2 ** (failures - 1), maxPauseMs);
      const asked = error instanceof UnavailableError ? Math.min(error.retryAfterMs ?? 0, maxPauseMs) : 0;
      const pause = error instanceof ForbiddenError
        ? (options.forbiddenPauseMs ?? 60_000) * (0.8 + 0.4 * random())
        : expired
        ? 0
        : Math.max(asked, most * (0.5 + 0.5 * random()));
      await clock.sleep(pause, signal).catch(() => {});
    }
  }
}

/** Lists once, then watches again and again from where the last watch ended. Ends by throwing, or when the signal aborts. */
async function follow<T>(
  client: KubernetesClient,
  options: WatchOptions,
  watcher: ResourceWatcher<T>,
  signal: AbortSignal,
): Promise<void> {
  const { clock = systemClock, random = Math.random, pauseMs = 500, windowMs = 300_000 } = options;
  const selectors: Record<string, string> = {
    ...(options.fieldSelector && { fieldSelector: options.fieldSelector }),
    ...(options.labelSelector && { labelSelector: options.labelSelector }),
  };
  const listed = await client.get(`${options.path}?${new URLSearchParams(selectors)}`, signal);
  const list = ObjectSerializer.deserialize(JSON.parse(listed.text), `${options.model}List`, "") as {
    items: T[];
    metadata?: { resourceVersion?: string };
  };
  let version = list.metadata?.resourceVersion ?? "";
  watcher.synced(list.items, version);

  while (!signal.aborted) {
    const began = clock.monotonic();
    const query = new URLSearchParams({
      ...selectors,
      watch: "1",
      allowWatchBookmarks: "true",
      resourceVersion: version,
      timeoutSeconds: String(Math.ceil(windowMs / 1000 * (1 + random() / 10))),
    });
    const before = version;
    await using stream = await client.stream(`${options.path}?${query}`, signal);
    using silence = new SilenceAlarm(options.silenceMs ?? 75_000, () => {
      stream.retire();
      // Ends the loop below, which waits for bytes that do not come.
      stream[Symbol.asyncDispose]();
    });
    try {
      for await (const line of readJsonLines(stream.body, () => silence.reset()) as AsyncGenerator<WatchLine>) {
        const object = line.object ?? {};
        if (line.type === "ERROR") throw errorOfStatus(object, object.code ?? 500);
        version = object.metadata?.resourceVersion ?? version;
        if (line.type === "ADDED" || line.type === "MODIFIED" || line.type === "DELETED") {
          watcher.changed(line.type, ObjectSerializer.deserialize(object, options.model, ""));
        }
      }
    } catch (error) {
      if (error instanceof KubernetesError || error instanceof UnavailableError) throw error;
      throw new UnavailableError(silence.rang ? SILENT : "the watch broke off", { cause: error });
    }
    if (silence.rang) throw new UnavailableError(SILENT);
    // A server that ends each watch at once, without a word, must not be asked without a pause.
    if (version === before && clock.monotonic() - began < 1_000) await clock.sleep(pauseMs, signal).catch(() => {});
  }
}

/** Rings once nothing has come for a while. In real time, since it is about a real connection. */
class SilenceAlarm implements Disposable {
  /** Whether it has rung. */
  rang = false;
  #last = performance.now();
  readonly #timer: ReturnType<typeof setInterval>;

  constructor(silenceMs: number, ring: () => void) {
    this.#timer = setInterval(() => {
      if (this.rang || performance.now() - this.#last < silenceMs) return;
      this.rang = true;
      ring();
    }, Math.max(silenceMs / 10, 10));
  }

  /** Something has come. */
  reset(): void {
    this.#last = performance.now();
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }
}
