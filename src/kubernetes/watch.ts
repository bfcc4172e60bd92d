/**
 * Follows a resource: lists it, watches it from there, and starts again after a
 * failure. It knows nothing about the objects except their resourceVersion.
 *
 * @see https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes
 * @module
 */

import { ObjectSerializer } from "@kubernetes/client-node/dist/gen/models/ObjectSerializer.js";
import type { Clock } from "../lock/clock.ts";
import { UnavailableError } from "../lock/errors.ts";
import { checkList, checkObject, parseResourcePath, type ResourcePath } from "./answer_check.ts";
import type { KubernetesClient } from "./client.ts";
import { errorOfStatus, ForbiddenError, KubernetesError } from "./errors.ts";
import { readJsonLines } from "./json_lines.ts";

/** Receives what {@link watchResource} finds. Its methods must not throw. */
export interface ResourceWatcher<T> {
  /** All objects, at the start and whenever changes may have been missed. */
  synced(items: T[], resourceVersion: string): void;
  /** One object changed. A deleted object is in its last state, with the resourceVersion of its deletion. */
  changed(type: "ADDED" | "MODIFIED" | "DELETED", object: T): void;
  /** The watch failed. Changes may be missed until the next {@link synced}. */
  lost(error: unknown): void;
}

/** Options of {@link watchResource}. */
export interface WatchOptions {
  /** The path of the collection, such as `/api/v1/nodes`. */
  readonly path: string;
  /** The objects' class in the client library, such as "V1Node". The list's class is its name with "List". */
  readonly model: string;
  /** A field selector, such as `spec.nodeName=a`. */
  readonly fieldSelector?: string;
  /** A label selector, such as `app=web`. */
  readonly labelSelector?: string;
  /**
   * How long the connection may carry nothing before it counts as silent, in
   * milliseconds. The API server sends a bookmark every minute.
   * @default {75_000}
   */
  readonly silenceMs?: number;
  /**
   * How long to ask the API server to keep a watch open, in milliseconds. Up to
   * a tenth is added at random.
   * @default {300_000}
   */
  readonly windowMs?: number;
  /**
   * The pause after a first failure, in milliseconds. It doubles with each
   * further one, up to {@link maxPauseMs}. Up to half is subtracted at random.
   * @default {500}
   */
  readonly pauseMs?: number;
  /** The longest pause, in milliseconds. @default {30_000} */
  readonly maxPauseMs?: number;
  /** The pause after a missing permission, in milliseconds, varied at random by a fifth. @default {60_000} */
  readonly forbiddenPauseMs?: number;
  /** Measures pauses and silence. @default {the client's clock} */
  readonly clock?: Clock;
  /** Returns a number from 0 (inclusive) to 1 (exclusive). @default {Math.random} */
  readonly random?: () => number;
}

/** The part of every Kubernetes object that a watch needs. */
interface KubernetesObject {
  metadata: { resourceVersion: string };
}

/** A line of a watch's stream. */
interface WatchLine {
  type: "ADDED" | "MODIFIED" | "DELETED" | "BOOKMARK";
  object: KubernetesObject;
}

/** The message of a watch whose connection carried nothing for too long. */
const SILENT = "the watch's connection has gone silent";

/** A watch that lasted this long, in milliseconds, counts as a success. The next failure then is a first one. */
const HEALTHY_MS = 10_000;

/**
 * Follows a resource (list and watch) until the signal aborts. It does not
 * throw: it reports every failure to `lost` and starts again after a pause.
 *
 * @param signal Ends the watch.
 */
export async function watchResource<T>(
  client: KubernetesClient,
  options: WatchOptions,
  watcher: ResourceWatcher<T>,
  signal: AbortSignal,
): Promise<void> {
  const { clock = client.clock } = options;
  let failures = 0;
  while (!signal.aborted) {
    const began = clock.monotonic();
    try {
      await follow(client, options, watcher, signal);
    } catch (error) {
      if (signal.aborted) return;
      watcher.lost(error);
      failures = clock.monotonic() - began >= HEALTHY_MS ? 1 : failures + 1;
      await clock.sleep(pauseAfter(error, failures, options), signal).catch(() => {});
    }
  }
}

/**
 * How long to pause after a failure, in milliseconds.
 *
 * @param failures How many failures there were in a row, 1 or more.
 */
function pauseAfter(error: unknown, failures: number, options: WatchOptions): number {
  const { random = Math.random, pauseMs = 500, maxPauseMs = 30_000, forbiddenPauseMs = 60_000 } = options;
  if (error instanceof ForbiddenError) return forbiddenPauseMs * (0.8 + 0.4 * random());
  // The server no longer has the version that we watched from. That is normal, so list again at once.
  if (error instanceof KubernetesError && error.status === 410 && failures === 1) return 0;
  const most = Math.min(pauseMs * 2 ** (failures - 1), maxPauseMs);
  const asked = error instanceof UnavailableError ? Math.min(error.retryAfterMs ?? 0, maxPauseMs) : 0;
  return Math.max(asked, most * (0.5 + 0.5 * random()));
}

/**
 * Lists once, then watches again and again from where the last watch ended.
 * Throws at a failure, and returns when the signal aborts.
 */
async function follow<T>(
  client: KubernetesClient,
  options: WatchOptions,
  watcher: ResourceWatcher<T>,
  signal: AbortSignal,
): Promise<void> {
  const { clock = client.clock, random = Math.random, pauseMs = 500, windowMs = 300_000 } = options;
  const selectors: Record<string, string> = {
    ...(options.fieldSelector && { fieldSelector: options.fieldSelector }),
    ...(options.labelSelector && { labelSelector: options.labelSelector }),
  };
  const path = parseResourcePath(options.path);
  if (path === undefined) throw new TypeError(`Cannot watch ${options.path}: its kind is unknown`);
  const listed = await client.get(`${options.path}?${new URLSearchParams(selectors)}`, signal);
  const parsed = parseJson(listed.text);
  checkList(path, parsed);
  const list: KubernetesObject & { items: T[] } = ObjectSerializer.deserialize(parsed, `${options.model}List`, "");
  let version = list.metadata.resourceVersion;
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
    using silence = new SilenceAlarm(clock, options.silenceMs ?? 75_000, () => {
      stream.retire();
      // Ends the loop below, which waits for bytes that will not come.
      stream[Symbol.asyncDispose]();
    });
    try {
      for await (const line of readJsonLines(stream.body, () => silence.reset())) {
        const { type, object } = checkLine(path, line);
        version = object.metadata.resourceVersion;
        if (type !== "BOOKMARK") watcher.changed(type, ObjectSerializer.deserialize(object, options.model, ""));
      }
    } catch (error) {
      if (error instanceof KubernetesError || error instanceof UnavailableError) throw error;
      throw new UnavailableError(silence.rang ? SILENT : "the watch's connection failed", { cause: error });
    }
    if (silence.rang) throw new UnavailableError(SILENT);
    // Pause where the server ends each watch at once without sending anything.
    if (version === before && clock.monotonic() - began < 1_000) await clock.sleep(pauseMs, signal).catch(() => {});
  }
}

/**
 * Checks a line of a watch's stream.
 *
 * @throws {KubernetesError | UnavailableError} It reports an error, or it is not the API server's.
 */
function checkLine(path: ResourcePath, line: unknown): WatchLine {
  const { type, object } = (line ?? {}) as { type?: unknown; object?: KubernetesObject | null };
  switch (type) {
    case "ERROR":
      throw errorOfStatus(object);
    case "ADDED":
    case "MODIFIED":
    case "DELETED":
      checkObject(path, object);
      return { type, object: object! };
    case "BOOKMARK":
      // It has no name, since it is about the whole watch.
      if (object?.metadata?.resourceVersion) return { type, object };
  }
  throw new UnavailableError("a line of the watch is not the API server's: is the address right?");
}

/** Parses a list. Throws no error that quotes it. */
function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** Rings once, when the connection has carried nothing for a while. */
class SilenceAlarm implements Disposable {
  /** Whether it has rung. */
  rang = false;
  readonly #clock: Clock;
  readonly #silenceMs: number;
  readonly #stop = new AbortController();
  #last: number;

  constructor(clock: Clock, silenceMs: number, ring: () => void) {
    this.#clock = clock;
    this.#silenceMs = silenceMs;
    this.#last = clock.monotonic();
    this.#run(ring);
  }

  /** Notes that bytes have arrived. */
  reset(): void {
    this.#last = this.#clock.monotonic();
  }

  [Symbol.dispose](): void {
    this.#stop.abort();
  }

  async #run(ring: () => void): Promise<void> {
    const { signal } = this.#stop;
    for (;;) {
      const left = this.#last + this.#silenceMs - this.#clock.monotonic();
      if (left <= 0) break;
      await this.#clock.sleep(left, signal).catch(() => {});
      if (signal.aborted) return;
    }
    this.rang = true;
    ring();
  }
}

/**
 * Makes a watcher of whole objects out of a watcher of views, so that a caller need not keep the objects.
 *
 * @param view Takes from an object what the watcher needs.
 */
export function viewingWatcher<A, B>(watcher: ResourceWatcher<B>, view: (object: A) => B): ResourceWatcher<A> {
  return {
    synced: (items, version) => watcher.synced(items.map(view), version),
    changed: (type, object) => watcher.changed(type, view(object)),
    lost: (error) => watcher.lost(error),
  };
}
