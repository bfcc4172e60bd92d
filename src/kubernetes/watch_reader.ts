/**
 * Reads the streams of one watch, line by line, and tells its watcher. It opens no stream and decides nothing about the
 * next one.
 *
 * @module
 */

import type { Clock } from "../lock/clock.ts";
import { UnavailableError } from "../lock/errors.ts";
import { checkObject, type ResourcePath } from "./answer_check.ts";
import { errorOfStatus, KubernetesError } from "./errors.ts";
import { endsInitialEvents, InitialObjects, type KubernetesObject } from "./initial_objects.ts";
import { readJsonLines } from "./json_lines.ts";
import { SilenceAlarm } from "./silence_alarm.ts";
import type { Stream } from "./transport.ts";

/** Receives what a watch finds, as views. Its methods must not throw. */
export interface ResourceWatcher<T> {
  /**
   * All objects as of one moment, at the start and whenever changes may have been missed. An object that is not among
   * them no longer exists.
   */
  synced(items: T[], resourceVersion: string): void;
  /** One object changed. A deleted object is in its last state, with the resourceVersion of its deletion. */
  changed(type: "ADDED" | "MODIFIED" | "DELETED", object: T): void;
  /** Everything up to this version has been shown, by a bookmark: nothing else has happened. */
  reached?(resourceVersion: string): void;
  /** The watch failed. Changes may be missed until the next {@link synced}. */
  lost(error: unknown): void;
}

/** What a {@link WatchReader} works with. Times are in milliseconds. */
export interface WatchReaderOptions<R, T> {
  /** The path of the collection. */
  readonly resource: ResourcePath;
  /** Takes from an object what the watcher needs. */
  readonly view: (object: R) => T;
  /** Is told. */
  readonly watcher: ResourceWatcher<T>;
  /** How long the connection may carry nothing. */
  readonly silenceMs: number;
  /** How long it may carry nothing until all initial objects have arrived. */
  readonly initialSilenceMs: number;
  /** How long it may take until all initial objects have arrived. */
  readonly initialMs: number;
  /** Measures these times. */
  readonly clock: Clock;
  /** Whether the API server is known to send a bookmark from time to time. */
  readonly expectsBookmarks: () => boolean;
  /** Called at each such bookmark. */
  readonly bookmarked: () => void;
}

/** A line of a watch's stream. */
interface WatchLine {
  type: "ADDED" | "MODIFIED" | "DELETED" | "BOOKMARK";
  object: KubernetesObject;
}

/** See the module. */
export class WatchReader<R, T> {
  /** The version to watch from; empty until all objects have been shown. */
  version = "";
  readonly #options: WatchReaderOptions<R, T>;

  /** Creates a reader of a watch that has shown nothing yet. */
  constructor(options: WatchReaderOptions<R, T>) {
    this.#options = options;
  }

  /**
   * Reads a stream to its end, and disposes of it.
   *
   * @param isInitial Whether the stream begins with all objects.
   * @returns "ended" where the API server ended it; "silent" where nothing has arrived for a while from an API server
   * that may have had nothing to send.
   * @throws {UnavailableError} The connection failed or went silent, or the initial objects did not arrive in time.
   * @throws {KubernetesError} The API server reported an error.
   */
  async read(stream: Stream, isInitial = false): Promise<"ended" | "silent"> {
    await using _ended = stream;
    const { resource, view, watcher, silenceMs, initialSilenceMs, initialMs, clock } = this.#options;
    let initial = isInitial ? new InitialObjects(view) : undefined;
    const end = () => {
      stream.retire();
      // Ends the loop below, which waits for bytes that will not come.
      stream[Symbol.asyncDispose]();
    };
    using silence = new SilenceAlarm(clock, isInitial ? initialSilenceMs : silenceMs, end);
    using lateness = isInitial ? new SilenceAlarm(clock, initialMs, end) : undefined;
    try {
      for await (const line of readJsonLines(stream.body, () => silence.reset())) {
        const { type, object } = checkLine(resource, line);
        if (initial === undefined) {
          this.#take(type, object);
        } else if (type !== "BOOKMARK") {
          initial.take(type, object);
        } else if (endsInitialEvents(object)) {
          lateness?.[Symbol.dispose]();
          silence.allow(silenceMs);
          this.version = object.metadata.resourceVersion;
          const { views } = initial;
          initial = undefined;
          watcher.synced(views, this.version);
        }
      }
    } catch (error) {
      if (error instanceof KubernetesError || error instanceof UnavailableError) throw error;
      if (!silence.rang && !lateness?.rang) {
        throw new UnavailableError("the watch's connection failed", { cause: error });
      }
    }
    if (lateness?.rang) throw new UnavailableError("the API server did not send all objects in time");
    if (silence.rang) {
      if (initial === undefined && !this.#options.expectsBookmarks()) return "silent";
      throw new UnavailableError("the watch's connection has gone silent");
    }
    if (initial !== undefined) throw new UnavailableError("the watch ended before the API server had sent all objects");
    return "ended";
  }

  #take(type: WatchLine["type"], object: KubernetesObject): void {
    this.version = object.metadata.resourceVersion;
    const { watcher, view, bookmarked } = this.#options;
    if (type !== "BOOKMARK") return watcher.changed(type, view(object as R));
    bookmarked();
    watcher.reached?.(this.version);
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
