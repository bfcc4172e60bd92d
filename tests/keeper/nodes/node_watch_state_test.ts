/** What the watch of the Nodes knows and tells, and the wait for it, whatever way it lists. @module */

import { deepEqual, equal } from "node:assert/strict";
import type { NodeCalls } from "../../../src/keeper/nodes/node_calls.ts";
import { NodeWatch } from "../../../src/keeper/nodes/node_watch.ts";
import { type NodeView, viewNode } from "../../../src/keeper/nodes/node.ts";
import type { ResourceWatcher } from "../../../src/kubernetes/watch.ts";
import { parseClientId } from "../../../src/lock/identity.ts";
import { FakeClock } from "../../support/fake_clock.ts";

const ALICE = parseClientId("alice")!;
const BOB = parseClientId("bob")!;
const never = new AbortController().signal;

function view(name: string, version: number, change: Partial<NodeView> = {}): NodeView {
  const node = viewNode({ metadata: { name, uid: `uid of ${name}`, resourceVersion: `${version}` } });
  return { ...node, ids: [ALICE], ready: "True", ...change };
}

/** A watch whose events the test makes. */
function setUp() {
  const clock = new FakeClock();
  const stop = new AbortController();
  const told: string[] = [];
  let watcher: ResourceWatcher<NodeView>;
  const ended = Promise.withResolvers<void>();
  const calls: Pick<NodeCalls, "watchNodes" | "listNodes" | "listVersions"> = {
    watchNodes: (given) => {
      watcher = given;
      return ended.promise;
    },
    listNodes: (keep) => Promise.resolve([...watch.nodes].filter(keep)),
    listVersions: () => Promise.resolve({ items: [...watch.nodes], version: `${watch.moment}` }),
  };
  const watch: NodeWatch = new NodeWatch(calls as NodeCalls, {
    malformed: (name) => told.push(`malformed ${name}`),
    shared: (id, names) => told.push(`shared ${id} ${names.join(" ")}`),
    synced: () => told.push("synced"),
    lost: (error) => told.push(`lost ${error}`),
  }, { clock });
  const run = watch.run(stop.signal);
  return { clock, told, watch, watcher: watcher!, run, end: () => ended.resolve() };
}

/** Waits for a condition, and tells what has come of it so far. */
function waitFor(watch: NodeWatch, condition: () => boolean, ms: number, signal = never) {
  let reached: boolean | undefined;
  watch.until(condition, ms, signal).then((value) => reached = value);
  return () => reached;
}

Deno.test("a watch is in step from its first list until it is lost or ends", async () => {
  const { watch, watcher, told, run, end } = setUp();
  equal(watch.isSynced, false);
  watcher.synced([], "5");
  equal(watch.isSynced, true);
  watcher.lost("gone");
  equal(watch.isSynced, false);
  watcher.synced([], "6");
  end();
  await run;
  equal(watch.isSynced, false);
  deepEqual(told, ["synced", "lost gone", "synced"]);
});

Deno.test("a condition that is met at once ends its wait at once", async () => {
  const { watch, watcher, clock } = setUp();
  watcher.synced([], "5");
  const reached = waitFor(watch, () => true, 60_000);
  await clock.advance(0);
  deepEqual([reached(), clock.sleepers], [true, 0]);
});

Deno.test("a wait ends with the change, the deletion or the list that meets its condition, not with others", async () => {
  const { watch, watcher, clock } = setUp();
  watcher.synced([view("a", 5)], "5");
  const booted = waitFor(watch, () => watch.peek("a")?.bootId === "2", 60_000);
  const gone = waitFor(watch, () => watch.peek("a") === undefined, 60_000);
  const listed = waitFor(watch, () => watch.peek("b") !== undefined, 60_000);
  watcher.changed("MODIFIED", view("a", 6));
  await clock.advance(0);
  deepEqual([booted(), gone(), listed(), clock.sleepers], [undefined, undefined, undefined, 3]);
  watcher.changed("MODIFIED", view("a", 7, { bootId: "2" }));
  await clock.advance(0);
  deepEqual([booted(), gone(), listed()], [true, undefined, undefined]);
  watch.forget(watch.peek("a"));
  await clock.advance(0);
  deepEqual([gone(), listed()], [true, undefined]);
  watcher.synced([view("b", 9)], "9");
  await clock.advance(0);
  deepEqual([listed(), clock.sleepers], [true, 0]);
});

Deno.test("while the watch is behind nothing meets a condition, and the next list may", async () => {
  const { watch, watcher, clock } = setUp();
  const reached = waitFor(watch, () => true, 60_000);
  await clock.advance(59_000);
  equal(reached(), undefined);
  watcher.synced([], "5");
  await clock.advance(0);
  equal(reached(), true);
});

Deno.test("a wait ends in vain when its time is over, or at an abort, and is not asked again", async () => {
  const { watch, watcher, clock } = setUp();
  watcher.synced([], "5");
  const stop = new AbortController();
  let asked = 0;
  const condition = () => ++asked < 0;
  const [late, aborted] = [waitFor(watch, condition, 1_000), waitFor(watch, condition, 60_000, stop.signal)];
  await clock.advance(999);
  deepEqual([late(), aborted(), asked], [undefined, undefined, 2]);
  await clock.advance(1);
  equal(late(), false);
  stop.abort();
  await clock.advance(0);
  deepEqual([aborted(), clock.sleepers], [false, 0]);
  watcher.changed("ADDED", view("a", 6));
  equal(asked, 2);
});

Deno.test("only a newer state of the very Node that the watch shows is learned", () => {
  const { watch, watcher } = setUp();
  watcher.synced([view("a", 5, { bootId: "1" })], "5");
  watch.learn(view("a", 4, { bootId: "older" }));
  watch.learn(view("a", 6, { bootId: "later", uid: "another" }));
  watch.learn(view("b", 6));
  deepEqual([watch.peek("a")?.bootId, watch.peek("b")], ["1", undefined]);
  watch.learn(view("a", 6, { bootId: "2" }));
  equal(watch.peek("a")?.bootId, "2");
});

Deno.test("a node is found by its ids as they are now", () => {
  const { watch, watcher } = setUp();
  const names = (id: typeof ALICE) => watch.peekById(id).map(({ name }) => name);
  watcher.synced([view("a", 5), view("b", 5, { ids: [BOB] })], "5");
  deepEqual([names(ALICE), names(BOB)], [["a"], ["b"]]);
  watcher.changed("MODIFIED", view("a", 6, { ids: [BOB] }));
  deepEqual([names(ALICE), names(BOB).sort()], [[], ["a", "b"]]);
  watcher.changed("DELETED", view("b", 7, { ids: [BOB] }));
  deepEqual(names(BOB), ["a"]);
  watch.forget(watch.peek("a"));
  watch.forget(undefined);
  watch.forget(view("unknown", 9));
  watcher.changed("DELETED", view("unknown", 9));
  deepEqual([names(BOB), [...watch.nodes]], [[], []]);
});

Deno.test("a node that does not count is not among a client's nodes, seen or listed", async () => {
  const { watch, watcher } = setUp();
  const names = async () => (await watch.byId(ALICE, "uid of a")).nodes.map(({ name }) => name);
  watcher.synced([view("a", 5), view("b", 5)], "5");
  deepEqual(await names(), ["b"]);
  watcher.synced([view("a", 6)], "6");
  deepEqual(await names(), []);
  watcher.lost("gone");
  deepEqual(await names(), []);
});

Deno.test("a malformed node is counted while it is so, and told once until it is gone", () => {
  const { watch, watcher, told } = setUp();
  watcher.synced([view("a", 5, { malformed: true }), view("b", 5, { ids: [BOB] })], "5");
  watcher.changed("MODIFIED", view("a", 6, { malformed: true }));
  equal(watch.malformed, 1);
  deepEqual(told, ["malformed a", "synced"]);
  watcher.changed("DELETED", view("a", 7, { malformed: true }));
  equal(watch.malformed, 0);
  watcher.changed("ADDED", view("a", 8, { malformed: true }));
  deepEqual(told, ["malformed a", "synced", "malformed a"]);
});

Deno.test("nodes that share an id are told by their sorted names, again only after a thousand other sets", () => {
  const { watcher, told } = setUp();
  watcher.synced([view("b", 5)], "5");
  watcher.changed("ADDED", view("a", 6));
  deepEqual(told, ["synced", "shared alice a b"]);
  for (let n = 0; n < 999; n++) {
    watcher.changed("ADDED", view(`x${n}`, 7, { ids: [BOB] }));
    watcher.changed("MODIFIED", view(`x${n}`, 8, { ids: [ALICE] }));
    watcher.changed("DELETED", view(`x${n}`, 9));
  }
  equal(told.length, 1_001);
  watcher.changed("MODIFIED", view("a", 10));
  equal(told.length, 1_001);
  watcher.changed("ADDED", view("y", 11));
  watcher.changed("DELETED", view("y", 12));
  watcher.changed("MODIFIED", view("a", 13));
  deepEqual(told.slice(1_001), ["shared alice a b y", "shared alice a b"]);
});

Deno.test("how long a node has not been ready is of that very Node, and forgotten with it", async () => {
  const { watch, watcher, clock } = setUp();
  const dead = view("a", 5, { ready: "Unknown" });
  watcher.synced([dead], "5");
  await clock.advance(60_000);
  watcher.changed("MODIFIED", { ...dead, resourceVersion: "6" });
  await clock.advance(60_000);
  equal(watch.isGhost(dead), true);
  const later = { ...dead, uid: "later", resourceVersion: "7" };
  watcher.changed("MODIFIED", later);
  deepEqual([watch.isGhost(dead), watch.isGhost(later)], [false, false]);
  await clock.advance(120_000);
  equal(watch.isGhost(later), true);
  watch.forget(watch.peek("a"));
  equal(watch.isGhost(later), false);
});
