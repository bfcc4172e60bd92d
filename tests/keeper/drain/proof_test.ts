/** What is collected for a yes. What a yes needs of it is in tests/lock/yes_test.ts. @module */

import { deepEqual, equal, rejects } from "node:assert/strict";
import type { PodCalls } from "../../../src/keeper/drain/pod_calls.ts";
import { type PodView, viewPod } from "../../../src/keeper/drain/pods.ts";
import { collectEvidence, knownTime, seenPod } from "../../../src/keeper/drain/proof.ts";
import { viewNode } from "../../../src/keeper/nodes/node.ts";
import { UnavailableError } from "../../../src/lock/errors.ts";

const TIME = Date.UTC(2026, 0, 1);

/** A clock whose time the API server told so long ago. */
const toldBefore = (ageMs: number) => ({ now: () => TIME, isFresh: (ttlMs: number) => ageMs < ttlMs });

const web: PodView = {
  ...viewPod({}),
  namespace: "shop",
  name: "web",
  uid: "u",
  createdAt: TIME - 5_000,
  boundAt: TIME - 4_000,
  toleratesCordon: true,
  controller: "ReplicaSet",
  controllerUid: "c",
  graceEndsAt: TIME + 30_000,
};

const seenWeb = {
  namespace: "shop",
  name: "web",
  createdAt: TIME - 5_000,
  boundAt: TIME - 4_000,
  toleratesCordon: true,
  controller: "c",
  graceEndsAt: TIME + 30_000,
};

Deno.test("the API server's time is known for a minute after it was told", () => {
  equal(knownTime(toldBefore(59_999)), TIME);
  equal(knownTime(toldBefore(60_000)), undefined);
});

Deno.test("a pod is seen with what a yes asks for, and with the reason why it stays where it is exempt", () => {
  deepEqual(seenPod(web, {}), seenWeb);
  deepEqual(seenPod({ ...web, mirror: true }, {}), { ...seenWeb, exempt: "mirror" });
  deepEqual(seenPod(web, { skip: () => true }), { ...seenWeb, exempt: "selector" });
  // A pod that the operator does not want evicted is left, as any other one.
  deepEqual(seenPod({ ...web, emptyDir: true }, { emptyDir: "refuse" }), seenWeb);
});

/** Collects evidence of the Node n1 with the UID n1-uid. */
async function collect(node: Parameters<typeof collectEvidence>[1], timeAgeMs: number, pods: readonly PodView[]) {
  const asked: unknown[] = [];
  const listPods: PodCalls["listPods"] = (name, signal) => {
    asked.push(name, signal);
    return Promise.resolve([...pods]);
  };
  const exhausted = new Map([["c", TIME]]);
  const { signal } = new AbortController();
  const noted = { name: "n1", uid: "n1-uid", phase: "draining" };
  const options = { pods: { listPods }, clock: toldBefore(timeAgeMs), policy: {}, exhausted };
  const evidence = await collectEvidence(noted, node, TIME - 60_000, options, signal);
  deepEqual(asked, ["n1", signal]);
  equal(evidence.exhausted, exhausted);
  const { exhausted: _, ...rest } = evidence;
  return rest;
}

Deno.test("the evidence is the noted Node, the one that has its name now, its pods, and the times of both clocks", async () => {
  const node = viewNode({ metadata: { name: "n1", uid: "another" } });
  deepEqual(await collect(node, 0, [web, { ...web, finished: true }]), {
    noted: { name: "n1", uid: "n1-uid" },
    node,
    pods: [seenWeb, { ...seenWeb, exempt: "finished" }],
    grantedAt: TIME - 60_000,
    now: TIME,
  });
});

Deno.test("the evidence has no node where there is none, and no time where the API server has not told it lately", async () => {
  const evidence = await collect(undefined, 60_000, []);
  deepEqual(evidence, { noted: { name: "n1", uid: "n1-uid" }, pods: [], grantedAt: TIME - 60_000, now: undefined });
  equal("node" in evidence, false);
});

Deno.test("there is no evidence where the pods cannot be listed", async () => {
  const away = new UnavailableError("away");
  const listPods = () => Promise.reject(away);
  const options = { pods: { listPods }, clock: toldBefore(0), policy: {}, exhausted: new Map<string, number>() };
  await rejects(collectEvidence({ name: "n1", uid: "u" }, undefined, TIME, options), away);
});
