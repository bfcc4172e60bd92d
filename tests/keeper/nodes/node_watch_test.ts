/**
 * The watch of the Nodes, on scripted events. What it knows and tells of each is in node_watch_state_test.ts, and what
 * it reads in fresh_nodes_test.ts. What needs a real API server is in tests/cluster.
 *
 * @module
 */

import { deepEqual, equal, ok, rejects } from "node:assert/strict";
import type { NodeCalls } from "../../../src/keeper/nodes/node_calls.ts";
import { NodeWatch } from "../../../src/keeper/nodes/node_watch.ts";
import { type NodeView, viewNode } from "../../../src/keeper/nodes/node.ts";
import type { ResourceWatcher } from "../../../src/kubernetes/watch.ts";
import { parseClientId } from "../../../src/lock/identity.ts";
import { until } from "../../support/condition.ts";
import { FakeClock } from "../../support/fake_clock.ts";

const ALICE = parseClientId("alice")!;
const BOB = parseClientId("bob")!;

function view(name: string, version: number, change: Partial<NodeView> = {}): NodeView {
  return {
    ...viewNode({ metadata: { name, uid: `uid of ${name}`, resourceVersion: `${version}` } }),
    ids: [ALICE],
    ...change,
  };
}

/** A watch whose events the test makes, and calls that are counted. */
function setUp(nodes: () => NodeView[] | Promise<NodeView[]> = () => [], clock = new FakeClock()) {
  const watcher = Promise.withResolvers<ResourceWatcher<NodeView>>();
  let lists = 0;
  const calls: Pick<NodeCalls, "watchNodes" | "listNodes" | "listVersions" | "nodeAt"> = {
    watchNodes: (given) => {
      watcher.resolve(given);
      return new Promise(() => {});
    },
    listNodes: async (keep) => {
      lists++;
      return (await nodes()).filter(keep);
    },
    listVersions: async () => {
      lists++;
      return { items: [...await nodes()], version: "1000" };
    },
    nodeAt: async (name, version) => {
      equal(version, "1000");
      return (await nodes()).find((node) => node.name === name);
    },
  };
  const changed: string[] = [];
  const shared: string[] = [];
  const watch = new NodeWatch(calls as NodeCalls, {
    changed: (node) => changed.push(node.name),
    shared: (_id, names) => shared.push(names.join(" ")),
  }, { clock });
  watch.run(new AbortController().signal);
  return { watch, watcher: watcher.promise, changed, shared, clock, lists: () => lists };
}

const names = (nodes: Iterable<NodeView>) => [...nodes].map(({ name }) => name);

Deno.test("a client's node is found without a call; that there is none is read, once for simultaneous requests", async () => {
  let there: NodeView[] = [];
  const { watch, watcher, lists } = setUp(() => there);
  (await watcher).synced([view("a", 5)], "5");
  deepEqual(names((await watch.byId(ALICE)).nodes), ["a"]);
  equal(lists(), 0);
  (await watcher).changed("DELETED", view("a", 6));
  there = [view("b", 7)];
  const found = await Promise.all([watch.byId(ALICE), watch.byId(ALICE), watch.byId(BOB)]);
  deepEqual(found.map(({ nodes }) => names(nodes)), [["b"], ["b"], []]);
  equal(lists(), 1);
});

Deno.test("a bookmark shows up to where the watch has told everything, and wakes whoever waits for that", async () => {
  const { watch, watcher } = setUp();
  (await watcher).synced([view("a", 5)], "5");
  const reached = watch.until(() => watch.moment >= 90n, 1_000, new AbortController().signal);
  (await watcher).reached?.("90");
  equal(await reached, true);
  (await watcher).changed("MODIFIED", view("a", 7));
  equal(watch.moment, 90n, "an older change takes nothing back");
});

Deno.test("a watch that ends while somebody waits for its start ends that wait", async () => {
  const clock = new FakeClock();
  const stop = new AbortController();
  const calls: Pick<NodeCalls, "watchNodes"> = {
    watchNodes: (_, signal) => new Promise((resolve) => signal.addEventListener("abort", () => resolve())),
  };
  const watch = new NodeWatch(calls as NodeCalls, {}, { clock });
  const running = watch.run(stop.signal);
  let isOver = false;
  const started = watch.started().then(() => isOver = true);
  await clock.advance(0);
  equal(isOver, false);
  stop.abort();
  await Promise.all([running, started]);
  deepEqual([clock.passed, clock.sleepers], [0, 0]);
});

Deno.test("a list shows up to its version; one without a version shows up to none", async () => {
  const { watch, watcher } = setUp();
  equal(watch.moment, 0n);
  (await watcher).synced([], "7");
  equal(watch.moment, 7n);
  (await watcher).synced([], "");
  equal(watch.moment, 0n);
});

Deno.test("a node that the watch tells of again is taken with what is known of it", async () => {
  const known = Promise.withResolvers<ReadonlyMap<string, NodeView>>();
  let watcher: ResourceWatcher<NodeView>;
  const calls: Pick<NodeCalls, "watchNodes"> = {
    watchNodes: (given, _, seen) => {
      watcher = given;
      known.resolve(seen);
      return new Promise(() => {});
    },
  };
  const watch = new NodeWatch(calls as NodeCalls, {}, { clock: new FakeClock() });
  watch.run(new AbortController().signal);
  const node = view("a", 5);
  watcher!.synced([node], "5");
  deepEqual([...await known.promise], [["a", node]]);
});

Deno.test("nobody needs to listen to what a watch tells", () => {
  let watcher: ResourceWatcher<NodeView>;
  const calls: Pick<NodeCalls, "watchNodes"> = {
    watchNodes: (given) => {
      watcher = given;
      return new Promise(() => {});
    },
  };
  const watch = new NodeWatch(calls as NodeCalls, {}, { clock: new FakeClock() });
  watch.run(new AbortController().signal);
  watcher!.synced([view("a", 5, { malformed: true }), view("b", 5)], "5");
  watcher!.changed("MODIFIED", view("a", 6));
  watcher!.lost(new Error("away"));
  deepEqual(names(watch.nodes).sort(), ["a", "b"]);
});

Deno.test("an older state and the deletion of an earlier node of the same name change nothing", async () => {
  const { watch, watcher, changed } = setUp();
  (await watcher).synced([view("a", 5)], "5");
  watch.learn(view("a", 9, { bootId: "new" }));
  (await watcher).changed("MODIFIED", view("a", 8, { bootId: "old" }));
  equal(watch.peek("a")?.bootId, "new");
  (await watcher).changed("DELETED", view("a", 7, { uid: "earlier" }));
  ok(watch.peek("a") !== undefined);
  deepEqual(changed, ["a"]);
});

Deno.test("a new list removes the nodes that it lacks and adds those that it has", async () => {
  const { watch, watcher } = setUp();
  (await watcher).synced([view("a", 5), view("b", 4)], "5");
  (await watcher).lost("gone");
  equal(watch.isSynced, false);
  (await watcher).synced([view("b", 4), view("c", 8)], "8");
  deepEqual(names(watch.nodes), ["b", "c"]);
});

Deno.test("what was seen before a cluster was restored from a backup is forgotten", async () => {
  const { watch, watcher } = setUp();
  (await watcher).synced([view("a", 5, { bootId: "before" })], "5");
  (await watcher).changed("MODIFIED", view("a", 8, { bootId: "after" }));
  (await watcher).changed("ADDED", view("b", 9));
  (await watcher).synced([view("a", 5, { bootId: "before" })], "6");
  deepEqual([...watch.nodes].map(({ name, bootId }) => [name, bootId]), [["a", "before"]]);
  (await watcher).changed("MODIFIED", view("a", 7, { bootId: "again" }));
  equal(watch.peek("a")?.bootId, "again");
});

Deno.test("a list after a restore shows the truth, although the cluster's version has passed the one seen before", async () => {
  const { watch, watcher, changed } = setUp();
  (await watcher).synced([view("a", 5, { bootId: "before" })], "5");
  (await watcher).changed("MODIFIED", view("a", 8, { bootId: "after" }));
  (await watcher).synced([view("a", 5, { bootId: "before" })], "200");
  equal(watch.peek("a")?.bootId, "before");
  deepEqual(changed, ["a", "a", "a"]);
  // One of our own calls has shown a state that is later than the list.
  watch.learn(view("a", 210, { bootId: "learned" }));
  (await watcher).synced([view("a", 205, { bootId: "listed" })], "209");
  equal(watch.peek("a")?.bootId, "learned");
});

Deno.test("a request shares a listing only if it came before the listing began", async () => {
  const answers: PromiseWithResolvers<NodeView[]>[] = [];
  const { watch, watcher, lists, clock } = setUp(() => {
    answers.push(Promise.withResolvers());
    return answers.at(-1)!.promise;
  });
  (await watcher).lost("gone");
  const early = watch.byId(ALICE);
  await until(() => lists() === 1);
  // The node joins now, so the listing that runs need not show it.
  const late = [watch.byId(ALICE), watch.byId(ALICE)];
  await clock.advance(0);
  equal(lists(), 1);
  answers[0]!.resolve([]);
  deepEqual((await early).nodes, []);
  await until(() => lists() === 2);
  answers[1]!.resolve([view("a", 5)]);
  deepEqual((await Promise.all(late)).map(({ nodes }) => names(nodes)), [["a"], ["a"]]);
  equal(lists(), 2);
});

Deno.test("a listing that fails does not keep the next one from beginning", async () => {
  let fails = true;
  const { watch, watcher } = setUp(() => fails ? Promise.reject(new Error("away")) : [view("a", 5)]);
  (await watcher).lost("gone");
  await rejects(watch.byId(ALICE), /away/);
  fails = false;
  deepEqual(names((await watch.byId(ALICE)).nodes), ["a"]);
});

Deno.test("nodes that share an id are told as soon as they are seen, once for each set", async () => {
  const { watcher, shared } = setUp();
  const watch = await watcher;
  watch.synced([view("a", 5), view("b", 6, { ids: [BOB] })], "6");
  deepEqual(shared, []);
  watch.changed("MODIFIED", view("b", 7, { ids: [ALICE, BOB] }));
  watch.changed("MODIFIED", view("b", 8, { ids: [ALICE, BOB] }));
  deepEqual(shared, ["a b"]);
  watch.changed("ADDED", view("c", 9));
  deepEqual(shared, ["a b", "a b c"]);
});

Deno.test("a node counts as a ghost once it has been seen not ready for two minutes without interruption", async () => {
  const { watch, watcher, clock } = setUp();
  const dead = view("a", 5, { ready: "Unknown" });
  const synced = (...nodes: NodeView[]) => watcher.then((it) => it.synced(nodes, "9"));
  await synced(dead);
  await clock.advance(119_999);
  equal(watch.isGhost(dead), false);
  await clock.advance(1);
  equal(watch.isGhost(dead), true);
  // A read shows more than the watch.
  equal(watch.isGhost({ ...dead, ready: "True" }), false);
  equal(watch.isGhost({ ...dead, uid: "another" }), false);
  (await watcher).lost("gone");
  await synced(dead);
  equal(watch.isGhost(dead), false);
  await clock.advance(120_000);
  equal(watch.isGhost(dead), true);
  (await watcher).changed("MODIFIED", view("a", 10, { ready: "True" }));
  (await watcher).changed("MODIFIED", view("a", 11, { ready: "Unknown" }));
  equal(watch.isGhost(dead), false);
});

Deno.test("a change that makes a difference to who counts nodes begins another edition, and a heartbeat does not", async () => {
  const { watch, watcher } = setUp();
  const labels = { tier: "web" };
  let version = 5;
  (await watcher).synced([view("a", version, { labels })], "5");
  let edition = watch.edition;
  const differs = async (change: Partial<NodeView>) => {
    (await watcher).changed("MODIFIED", view("a", ++version, { labels, ...change }));
    const before = edition;
    edition = watch.edition;
    return edition > before;
  };
  equal(await differs({ bootId: "another" }), false);
  for (
    const change of [{ ready: "False" }, { unschedulable: true }, { cordon: "{}" }, { hold: "x" }, { skip: "all" }]
  ) {
    equal(await differs(change), true, JSON.stringify(change));
    equal(await differs(change), false, JSON.stringify(change));
  }
  equal(await differs({ labels: { tier: "db" } }), true);
  (await watcher).changed("DELETED", view("a", ++version));
  equal(watch.edition > edition, true);
});

for (
  const [what, act, endsAt] of [
    ["it is in step", (watcher) => watcher.synced([], "1"), 10_000],
    ["it has failed", (watcher) => watcher.lost(new Error("away")), 10_000],
    ["30 s have passed", () => {}, 30_000],
  ] as [string, (watcher: ResourceWatcher<NodeView>) => void, number][]
) {
  Deno.test(`a request waits for a watch that has just begun until ${what}`, async () => {
    const clock = new FakeClock();
    const stop = new AbortController();
    let watcher: ResourceWatcher<NodeView>;
    const calls: Pick<NodeCalls, "watchNodes"> = {
      watchNodes: (given) => {
        watcher = given;
        return new Promise((resolve) => stop.signal.addEventListener("abort", () => resolve(), { once: true }));
      },
    };
    const watch = new NodeWatch(calls as NodeCalls, {}, { clock });
    // Nothing is waited for before.
    await watch.started();
    const running = watch.run(stop.signal);
    let endedAt: number | undefined;
    const started = watch.started().then(() => endedAt = clock.passed);
    for (const ms of [9_999, 1]) await clock.advance(ms);
    equal(endedAt, undefined);
    act(watcher!);
    for (const ms of [0, 19_999, 1]) await clock.advance(ms);
    await started;
    deepEqual([endedAt, clock.sleepers], [endsAt, 0]);
    stop.abort();
    await running;
    // Nor after its end.
    await watch.started();
  });
}

Deno.test("the nodes with our annotation are those that show it now, whoever told of it", async () => {
  const { watch, watcher } = setUp();
  const { synced, changed } = await watcher;
  synced([view("a", 5, { cordon: "{}" }), view("b", 5), view("c", 5, { cordon: "not JSON" })], "5");
  deepEqual(names(watch.marked), ["a", "c"]);
  changed("MODIFIED", view("a", 6));
  changed("MODIFIED", view("b", 7, { cordon: "{}" }));
  changed("DELETED", view("c", 8));
  deepEqual(names(watch.marked), ["b"]);
  watch.learn(view("a", 9, { cordon: "{}" }));
  watch.forget(view("b", 7));
  deepEqual(names(watch.marked), ["a"]);
  synced([], "10");
  deepEqual(names(watch.marked), []);
});
