/** How watches go on after their end, on a real API server. @module */

import type { V1Lease, V1Node } from "@kubernetes/client-node";
import { equal, fail, match } from "node:assert/strict";
import { isInStep, type NodeView, viewNode } from "../../src/keeper/nodes/node.ts";
import { connectKubernetes, type KubernetesClient } from "../../src/kubernetes/client.ts";
import type { Stream } from "../../src/kubernetes/transport.ts";
import { type WatchOptions, watchResource } from "../../src/kubernetes/watch.ts";
import { until } from "../support/condition.ts";
import { clusterTest, useControlPlane } from "../support/control_plane.ts";

const plane = useControlPlane();

clusterTest("a watch whose version has expired (410) lists again and goes on", async () => {
  const namespace = await plane().createNamespace();
  // An API server has no versions from before its start.
  await plane().restartApiServer();
  await using connected = await connectKubernetes({ kubeconfig: plane().kubeconfig });
  let lists = 0;
  let answers = "";
  const client: KubernetesClient = {
    ...connected,
    async stream(path, signal) {
      if (path.includes("sendInitialEvents")) {
        const stream = await connected.stream(path, signal);
        // As if the first objects had been shown long ago, by a watch that has ended since.
        return lists++ > 0 ? stream : through(stream, (text, controller) => {
          controller.enqueue(encoder.encode(text.replace(/("resourceVersion":)"\d+"/g, '$1"1"')));
          if (text.includes("initial-events-end")) controller.terminate();
        });
      }
      const stream = await connected.stream(path, signal).catch((error) => {
        answers += String(error);
        throw error;
      });
      return through(stream, (text, controller) => {
        answers += text;
        controller.enqueue(encoder.encode(text));
      });
    },
  };
  const seen: string[] = [];
  const stop = new AbortController();
  const path = `/apis/coordination.k8s.io/v1/namespaces/${namespace}/leases`;
  const watching = watchResource(client, { path, view: (lease: V1Lease) => lease, isInStep: () => true }, {
    synced() {},
    changed: (type, lease) => seen.push(`${type} ${lease.metadata?.name}`),
    lost() {},
  }, stop.signal);
  try {
    await until(() => lists === 2);
    match(answers, /too old resource version|410|Expired/);
    await plane().request("POST", path, { metadata: { name: "later" }, spec: { holderIdentity: "a" } });
    await until(() => seen.includes("ADDED later"));
  } finally {
    stop.abort();
    await watching;
  }
}, { restarts: true });

clusterTest(
  "a watch of Nodes goes on after its end while it is in step, and shows all Nodes again where one is gone",
  async () => {
    await using connected = await connectKubernetes({ kubeconfig: plane().kubeconfig });
    let lists = 0;
    let windows = 0;
    let beforeWindow = async () => {};
    const client: KubernetesClient = {
      ...connected,
      async stream(path, signal) {
        if (path.includes("sendInitialEvents")) lists++;
        else await beforeWindow();
        windows++;
        return await connected.stream(path, signal);
      },
    };
    const seen = new Map<string, NodeView>();
    const stop = new AbortController();
    const options: WatchOptions<V1Node, NodeView> = {
      path: "/api/v1/nodes",
      view: (node) => viewNode(node),
      isInStep: (versions, version) => isInStep(seen, versions, version),
      windowMs: 1_500,
      random: () => 0,
    };
    const watching = watchResource(client, options, {
      synced(nodes) {
        seen.clear();
        for (const node of nodes) seen.set(node.name, node);
      },
      changed(type, node) {
        if (type === "DELETED") seen.delete(node.name);
        else seen.set(node.name, node);
      },
      lost: (error) => fail(String(error)),
    }, stop.signal);
    try {
      for (const name of ["a", "b"]) await plane().request("POST", "/api/v1/nodes", { metadata: { name } });
      await until(() => seen.size === 2);
      // It changes while no watch is open.
      beforeWindow = async () => {
        await plane().request(
          "PATCH",
          "/api/v1/nodes/a",
          { spec: { unschedulable: true } },
          "application/merge-patch+json",
        );
        beforeWindow = async () => {};
      };
      await until(() => seen.get("a")?.unschedulable === true && windows >= 4, { timeoutMs: 20_000 });
      equal(lists, 1);
      beforeWindow = async () => {
        await plane().request("DELETE", "/api/v1/nodes/b");
        beforeWindow = async () => {};
      };
      await until(() => !seen.has("b"), { timeoutMs: 20_000 });
      equal(lists, 2);
    } finally {
      stop.abort();
      await watching;
    }
  },
);

const encoder = new TextEncoder();

/** Changes the text of a stream. */
function through(
  stream: Stream,
  transform: (text: string, controller: TransformStreamDefaultController<Uint8Array>) => void,
): Stream {
  return {
    retire: () => stream.retire(),
    body: stream.body.pipeThrough(
      new TransformStream<Uint8Array, Uint8Array>({
        transform: (chunk, controller) => transform(new TextDecoder().decode(chunk), controller),
      }),
    ),
    [Symbol.asyncDispose]: () => stream[Symbol.asyncDispose](),
  };
}
