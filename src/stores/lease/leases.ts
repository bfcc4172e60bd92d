/**
 * The Leases of one namespace, as a lock store needs them: every answer that is
 * no fault is a value. It knows nothing of what the Leases mean.
 *
 * @module
 */

import type { V1Lease } from "@kubernetes/client-node/dist/gen/models/V1Lease.js";
import type { V1LeaseList } from "@kubernetes/client-node/dist/gen/models/V1LeaseList.js";
import { UnavailableError } from "../../lock/errors.ts";
import { type KubernetesClient, withSignal } from "../../kubernetes/client.ts";
import { KubernetesError, type Permission } from "../../kubernetes/errors.ts";
import { type ResourceWatcher, type WatchOptions, watchResource } from "../../kubernetes/watch.ts";

/** What reading and writing locks needs; without any of it the server cannot work. */
export function requiredPermissions(namespace: string): Permission[] {
  return permissions(namespace, ["get", "create", "update"]);
}

/** What makes it cheaper: with it a refusal costs no call. */
export function watchPermissions(namespace: string): Permission[] {
  return permissions(namespace, ["list", "watch"]);
}

function permissions(namespace: string, verbs: string[]): Permission[] {
  return verbs.map((verb) => ({ verb, group: "coordination.k8s.io", resource: "leases", namespace }));
}

/** The Leases of the client's namespace. All methods but `watch` throw {@link UnavailableError} only. */
export class Leases {
  readonly #client: KubernetesClient;
  readonly #watchOptions: Partial<WatchOptions>;

  /** Makes it over `client`; `watchOptions` is the timing of {@link watch}. */
  constructor(client: KubernetesClient, watchOptions: Partial<WatchOptions> = {}) {
    this.#client = client;
    this.#watchOptions = watchOptions;
  }

  /** The namespace. */
  get namespace(): string {
    return this.#client.namespace;
  }

  /** Reads one (get leases): as fresh as can be, from a quorum of etcd. Undefined where there is none. */
  async get(name: string, signal?: AbortSignal): Promise<V1Lease | undefined> {
    const call = this.#client.apis.coordination.readNamespacedLease(
      { name, namespace: this.namespace },
      withSignal(signal),
    );
    return await settle(call, { 404: undefined });
  }

  /** Creates one (create leases); "conflict" where there is one of its name. */
  async create(body: V1Lease, signal?: AbortSignal): Promise<V1Lease | "conflict"> {
    const call = this.#client.apis.coordination.createNamespacedLease(
      { namespace: this.namespace, body },
      withSignal(signal),
    );
    return await settle(call, { 409: "conflict" });
  }

  /** Replaces one (update leases) that is still at the resourceVersion of `body`; else "conflict". */
  async replace(body: V1Lease, signal?: AbortSignal): Promise<V1Lease | "conflict"> {
    const call = this.#client.apis.coordination.replaceNamespacedLease(
      { name: body.metadata!.name!, namespace: this.namespace, body },
      withSignal(signal),
    );
    return await settle(call, { 409: "conflict", 404: "conflict" });
  }

  /** Reads all (list leases). */
  async list(signal?: AbortSignal): Promise<{ items: V1Lease[]; resourceVersion: string }> {
    const call = this.#client.apis.coordination.listNamespacedLease({ namespace: this.namespace }, withSignal(signal));
    const list = await settle<V1LeaseList>(call, {});
    return { items: list.items, resourceVersion: list.metadata?.resourceVersion ?? "" };
  }

  /** Follows all (list and watch leases) until the signal aborts; does not throw. */
  async watch(watcher: ResourceWatcher<V1Lease>, signal: AbortSignal): Promise<void> {
    const path = `/apis/coordination.k8s.io/v1/namespaces/${encodeURIComponent(this.namespace)}/leases`;
    await watchResource(this.#client, { ...this.#watchOptions, path, model: "V1Lease" }, watcher, signal);
  }
}

/** Turns the statuses that the caller has a value for into it, and the others into faults. */
async function settle<T, V = never>(call: Promise<T>, values: Record<number, V>): Promise<T | V> {
  try {
    return await call;
  } catch (error) {
    if (!(error instanceof KubernetesError)) throw error;
    if (error.status in values) return values[error.status] as V;
    const hint = error.status === 404 ? ": does the namespace exist?" : "";
    throw new UnavailableError(`the API server refused the Lease: ${error.message}${hint}`, { cause: error });
  }
}
