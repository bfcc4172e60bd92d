import { deepEqual, equal, match, ok } from "node:assert/strict";
import fc from "fast-check";
import { EvictionQueue } from "../../../src/keeper/drain/eviction_queue.ts";
import { type PodPolicy, type PodView, viewPod } from "../../../src/keeper/drain/pods.ts";
import { pod } from "../../support/cluster_objects.ts";

function view(name: string, change: Partial<PodView> = {}): PodView {
  return { ...viewPod(pod({ name, namespace: "shop" })), uid: name, ...change };
}

/** A queue whose pauses are as long as they can be. */
const queueOf = (policy: PodPolicy = {}) => new EvictionQueue(policy, () => 1);

const blocked = (budget = "web", retryAfterMs?: number) =>
  ({ kind: "blocked", budget, reason: `budget ${budget}`, retryAfterMs }) as const;

/** Begins the pod whose turn it is. */
function begin(queue: EvictionQueue, now: number): PodView | undefined {
  const pod = queue.due(now);
  if (pod !== undefined) queue.began(pod);
  return pod;
}

/** Begins all pods that may be tried now. */
function drainNow(queue: EvictionQueue, now: number): PodView[] {
  const pods: PodView[] = [];
  for (let next = begin(queue, now); next !== undefined; next = begin(queue, now)) pods.push(next);
  return pods;
}

Deno.test("each pod is tried once, at once, and stays in the queue until its UID is gone", () => {
  const queue = queueOf();
  queue.listed([view("a"), view("b"), view("c", { finished: true })]);
  const pods = drainNow(queue, 0);
  deepEqual(pods.map(({ name }) => name), ["a", "b"]);
  for (const one of pods) queue.answered(one, { kind: "accepted" }, 0);
  equal(queue.size, 2);
  queue.gone("c");
  queue.gone("a");
  queue.listed([view("b", { terminating: true })]);
  equal(queue.size, 1);
  queue.listed([view("b", { uid: "another", finished: true })]);
  equal(queue.size, 0);
});

Deno.test("pods behind one budget take turns, one try for each pause, and follow at once when the budget lets one go", () => {
  const queue = queueOf();
  queue.listed(["a", "b", "c"].map((name) => view(name)));
  for (const one of drainNow(queue, 0)) queue.answered(one, blocked(), 0);
  equal(queue.blocked, 3);
  deepEqual(drainNow(queue, 999), []);
  equal(queue.nextAt(), 1_000);
  const tried: string[] = [];
  for (let now = 1_000; tried.length < 6; now = queue.nextAt()!) {
    const [one, ...more] = drainNow(queue, now);
    deepEqual(more, []);
    tried.push(one!.name);
    queue.answered(one!, blocked(), now);
  }
  deepEqual(tried, ["a", "b", "c", "a", "b", "c"]);
  const now = queue.nextAt()!;
  const [one] = drainNow(queue, now);
  queue.answered(one!, { kind: "accepted" }, now);
  equal(drainNow(queue, now).length, 1);
});

Deno.test("a pod that is gone before its eviction is answered does not hold back the other pods of its budget", () => {
  const queue = queueOf();
  queue.listed([view("a"), view("b")]);
  for (const one of drainNow(queue, 0)) queue.answered(one, blocked(), 0);
  const [one] = drainNow(queue, 5_000);
  queue.gone(one!.uid);
  queue.answered(one!, { kind: "accepted" }, 5_000);
  equal(drainNow(queue, 5_000).length, 1);
});

Deno.test("the queue honours the server's Retry-After", () => {
  const queue = queueOf();
  queue.listed([view("a"), view("b")]);
  const [a, b] = drainNow(queue, 0);
  queue.answered(a!, blocked("web", 10_000), 0);
  queue.answered(b!, { kind: "failed", reason: "busy", retryAfterMs: 20_000 }, 0);
  deepEqual(drainNow(queue, 9_999), []);
  deepEqual(drainNow(queue, 10_000).map(({ name }) => name), ["a"]);
  deepEqual(drainNow(queue, 20_000).map(({ name }) => name), ["b"]);
});

Deno.test("an accepted eviction without effect is repeated, one with effect is not", () => {
  const queue = queueOf();
  queue.listed([view("a"), view("b")]);
  for (const one of drainNow(queue, 0)) queue.answered(one, { kind: "accepted" }, 0);
  queue.seen(view("a", { terminating: true }));
  deepEqual(drainNow(queue, 9_999), []);
  deepEqual(drainNow(queue, 10_000).map(({ name }) => name), ["b"]);
});

for (const kind of ["gone", "replaced"] as const) {
  Deno.test(`the answer '${kind}' to an eviction proves nothing: the pod is tried again until the watch says that it is gone`, () => {
    const queue = queueOf();
    queue.listed([view("a")]);
    const [a] = drainNow(queue, 0);
    queue.answered(a!, { kind }, 0);
    equal(queue.size, 1);
    deepEqual(drainNow(queue, 999), []);
    deepEqual(drainNow(queue, 1_000).map(({ name }) => name), ["a"]);
    queue.answered(a!, { kind }, 1_000);
    equal(queue.nextAt(), 3_000);
    queue.gone("a");
    equal(queue.size, 0);
  });
}

Deno.test("our own pod is evicted when all others are gone", () => {
  const queue = queueOf({ self: { namespace: "shop", name: "a" } });
  queue.listed([view("a"), view("b")]);
  const [b, ...others] = drainNow(queue, 0);
  deepEqual([b!.name, others], ["b", []]);
  queue.answered(b!, { kind: "accepted" }, 0);
  deepEqual(drainNow(queue, 1), []);
  match(queue.left().find(({ name }) => name === "a")!.reason, /goes last/);
  queue.gone("b");
  deepEqual(drainNow(queue, 1).map(({ name }) => name), ["a"]);
});

Deno.test("once unbound, every pod that is not terminating is tried at once", () => {
  const queue = queueOf();
  queue.listed([view("a"), view("b"), view("c", { terminating: true })]);
  for (const one of drainNow(queue, 0)) queue.answered(one, blocked(), 0);
  ok(queue.allTried);
  queue.unbind();
  deepEqual(drainNow(queue, 1).map(({ name }) => name), ["a", "b"]);
});

Deno.test("pods that something holds back are named before those that are terminating", () => {
  const queue = queueOf();
  queue.listed([view("a", { terminating: true, finalizers: ["x/y"] }), view("b"), view("c")]);
  const [b] = drainNow(queue, 0);
  queue.answered(b!, blocked(), 0);
  deepEqual(queue.left().map(({ name, reason }) => [name, reason]), [
    ["b", "budget web"],
    ["c", "its eviction has not begun"],
    ["a", "it is being deleted, and its finalizers are not done: x/y"],
  ]);
});

Deno.test("whatever the answers, every pod goes in the end and none is tried twice at a time", () => {
  const answers = fc.infiniteStream(
    fc.constantFrom("accepted", "blocked", "failed", "gone", "replaced", "several_budgets"),
  );
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 8 }), fc.integer({ min: 1, max: 4 }), answers, (count, width, kinds) => {
      const queue = queueOf();
      queue.listed(Array.from({ length: count }, (_, index) => view(`${index}`)));
      const calling = new Map<string, PodView>();
      let now = 0;
      for (let steps = 0; queue.size > 0; steps++) {
        if (steps > 5_000) return false;
        // After a while the cluster accepts everything.
        const kind = steps > 200 ? "accepted" : kinds.next().value;
        for (let next; calling.size < width && (next = begin(queue, now)) !== undefined;) {
          if (calling.has(next.uid)) return false;
          calling.set(next.uid, next);
        }
        const [one] = calling.values();
        if (one === undefined) {
          now = Math.max(now + 1, queue.nextAt() ?? now);
          continue;
        }
        calling.delete(one.uid);
        if (kind === "accepted") {
          if (steps % 2 === 0) queue.gone(one.uid);
          queue.answered(one, { kind }, now);
          if (steps % 2 === 1) queue.gone(one.uid);
        } else if (kind === "blocked") queue.answered(one, blocked(`${Number(one.name) % 2}`), now);
        else if (kind === "gone" || kind === "replaced") {
          queue.answered(one, { kind }, now);
          // Sometimes the answer is true.
          if (steps % 3 === 0) queue.gone(one.uid);
        } else queue.answered(one, { kind, reason: "no" } as never, now);
      }
      return calling.size === 0 || queue.size === 0;
    }),
  );
});
