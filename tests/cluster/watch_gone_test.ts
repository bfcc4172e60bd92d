/** A watch from a version that a real API server no longer has. @module */

import type { V1Lease } from "@kubernetes/client-node";
import { match } from "node:assert/strict";
import { connectKubernetes, type KubernetesClient } from "../../src/kubernetes/client.ts";
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
    async get(path, signal) {
      const answer = await connected.get(path, signal);
      // As if this list had been made long ago.
      return lists++ > 0 ? answer : { ...answer, text: answer.text.replace(/("resourceVersion":)"\d+"/, '$1"1"') };
    },
    async stream(path, signal) {
      const stream = await connected.stream(path, signal).catch((error) => {
        answers += String(error);
        throw error;
      });
      return {
        ...stream,
        retire: () => stream.retire(),
        body: stream.body.pipeThrough(
          new TransformStream({
            transform(chunk, controller) {
              answers += new TextDecoder().decode(chunk);
              controller.enqueue(chunk);
            },
          }),
        ),
        [Symbol.asyncDispose]: () => stream[Symbol.asyncDispose](),
      };
    },
  };
  const seen: string[] = [];
  const stop = new AbortController();
  const path = `/apis/coordination.k8s.io/v1/namespaces/${namespace}/leases`;
  const watching = watchResource<V1Lease>(client, { path, model: "V1Lease" }, {
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
