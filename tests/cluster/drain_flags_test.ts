/** That each flag of draining does what it says, through a whole server. @module */

import assert from "node:assert/strict";
import type { SettingName } from "../../src/config/settings.ts";
import * as objects from "../support/cluster_objects.ts";
import { until } from "../support/condition.ts";
import { clusterTest, useControlPlane } from "../support/control_plane.ts";
import { type Replicas, startReplicas } from "../support/replicas.ts";
import { preReboot, type Reply, steadyState } from "../support/zincati.ts";

const plane = useControlPlane();

const LABELS = { app: "web" };
/** A controller that is none; so that a pod counts as managed. */
const OWNER = { apiVersion: "apps/v1", kind: "ReplicaSet", name: "web", uid: crypto.randomUUID() };

/** A server, and a node with one pod. */
async function setUp(
  flags: Partial<Record<SettingName, string>>,
  pod: Partial<objects.PodSpec> = {},
): Promise<{ all: Replicas; node: objects.TestNode } & AsyncDisposable> {
  const namespace = await plane().createNamespace();
  const node = await objects.createNode(plane());
  await objects.createPod(plane(), {
    name: "web",
    namespace,
    node: node.name,
    labels: LABELS,
    owner: OWNER,
    graceSeconds: 0,
    ...pod,
  });
  const all = await startReplicas(plane(), { namespace, flags, environment: { POD_NAME: "server" } });
  return { all, node, [Symbol.asyncDispose]: () => all[Symbol.asyncDispose]() };
}

const FLAGS: [
  flags: Partial<Record<SettingName, string>>,
  pod: Partial<objects.PodSpec>,
  budget: boolean,
  left: number,
  check: (reply: Reply) => void,
][] = [
  [{}, { owner: undefined, emptyDir: true }, false, 0, ({ status }) => assert.equal(status, 200)],
  [
    { "drain-unmanaged": "refuse" },
    { owner: undefined },
    false,
    1,
    ({ kind, value }) => assert.match(`${kind} ${value}`, /^drain_failed .*--drain-unmanaged is refuse/),
  ],
  [
    { "drain-empty-dir": "refuse" },
    { emptyDir: true },
    false,
    1,
    ({ kind, value }) => assert.match(`${kind} ${value}`, /^drain_failed .*--drain-empty-dir is refuse/),
  ],
  [{ "drain-skip-selector": "app in (web)" }, {}, false, 1, ({ status }) => assert.equal(status, 200)],
  [{ "drain-timeout": "1s" }, {}, true, 1, ({ kind }) => assert.equal(kind, "drain_failed")],
  [
    { "drain-timeout": "1s", "drain-on-timeout": "proceed" },
    {},
    true,
    1,
    ({ status }) => assert.equal(status, 200),
  ],
  [{ "drain-timeout": "1s", "drain-on-timeout": "delete" }, {}, true, 0, ({ status }) => assert.equal(status, 200)],
  [{ "reply-wait": "500ms" }, {}, true, 1, ({ kind }) => assert.equal(kind, "draining")],
  [{ drain: "false" }, {}, false, 1, ({ status }) => assert.equal(status, 200)],
];

for (const [flags, pod, budget, left, check] of FLAGS) {
  const name = Object.entries(flags).map(([flag, value]) => `--${flag}=${value}`).join(" ") || "no flag";
  clusterTest(`${name}: a drain of ${JSON.stringify(pod)}${budget ? " behind a budget" : ""} is as told`, async () => {
    await using test = await setUp(flags, pod);
    if (budget) await objects.createBudget(plane(), test.all.namespace, "web", LABELS, 0);
    check(await preReboot(test.all.urls[0], test.node.id));
    assert.equal((await objects.podsOn(plane(), test.node.name)).size, left);
  });
}

clusterTest("POD_NAME: the server's own pod is evicted last", async () => {
  await using test = await setUp({ "reply-wait": "500ms" }, { finalizers: ["example.com/x"] });
  const { all, node } = test;
  await objects.createPod(plane(), { name: "server", namespace: all.namespace, node: node.name, graceSeconds: 0 });
  const reply = await preReboot(all.urls[0], node.id);
  assert.match(`${reply.kind} ${reply.value}`, /^draining .*\/server \(this server runs in it, so it goes last\)/);
  await plane().kubectl(
    "patch",
    "pod",
    "web",
    "--namespace",
    all.namespace,
    "--type=merge",
    "-p",
    '{"metadata":{"finalizers":null}}',
  );
  await until(async () => (await preReboot(all.urls[0], node.id)).status === 200);
  assert.equal((await objects.podsOn(plane(), node.name)).size, 0);
});

for (const [flag, expected] of [["true", "node_not_ready"], ["false", undefined]] as const) {
  clusterTest(
    `--release-wait-ready=${flag}: a release with the node not ready is ${expected ?? "a release"}`,
    async () => {
      await using test = await setUp({ "release-wait-ready": flag, "reply-wait": "500ms" });
      const { all, node } = test;
      await until(async () => (await preReboot(all.urls[0], node.id)).status === 200);
      await objects.setNodeStatus(plane(), node.name, { ready: "False" });
      assert.equal((await steadyState(all.urls[0], node.id)).kind, expected);
      assert.equal((await all.lease()).spec.holderIdentity === node.id, expected !== undefined);
    },
  );
}

clusterTest("a lock deleted by hand ends its drain at once, as the watch of the locks tells", async () => {
  await using test = await setUp({}, { graceSeconds: 77 });
  const { all, node } = test;
  const waiting = preReboot(all.urls[0], node.id);
  const isCordoned = async () =>
    (await plane().request("GET", `/api/v1/nodes/${node.name}`)).spec.unschedulable === true;
  await until(isCordoned);
  await plane().kubectl("delete", "lease", "fleetlock-default", "--namespace", all.namespace);
  assert.equal((await waiting).kind, "contended");
  assert.equal(await isCordoned(), false);
});
