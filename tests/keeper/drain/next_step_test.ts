import { deepEqual, equal } from "node:assert/strict";
import { DrainMemory } from "../../../src/keeper/drain/drain_memory.ts";
import { EvictionQueue } from "../../../src/keeper/drain/eviction_queue.ts";
import { type NextStep, nextStep, type Situation, type StepPolicy } from "../../../src/keeper/drain/next_step.ts";
import { type PodPolicy, type PodView, viewPod } from "../../../src/keeper/drain/pods.ts";
import { pod } from "../../support/cluster_objects.ts";

const DEADLINE = 100_000;
const POLICY: StepPolicy = { concurrency: 2, onTimeout: "refuse" };
const BLOCKED = { kind: "blocked", budget: "web", reason: "its budget" } as const;

function view(name: string): PodView {
  return { ...viewPod(pod({ name, namespace: "shop" })), uid: name };
}

/** A queue of the pods a and b, each of which was tried at the time 0 and blocked by one budget until 1000, or not. */
function queueOf(options: { tried?: boolean; policy?: PodPolicy; names?: string[] } = {}): EvictionQueue {
  const { tried = false, policy = {}, names = ["a", "b"] } = options;
  const facts = () => ({ noted: { name: "n", uid: "n1" }, grantedAt: 0 });
  const queue = new EvictionQueue({ policy, memory: new DrainMemory(), random: () => 1, facts });
  queue.listed(names.map(view));
  if (tried) {
    for (const name of names) queue.began(view(name), 0);
    for (const name of names) queue.answered(view(name), BLOCKED, 0);
  }
  return queue;
}

const EMPTY = queueOf({ names: [] });
const REFUSED = queueOf({ policy: { unmanaged: "refuse" } });
const blocked = () => queueOf({ tried: true });
const LATE = { now: DEADLINE };
const WITHHELD = { isTimeKnown: false, isTimeWithheld: true };
const [PROCEED, DELETE] = [{ onTimeout: "proceed" }, { onTimeout: "delete" }] as const;
const DEAD = {
  size: 1,
  refused: [],
  allTried: true,
  needsTime: true,
  left: () => [],
  due: () => undefined,
  nextAt: () => undefined,
};

const CASES: [what: string, situation: Partial<Situation>, policy: Partial<StepPolicy>, step: NextStep["kind"]][] = [
  ["no pod is left", { queue: EMPTY }, {}, "empty"],
  ["no pod is left past the time-out", { queue: EMPTY, ...LATE }, {}, "empty"],
  ["the pods are not listed yet", { queue: EMPTY, visibility: "listing" }, {}, "wait"],
  ["the pods are not listed yet past the time-out", { queue: EMPTY, visibility: "listing", ...LATE }, {}, "wait"],
  ["the watch is lost", { queue: EMPTY, visibility: "lost" }, {}, "wait"],
  ["the watch is lost past the time-out", { queue: EMPTY, visibility: "lost", ...LATE }, {}, "blind"],
  ["a pod may not be evicted by policy", { queue: REFUSED }, {}, "fail"],
  ["a pod is due", {}, {}, "evict"],
  ["a pod is due while the watch is lost", { visibility: "lost" }, {}, "evict"],
  ["a pod is due, and as many calls are under way as may be", { calling: 2 }, {}, "wait"],
  ["a budget holds all pods back", { queue: blocked() }, {}, "wait"],
  ["a budget's pause is over", { queue: blocked(), now: 1_000 }, {}, "evict"],
  ["the node is gone", { isGone: true }, {}, "wait"],
  ["the node is gone, and a pod may not be evicted by policy", { queue: REFUSED, isGone: true }, {}, "wait"],
  ["the node is gone, past the time-out", { ...LATE, isGone: true }, {}, "fail"],
  ["the node is gone, past the time-out, to delete", { ...LATE, isGone: true }, DELETE, "fail"],
  ["the time is unknown", { isTimeKnown: false }, {}, "evict"],
  ["a dead kubelet, and the time is unknown", { queue: DEAD, isTimeKnown: false }, {}, "ask_time"],
  ["a dead kubelet, and the time is withheld", { queue: DEAD, ...WITHHELD }, {}, "wait"],
  ["a dead kubelet past the time-out, and the time is withheld", { queue: DEAD, ...LATE, ...WITHHELD }, {}, "fail"],
  [
    "past the time-out, to proceed, the time is withheld",
    { queue: blocked(), ...LATE, ...WITHHELD },
    PROCEED,
    "timeless",
  ],
  ["past the time-out, to delete, the time is withheld", { ...LATE, ...WITHHELD }, DELETE, "timeless"],
  ["past the time-out, the time is withheld", { queue: blocked(), ...LATE, ...WITHHELD }, {}, "fail"],
  ["a dead kubelet, and the time is known", { queue: DEAD }, {}, "wait"],
  ["past the time-out, the time is unknown", { queue: blocked(), ...LATE, isTimeKnown: false }, {}, "fail"],
  [
    "past the time-out, to proceed, the time is unknown",
    { queue: blocked(), ...LATE, isTimeKnown: false },
    PROCEED,
    "ask_time",
  ],
  [
    "past the time-out, to proceed, an untried pod, the time is unknown",
    { ...LATE, isTimeKnown: false },
    PROCEED,
    "evict",
  ],
  ["the node is gone, past the time-out, to proceed", { ...LATE, isGone: true }, PROCEED, "proceed"],
  ["past the time-out, to delete, the time is unknown", { ...LATE, isTimeKnown: false }, DELETE, "ask_time"],
  ["past the time-out, an untried pod", LATE, {}, "evict"],
  ["past the time-out, every pod was tried", { queue: blocked(), ...LATE }, {}, "fail"],
  ["past the time-out, to proceed, an untried pod", LATE, PROCEED, "evict"],
  ["past the time-out, to proceed, during the last eviction", { ...LATE, calling: 2 }, PROCEED, "wait"],
  ["past the time-out, to proceed, every pod was tried", { queue: blocked(), ...LATE }, PROCEED, "proceed"],
  ["a budget holds all pods back, to delete", { queue: blocked() }, DELETE, "wait"],
  ["a pod is due, to delete", {}, DELETE, "evict"],
  ["past the time-out, to delete", LATE, DELETE, "start_deleting"],
  ["past the time-out, to delete, during the last eviction", { ...LATE, calling: 1 }, DELETE, "wait"],
  ["while deleting, a pod is due", { ...LATE, deleteBy: 2 * DEADLINE }, DELETE, "evict"],
  ["deleted pods are still there in the end", { now: 200_000, deleteBy: 200_000 }, DELETE, "fail"],
  ["deleted pods are gone in the end", { queue: EMPTY, now: 200_000, deleteBy: 200_000 }, {}, "empty"],
];

function situation(change: Partial<Situation>): Situation {
  const usual = {
    visibility: "synced",
    isGone: false,
    isTimeKnown: true,
    isTimeWithheld: false,
    calling: 0,
    now: 0,
  } as const;
  return { ...usual, queue: queueOf(), deadline: DEADLINE, ...change };
}

for (const [what, change, policy, kind] of CASES) {
  Deno.test(`the next step of a drain: ${what}: ${kind}`, () => {
    equal(nextStep(situation(change), { ...POLICY, ...policy }).kind, kind);
  });
}

/** A queue that says when a pod may be tried, and has none to try. */
const OVERDUE = { ...DEAD, needsTime: false, nextAt: () => 4_000 };

const WAITS: [what: string, change: Partial<Situation>, policy: Partial<StepPolicy>, until: number][] = [
  ["a budget's pause is over", { queue: blocked() }, {}, 1_000],
  ["the time-out passes", { calling: 2, now: 99_000 }, {}, DEADLINE],
  ["five seconds are over, since what it waits for is further away", { calling: 2 }, {}, 5_000],
  ["the deletions' time is over", { ...LATE, calling: 2, deleteBy: 101_000 }, DELETE, 101_000],
  ["a moment has passed, since the queue says that a pod was due before", { queue: OVERDUE, now: 5_000 }, {}, 5_001],
  ["the last eviction is answered", { ...LATE, calling: 1 }, DELETE, DEADLINE + 5_000],
];

for (const [what, change, policy, until] of WAITS) {
  Deno.test(`a drain waits until ${what}`, () => {
    deepEqual(nextStep(situation(change), { ...POLICY, ...policy }), { kind: "wait", until });
  });
}

Deno.test("a step names the pods: the one to evict, those that the policy refuses, and those that are left", () => {
  const named = (change: Partial<Situation>, policy: Partial<StepPolicy> = {}) => {
    const step = nextStep(situation(change), { ...POLICY, ...policy });
    return step.kind === "evict" ? [step.pod.name] : "pods" in step ? step.pods.map(({ name }) => name) : [];
  };
  deepEqual(named({}), ["a"]);
  deepEqual(named({ queue: REFUSED }), ["a", "b"]);
  deepEqual(named({ queue: blocked(), ...LATE }), ["a", "b"]);
  deepEqual(named({ queue: blocked(), ...LATE }, { onTimeout: "proceed" }), ["a", "b"]);
});
