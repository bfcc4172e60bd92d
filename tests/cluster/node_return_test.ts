/** Which node a client runs on, and when it is back from its reboot. @module */

import { deepEqual, equal } from "node:assert/strict";
import { parseClientId } from "../../src/lock/identity.ts";
import type { Hold } from "../../src/lock/node_keeper.ts";
import * as objects from "../support/cluster_objects.ts";
import { until } from "../support/condition.ts";
import { clusterTest, useControlPlane } from "../support/control_plane.ts";
import { DrainFixture, never } from "../support/drain_fixture.ts";

const plane = useControlPlane();
const READY = { kind: "ready" };
const REBOOTED = { kind: "ready", rebooted: true };

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
  deepEqual(await waiting, REBOOTED);
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
  // However young the Lease looks, only a renewal during the request shows that the kubelet runs now.
  equal((await test.awaitReturn(0)).kind, "not_ready");
  // Whatever the hold notes, its client may have been told yes.
  const held = test.hold.node!;
  const holds: Hold[] = [
    test.hold,
    { ...test.hold, node: { ...held, phase: "draining" } },
    { ...test.hold, node: { ...held, bootId: undefined } },
    { ...test.hold, node: undefined },
    { ...test.hold, node: undefined, isNodeUnreadable: true },
  ];
  for (const hold of holds) equal((await test.keeper.awaitReturn(hold, 0, never)).kind, "not_ready");
  const reads = () => test.first.calls.filter((call) => call === "readNamespacedLease").length;
  const before = reads();
  const waiting = holds.map((hold) => test.keeper.awaitReturn(hold, 30_000, never));
  await until(() => reads() >= before + 2 * holds.length);
  // The node's clock is an hour behind.
  await renew(3_600_000);
  // It shows the boot that is noted, where one is.
  const outcomes = await Promise.all(waiting);
  deepEqual(outcomes, holds.map(({ node }) => node?.bootId === undefined ? READY : { ...READY, rebooted: false }));
  // A Lease that somebody deletes during the wait shows nothing.
  const soFar = reads();
  const silent = test.awaitReturn(3_000);
  await until(() => reads() > soFar);
  await plane().request("DELETE", `${leases}/${name}`);
  equal((await silent).kind, "not_ready");
});

clusterTest("a host that comes back as another Node is back, although the noted one is not ready or gone", async () => {
  await using test = await DrainFixture.create(plane());
  test.grant({ node: { phase: "drained" } });
  await objects.setNodeStatus(plane(), test.name, { ready: "Unknown" });
  equal((await test.awaitReturn(0)).kind, "not_ready");
  const waiting = test.awaitReturn();
  const { machineId } = test.node;
  await objects.createNode(plane(), { machineId, bootId: "boot-2" });
  deepEqual(await waiting, REBOOTED);
  await plane().request("DELETE", `/api/v1/nodes/${test.name}`);
  deepEqual(await test.awaitReturn(0), REBOOTED);
});

clusterTest("a node matches by its annotation, and two nodes with the same id are ambiguous", async () => {
  const custom = crypto.randomUUID();
  const annotated = await objects.createNode(plane(), { annotations: { "fleetlock.internal/id": custom } });
  await objects.createNode(plane(), { machineId: "malformed" });
  await using test = await DrainFixture.create(plane());
  const { keeper, log } = test.first;
  const id = parseClientId(custom.replaceAll("-", ""))!;
  const { name, uid, machineId } = annotated;
  const identity = { name, uid, machineId, bootId: "boot-1" };
  deepEqual(await keeper.look(id), { kind: "clear", node: identity });
  deepEqual(await keeper.look(parseClientId(annotated.machineId)!), { kind: "clear", node: identity });
  deepEqual(await keeper.look(parseClientId(crypto.randomUUID())!), { kind: "clear" });
  const twin = await objects.createNode(plane(), { machineId: annotated.machineId });
  const derived = parseClientId(twin.id)!;
  await until(async () => (await keeper.look(derived)).kind === "ambiguous");
  const ambiguous = { kind: "ambiguous", nodes: [annotated.name, twin.name].sort() };
  deepEqual(await keeper.look(derived), ambiguous);
  equal(log.filter((line) => /machine-id of a node is malformed/.test(line)).length, 1);
  // It is told before a client asks.
  equal(log.filter((line) => /give each host a machine-id/.test(line)).length, 1);
  deepEqual(await keeper.drain(test.locks.grant(twin.id), 20_000, never), ambiguous);
  for (const { name } of [annotated, twin]) deepEqual((await test.cordonOf(name)).unschedulable, false);
  // The Node that a hold notes is drained, but it may be the other one that the host is.
  const noted = { name: twin.name, uid: twin.uid, bootId: "boot-1", phase: "draining" } as const;
  deepEqual(await keeper.drain(test.locks.grant(twin.id, { node: noted }), 20_000, never), ambiguous);
  deepEqual((await test.cordonOf(annotated.name)).unschedulable, false);
});
