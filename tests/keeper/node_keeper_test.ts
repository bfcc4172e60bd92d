/**
 * The keeper as a whole on a cluster in memory: what it lifts and ends for which hold, and what it answers and reports.
 * How it proves and drains is in being_deleted_test.ts, drain_steps_test.ts, gone_hosts_test.ts,
 * hosts_without_nodes_test.ts, node_identity_test.ts, stale_facts_test.ts and yield_test.ts.
 *
 * @module
 */

import { deepEqual, equal, ok } from "node:assert/strict";
import { KubernetesNodeKeeper, type NodeKeeperOptions } from "../../src/keeper/node_keeper.ts";
import { CORDON_ANNOTATION } from "../../src/keeper/nodes/cordon.ts";
import { SKIP_ANNOTATION } from "../../src/keeper/nodes/node.ts";
import { type ClientId, parseClientId, parseGroup } from "../../src/lock/identity.ts";
import type { DrainOutcome, Hold } from "../../src/lock/node_keeper.ts";
import { IdleClock } from "../support/fake_clock.ts";
import { FakeCluster } from "./fake_cluster.ts";
import { recordingTargets } from "./recording_targets.ts";

const ID = parseClientId("978a225b3d7b40e9acd7ce9b62f68444")!;
const OTHER_ID = parseClientId("someone-else")!;
const MACHINE = "1c09ca98649c4c7abc779cd04c96812e";
const [group, otherGroup] = [parseGroup("default")!, parseGroup("other")!];
const never = new AbortController().signal;

/** A keeper that follows a cluster with the client's Node, and the holds that a read of the locks shows. */
async function setUp(options: Partial<NodeKeeperOptions> = {}) {
  const clock = new IdleClock();
  const cluster = new FakeCluster(clock);
  cluster.put({ name: "a", uid: "uid-a", machineID: MACHINE });
  const since = clock.now();
  const held = new Map<string, { since: number }>([[`${group} ${ID}`, { since }]]);
  const { targets, told } = recordingTargets();
  const keeper = new KubernetesNodeKeeper(cluster.client, {
    readHolder: (id: ClientId, of) => Promise.resolve(held.get(`${of} ${id}`)),
    random: () => 0.5,
    sweepMs: 3_600_000,
    ...targets,
    ...options,
  });
  keeper.run();
  await clock.pass(1);
  ok(keeper.isSynced);
  const hold: Hold = {
    group,
    id: ID,
    since,
    node: { name: "a", uid: "uid-a", machineId: MACHINE, bootId: "boot-1", phase: "draining" },
  };
  const messages = () =>
    told.filter(([level]) => level === "info" || level === "warning").map(([, message]) => message);
  const drain = async (of: Partial<Hold> = {}, waitMs = 5_000, signal = never) => {
    const outcome = await clock.until(keeper.drain({ ...hold, ...of }, waitMs, signal));
    return outcome as Extract<DrainOutcome, { kind: "draining" }>;
  };
  return {
    clock,
    cluster,
    held,
    keeper,
    told,
    messages,
    hold,
    drain,
    /** Puts a pod on the Node, which a budget protects unless it stops within a time. */
    start: (name: string, stopsInMs?: number) => {
      cluster.start({ name, node: "a", createdAt: new Date(since - 60_000), stopsInMs });
    },
    /** Marks a Node as cordoned for holds of these keys. */
    cordon: async (name: string, ...owners: [key: string, id: string, since: number][]) => {
      const entries = owners.map(([key, id, at]) => [key, { id, since: new Date(at).toISOString() }]);
      const annotations = { [CORDON_ANNOTATION]: JSON.stringify(Object.fromEntries(entries)) };
      cluster.put({ name, uid: `uid-${name}`, unschedulable: true, annotations });
      await clock.pass(1);
    },
    isCordoned: (name = "a") => cluster.nodes.get(name)?.unschedulable === true,
    [Symbol.asyncDispose]: () => clock.until(keeper[Symbol.asyncDispose]()),
  };
}

Deno.test("a host's return is waited for unless the operator does not want that", async () => {
  for (const waitReady of [undefined, true, false]) {
    await using world = await setUp({ waitReady });
    world.cluster.change("a", { ready: "False" });
    const outcome = await world.clock.until(world.keeper.awaitReturn(world.hold, 5_000, never));
    equal(outcome.kind, waitReady === false ? "ready" : "not_ready");
  }
});

Deno.test("a missing permission to read kubelets' Leases is told, and the kubelet counts as running", async () => {
  await using world = await setUp();
  world.cluster.denied.add("get leases");
  const outcome = await world.clock.until(world.keeper.awaitReturn(world.hold, 5_000, never));
  deepEqual(outcome, { kind: "ready" });
  ok(world.messages().includes("an optional permission is missing"));
});

Deno.test("only the cordon of the client's ended hold is lifted, and that is told", async () => {
  await using world = await setUp();
  const { keeper, clock, hold, cordon, isCordoned, held, messages } = world;
  held.set(`${otherGroup} ${ID}`, { since: hold.since }).set(`${group} ${OTHER_ID}`, { since: hold.since });
  await cordon("mine", [`ops/${group}`, ID, hold.since]);
  await cordon("of another namespace", [`other/${group}`, ID, hold.since]);
  await cordon("of another group", [`ops/${otherGroup}`, ID, hold.since]);
  await cordon("of another client", [`ops/${group}`, OTHER_ID, hold.since]);
  world.cluster.kubectl("cordon", "a");
  await clock.until(keeper.uncordon(group, ID));
  equal(isCordoned("mine"), true, "the client still holds");
  held.delete(`${group} ${ID}`);
  await clock.until(keeper.uncordon(group, ID));
  const cordoned = [...world.cluster.nodes.keys()].filter((name) => isCordoned(name));
  deepEqual(cordoned.sort(), ["a", "of another client", "of another group", "of another namespace"]);
  equal(messages().filter((message) => message === "uncordoned the node").length, 1);
});

Deno.test("the cordon of a hold that is said to be over is lifted without a read, and that of a later hold stays", async () => {
  await using world = await setUp();
  const { keeper, clock, hold, cordon, isCordoned, held, cluster } = world;
  held.set(`${otherGroup} ${ID}`, { since: hold.since }).set(`${group} ${OTHER_ID}`, { since: hold.since });
  await cordon("mine", [`ops/${group}`, ID, hold.since]);
  await cordon("of another group", [`ops/${otherGroup}`, ID, hold.since]);
  await cordon("of another client", [`ops/${group}`, OTHER_ID, hold.since]);
  await clock.until(keeper.uncordon(group, ID, hold.since - 1_000));
  equal(isCordoned("mine"), true);
  cluster.calls.length = 0;
  await clock.until(keeper.uncordon(group, ID, hold.since));
  deepEqual(["mine", "of another group", "of another client"].map(isCordoned), [false, true, true]);
  deepEqual(cluster.calls, ["patch nodes"], "the watch has shown what is needed");
});

Deno.test("a cordon is lifted by what a list shows while the watch is behind, and only on the client's nodes", async () => {
  await using world = await setUp();
  const { keeper, clock, hold, cordon, isCordoned, cluster, held } = world;
  held.set(`${group} ${OTHER_ID}`, { since: hold.since });
  await cordon("of another client", [`ops/${group}`, OTHER_ID, hold.since]);
  held.delete(`${group} ${ID}`);
  cluster.denied.add("watch nodes").add("list nodes");
  cluster.breakWatches();
  await clock.pass(1_000);
  ok(!keeper.isSynced);
  cluster.denied.delete("list nodes");
  await cordon("mine", [`ops/${group}`, ID, hold.since]);
  cluster.calls.length = 0;
  await clock.until(keeper.uncordon(group, ID));
  deepEqual([isCordoned("mine"), isCordoned("of another client")], [false, true]);
  // Of all Nodes, only the one that is uncordoned is read once more.
  deepEqual(cluster.calls.filter((call) => call === "get nodes"), ["get nodes"]);
});

Deno.test("a drain whose hold is over ends with its cordon, when its client says so or a watch of the locks does", async () => {
  for (const how of ["uncordon", "holdEnded", "uncordon of another hold"] as const) {
    await using world = await setUp();
    const { keeper, hold, drain, held, clock, start, isCordoned } = world;
    start("db");
    const first = await drain();
    equal(first.kind, "draining");
    deepEqual(first.pods.map(({ name }) => name), ["db"]);
    deepEqual([isCordoned(), keeper.drainOf(group, hold)?.blocked], [true, 1]);
    equal(keeper.drainOf(group, { ...hold, since: hold.since + 5_000 }), undefined);
    // Nothing ends as long as a read shows the hold.
    if (how === "uncordon") await clock.until(keeper.uncordon(group, ID));
    else keeper.holdEnded(group, ID);
    await clock.pass(1_000);
    ok(keeper.drainOf(group, hold) !== undefined);
    if (how === "uncordon of another hold") {
      await clock.until(keeper.uncordon(group, ID, hold.since - 60_000));
      ok(keeper.drainOf(group, hold) !== undefined);
      continue;
    }
    held.clear();
    if (how === "uncordon") {
      await clock.until(keeper.uncordon(group, ID));
      equal(isCordoned(), false, "its drain has ended by then");
    } else keeper.holdEnded(group, ID);
    await clock.pass(1_000);
    deepEqual([keeper.drainOf(group, hold), isCordoned()], [undefined, false]);
  }
});

Deno.test("a cordon that is left of a hold is lifted when a watch of the locks tells of its end", async () => {
  await using world = await setUp();
  const { keeper, hold, held, clock, cordon, isCordoned, messages } = world;
  held.set(`${group} ${OTHER_ID}`, { since: hold.since });
  await cordon("mine", [`ops/${group}`, ID, hold.since]);
  await cordon("of another client", [`ops/${group}`, OTHER_ID, hold.since]);
  await clock.pass(60_000);
  equal(isCordoned("mine"), true);
  held.delete(`${group} ${ID}`);
  keeper.holdEnded(group, ID);
  await clock.pass(60_000);
  deepEqual([isCordoned("mine"), isCordoned("of another client")], [false, true]);
  deepEqual(messages(), ["uncordoned the node: its hold has just ended"]);
});

Deno.test("drains and cordons of holds that are over are found without a cause, once in a while", async () => {
  await using world = await setUp({ sweepMs: 300_000 });
  const { keeper, hold, held, clock, cordon, drain, start, isCordoned } = world;
  await cordon("mine", [`ops/${group}`, ID, hold.since]);
  start("db");
  await drain();
  held.clear();
  await clock.pass(270_000);
  deepEqual([isCordoned("mine"), isCordoned(), keeper.drainOf(group, hold) === undefined], [true, true, false]);
  await clock.pass(60_000);
  deepEqual([isCordoned("mine"), isCordoned(), keeper.drainOf(group, hold)], [false, false, undefined]);
});

Deno.test("a node is drained, proven empty and told, and proven again without a word", async () => {
  await using world = await setUp();
  const { drain, start, messages } = world;
  start("web", 1_000);
  const outcome = await drain({}, 20_000) as DrainOutcome;
  ok(outcome.kind === "drained" && outcome.host.kind === "node");
  deepEqual(outcome.node, { name: "a", uid: "uid-a", machineId: MACHINE, bootId: "boot-1" });
  equal("staying" in outcome, false);
  const told = () => messages().filter((message) => message === "the node is drained").length;
  equal(told(), 1);
  equal((await drain({ node: { ...world.hold.node!, phase: "drained" } })).kind as string, "drained");
  equal(told(), 1);
});

Deno.test("a client that has gone while its node is proven is answered that it drains", async () => {
  await using world = await setUp();
  const gone = new AbortController();
  world.cluster.hook = (call, when) => {
    if (call === "list pods" && when === "before") gone.abort(new Error("gone"));
    gone.signal.throwIfAborted();
  };
  const node = { ...world.hold.node!, phase: "drained" as const };
  deepEqual(await world.drain({ node }, 5_000, gone.signal), { kind: "draining", node: "a", pods: [] });
});

Deno.test("a fault of a proof is thrown to a client that is still there", async () => {
  await using world = await setUp();
  world.cluster.denied.add("list pods");
  const node = { ...world.hold.node!, phase: "drained" as const };
  const outcome = await world.drain({ node }).then(() => "answered", (error: Error) => error.name);
  ok(outcome !== "answered");
});

Deno.test("a drain that goes on at its time-out names the Node as it is, or as it was noted where another host has its name", async () => {
  for (const isReplaced of [false, true]) {
    await using world = await setUp({ drainOptions: { timeoutMs: 10_000, onTimeout: "proceed" } });
    const { cluster, start, clock, keeper, hold } = world;
    start("db");
    cluster.change("a", { bootID: "boot-2" });
    const asked = keeper.drain(hold, 60_000, never);
    await clock.pass(5_000);
    cluster.hook = (call, when) => {
      if (call === "get nodes" && when === "before" && isReplaced && clock.now() >= hold.since + 9_000) {
        cluster.hook = () => {};
        cluster.put({ name: "a", uid: "uid-2", machineID: "ad432f2cb0c28bbcd1f87a20199237f9", bootID: "boot-9" });
      }
    };
    const outcome = await clock.until(asked);
    ok(outcome.kind === "drained" && outcome.host.kind === "node", outcome.kind);
    deepEqual(outcome.host.evidence.pods.map(({ name }) => name), ["db"]);
    equal(outcome.node?.bootId, isReplaced ? "boot-1" : "boot-2");
  }
});

for (
  const [what, change, expected] of [
    ["has joined as another Node", (cluster: FakeCluster) => {
      cluster.remove("a");
      cluster.put({ name: "b", uid: "uid-b", machineID: MACHINE });
    }, { kind: "moved", node: { name: "b", uid: "uid-b", machineId: MACHINE, bootId: "boot-1" } }],
    ["shares its machine-id with another", (cluster: FakeCluster) => {
      cluster.put({ name: "b", uid: "uid-b", machineID: MACHINE });
    }, { kind: "ambiguous", nodes: ["a", "b"] }],
    ["is on a Node in deletion", (cluster: FakeCluster) => {
      cluster.change("a", { deletedAt: new Date() });
    }, { kind: "draining", node: "a", reason: "its Node is being deleted" }],
  ] as const
) {
  Deno.test(`a time-out after which the reboot may go on waives pods alone: the host ${what}`, async () => {
    await using world = await setUp({ drainOptions: { timeoutMs: 10_000, onTimeout: "proceed" } });
    const { cluster, start, clock, keeper, hold } = world;
    start("db");
    const asked = keeper.drain(hold, 60_000, never);
    await clock.pass(5_000);
    change(cluster);
    const { pods: _, ...outcome } = await clock.until(asked) as Extract<DrainOutcome, { kind: "draining" }>;
    deepEqual(outcome, expected);
  });
}

Deno.test("a host that runs on another Node than the noted one is told and answered", async () => {
  await using world = await setUp();
  world.cluster.remove("a");
  world.cluster.put({ name: "b", uid: "uid-b", machineID: MACHINE });
  await world.clock.pass(1);
  const outcome = await world.drain() as DrainOutcome;
  ok(outcome.kind === "moved");
  equal(outcome.node.name, "b");
  ok(world.messages().some((message) => String(message).startsWith("the client runs on another node")));
  const first = await world.drain({ node: undefined }) as DrainOutcome;
  equal(first.kind, "moved");
  equal(world.messages().filter((message) => String(message).startsWith("the client runs on another")).length, 1);
});

Deno.test("several Nodes of a client, and a Node with a malformed machine-id, are told", async () => {
  await using world = await setUp();
  const { cluster, clock, keeper, told } = world;
  cluster.put({ name: "b", uid: "uid-b", machineID: MACHINE });
  cluster.put({ name: "c", uid: "uid-c", machineID: "not-a-machine-id" });
  await clock.pass(1);
  ok(told.some(([what, count]) => what === "malformedNodes" && count === 1));
  const before = told.length;
  deepEqual(await clock.until(keeper.look(ID)), { kind: "ambiguous", nodes: ["a", "b"] });
  ok(told.slice(before).some((what) => JSON.stringify(what).includes(ID)));
});

Deno.test("the end of the keeper answers the requests of its drains, and leaves the cordon to whoever resumes them", async () => {
  const world = await setUp();
  const { clock, keeper, hold, start, isCordoned } = world;
  start("db");
  const asked = keeper.drain(hold, 3_600_000, never);
  await clock.pass(1_000);
  await world[Symbol.asyncDispose]();
  const outcome = await clock.until(asked);
  deepEqual([outcome.kind, isCordoned()], ["draining", true]);
  equal(clock.sleepers, 0, "nothing is left over");
});

Deno.test("a skip is taken from the Node once, and no other than the one that was asked for", async () => {
  await using world = await setUp();
  const { keeper, clock, cluster } = world;
  cluster.change("a", { annotations: { [SKIP_ANNOTATION]: "freeze", other: "kept" } });
  await clock.pass(1);
  const node = { name: "a", uid: "uid-a" };
  equal(await clock.until(keeper.takeSkip(node, "window")), false);
  equal(await clock.until(keeper.takeSkip(node, "freeze")), true);
  deepEqual(cluster.nodes.get("a")?.annotations, { other: "kept" });
  equal(await clock.until(keeper.takeSkip(node, "freeze")), false);
});

Deno.test("an answer leaves no wait behind", async () => {
  await using world = await setUp();
  const node = { ...world.hold.node!, phase: "drained" as const };
  world.cluster.kubectl("cordon", "a");
  await world.clock.pass(1);
  const before = world.clock.sleepers;
  equal((await world.drain({ node }, 50_000)).kind as string, "drained");
  equal(world.clock.sleepers, before);
});

Deno.test("what the policies may know of the nodes comes from the keeper's watch", async () => {
  await using world = await setUp();
  equal(world.keeper.view.peek("a")?.uid, "uid-a");
  deepEqual(world.keeper.view.peekById(ID).map(({ name }) => name), ["a"]);
  const seen: string[] = [];
  await using listening = await setUp({ nodeChanged: ({ name }) => seen.push(name) });
  listening.cluster.put({ name: "b", uid: "uid-b" });
  await listening.clock.pass(1);
  deepEqual(seen, ["a", "b"]);
});
