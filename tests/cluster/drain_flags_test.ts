/** What each drain flag does, by a whole server. @module */

import { deepEqual, equal, match } from "node:assert/strict";
import type { SettingName } from "../../src/config/settings.ts";
import * as objects from "../support/cluster_objects.ts";
import { until } from "../support/condition.ts";
import { clusterTest, useControlPlane } from "../support/control_plane.ts";
import { type Replicas, startReplicas } from "../support/replicas.ts";
import { preReboot, type Reply, steadyState } from "../support/zincati.ts";

const plane = useControlPlane();

const LABELS = { app: "web" };
/** A controller that does not exist, so that a pod counts as managed but is not replaced. */
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
  [{}, { owner: undefined, emptyDir: true }, false, 0, ({ status }) => equal(status, 200)],
  [
    { "drain-unmanaged": "refuse" },
    { owner: undefined },
    false,
    1,
    ({ kind, value }) => match(`${kind} ${value}`, /^drain_refused .*--drain-unmanaged is refuse/),
  ],
  [
    { "drain-empty-dir": "refuse" },
    { emptyDir: true },
    false,
    1,
    ({ kind, value }) => match(`${kind} ${value}`, /^drain_refused .*--drain-empty-dir is refuse/),
  ],
  [{ "drain-skip-selector": "app in (web)" }, {}, false, 1, ({ status }) => equal(status, 200)],
  [{ "drain-timeout": "1s" }, {}, true, 1, ({ kind }) => equal(kind, "drain_failed")],
  [
    { "drain-timeout": "1s", "drain-on-timeout": "proceed" },
    {},
    true,
    1,
    ({ status }) => equal(status, 200),
  ],
  [{ "drain-timeout": "1s", "drain-on-timeout": "delete" }, {}, true, 0, ({ status }) => equal(status, 200)],
  [{ "reply-wait": "500ms" }, {}, true, 1, ({ kind }) => equal(kind, "draining")],
  [{ drain: "false" }, {}, false, 1, ({ status }) => equal(status, 200)],
];

for (const [flags, pod, budget, left, check] of FLAGS) {
  const name = Object.entries(flags).map(([flag, value]) => `--${flag}=${value}`).join(" ") || "no flag";
  clusterTest(
    `${name}: the drain of a pod ${JSON.stringify(pod)}${budget ? " behind a budget" : ""} follows the flags`,
    async () => {
      await using test = await setUp(flags, pod);
      if (budget) await objects.createBudget(plane(), test.all.namespace, "web", LABELS, 0);
      check(await preReboot(test.all.urls[0], test.node.id));
      equal((await objects.podsOn(plane(), test.node.name)).size, left);
    },
  );
}

clusterTest("POD_NAME: the server's own pod stays, and another replica's is evicted", async () => {
  await using test = await setUp({}, { name: "another-server" });
  const { all, node } = test;
  await objects.createPod(plane(), { name: "server", namespace: all.namespace, node: node.name, graceSeconds: 0 });
  await until(async () => (await preReboot(all.urls[0], node.id)).status === 200);
  deepEqual([...(await objects.podsOn(plane(), node.name)).keys()], ["server"]);
});

for (const [flag, expected] of [["true", "node_not_ready"], ["false", undefined]] as const) {
  clusterTest(
    `--release-wait-ready=${flag}: a release while the node is not ready ${
      expected ? `is refused: ${expected}` : "succeeds"
    }`,
    async () => {
      await using test = await setUp({ "release-wait-ready": flag, "reply-wait": "500ms" });
      const { all, node } = test;
      await until(async () => (await preReboot(all.urls[0], node.id)).status === 200);
      await objects.setNodeStatus(plane(), node.name, { ready: "False" });
      equal((await steadyState(all.urls[0], node.id)).kind, expected);
      equal((await all.lease()).spec.holderIdentity === node.id, expected !== undefined);
    },
  );
}

clusterTest("a drain ends as soon as the watch of the locks shows that its lock was deleted by hand", async () => {
  await using test = await setUp({}, { graceSeconds: 77 });
  const { all, node } = test;
  const waiting = preReboot(all.urls[0], node.id);
  const isCordoned = async () =>
    (await plane().request("GET", `/api/v1/nodes/${node.name}`)).spec.unschedulable === true;
  await until(isCordoned);
  await plane().kubectl("delete", "lease", "fleetlock-default", "--namespace", all.namespace);
  equal((await waiting).kind, "contended");
  equal(await isCordoned(), false);
});
