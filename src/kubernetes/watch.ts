/**
 * Follows a resource: shows its objects, watches it from there, and starts again
 * after a failure. It keeps no whole object: each is turned into a view as it
 * arrives. It knows nothing about the objects except their names and versions.
 *
 * The API server ends each watch after some minutes. The next one must not simply go on from the last version: where
 * etcd was restored from a backup in between, that version is of a past that never was, or of another state. The API
 * server does not tell. So all objects are shown again, or their versions are compared with what was seen.
 *
 * @see https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes
 * @module
 */

import type { Clock } from "../lock/clock.ts";
import { UnavailableError } from "../lock/errors.ts";
import { parseResourcePath } from "./answer_check.ts";
import type { KubernetesClient } from "./client.ts";
import { ForbiddenError, KubernetesError } from "./errors.ts";
import { refusesInitialEvents } from "./initial_objects.ts";
import { type ObjectVersion, readPages, readVersions } from "./list_pages.ts";
import type { Stream } from "./transport.ts";
import { type ResourceWatcher, WatchReader } from "./watch_reader.ts";

export type { ResourceWatcher } from "./watch_reader.ts";

/** What {@link watchResource} follows, and how. */
export interface WatchOptions<R, T> extends WatchTiming {
  /** The path of the collection, such as `/api/v1/nodes`. */
  readonly path: string;
  /**
   * Takes from an object what the watcher needs. The object is as the API server sent it: its times are strings, even
   * where a class of the client library types them as dates.
   */
  readonly view: (object: R) => T;
  /** A field selector, such as `spec.nodeName=a`. */
  readonly fieldSelector?: string;
  /** A label selector, such as `app=web`. */
  readonly labelSelector?: string;
  /**
   * Where all objects are too many to show them again every few minutes: whether what was seen is what there is, apart
   * from changes after a version, which the watch is about to show.
   *
   * @param versions All objects as they are now.
   * @param version The version up to which everything was shown.
   */
  readonly isInStep?: (versions: readonly ObjectVersion[], version: bigint) => boolean;
}

/** The timing of {@link watchResource}. */
export interface WatchTiming {
  /**
   * How long the connection may carry nothing until all initial objects have arrived, in milliseconds.
   * @default {15_000}
   */
  readonly initialSilenceMs?: number;
  /** How long it may take until all initial objects have arrived, in milliseconds. @default {120_000} */
  readonly initialMs?: number;
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

/** A watch that the API server ends sooner than this, in milliseconds, is followed by a pause. */
const SHORT_MS = 1_000;

/** A watch that lasted this long, in milliseconds, counts as a success. The next failure then is a first one. */
const HEALTHY_MS = 10_000;

/**
 * How long a watch lists in pages after the API server refused or did not complete the initial events, in milliseconds.
 * An upgrade of the API server may change that.
 */
const PAGES_MS = 600_000;

/** How many objects a page has. A Node may have 20 kB. */
const PAGE_SIZE = 50;

/** How often a list starts again because the API server forgets its version between two pages. */
const MAX_RESTARTS = 3;

/** What was found about an API server. All watches over a client share it. */
interface Findings {
  /** Until when to list in pages, by the clock's monotonic time. */
  pagesUntil: number;
  /** Whether the API server sends a bookmark from time to time. It sends none without its watch cache. */
  sendsBookmarks: boolean;
}

const findings = new WeakMap<KubernetesClient, Findings>();

function findingsOf(client: KubernetesClient): Findings {
  let found = findings.get(client);
  if (found === undefined) findings.set(client, found = { pagesUntil: -Infinity, sendsBookmarks: false });
  return found;
}

/**
 * Follows a resource (list and watch) until the signal aborts. It does not
 * throw: it reports every failure to `lost` and starts again after a pause.
 *
 * @param signal Ends the watch.
 */
export async function watchResource<R, T>(
  client: KubernetesClient,
  options: WatchOptions<R, T>,
  watcher: ResourceWatcher<T>,
  signal: AbortSignal,
): Promise<void> {
  const { clock = client.clock } = options;
  let failures = 0;
  while (!signal.aborted) {
    const began = clock.monotonic();
    try {
      await follow(client, options, watcher, signal);
      if (clock.monotonic() - began < SHORT_MS) await clock.sleep(options.pauseMs ?? 500, signal).catch(() => {});
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
function pauseAfter(error: unknown, failures: number, options: WatchTiming): number {
  const { random = Math.random, pauseMs = 500, maxPauseMs = 30_000, forbiddenPauseMs = 60_000 } = options;
  if (error instanceof ForbiddenError) return forbiddenPauseMs * (0.8 + 0.4 * random());
  // The server no longer has the version that we watched from. That is normal, so list again at once.
  if (error instanceof KubernetesError && error.status === 410 && failures === 1) return 0;
  const most = Math.min(pauseMs * 2 ** (failures - 1), maxPauseMs);
  const asked = error instanceof UnavailableError ? Math.min(error.retryAfterMs ?? 0, maxPauseMs) : 0;
  return Math.max(asked, most * (0.5 + 0.5 * random()));
}

/**
 * Shows all objects once and watches from there. Goes on with further watches while that is known to miss nothing.
 * Throws at a failure. Returns when the signal aborts, and where all objects must be shown again although nothing
 * failed.
 */
async function follow<R, T>(
  client: KubernetesClient,
  options: WatchOptions<R, T>,
  watcher: ResourceWatcher<T>,
  signal: AbortSignal,
): Promise<void> {
  const { path, view, initialMs = 120_000, clock = client.clock, random = Math.random, pauseMs = 500 } = options;
  const selectors: Record<string, string> = {
    ...(options.fieldSelector && { fieldSelector: options.fieldSelector }),
    ...(options.labelSelector && { labelSelector: options.labelSelector }),
  };
  const resource = parseResourcePath(path);
  if (resource === undefined) throw new TypeError(`Cannot watch ${path}: its kind is unknown`);
  const found = findingsOf(client);
  const open = (parameters: Record<string, string>) => {
    const timeoutSeconds = String(Math.ceil((options.windowMs ?? 300_000) / 1000 * (1 + random() / 10)));
    const query = { ...selectors, watch: "1", allowWatchBookmarks: "true", timeoutSeconds, ...parameters };
    return client.stream(`${path}?${new URLSearchParams(query)}`, signal);
  };
  const reader = new WatchReader({
    resource,
    view,
    watcher,
    silenceMs: options.silenceMs ?? 75_000,
    initialSilenceMs: options.initialSilenceMs ?? 15_000,
    initialMs,
    clock,
    expectsBookmarks: () => found.sendsBookmarks,
    bookmarked: () => found.sendsBookmarks = true,
  });

  if (clock.monotonic() >= found.pagesUntil) {
    const outcome = await readInitialEvents(open, reader, found, clock, signal);
    if (outcome === "silent") return;
  }
  let isResumed = reader.version !== "";
  if (isResumed && options.isInStep === undefined) return;
  if (!isResumed && !signal.aborted) {
    const deadline = { clock, at: clock.monotonic() + initialMs };
    const pages = { path, query: selectors, limit: PAGE_SIZE, restarts: MAX_RESTARTS, deadline };
    const { items, version } = await readPages(client, pages, (object) => view(object as R), signal);
    reader.version = version;
    watcher.synced(items, version);
  }
  while (!signal.aborted) {
    const began = clock.monotonic();
    const before = reader.version;
    const stream = await open({ resourceVersion: before });
    // The versions are read once the watch has begun, so that it shows what changes after them.
    if (isResumed && !(await goesOn(client, options, selectors, stream, before, signal))) return;
    if (await reader.read(stream) === "silent") return;
    isResumed = true;
    if (options.isInStep === undefined) return;
    // Pause where the server ends each watch at once without sending anything.
    if (reader.version === before && clock.monotonic() - began < SHORT_MS) {
      await clock.sleep(pauseMs, signal).catch(() => {});
    }
  }
}

/**
 * Whether a watch from a version, which has begun, goes on where the one before it ended. Disposes of it where not.
 *
 * @throws What {@link readVersions} throws.
 */
async function goesOn<R, T>(
  client: KubernetesClient,
  { path, isInStep }: WatchOptions<R, T>,
  selectors: Readonly<Record<string, string>>,
  stream: Stream,
  version: string,
  signal: AbortSignal,
): Promise<boolean> {
  await using unread = new AsyncDisposableStack();
  unread.use(stream);
  const now = await readVersions(client, path, selectors, signal);
  // The version went back, so etcd was restored from a backup.
  if (BigInt(now.version) < BigInt(version) || isInStep?.(now.items, BigInt(version)) !== true) return false;
  unread.move();
  return true;
}

/**
 * Reads a watch that begins with all objects. The next tries list in pages where the API server refuses that, which is
 * not a failure, or does not complete it.
 *
 * @returns "refused", or what {@link WatchReader.read} returns.
 */
async function readInitialEvents(
  open: (parameters: Record<string, string>) => Promise<Stream>,
  reader: Pick<WatchReader<unknown, unknown>, "read" | "version">,
  found: Findings,
  clock: Clock,
  signal: AbortSignal,
): Promise<"ended" | "silent" | "refused"> {
  const listInPages = () => found.pagesUntil = clock.monotonic() + PAGES_MS;
  let stream: Stream;
  try {
    stream = await open({ sendInitialEvents: "true", resourceVersionMatch: "NotOlderThan" });
  } catch (error) {
    if (!refusesInitialEvents(error)) throw error;
    listInPages();
    return "refused";
  }
  try {
    return await reader.read(stream, true);
  } catch (error) {
    if (reader.version === "" && !signal.aborted) listInPages();
    throw error;
  }
}
