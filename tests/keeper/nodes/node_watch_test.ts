/** The watch of the Nodes, on scripted events. What needs a real API server is in tests/cluster. @module */

import { deepEqual, equal, ok } from "node:assert/strict";
import type { NodeCalls } from "../../../src/keeper/nodes/node_calls.ts";
import { NodeWatch } from "../../../src/keeper/nodes/node_watch.ts";
import { type NodeView, viewNode } from "../../../src/keeper/nodes/node.ts";
import type { ResourceWatcher } from "../../../src/kubernetes/watch.ts";
import { parseClientId } from "../../../src/lock/identity.ts";

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
function setUp(nodes: () => NodeView[] = () => []) {
  const watcher = Promise.withResolvers<ResourceWatcher<NodeView>>();
  let lists = 0;
  const calls: Pick<NodeCalls, "watchNodes" | "listNodes" | "getNode"> = {
    watchNodes: (given) => {
      watcher.resolve(given);
      return new Promise(() => {});
    },
    listNodes: () => {
      lists++;
      return Promise.resolve(nodes());
    },
    getNode: (name) => Promise.resolve(nodes().find((node) => node.name === name)),
  };
  const changed: string[] = [];
  const watch = new NodeWatch(calls as NodeCalls, { changed: (node) => changed.push(node.name) });
  watch.run(new AbortController().signal);
  return { watch, watcher: watcher.promise, changed, lists: () => lists };
}

const names = (nodes: Iterable<NodeView>) => [...nodes].map(({ name }) => name);

Deno.test("a client's node is found without a call; that there is none is read, once for simultaneous requests", async () => {
  let there: NodeView[] = [];
  const { watch, watcher, lists } = setUp(() => there);
  (await watcher).synced([view("a", 5)], "5");
  deepEqual(names(await watch.byId(ALICE)), ["a"]);
  equal(lists(), 0);
  (await watcher).changed("DELETED", view("a", 6));
  there = [view("b", 7)];
  const found = await Promise.all([watch.byId(ALICE), watch.byId(ALICE), watch.byId(BOB)]);
  deepEqual(found.map(names), [["b"], ["b"], []]);
  equal(lists(), 1);
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
