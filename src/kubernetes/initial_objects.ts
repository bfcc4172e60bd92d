/**
 * The objects that exist when a watch begins, as one consistent picture. They arrive either as the first events of the
 * watch or as a list in pages. Each object is turned into its view at once, so that a big cluster's objects are never in
 * memory together.
 *
 * @see https://kubernetes.io/docs/reference/using-api/api-concepts/#streaming-lists
 * @module
 */

import type { Clock } from "../lock/clock.ts";
import { UnavailableError } from "../lock/errors.ts";
import { checkPage, type ResourcePath } from "./answer_check.ts";
import type { KubernetesClient } from "./client.ts";
import { KubernetesError } from "./errors.ts";

/** The parts of every Kubernetes object that a watch needs. */
export interface KubernetesObject {
  /** Its name, namespace and version. */
  readonly metadata: {
    readonly name?: string;
    readonly namespace?: string;
    readonly resourceVersion: string;
    readonly annotations?: Readonly<Record<string, string>>;
  };
}

/** Collects the initial events of a watch. Changes may be among them, so it is not a list of additions alone. */
export class InitialObjects<R, T> {
  readonly #view: (object: R) => T;
  readonly #views = new Map<string, T>();

  /** Creates an empty collection. `view` takes from an object what the watcher needs. */
  constructor(view: (object: R) => T) {
    this.#view = view;
  }

  /** The views of the objects that exist so far. */
  get views(): T[] {
    return [...this.#views.values()];
  }

  /** Takes in one event. */
  take(type: "ADDED" | "MODIFIED" | "DELETED", object: KubernetesObject): void {
    const { namespace = "", name = "" } = object.metadata;
    const key = `${namespace}/${name}`;
    if (type === "DELETED") this.#views.delete(key);
    else this.#views.set(key, this.#view(object as R));
  }
}

/** Whether a bookmark says that all initial events have been sent. */
export function endsInitialEvents(bookmark: KubernetesObject): boolean {
  return bookmark.metadata.annotations?.["k8s.io/initial-events-end"] === "true";
}

/**
 * Whether an error says that the API server does not offer initial events. Servers before Kubernetes 1.34 may have them
 * switched off, and earlier ones do not know the parameters.
 */
export function refusesInitialEvents(error: unknown): boolean {
  return error instanceof KubernetesError && (error.status === 400 || error.status === 422);
}

/** How many objects a page has. A Node may have 20 kB. */
const PAGE_SIZE = 50;

/** How often a list starts again because its snapshot has expired. */
const MAX_RESTARTS = 3;

/** What {@link listPages} lists. */
export interface PagesOptions<R, T> {
  /** The path of the collection. */
  readonly path: string;
  /** The same path, parsed. */
  readonly resource: ResourcePath;
  /** The parameters that select objects. */
  readonly selectors: Readonly<Record<string, string>>;
  /** Takes from an object what the caller needs. */
  readonly view: (object: R) => T;
  /** How long the whole list may take, in milliseconds. */
  readonly timeoutMs: number;
  /** Measures that. */
  readonly clock: Clock;
}

/**
 * Lists objects in pages, which all show the same moment.
 *
 * @returns The views, and the version of the moment.
 * @throws {UnavailableError} It took too long, or its snapshot expired again and again.
 * @throws What {@link KubernetesClient.get} throws.
 */
export async function listPages<R, T>(
  client: KubernetesClient,
  options: PagesOptions<R, T>,
  signal: AbortSignal,
): Promise<{ views: T[]; version: string }> {
  const { path, resource, selectors, view, timeoutMs, clock } = options;
  const began = clock.monotonic();
  let views: T[] = [];
  let token = "";
  let restarts = 0;
  for (;;) {
    if (clock.monotonic() - began >= timeoutMs) throw new UnavailableError("the list of all objects took too long");
    const query = new URLSearchParams({ ...selectors, limit: `${PAGE_SIZE}`, ...(token && { continue: token }) });
    try {
      const page = parseJson((await client.get(`${path}?${query}`, signal)).text);
      checkPage(resource, page);
      const { items, metadata } = page as { items: R[]; metadata: { resourceVersion: string; continue?: string } };
      for (const item of items) views.push(view(item));
      token = metadata.continue ?? "";
      if (token === "") return { views, version: metadata.resourceVersion };
    } catch (error) {
      if (token === "" || !(error instanceof KubernetesError && error.status === 410)) throw error;
      // The snapshot that the pages come from has expired. Later pages would show another moment.
      if (++restarts > MAX_RESTARTS) throw new UnavailableError("the list of all objects expires", { cause: error });
      views = [];
      token = "";
    }
  }
}

/** Parses a page. Throws no error that quotes it. */
function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
