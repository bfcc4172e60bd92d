/**
 * The keeper's calls to the API server, one method a call, with every answer
 * that is no fault as a value. It decides nothing.
 *
 * @module
 */

import type { ConfigurationOptions } from "@kubernetes/client-node/dist/gen/configuration.js";
import type { V1Pod } from "@kubernetes/client-node/dist/gen/models/V1Pod.js";
import { of } from "@kubernetes/client-node/dist/gen/rxjsStub.js";
import { UnavailableError } from "../../lock/errors.ts";
import type { KubernetesClient } from "../../kubernetes/client.ts";
import { CORDON_ANNOTATION, type NodePatch } from "./cordon.ts";
import { KubernetesError, type Permission } from "../../kubernetes/errors.ts";
import { type NodeView, viewNode } from "./node.ts";
import { answerOf, type EvictionAnswer, type PodView, viewPod } from "../drain/pods.ts";
import { type ResourceWatcher, watchResource } from "../../kubernetes/watch.ts";

/** Where kubelets keep the Leases by which they show that they run. */
export const NODE_LEASE_NAMESPACE = "kube-node-lease";

/** What the keeper must be allowed. */
export interface KeeperNeeds {
  /** Whether it drains nodes, or only finds them and waits for them. */
  readonly drain: boolean;
  /** Whether it deletes pods that a budget protects when the time-out has passed. */
  readonly deletePods: boolean;
}

/** What makes drains quicker: without it, they wait for the volumes of pods that stay. */
export function usefulKeeperPermissions(): Permission[] {
  return [{ verb: "get", group: "", resource: "persistentvolumeclaims" }];
}

/** Lists exactly the other permissions of the calls below, all of them cluster-wide but that on node Leases. */
export function keeperPermissions(needs: KeeperNeeds): Permission[] {
  const allow = (group: string, resource: string, verbs: string[], subresource?: string): Permission[] =>
    verbs.map((verb) => ({ verb, group, resource, ...(subresource && { subresource }) }));
  return [
    ...allow("", "nodes", needs.drain ? ["get", "list", "watch", "patch"] : ["get", "list", "watch"]),
    ...(needs.drain
      ? [
        ...allow("", "pods", needs.deletePods ? ["list", "watch", "delete"] : ["list", "watch"]),
        ...allow("", "pods", ["create"], "eviction"),
        ...allow("storage.k8s.io", "volumeattachments", ["get", "list"]),
      ]
      : []),
    { verb: "get", group: "coordination.k8s.io", resource: "leases", namespace: NODE_LEASE_NAMESPACE },
  ];
}

/** The calls. All methods throw {@link UnavailableError} (a missing permission is one) or the signal's reason. */
export class NodeCalls {
  readonly #client: KubernetesClient;

  /** Calls over `client`, which stays its owner's to dispose of. */
  constructor(client: KubernetesClient) {
    this.#client = client;
  }

  /** Reads a Node (get nodes); undefined where there is none. */
  async getNode(name: string, signal?: AbortSignal): Promise<NodeView | undefined> {
    return await settle(this.#client.apis.core.readNode({ name }, options(signal)).then(viewNode), { 404: undefined });
  }

  /** Reads all Nodes (list nodes). */
  async listNodes(signal?: AbortSignal): Promise<NodeView[]> {
    const list = await settle(this.#client.apis.core.listNode({}, options(signal)), {});
    return list.items.map(viewNode);
  }

  /** Follows all Nodes (list and watch nodes) until the signal aborts. Does not throw. */
  async watchNodes(watcher: ResourceWatcher<NodeView>, signal: AbortSignal): Promise<void> {
    await watchResource(
      this.#client,
      { path: "/api/v1/nodes", model: "V1Node", maxPauseMs: 5_000, forbiddenPauseMs: 10_000 },
      through(watcher, viewNode),
      signal,
    );
  }

  /**
   * Changes a Node (patch nodes) that is still as it was seen.
   *
   * @returns The Node as it is then; "conflict" where it has changed meanwhile, "gone" where it is no more.
   */
  async patchNode(node: NodeView, patch: NodePatch, signal?: AbortSignal): Promise<NodeView | "conflict" | "gone"> {
    const body = {
      metadata: {
        uid: node.uid,
        resourceVersion: node.resourceVersion,
        ...(patch.cordon !== undefined && { annotations: { [CORDON_ANNOTATION]: patch.cordon } }),
      },
      ...(patch.unschedulable !== undefined && { spec: { unschedulable: patch.unschedulable } }),
    };
    const call = this.#client.apis.core.patchNode({ name: node.name, body }, options(signal, MERGE_PATCH));
    // Another UID, that of a Node made anew under the name, is a conflict too, which the API server may call invalid.
    return await settle(call.then(viewNode), {
      404: "gone" as const,
      409: "conflict" as const,
      422: "conflict" as const,
    });
  }

  /**
   * Follows the pods of a Node (list and watch pods) until the signal aborts. Does not throw.
   * Where `synced` aborts the signal, no watch is begun.
   */
  async watchPods(node: string, watcher: ResourceWatcher<PodView>, signal: AbortSignal): Promise<void> {
    const what = {
      path: "/api/v1/pods",
      model: "V1Pod",
      fieldSelector: `spec.nodeName=${node}`,
      maxPauseMs: 5_000,
      forbiddenPauseMs: 1_000,
    };
    await watchResource(this.#client, what, through<V1Pod, PodView>(watcher, viewPod), signal);
  }

  /**
   * Asks for a pod's eviction (create pods/eviction), with its own grace period
   * and only if it is still this very pod.
   */
  async evict(pod: PodView, signal?: AbortSignal): Promise<EvictionAnswer> {
    const { name, namespace, uid } = pod;
    const body = {
      apiVersion: "policy/v1",
      kind: "Eviction",
      metadata: { name, namespace },
      deleteOptions: { preconditions: { uid } },
    };
    return await answer(this.#client.apis.core.createNamespacedPodEviction({ name, namespace, body }, options(signal)));
  }

  /** Deletes a pod (delete pods) past its budgets, with its own grace period and only if it is still this very pod. */
  async deletePod(pod: PodView, signal?: AbortSignal): Promise<EvictionAnswer> {
    const { name, namespace, uid } = pod;
    const body = { preconditions: { uid } };
    return await answer(this.#client.apis.core.deleteNamespacedPod({ name, namespace, body }, options(signal)));
  }

  /** Names the VolumeAttachments of a Node and the PersistentVolume of each (list volumeattachments). */
  async listAttachments(node: string, signal?: AbortSignal): Promise<{ name: string; volume?: string }[]> {
    const list = await settle(this.#client.apis.storage.listVolumeAttachment({}, options(signal)), {});
    return list.items.filter(({ spec }) => spec.nodeName === node).map(({ metadata, spec }) => {
      return { name: metadata?.name ?? "", volume: spec.source.persistentVolumeName };
    });
  }

  /** Names the PersistentVolume of a claim (get persistentvolumeclaims); undefined where it has none. */
  async volumeOf(namespace: string, name: string, signal?: AbortSignal): Promise<string | undefined> {
    const call = this.#client.apis.core.readNamespacedPersistentVolumeClaim({ namespace, name }, options(signal));
    return await settle(call.then((claim) => claim.spec?.volumeName), { 404: undefined });
  }

  /** Whether a VolumeAttachment is there (get volumeattachments). */
  async hasAttachment(name: string, signal?: AbortSignal): Promise<boolean> {
    const call = this.#client.apis.storage.readVolumeAttachment({ name }, options(signal));
    return await settle(call.then(() => true), { 404: false });
  }

  /**
   * When a Node's kubelet last showed that it runs (get leases in kube-node-lease).
   *
   * @returns Milliseconds since the epoch by the Node's clock; undefined where it keeps no Lease.
   *
   * @see https://kubernetes.io/docs/concepts/architecture/leases/#node-heart-beats
   */
  async kubeletRenewal(node: string, signal?: AbortSignal): Promise<number | undefined> {
    const parameters = { name: node, namespace: NODE_LEASE_NAMESPACE };
    const call = this.#client.apis.coordination.readNamespacedLease(parameters, options(signal));
    const lease = await settle(call, { 404: undefined });
    const renewed = lease?.spec?.renewTime;
    return renewed ? new Date(renewed).getTime() : undefined;
  }
}

/** The media type of a patch that is laid over the object. */
const MERGE_PATCH = "application/merge-patch+json";

function options(signal: AbortSignal | undefined, contentType?: string): ConfigurationOptions | undefined {
  if (signal === undefined && contentType === undefined) return undefined;
  return {
    middleware: [{
      pre(context) {
        if (signal !== undefined) context.setSignal(signal);
        if (contentType !== undefined) context.setHeaderParam("Content-Type", contentType);
        return of(context);
      },
      post: (context) => of(context),
    }],
  };
}

function through<A, B>(watcher: ResourceWatcher<B>, view: (object: A) => B): ResourceWatcher<A> {
  return {
    synced: (items, version) => watcher.synced(items.map(view), version),
    changed: (type, object) => watcher.changed(type, view(object)),
    lost: (error) => watcher.lost(error),
  };
}

async function answer(call: Promise<unknown>): Promise<EvictionAnswer> {
  try {
    await call;
    return { kind: "accepted" };
  } catch (error) {
    return answerOf(error);
  }
}

/** Turns the statuses that the caller has a value for into it, and the others into faults. */
async function settle<T, V = never>(call: Promise<T>, values: Readonly<Record<number, V>>): Promise<T | V> {
  try {
    return await call;
  } catch (error) {
    if (!(error instanceof KubernetesError)) throw error;
    if (error.status in values) return values[error.status] as V;
    throw new UnavailableError(`the API server refused a call about a node: ${error.message}`, { cause: error });
  }
}
