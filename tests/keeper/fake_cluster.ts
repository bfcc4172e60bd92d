/**
 * A cluster in memory, as far as a node keeper asks about it: Nodes that a test changes as it likes, pods that a budget
 * protects or not, and watches that show what the test says. A test may act before and after each call. For states that
 * a real API server reaches only in races. What needs a real one is in tests/cluster.
 *
 * @module
 */

import { deepEqual, equal, match, ok } from "node:assert/strict";
import { setImmediate } from "node:timers";
import type { V1Node } from "@kubernetes/client-node/dist/gen/models/V1Node.js";
import type { Apis, KubernetesClient } from "../../src/kubernetes/client.ts";
import { ForbiddenError, KubernetesError } from "../../src/kubernetes/errors.ts";
import { ServerClock } from "../../src/kubernetes/server_clock.ts";
import { type Clock, systemClock } from "../../src/lock/clock.ts";
import { binaryList, type MetadataListJson, wantsBinaryList } from "../support/metadata_list.ts";
import { CORDON_ANNOTATION } from "../../src/keeper/nodes/cordon.ts";

/** A Node of the fake. */
export interface FakeNode {
  name: string;
  uid: string;
  machineID?: string;
  bootID?: string;
  annotations?: Record<string, string>;
  ready?: string;
  createdAt?: Date;
  unschedulable?: boolean;
  /** The field manager that cordoned it; nobody is named where undefined. */
  cordonedBy?: string;
  deletedAt?: Date;
}

/** A pod of the fake. Its budget allows no disruption unless said otherwise, so it stays until the test removes it. */
export interface FakePod {
  name: string;
  node: string;
  createdAt: Date;
  /** How long it takes to stop once it is evicted, in milliseconds; undefined where a budget protects it. */
  stopsInMs?: number;
  deletedAt?: Date;
}

/** What a call is about to do or has done: a verb and a resource, and for an eviction the pod's name. */
export type Hook = (call: string, when: "before" | "after") => void | Promise<void>;

/** What a watch is about: the Nodes, or the pods of one. */
interface Watched {
  readonly resource: "nodes" | "pods";
  /** The node whose pods are watched. */
  readonly node?: string;
}

/** A watch that is open. */
interface OpenWatch extends Watched {
  readonly send: (event: WatchEvent) => void;
  readonly fail: () => void;
}

/** A change that watches show. */
interface WatchEvent extends Watched {
  readonly version: number;
  readonly type: string;
  readonly object: unknown;
}

/** See the module. */
export class FakeCluster {
  /** The Nodes, by name. */
  readonly nodes = new Map<string, FakeNode>();
  /** The pods. */
  pods: FakePod[] = [];
  /** The VolumeAttachments, as pairs of a name and a node. */
  attachments: { name: string; node: string }[] = [];
  /** What the watch of the Nodes lists; the Nodes themselves where undefined. */
  seen: FakeNode[] | undefined;
  /** The calls so far: a verb and a resource, and for an eviction the pod's name. */
  readonly calls: string[] = [];
  /** Called around each call. */
  hook: Hook = () => {};
  /** The calls that are denied, such as "patch nodes". */
  readonly denied = new Set<string>();
  /** Whether a Node shows who cordoned it, in `metadata.managedFields`. */
  namesManagers = true;
  /** Whether the namespace of the pods is being deleted, in which nothing can be evicted. */
  isNamespaceEnding = false;
  /** When the kubelets last renewed their Leases, by node. */
  readonly renewals = new Map<string, Date>();
  /** The parameters of each page of the Nodes that was asked for. */
  readonly pages: Record<string, string>[] = [];
  /** How many Nodes a page has at most, whatever its limit is. */
  pageLimit = Infinity;
  /** What the keepers did that they never may. */
  readonly faults: string[] = [];
  readonly #clock: Clock;
  readonly #watches = new Set<OpenWatch>();
  readonly #versions = new Map<FakeNode, number>();
  /** The Nodes at the versions that lists have shown. */
  readonly #past = new Map<number, V1Node[]>();
  /** The events of Nodes that the watches hold back; undefined where they hold back none. */
  #heldBack: WatchEvent[] | undefined;
  /** What the watches have shown, so that one that begins at an earlier version shows it too. */
  readonly #events: WatchEvent[] = [];
  #version = 100;

  /** Makes an empty one, whose watches show the time of `clock` as bookmarks. */
  constructor(clock: Clock = systemClock) {
    this.#clock = clock;
  }

  /** Adds or replaces a Node, as ready and in its first boot unless said otherwise. */
  put(node: FakeNode): void {
    const whole = {
      ready: "True",
      bootID: "boot-1",
      createdAt: new Date(this.#clock.now() - 3_600_000),
      ...node,
    };
    const before = this.nodes.get(node.name);
    if (before !== undefined && before.uid !== node.uid) this.remove(node.name);
    this.nodes.set(node.name, whole);
    this.#nodeChanged(whole, before?.uid === node.uid ? "MODIFIED" : "ADDED");
  }

  /** Changes a Node. */
  change(name: string, change: Partial<FakeNode>): void {
    const node = this.nodes.get(name);
    ok(node, `the Node ${name} does not exist`);
    this.put({ ...node, ...change });
  }

  /** Cordons or uncordons a Node, as an administrator does. Does nothing where it is so already. */
  kubectl(verb: "cordon" | "uncordon", name: string): void {
    const unschedulable = verb === "cordon";
    if (this.nodes.get(name)?.unschedulable === unschedulable) return;
    this.change(name, { unschedulable, cordonedBy: unschedulable ? "kubectl" : undefined });
  }

  /** Deletes a Node. */
  remove(name: string): void {
    const node = this.nodes.get(name);
    if (node === undefined) return;
    this.nodes.delete(name);
    this.#nodeChanged(node, "DELETED");
  }

  /** Binds a pod to a node. */
  start(pod: FakePod): void {
    this.pods.push(pod);
    this.#podChanged(pod, "ADDED");
  }

  /** Removes a pod. */
  end(pod: FakePod): void {
    if (!this.pods.includes(pod)) return;
    this.pods = this.pods.filter((one) => one !== pod);
    this.#podChanged(pod, "DELETED");
  }

  /** Makes the open watches of the Nodes hold back what happens. */
  holdBack(): void {
    this.#heldBack ??= [];
  }

  /** Makes them show it, in order. */
  catchUp(): void {
    const held = this.#heldBack ?? [];
    this.#heldBack = undefined;
    for (const event of held) this.#show(event);
  }

  /** Passes the version of the Nodes on, as a change of another object does. */
  passVersion(): void {
    this.#version++;
  }

  /** Forgets the versions that lists have shown, as a compaction does. */
  compact(): void {
    this.#past.clear();
  }

  /** Breaks the watches of the Nodes off. */
  breakWatches(): void {
    for (const watch of this.#watches) if (watch.resource === "nodes") watch.fail();
  }

  /** A client of the cluster. */
  get client(): KubernetesClient {
    const clock = new ServerClock(this.#clock);
    const client = new FakeClient(clock, this.#clock, this);
    client.tellTime();
    const apis = {
      core: this.#core(client),
      coordination: {
        readNamespacedLease: ({ name, namespace }: { name: string; namespace: string }) => {
          equal(namespace, "kube-node-lease");
          const lease = () => this.renewals.has(name) ? { spec: { renewTime: this.renewals.get(name) } } : undefined;
          return client.call("get leases", lease);
        },
      },
      storage: {
        listVolumeAttachment: () => client.call("list attachments", () => ({ items: this.#attachmentObjects() })),
        readVolumeAttachment: ({ name }: { name: string }) => {
          return client.call(
            "get attachments",
            () => this.#attachmentObjects().find((one) => one.metadata.name === name),
          );
        },
      },
    };
    return {
      server: "https://fake",
      namespace: "ops",
      clock,
      // deno-lint-ignore no-explicit-any
      apis: apis as any,
      getBinary: async (path, _signal, headers) => {
        equal(path.split("?")[0], "/api/v1/nodes");
        ok(wantsBinaryList(headers?.accept));
        const page = await client.call("list nodes", () => this.#page(new URLSearchParams(path.split("?")[1]), true));
        const answer = binaryList(page as MetadataListJson);
        return { headers: Object.fromEntries(answer.headers), bytes: new Uint8Array(await answer.arrayBuffer()) };
      },
      get: async (path, _signal, headers) => {
        equal(headers, undefined);
        const query = new URLSearchParams(path.split("?")[1]);
        if (path.startsWith("/api/v1/nodes?") && query.has("limit")) {
          const page = await client.call("list nodes", () => this.#page(query));
          return { status: 200, headers: {}, text: JSON.stringify(page) };
        }
        const resource = path.startsWith("/api/v1/nodes") ? "nodes" : "pods";
        const list = await client.call(`watch ${resource}`, () => this.#list(path), `list ${resource}`);
        if (resource === "nodes") { for (const node of list.items) client.sees(node as V1Node); }
        return { status: 200, headers: {}, text: JSON.stringify(list) };
      },
      post: (path) => Promise.reject(new Error(`unexpected POST of ${path}`)),
      stream: async (path, signal) => {
        const asked = new URLSearchParams(path.split("?")[1]);
        if (asked.get("sendInitialEvents") !== "true") {
          return this.#stream(path, client, Number(asked.get("resourceVersion")), [], signal);
        }
        equal(asked.get("resourceVersionMatch"), "NotOlderThan");
        equal(asked.get("resourceVersion"), null, "any version would allow what was true before the call");
        const resource = path.startsWith("/api/v1/nodes") ? "nodes" : "pods";
        const { items, metadata } = await client.call(
          `watch ${resource}`,
          () => this.#list(path),
          `list ${resource}`,
        );
        signal?.throwIfAborted();
        const annotations = { "k8s.io/initial-events-end": "true" };
        const initial = [
          ...items.map((object) => ({ type: "ADDED", object })),
          { type: "BOOKMARK", object: { metadata: { ...metadata, annotations } } },
        ];
        if (resource === "nodes") { for (const node of items) client.sees(node as V1Node); }
        return this.#stream(path, client, Number(metadata.resourceVersion), initial, signal);
      },
      [Symbol.asyncDispose]: () => Promise.resolve(),
    };
  }

  #core(client: FakeClient): Partial<Apis["core"]> {
    const seen = (node: V1Node) => {
      client.sees(node);
      return node;
    };
    return {
      readNode: ({ name }) => client.call("get nodes", () => this.#node(name)).then(seen),
      patchNode: ({ name, body, fieldManager }) => {
        equal(fieldManager, "fleetlock");
        if (Array.isArray(body)) return client.call("patch nodes", () => this.#uncordon(name, body)).then(seen);
        const { metadata: { uid, resourceVersion, annotations }, spec } = body;
        ok(uid && resourceVersion, "a patch without preconditions");
        return client.call("patch nodes", () => {
          const node = this.nodes.get(name);
          if (node === undefined) return undefined;
          if (uid !== node.uid || resourceVersion !== `${this.#versions.get(node)}`) throw refused(409);
          const cordon = spec && {
            unschedulable: spec.unschedulable === true,
            cordonedBy: spec.unschedulable === true ? fieldManager : undefined,
          };
          const merged = Object.entries({ ...node.annotations, ...annotations }).filter(([, value]) => value !== null);
          this.change(name, { ...cordon, annotations: Object.fromEntries(merged) as Record<string, string> });
          return this.#node(name);
        }).then(seen);
      },
      listPodForAllNamespaces: ({ fieldSelector } = {}) => {
        const [, node] = /^spec\.nodeName=(.+)$/.exec(fieldSelector ?? "") ?? [];
        ok(node, `a list of pods with the selector ${fieldSelector}`);
        return client.call("list pods", () => ({ items: this.#podsOn(node) }));
      },
      createNamespacedPodEviction: ({ name, body }) => {
        const uid = body.deleteOptions?.preconditions?.uid;
        ok(uid, "an eviction without preconditions");
        if (client.hasSeenUncordoned) this.faults.push(`evicts ${name} although the node was shown uncordoned`);
        return client.call(`evict ${name}`, () => this.#evict(name, uid), "create evictions");
      },
    } as Partial<Apis["core"]>;
  }

  /** Takes the JSON patch that uncordons a node. */
  #uncordon(name: string, [uid, version, annotation, ...removals]: Record<string, string>[]): V1Node | undefined {
    const node = this.nodes.get(name);
    if (node === undefined) return undefined;
    const path = "/metadata/annotations/fleetlock.internal~1cordoned-for";
    deepEqual({ ...uid, value: "" }, { op: "test", path: "/metadata/uid", value: "" });
    deepEqual({ ...version, value: "" }, { op: "test", path: "/metadata/resourceVersion", value: "" });
    deepEqual({ ...annotation, value: "" }, { op: "test", path, value: "" });
    deepEqual(removals, [{ op: "remove", path }, { op: "remove", path: "/spec/unschedulable" }]);
    const { [CORDON_ANNOTATION]: cordon, ...annotations } = node.annotations ?? {};
    const isAsSeen = uid!.value === node.uid && version!.value === `${this.#versions.get(node)}` &&
      annotation!.value === cordon && node.unschedulable;
    if (!isAsSeen) throw refused(422);
    this.change(name, { unschedulable: false, cordonedBy: undefined, annotations });
    return this.#node(name);
  }

  #evict(name: string, uid: string): unknown {
    const pod = this.pods.find((one) => one.name === name);
    if (pod === undefined) return undefined;
    if (uid !== uidOf(pod)) throw refused(409);
    if (this.isNamespaceEnding) throw refused(403, ["NamespaceTerminating"]);
    if (pod.stopsInMs === undefined) throw refused(429, ["DisruptionBudget"]);
    if (pod.deletedAt === undefined) {
      pod.deletedAt = new Date(this.#clock.now() + pod.stopsInMs);
      this.#podChanged(pod, "MODIFIED");
      this.#clock.sleep(pod.stopsInMs).then(() => this.end(pod));
    }
    return {};
  }

  /** Makes a page of a list of the Nodes, as the newest API server does. */
  #page(query: URLSearchParams, isMetadataOnly = false): unknown {
    const parameters = Object.fromEntries(query);
    const { limit, continue: token, fieldSelector, resourceVersion, resourceVersionMatch, ...others } = parameters;
    deepEqual(others, {}, "a list of the Nodes with other parameters");
    ok(Number(limit) > 0);
    this.pages.push(parameters);
    let version = this.#version;
    if (token !== undefined) {
      equal(resourceVersion, undefined, "a token beside a version");
      version = Number(token.split(" ")[0]);
    } else if (resourceVersionMatch !== undefined) {
      equal(resourceVersionMatch, "Exact");
      version = Number(resourceVersion);
    } else {
      equal(resourceVersion, undefined, "a list that may be of an earlier moment");
      this.#past.set(version, [...this.nodes.keys()].map((name) => this.#node(name)!));
    }
    const all = this.#past.get(version);
    if (all === undefined) throw refused(410);
    const named = /^metadata\.name=(.+)$/.exec(fieldSelector ?? "")?.[1];
    equal(named === undefined, fieldSelector === undefined, `the field selector ${fieldSelector}`);
    const nodes = named === undefined ? all : all.filter(({ metadata }) => metadata?.name === named);
    const from = Number(token?.split(" ")[1] ?? 0);
    const to = from + Math.min(Number(limit), this.pageLimit);
    const metadata = {
      resourceVersion: `${version}`,
      ...(to < nodes.length && { continue: `${version} ${to}` }),
    };
    const items = nodes.slice(from, to);
    if (!isMetadataOnly) return { apiVersion: "v1", kind: "NodeList", metadata, items };
    return {
      apiVersion: "meta.k8s.io/v1",
      kind: "PartialObjectMetadataList",
      metadata,
      items: items.length === 0 ? null : items.map((node) => ({ metadata: node.metadata })),
    };
  }

  #list(path: string): { items: unknown[]; metadata: { resourceVersion: string } } {
    const metadata = { resourceVersion: `${this.#version}` };
    const list = (kind: string, items: unknown[]) => ({ apiVersion: "v1", kind, metadata, items });
    if (path.startsWith("/api/v1/nodes")) {
      const seen = this.seen?.map((node) => object(node)) ?? [...this.nodes.keys()].map((name) => this.#node(name));
      return list("NodeList", seen);
    }
    return list("PodList", this.#podsOn(nodeOf(path)));
  }

  #stream(
    path: string,
    client: FakeClient,
    from: number,
    initial: { type: string; object: unknown }[],
    signal?: AbortSignal,
  ) {
    const encoder = new TextEncoder();
    let watch: OpenWatch | undefined;
    const body = new ReadableStream<Uint8Array>({
      start: (controller) => {
        const line = (type: string, object: unknown) =>
          controller.enqueue(encoder.encode(`${JSON.stringify({ type, object })}\n`));
        const resource = path.startsWith("/api/v1/nodes") ? "nodes" : "pods";
        watch = {
          resource,
          ...(resource === "pods" && { node: nodeOf(path) }),
          send: ({ type, object }) => {
            line(type, object);
            // The keeper reads it a little later.
            if (resource === "nodes") setImmediate(() => client.sees(object as V1Node));
          },
          fail: () => {
            this.#watches.delete(watch!);
            controller.error(new Error("broken off"));
          },
        };
        this.#watches.add(watch);
        for (const { type, object } of initial) line(type, object);
        for (const event of this.#events) if (event.version > from && isAbout(watch, event)) watch.send(event);
        const bookmark = () => {
          // A bookmark says that everything before it has been shown.
          const version = this.#heldBack?.[0] === undefined ? this.#version : this.#heldBack[0].version - 1;
          line("BOOKMARK", { metadata: { resourceVersion: `${version}` } });
        };
        this.#keepAlive(watch, bookmark, signal);
        signal?.addEventListener("abort", () => {
          if (this.#watches.delete(watch!)) controller.close();
        }, { once: true });
      },
      cancel: () => void this.#watches.delete(watch!),
    });
    return {
      body,
      retire() {},
      [Symbol.asyncDispose]: () => {
        this.#watches.delete(watch!);
        return Promise.resolve();
      },
    };
  }

  async #keepAlive(watch: OpenWatch, bookmark: () => void, signal?: AbortSignal): Promise<void> {
    while (signal !== undefined && !signal.aborted) {
      await this.#clock.sleep(60_000, signal).catch(() => {});
      if (signal.aborted || !this.#watches.has(watch)) return;
      bookmark();
    }
  }

  #nodeChanged(node: FakeNode, type: string): void {
    this.#versions.set(node, ++this.#version);
    // What a test says that the watch has listed is all that it shows.
    if (this.seen !== undefined) return;
    const shown = object(this.#shown(node), this.#version);
    const event: WatchEvent = { resource: "nodes", version: this.#version, type, object: shown };
    if (this.#heldBack === undefined) this.#show(event);
    else this.#heldBack.push(event);
  }

  #podChanged(pod: FakePod, type: string): void {
    this.#version++;
    const shown = podObject(pod, this.#version);
    this.#show({ resource: "pods", node: pod.node, version: this.#version, type, object: shown });
  }

  #show(event: WatchEvent): void {
    this.#events.push(event);
    for (const watch of this.#watches) if (isAbout(watch, event)) watch.send(event);
  }

  #node(name: string): V1Node | undefined {
    const node = this.nodes.get(name);
    return node && object(this.#shown(node), this.#versions.get(node));
  }

  #shown(node: FakeNode): FakeNode {
    return this.namesManagers ? node : { ...node, cordonedBy: undefined };
  }

  #podsOn(node: string): unknown[] {
    return this.pods.filter((pod) => pod.node === node).map((pod) => podObject(pod, this.#version));
  }

  #attachmentObjects() {
    return this.attachments.map(({ name, node }) => ({ metadata: { name }, spec: { nodeName: node, source: {} } }));
  }
}

/** What one client does, and what it was shown of the Nodes. */
class FakeClient {
  readonly #clock: ServerClock;
  readonly #time: Clock;
  readonly #cluster: FakeCluster;
  #newest = { version: 0, unschedulable: true };

  constructor(clock: ServerClock, time: Clock, cluster: FakeCluster) {
    this.#clock = clock;
    this.#time = time;
    this.#cluster = cluster;
  }

  /** Whether the newest state of the node `a` that the client was shown is uncordoned. */
  get hasSeenUncordoned(): boolean {
    return !this.#newest.unschedulable;
  }

  /** Tells the time, as each answer does. */
  tellTime(): void {
    const now = this.#clock.monotonic();
    this.#clock.observe(new Date(this.#time.now()).toUTCString(), now, now);
  }

  /** Notes a state of the node `a` that the client was shown. Only a node that was cordoned can be uncordoned. */
  sees({ metadata, spec }: V1Node): void {
    const version = Number(metadata?.resourceVersion);
    if (metadata?.name !== "a" || version <= this.#newest.version) return;
    this.#newest = { version, unschedulable: spec?.unschedulable === true };
  }

  /**
   * Makes a call.
   *
   * @param answer Makes the answer; undefined where what is asked for does not exist.
   * @param right What the call is denied as. @default {call}
   */
  async call<T>(call: string, answer: () => T | undefined, right = call): Promise<T> {
    const cluster = this.#cluster;
    cluster.calls.push(call);
    await cluster.hook(call, "before");
    if (cluster.denied.has(right)) {
      const [verb = "", resource = ""] = right.split(" ");
      throw new ForbiddenError(`may not ${right}`, { verb, group: "", resource });
    }
    const made = answer();
    await cluster.hook(call, "after");
    this.tellTime();
    if (made === undefined) throw refused(404);
    return made;
  }
}

function isAbout(watch: Watched, event: Watched): boolean {
  return watch.resource === event.resource && watch.node === event.node;
}

function nodeOf(path: string): string {
  const query = new URLSearchParams(path.split("?")[1]);
  match(path, /^\/api\/v1\/pods\?/);
  return query.get("fieldSelector")!.replace("spec.nodeName=", "");
}

function uidOf({ name, createdAt }: FakePod): string {
  return `uid of ${name} of ${createdAt.toISOString()}`;
}

function refused(status: number, causes: string[] = []): KubernetesError {
  const message = status === 409 ? "the UID in the precondition does not match" : `status ${status}`;
  return new KubernetesError(message, status, status === 404 ? "NotFound" : "", causes);
}

function podObject(pod: FakePod, version: number): unknown {
  const { name, node, createdAt, deletedAt } = pod;
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: {
      name,
      namespace: "apps",
      uid: uidOf(pod),
      resourceVersion: `${version}`,
      creationTimestamp: createdAt,
      deletionTimestamp: deletedAt,
    },
    spec: { nodeName: node, containers: [] },
    status: { phase: "Running" },
  };
}

function object(node: FakeNode, version = 1): V1Node {
  const { name, uid, machineID, bootID, annotations, ready, createdAt, unschedulable, cordonedBy, deletedAt } = node;
  const cordon = { manager: cordonedBy, operation: "Update", fieldsV1: { "f:spec": { "f:unschedulable": {} } } };
  return {
    apiVersion: "v1",
    kind: "Node",
    metadata: {
      name,
      uid,
      annotations,
      creationTimestamp: createdAt,
      deletionTimestamp: deletedAt,
      resourceVersion: `${version}`,
      managedFields: cordonedBy === undefined ? undefined : [cordon],
    },
    spec: { unschedulable },
    status: {
      nodeInfo: { machineID: machineID ?? "", bootID: bootID ?? "" } as NonNullable<V1Node["status"]>["nodeInfo"],
      conditions: [{ type: "Ready", status: ready ?? "True" }],
    },
  };
}
