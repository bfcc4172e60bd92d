/** Drains that others join, resume or end. @module */

import { deepEqual, equal, ok } from "node:assert/strict";
import { until } from "../support/condition.ts";
import { clusterTest, useControlPlane } from "../support/control_plane.ts";
import { DrainFixture, never, replicaSet } from "../support/drain_fixture.ts";

const plane = useControlPlane();
const FREE = { unschedulable: false, cordon: undefined };

clusterTest("a drain goes on when its client goes away, and another request joins it", async () => {
  await using test = await DrainFixture.create(plane());
  await test.pod("slow", { graceSeconds: 77 });
  const client = new AbortController();
  const left = test.drain(60_000, client.signal);
  await test.terminating("slow");
  client.abort();
  equal((await left).kind, "draining");
  const joined = test.drain();
  await test.endPod("slow");
  equal((await joined).kind, "drained");
  equal(test.first.calls.filter((call) => call === "createNamespacedPodEviction").length, 1);
});

clusterTest("another replica finishes the drain of one that stopped", async () => {
  await using test = await DrainFixture.create(plane());
  await test.pod("free", { owner: replicaSet() });
  await test.pod("web", { labels: { app: "web" }, owner: replicaSet() });
  await test.budget("web");
  const second = await test.replica();
  const waiting = test.drain(60_000);
  await until(async () => !(await test.podObjects()).has("free"));
  await test.first.stop();
  equal((await waiting).kind, "draining");
  await test.allow("web");
  const { group, id, since } = test.hold;
  equal((await second.keeper.drain(test.hold, 20_000, never)).kind, "drained");
  await second.keeper.uncordon(group, id, since);
  deepEqual(await test.cordonOf(), FREE);
});

clusterTest("a request about an earlier hold does not stop the drain for its client's current hold", async () => {
  await using test = await DrainFixture.create(plane());
  await test.pod("slow", { graceSeconds: 77 });
  const waiting = test.drain();
  await test.terminating("slow");
  const { group, id, since } = test.hold;
  await test.keeper.uncordon(group, id, since - 60_000);
  await test.keeper.uncordon(group, id);
  await test.endPod("slow");
  equal((await waiting).kind, "drained");
  ok((await test.cordonOf()).unschedulable);
});

clusterTest("a drain whose lock is deleted by hand stops, and its cordon is lifted", async () => {
  await using test = await DrainFixture.create(plane());
  await test.pod("slow", { graceSeconds: 77 });
  const waiting = test.drain();
  await test.terminating("slow");
  const { group, id } = test.hold;
  test.keeper.holdEnded(group, id);
  test.locks.drop(test.hold);
  test.keeper.holdEnded(group, id);
  deepEqual(await waiting, { kind: "abandoned" });
  deepEqual(await test.cordonOf(), FREE);
  deepEqual(await test.pods(), ["slow"]);
});

clusterTest("a client's return ends its drain on every replica, and the cordon stays lifted", async () => {
  // The keepers are not told that the lock is gone: they find out by themselves.
  await using test = await DrainFixture.create(plane(), { sweepMs: 200 });
  await test.pod("slow", { graceSeconds: 77 });
  const second = await test.replica();
  const waiting = [test.drain(), second.keeper.drain(test.hold, 30_000, never)];
  await test.terminating("slow");
  await until(() => second.keeper.isSynced);
  await test.uncordon();
  test.locks.drop(test.hold);
  await test.endPod("slow");
  deepEqual(await waiting[0], { kind: "abandoned" });
  await waiting[1];
  await until(async () => !(await test.cordonOf()).unschedulable);
  deepEqual(await test.cordonOf(), FREE);
});

clusterTest("the drain of a node that is deleted in between ends when the node's pods are gone", async () => {
  await using test = await DrainFixture.create(plane());
  await test.pod("slow", { graceSeconds: 77 });
  const waiting = test.drain();
  await test.terminating("slow");
  await plane().request("DELETE", `/api/v1/nodes/${test.name}`);
  await test.endPod("slow");
  equal((await waiting).kind, "drained");
  deepEqual(await test.keeper.look(test.hold.id), { kind: "clear" });
  await test.uncordon();
});
