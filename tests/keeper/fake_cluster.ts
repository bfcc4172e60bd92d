/**
 * A cluster in memory, as far as a node keeper asks about it: Nodes that a test changes as it likes, pods that a budget
 * protects or not, and a watch of the Nodes that shows what the test says. For states that a real API server reaches
 * only in races. What needs a real one is in tests/cluster.
 *
 * @module
 */

import { equal, match, ok } from "node:assert/strict";
import type { V1Node } from "@kubernetes/client-node/dist/gen/models/V1Node.js";
import type { Apis, KubernetesClient } from "../../src/kubernetes/client.ts";
import { KubernetesError } from "../../src/kubernetes/errors.ts";
import { ServerClock } from "../../src/kubernetes/server_clock.ts";

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
  deletedAt?: Date;
}

/** A pod of the fake. Its budget allows no disruption, so it stays until the test removes it. */
export interface FakePod {
  name: string;
  node: string;
  createdAt: Date;
}

/** See the module. */
export class FakeCluster {
  /** The Nodes, by name. */
  readonly nodes = new Map<string, FakeNode>();
  /** The pods. */
  pods: FakePod[] = [];
  /** What the watch of the Nodes shows; the Nodes themselves where undefined. */
  seen: FakeNode[] | undefined;
  /** The calls so far: a verb and a resource, and for an eviction the pod's name. */
  readonly calls: string[] = [];
  /** Told of each call that is answered, before its answer. */
  called: (call: string) => void = () => {};
  #version = 100;

  /** Adds or replaces a Node, as ready and in its first boot unless said otherwise. */
  put(node: FakeNode): void {
    this.#version++;
    this.nodes.set(node.name, {
      ready: "True",
      bootID: "boot-1",
      createdAt: new Date(Date.now() - 3_600_000),
      ...node,
    });
  }

  /** A client of the cluster. */
  get client(): KubernetesClient {
    const clock = new ServerClock();
    const now = clock.monotonic();
    clock.observe(new Date().toUTCString(), now, now);
    return {
      server: "https://fake",
      namespace: "ops",
      clock,
      // deno-lint-ignore no-explicit-any
      apis: { core: this.#core(), storage: { listVolumeAttachment: () => this.#answer("list", { items: [] }) } } as any,
      get: (path) => Promise.resolve({ status: 200, headers: {}, text: JSON.stringify(this.#list(path)) }),
      stream: (_path, signal) => {
        const body = new ReadableStream<Uint8Array>({
          start: (controller) => signal?.addEventListener("abort", () => controller.close(), { once: true }),
        });
        return Promise.resolve({ body, retire() {}, [Symbol.asyncDispose]: () => Promise.resolve() });
      },
      [Symbol.asyncDispose]: () => Promise.resolve(),
    };
  }

  #core(): Partial<Apis["core"]> {
    return {
      readNode: ({ name }) => this.#answer("get nodes", this.#node(name)),
      listNode: () => this.#answer("list nodes", { items: [...this.nodes.keys()].map((name) => this.#node(name)!) }),
      patchNode: ({ name, body, fieldManager }) => {
        equal(fieldManager, "fleetlock");
        const node = this.nodes.get(name);
        const { metadata, spec } = body;
        ok(metadata.uid && metadata.resourceVersion, "a patch without preconditions");
        if (node === undefined) return Promise.reject(refused(404));
        if (metadata.uid !== node.uid) return Promise.reject(refused(409));
        if (spec !== undefined) node.unschedulable = spec.unschedulable === true;
        node.annotations = { ...node.annotations, ...metadata.annotations };
        return this.#answer("patch nodes", this.#node(name));
      },
      listPodForAllNamespaces: ({ fieldSelector } = {}) => {
        const [, node] = /^spec\.nodeName=(.+)$/.exec(fieldSelector ?? "") ?? [];
        ok(node, `a list of pods with the selector ${fieldSelector}`);
        return this.#answer("list pods", { items: this.#podsOn(node) });
      },
      createNamespacedPodEviction: ({ name }) => {
        this.calls.push(`evict ${name}`);
        return Promise.reject(refused(429, ["DisruptionBudget"]));
      },
    } as Partial<Apis["core"]>;
  }

  #list(path: string): unknown {
    this.calls.push(`watch ${path.split("?")[0]}`);
    const metadata = { resourceVersion: `${this.#version}` };
    const list = (kind: string, items: unknown[]) => ({ apiVersion: "v1", kind, metadata, items });
    if (path.startsWith("/api/v1/nodes")) {
      const seen = this.seen?.map((node) => object(node)) ?? [...this.nodes.keys()].map((name) => this.#node(name));
      return list("NodeList", seen);
    }
    match(path, /^\/api\/v1\/pods\?fieldSelector=spec\.nodeName%3D/);
    return list("PodList", this.#podsOn(decodeURIComponent(path.split("%3D")[1]!)));
  }

  #node(name: string): V1Node | undefined {
    const node = this.nodes.get(name);
    return node && object(node, this.#version);
  }

  #podsOn(node: string): unknown[] {
    return this.pods.filter((pod) => pod.node === node).map(({ name, createdAt }) => ({
      metadata: { name, namespace: "apps", uid: `uid of ${name}`, resourceVersion: "1", creationTimestamp: createdAt },
      spec: { nodeName: node, containers: [] },
      status: { phase: "Running" },
    }));
  }

  #answer<T>(call: string, answer: T | undefined): Promise<T> {
    this.calls.push(call);
    this.called(call);
    return answer === undefined ? Promise.reject(refused(404)) : Promise.resolve(answer);
  }
}

function refused(status: number, causes: string[] = []): KubernetesError {
  return new KubernetesError(`status ${status}`, status, status === 404 ? "NotFound" : "", causes);
}

function object(node: FakeNode, version = 1): V1Node {
  const { name, uid, machineID, bootID, annotations, ready, createdAt, unschedulable, deletedAt } = node;
  return {
    metadata: {
      name,
      uid,
      annotations,
      creationTimestamp: createdAt,
      deletionTimestamp: deletedAt,
      resourceVersion: `${version}`,
    },
    spec: { unschedulable },
    status: {
      nodeInfo: { machineID: machineID ?? "", bootID: bootID ?? "" } as NonNullable<V1Node["status"]>["nodeInfo"],
      conditions: [{ type: "Ready", status: ready ?? "True" }],
    },
  };
}
