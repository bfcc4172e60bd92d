import { deepEqual, equal, ok } from "node:assert/strict";
import fc from "fast-check";
import { DrainMemory } from "../../../src/keeper/drain/drain_memory.ts";
import { EvictionQueue, type EvictionQueueOptions, type QueueFacts } from "../../../src/keeper/drain/eviction_queue.ts";
import { type EvictionAnswer, type PodView, viewPod } from "../../../src/keeper/drain/pods.ts";
import { seenPod } from "../../../src/keeper/drain/proof.ts";
import { judgeNode } from "../../../src/lock/yes.ts";
import { pod } from "../../support/cluster_objects.ts";

function view(name: string, change: Partial<PodView> = {}): PodView {
  return { ...viewPod(pod({ name, namespace: "shop" })), uid: name, ...change };
}

const NOTED = { name: "n", uid: "n1" };
const GRANTED_AT = Date.UTC(2026, 0, 1);
const SECOND = 1_000;

/** A queue whose pauses are as long as they can be. */
function queueOf(options: Partial<EvictionQueueOptions> & { known?: Partial<QueueFacts> } = {}): EvictionQueue {
  const { known, ...more } = options;
  const facts = () => ({ noted: NOTED, grantedAt: GRANTED_AT, now: GRANTED_AT, ...known });
  return new EvictionQueue({ policy: {}, memory: new DrainMemory(), random: () => 1, facts, ...more });
}

const blocked = (budget = "web", retryAfterMs?: number) =>
  ({ kind: "blocked", budget, reason: `budget ${budget}`, retryAfterMs }) as const;

/** Begins the pod whose turn it is. */
function begin(queue: EvictionQueue, now: number): PodView | undefined {
  const pod = queue.due(now);
  if (pod !== undefined) queue.began(pod, now);
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

Deno.test("our own pod stays, and the pods of other replicas are evicted", () => {
  const queue = queueOf({ policy: { self: { namespace: "shop", name: "a" } } });
  queue.listed([view("a"), view("b")]);
  deepEqual(drainNow(queue, 0).map(({ name }) => name), ["b"]);
  queue.gone("b");
  equal(queue.size, 0);
});

/** A pod that was created so many seconds after the grant. */
const created = (name: string, seconds: number, change: Partial<PodView> = {}) =>
  view(name, { createdAt: GRANTED_AT + seconds * SECOND, controllerUid: "c", ...change });

Deno.test("a pod that tolerates the cordon and came after the grant is left alone, and named in the end", () => {
  const queue = queueOf();
  const tolerates = { toleratesCordon: true, claims: [{ namespace: "shop", name: "data" }] };
  queue.listed([created("before", 0, tolerates), created("after", 1, tolerates)]);
  deepEqual(drainNow(queue, 0).map(({ name }) => name), ["before"]);
  deepEqual(queue.left().map(({ name }) => name), ["before"]);
  queue.gone("before");
  equal(queue.size, 0);
  deepEqual(queue.staying.map(({ pod, why }) => [pod.name, why]), [["after", "tolerates_cordon"]]);
  deepEqual(queue.claims, tolerates.claims);
});

Deno.test("the pods that a controller puts back are evicted three times, with a growing pause, in all drains of the hold", () => {
  const memory = new DrainMemory();
  const known = { now: GRANTED_AT };
  const put: number[] = [];
  let queue = queueOf({ memory, known });
  queue.listed([created("there", -9)]);
  let now = 0;
  for (let n = 0; queue.size > 0 && n < 9; n++) {
    now = Math.max(now, queue.nextAt() ?? now);
    known.now = GRANTED_AT + now;
    const [one, ...more] = drainNow(queue, now);
    deepEqual(more, []);
    put.push(now);
    queue.gone(one!.uid);
    queue.answered(one!, { kind: "accepted" }, now);
    // Another drain takes over each time.
    queue = queueOf({ memory, known });
    queue.listed([created(`put back ${n}`, Math.floor(now / SECOND))]);
  }
  deepEqual(put, [0, 1_000, 3_000, 7_000]);
  deepEqual(queue.staying.map(({ pod, why }) => [pod.name, why]), [["put back 3", "put_back"]]);
});

Deno.test("a pod without a controller is nobody's replacement: it must go, however many came before, at the pace of its namespace", () => {
  const memory = new DrainMemory();
  const known = { now: GRANTED_AT };
  const queue = queueOf({ memory, known });
  const at: number[] = [];
  let now = 0;
  for (let n = 0; n < 7; n++) {
    queue.seen(created(`bare ${n}`, Math.floor(now / SECOND) + 1, { controllerUid: undefined }));
    queue.seen(created(`too ${n}`, Math.floor(now / SECOND) + 1, { controllerUid: undefined }));
    now = Math.max(now, queue.nextAt() ?? now);
    known.now = GRANTED_AT + now;
    const [one, ...more] = drainNow(queue, now);
    deepEqual(more, []);
    at.push(now);
    queue.gone(one!.uid);
    queue.answered(one!, { kind: "accepted" }, now);
    equal(queue.size, n + 1);
  }
  deepEqual(at, [0, 2, 6, 10, 14, 18, 22].map((seconds) => seconds * SECOND));
  deepEqual([memory.exhausted.size, queue.staying], [0, []]);
  // Past the time-out, nobody waits for the next one.
  ok(queue.allTried);
});

Deno.test("another eviction of the same pod is not a further one", () => {
  const memory = new DrainMemory();
  const queue = queueOf({ memory });
  queue.listed([created("a", 1)]);
  for (let now = 0; now < 60_000; now += 10_000) {
    const [one] = drainNow(queue, now);
    queue.answered(one!, { kind: "accepted" }, now);
  }
  equal(memory.exhausted.size, 0);
});

Deno.test("pods of one controller that came after the grant are evicted one at a time, those of others do not wait", () => {
  const queue = queueOf();
  queue.listed([created("a", 1), created("b", 1), created("other", 1, { controllerUid: "other" })]);
  deepEqual(drainNow(queue, 0).map(({ name }) => name), ["a", "other"]);
});

Deno.test("a terminating pod of a dead kubelet is left ten seconds after its grace period, by the API server's clock", () => {
  const node = { uid: NOTED.uid, unschedulable: true, deleting: false, ready: "Unknown" };
  const known: Partial<QueueFacts> & { now?: number } = { node, now: undefined };
  const queue = queueOf({ known });
  queue.listed([view("a", { terminating: true, graceEndsAt: GRANTED_AT })]);
  ok(queue.size === 1 && queue.needsTime);
  known.now = GRANTED_AT + 10 * SECOND;
  equal(queue.size, 1);
  known.now = GRANTED_AT + 11 * SECOND;
  equal(queue.size, 0);
  equal(queue.needsTime, false);
  deepEqual(queue.staying.map(({ why }) => why), ["kubelet_dead"]);
});

const second = fc.integer({ min: -2, max: 4 });
const FACTS = fc.record({
  noted: fc.constant(NOTED),
  grantedAt: fc.constant(GRANTED_AT),
  now: fc.option(second.map((seconds) => GRANTED_AT + seconds * 10 * SECOND), { nil: undefined }),
  node: fc.option(
    fc.record({
      uid: fc.constantFrom(NOTED.uid, "n2"),
      createdAt: second.map((seconds) => GRANTED_AT + seconds * SECOND),
      unschedulable: fc.constant(true),
      deleting: fc.constant(false),
      ready: fc.constantFrom("True", "Unknown"),
    }),
    { nil: undefined },
  ),
});
const PODS = fc.array(
  fc.record({
    createdAt: fc.option(second.map((seconds) => GRANTED_AT + seconds * SECOND), { nil: undefined }),
    toleratesCordon: fc.boolean(),
    terminating: fc.boolean(),
    finished: fc.boolean(),
    mirror: fc.boolean(),
    controller: fc.constantFrom("ReplicaSet", "DaemonSet", undefined),
    controllerUid: fc.constantFrom("c", "d", undefined),
    graceEndsAt: fc.option(second.map((seconds) => GRANTED_AT + seconds * 10 * SECOND), { nil: undefined }),
  }),
  { maxLength: 4 },
);
const EXHAUSTED = fc.dictionary(fc.constantFrom("c", "d", "namespace shop"), second);

Deno.test("the queue is empty exactly where the definition of a yes says that the node is, and names the same pods", () => {
  fc.assert(
    fc.property(FACTS, PODS, EXHAUSTED, (facts, changes, exhausted) => {
      const memory = new DrainMemory();
      for (const [controller, seconds] of Object.entries(exhausted)) {
        memory.exhausted.set(controller, GRANTED_AT + seconds * SECOND);
      }
      const policy = { self: { namespace: "shop", name: "0" } };
      const pods = changes.map((change, n) => view(`${n}`, change));
      const queue = queueOf({ memory, policy, known: facts });
      queue.listed(pods);
      const evidence = { ...facts, pods: pods.map((pod) => seenPod(pod, policy)), exhausted: memory.exhausted };
      const verdict = judgeNode(evidence);
      equal(queue.size === 0, verdict.kind === "empty");
      if (verdict.kind === "empty") deepEqual(queue.staying, verdict.staying);
      if (verdict.kind === "pods_left") {
        deepEqual(queue.left().map(({ name }) => name).sort(), verdict.pods.map(({ name }) => name).sort());
      }
    }),
    { numRuns: 500 },
  );
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

const ANSWERS: [answer: EvictionAnswer, isSure: boolean | undefined][] = [
  [{ kind: "accepted" }, true],
  [{ kind: "failed", reason: "a time-out", isUnsure: true }, false],
  [{ kind: "failed", reason: "a time-out", isUnsure: false }, undefined],
  [{ kind: "failed", reason: "busy" }, undefined],
  [{ kind: "blocked", reason: "its budget" }, undefined],
  [{ kind: "gone" }, undefined],
  [{ kind: "replaced" }, undefined],
  [{ kind: "several_budgets", reason: "two budgets" }, undefined],
  [{ kind: "namespace_ending", reason: "its namespace" }, undefined],
];

for (const [answer, isSure] of ANSWERS) {
  Deno.test(`the hold remembers an eviction that ${isSure ? "was" : isSure === false ? "may have been" : "was not"} accepted: ${JSON.stringify(answer)}`, () => {
    const memory = new DrainMemory();
    const told: unknown[] = [];
    memory.evicted = ({ name }, eviction) => void told.push([name, eviction]);
    const time = GRANTED_AT + 60 * SECOND;
    const queue = queueOf({ memory, known: { now: time } });
    queue.listed([created("early", 0), created("late", 1)]);
    const pods = drainNow(queue, 5_000);
    deepEqual(names(pods), ["early", "late"]);
    for (const one of pods) queue.answered(one, answer, 5_400);
    const eviction = { isSure, beganAt: 5_000, answeredAt: 5_400, time };
    const expected = [["early", { ...eviction, isLate: false }], ["late", { ...eviction, isLate: true }]];
    deepEqual(told, isSure === undefined ? [] : expected);
  });
}

const failed = { kind: "failed", reason: "busy" } as const;
const names = (pods: readonly { readonly name: string }[]) => pods.map(({ name }) => name);

for (const [random, share] of [[1, 1], [0, 0.75], [0.5, 0.875]] as const) {
  Deno.test(`the pause after a failure doubles up to 30 s, and jitter shortens it: random number ${random}`, () => {
    const queue = queueOf({ random: () => random });
    queue.listed([view("a")]);
    const pauses: number[] = [];
    for (let now = 5_000; pauses.length < 7;) {
      const [one] = drainNow(queue, now);
      queue.answered(one!, failed, now);
      const next = queue.nextAt()!;
      deepEqual(drainNow(queue, next - 1), []);
      pauses.push(next - now);
      now = next;
    }
    deepEqual(pauses, [1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000].map((ms) => ms * share));
  });

  Deno.test(`the pause of a budget doubles up to 5 s, and begins anew once it lets a pod go: random number ${random}`, () => {
    const queue = queueOf({ random: () => random });
    queue.listed([view("a"), view("b")]);
    const pauses: number[] = [];
    for (const one of drainNow(queue, 5_000)) queue.answered(one, blocked(), 5_000);
    for (let now = 5_000; pauses.length < 5;) {
      const next = queue.nextAt()!;
      pauses.push(next - now);
      const [one] = drainNow(queue, now = next);
      queue.answered(one!, pauses.length === 4 ? { kind: "accepted" } : blocked(), now);
      if (pauses.length < 4) continue;
      const [other] = drainNow(queue, now);
      if (other !== undefined) queue.answered(other, blocked(), now);
    }
    deepEqual(pauses, [1_000, 2_000, 4_000, 5_000, 1_000].map((ms) => ms * share));
  });

  Deno.test(`the pause after a budget's refusal is shortened by jitter, Retry-After is not: random number ${random}`, () => {
    const queue = queueOf({ random: () => random });
    queue.listed([view("a"), view("b")]);
    const [a, b] = drainNow(queue, 5_000);
    queue.answered(a!, blocked("one"), 5_000);
    queue.answered(b!, blocked("two", 2_000), 5_000);
    equal(queue.nextAt(), 5_000 + 1_000 * share);
    deepEqual(names(drainNow(queue, 6_999)), ["a"]);
    deepEqual(names(drainNow(queue, 7_000)), ["b"]);
  });
}

Deno.test("a pod that is listed or seen again keeps its pause and its reason", () => {
  const queue = queueOf();
  queue.listed([view("a"), view("b")]);
  for (const one of drainNow(queue, 0)) queue.answered(one, failed, 0);
  queue.listed([view("a"), view("b")]);
  queue.seen(view("a", { labels: { changed: "yes" } }));
  deepEqual(drainNow(queue, 999), []);
  deepEqual(queue.left().map(({ reason }) => reason), ["busy", "busy"]);
  deepEqual(names(drainNow(queue, 1_000)), ["a", "b"]);
});

Deno.test("a pod that the queue does not know, or no longer, changes nothing", () => {
  const queue = queueOf();
  queue.listed([view("a")]);
  queue.began(view("b"), 0);
  queue.answered(view("b"), failed, 0);
  queue.answered(view("a"), failed, 0);
  equal(queue.allTried, false);
  deepEqual(names(drainNow(queue, 0)), ["a"]);
});

Deno.test("the next try is that of the first pod whose pause ends, and is unknown while only an answer can allow it", () => {
  const queue = queueOf();
  queue.listed([view("a"), view("b")]);
  const [a, b] = drainNow(queue, 0);
  equal(queue.nextAt(), undefined);
  queue.answered(a!, { ...failed, retryAfterMs: 7_000 }, 0);
  equal(queue.nextAt(), 7_000);
  queue.answered(b!, failed, 0);
  equal(queue.nextAt(), 1_000);

  const late = queueOf();
  late.listed([created("a", 1), created("b", 1)]);
  begin(late, 0);
  // The other one waits for its turn.
  equal(late.nextAt(), undefined);
});

Deno.test("only pods that a budget has refused and that are still running count as blocked", () => {
  const queue = queueOf();
  queue.listed(["untried", "accepted", "refused", "going", "failed"].map((name) => view(name)));
  for (const one of drainNow(queue, 0)) {
    if (one.name === "untried") continue;
    if (one.name === "accepted") queue.answered(one, { kind: "accepted" }, 0);
    else queue.answered(one, one.name === "failed" ? failed : blocked(one.name), 0);
  }
  equal(queue.blocked, 2);
  queue.seen(view("going", { terminating: true }));
  equal(queue.blocked, 1);
});

Deno.test("a drain waits past its time-out until each pod was tried and answered, except those that are going", () => {
  const queue = queueOf();
  queue.listed([view("a"), view("b"), view("c", { terminating: true })]);
  equal(queue.allTried, false);
  const a = begin(queue, 0)!;
  equal(queue.allTried, false);
  queue.answered(a, failed, 0);
  // One of them is not enough.
  equal(queue.allTried, false);
  const b = begin(queue, 0)!;
  equal(queue.allTried, false);
  queue.answered(b, failed, 0);
  equal(queue.allTried, true);
  // Another try is under way.
  begin(queue, 1_000);
  equal(queue.allTried, false);
});

Deno.test("a pod that came late and was not tried is waited for while its controller has not put back too many", () => {
  const queue = queueOf();
  queue.listed([created("a", 1)]);
  equal(queue.allTried, false);
});

for (
  const [ready, terminating, expected] of [["Unknown", true, true], ["Unknown", false, false], [
    "True",
    true,
    false,
  ]] as const
) {
  Deno.test(`the API server's time decides only about a pod that a dead kubelet has to end: ${ready}, ${terminating}`, () => {
    const node = { uid: NOTED.uid, unschedulable: true, deleting: false, ready };
    const queue = queueOf({ known: { node, now: undefined } });
    queue.listed([view("a", { terminating, graceEndsAt: GRANTED_AT })]);
    equal(queue.needsTime, expected);
  });
}

Deno.test("only the claims of pods that may be left count as theirs: not those of pods that must go or have finished", () => {
  const claims = (name: string) => [{ namespace: "shop", name }];
  const queue = queueOf();
  const stays = created("stays", 1, { toleratesCordon: true, claims: claims("stays") });
  queue.listed([stays, view("goes", { claims: claims("goes") }), view("ends", { claims: claims("ends") })]);
  queue.seen(view("ends", { finished: true, claims: claims("ends") }));
  deepEqual(queue.claims, claims("stays"));
});

Deno.test("once unbound, what was accepted without effect and what has a pause is tried at once, whatever a budget still answers", () => {
  const queue = queueOf();
  queue.listed(["accepted", "failed", "asked"].map((name) => view(name)));
  const [accepted, busy, asked] = drainNow(queue, 0);
  queue.answered(accepted!, { kind: "accepted" }, 0);
  queue.answered(busy!, failed, 0);
  queue.unbind();
  equal(queue.left().filter(({ reason }) => reason === "it is being stopped").length, 0);
  deepEqual(names(drainNow(queue, 1)), ["accepted", "failed"]);
  // The answer to an eviction from before.
  queue.answered(asked!, blocked("web", 60_000), 1);
  deepEqual(names(drainNow(queue, 1)), ["asked"]);
});

Deno.test("why each pod is left: what the operator does not want evicted, what is being stopped, what failed", () => {
  const queue = queueOf({ policy: { unmanaged: "refuse" } });
  const managed = { controller: "ReplicaSet", controllerUid: "c" };
  queue.listed([
    view("bare", { controller: undefined }),
    view("stopping", { ...managed, terminating: true }),
    view("accepted", managed),
    view("unknown", managed),
  ]);
  const [accepted, unknown] = drainNow(queue, 0);
  queue.answered(accepted!, { kind: "accepted" }, 0);
  queue.answered(unknown!, { kind: "gone" }, 0);
  const [refused] = queue.refused;
  equal(refused?.name, "bare");
  deepEqual(queue.left().map(({ name, reason }) => [name, reason]), [
    ["bare", refused.reason],
    ["unknown", "the API server did not find it"],
    ["stopping", "it is being stopped"],
    ["accepted", "it is being stopped"],
  ]);
});
