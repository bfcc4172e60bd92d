/** How a cordon of ours is lifted, on a cluster in memory. @module */

import { deepEqual, equal } from "node:assert/strict";
import { CORDON_ANNOTATION } from "../../../src/keeper/nodes/cordon.ts";
import { NodeCalls } from "../../../src/keeper/nodes/node_calls.ts";
import type { NodeView } from "../../../src/keeper/nodes/node.ts";
import { FakeCluster } from "../fake_cluster.ts";

const UNCORDON = { unschedulable: null, cordon: null } as const;

/** A node that we have cordoned, and what was seen of it. */
async function cordoned() {
  const cluster = new FakeCluster();
  cluster.put({
    name: "n",
    uid: "u",
    unschedulable: true,
    annotations: { [CORDON_ANNOTATION]: "ours", other: "kept" },
  });
  const calls = new NodeCalls(cluster.client);
  return { cluster, calls, seen: (await calls.getNode("n"))! };
}

Deno.test("our cordon is lifted with its annotation, and others are kept", async () => {
  const { cluster, calls, seen } = await cordoned();
  const after = await calls.patchNode(seen, UNCORDON) as NodeView;
  deepEqual([after.unschedulable, after.cordon], [false, undefined]);
  deepEqual(cluster.nodes.get("n")?.annotations, { other: "kept" });
});

Deno.test("an administrator's cordon stays where a restored etcd gave it the version that was seen of ours", async () => {
  const { cluster, calls, seen } = await cordoned();
  cluster.change("n", { annotations: {} });
  const { resourceVersion } = (await calls.getNode("n"))!;
  equal(await calls.patchNode({ ...seen, resourceVersion }, UNCORDON), "conflict");
  equal(cluster.nodes.get("n")?.unschedulable, true);
});

Deno.test("our cordon stays on a node that has changed or was recreated since it was seen", async () => {
  const { cluster, calls, seen } = await cordoned();
  cluster.change("n", { bootID: "boot-2" });
  equal(await calls.patchNode(seen, UNCORDON), "conflict");
  const { resourceVersion } = (await calls.getNode("n"))!;
  equal(await calls.patchNode({ ...seen, resourceVersion, uid: "earlier" }, UNCORDON), "conflict");
  equal(cluster.nodes.get("n")?.unschedulable, true);
  cluster.remove("n");
  equal(await calls.patchNode(seen, UNCORDON), "gone");
});
