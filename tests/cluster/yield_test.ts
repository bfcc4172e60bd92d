/**
 * Drains that yield, by whole servers on a real API server: what the client is told, what the Lease and the Node show,
 * and what kubectl sees and says.
 *
 * @module
 */

import { deepEqual, equal, match } from "node:assert/strict";
import { allowDisruptions, createBudget, createNode, createPod, podsOn } from "../support/cluster_objects.ts";
import { until } from "../support/condition.ts";
import { clusterTest, useControlPlane } from "../support/control_plane.ts";
import { startReplicas } from "../support/replicas.ts";
import { preReboot } from "../support/zincati.ts";

const plane = useControlPlane();
const NOTES = "fleetlock.internal/notes";
const PAUSED = "fleetlock.internal/paused";

/** Replicas, and two nodes: a budget protects the pod of the first one. */
async function setUp(flags: Record<string, string>) {
  const namespace = await plane().createNamespace();
  const [stuck, free] = [await createNode(plane()), await createNode(plane())];
  const labels = { app: "guarded" };
  await createBudget(plane(), namespace, "guarded", labels, 0);
  await createPod(plane(), { namespace, node: stuck.name, graceSeconds: 0, name: "db", labels });
  const all = await startReplicas(plane(), { namespace, count: 2, flags: { "drain-on-timeout": "yield", ...flags } });
  return {
    all,
    stuck,
    free,
    allow: () => allowDisruptions(plane(), namespace, "guarded"),
    isCordoned: async (name: string) => {
      const { spec, metadata } = await plane().request("GET", `/api/v1/nodes/${name}`);
      return Boolean(spec.unschedulable || metadata.annotations?.["fleetlock.internal/cordoned-for"]);
    },
    annotate: (...annotations: string[]) => {
      return plane().kubectl("annotate", "lease", "fleetlock-default", "--namespace", namespace, ...annotations);
    },
    [Symbol.asyncDispose]: () => all[Symbol.asyncDispose](),
  };
}

clusterTest(
  "a node that cannot be drained in time yields: its host hears for which pods, and another one goes on",
  async () => {
    await using test = await setUp({ "drain-timeout": "3s" });
    const { all, stuck, free } = test;
    const reply = await preReboot(all.urls[0], stuck.id);
    deepEqual([reply.status, reply.kind], [423, "deferred"]);
    match(
      reply.value!,
      /could not be drained in time, because of .*\/db: .*PodDisruptionBudget.*: others come first until 20/,
    );
    equal(await test.isCordoned(stuck.name), false);
    const { spec, metadata } = await all.lease();
    equal(spec.holderIdentity ?? "", "");
    const [deferral] = JSON.parse(metadata.annotations[NOTES]).deferred;
    deepEqual([deferral.id, deferral.node, deferral.count], [stuck.id, stuck.name, 1]);
    const minutes = (Date.parse(deferral.until) - Date.now()) / 60_000;
    equal(minutes > 28 && minutes < 31, true, `${minutes}`);
    await until(async () => (await preReboot(all.urls[1]!, free.id)).status === 200);
    deepEqual([...(await podsOn(plane(), stuck.name)).keys()], ["db"]);
    const events = await plane().kubectl("get", "events", "--namespace", all.namespace);
    match(events, /LockYielded/);
  },
);

clusterTest(
  "the hold of a host that stopped asking yields all the same, and a drain that succeeds ends the count",
  async () => {
    await using test = await setUp({ "drain-timeout": "5s", "reply-wait": "1s" });
    const { all, stuck } = test;
    equal((await preReboot(all.urls[0], stuck.id)).kind, "draining");
    equal(await test.isCordoned(stuck.name), true);
    await until(async () => ((await all.lease()).spec.holderIdentity ?? "") === "", { timeoutMs: 30_000 });
    await until(async () => !(await test.isCordoned(stuck.name)));
    const noted = JSON.parse((await all.lease()).metadata.annotations[NOTES]);
    equal(noted.deferred[0].count, 1);
    await test.allow();
    equal((await preReboot(all.urls[0], stuck.id)).kind, "deferred");
    // The wait is over, but not the count.
    noted.deferred[0].until = new Date(Date.now() - 1_000).toISOString();
    await test.annotate("--overwrite", `${NOTES}=${JSON.stringify(noted)}`);
    await until(async () => (await preReboot(all.urls[0], stuck.id)).status === 200, { timeoutMs: 30_000 });
    equal((await all.lease()).metadata.annotations[NOTES], undefined);
  },
);

clusterTest(
  "kubectl pauses a group with its drains: they yield at once, and the pause stays for whoever reads it",
  async () => {
    await using test = await setUp({ "reply-wait": "1s" });
    const { all, stuck } = test;
    equal((await preReboot(all.urls[0], stuck.id)).kind, "draining");
    await test.annotate(`${PAUSED}={"reason":"a fire","by":"ops","drains":true}`);
    await until(async () => ((await all.lease()).spec.holderIdentity ?? "") === "");
    await until(async () => !(await test.isCordoned(stuck.name)));
    const { annotations } = (await all.lease()).metadata;
    deepEqual([annotations[PAUSED], annotations[NOTES]], ['{"reason":"a fire","by":"ops","drains":true}', undefined]);
    const metrics = await (await fetch(`${all.urls[1]}/metrics`)).text();
    match(metrics, /^fleetlock_lock_paused\{group="default"\} 1$/m);
    await test.annotate(`${PAUSED}-`);
    equal((await preReboot(all.urls[1]!, stuck.id)).kind, "draining");
  },
);
