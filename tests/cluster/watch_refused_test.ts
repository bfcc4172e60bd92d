/** A watch of a real API server that does not offer initial events. @module */

import type { V1Lease } from "@kubernetes/client-node";
import { deepEqual, equal, match, ok } from "node:assert/strict";
import { connectKubernetes, type KubernetesClient } from "../../src/kubernetes/client.ts";
import { watchResource } from "../../src/kubernetes/watch.ts";
import { until } from "../support/condition.ts";
import { clusterTest, useControlPlane } from "../support/control_plane.ts";

const plane = useControlPlane({
  apiServerFlags: ["--service-cluster-ip-range=10.3.0.0/24", "--feature-gates=WatchList=false"],
});

clusterTest("where the API server refuses initial events, the watch lists in pages and misses nothing", async () => {
  const namespace = await plane().createNamespace();
  const path = `/apis/coordination.k8s.io/v1/namespaces/${namespace}/leases`;
  const names = Array.from({ length: 120 }, (_, n) => `lease-${n}`);
  for (const name of names) await plane().request("POST", path, { metadata: { name }, spec: { holderIdentity: "a" } });
  await using connected = await connectKubernetes({ kubeconfig: plane().kubeconfig });
  const lists: string[] = [];
  const refusals: string[] = [];
  const client: KubernetesClient = {
    ...connected,
    get(path, signal) {
      lists.push(path);
      return connected.get(path, signal);
    },
    stream: (path, signal) =>
      connected.stream(path, signal).catch((error) => {
        refusals.push(String(error));
        throw error;
      }),
  };
  const seen: string[] = [];
  let first: string[] = [];
  const stop = new AbortController();
  const watching = watchResource(client, { path, view: ({ metadata }: V1Lease) => metadata!.name! }, {
    synced: (items) => first = items,
    changed: (type, name) => seen.push(`${type} ${name}`),
    lost: (error) => seen.push(String(error)),
  }, stop.signal);
  try {
    await until(() => first.length > 0);
    deepEqual(first.toSorted(), names.toSorted());
    equal(lists.length, 3);
    ok(lists.slice(1).every((list) => list.includes("continue=")));
    equal(refusals.length, 1);
    match(refusals[0]!, /sendInitialEvents/);
    await plane().request("POST", path, { metadata: { name: "later" }, spec: { holderIdentity: "a" } });
    await until(() => seen.length > 0);
    deepEqual(seen, ["ADDED later"]);
  } finally {
    stop.abort();
    await watching;
  }
});
