/** A watch of a real API server without a watch cache, which sends no bookmarks. @module */

import type { V1Lease } from "@kubernetes/client-node";
import { deepEqual } from "node:assert/strict";
import { connectKubernetes } from "../../src/kubernetes/client.ts";
import { watchResource } from "../../src/kubernetes/watch.ts";
import { until } from "../support/condition.ts";
import { clusterTest, useControlPlane } from "../support/control_plane.ts";

const plane = useControlPlane({
  apiServerFlags: ["--service-cluster-ip-range=10.3.0.0/24", "--watch-cache=false"],
});

clusterTest("a quiet watch of an API server without a watch cache is never lost, and misses nothing", async () => {
  const namespace = await plane().createNamespace();
  const path = `/apis/coordination.k8s.io/v1/namespaces/${namespace}/leases`;
  await using client = await connectKubernetes({ kubeconfig: plane().kubeconfig });
  const told: string[] = [];
  const stop = new AbortController();
  const view = ({ metadata }: V1Lease) => metadata!.name!;
  const watching = watchResource(client, { path, view, silenceMs: 500, initialSilenceMs: 500 }, {
    synced: (items) => told.push(`synced ${items}`),
    changed: (type, name) => told.push(`${type} ${name}`),
    lost: (error) => told.push(String(error)),
  }, stop.signal);
  try {
    await until(() => told.length === 3);
    deepEqual(told, ["synced ", "synced ", "synced "]);
    await plane().request("POST", path, { metadata: { name: "later" }, spec: { holderIdentity: "a" } });
    await until(() => told.includes("ADDED later") || told.includes("synced later"));
    deepEqual(told.filter((one) => !/^(synced|ADDED)/.test(one)), []);
  } finally {
    stop.abort();
    await watching;
  }
});
