/**
 * The keeper's calls to the API server about Nodes, one method a call. Every expected answer is a value. It decides
 * nothing; the calls about the pods on a node are those of the drain (`pod_calls.ts`).
 *
 * @module
 */

import type { V1Node } from "@kubernetes/client-node/dist/gen/models/V1Node.js";
import { callOptions, JSON_PATCH, MERGE_PATCH, valueOfStatus } from "../../kubernetes/calls.ts";
import type { KubernetesClient } from "../../kubernetes/client.ts";
import type { Permission } from "../../kubernetes/errors.ts";
import { type ObjectVersion, type Pages, readPages, readVersions } from "../../kubernetes/list_pages.ts";
import { type ResourceWatcher, type WatchOptions, watchResource } from "../../kubernetes/watch.ts";
import { CORDON_ANNOTATION, type NodePatch } from "./cordon.ts";
import { FIELD_MANAGER, isInStep, type NodeView, SKIP_ANNOTATION, viewNode } from "./node.ts";

/** Where kubelets keep the Leases by which they show that they run. */
const NODE_LEASE_NAMESPACE = "kube-node-lease";

/** Lists exactly the permissions that the calls below need: cluster-wide, except the one on kubelets' Leases. */
export function nodePermissions(): Permission[] {
  return [
    ...["get", "list", "watch", "patch"].map((verb) => ({ verb, group: "", resource: "nodes" })),
    { verb: "get", group: "coordination.k8s.io", resource: "leases", namespace: NODE_LEASE_NAMESPACE },
  ];
}

/** The path of the Nodes. */
const NODES = "/api/v1/nodes";

/** How many whole Nodes are read at a time. With its images, one is often 10 to 20 kB of JSON. */
const OBJECTS_PER_PAGE = 50;

/** How a refused call is named in errors. */
const REFUSED = { subject: "a call about a node" };

/** The calls. All methods throw {@link UnavailableError} (a missing permission is one) or the signal's reason. */
export class NodeCalls {
  readonly #client: KubernetesClient;
  readonly #view: (node: V1Node, known?: NodeView) => NodeView;

  /**
   * Makes calls over `client`, which the caller disposes of.
   *
   * @param keepsLabels Whether the views have the Nodes' labels.
   */
  constructor(client: KubernetesClient, keepsLabels = false) {
    this.#client = client;
    this.#view = (node, known) => viewNode(node, known, keepsLabels);
  }

  /** Reads a Node (get nodes). Returns undefined where there is none. */
  async getNode(name: string, signal?: AbortSignal): Promise<NodeView | undefined> {
    const call = this.#client.apis.core.readNode({ name }, callOptions(signal));
    return await valueOfStatus(call.then((node) => this.#view(node)), { 404: undefined }, REFUSED);
  }

  /** Reads those of all Nodes (list nodes) that `keep` chooses, in pages. */
  async listNodes(keep: (node: NodeView) => boolean, signal?: AbortSignal): Promise<NodeView[]> {
    const view = (object: unknown) => {
      const node = this.#view(object as V1Node);
      return keep(node) ? node : undefined;
    };
    const pages = readPages(this.#client, { path: NODES, limit: OBJECTS_PER_PAGE }, view, signal);
    return (await valueOfStatus(pages, {}, REFUSED)).items;
  }

  /** Reads which Nodes there are and the version of each (list nodes), and nothing else of them. */
  async listVersions(signal?: AbortSignal): Promise<Pages<ObjectVersion>> {
    return await valueOfStatus(readVersions(this.#client, NODES, {}, signal), {}, REFUSED);
  }

  /** Reads the version that the Nodes are at (list nodes). */
  async currentVersion(signal?: AbortSignal): Promise<string> {
    const options = { path: NODES, limit: 1, metadataOnly: true, firstPageOnly: true };
    return (await valueOfStatus(readPages(this.#client, options, () => undefined, signal), {}, REFUSED)).version;
  }

  /**
   * Reads a Node as it was at a version of all Nodes (list nodes).
   *
   * @returns Undefined where there was none, or where that version is no longer stored.
   */
  async nodeAt(name: string, version: string, signal?: AbortSignal): Promise<NodeView | undefined> {
    const query = { fieldSelector: `metadata.name=${name}`, resourceVersion: version, resourceVersionMatch: "Exact" };
    const view = (object: unknown) => this.#view(object as V1Node);
    const pages = readPages(this.#client, { path: NODES, limit: 1, query }, view, signal);
    const found = await valueOfStatus(pages, { 410: undefined }, REFUSED);
    return found?.items.find((node) => node.name === name);
  }

  /**
   * Follows all Nodes (list and watch nodes) until the signal aborts. Does not throw.
   *
   * @param seen The Nodes as they were told, by name.
   */
  async watchNodes(
    watcher: ResourceWatcher<NodeView>,
    signal: AbortSignal,
    seen: ReadonlyMap<string, NodeView>,
  ): Promise<void> {
    const what: WatchOptions<V1Node, NodeView> = {
      path: NODES,
      view: (node) => this.#view(node, seen.get(node.metadata?.name ?? "")),
      isInStep: (versions, version) => isInStep(seen, versions, version),
      maxPauseMs: 5_000,
      forbiddenPauseMs: 10_000,
    };
    await watchResource(this.#client, what, watcher, signal);
  }

  /**
   * Changes a Node (patch nodes), provided that it is still as it was seen.
   *
   * @returns The changed Node; "conflict" where it has changed since it was seen; "gone" where it no longer exists.
   */
  async patchNode(node: NodeView, patch: NodePatch, signal?: AbortSignal): Promise<NodeView | "conflict" | "gone"> {
    if (patch.unschedulable === null) return await this.#uncordon(node, signal);
    const annotations = {
      ...(patch.cordon !== undefined && { [CORDON_ANNOTATION]: patch.cordon }),
      ...(patch.skip !== undefined && { [SKIP_ANNOTATION]: patch.skip }),
    };
    const body = {
      metadata: {
        uid: node.uid,
        resourceVersion: node.resourceVersion,
        ...(Object.keys(annotations).length > 0 && { annotations }),
      },
      ...(patch.unschedulable !== undefined && { spec: { unschedulable: patch.unschedulable } }),
    };
    const parameters = { name: node.name, body, fieldManager: FIELD_MANAGER };
    const call = this.#client.apis.core.patchNode(parameters, callOptions(signal, MERGE_PATCH));
    // A new Node of the same name has another UID. That is a conflict too.
    const values = { 404: "gone" as const, 409: "conflict" as const };
    return await valueOfStatus(call.then((node) => this.#view(node)), values, REFUSED);
  }

  /**
   * Uncordons a Node and removes our annotation, provided that it still carries that very annotation and is as it was
   * seen. The version alone proves that only while the versions never go back: after etcd was restored from a backup,
   * another state may have the version of the one that was seen, such as an administrator's cordon.
   */
  async #uncordon(
    { name, uid, resourceVersion, cordon }: NodeView,
    signal?: AbortSignal,
  ): Promise<NodeView | "conflict" | "gone"> {
    const annotation = `/metadata/annotations/${CORDON_ANNOTATION.replaceAll("/", "~1")}`;
    const body = [
      { op: "test", path: "/metadata/uid", value: uid },
      { op: "test", path: "/metadata/resourceVersion", value: resourceVersion },
      { op: "test", path: annotation, value: cordon },
      { op: "remove", path: annotation },
      { op: "remove", path: "/spec/unschedulable" },
    ];
    const call = this.#client.apis.core.patchNode(
      { name, body, fieldManager: FIELD_MANAGER },
      callOptions(signal, JSON_PATCH),
    );
    // 422 is the answer to a test that fails.
    const values = { 404: "gone" as const, 409: "conflict" as const, 422: "conflict" as const };
    return await valueOfStatus(call.then((node) => this.#view(node)), values, REFUSED);
  }

  /**
   * Reads when a Node's kubelet last renewed its Lease (get leases in kube-node-lease).
   *
   * @returns Milliseconds since the epoch by the Node's clock; undefined where the kubelet keeps no Lease.
   *
   * @see https://kubernetes.io/docs/concepts/architecture/leases/#node-heart-beats
   */
  async kubeletRenewal(node: string, signal?: AbortSignal): Promise<number | undefined> {
    const parameters = { name: node, namespace: NODE_LEASE_NAMESPACE };
    const call = this.#client.apis.coordination.readNamespacedLease(parameters, callOptions(signal));
    const lease = await valueOfStatus(call, { 404: undefined }, REFUSED);
    const renewed = lease?.spec?.renewTime;
    return renewed ? new Date(renewed).getTime() : undefined;
  }
}
