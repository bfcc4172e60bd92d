import { deepEqual, equal, throws } from "node:assert/strict";
import type { V1ObjectMeta } from "@kubernetes/client-node/dist/gen/models/V1ObjectMeta.js";
import type { V1Toleration } from "@kubernetes/client-node/dist/gen/models/V1Toleration.js";
import fc from "fast-check";
import { CallRefusedError, UnavailableError } from "../../../src/lock/errors.ts";
import { errorOf, ForbiddenError } from "../../../src/kubernetes/errors.ts";
import {
  answerOf,
  type EvictionAnswer,
  judge,
  paceOf,
  type PodPolicy,
  type PodView,
  refusedPods,
  staysInUse,
  type Verdict,
  viewPod,
} from "../../../src/keeper/drain/pods.ts";
import { pod } from "../../support/cluster_objects.ts";

const SET = { apiVersion: "apps/v1", kind: "ReplicaSet", name: "web", uid: "1" };
const NORMAL: PodView = viewPod(pod({ name: "web", namespace: "shop", owner: SET }));

const BOUND_AT = new Date(Date.UTC(2026, 0, 1));
const SCHEDULED = { type: "PodScheduled", status: "True", lastTransitionTime: BOUND_AT };

const VERDICTS: [what: string, change: Partial<PodView>, policy: PodPolicy, verdict: Verdict["kind"]][] = [
  ["a pod with a controller", {}, {}, "evict"],
  ["a pod without a controller", { controller: undefined }, {}, "evict"],
  ["a pod without a controller, refused", { controller: undefined }, { unmanaged: "refuse" }, "refuse"],
  ["a pod with a controller, others refused", {}, { unmanaged: "refuse", emptyDir: "refuse" }, "evict"],
  ["a pod with emptyDir", { emptyDir: true }, {}, "evict"],
  ["a pod with emptyDir, refused", { emptyDir: true }, { emptyDir: "refuse" }, "refuse"],
  ["a mirror pod", { mirror: true }, {}, "skip"],
  ["a mirror pod that is being deleted", { mirror: true, terminating: true }, {}, "skip"],
  ["a DaemonSet's pod", { controller: "DaemonSet" }, {}, "skip"],
  ["a finished pod", { finished: true }, {}, "skip"],
  [
    "a finished pod without a controller, refused",
    { finished: true, controller: undefined },
    { unmanaged: "refuse" },
    "skip",
  ],
  ["a finished pod that is being deleted", { finished: true, terminating: true }, {}, "wait"],
  ["a pod that is being deleted", { terminating: true }, {}, "wait"],
  ["a pod that is being deleted, refused", { terminating: true, emptyDir: true }, { emptyDir: "refuse" }, "wait"],
  ["a pod that the selector exempts", {}, { skip: () => true }, "skip"],
  ["a pod that the selector exempts, refused", { emptyDir: true }, { skip: () => true, emptyDir: "refuse" }, "skip"],
  ["our own pod", {}, { self: { namespace: "shop", name: "web" } }, "skip"],
  ["our own pod that is being deleted", { terminating: true }, { self: { namespace: "shop", name: "web" } }, "skip"],
  [
    "our own pod, refused",
    { emptyDir: true },
    { emptyDir: "refuse", self: { namespace: "shop", name: "web" } },
    "skip",
  ],
  ["a pod of our name elsewhere", {}, { self: { namespace: "home", name: "web" } }, "evict"],
];

for (const [what, change, policy, kind] of VERDICTS) {
  Deno.test(`${what}: ${kind}`, () => equal(judge({ ...NORMAL, ...change }, policy).kind, kind));
}

Deno.test("when a pod was bound is known once its condition PodScheduled is true", () => {
  const boundAt = (...conditions: { type: string; status: string; lastTransitionTime?: Date }[]) =>
    viewPod({ status: { conditions } }).boundAt;
  equal(boundAt(SCHEDULED), BOUND_AT.getTime());
  equal(boundAt({ ...SCHEDULED, status: "False" }), undefined);
  equal(boundAt({ ...SCHEDULED, type: "Initialized" }), undefined);
  equal(boundAt({ type: "PodScheduled", status: "True" }), undefined);
  equal(boundAt(), undefined);
});

Deno.test("a view has what a drain needs of a pod", () => {
  const view = viewPod({
    ...pod({ name: "web", namespace: "shop", owner: SET, emptyDir: true, finalizers: ["a/b"], labels: { app: "web" } }),
    status: { phase: "Failed", conditions: [{ type: "Ready", status: "False" }, SCHEDULED] },
  });
  deepEqual(view, {
    namespace: "shop",
    name: "web",
    uid: "",
    labels: { app: "web" },
    terminating: false,
    graceEndsAt: undefined,
    createdAt: undefined,
    boundAt: BOUND_AT.getTime(),
    toleratesCordon: false,
    finished: true,
    mirror: false,
    controller: "ReplicaSet",
    controllerUid: "1",
    emptyDir: true,
    claims: [],
    finalizers: ["a/b"],
  });
  const owned = { ...pod({ name: "web", namespace: "shop" }) };
  owned.metadata.ownerReferences = [{ ...SET, kind: "Node" }];
  equal(viewPod(owned).controller, undefined);
  const withClaims = { ...pod({ name: "db-0", namespace: "shop", claim: "data" }) };
  withClaims.spec.volumes.push({ name: "scratch", ephemeral: { volumeClaimTemplate: {} } });
  deepEqual(viewPod(withClaims).claims, [
    { namespace: "shop", name: "data" },
    { namespace: "shop", name: "db-0-scratch" },
  ]);
});

const KEY = "node.kubernetes.io/unschedulable";
const TOLERATIONS: [toleration: V1Toleration, tolerates: boolean][] = [
  [{ operator: "Exists" }, true],
  [{ key: KEY, operator: "Exists", effect: "NoSchedule" }, true],
  [{ key: KEY, operator: "Exists" }, true],
  [{ key: KEY }, true],
  [{ key: KEY, operator: "Equal", value: "" }, true],
  [{ key: KEY, value: "yes" }, false],
  [{ operator: "Exists", effect: "NoExecute" }, false],
  [{ key: "node.kubernetes.io/not-ready", operator: "Exists" }, false],
  [{ key: "node.kubernetes.io/not-ready" }, false],
  [{ key: "node.kubernetes.io/not-ready", value: "" }, false],
];

Deno.test("one of several tolerations is enough to cover a cordon", () => {
  const tolerations = [{ key: "other" }, { key: KEY }, { key: "third" }];
  equal(viewPod({ spec: { containers: [], tolerations } }).toleratesCordon, true);
  equal(viewPod({ spec: { containers: [], tolerations: [{ key: "other" }] } }).toleratesCordon, false);
});

Deno.test("of a pod without anything, a view says that nothing is known, and that nothing of it may be lost", () => {
  const nothing = {
    namespace: "",
    name: "",
    uid: "",
    labels: undefined,
    terminating: false,
    graceEndsAt: undefined,
    createdAt: undefined,
    boundAt: undefined,
    toleratesCordon: false,
    finished: false,
    mirror: false,
    controller: undefined,
    controllerUid: undefined,
    emptyDir: false,
    claims: [],
    finalizers: [],
  };
  const metadata = { deletionTimestamp: null, annotations: {}, ownerReferences: [] } as unknown as V1ObjectMeta;
  for (const bare of [{}, { metadata: {}, spec: { containers: [] }, status: {} }, { metadata }]) {
    deepEqual(viewPod(bare), nothing);
  }
});

for (
  const [phase, finished] of [["Pending", false], ["Running", false], ["Unknown", false], ["Succeeded", true], [
    "Failed",
    true,
  ]] as const
) {
  Deno.test(`a pod in the phase ${phase} is ${finished ? "" : "not "}finished`, () => {
    equal(viewPod({ status: { phase } }).finished, finished);
  });
}

Deno.test("a pod mirrors a static one where its kubelet says so, whatever the value", () => {
  const isMirror = (annotations: Record<string, string>) => viewPod({ metadata: { annotations } }).mirror;
  equal(isMirror({ "kubernetes.io/config.mirror": "" }), true);
  equal(isMirror({ "kubernetes.io/config.mirror": "abc", other: "x" }), true);
  equal(isMirror({ other: "x" }), false);
});

Deno.test("a pod has an emptyDir volume where one of its volumes is one", () => {
  const hasEmptyDir = (...volumes: object[]) => {
    return viewPod({ spec: { containers: [], volumes: volumes as { name: string }[] } }).emptyDir;
  };
  const [plain, unset, scratch] = [{ name: "a" }, { name: "b", emptyDir: null }, { name: "c", emptyDir: {} }];
  equal(hasEmptyDir(plain, unset), false);
  equal(hasEmptyDir(plain, scratch, unset), true);
  equal(hasEmptyDir(), false);
});

Deno.test("the pods that the operator does not want evicted are named with the reason, the others are not", () => {
  const own = { ...NORMAL, name: "own", controller: undefined };
  const scratch = { ...NORMAL, name: "scratch", emptyDir: true };
  const pods = [NORMAL, own, { ...own, finished: true }, scratch];
  deepEqual(refusedPods(pods, { unmanaged: "refuse", emptyDir: "refuse" }), [
    {
      namespace: "shop",
      name: "own",
      reason: "it has no controller that would start it again (--drain-unmanaged is refuse)",
    },
    {
      namespace: "shop",
      name: "scratch",
      reason: "its emptyDir volume's data would be lost (--drain-empty-dir is refuse)",
    },
  ]);
  deepEqual(refusedPods(pods), []);
});

Deno.test("pods of one controller are paced together, and so are those of one namespace that have none", () => {
  equal(paceOf({ namespace: "shop", controllerUid: "c" }), paceOf({ namespace: "home", controllerUid: "c" }));
  const bare = ["shop", "home"].map((namespace) => paceOf({ namespace }));
  equal(new Set([...bare, paceOf({ namespace: "shop", controllerUid: "shop" })]).size, 3);
  equal(paceOf({ namespace: "shop" }), bare[0]);
});

for (
  const [what, change, expected] of [
    ["one that is evicted", {}, false],
    ["one that is being deleted", { terminating: true }, false],
    ["a finished one", { finished: true }, false],
    ["a DaemonSet's", { controller: "DaemonSet" }, true],
    ["a mirror pod", { mirror: true }, true],
  ] as const
) {
  Deno.test(`a pod that ${expected ? "keeps" : "does not keep"} using its volumes on the empty node: ${what}`, () => {
    equal(staysInUse({ ...NORMAL, ...change }, {}), expected);
  });
}

for (const [toleration, tolerates] of TOLERATIONS) {
  Deno.test(`the toleration ${JSON.stringify(toleration)} ${tolerates ? "covers" : "does not cover"} a cordon`, () => {
    equal(viewPod({ spec: { containers: [], tolerations: [toleration] } }).toleratesCordon, tolerates);
  });
}

Deno.test("a view has the times of a pod, as the API server sends them", () => {
  const [creationTimestamp, deletionTimestamp] = ["2026-01-01T00:00:00Z", "2026-01-01T00:00:30Z"];
  const times = { creationTimestamp, deletionTimestamp } as unknown as V1ObjectMeta;
  const { createdAt, graceEndsAt, terminating } = viewPod({ metadata: times });
  deepEqual([createdAt, graceEndsAt, terminating], [
    Date.parse(creationTimestamp),
    Date.parse(deletionTimestamp),
    true,
  ]);
});

Deno.test("whatever the policy, a drain leaves mirror pods and DaemonSets' pods alone", () => {
  const care = fc.constantFrom("evict" as const, "refuse" as const);
  const flags = fc.record({ terminating: fc.boolean(), finished: fc.boolean(), emptyDir: fc.boolean() });
  fc.assert(fc.property(flags, care, care, fc.boolean(), fc.boolean(), (flags, unmanaged, emptyDir, skip, mirror) => {
    const view = { ...NORMAL, ...flags, mirror, controller: mirror ? undefined : "DaemonSet" };
    return judge(view, { unmanaged, emptyDir, skip: () => skip }).kind === "skip";
  }));
});

const status = (message: string, more: object = {}) =>
  JSON.stringify({ kind: "Status", apiVersion: "v1", message, ...more });
const BUDGET = status("Cannot evict pod as it would violate the pod's disruption budget.", {
  details: {
    causes: [{
      reason: "DisruptionBudget",
      message: "The disruption budget web needs 2 healthy pods and has 2 currently",
    }],
  },
});
/** A budget that refuses with a sentence of its own. */
const budgetSays = (message: string) =>
  status("Cannot evict pod.", { details: { causes: [{ reason: "DisruptionBudget", message }] } });
const PROCESSING = status("Cannot evict pod as it would violate the pod's disruption budget.", {
  details: {
    retryAfterSeconds: 10,
    causes: [{
      reason: "DisruptionBudget",
      message: "The disruption budget web is still being processed by the server.",
    }],
  },
});
const TERMINATING = status(
  'pods "web" is forbidden: unable to create new content in namespace shop because it is being terminated',
  {
    details: { causes: [{ reason: "NamespaceTerminating", message: "namespace shop is being terminated" }] },
  },
);

const ANSWERS: [code: number, body: string, answer: Partial<EvictionAnswer>][] = [
  [404, status('pods "web" not found', { reason: "NotFound" }), { kind: "gone" }],
  [404, status("the server could not find the requested resource"), { kind: "failed" }],
  [404, JSON.stringify({ message: "default backend - 404" }), {
    kind: "failed",
    reason: "the API server does not answer",
  }],
  [
    409,
    status(
      'Operation cannot be fulfilled on Pod "web": the UID in the precondition (a) does not match the UID in record (b).',
    ),
    { kind: "replaced" },
  ],
  [409, status("something else"), { kind: "failed" }],
  [
    429,
    BUDGET,
    {
      kind: "blocked",
      budget: "web",
      reason: 'its PodDisruptionBudget "web" allows no disruption now (it needs 2 healthy pods and has 2 currently)',
    },
  ],
  [429, budgetSays("The disruption budget web needs 1.5 healthy pods, and has 1."), {
    kind: "blocked",
    budget: "web",
    reason: 'its PodDisruptionBudget "web" allows no disruption now (it needs 1.5 healthy pods, and has 1)',
  }],
  [429, budgetSays("Not now."), {
    kind: "blocked",
    budget: undefined,
    reason: "its PodDisruptionBudget allows no disruption now",
  }],
  [422, status("x".repeat(1_000)), {
    kind: "failed",
    reason: `the API server refuses to evict it: ${"x".repeat(200)}`,
  }],
  [429, PROCESSING, { kind: "blocked", budget: "web", retryAfterMs: 10_000 }],
  [429, status("too many requests", { details: { retryAfterSeconds: 1 } }), { kind: "failed", retryAfterMs: 1_000 }],
  [
    500,
    status("This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."),
    { kind: "several_budgets" },
  ],
  [500, status("boom"), { kind: "failed" }],
  [403, TERMINATING, { kind: "namespace_ending" }],
  [
    403,
    status("admission webhook denied the request"),
    { kind: "failed", reason: "the API server refuses to evict it: admission webhook denied the request" },
  ],
  [422, status("invalid"), { kind: "failed" }],
];

for (const [code, body, expected] of ANSWERS) {
  Deno.test(`an eviction's ${code} '${JSON.parse(body).message.slice(0, 40)}' means ${expected.kind}`, () => {
    const answer = answerOf(errorOf(code, null, body));
    deepEqual({ ...answer, ...expected }, answer);
  });
}

Deno.test("an eviction may have taken effect only where no answer came, or one that does not speak for the API server's store", () => {
  const unsure = (error: unknown) => {
    const answer = answerOf(error);
    return answer.kind === "failed" && answer.isUnsure === true;
  };
  const said = (code: number) => {
    const body = { kind: "Status", apiVersion: "v1", status: "Failure", message: "m", reason: "r", code };
    return errorOf(code, null, JSON.stringify(body));
  };
  const lost = [new UnavailableError("the deadline has passed"), said(500), said(503), said(504)];
  deepEqual(lost.map(unsure), [true, true, true, true]);
  deepEqual([said(409), said(422), said(429), new CallRefusedError("log", "no")].map(unsure), Array(4).fill(false));
});

Deno.test("a refusal is told in the words of the API server", () => {
  const reason = "the API server refuses to evict it: policy 'keep-web' denied request";
  const sentence = "policy 'keep-web' denied request";
  deepEqual({ ...answerOf(new CallRefusedError("for the log", sentence)), retryAfterMs: undefined }, {
    kind: "failed",
    reason,
    retryAfterMs: undefined,
  });
});

Deno.test("a lost connection is worth another try, a missing permission and a bug are not", () => {
  equal(answerOf(new UnavailableError("gone")).kind, "failed");
  const forbidden = status('User "x" cannot create resource "pods/eviction" in API group "" in the namespace "shop"');
  throws(() => answerOf(errorOf(403, null, forbidden)), ForbiddenError);
  throws(() => answerOf(new TypeError("bug")), TypeError);
});
