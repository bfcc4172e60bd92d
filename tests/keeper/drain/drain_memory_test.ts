/** What a process remembers of a hold's drain. How the queue uses it is in eviction_queue_test.ts. @module */

import { deepEqual, equal } from "node:assert/strict";
import { DrainMemory } from "../../../src/keeper/drain/drain_memory.ts";
import { viewPod } from "../../../src/keeper/drain/pods.ts";
import { pod } from "../../support/cluster_objects.ts";

const TIME = Date.UTC(2026, 0, 1);
const view = (uid: string) => ({ ...viewPod(pod({ name: uid, namespace: "shop" })), uid, controllerUid: "c" });

Deno.test("a controller counts as exhausted from two seconds before its third eviction began, by the API server's clock", () => {
  const memory = new DrainMemory();
  const evict = (uid: string, time: number | undefined) => {
    memory.evicted(view(uid), { isSure: true, isLate: true, beganAt: 70_000, answeredAt: 70_500, time });
  };
  evict("1", TIME);
  evict("2", TIME);
  deepEqual([memory.exhausted.size, memory.isEndless("c")], [0, false]);
  evict("3", undefined);
  // Without the time nothing can be said of pods that come later.
  deepEqual([memory.exhausted.size, memory.isEndless("c")], [0, true]);
  evict("4", TIME);
  deepEqual([...memory.exhausted], [["c", TIME - 500 - 2_000]]);
  evict("5", TIME + 60_000);
  deepEqual([...memory.exhausted], [["c", TIME - 2_500]]);
});

Deno.test("an eviction that may have taken effect counts once, and gives way to one of the same pod that did", () => {
  const memory = new DrainMemory();
  const evict = (uid: string, isSure: boolean, time = TIME) => {
    memory.evicted(view(uid), { isSure, isLate: true, beganAt: 0, answeredAt: 0, time });
  };
  for (const isSure of [false, false, true, false]) evict("1", isSure);
  evict("2", false);
  equal(memory.isEndless("c"), false);
  evict("3", false);
  deepEqual([memory.isEndless("c"), memory.exhausted.get("c")], [true, TIME - 2_000]);
  // A further try of which nobody knows tells nothing new.
  evict("3", false, TIME + 30_000);
  deepEqual([...memory.exhausted], [["c", TIME - 2_000]]);
  // What was put back before this one was accepted has been put back only twice.
  evict("3", true, TIME + 60_000);
  evict("3", true, TIME + 90_000);
  evict("4", true, TIME + 90_000);
  deepEqual([...memory.exhausted], [["c", TIME + 58_000]]);
});

Deno.test("an eviction that turns out to have had no effect comes after those that had, and only then counts", () => {
  const evicted = (...evictions: [uid: string, isSure: boolean, time: number][]) => {
    const memory = new DrainMemory();
    for (const [uid, isSure, time] of evictions) {
      memory.evicted(view(uid), { isSure, isLate: true, beganAt: 0, answeredAt: 0, time });
    }
    return memory.exhausted.get("c")! + 2_000 - TIME;
  };
  // The third was accepted before it: what has been put back since then was put back three times.
  equal(evicted(["1", true, TIME], ["2", true, TIME], ["3", true, TIME + 7], ["4", false, TIME + 20]), 7);
  const again: [string, boolean, number] = ["4", true, TIME + 60];
  equal(evicted(["1", true, TIME], ["2", true, TIME], ["3", true, TIME + 7], ["4", false, TIME + 20], again), 7);
  // Of these three, only two were accepted before it.
  equal(evicted(["1", true, TIME], ["4", false, TIME + 5], ["3", true, TIME + 7]), 7);
  equal(evicted(["1", true, TIME], ["4", false, TIME + 5], ["3", true, TIME + 7], again), 60);
});

Deno.test("only evictions of pods that came late count, and each further one is paced", () => {
  const memory = new DrainMemory();
  const evict = (uid: string, isLate: boolean) => {
    memory.evicted(view(uid), { isSure: true, isLate, beganAt: 0, answeredAt: 10_000, time: TIME });
    return memory.notBefore("c") - 10_000;
  };
  equal(memory.notBefore("c"), -Infinity);
  deepEqual([evict("1", false), evict("2", false), evict("3", false)], [1_000, 1_000, 1_000]);
  deepEqual([evict("4", true), evict("5", true), evict("6", true)], [2_000, 4_000, 4_000]);
  equal(memory.notBefore("another"), -Infinity);
});

Deno.test("a Node is remembered as neither cordoned nor emptied, and a pod is late only beside a first list without it", () => {
  const node = new DrainMemory();
  deepEqual([node.wasCordoned, node.wasEmptied, node.cordonedAgain], [false, false, 0]);
  const old = { ...view("a"), createdAt: TIME - 1_000 };
  equal(node.isLate(old, TIME), false);
  node.listed([view("b")]);
  equal(node.isLate(old, TIME), true);
  node.listed([view("a")]);
  equal(node.isLate(old, TIME), true);
  equal(node.isLate({ ...view("b"), createdAt: TIME + 1_000 }, TIME), true);
});
