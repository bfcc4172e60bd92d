/** Which node a client runs on, and when it is back from its reboot. @module */

import { deepEqual, equal } from "node:assert/strict";
import { parseClientId } from "../../src/lock/identity.ts";
import * as objects from "../support/cluster_objects.ts";
import { until } from "../support/condition.ts";
import { clusterTest, useControlPlane } from "../support/control_plane.ts";
import { DrainFixture, never } from "../support/drain_fixture.ts";

const plane = useControlPlane();
const READY = { kind: "ready" };

clusterTest("a node is back only when it is ready after the reboot", async () => {
  await using test = await DrainFixture.create(plane());
  const { name } = test;
  test.grant({ node: { phase: "drained" } });
  await objects.setNodeStatus(plane(), name, { ready: "Unknown" });
  await until(async () => (await test.awaitReturn(0)).kind === "not_ready");
  const waiting = test.awaitReturn(20_000);
  await objects.setNodeStatus(plane(), name, { bootId: "boot-2", ready: "False" });
  deepEqual(await test.awaitReturn(0), {
    kind: "not_ready",
    node: name,
    reason: "its condition Ready is False (said the test)",
  });
  await objects.setNodeStatus(plane(), name, { ready: "True" });
  deepEqual(await waiting, READY);
});

clusterTest("the kubelet of a node that looks as before the reboot must show that it runs", async () => {
  await using test = await DrainFixture.create(plane());
  const { name } = test;
  const leases = `/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases`;
  const renewTime = (ageMs: number) => new Date(Date.now() - ageMs).toISOString().replace("Z", "000Z");
  const renew = (ageMs: number) => {
    const body = { spec: { renewTime: renewTime(ageMs) } };
    return plane().request("PATCH", `${leases}/${name}`, body, "application/merge-patch+json");
  };
  test.grant({ node: { phase: "drained" } });
  // Without a Lease, nothing can show it.
  deepEqual(await test.awaitReturn(0), READY);
  await plane().request("POST", leases, {
    metadata: { name },
    spec: { holderIdentity: name, renewTime: renewTime(1_000) },
  });
  deepEqual(await test.awaitReturn(0), READY);
  // The host has been down for half a minute, but the node controller has not noticed.
  await renew(30_000);
  equal((await test.awaitReturn(0)).kind, "not_ready");
  // A client that was never told yes has not rebooted.
  const draining = { ...test.hold, node: { ...test.hold.node!, phase: "draining" as const } };
  deepEqual(await test.keeper.awaitReturn(draining, 0, never), READY);
  const waiting = test.awaitReturn();
  await renew(0);
  deepEqual(await waiting, READY);
});

clusterTest("a node matches by its annotation, and two nodes with the same id are ambiguous", async () => {
  const custom = crypto.randomUUID();
  const annotated = await objects.createNode(plane(), { annotations: { "fleetlock.internal/id": custom } });
  await objects.createNode(plane(), { machineId: "malformed" });
  await using test = await DrainFixture.create(plane());
  const { keeper, log } = test.first;
  const id = parseClientId(custom.replaceAll("-", ""))!;
  deepEqual(await keeper.match(id), { kind: "node", name: annotated.name, bootId: "boot-1" });
  deepEqual(await keeper.match(parseClientId(crypto.randomUUID())!), { kind: "none" });
  const twin = await objects.createNode(plane(), { machineId: annotated.machineId });
  const derived = parseClientId(twin.id)!;
  await until(async () => (await keeper.match(derived)).kind === "ambiguous");
  const ambiguous = { kind: "ambiguous", nodes: [annotated.name, twin.name].sort() };
  deepEqual(await keeper.match(derived), ambiguous);
  equal(log.filter((line) => /machine-id of a node is malformed/.test(line)).length, 1);
  // A drain for a hold whose node was noted knows which one is meant; without it, neither node is touched.
  deepEqual(await keeper.drain(test.locks.grant(twin.id), 20_000, never), ambiguous);
  for (const { name } of [annotated, twin]) deepEqual((await test.cordonOf(name)).unschedulable, false);
  const noted = { name: twin.name, bootId: "boot-1", phase: "draining" } as const;
  deepEqual(await keeper.drain(test.locks.grant(twin.id, { node: noted }), 20_000, never), { kind: "drained" });
  deepEqual((await test.cordonOf(annotated.name)).unschedulable, false);
});
