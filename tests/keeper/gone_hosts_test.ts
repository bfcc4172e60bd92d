/**
 * Whether the Node of a hold's host is gone, by the real keeper on a cluster in memory: since when its watch has shown
 * none, and what fresh readings prove. The last tests have the real locks too.
 *
 * @module
 */

import { deepEqual, equal, ok } from "node:assert/strict";
import { GoneHosts } from "../../src/keeper/gone_hosts.ts";
import { KubernetesNodeKeeper } from "../../src/keeper/node_keeper.ts";
import { ID_ANNOTATION, viewNode } from "../../src/keeper/nodes/node.ts";
import { type ClientId, parseClientId, parseGroup } from "../../src/lock/identity.ts";
import { LockService } from "../../src/lock/lock_service.ts";
import { MemoryBackend, MemoryLockStore, readHolder } from "../../src/lock/lock_store.ts";
import type { Hold } from "../../src/lock/node_keeper.ts";
import { ServerClock } from "../../src/kubernetes/server_clock.ts";
import { IdleClock } from "../support/fake_clock.ts";
import { ScriptedPolicy } from "../support/scripted_policy.ts";
import { FakeCluster } from "./fake_cluster.ts";

const MACHINE = "1c09ca98649c4c7abc779cd04c96812e";
const ID = parseClientId("978a225b3d7b40e9acd7ce9b62f68444")!;
const GROUP = parseGroup("default")!;
const GRACE_MS = 600_000;
const noted = { name: "a", uid: "uid-a", machineId: MACHINE, phase: "drained" as const };
const never = new AbortController().signal;

/** A keeper that follows a cluster whose only Node is another host's. */
async function setUp() {
  const clock = new IdleClock();
  const cluster = new FakeCluster(clock);
  cluster.put({ name: "z", uid: "uid-z" });
  const backend = new MemoryBackend();
  const store = new MemoryLockStore(backend);
  const keeper = new KubernetesNodeKeeper(cluster.client, {
    readHolder: (id, group) => readHolder(store, id, group),
    random: () => 0.5,
  });
  keeper.run();
  await clock.pass(1);
  ok(keeper.isSynced);
  const hold: Hold = { group: GROUP, id: ID, since: clock.now() - 60_000, node: noted };
  return {
    clock,
    cluster,
    backend,
    store,
    keeper,
    hold,
    prove: (of = hold) => clock.until(keeper.proveGone(of, never)),
    [Symbol.asyncDispose]: () => clock.until(keeper[Symbol.asyncDispose]()),
  };
}

/** Nodes that may be the host's. */
const HOSTS: [what: string, node: Parameters<FakeCluster["put"]>[0]][] = [
  ["the noted one", { name: "a", uid: "uid-a", machineID: MACHINE }],
  ["another one of the noted name, without a machine-id", { name: "a", uid: "uid-b" }],
  ["another machine's of the noted name", { name: "a", uid: "uid-b", machineID: "ad432f2cb0c28bbcd1f87a20199237f9" }],
  ["one of another name with the machine-id", { name: "b", uid: "uid-b", machineID: MACHINE.toUpperCase() }],
  ["one of another name with the id by annotation", { name: "b", uid: "uid-b", annotations: { [ID_ANNOTATION]: ID } }],
];

for (const [what, node] of HOSTS) {
  Deno.test(`a Node that comes and goes ends the time without a Node, and keeps it while it is there: ${what}`, async () => {
    await using world = await setUp();
    const { clock, cluster, keeper, hold } = world;
    const began = clock.monotonic();
    equal(keeper.absentSince(hold), began);
    await clock.pass(60_000);
    equal(keeper.absentSince(hold), began);
    cluster.put(node);
    cluster.remove(node.name);
    await clock.pass(1);
    equal(keeper.absentSince(hold), clock.monotonic(), "although nobody asked while it was there");
    cluster.put(node);
    await clock.pass(1);
    equal(keeper.absentSince(hold), undefined);
    deepEqual(await world.prove(), { kind: "there", node: node.name });
  });
}

Deno.test("the host of a hold with an id of its own is known by the machine-id that the hold notes", async () => {
  await using world = await setUp();
  const { cluster, keeper } = world;
  const hold = { ...world.hold, id: parseClientId("my-own-id")! as ClientId };
  cluster.put({ name: "b", uid: "uid-b", machineID: MACHINE });
  await world.clock.pass(1);
  equal(keeper.absentSince(hold), undefined);
  deepEqual(await world.prove(hold), { kind: "there", node: "b" });
});

Deno.test("the Nodes of other hosts change nothing", async () => {
  await using world = await setUp();
  const { clock, cluster, keeper, hold } = world;
  const began = keeper.absentSince(hold);
  cluster.put({ name: "b", uid: "uid-b", machineID: "ad432f2cb0c28bbcd1f87a20199237f9" });
  await clock.pass(1);
  equal(keeper.absentSince(hold), began);
  equal((await world.prove()).kind, "gone");
});

Deno.test("a watch that breaks off begins the time again, and while it is behind there is none", async () => {
  await using world = await setUp();
  const { clock, cluster, keeper, hold } = world;
  const began = keeper.absentSince(hold)!;
  cluster.denied.add("watch nodes").add("list nodes");
  cluster.breakWatches();
  await clock.pass(10_000);
  equal(keeper.absentSince(hold), undefined);
  cluster.denied.clear();
  await clock.pass(60_000);
  ok(keeper.isSynced);
  ok(keeper.absentSince(hold)! > began);
});

Deno.test("a watch that has listed anew begins the time again, although nobody asked while it was behind", async () => {
  await using world = await setUp();
  const { clock, cluster, keeper, hold } = world;
  const began = keeper.absentSince(hold)!;
  cluster.breakWatches();
  await clock.pass(60_000);
  ok(keeper.isSynced);
  ok(keeper.absentSince(hold)! > began);
});

Deno.test("a cluster whose version went back, as after a restore from a backup, proves nothing", async () => {
  const calls = { currentVersion: () => Promise.resolve("9"), getNode: () => Promise.resolve(undefined) };
  const nodes = {
    isSynced: true,
    moment: 10n,
    peek: () => undefined,
    peekById: () => [],
    until: () => Promise.resolve(true),
    listById: () => Promise.resolve([]),
  };
  const clock = new IdleClock();
  const proof = { pods: { listPods: () => Promise.resolve([]) }, clock: new ServerClock(clock), policy: {} };
  const gone = new GoneHosts({ nodes, calls, proof, clock });
  const hold: Hold = { group: GROUP, id: ID, since: 0, node: noted };
  deepEqual(await gone.prove(hold, never), { kind: "unseen" });
  calls.currentVersion = () => Promise.resolve("10");
  equal((await gone.prove(hold, never)).kind, "gone");
});

/**
 * What knows of the hosts' absence, over a watch that tells nothing by itself, as after a reading that a test changes.
 */
function unwatched() {
  const clock = new IdleClock();
  const shown = { isSynced: true, names: new Set<string>(), ids: new Set<string>() };
  const nodes = {
    get isSynced() {
      return shown.isSynced;
    },
    moment: 10n,
    peek: (name: string) => shown.names.has(name) ? viewNode({ metadata: { name } }) : undefined,
    peekById: (id: string) => shown.ids.has(id) ? [viewNode({ metadata: { name: "x" } })] : [],
    until: () => Promise.resolve(true),
    listById: () => Promise.resolve([]),
  };
  const calls = { currentVersion: () => Promise.resolve("9"), getNode: () => Promise.resolve(undefined) };
  const proof = { pods: { listPods: () => Promise.resolve([]) }, clock: new ServerClock(clock), policy: {} };
  const gone = new GoneHosts({ nodes, calls, proof, clock });
  const holdOf = (name: string, machineId?: string): Hold => {
    const node = { name, uid: `uid-${name}`, ...(machineId !== undefined && { machineId }), phase: "drained" as const };
    return { group: GROUP, id: parseClientId(`id-of-${name}`)!, since: 0, node };
  };
  return { clock, shown, gone, holdOf };
}

Deno.test("the time without a Node is each hold's own, and known without a machine-id", async () => {
  const { clock, gone, holdOf } = unwatched();
  const [a, b] = [holdOf("a"), holdOf("b", MACHINE)];
  const began = clock.monotonic();
  equal(gone.absentSince(a), began);
  await clock.pass(1_000);
  equal(gone.absentSince(b), began + 1_000);
  equal(gone.absentSince({ ...a, since: 1 }), began + 1_000, "another hold of the same host");
  await clock.pass(1_000);
  deepEqual([gone.absentSince(a), gone.absentSince(b)], [began, began + 1_000]);
  gone.nodeSeen({ name: "b", ids: [] });
  deepEqual([gone.absentSince(a), gone.absentSince(b)], [began, began + 2_000]);
});

Deno.test("a look that finds a Node, or a watch that is behind, ends the time, although nobody has told of it", async () => {
  const { clock, gone, holdOf, shown } = unwatched();
  const hold = holdOf("a", ` ${MACHINE.toUpperCase()}\n`);
  const ends: [begin: () => void, end: () => void][] = [
    [() => shown.isSynced = false, () => shown.isSynced = true],
    [() => shown.names.add("a"), () => shown.names.delete("a")],
    [() => shown.ids.add(hold.id), () => shown.ids.delete(hold.id)],
    [() => shown.ids.add(MACHINE), () => shown.ids.delete(MACHINE)],
  ];
  for (const [begin, end] of ends) {
    equal(gone.absentSince(hold), clock.monotonic());
    await clock.pass(1_000);
    begin();
    equal(gone.absentSince(hold), undefined);
    end();
    equal(gone.absentSince(hold), clock.monotonic());
    gone.missed();
  }
});

Deno.test("the time is forgotten ten minutes after the last question, when another hold is asked about", async () => {
  for (const [ms, isForgotten] of [[1_000, false], [600_000, false], [600_001, true]] as const) {
    const { clock, gone, holdOf } = unwatched();
    const began = gone.absentSince(holdOf("a"))!;
    await clock.pass(ms);
    gone.absentSince(holdOf("b"));
    equal(gone.absentSince(holdOf("a")), isForgotten ? began + ms : began, `${ms}`);
  }
});

Deno.test("a hold that notes no Node has none that could be gone", async () => {
  await using world = await setUp();
  const hold = { ...world.hold, node: undefined };
  equal(world.keeper.absentSince(hold), undefined);
  deepEqual(await world.prove(hold), { kind: "unseen" });
});

Deno.test("the proof waits until the watch has told everything, so that a Node that came and went is not missed", async () => {
  await using world = await setUp();
  const { clock, cluster, keeper, hold } = world;
  const began = keeper.absentSince(hold)!;
  await clock.pass(1_000);
  cluster.holdBack();
  cluster.put({ name: "a", uid: "uid-a", machineID: MACHINE });
  cluster.remove("a");
  equal(keeper.absentSince(hold), began, "the watch has not shown it");
  const proof = keeper.proveGone(hold, never);
  await clock.pass(30_000);
  cluster.catchUp();
  equal((await clock.until(proof)).kind, "gone");
  ok(keeper.absentSince(hold)! > began, "and by now it has");
});

Deno.test("a watch that does not catch up in time proves nothing", async () => {
  await using world = await setUp();
  const { clock, cluster } = world;
  cluster.holdBack();
  cluster.put({ name: "b", uid: "uid-b" });
  const began = clock.monotonic();
  deepEqual(await world.prove(), { kind: "unseen" });
  ok(clock.monotonic() - began <= 121_000);
});

Deno.test("a pod that is bound to the name and that a drain would wait for is left", async () => {
  await using world = await setUp();
  const { clock, cluster } = world;
  const pod = { name: "db", node: "a", createdAt: new Date(clock.now() - 3_600_000) };
  cluster.start(pod);
  const reason = "its node no longer exists, but the pod does";
  deepEqual(await world.prove(), { kind: "pods_left", pods: [{ namespace: "apps", name: "db", reason }] });
  cluster.end(pod);
  const called = clock.monotonic();
  const proof = await world.prove();
  ok(proof.kind === "gone" && proof.readAt >= called);
});

Deno.test("with the real locks: a Node deleted for good frees the hold after the period; one that comes back in it does not", async () => {
  for (const comesBack of [false, true]) {
    await using world = await setUp();
    const { clock, cluster, keeper, backend, store } = world;
    cluster.put({ name: "a", uid: "uid-a", machineID: MACHINE });
    await clock.pass(1);
    const policy = new ScriptedPolicy();
    policy.goneAfterMs = GRACE_MS;
    const locks = new LockService(store, { keeper, policy, clock, random: () => 0.5, replyWaitMs: 10_000 });
    const stop = new AbortController();
    const watched = locks.watch(stop.signal);
    equal((await clock.until(locks.preReboot(ID, GROUP))).kind, "granted");
    const holders = () => backend.groups.get(GROUP)!.state.holders.length;
    cluster.remove("a");
    await clock.pass(GRACE_MS - 60_000);
    equal(holders(), 1);
    if (comesBack) {
      // It registers, and its Node is deleted again at once.
      cluster.put({ name: "a", uid: "uid-2", machineID: MACHINE });
      cluster.remove("a");
    }
    await clock.pass(150_000);
    equal(holders(), comesBack ? 1 : 0);
    await clock.pass(GRACE_MS);
    equal(holders(), 0);
    stop.abort();
    await clock.until(watched);
  }
});
