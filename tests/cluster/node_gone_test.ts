/**
 * Holds whose Nodes are deleted for good, by whole servers on a real API server. The grace period is shorter than a
 * configuration file allows, so that the test need not last as long.
 *
 * @module
 */

import { deepEqual, equal, match } from "node:assert/strict";
import { slotsOnly } from "../../src/lock/policy.ts";
import { createNode, createPod } from "../support/cluster_objects.ts";
import { until } from "../support/condition.ts";
import { clusterTest, useControlPlane } from "../support/control_plane.ts";
import { startReplicas } from "../support/replicas.ts";
import { preReboot } from "../support/zincati.ts";

const plane = useControlPlane();
const GRACE_MS = 3_000;

/** Two replicas, and two hosts with a Node each. The first one has its yes. */
async function setUp() {
  const [gone, other] = [await createNode(plane()), await createNode(plane())];
  const policy = { ...slotsOnly(() => 1), goneAfter: () => GRACE_MS };
  const all = await startReplicas(plane(), { count: 2, policy });
  equal((await preReboot(all.urls[0], gone.id)).status, 200);
  let changes = 0;
  return {
    all,
    gone,
    other,
    remove: (name: string) => plane().request("DELETE", `/api/v1/nodes/${name}`),
    async holder() {
      // Each change of a Node lets the watches know how far they are, and each one of the Lease has the servers look.
      const annotation = `test/change=${++changes}`;
      const namespace = ["--namespace", all.namespace];
      await plane().kubectl("annotate", "--overwrite", "node", other.name, annotation);
      await plane().kubectl("annotate", "--overwrite", "lease", "fleetlock-default", ...namespace, annotation);
      return (await all.lease()).spec.holderIdentity ?? "";
    },
    // deno-lint-ignore no-explicit-any
    shown: async (url = all.urls[0]): Promise<any> => {
      return (await (await fetch(`${url}/status.json`)).json()).groups[0]?.holders[0];
    },
    [Symbol.asyncDispose]: () => all[Symbol.asyncDispose](),
  };
}

clusterTest("the hold of a Node that is deleted for good is freed once, and the next host goes on", async () => {
  await using test = await setUp();
  const { all, gone, other } = test;
  await createPod(plane(), { namespace: all.namespace, node: gone.name, name: "db", graceSeconds: 0 });
  await test.remove(gone.name);
  await until(async () => {
    await test.holder();
    return /^the pod .*\/db must go first$/.test((await test.shown())?.release?.waitsFor ?? "");
  }, { timeoutMs: 50_000 });
  equal(await test.holder(), gone.id);
  deepEqual([(await test.shown()).stage, (await test.shown()).node], ["node-gone", gone.name]);
  const path = `/api/v1/namespaces/${all.namespace}/pods/db?gracePeriodSeconds=0`;
  await plane().request("DELETE", path);
  await until(async () => await test.holder() === "", { timeoutMs: 90_000 });
  const metrics = await Promise.all(all.urls.map(async (url) => await (await fetch(`${url}/metrics`)).text()));
  const counts = metrics.map((text) => Number(/^fleetlock_node_gone_releases_total (\d)$/m.exec(text)?.[1]));
  equal(counts[0]! + counts[1]!, 1, `${counts}`);
  await until(async () => {
    return /NodeGoneReleased/.test(await plane().kubectl("get", "events", "--namespace", all.namespace));
  });
  match(
    await plane().kubectl("get", "events", "--namespace", all.namespace),
    new RegExp(`lease/fleetlock-default .*of ${gone.name} freed, because its Node is gone`),
  );
  await until(async () => (await preReboot(all.urls[1]!, other.id)).status === 200);
});

clusterTest("the hold of a host that registers again, under another name, stays", async () => {
  await using test = await setUp();
  const { gone } = test;
  await test.remove(gone.name);
  await createNode(plane(), { machineId: gone.machineId, ready: "False" });
  const end = Date.now() + 4 * GRACE_MS;
  while (Date.now() < end) {
    equal(await test.holder(), gone.id);
    equal((await test.shown())?.release, undefined);
  }
});
