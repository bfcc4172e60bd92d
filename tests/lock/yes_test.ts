import { deepEqual, equal } from "node:assert/strict";
import fc from "fast-check";
import { parseClientId } from "../../src/lock/identity.ts";
import { FREE, type GroupState, type HeldNode, type Holder } from "../../src/lock/semaphore.ts";
import {
  belongsToLaterNode,
  DEAD_KUBELET_MS,
  type HoldEvidence,
  type HostEvidence,
  judgeNode,
  judgeYes,
  type NodeEvidence,
  type SeenNode,
  type SeenPod,
} from "../../src/lock/yes.ts";

const id = parseClientId("c988d2509fdf5cdcbed39037c56406fb")!;
const other = parseClientId("978a225b3d7b40e9acd7ce9b62f68444")!;
/** A full second, so that the table can name the same second, the one before and the one after. */
const GRANT = Date.UTC(2026, 10, 25, 12, 0, 0);
const SECOND = 1_000;

const held: HeldNode = { name: "a", uid: "uid-a", bootId: "boot-1", phase: "drained" };
const holder = (change: Partial<Holder> = {}): Holder => ({ id, since: GRANT, node: held, ...change });
const group = (...holders: Holder[]): GroupState => ({ ...FREE, holders, transitions: holders.length });
const hold = (change: Partial<HoldEvidence> = {}): HoldEvidence => ({
  id,
  since: GRANT,
  written: group(holder()),
  slots: 1,
  isEnding: false,
  ageMs: 5,
  ...change,
});
const node = (change: Partial<SeenNode> = {}): SeenNode => ({
  uid: "uid-a",
  createdAt: GRANT - 86_400_000,
  unschedulable: true,
  deleting: false,
  ready: "True",
  ...change,
});
const pod = (change: Partial<SeenPod> = {}): SeenPod => ({
  namespace: "default",
  name: "web",
  createdAt: GRANT - 3_600_000,
  toleratesCordon: false,
  controller: "rs-1",
  ...change,
});
const evidence = (change: Partial<NodeEvidence> = {}): NodeEvidence => ({
  noted: { name: "a", uid: "uid-a" },
  node: node(),
  pods: [],
  grantedAt: GRANT,
  now: GRANT + 60_000,
  exhausted: new Map(),
  ...change,
});
const onNode = (change: Partial<NodeEvidence> = {}): HostEvidence => ({ kind: "node", evidence: evidence(change) });

const answers: [what: string, hold: HoldEvidence, host: HostEvidence, kind: string][] = [
  ["the write shows the hold and the node is empty", hold(), onNode(), "yes"],
  [
    "another holder beyond the slots comes first",
    hold({ written: group({ id: other, since: GRANT - 1 }, holder({ node: { ...held, phase: "draining" } })) }),
    onNode(),
    "full",
  ],
  [
    "another holder beyond the slots had its yes",
    hold({ written: group(holder({ node: undefined }), { id: other, since: GRANT + 1, node: held }) }),
    { kind: "not_drained" },
    "full",
  ],
  [
    "the slots suffice for both holders",
    hold({ slots: 2, written: group({ id: other, since: GRANT - 1, node: held }, holder({ node: undefined })) }),
    { kind: "no_node" },
    "yes",
  ],
  [
    "the client had its yes before another",
    hold({ written: group({ id: other, since: GRANT - 1 }, holder()) }),
    onNode(),
    "yes",
  ],
  ["draining is off", hold({ written: group(holder({ node: undefined })) }), { kind: "not_drained" }, "yes"],
  [
    "no Node was noted and none has the id",
    hold({ written: group(holder({ node: undefined })) }),
    { kind: "no_node" },
    "yes",
  ],
  [
    "a pod is left, the time-out has passed, and the policy is to go on",
    hold(),
    onNode({ pods: [pod()], isTimedOut: true }),
    "yes",
  ],
  ["a pod is left and the time-out has not passed", hold(), onNode({ pods: [pod()], isTimedOut: false }), "pods_left"],
  [
    "the time-out has passed, and the node is not cordoned",
    hold(),
    onNode({ node: node({ unschedulable: false }), isTimedOut: true }),
    "uncordoned",
  ],
  ["the write took effect, but the answer has no holder", hold({ written: FREE }), onNode(), "not_written"],
  ["the answer names another holder", hold({ written: group(holder({ id: other })) }), onNode(), "not_written"],
  [
    "the answer names a later hold of the client",
    hold({ written: group(holder({ since: GRANT + 1 })) }),
    onNode(),
    "not_written",
  ],
  ["the object is being deleted", hold({ isEnding: true }), onNode(), "lock_ending"],
  ["the write is as old as it may be", hold({ ageMs: 15_000 }), onNode(), "yes"],
  ["the write is too old", hold({ ageMs: 15_001 }), onNode(), "too_old"],
  [
    "no Node was noted, but the evidence is about one",
    hold({ written: group(holder({ node: undefined })) }),
    onNode(),
    "not_written",
  ],
  ["a Node was noted, but the evidence says that there is none", hold(), { kind: "no_node" }, "not_written"],
  [
    "what was noted of the node is unreadable, and no Node has the id",
    hold({ written: group(holder({ node: undefined, isNodeUnreadable: true })) }),
    { kind: "no_node" },
    "not_written",
  ],
  [
    "the evidence is about another Node than the hold",
    hold({ written: group(holder({ node: { ...held, uid: "uid-b" } })) }),
    onNode(),
    "not_written",
  ],
  ["a pod is left", hold(), onNode({ pods: [pod()] }), "pods_left"],
  ["the node is not cordoned", hold(), onNode({ node: node({ unschedulable: false }) }), "uncordoned"],
  ["the Node is being deleted", hold(), onNode({ node: node({ deleting: true }) }), "node_ending"],
];

for (const [what, seenOfHold, seenOfHost, kind] of answers) {
  Deno.test(`the answer is ${kind} where ${what}`, () => equal(judgeYes(seenOfHold, seenOfHost).kind, kind));
}

const LATER = { uid: "uid-b", createdAt: GRANT + 10 * SECOND };
const EXHAUSTED = new Map([["rs-1", GRANT + 30 * SECOND]]);
const UNKNOWN = { node: node({ ready: "Unknown" }) };

const pods: [what: string, pod: SeenPod, seen: Partial<NodeEvidence>, left: boolean, why?: string][] = [
  ["an ordinary pod", pod(), {}, true],
  ["an exempt pod", pod({ exempt: "daemon_set" }), {}, false],
  ["a pod that tolerates the cordon from before the grant", pod({ toleratesCordon: true }), {}, true],
  ["one from the second of the grant", pod({ toleratesCordon: true, createdAt: GRANT }), {}, true],
  [
    "one from the second after",
    pod({ toleratesCordon: true, createdAt: GRANT + SECOND }),
    {},
    false,
    "tolerates_cordon",
  ],
  ["one without a time", pod({ toleratesCordon: true, createdAt: undefined }), {}, true],
  [
    "a grant in the middle of its second",
    pod({ toleratesCordon: true, createdAt: GRANT }),
    { grantedAt: GRANT + 999 },
    true,
  ],
  ["a later pod that does not tolerate the cordon", pod({ createdAt: GRANT + SECOND }), {}, true],
  [
    "a replacement made before the last eviction",
    pod({ createdAt: GRANT + 30 * SECOND }),
    { exhausted: EXHAUSTED },
    true,
  ],
  ["a replacement made after it", pod({ createdAt: GRANT + 31 * SECOND }), { exhausted: EXHAUSTED }, false, "put_back"],
  [
    "another controller's pod",
    pod({ createdAt: GRANT + 31 * SECOND, controller: "rs-2" }),
    { exhausted: EXHAUSTED },
    true,
  ],
  ["a pod past its grace where the kubelet answers", pod({ graceEndsAt: GRANT }), {}, true],
  ["a pod past its grace where the kubelet is dead", pod({ graceEndsAt: GRANT }), UNKNOWN, false, "kubelet_dead"],
  ["a pod without a deletion where the kubelet is dead", pod(), UNKNOWN, true],
  [
    "a pod just past its grace where the kubelet is dead",
    pod({ graceEndsAt: GRANT + 60 * SECOND - DEAD_KUBELET_MS }),
    UNKNOWN,
    true,
  ],
  ["the same, where the time is unknown", pod({ graceEndsAt: GRANT }), { ...UNKNOWN, now: undefined }, true],
  ["an older pod, where the Node is gone", pod(), { node: undefined }, true],
  ["an older pod, where another Node has the name", pod(), { node: node(LATER) }, true],
  ["a pod of that Node", pod({ createdAt: GRANT + 11 * SECOND }), { node: node(LATER) }, false],
  [
    "an older pod that was bound to that Node",
    pod({ boundAt: GRANT + 11 * SECOND }),
    { node: node(LATER) },
    false,
  ],
  [
    "an older pod that was bound in the second in which that Node was made",
    pod({ boundAt: LATER.createdAt }),
    { node: node(LATER) },
    true,
  ],
  ["a pod that was bound before that Node was made", pod({ boundAt: GRANT }), { node: node(LATER) }, true],
  ["a pod that was bound after the grant, where the Node is gone", pod({ boundAt: GRANT + 11 * SECOND }), {
    node: undefined,
  }, true],
  ["a pod that was bound to the noted Node after the grant", pod({ boundAt: GRANT + 11 * SECOND }), {}, true],
  ["a pod bound to a Node without a time", pod({ boundAt: GRANT + 11 * SECOND }), {
    node: node({ ...LATER, createdAt: undefined }),
  }, true],
  [
    "a pod from the second in which that Node was made",
    pod({ createdAt: LATER.createdAt }),
    { node: node(LATER) },
    true,
  ],
];

for (const [what, one, seen, isLeft, why] of pods) {
  Deno.test(`${what} ${isLeft ? "must go" : "may stay"}`, () => {
    const verdict = judgeNode(evidence({ ...seen, pods: [one] }));
    if (isLeft) deepEqual(verdict, { kind: "pods_left", pods: [one] });
    else deepEqual(verdict, { kind: "empty", staying: why === undefined ? [] : [{ pod: one, why }] });
  });
}

Deno.test("another Node of the name needs no cordon of ours", () => {
  equal(judgeNode(evidence({ node: node({ ...LATER, unschedulable: false }) })).kind, "empty");
  equal(judgeNode(evidence({ node: node({ ...LATER, deleting: true }) })).kind, "empty");
});

Deno.test("every pod that is not exempt, of a later Node or named as staying keeps the node from being empty", () => {
  const time = fc.option(fc.integer({ min: -5, max: 70 }).map((s) => GRANT + s * SECOND), { nil: undefined });
  const anyPod = fc.record({
    namespace: fc.constant("default"),
    name: fc.uuid(),
    exempt: fc.option(fc.constant("mirror"), { nil: undefined }),
    createdAt: time,
    boundAt: time,
    toleratesCordon: fc.boolean(),
    controller: fc.constantFrom("rs-1", "rs-2", undefined),
    graceEndsAt: time,
  });
  const anyNode = fc.option(
    fc.record({
      uid: fc.constantFrom("uid-a", "uid-b"),
      createdAt: time,
      unschedulable: fc.constant(true),
      deleting: fc.constant(false),
      ready: fc.constantFrom("True", "False", "Unknown", undefined),
    }),
    { nil: undefined },
  );
  fc.assert(fc.property(fc.array(anyPod), anyNode, time, (pods, seenNode, now) => {
    const seen = evidence({ pods, node: seenNode, now, exhausted: EXHAUSTED });
    const verdict = judgeNode(seen);
    const named = verdict.kind === "empty"
      ? verdict.staying.map((one) => one.pod)
      : verdict.kind === "pods_left"
      ? verdict.pods
      : [];
    for (const one of pods) {
      const isAccounted = one.exempt !== undefined || belongsToLaterNode(one, seen) || named.includes(one) ||
        verdict.kind === "pods_left";
      equal(isAccounted, true);
    }
    // More evidence of pods never turns a no into a yes.
    if (verdict.kind === "pods_left") {
      equal(judgeNode({ ...seen, pods: [...pods, pod()] }).kind, "pods_left");
    } else {
      equal(judgeNode({ ...seen, pods: [...pods, pod()] }).kind, "pods_left");
    }
  }));
});
