/**
 * A drain's calls to the API server, about the pods on a node and their volumes, one method a call. Every expected
 * answer is a value. It decides nothing.
 *
 * @module
 */

import { callOptions, valueOfStatus } from "../../kubernetes/calls.ts";
import type { KubernetesClient } from "../../kubernetes/client.ts";
import type { Permission } from "../../kubernetes/errors.ts";
import { type ResourceWatcher, watchResource } from "../../kubernetes/watch.ts";
import { answerOf, type Claim, type EvictionAnswer, type PodView, viewPod } from "./pods.ts";

/**
 * Lists exactly the permissions that the calls below need, except {@link optionalPodPermissions}. All are cluster-wide.
 *
 * @param deletePods Whether the drain may delete pods past their budgets (`--drain-on-timeout=delete`).
 */
export function podPermissions(deletePods: boolean): Permission[] {
  const allow = (group: string, resource: string, verbs: string[], subresource?: string): Permission[] =>
    verbs.map((verb) => ({ verb, group, resource, ...(subresource && { subresource }) }));
  return [
    ...allow("", "pods", deletePods ? ["list", "watch", "delete"] : ["list", "watch"]),
    ...allow("", "pods", ["create"], "eviction"),
    ...allow("storage.k8s.io", "volumeattachments", ["get", "list"]),
  ];
}

/**
 * Lists the permissions that make drains faster: without them, a drain also waits for the volumes of pods that stay.
 */
export function optionalPodPermissions(): Permission[] {
  return [{ verb: "get", group: "", resource: "persistentvolumeclaims" }];
}

/** A VolumeAttachment: one volume that is attached to a node. */
export interface Attachment {
  /** The VolumeAttachment's name. */
  readonly name: string;
  /** The name of its PersistentVolume; undefined for an inline volume. */
  readonly volume?: string;
}

/** How a refused call is named in errors. */
const REFUSED = { subject: "a call about a node" };

/** The calls. All methods throw {@link UnavailableError} (a missing permission is one) or the signal's reason. */
export class PodCalls {
  readonly #client: KubernetesClient;

  /** Makes calls over `client`, which the caller disposes of. */
  constructor(client: KubernetesClient) {
    this.#client = client;
  }

  /**
   * Follows the pods of a Node (list and watch pods) until the signal aborts. Does not throw.
   * If `synced` aborts the signal, the pods are listed but not watched.
   */
  async watchPods(node: string, watcher: ResourceWatcher<PodView>, signal: AbortSignal): Promise<void> {
    const what = {
      path: "/api/v1/pods",
      view: viewPod,
      fieldSelector: `spec.nodeName=${node}`,
      maxPauseMs: 5_000,
      forbiddenPauseMs: 1_000,
    };
    await watchResource(this.#client, what, watcher, signal);
  }

  /** Reads the pods bound to a Node's name (list pods), past every cache. */
  async listPods(node: string, signal?: AbortSignal): Promise<PodView[]> {
    const call = this.#client.apis.core.listPodForAllNamespaces(
      { fieldSelector: `spec.nodeName=${node}` },
      callOptions(signal),
    );
    return (await valueOfStatus(call, {}, REFUSED)).items.map(viewPod);
  }

  /**
   * Asks for a pod's eviction (create pods/eviction) with the pod's own grace period. The UID is a precondition, so
   * that a later pod of the same name is left alone.
   *
   * @param mayLeave Whether the pod is still to be evicted: the call may wait for its turn.
   */
  async evict(pod: PodView, signal?: AbortSignal, mayLeave?: () => boolean): Promise<EvictionAnswer> {
    return await this.#evict(pod, {}, signal, mayLeave);
  }

  /** Asks whether a pod's eviction would be allowed now (create pods/eviction), without effect. */
  async tryEviction(pod: PodView, signal?: AbortSignal): Promise<EvictionAnswer> {
    return await this.#evict(pod, { dryRun: ["All"] }, signal);
  }

  async #evict(
    pod: PodView,
    options: { dryRun?: string[] },
    signal?: AbortSignal,
    mayLeave?: () => boolean,
  ): Promise<EvictionAnswer> {
    const { name, namespace, uid } = pod;
    const body = {
      apiVersion: "policy/v1",
      kind: "Eviction",
      metadata: { name, namespace },
      deleteOptions: { preconditions: { uid }, ...options },
    };
    const parameters = { name, namespace, body };
    const call = callOptions(signal, undefined, mayLeave);
    return await answerTo(this.#client.apis.core.createNamespacedPodEviction(parameters, call));
  }

  /** Deletes a pod (delete pods) past its budgets, with its own grace period. The UID is a precondition, as above. */
  async deletePod(pod: PodView, signal?: AbortSignal, mayLeave?: () => boolean): Promise<EvictionAnswer> {
    const { name, namespace, uid } = pod;
    const body = { preconditions: { uid } };
    const call = callOptions(signal, undefined, mayLeave);
    return await answerTo(this.#client.apis.core.deleteNamespacedPod({ name, namespace, body }, call));
  }

  /** Reads the VolumeAttachments of a Node (list volumeattachments). */
  async listAttachments(node: string, signal?: AbortSignal): Promise<Attachment[]> {
    const call = this.#client.apis.storage.listVolumeAttachment({}, callOptions(signal));
    const list = await valueOfStatus(call, {}, REFUSED);
    return list.items.filter(({ spec }) => spec.nodeName === node).map(({ metadata, spec }) => {
      return { name: metadata?.name ?? "", volume: spec.source.persistentVolumeName };
    });
  }

  /** Reads the name of a claim's PersistentVolume (get persistentvolumeclaims); undefined where it has none. */
  async volumeOf({ namespace, name }: Claim, signal?: AbortSignal): Promise<string | undefined> {
    const call = this.#client.apis.core.readNamespacedPersistentVolumeClaim({ namespace, name }, callOptions(signal));
    return await valueOfStatus(call.then((claim) => claim.spec?.volumeName), { 404: undefined }, REFUSED);
  }

  /** Reads whether a VolumeAttachment exists (get volumeattachments). */
  async hasAttachment(name: string, signal?: AbortSignal): Promise<boolean> {
    const call = this.#client.apis.storage.readVolumeAttachment({ name }, callOptions(signal));
    return await valueOfStatus(call.then(() => true), { 404: false }, REFUSED);
  }
}

async function answerTo(call: Promise<unknown>): Promise<EvictionAnswer> {
  try {
    await call;
    return { kind: "accepted" };
  } catch (error) {
    return answerOf(error);
  }
}
