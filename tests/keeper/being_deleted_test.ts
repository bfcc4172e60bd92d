/**
 * What each step of a keeper makes of a Node that is being deleted. A pod, its namespace and the Node under a running
 * drain are in drain_steps_test.ts; the Lease and its namespace in tests/stores/lease/being_deleted_test.ts. On a
 * cluster in memory.
 *
 * @module
 */

import { deepEqual, equal } from "node:assert/strict";
import { KubernetesNodeKeeper } from "../../src/keeper/node_keeper.ts";
import { CORDON_ANNOTATION } from "../../src/keeper/nodes/cordon.ts";
import { parseClientId, parseGroup } from "../../src/lock/identity.ts";
import type { Hold } from "../../src/lock/node_keeper.ts";
import type { HeldNode } from "../../src/lock/semaphore.ts";
import { IdleClock } from "../support/fake_clock.ts";
import { FakeCluster, type FakeNode } from "./fake_cluster.ts";

const ID = parseClientId("978a225b3d7b40e9acd7ce9b62f68444")!;
const GROUP = parseGroup("default")!;
const never = new AbortController().signal;
const clock = new IdleClock();
const SINCE = clock.now();
const DELETED: FakeNode = {
  name: "a",
  uid: "uid-a",
  machineID: "1c09ca98649c4c7abc779cd04c96812e",
  deletedAt: new Date(SINCE),
};

function holdOf(phase?: HeldNode["phase"], uid = "uid-a"): Hold {
  const node = phase && { name: "a", uid, bootId: "boot-1", phase };
  return { group: GROUP, id: ID, since: SINCE, node };
}

const ROWS: [what: string, node: FakeNode, ask: (keeper: KubernetesNodeKeeper) => Promise<object>, answer: object][] = [
  [
    "a look before a grant finds it, so that the hold is about it",
    DELETED,
    (keeper) => keeper.look(ID),
    { kind: "clear", node: { name: "a", uid: "uid-a", machineId: DELETED.machineID, bootId: "boot-1" } },
  ],
  [
    "a hold without a node comes to be about it",
    DELETED,
    (keeper) => keeper.drain(holdOf(), 1_000, never),
    { kind: "moved", node: { name: "a", uid: "uid-a", machineId: DELETED.machineID, bootId: "boot-1" } },
  ],
  ...(["draining", "drained", "failed"] as const).map((phase): typeof ROWS[number] => [
    `a hold on it whose phase is ${phase} gets no yes`,
    { ...DELETED, unschedulable: true },
    (keeper) => keeper.drain(holdOf(phase), 20_000, never),
    { kind: "draining", node: "a", pods: [], reason: "its Node is being deleted" },
  ]),
  [
    "a hold whose own Node is gone moves to it",
    DELETED,
    (keeper) => keeper.drain(holdOf("drained", "uid-0"), 1_000, never),
    { kind: "moved", node: { name: "a", uid: "uid-a", machineId: DELETED.machineID, bootId: "boot-1" } },
  ],
  [
    "the host is back where it is ready after the reboot",
    { ...DELETED, bootID: "boot-2" },
    (keeper) => keeper.awaitReturn(holdOf("drained"), 1_000, never),
    { kind: "ready", rebooted: true },
  ],
  [
    "the host is not back where it is not ready",
    { ...DELETED, bootID: "boot-2", ready: "Unknown" },
    (keeper) => keeper.awaitReturn(holdOf("drained"), 1_000, never),
    { kind: "not_ready", node: "a", reason: "its condition Ready is Unknown" },
  ],
];

function keeperOf(cluster: FakeCluster, isHeld: () => boolean): KubernetesNodeKeeper {
  const keeper = new KubernetesNodeKeeper(cluster.client, {
    readHolder: () => Promise.resolve(isHeld() ? { since: SINCE } : undefined),
    random: () => 0.5,
    log: { info() {}, warning() {}, error() {} },
  });
  keeper.run();
  return keeper;
}

for (const [what, node, ask, answer] of ROWS) {
  Deno.test(`a Node that is being deleted: ${what}`, async () => {
    const cluster = new FakeCluster(clock);
    cluster.put(node);
    const keeper = keeperOf(cluster, () => true);
    await clock.pass(1);
    deepEqual(await clock.until(ask(keeper)), answer);
    await clock.until(keeper[Symbol.asyncDispose]());
  });
}

Deno.test("a Node that is being deleted: our cordon is lifted at the end of the hold", async () => {
  const cluster = new FakeCluster(clock);
  cluster.put({ ...DELETED, deletedAt: undefined });
  let isHeld = true;
  const keeper = keeperOf(cluster, () => isHeld);
  await clock.pass(1);
  equal((await clock.until(keeper.drain(holdOf("draining"), 20_000, never))).kind, "drained");
  cluster.change("a", { deletedAt: new Date(clock.now()) });
  equal(cluster.nodes.get("a")?.cordonedBy, "fleetlock");
  isHeld = false;
  await clock.until(keeper.uncordon(GROUP, ID, SINCE));
  const { unschedulable, annotations } = cluster.nodes.get("a")!;
  deepEqual([unschedulable, annotations?.[CORDON_ANNOTATION]], [false, undefined]);
  await clock.until(keeper[Symbol.asyncDispose]());
});

Deno.test("a request that waited does not drain another time for a hold that has ended meanwhile", async () => {
  const cluster = new FakeCluster(clock);
  cluster.put({ ...DELETED, unschedulable: true });
  let isHeld = true;
  const keeper = keeperOf(cluster, () => isHeld);
  await clock.pass(1);
  const asked = keeper.drain(holdOf("drained"), 20_000, never);
  await clock.pass(1_000);
  // As where etcd was restored: the Node and the group are what they were before the hold.
  isHeld = false;
  cluster.change("a", { deletedAt: undefined, unschedulable: false });
  keeper.holdEnded(GROUP, ID);
  deepEqual(await clock.until(asked), { kind: "abandoned" });
  equal(cluster.nodes.get("a")?.unschedulable, false);
  await clock.until(keeper[Symbol.asyncDispose]());
});
