/** The watch that keeps one drain's queue up to date, on scripted events. @module */

import { deepEqual, equal } from "node:assert/strict";
import { DrainMemory } from "../../../src/keeper/drain/drain_memory.ts";
import { EvictionQueue } from "../../../src/keeper/drain/eviction_queue.ts";
import { type PodView, viewPod } from "../../../src/keeper/drain/pods.ts";
import { PodsOnNode } from "../../../src/keeper/drain/pods_on_node.ts";
import type { ResourceWatcher } from "../../../src/kubernetes/watch.ts";
import { pod } from "../../support/cluster_objects.ts";

const GRANTED_AT = Date.UTC(2026, 0, 1);

function view(name: string, change: Partial<PodView> = {}): PodView {
  const claims = [{ namespace: "shop", name }];
  return { ...viewPod(pod({ name, namespace: "shop" })), uid: name, claims, ...change };
}

/** A watch whose events the test makes. */
function setUp() {
  const told: string[] = [];
  const stop = new AbortController();
  const facts = () => ({ noted: { name: "n", uid: "n1" }, grantedAt: GRANTED_AT, now: GRANTED_AT });
  const queue = new EvictionQueue({ policy: {}, memory: new DrainMemory(), random: () => 0.5, facts });
  let watcher: ResourceWatcher<PodView>;
  let signal: AbortSignal;
  const ended = Promise.withResolvers<void>();
  const pods = new PodsOnNode({
    node: "n",
    calls: {
      watchPods: (node, given, until) => {
        equal(node, "n");
        [watcher, signal] = [given, until];
        return ended.promise;
      },
    },
    queue,
    policy: {},
    signal: stop.signal,
    changed: () => told.push(`changed: ${pods.visibility}, ${queue.size} left`),
    lost: (error) => told.push(`lost ${error}`),
  });
  return { pods, queue, told, stop, watcher: watcher!, signal: signal!, end: ended.resolve };
}

Deno.test("the queue is told of each list, change, deletion and loss, and the drain after it", () => {
  const { pods, watcher, told } = setUp();
  equal(pods.visibility, "listing");
  watcher.synced([view("a")], "1");
  watcher.changed("ADDED", view("b"));
  watcher.changed("MODIFIED", view("b", { finished: true }));
  watcher.lost("gone");
  equal(pods.lostBy, "gone");
  watcher.synced([view("a"), view("c")], "2");
  watcher.changed("DELETED", view("c"));
  deepEqual(told, [
    "changed: synced, 1 left",
    "changed: synced, 2 left",
    "changed: synced, 1 left",
    "lost gone",
    "changed: lost, 1 left",
    "changed: synced, 2 left",
    "changed: synced, 1 left",
  ]);
});

Deno.test("a node whose list shows nothing to wait for is not watched, another one is", () => {
  const busy = setUp();
  busy.watcher.synced([view("a")], "1");
  equal(busy.signal.aborted, false);
  const empty = setUp();
  empty.watcher.synced([view("a", { controller: "DaemonSet" })], "1");
  equal(empty.signal.aborted, true);
  deepEqual(empty.told, ["changed: synced, 0 left"]);
});

Deno.test("the claims are those of the pods that keep using their volumes, as of the last list", () => {
  const { pods, watcher } = setUp();
  deepEqual(pods.claims, []);
  const late = { createdAt: GRANTED_AT + 1_000, toleratesCordon: true };
  watcher.synced([
    view("daemon", { controller: "DaemonSet" }),
    view("evicted"),
    view("finished", { finished: true }),
    view("late", late),
  ], "1");
  deepEqual(pods.claims.map(({ name }) => name), ["daemon", "late"]);
});

Deno.test("the watch ends with the drain's signal, or when it is disposed of, which waits for its end", async () => {
  const stopped = setUp();
  stopped.stop.abort();
  equal(stopped.signal.aborted, true);
  const { pods, signal, end } = setUp();
  let isOver = false;
  const over = pods[Symbol.asyncDispose]().then(() => isOver = true);
  equal(signal.aborted, true);
  await new Promise((resolve) => setTimeout(resolve, 0));
  equal(isOver, false);
  end();
  await over;
});
