/**
 * The objects that exist when a watch begins, as one consistent picture that arrives as the first events of the watch.
 * Each object is turned into its view at once, so that a big cluster's objects are never in memory together.
 *
 * @see https://kubernetes.io/docs/reference/using-api/api-concepts/#streaming-lists
 * @module
 */

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
