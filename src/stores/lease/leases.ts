/**
 * The calls about the Leases of one namespace. Every expected answer is a value.
 * It does not know what the Leases mean.
 *
 * @module
 */

import type { V1Lease } from "@kubernetes/client-node/dist/gen/models/V1Lease.js";
import type { V1LeaseList } from "@kubernetes/client-node/dist/gen/models/V1LeaseList.js";
import { callOptions, valueOfStatus } from "../../kubernetes/calls.ts";
import type { KubernetesClient } from "../../kubernetes/client.ts";
import type { Permission } from "../../kubernetes/errors.ts";
import { type ResourceWatcher, watchResource, type WatchTiming } from "../../kubernetes/watch.ts";

/** Lists the permissions for reading and writing locks. Without them the server cannot work. */
export function requiredPermissions(namespace: string): Permission[] {
  return permissions(namespace, ["get", "create", "update"]);
}

/** Lists the permissions for watching locks. With them the server refuses a request without a call. */
export function watchPermissions(namespace: string): Permission[] {
  return permissions(namespace, ["list", "watch"]);
}

function permissions(namespace: string, verbs: string[]): Permission[] {
  return verbs.map((verb) => ({ verb, group: "coordination.k8s.io", resource: "leases", namespace }));
}

/** A Lease is small, and a write needs the whole of it. */
const asIs = (lease: V1Lease): V1Lease => lease;

/** How a refusal is worded. */
const REFUSED = { subject: "the Lease", hints: { 404: "does the namespace exist?" } };

/**
 * The Leases of the client's namespace. All methods except `watch` throw
 * {@link "../../lock/errors.ts".UnavailableError} for every fault, and the
 * signal's reason once it aborts.
 */
export class Leases {
  readonly #client: KubernetesClient;
  readonly #watchTiming: WatchTiming;

  /** Makes calls over `client`, which its owner disposes of. `watchTiming` is the timing of {@link watch}. */
  constructor(client: KubernetesClient, watchTiming: WatchTiming = {}) {
    this.#client = client;
    this.#watchTiming = watchTiming;
  }

  /** The namespace. */
  get namespace(): string {
    return this.#client.namespace;
  }

  /** Reads one afresh (get leases), from a quorum of etcd. Returns undefined if it does not exist. */
  async get(name: string, signal?: AbortSignal): Promise<V1Lease | undefined> {
    const { coordination } = this.#client.apis;
    const call = coordination.readNamespacedLease({ name, namespace: this.namespace }, callOptions(signal));
    return await valueOfStatus(call, { 404: undefined }, REFUSED);
  }

  /** Creates one (create leases). Returns "conflict" if one of its name exists. */
  async create(body: V1Lease, signal?: AbortSignal): Promise<V1Lease | "conflict"> {
    const { coordination } = this.#client.apis;
    const call = coordination.createNamespacedLease({ namespace: this.namespace, body }, callOptions(signal));
    return await valueOfStatus(call, { 409: "conflict" }, REFUSED);
  }

  /** Replaces one (update leases) if it is still at the resourceVersion of `body`. Otherwise returns "conflict". */
  async replace(body: V1Lease, signal?: AbortSignal): Promise<V1Lease | "conflict"> {
    const { coordination } = this.#client.apis;
    const parameters = { name: body.metadata!.name!, namespace: this.namespace, body };
    const call = coordination.replaceNamespacedLease(parameters, callOptions(signal));
    return await valueOfStatus(call, { 409: "conflict", 404: "conflict" }, REFUSED);
  }

  /** Reads all (list leases). */
  async list(signal?: AbortSignal): Promise<{ items: V1Lease[]; resourceVersion: string }> {
    const { coordination } = this.#client.apis;
    const call = coordination.listNamespacedLease({ namespace: this.namespace }, callOptions(signal));
    const list = await valueOfStatus<V1LeaseList>(call, {}, REFUSED);
    return { items: list.items, resourceVersion: list.metadata?.resourceVersion ?? "" };
  }

  /** Follows all (list and watch leases) until the signal aborts. Starts again after failures; does not throw. */
  async watch(watcher: ResourceWatcher<V1Lease>, signal: AbortSignal): Promise<void> {
    const path = `/apis/coordination.k8s.io/v1/namespaces/${encodeURIComponent(this.namespace)}/leases`;
    await watchResource(this.#client, { ...this.#watchTiming, path, view: asIs }, watcher, signal);
  }
}
