/** What a drain evicts, what holds it back, and how it ends. @module */

import { deepEqual, equal, match, ok, rejects } from "node:assert/strict";
import { parseLabelSelector } from "../../src/kubernetes/label_selector.ts";
import { PodCalls } from "../../src/keeper/drain/pod_calls.ts";
import { viewPod } from "../../src/keeper/drain/pods.ts";
import { judgeNode } from "../../src/lock/yes.ts";
import { keeperPermissions } from "../../src/keeper/permissions.ts";
import * as objects from "../support/cluster_objects.ts";
import { until } from "../support/condition.ts";
import { clusterTest, useControlPlane } from "../support/control_plane.ts";
import { DrainFixture, never, replicaSet } from "../support/drain_fixture.ts";

const plane = useControlPlane();
const WEB = { labels: { app: "web" } };

/** Attaches a volume to a node. */
function attach(node: string, name: string, volume: string): Promise<unknown> {
  return plane().request("POST", "/apis/storage.k8s.io/v1/volumeattachments", {
    metadata: { name },
    spec: { attacher: "example.com", nodeName: node, source: { persistentVolumeName: volume } },
  });
}

clusterTest("a drain evicts the pods that it should, leaves the others, and makes as few calls as it can", async () => {
  await using test = await DrainFixture.create(plane(), {
    drainOptions: { pods: { skip: parseLabelSelector("drain=no") } },
  });
  await test.pod("managed", { owner: replicaSet() });
  await test.pod("unmanaged");
  await test.pod("scratch", { emptyDir: true, owner: replicaSet() });
  await test.pod("agent", { owner: { ...replicaSet(), kind: "DaemonSet", name: "agent" } });
  await test.pod("static", { annotations: { "kubernetes.io/config.mirror": "x" } });
  await test.pod("finished", {}, "Succeeded");
  await test.pod("exempt", { labels: { drain: "no" } });
  test.first.calls.length = 0;

  equal((await test.drain()).kind, "drained");

  deepEqual(await test.pods(), ["agent", "exempt", "finished", "static"]);
  const { unschedulable, cordon } = await test.cordonOf();
  ok(unschedulable);
  const { id, since } = test.hold;
  deepEqual(JSON.parse(cordon!), { "default/default": { id, since: new Date(since).toISOString() } });
  await test.first.events.settled();
  deepEqual(test.first.calls.filter((call) => !/Event$/.test(call)).sort(), [
    ...Array(3).fill("createNamespacedPodEviction"),
    // No other Node has the id.
    "get /api/v1/nodes",
    "listPodForAllNamespaces",
    "listVolumeAttachment",
    "patchNode",
    "readNode",
    "watch /api/v1/pods",
  ]);
});

clusterTest("a drain asks a budget without room again, names it to the client, and waits for it", async () => {
  await using test = await DrainFixture.create(plane());
  for (const name of ["web-1", "web-2", "web-3"]) await test.pod(name, { ...WEB, owner: replicaSet() });
  await test.budget("web");

  const outcome = await test.drain(2_000);
  ok(outcome.kind === "draining");
  equal(outcome.pods.length, 3);
  for (const pod of outcome.pods) match(pod.reason, /^its PodDisruptionBudget "web" allows no disruption now/);
  equal((await test.pods()).length, 3);

  for (let left = 2; left >= 0; left--) {
    await test.allow("web", 1);
    await until(async () => (await test.pods()).length === left, { timeoutMs: 20_000 });
  }
  equal((await test.drain()).kind, "drained");
  const events = await test.events();
  ok(events.some(({ reason, type }) => reason === "DrainBlocked" && type === "Warning"), JSON.stringify(events));
});

clusterTest("a budget that is deleted during the evictions does not end the drain with pods left", async () => {
  // The API server repeats an eviction that conflicts with another one half a second later, and then answers 404.
  for (let round = 1; round <= 3; round++) {
    await using test = await DrainFixture.create(plane());
    for (let n = 0; n < 10; n++) await test.pod(`web-${n}`, WEB);
    await test.budget("web", { allowed: 100 });
    const waiting = test.drain(60_000);
    await until(() => test.first.calls.filter((call) => call === "createNamespacedPodEviction").length >= 5);
    await plane().request("DELETE", `/apis/policy/v1/namespaces/${test.namespace}/poddisruptionbudgets/web`);
    equal((await waiting).kind, "drained");
    deepEqual(await test.pods(), []);
  }
});

clusterTest("the reply says when several budgets cover one pod", async () => {
  await using test = await DrainFixture.create(plane());
  await test.pod("web", { ...WEB, owner: replicaSet() });
  for (const name of ["one", "two"]) await test.budget("web", { name, allowed: 1 });
  const outcome = await test.drain(1_000);
  ok(outcome.kind === "draining");
  match(outcome.pods[0]!.reason, /several PodDisruptionBudgets cover it/);
});

clusterTest("a drain waits for a pod with a finalizer until it is gone", async () => {
  await using test = await DrainFixture.create(plane());
  await test.pod("kept", { finalizers: ["example.com/hold"] });
  deepEqual(await test.drain(1_000), {
    kind: "draining",
    node: test.name,
    pods: [{
      namespace: test.namespace,
      name: "kept",
      reason: "it is being deleted, and its finalizers are not done: example.com/hold",
    }],
  });
  const path = `/api/v1/namespaces/${test.namespace}/pods/kept`;
  await plane().request("PATCH", path, { metadata: { finalizers: null } }, "application/merge-patch+json");
  equal((await test.drain()).kind, "drained");
});

clusterTest("a drain waits through a pod's grace period, and evicts a pod that comes late", async () => {
  await using test = await DrainFixture.create(plane());
  await test.pod("slow", { graceSeconds: 77 });
  const waiting = test.drain();
  await test.terminating("slow");
  equal((await test.podObjects()).get("slow").metadata.deletionGracePeriodSeconds, 77);
  const late = objects.pod({ name: "late", namespace: test.namespace, node: test.name, graceSeconds: 0 });
  await plane().request("POST", `/api/v1/namespaces/${test.namespace}/pods`, late);
  await until(async () => !(await test.podObjects()).has("late"));
  await test.endPod("slow");
  equal((await waiting).kind, "drained");
});

clusterTest("a drain leaves a pod alone that replaced another one of its name before the eviction", async () => {
  await using test = await DrainFixture.create(plane());
  const spec = { ...WEB, owner: { ...replicaSet(), kind: "StatefulSet" } };
  const first = await test.pod("db-0", spec);
  await test.budget("web");
  equal((await test.drain(500)).kind, "draining");
  await test.endPod("db-0");
  const second = await test.pod("db-0", { ...spec, node: (await objects.createNode(plane())).name });
  await test.allow("web");
  equal((await test.drain()).kind, "drained");
  const left = await plane().request("GET", `/api/v1/namespaces/${test.namespace}/pods/db-0`);
  equal(left.metadata.uid, second.metadata.uid);
  ok(first.metadata.uid !== second.metadata.uid);
});

for (
  const [policy, pods, reason] of [
    ["unmanaged", { unmanaged: "refuse" }, /no controller/],
    ["emptyDir", { emptyDir: "refuse" }, /emptyDir/],
  ] as const
) {
  clusterTest(
    `where the operator refuses ${policy} pods, a drain fails because of one and evicts nothing`,
    async () => {
      await using test = await DrainFixture.create(plane(), { drainOptions: { pods } });
      await test.pod("precious", { emptyDir: true, owner: policy === "unmanaged" ? undefined : replicaSet() });
      await test.pod("web", { owner: replicaSet() });
      const outcome = await test.drain();
      ok(outcome.kind === "failed");
      deepEqual(outcome.pods.map((pod) => pod.name), ["precious"]);
      match(outcome.pods[0]!.reason, reason);
      equal((await test.pods()).length, 2);
      await test.endPod("precious");
      equal((await test.drain()).kind, "drained");
    },
  );
}

for (const onTimeout of ["refuse", "proceed", "delete"] as const) {
  clusterTest(`a drain past its time-out follows the policy: ${onTimeout}`, async () => {
    await using test = await DrainFixture.create(plane(), { drainOptions: { onTimeout, timeoutMs: 2_000 } });
    await test.pod("web", { ...WEB, owner: replicaSet() });
    await test.budget("web");
    const outcome = await test.drain();
    const left = await test.pods();
    switch (onTimeout) {
      case "refuse":
        ok(outcome.kind === "failed");
        match(outcome.pods[0]!.reason, /PodDisruptionBudget/);
        // A later request, on any replica, tries once more.
        equal((await test.drain()).kind, "failed");
        await test.allow("web");
        await until(async () => (await test.drain()).kind === "drained");
        break;
      case "proceed": {
        ok(outcome.kind === "drained" && outcome.host.kind === "node");
        const verdict = judgeNode(outcome.host.evidence);
        ok(verdict.kind === "empty");
        deepEqual(verdict.staying.map(({ pod, why }) => [pod.name, why]), [["web", "timed_out"]]);
        deepEqual(left, ["web"]);
        break;
      }
      case "delete":
        equal(outcome.kind, "drained");
        deepEqual(left, []);
        break;
    }
    ok((await test.cordonOf()).unschedulable);
    ok((await test.events()).some(({ reason }) => reason === "DrainTimedOut"));
  });
}

clusterTest(
  "a pod that was pending, older than the later Node that it is bound to, does not block a hold of the earlier one",
  async () => {
    await using test = await DrainFixture.create(plane());
    const later = `node-${crypto.randomUUID().slice(0, 8)}`;
    const path = `/api/v1/namespaces/${test.namespace}/pods`;
    await plane().request("POST", path, objects.pod({ name: "pending", namespace: test.namespace }));
    const created = async () =>
      Date.parse((await plane().request("GET", `${path}/pending`)).metadata.creationTimestamp);
    const oldPod = await created();
    await until(() => Date.now() >= oldPod + 1_100);
    await objects.createNode(plane(), { name: later });
    const node = await plane().request("GET", `/api/v1/nodes/${later}`);
    await until(() => Date.now() >= Date.parse(node.metadata.creationTimestamp) + 1_100);
    await plane().request("POST", `${path}/pending/binding`, {
      metadata: { name: "pending" },
      target: { kind: "Node", name: later },
    });
    // The host of the earlier Node is another machine and has no Node by now.
    const noted = { name: later, uid: crypto.randomUUID(), machineId: crypto.randomUUID().replaceAll("-", "") };
    const hold = test.locks.grant(crypto.randomUUID(), { node: { ...noted, phase: "draining" } });
    equal((await test.keeper.drain(hold, 10_000, never)).kind, "drained");
    ok(!test.first.calls.includes("createNamespacedPodEviction"));
  },
);

clusterTest("the API server refuses to evict a pod under the UID of an earlier one", async () => {
  await using test = await DrainFixture.create(plane(), { drainOptions: { onTimeout: "delete" } });
  await test.pod("web");
  const calls = new PodCalls(test.first.client);
  const seen = viewPod((await test.podObjects()).get("web"));
  const stale = { ...seen, uid: crypto.randomUUID() };
  deepEqual(await calls.evict(stale), { kind: "replaced" });
  deepEqual(await calls.deletePod(stale), { kind: "replaced" });
  deepEqual(await calls.evict(seen), { kind: "accepted" });
  deepEqual(await calls.evict(seen), { kind: "gone" });
  deepEqual(await calls.deletePod(seen), { kind: "gone" });
});

for (
  const [what, there, asked, left] of [
    ["one replica, on one node", ["a"], "a", ["a"]],
    ["two replicas on one node", ["a", "b"], "a", ["a"]],
    ["two replicas on three nodes, and the one on the node is asked", ["a"], "a", ["a"]],
    ["two replicas on three nodes, and the one elsewhere is asked", ["a"], "b", []],
  ] as const
) {
  clusterTest(`a server's own pod stays, the pods of other replicas are evicted: ${what}`, async () => {
    const namespace = await plane().createNamespace();
    await using test = await DrainFixture.create(plane(), {
      drainOptions: { pods: { self: { namespace, name: asked } } },
    });
    const owner = replicaSet();
    for (const name of there) await test.pod(name, { namespace, owner });
    await test.pod("web", { owner: replicaSet() });
    equal((await test.drain()).kind, "drained");
    deepEqual(await test.pods(), left);
  });
}

clusterTest(
  "a controller that puts its pod back on the cordoned node has it evicted three more times, and no more",
  async () => {
    await using test = await DrainFixture.create(plane());
    const owner = { ...replicaSet(), kind: "CloneSet" };
    await test.pod("custom", { owner });
    const draining = { isOver: false };
    const controller = (async () => {
      while (!draining.isOver) if ((await test.pods()).length === 0) await test.pod("custom", { owner });
    })();
    equal((await test.drain(60_000)).kind, "drained");
    draining.isOver = true;
    await controller;
    // One of them if the controller put it back in the second of the grant.
    const evictions = test.first.calls.filter((call) => call === "createNamespacedPodEviction").length;
    ok(evictions >= 4 && evictions <= 5, `${evictions} evictions`);
    ok(test.first.log.includes("the node is drained, and some pods stay"), test.first.log.join("\n"));
  },
);

clusterTest(
  "nothing is evicted from a node that somebody uncordons during the drain until it is cordoned again",
  async () => {
    await using test = await DrainFixture.create(plane());
    for (let n = 0; n < 5; n++) await test.pod(`web-${n}`, { ...WEB, owner: replicaSet() });
    await test.budget("web");
    const waiting = test.drain(60_000);
    await until(() => test.first.calls.includes("createNamespacedPodEviction"));
    await test.cordonByHand(false);
    await until(() => test.first.log.includes("somebody uncordoned the node during its drain"), { timeoutMs: 20_000 });
    const before = test.first.calls.length;
    await test.allow("web");
    equal((await waiting).kind, "drained");
    const after = test.first.calls.slice(before);
    const cordonedAt = after.indexOf("patchNode");
    ok(cordonedAt >= 0 && cordonedAt < after.indexOf("createNamespacedPodEviction"), after.join(" "));
  },
);

clusterTest("a drain gives up against somebody who uncordons the node again and again", async () => {
  await using test = await DrainFixture.create(plane());
  await test.pod("kept", { finalizers: ["example.com/hold"] });
  const draining = { isOver: false };
  let pods = 0;
  const insisting = (async () => {
    while (!draining.isOver) {
      const { unschedulable } = await test.cordonOf();
      if (unschedulable && test.first.calls.includes("createNamespacedPodEviction")) {
        await test.cordonByHand(false);
        await test.pod(`late-${pods++}`, { owner: replicaSet() });
      }
    }
  })();
  const outcome = await test.drain(60_000);
  draining.isOver = true;
  await insisting;
  equal(outcome.kind, "failed");
  equal(pods, 4);
  const evictions = test.first.calls.filter((call) => call === "createNamespacedPodEviction").length;
  ok(evictions <= 1 + pods, `${evictions} evictions`);
  equal((await test.cordonOf()).unschedulable, false);
  await until(async () => (await test.cordonOf()).cordon === undefined);
  await test.endPod("kept");
});

clusterTest("pods that started while the volumes were awaited are evicted before the yes", async () => {
  await using test = await DrainFixture.create(plane());
  const name = `volume-${crypto.randomUUID()}`;
  await attach(test.name, name, "data");
  const waiting = test.drain(60_000);
  await until(() => test.first.calls.includes("listVolumeAttachment"));
  await test.cordonByHand(false);
  for (let n = 0; n < 3; n++) await test.pod(`web-${n}`, { owner: replicaSet() });
  await test.cordonByHand(true);
  await plane().request("DELETE", `/apis/storage.k8s.io/v1/volumeattachments/${name}`);
  equal((await waiting).kind, "drained");
  deepEqual(await test.pods(), []);
});

clusterTest("a pod past its grace period does not hold up the drain of a node whose kubelet is dead", async () => {
  await using test = await DrainFixture.create(plane());
  await objects.setNodeStatus(plane(), test.name, { ready: "Unknown" });
  await test.pod("web", { owner: replicaSet(), graceSeconds: 1 });
  equal((await test.drain(2_000)).kind, "draining");
  equal((await test.drain(60_000)).kind, "drained");
  deepEqual(await test.pods(), ["web"]);
  ok(test.first.log.includes("the node is drained, and some pods stay"), test.first.log.join("\n"));
  await test.endPod("web");
});

clusterTest(
  "a drain whose Node is gone waits for the Node's pods, and leaves a later Node of its name alone",
  async () => {
    await using test = await DrainFixture.create(plane());
    // Without the noted machine-id, nobody could tell that the later Node is another machine's.
    test.grant({ node: { machineId: test.node.machineId } });
    await test.pod("old", { finalizers: ["example.com/hold"] });
    equal((await test.drain(500)).kind, "draining");
    await plane().request("DELETE", `/api/v1/nodes/${test.name}`);
    const later = await objects.createNode(plane(), { name: test.name });
    const createdAt = Date.now();
    await until(() => Date.now() >= createdAt + 1_100);
    await test.pod("new");
    const outcome = await test.drain(1_000);
    ok(outcome.kind === "draining");
    deepEqual(outcome.pods.map(({ name }) => name), ["old"]);
    await test.endPod("old");
    const path = `/api/v1/namespaces/${test.namespace}/pods/old`;
    await plane().request("PATCH", path, { metadata: { finalizers: null } }, "application/merge-patch+json");
    equal((await test.drain()).kind, "drained");
    deepEqual(await test.pods(), ["new"]);
    equal((await test.cordonOf(later.name)).unschedulable, false);
  },
);

clusterTest("a drain waits until volumes are detached, but only for a limited time", async () => {
  await using test = await DrainFixture.create(plane());
  const name = `volume-${crypto.randomUUID()}`;
  await attach(test.name, name, "data");
  equal((await test.drain(500)).kind, "draining");
  await plane().request("DELETE", `/apis/storage.k8s.io/v1/volumeattachments/${name}`);
  equal((await test.drain()).kind, "drained");

  await attach(test.name, name, "data");
  const impatient = await test.replica({ drainOptions: { detachMs: 10 } });
  equal((await impatient.keeper.drain(test.hold, 20_000, never)).kind, "drained");
  ok(impatient.log.includes("volumes stay attached to the drained node"));
});

clusterTest("a drain does not wait for the volumes of pods that stay", async () => {
  await using test = await DrainFixture.create(plane(), { drainOptions: { detachMs: 3_600_000 } });
  const { name, namespace } = test;
  await test.pod("agent", { owner: { ...replicaSet(), kind: "DaemonSet" }, claim: "agents" });
  await plane().request("POST", `/api/v1/namespaces/${namespace}/persistentvolumeclaims`, {
    metadata: { name: "agents" },
    spec: {
      accessModes: ["ReadWriteOnce"],
      resources: { requests: { storage: "1Gi" } },
      storageClassName: "",
      volumeName: `volume-of-${name}`,
    },
  });
  await attach(name, `attachment-of-volume-of-${name}`, `volume-of-${name}`);
  equal((await test.drain()).kind, "drained");
  await attach(name, `attachment-of-another-of-${name}`, `another-of-${name}`);
  equal((await test.drain(500)).kind, "draining");
});

clusterTest("a drain fails where a pod is still there long after its deletion past the time-out", async () => {
  await using test = await DrainFixture.create(plane(), { drainOptions: { timeoutMs: 1_000, onTimeout: "delete" } });
  await test.pod("stuck", { finalizers: ["example.com/x"] });
  const reason = "it is being deleted, and its finalizers are not done: example.com/x";
  deepEqual(await test.drain(), {
    kind: "failed",
    node: test.name,
    pods: [{ namespace: test.namespace, name: "stuck", reason }],
  });
  await test.endPod("stuck");
});

for (
  const [missing, message] of [
    [{ verb: "patch", resource: "nodes" }, /may not patch nodes/],
    [{ verb: "list", resource: "pods" }, /may not list pods/],
    [{ verb: "create", resource: "pods" }, /may not create pods\/eviction/],
    [{ verb: "list", resource: "volumeattachments" }, /may not list volumeattachments/],
  ] as const
) {
  clusterTest(`a drain names a missing permission: ${missing.verb} ${missing.resource}`, async () => {
    const permissions = keeperPermissions({ deletePods: false })
      .filter(({ verb, resource }) => verb !== missing.verb || resource !== missing.resource);
    await using test = await DrainFixture.create(plane(), { permissions, drainOptions: { deniedMs: 200 } });
    await test.pod("web");
    await rejects(test.drain(), { name: "UnavailableError", publicMessage: message });
  });
}
