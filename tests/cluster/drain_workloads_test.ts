import { deepEqual, equal, ok } from "node:assert/strict";
import { until } from "../support/condition.ts";
import { clusterTest, useControlPlane } from "../support/control_plane.ts";
import * as objects from "../support/cluster_objects.ts";
import { startKeeper, TestLocks } from "../support/keepers.ts";
import { awaitReady, awaitUntainted, createWorkload, podsOf, readyOf } from "../support/workloads.ts";

// With the real controllers and scheduler, and kwok in place of kubelets.
const plane = useControlPlane({ controllers: true, scheduler: true, kwok: true });
const never = new AbortController().signal;

clusterTest(
  "real workloads move to other nodes within their budget, and the pods that belong to the node stay",
  async () => {
    const namespace = await plane().createNamespace();
    const nodes = [
      await objects.createNode(plane()),
      await objects.createNode(plane()),
      await objects.createNode(plane()),
    ];
    await awaitUntainted(plane());
    await createWorkload(plane(), namespace, "deployments", "web", { replicas: 9 });
    await createWorkload(plane(), namespace, "statefulsets", "db", { replicas: 3, serviceName: "db" });
    await createWorkload(plane(), namespace, "daemonsets", "agent", {});
    await plane().request("POST", `/apis/policy/v1/namespaces/${namespace}/poddisruptionbudgets`, {
      metadata: { name: "web" },
      spec: { maxUnavailable: 1, selector: { matchLabels: { app: "web" } } },
    });
    await awaitReady(plane(), namespace, { web: 9, db: 3, agent: 3 });
    await until(async () => {
      const budget = await plane().request("GET", `/apis/policy/v1/namespaces/${namespace}/poddisruptionbudgets/web`);
      return budget.status?.disruptionsAllowed === 1;
    }, { timeoutMs: 30_000, what: "the budget is known" });

    const [{ name, uid, id }] = nodes as [objects.TestNode];
    await objects.createPod(plane(), {
      name: "static",
      namespace,
      node: name,
      annotations: { "kubernetes.io/config.mirror": "x" },
    });
    const before = await objects.podsOn(plane(), name);
    ok([...before.values()].some((pod) => pod.metadata.labels?.app === "web"));

    const locks = new TestLocks();
    await using test = await startKeeper(plane(), locks);
    const hold = locks.grant(id, { node: { name, uid, phase: "draining" } });
    const draining = { done: false };
    let fewest = 9;
    const watched = (async () => {
      while (!draining.done) fewest = Math.min(fewest, await readyOf(plane(), namespace, "web"));
    })();
    const outcome = await test.keeper.drain(hold, 120_000, never);
    draining.done = true;
    await watched;

    equal(outcome.kind, "drained");
    const left = [...(await objects.podsOn(plane(), name)).values()].map(({ metadata }) =>
      metadata.labels?.app ?? metadata.name
    );
    deepEqual(left.sort(), ["agent", "static"]);
    ok(fewest >= 8, `at one time only ${fewest} of 9 pods were ready`);
    await awaitReady(plane(), namespace, { web: 9, db: 3 });

    await test.keeper.uncordon(hold.group, hold.id, hold.since);
    ok(!(await plane().request("GET", `/api/v1/nodes/${name}`)).spec.unschedulable);
  },
  { whole: true },
);

clusterTest(
  "a Deployment that tolerates everything and may run on the node only costs one eviction, and its new pod may stay",
  async () => {
    const namespace = await plane().createNamespace();
    const { name, uid, id } = await objects.createNode(plane());
    await awaitUntainted(plane());
    const template = objects.pod({ name: "proxy", namespace: "", graceSeconds: 3, toleratesAll: true });
    await createWorkload(plane(), namespace, "deployments", "proxy", {
      template: {
        metadata: { labels: { app: "proxy" } },
        spec: { ...template.spec, nodeSelector: { "kubernetes.io/hostname": name } },
      },
    });
    await awaitReady(plane(), namespace, { proxy: 1 });
    const [before] = await podsOf(plane(), namespace, "proxy");
    // The new pod must not come within the second of the grant.
    const created = Date.parse(before.metadata.creationTimestamp);
    await until(() => Date.now() >= created + 2_000);
    const locks = new TestLocks();
    await using test = await startKeeper(plane(), locks);
    const hold = locks.grant(id, { since: Date.now() - 1_000, node: { name, uid, phase: "draining" } });
    const outcome = await test.keeper.drain(hold, 30_000, never);
    equal(outcome.kind, "drained", JSON.stringify(outcome));
    equal(test.calls.filter((call) => call === "createNamespacedPodEviction").length, 1);
    const uids = [...(await objects.podsOn(plane(), name)).values()].map(({ metadata }) => metadata.uid);
    ok(uids.length > 0 && !uids.includes(before.metadata.uid));
    ok(test.log.includes("the node is drained, and some pods stay"), test.log.join("\n"));
  },
  { whole: true },
);

clusterTest("a drain goes on after the API server was away for a while", async () => {
  const namespace = await plane().createNamespace();
  const node = await objects.createNode(plane());
  // The finalizer keeps the pod until after the outage.
  await objects.createPod(plane(), { name: "slow", namespace, node: node.name, finalizers: ["example.com/hold"] });
  const labels = { app: "web" };
  await objects.createPod(plane(), { name: "web", namespace, node: node.name, labels });
  await plane().request("POST", `/apis/policy/v1/namespaces/${namespace}/poddisruptionbudgets`, {
    metadata: { name: "web" },
    spec: { minAvailable: 1, selector: { matchLabels: labels } },
  });
  const locks = new TestLocks();
  await using test = await startKeeper(plane(), locks);
  const hold = locks.grant(node.id, { node: { name: node.name, uid: node.uid, phase: "draining" } });
  const waiting = test.keeper.drain(hold, 240_000, never);
  await until(async () => (await objects.podsOn(plane(), node.name)).get("slow")?.metadata.deletionTimestamp, {
    timeoutMs: 30_000,
  });
  await plane().stopApiServer();
  const away = performance.now();
  // The test is about a long outage, so it waits.
  await until(() => performance.now() - away > 20_000, { timeoutMs: 30_000 });
  const told = await test.keeper.drain(hold, 0, never);
  equal(told.kind, "draining");
  await plane().startApiServer();
  const path = `/api/v1/namespaces/${namespace}/pods/slow`;
  await plane().request("PATCH", path, { metadata: { finalizers: null } }, "application/merge-patch+json");
  await plane().request("DELETE", `/apis/policy/v1/namespaces/${namespace}/poddisruptionbudgets/web`);
  equal((await waiting).kind, "drained");
  const { items } = await plane().request("GET", `/api/v1/namespaces/${namespace}/pods`);
  deepEqual(items, []);
}, { restarts: true, whole: true });
