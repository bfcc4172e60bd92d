import { deepEqual, equal, match, ok, rejects } from "node:assert/strict";
import { CORDON_ANNOTATION } from "../../src/keeper/nodes/cordon.ts";
import { keeperPermissions } from "../../src/keeper/permissions.ts";
import { until } from "../support/condition.ts";
import { clusterTest, useControlPlane } from "../support/control_plane.ts";
import * as objects from "../support/cluster_objects.ts";
import { startKeeper, TestLocks } from "../support/keepers.ts";

// Without controllers and kubelets: pods with a grace period of 0 are gone when evicted, others when the test ends them.
const plane = useControlPlane();
const never = new AbortController().signal;
const replicaSet = () => ({ apiVersion: "apps/v1", kind: "ReplicaSet", name: "web", uid: crypto.randomUUID() });

async function node(name: string) {
  const { spec, metadata } = await plane().request("GET", `/api/v1/nodes/${name}`);
  return {
    unschedulable: spec.unschedulable === true,
    cordon: metadata.annotations?.[CORDON_ANNOTATION] as string | undefined,
  };
}

function cordonByHand(name: string, unschedulable: boolean): Promise<unknown> {
  return plane().request("PATCH", `/api/v1/nodes/${name}`, { spec: { unschedulable } }, "application/merge-patch+json");
}

clusterTest("a drain evicts what it should, leaves what it should, and costs the fewest calls", async () => {
  const namespace = await plane().createNamespace();
  const { name, id } = await objects.createNode(plane());
  const daemonSet = { apiVersion: "apps/v1", kind: "DaemonSet", name: "agent", uid: crypto.randomUUID() };
  const at = { namespace, node: name, graceSeconds: 0 };
  await objects.createPod(plane(), { ...at, name: "managed", owner: replicaSet() });
  await objects.createPod(plane(), { ...at, name: "unmanaged" });
  await objects.createPod(plane(), { ...at, name: "scratch", emptyDir: true, owner: replicaSet() });
  await objects.createPod(plane(), { ...at, name: "agent", owner: daemonSet });
  await objects.createPod(plane(), { ...at, name: "static", annotations: { "kubernetes.io/config.mirror": "x" } });
  await objects.createPod(plane(), { ...at, name: "finished" }, "Succeeded");
  await objects.createPod(plane(), { ...at, name: "exempt", labels: { drain: "no" } });
  const locks = new TestLocks();
  const { parseLabelSelector } = await import("../../src/keeper/drain/label_selector.ts");
  await using test = await startKeeper(plane(), locks, {
    drainOptions: { pods: { skip: parseLabelSelector("drain=no") } },
  });
  const hold = locks.grant(id);
  test.calls.length = 0;

  deepEqual(await test.keeper.match(hold.id), { kind: "node", name, bootId: "boot-1" });
  deepEqual(await test.keeper.drain(hold, 20_000, never), { kind: "drained" });

  deepEqual([...(await objects.podsOn(plane(), name)).keys()].sort(), ["agent", "exempt", "finished", "static"]);
  const { unschedulable, cordon } = await node(name);
  ok(unschedulable);
  deepEqual(JSON.parse(cordon!), { "default/default": { id, since: new Date(hold.since).toISOString() } });
  await test.events.settled();
  deepEqual(test.calls.filter((call) => !/Event$/.test(call)).sort(), [
    ...Array(3).fill("createNamespacedPodEviction"),
    "get /api/v1/pods",
    "listVolumeAttachment",
    "patchNode",
    "readNode",
    "watch /api/v1/pods",
  ]);
});

clusterTest("a budget without room is asked again, named to the client, and given way to", async () => {
  const namespace = await plane().createNamespace();
  const { name, id } = await objects.createNode(plane());
  const labels = { app: "web" };
  for (const pod of ["web-1", "web-2", "web-3"]) {
    await objects.createPod(plane(), {
      name: pod,
      namespace,
      node: name,
      graceSeconds: 0,
      labels,
      owner: replicaSet(),
    });
  }
  await objects.createBudget(plane(), namespace, "web", labels, 0);
  const locks = new TestLocks();
  await using test = await startKeeper(plane(), locks);
  const hold = locks.grant(id);

  const outcome = await test.keeper.drain(hold, 2_000, never);
  ok(outcome.kind === "draining");
  equal(outcome.pods.length, 3);
  for (const pod of outcome.pods) match(pod.reason, /^its PodDisruptionBudget "web" allows no disruption now/);
  equal((await objects.podsOn(plane(), name)).size, 3);

  for (let left = 2; left >= 0; left--) {
    await objects.allowDisruptions(plane(), namespace, "web", 1);
    await until(async () => (await objects.podsOn(plane(), name)).size === left, { timeoutMs: 20_000 });
  }
  deepEqual(await test.keeper.drain(hold, 20_000, never), { kind: "drained" });
  await test.events.settled();
  const events = await eventsOf(name);
  ok(events.some(({ reason, type }) => reason === "DrainBlocked" && type === "Warning"), JSON.stringify(events));
});

clusterTest("a budget that is deleted in the middle of the evictions makes no yes with pods left", async () => {
  // The API server tries an eviction that conflicts with another again, half a second later, and answers 404 then.
  for (let round = 1; round <= 3; round++) {
    const namespace = await plane().createNamespace();
    const { name, id } = await objects.createNode(plane());
    for (let n = 0; n < 10; n++) {
      await objects.createPod(plane(), {
        name: `web-${n}`,
        namespace,
        node: name,
        labels: { app: "web" },
        graceSeconds: 0,
      });
    }
    await objects.createBudget(plane(), namespace, "web", { app: "web" }, 100);
    const locks = new TestLocks();
    await using test = await startKeeper(plane(), locks);
    const waiting = test.keeper.drain(locks.grant(id), 60_000, never);
    await until(() => test.calls.filter((call) => call === "createNamespacedPodEviction").length >= 5);
    await plane().request("DELETE", `/apis/policy/v1/namespaces/${namespace}/poddisruptionbudgets/web`);
    deepEqual(await waiting, { kind: "drained" });
    equal((await objects.podsOn(plane(), name)).size, 0);
  }
});

clusterTest("several budgets over one pod are told as such", async () => {
  const namespace = await plane().createNamespace();
  const { name, id } = await objects.createNode(plane());
  const labels = { app: "web" };
  await objects.createPod(plane(), { name: "web", namespace, node: name, labels, owner: replicaSet() });
  for (const budget of ["one", "two"]) await objects.createBudget(plane(), namespace, budget, labels, 1);
  const locks = new TestLocks();
  await using test = await startKeeper(plane(), locks);
  const outcome = await test.keeper.drain(locks.grant(id), 1_000, never);
  ok(outcome.kind === "draining");
  match(outcome.pods[0]!.reason, /several PodDisruptionBudgets cover it/);
});

clusterTest("a pod with a finalizer is waited for until it is gone", async () => {
  const namespace = await plane().createNamespace();
  const { name, id } = await objects.createNode(plane());
  const finalizers = ["example.com/hold"];
  await objects.createPod(plane(), { name: "kept", namespace, node: name, graceSeconds: 0, finalizers });
  const locks = new TestLocks();
  await using test = await startKeeper(plane(), locks);
  const hold = locks.grant(id);
  const outcome = await test.keeper.drain(hold, 1_000, never);
  deepEqual(outcome, {
    kind: "draining",
    node: name,
    pods: [{
      namespace,
      name: "kept",
      reason: "it is being deleted, and its finalizers are not done: example.com/hold",
    }],
  });
  const path = `/api/v1/namespaces/${namespace}/pods/kept`;
  await plane().request("PATCH", path, { metadata: { finalizers: null } }, "application/merge-patch+json");
  deepEqual(await test.keeper.drain(hold, 20_000, never), { kind: "drained" });
});

clusterTest("a drain waits through the grace period, and a pod that comes late is evicted too", async () => {
  const namespace = await plane().createNamespace();
  const { name, id } = await objects.createNode(plane());
  await objects.createPod(plane(), { name: "slow", namespace, node: name, graceSeconds: 77 });
  const locks = new TestLocks();
  await using test = await startKeeper(plane(), locks);
  const hold = locks.grant(id);
  const waiting = test.keeper.drain(hold, 30_000, never);
  const stopping = await until(async () =>
    (await objects.podsOn(plane(), name)).get("slow")?.metadata.deletionTimestamp
  );
  ok(stopping);
  equal((await objects.podsOn(plane(), name)).get("slow").metadata.deletionGracePeriodSeconds, 77);
  const late = objects.pod({ name: "late", namespace, node: name, graceSeconds: 0 });
  await plane().request("POST", `/api/v1/namespaces/${namespace}/pods`, late);
  await until(async () => !(await objects.podsOn(plane(), name)).has("late"));
  await objects.endPod(plane(), namespace, "slow");
  deepEqual(await waiting, { kind: "drained" });
});

clusterTest("a pod replaced under its name between list and eviction is left alone", async () => {
  const namespace = await plane().createNamespace();
  const { name, id } = await objects.createNode(plane());
  const labels = { app: "db" };
  const spec = { name: "db-0", namespace, labels, graceSeconds: 0, owner: { ...replicaSet(), kind: "StatefulSet" } };
  const first = await objects.createPod(plane(), { ...spec, node: name });
  await objects.createBudget(plane(), namespace, "db", labels, 0);
  const locks = new TestLocks();
  await using test = await startKeeper(plane(), locks);
  const hold = locks.grant(id);
  equal((await test.keeper.drain(hold, 500, never)).kind, "draining");
  await objects.endPod(plane(), namespace, "db-0");
  const second = await objects.createPod(plane(), { ...spec, node: (await objects.createNode(plane())).name });
  await objects.allowDisruptions(plane(), namespace, "db");
  deepEqual(await test.keeper.drain(hold, 20_000, never), { kind: "drained" });
  const left = await plane().request("GET", `/api/v1/namespaces/${namespace}/pods/db-0`);
  equal(left.metadata.uid, second.metadata.uid);
  ok(first.metadata.uid !== second.metadata.uid);
});

for (
  const [policy, pods, reason] of [
    ["unmanaged", { unmanaged: "refuse" }, /no controller/],
    ["emptyDir", { emptyDir: "refuse" }, /emptyDir/],
  ] as const
) {
  clusterTest(`a drain refuses ${policy} pods where the operator says so, and touches no pod`, async () => {
    const namespace = await plane().createNamespace();
    const { name, id } = await objects.createNode(plane());
    const owner = policy === "unmanaged" ? undefined : replicaSet();
    await objects.createPod(plane(), {
      name: "precious",
      namespace,
      node: name,
      graceSeconds: 0,
      owner,
      emptyDir: true,
    });
    await objects.createPod(plane(), { name: "web", namespace, node: name, graceSeconds: 0, owner: replicaSet() });
    const locks = new TestLocks();
    await using test = await startKeeper(plane(), locks, { drainOptions: { pods } });
    const hold = locks.grant(id);
    const outcome = await test.keeper.drain(hold, 20_000, never);
    ok(outcome.kind === "failed");
    deepEqual(outcome.pods.map((pod) => pod.name), ["precious"]);
    match(outcome.pods[0]!.reason, reason);
    equal((await objects.podsOn(plane(), name)).size, 2);
    await objects.endPod(plane(), namespace, "precious");
    deepEqual(await test.keeper.drain(hold, 20_000, never), { kind: "drained" });
  });
}

for (const onTimeout of ["refuse", "proceed", "delete"] as const) {
  clusterTest(`a drain past its time-out, counted from the grant, does as told: ${onTimeout}`, async () => {
    const namespace = await plane().createNamespace();
    const { name, id } = await objects.createNode(plane());
    const labels = { app: "web" };
    await objects.createPod(plane(), {
      name: "web",
      namespace,
      node: name,
      graceSeconds: 0,
      labels,
      owner: replicaSet(),
    });
    await objects.createBudget(plane(), namespace, "web", labels, 0);
    const locks = new TestLocks();
    await using test = await startKeeper(plane(), locks, { drainOptions: { onTimeout, timeoutMs: 60_000 } });
    const hold = locks.grant(id, { since: Date.now() - 58_000 });
    const outcome = await test.keeper.drain(hold, 20_000, never);
    const there = (await objects.podsOn(plane(), name)).has("web");
    switch (onTimeout) {
      case "refuse":
        ok(outcome.kind === "failed");
        match(outcome.pods[0]!.reason, /PodDisruptionBudget/);
        // A later request, on any replica, tries once more.
        equal((await test.keeper.drain(hold, 20_000, never)).kind, "failed");
        await objects.allowDisruptions(plane(), namespace, "web");
        await until(async () => (await test.keeper.drain(hold, 20_000, never)).kind === "drained");
        break;
      case "proceed":
        ok(outcome.kind === "proceed");
        deepEqual(outcome.pods.map((pod) => pod.name), ["web"]);
        ok(there);
        break;
      case "delete":
        deepEqual(outcome, { kind: "drained" });
        ok(!there);
        break;
    }
    ok((await node(name)).unschedulable);
    await test.events.settled();
    ok((await eventsOf(name)).some(({ reason }) => reason === "DrainTimedOut"));
  });
}

clusterTest("the API server refuses to evict a pod under the UID of an earlier one", async () => {
  const namespace = await plane().createNamespace();
  const { name } = await objects.createNode(plane());
  await objects.createPod(plane(), { name: "web", namespace, node: name, graceSeconds: 0 });
  const { viewPod } = await import("../../src/keeper/drain/pods.ts");
  const { PodCalls } = await import("../../src/keeper/drain/pod_calls.ts");
  await using test = await startKeeper(plane(), new TestLocks(), { drainOptions: { onTimeout: "delete" } });
  const calls = new PodCalls(test.client);
  const seen = viewPod((await objects.podsOn(plane(), name)).get("web"));
  const stale = { ...seen, uid: crypto.randomUUID() };
  deepEqual(await calls.evict(stale), { kind: "replaced" });
  deepEqual(await calls.deletePod(stale), { kind: "replaced" });
  deepEqual(await calls.evict(seen), { kind: "accepted" });
  deepEqual(await calls.evict(seen), { kind: "gone" });
  deepEqual(await calls.deletePod(seen), { kind: "gone" });
});

clusterTest("the server's own pod goes last", async () => {
  const namespace = await plane().createNamespace();
  const { name, id } = await objects.createNode(plane());
  await objects.createPod(plane(), { name: "a-server", namespace, node: name, graceSeconds: 0, owner: replicaSet() });
  await objects.createPod(plane(), { name: "slow", namespace, node: name, graceSeconds: 77 });
  const locks = new TestLocks();
  await using test = await startKeeper(plane(), locks, {
    drainOptions: { pods: { self: { namespace, name: "a-server" } } },
  });
  const hold = locks.grant(id);
  const outcome = await test.keeper.drain(hold, 1_000, never);
  ok(outcome.kind === "draining");
  match(outcome.pods.find((pod) => pod.name === "a-server")!.reason, /goes last/);
  await objects.endPod(plane(), namespace, "slow");
  deepEqual(await test.keeper.drain(hold, 20_000, never), { kind: "drained" });
  equal((await objects.podsOn(plane(), name)).size, 0);
});

clusterTest("a drain waits until volumes are detached, and not for ever", async () => {
  const { name, id } = await objects.createNode(plane());
  const volume = `volume-${crypto.randomUUID()}`;
  await plane().request("POST", "/apis/storage.k8s.io/v1/volumeattachments", {
    metadata: { name: volume },
    spec: { attacher: "example.com", nodeName: name, source: { persistentVolumeName: "data" } },
  });
  const locks = new TestLocks();
  await using test = await startKeeper(plane(), locks);
  const hold = locks.grant(id);
  equal((await test.keeper.drain(hold, 500, never)).kind, "draining");
  await plane().request("DELETE", `/apis/storage.k8s.io/v1/volumeattachments/${volume}`);
  deepEqual(await test.keeper.drain(hold, 20_000, never), { kind: "drained" });

  await plane().request("POST", "/apis/storage.k8s.io/v1/volumeattachments", {
    metadata: { name: volume },
    spec: { attacher: "example.com", nodeName: name, source: { persistentVolumeName: "data" } },
  });
  await using impatient = await startKeeper(plane(), locks, { drainOptions: { detachMs: 10 } });
  deepEqual(await impatient.keeper.drain(hold, 20_000, never), { kind: "drained" });
  ok(impatient.log.includes("volumes stay attached to the drained node"));
});

clusterTest("a drain does not wait for the volumes of pods that stay", async () => {
  const namespace = await plane().createNamespace();
  const { name, id } = await objects.createNode(plane());
  const owner = { apiVersion: "apps/v1", kind: "DaemonSet", name: "agent", uid: crypto.randomUUID() };
  await objects.createPod(plane(), { name: "agent", namespace, node: name, owner, claim: "agents" });
  await plane().request("POST", `/api/v1/namespaces/${namespace}/persistentvolumeclaims`, {
    metadata: { name: "agents" },
    spec: {
      accessModes: ["ReadWriteOnce"],
      resources: { requests: { storage: "1Gi" } },
      storageClassName: "",
      volumeName: `volume-of-${name}`,
    },
  });
  const attach = (volume: string) =>
    plane().request("POST", "/apis/storage.k8s.io/v1/volumeattachments", {
      metadata: { name: `attachment-of-${volume}` },
      spec: { attacher: "example.com", nodeName: name, source: { persistentVolumeName: volume } },
    });
  await attach(`volume-of-${name}`);
  const locks = new TestLocks();
  await using test = await startKeeper(plane(), locks, { drainOptions: { detachMs: 3_600_000 } });
  const hold = locks.grant(id);
  deepEqual(await test.keeper.drain(hold, 20_000, never), { kind: "drained" });
  await attach(`another-of-${name}`);
  equal((await test.keeper.drain(hold, 500, never)).kind, "draining");
});

clusterTest("a pod that outlives its deletion past the time-out is a drain that failed", async () => {
  const namespace = await plane().createNamespace();
  const { name, id } = await objects.createNode(plane());
  await objects.createPod(plane(), {
    name: "stuck",
    namespace,
    node: name,
    graceSeconds: 0,
    finalizers: ["example.com/x"],
  });
  const locks = new TestLocks();
  await using test = await startKeeper(plane(), locks, { drainOptions: { timeoutMs: 1_000, onTimeout: "delete" } });
  const outcome = await test.keeper.drain(locks.grant(id), 30_000, never);
  deepEqual(outcome, {
    kind: "failed",
    node: name,
    pods: [{ namespace, name: "stuck", reason: "it is being deleted, and its finalizers are not done: example.com/x" }],
  });
  await objects.endPod(plane(), namespace, "stuck");
});

for (const [onTimeout, kind] of [["refuse", "failed"], ["proceed", "proceed"]] as const) {
  clusterTest(
    `a node that somebody uncordons again and again is not drained in time, and costs few calls: ${onTimeout}`,
    async () => {
      const { name, id } = await objects.createNode(plane());
      const locks = new TestLocks();
      await using test = await startKeeper(plane(), locks, { drainOptions: { timeoutMs: 1_500, onTimeout } });
      let ended = false;
      const uncordoning = (async () => {
        while (!ended) if ((await node(name)).unschedulable) await cordonByHand(name, false);
      })();
      const hold = locks.grant(id);
      const outcome = await test.keeper.drain(hold, 30_000, never);
      ended = true;
      await uncordoning;
      deepEqual(outcome, { kind, node: name, pods: [] });
      const rounds = test.calls.filter((call) => call === "get /api/v1/pods").length;
      ok(rounds >= 3 && rounds <= 6, `${rounds} rounds`);
      locks.drop(hold);
    },
  );
}

clusterTest("a node deleted during its drain needs none when its pods are gone", async () => {
  const namespace = await plane().createNamespace();
  const { name, id } = await objects.createNode(plane());
  await objects.createPod(plane(), { name: "slow", namespace, node: name, graceSeconds: 77 });
  const locks = new TestLocks();
  await using test = await startKeeper(plane(), locks);
  const hold = locks.grant(id);
  const waiting = test.keeper.drain(hold, 30_000, never);
  await until(async () => (await objects.podsOn(plane(), name)).get("slow")?.metadata.deletionTimestamp);
  await plane().request("DELETE", `/api/v1/nodes/${name}`);
  await objects.endPod(plane(), namespace, "slow");
  deepEqual(await waiting, { kind: "drained" });
  deepEqual(await test.keeper.match(hold.id), { kind: "none" });
  deepEqual(await test.keeper.drain(hold, 0, never), { kind: "drained" });
  await test.keeper.uncordon(hold.group, hold.id, hold.since);
});

clusterTest("a client that goes away does not stop its drain, and another request joins it", async () => {
  const namespace = await plane().createNamespace();
  const { name, id } = await objects.createNode(plane());
  await objects.createPod(plane(), { name: "slow", namespace, node: name, graceSeconds: 77 });
  const locks = new TestLocks();
  await using test = await startKeeper(plane(), locks);
  const hold = locks.grant(id);
  const client = new AbortController();
  const left = test.keeper.drain(hold, 60_000, client.signal);
  await until(async () => (await objects.podsOn(plane(), name)).get("slow")?.metadata.deletionTimestamp);
  client.abort();
  equal((await left).kind, "draining");
  const joined = test.keeper.drain(hold, 30_000, never);
  await objects.endPod(plane(), namespace, "slow");
  deepEqual(await joined, { kind: "drained" });
  equal(test.calls.filter((call) => call === "createNamespacedPodEviction").length, 1);
});

clusterTest("another replica finishes the drain of one that stopped", async () => {
  const namespace = await plane().createNamespace();
  const { name, id } = await objects.createNode(plane());
  const labels = { app: "web" };
  await objects.createPod(plane(), { name: "free", namespace, node: name, graceSeconds: 0, owner: replicaSet() });
  await objects.createPod(plane(), {
    name: "web",
    namespace,
    node: name,
    graceSeconds: 0,
    labels,
    owner: replicaSet(),
  });
  await objects.createBudget(plane(), namespace, "web", labels, 0);
  const locks = new TestLocks();
  const hold = locks.grant(id);
  await using second = await startKeeper(plane(), locks);
  {
    await using first = await startKeeper(plane(), locks);
    const waiting = first.keeper.drain(hold, 60_000, never);
    await until(async () => !(await objects.podsOn(plane(), name)).has("free"));
    await first.stop();
    equal((await waiting).kind, "draining");
  }
  await objects.allowDisruptions(plane(), namespace, "web");
  deepEqual(await second.keeper.drain(hold, 20_000, never), { kind: "drained" });
  await second.keeper.uncordon(hold.group, hold.id, hold.since);
  deepEqual(await node(name), { unschedulable: false, cordon: undefined });
});

clusterTest("a node with an administrator's cordon is drained, and stays cordoned", async () => {
  const namespace = await plane().createNamespace();
  const { name, id } = await objects.createNode(plane());
  await objects.createPod(plane(), { name: "web", namespace, node: name, graceSeconds: 0 });
  await cordonByHand(name, true);
  const locks = new TestLocks();
  await using test = await startKeeper(plane(), locks);
  const hold = locks.grant(id);
  deepEqual(await test.keeper.drain(hold, 20_000, never), { kind: "drained" });
  deepEqual(await node(name), { unschedulable: true, cordon: undefined });
  await test.keeper.uncordon(hold.group, hold.id, hold.since);
  deepEqual(await node(name), { unschedulable: true, cordon: undefined });
  ok(!test.calls.includes("patchNode"));
});

clusterTest("a node uncordoned by an administrator during the drain is cordoned again before the yes", async () => {
  const namespace = await plane().createNamespace();
  const { name, id } = await objects.createNode(plane());
  await objects.createPod(plane(), { name: "slow", namespace, node: name, graceSeconds: 77 });
  const locks = new TestLocks();
  await using test = await startKeeper(plane(), locks);
  const hold = locks.grant(id);
  const waiting = test.keeper.drain(hold, 30_000, never);
  await until(async () => (await objects.podsOn(plane(), name)).get("slow")?.metadata.deletionTimestamp);
  await cordonByHand(name, false);
  await objects.endPod(plane(), namespace, "slow");
  deepEqual(await waiting, { kind: "drained" });
  const { unschedulable, cordon } = await node(name);
  ok(unschedulable && cordon !== undefined);
});

clusterTest("an administrator's cordon after ours was lifted stays, also where ours was lifted by hand", async () => {
  const { name, id } = await objects.createNode(plane());
  const locks = new TestLocks();
  await using test = await startKeeper(plane(), locks);
  const hold = locks.grant(id);
  deepEqual(await test.keeper.drain(hold, 20_000, never), { kind: "drained" });
  // kubectl uncordon knows nothing of the annotation; ours goes by itself, so that the next cordon is theirs.
  await cordonByHand(name, false);
  await until(async () => (await node(name)).cordon === undefined);
  await cordonByHand(name, true);
  await test.keeper.uncordon(hold.group, hold.id, hold.since);
  deepEqual(await node(name), { unschedulable: true, cordon: undefined });
});

clusterTest("a node held by two groups stays cordoned until both are back", async () => {
  const { name, id } = await objects.createNode(plane());
  const locks = new TestLocks();
  await using one = await startKeeper(plane(), locks);
  await using two = await startKeeper(plane(), locks);
  const [first, second] = [locks.grant(id, { group: "one" }), locks.grant(id, { group: "two" })];
  const outcomes = await Promise.all([one.keeper.drain(first, 20_000, never), two.keeper.drain(second, 20_000, never)]);
  deepEqual(outcomes, [{ kind: "drained" }, { kind: "drained" }]);
  deepEqual(Object.keys(JSON.parse((await node(name)).cordon!)).sort(), ["default/one", "default/two"]);
  await until(() => one.keeper.isSynced);
  await one.keeper.uncordon(first.group, first.id, first.since);
  locks.drop(first);
  const left = await node(name);
  ok(left.unschedulable);
  deepEqual(Object.keys(JSON.parse(left.cordon!)), ["default/two"]);
  await two.keeper.uncordon(second.group, second.id, second.since);
  deepEqual(await node(name), { unschedulable: false, cordon: undefined });
});

clusterTest(
  "what a client left behind is lifted, what it holds now is not, whichever its request was about",
  async () => {
    const { name, id } = await objects.createNode(plane());
    const locks = new TestLocks();
    await using test = await startKeeper(plane(), locks, { sweepMs: 3_600_000 });
    const earlier = locks.grant(id, { since: Date.now() - 60_000 });
    deepEqual(await test.keeper.drain(earlier, 20_000, never), { kind: "drained" });
    const { group } = earlier;
    // Two requests held up from before: one saw the earlier hold, the other none.
    const hold = locks.grant(id);
    deepEqual(await test.keeper.drain(hold, 20_000, never), { kind: "drained" });
    await test.keeper.uncordon(group, hold.id, earlier.since);
    await test.keeper.uncordon(group, hold.id);
    const { unschedulable, cordon } = await node(name);
    ok(unschedulable);
    deepEqual(JSON.parse(cordon!), { "default/default": { id, since: new Date(hold.since).toISOString() } });
    locks.drop(hold);
    await test.keeper.uncordon(group, hold.id);
    deepEqual(await node(name), { unschedulable: false, cordon: undefined });
  },
);

clusterTest("a request about an earlier hold does not stop the drain of the one that the client has now", async () => {
  const namespace = await plane().createNamespace();
  const { name, id } = await objects.createNode(plane());
  await objects.createPod(plane(), { name: "slow", namespace, node: name, graceSeconds: 77 });
  const locks = new TestLocks();
  await using test = await startKeeper(plane(), locks);
  const hold = locks.grant(id);
  const waiting = test.keeper.drain(hold, 30_000, never);
  await until(async () => (await objects.podsOn(plane(), name)).get("slow")?.metadata.deletionTimestamp);
  await test.keeper.uncordon(hold.group, hold.id, hold.since - 60_000);
  await test.keeper.uncordon(hold.group, hold.id);
  await objects.endPod(plane(), namespace, "slow");
  deepEqual(await waiting, { kind: "drained" });
  ok((await node(name)).unschedulable);
});

clusterTest(
  "an installation in another namespace leaves a cordon alone, also where its groups have the same names",
  async () => {
    const { name, id } = await objects.createNode(plane());
    const locks = new TestLocks();
    await using test = await startKeeper(plane(), locks);
    const hold = locks.grant(id);
    deepEqual(await test.keeper.drain(hold, 20_000, never), { kind: "drained" });
    const before = await node(name);
    // It knows nothing of the lock, and looks at every cordon at once, and again when it is told that the client is back.
    await using other = await startKeeper(plane(), new TestLocks(), { namespace: "kube-public", sweepMs: 50 });
    await other.keeper.uncordon(hold.group, hold.id);
    // A node that is its business shows that it has looked.
    const second = await objects.createNode(plane());
    const theirs = { ...hold, id: second.id as typeof hold.id };
    await other.keeper.drain(theirs, 20_000, never);
    await until(async () => !(await node(second.name)).unschedulable);
    deepEqual(await node(name), before);
    await test.keeper.uncordon(hold.group, hold.id, hold.since);
    deepEqual(await node(name), { unschedulable: false, cordon: undefined });
  },
);

clusterTest("a drain whose lock is deleted by hand stops, and its cordon is lifted", async () => {
  const namespace = await plane().createNamespace();
  const { name, id } = await objects.createNode(plane());
  await objects.createPod(plane(), { name: "slow", namespace, node: name, graceSeconds: 77 });
  const locks = new TestLocks();
  await using test = await startKeeper(plane(), locks);
  const hold = locks.grant(id);
  const waiting = test.keeper.drain(hold, 30_000, never);
  await until(async () => (await objects.podsOn(plane(), name)).get("slow")?.metadata.deletionTimestamp);
  test.keeper.holdEnded(hold.group, hold.id);
  locks.drop(hold);
  test.keeper.holdEnded(hold.group, hold.id);
  deepEqual(await waiting, { kind: "abandoned" });
  deepEqual(await node(name), { unschedulable: false, cordon: undefined });
  equal((await objects.podsOn(plane(), name)).size, 1);
});

clusterTest("a client's return ends its drain on every replica, and no cordon comes back", async () => {
  const namespace = await plane().createNamespace();
  const { name, id } = await objects.createNode(plane());
  await objects.createPod(plane(), { name: "slow", namespace, node: name, graceSeconds: 77 });
  const locks = new TestLocks();
  // No watch tells these that the lock is gone: they find out by themselves.
  await using one = await startKeeper(plane(), locks, { sweepMs: 200 });
  await using two = await startKeeper(plane(), locks, { sweepMs: 200 });
  const hold = locks.grant(id);
  const waiting = [one, two].map(({ keeper }) => keeper.drain(hold, 30_000, never));
  await until(async () => (await objects.podsOn(plane(), name)).get("slow")?.metadata.deletionTimestamp);
  await until(() => two.keeper.isSynced);
  await one.keeper.uncordon(hold.group, hold.id, hold.since);
  locks.drop(hold);
  await objects.endPod(plane(), namespace, "slow");
  deepEqual(await waiting[0], { kind: "abandoned" });
  await waiting[1];
  await until(async () => !(await node(name)).unschedulable);
  deepEqual(await node(name), { unschedulable: false, cordon: undefined });
});

clusterTest("a cordon whose lock nobody holds is lifted at the start, one whose lock is held is not", async () => {
  const [left, held] = [await objects.createNode(plane()), await objects.createNode(plane())];
  const locks = new TestLocks();
  const holds = [locks.grant(left.id), locks.grant(held.id)];
  {
    await using first = await startKeeper(plane(), locks);
    for (const hold of holds) deepEqual(await first.keeper.drain(hold, 20_000, never), { kind: "drained" });
  }
  locks.drop(holds[0]!);
  await using second = await startKeeper(plane(), locks);
  await until(async () => !(await node(left.name)).unschedulable);
  deepEqual(await node(left.name), { unschedulable: false, cordon: undefined });
  await until(() => second.log.includes("lifted a stale cordon: its client holds no slot"));
  ok((await node(held.name)).unschedulable);
});

clusterTest("a slot is free again only when its node is ready after the reboot", async () => {
  const { name, id } = await objects.createNode(plane());
  const locks = new TestLocks();
  await using test = await startKeeper(plane(), locks);
  const hold = locks.grant(id, { node: { name, bootId: "boot-1", phase: "drained" } });
  await objects.setNodeStatus(plane(), name, { ready: "Unknown" });
  await until(async () => (await test.keeper.awaitReturn(hold, 0, never)).kind === "not_ready");
  const waiting = test.keeper.awaitReturn(hold, 20_000, never);
  await objects.setNodeStatus(plane(), name, { bootId: "boot-2", ready: "False" });
  deepEqual(await test.keeper.awaitReturn(hold, 0, never), {
    kind: "not_ready",
    node: name,
    reason: "its condition Ready is False (said the test)",
  });
  await objects.setNodeStatus(plane(), name, { ready: "True" });
  deepEqual(await waiting, { kind: "ready" });
});

clusterTest("a node that still looks as before the reboot must show a sign of life", async () => {
  const { name, id } = await objects.createNode(plane());
  const lease = `/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases`;
  const renewTime = (ageMs: number) => new Date(Date.now() - ageMs).toISOString().replace("Z", "000Z");
  const locks = new TestLocks();
  await using test = await startKeeper(plane(), locks);
  const node = { name, bootId: "boot-1", phase: "drained" } as const;
  const hold = locks.grant(id, { node });
  // No Lease, so no sign can be expected.
  deepEqual(await test.keeper.awaitReturn(hold, 0, never), { kind: "ready" });
  await plane().request("POST", lease, {
    metadata: { name },
    spec: { holderIdentity: name, renewTime: renewTime(1_000) },
  });
  deepEqual(await test.keeper.awaitReturn(hold, 0, never), { kind: "ready" });
  // The host is down since half a minute, but the node controller has not noticed.
  const renew = (ageMs: number) =>
    plane().request(
      "PATCH",
      `${lease}/${name}`,
      { spec: { renewTime: renewTime(ageMs) } },
      "application/merge-patch+json",
    );
  await renew(30_000);
  equal((await test.keeper.awaitReturn(hold, 0, never)).kind, "not_ready");
  // A client that was never told yes has not rebooted.
  deepEqual(await test.keeper.awaitReturn({ ...hold, node: { ...node, phase: "draining" } }, 0, never), {
    kind: "ready",
  });
  const waiting = test.keeper.awaitReturn(hold, 30_000, never);
  await renew(0);
  deepEqual(await waiting, { kind: "ready" });
});

clusterTest("a node matches by its annotation, and two nodes with one id are ambiguous", async () => {
  const locks = new TestLocks();
  const custom = crypto.randomUUID();
  const annotated = await objects.createNode(plane(), { annotations: { "fleetlock.internal/id": custom } });
  await objects.createNode(plane(), { machineId: "malformed" });
  await using test = await startKeeper(plane(), locks);
  const { id } = locks.grant(custom.replaceAll("-", ""));
  deepEqual(await test.keeper.match(id), { kind: "node", name: annotated.name, bootId: "boot-1" });
  deepEqual(await test.keeper.match(locks.grant(crypto.randomUUID()).id), { kind: "none" });
  const twin = await objects.createNode(plane(), { machineId: annotated.machineId });
  const { id: derived } = locks.grant(twin.id);
  await until(async () => (await test.keeper.match(derived)).kind === "ambiguous");
  deepEqual(await test.keeper.match(derived), { kind: "ambiguous", nodes: [annotated.name, twin.name].sort() });
  equal(test.log.filter((line) => /machine-id of a node is malformed/.test(line)).length, 1);
});

for (
  const [missing, message] of [
    [{ verb: "patch", resource: "nodes" }, /may not patch nodes/],
    [{ verb: "list", resource: "pods" }, /may not list pods/],
    [{ verb: "create", resource: "pods" }, /may not create pods\/eviction/],
    [{ verb: "list", resource: "volumeattachments" }, /may not list volumeattachments/],
  ] as const
) {
  clusterTest(`a missing permission is named: ${missing.verb} ${missing.resource}`, async () => {
    const namespace = await plane().createNamespace();
    const { name, id } = await objects.createNode(plane());
    await objects.createPod(plane(), { name: "web", namespace, node: name, graceSeconds: 0 });
    const locks = new TestLocks();
    const permissions = keeperPermissions({ deletePods: false })
      .filter(({ verb, resource }) => verb !== missing.verb || resource !== missing.resource);
    await using test = await startKeeper(plane(), locks, { drainOptions: { deniedMs: 200 } }, permissions);
    await rejects(test.keeper.drain(locks.grant(id), 20_000, never), {
      name: "UnavailableError",
      publicMessage: message,
    });
  });
}

async function eventsOf(node: string): Promise<{ reason: string; type: string; note: string }[]> {
  const { items } = await plane().request("GET", "/apis/events.k8s.io/v1/namespaces/default/events");
  // deno-lint-ignore no-explicit-any
  return items.filter((one: any) => one.regarding.kind === "Node" && one.regarding.uid === node);
}
