/** A watch from a version that a real API server no longer has. @module */

import type { V1Lease } from "@kubernetes/client-node";
import { match } from "node:assert/strict";
import { connectKubernetes, type KubernetesClient } from "../../src/kubernetes/client.ts";
import type { Stream } from "../../src/kubernetes/transport.ts";
import { watchResource } from "../../src/kubernetes/watch.ts";
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
  const watching = watchResource(client, { path, view: (lease: V1Lease) => lease }, {
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
