/** Which cordons a drain sets and lifts, and which ones it leaves to others. @module */

import { deepEqual, equal, ok, rejects } from "node:assert/strict";
import { NodeCalls } from "../../src/keeper/nodes/node_calls.ts";
import { NodeCordon } from "../../src/keeper/nodes/node_cordon.ts";
import { NodeWatch } from "../../src/keeper/nodes/node_watch.ts";
import { CallRefusedError } from "../../src/lock/errors.ts";
import * as objects from "../support/cluster_objects.ts";
import { until } from "../support/condition.ts";
import { clusterTest, useControlPlane } from "../support/control_plane.ts";
import { DrainFixture, never } from "../support/drain_fixture.ts";
import { TestLocks } from "../support/keepers.ts";

const plane = useControlPlane();
const PATCH = "application/merge-patch+json";
const FREE = { unschedulable: false, cordon: undefined };
const KEPT = "it is being deleted, and its finalizers are not done: example.com/hold";
const CORDONED_BY_OTHERS = { unschedulable: true, cordon: undefined };

clusterTest(
  "a node that somebody uncordons all the time is not drained, with few calls, and the log says why",
  async () => {
    // Others who insist are not a reason to reboot with pods left.
    await using test = await DrainFixture.create(plane(), { drainOptions: { onTimeout: "proceed" } });
    // Without a pod, a proof between a cordon and its end could rightly find the node empty.
    await test.pod("kept", { finalizers: ["example.com/hold"] });
    let ended = false;
    const uncordoning = (async () => {
      while (!ended) if ((await test.cordonOf()).unschedulable) await test.cordonByHand(false);
    })();
    const outcome = await test.drain(60_000);
    ended = true;
    await uncordoning;
    const pods = [{ namespace: test.namespace, name: "kept", reason: KEPT }];
    deepEqual(outcome, { kind: "failed", node: test.name, pods, reason: "others uncordon the node again and again" });
    const patches = test.first.calls.filter((call) => call === "patchNode").length;
    // Each cordon, and the annotation that each uncordoning leaves.
    ok(patches >= 4 && patches <= 10, `${patches} patches`);
    ok(test.first.log.includes("drain failed: the client keeps its slot"));
    ok(!test.first.log.some((line) => /stays cordoned/.test(line)));
    await test.endPod("kept");
    test.locks.drop(test.hold);
  },
);

clusterTest("a drained node keeps an administrator's cordon", async () => {
  await using test = await DrainFixture.create(plane());
  await test.pod("web");
  await test.cordonByHand(true);
  const { group, id, since } = test.hold;
  // This keeper sees the cordon from its start.
  const { keeper, calls } = await test.replica();
  equal((await keeper.drain(test.hold, 20_000, never)).kind, "drained");
  deepEqual(await test.cordonOf(), CORDONED_BY_OTHERS);
  await keeper.uncordon(group, id, since);
  deepEqual(await test.cordonOf(), CORDONED_BY_OTHERS);
  ok(!calls.includes("patchNode"));
});

clusterTest("a node that an administrator uncordons during the drain is cordoned again before the yes", async () => {
  await using test = await DrainFixture.create(plane());
  await test.pod("slow", { graceSeconds: 77 });
  const waiting = test.drain();
  await test.terminating("slow");
  await test.cordonByHand(false);
  await test.endPod("slow");
  equal((await waiting).kind, "drained");
  const { unschedulable, cordon } = await test.cordonOf();
  ok(unschedulable && cordon !== undefined);
});

clusterTest("an administrator's cordon after ours was lifted by hand stays", async () => {
  await using test = await DrainFixture.create(plane());
  equal((await test.drain()).kind, "drained");
  // kubectl uncordon leaves our annotation. We remove it, so that the next cordon counts as the administrator's.
  await test.cordonByHand(false);
  await until(async () => (await test.cordonOf()).cordon === undefined);
  await test.cordonByHand(true);
  await test.uncordon();
  deepEqual(await test.cordonOf(), CORDONED_BY_OTHERS);
});

clusterTest("a node that two groups hold stays cordoned until both holds have ended", async () => {
  await using test = await DrainFixture.create(plane());
  const other = await test.replica();
  const [first, second] = [test.grant({ group: "one" }), test.grant({ group: "two" })];
  const outcomes = await Promise.all([
    test.keeper.drain(first, 20_000, never),
    other.keeper.drain(second, 20_000, never),
  ]);
  deepEqual(outcomes.map(({ kind }) => kind), ["drained", "drained"]);
  deepEqual(Object.keys(JSON.parse((await test.cordonOf()).cordon!)).sort(), ["default/one", "default/two"]);
  await until(() => test.keeper.isSynced);
  await test.keeper.uncordon(first.group, first.id, first.since);
  test.locks.drop(first);
  const left = await test.cordonOf();
  ok(left.unschedulable);
  deepEqual(Object.keys(JSON.parse(left.cordon!)), ["default/two"]);
  await other.keeper.uncordon(second.group, second.id, second.since);
  deepEqual(await test.cordonOf(), FREE);
});

clusterTest(
  "a late release lifts the cordon of an earlier hold of its client, not that of the current one",
  async () => {
    await using test = await DrainFixture.create(plane(), { sweepMs: 3_600_000 });
    const earlier = test.grant({ since: Date.now() - 60_000 });
    equal((await test.drain()).kind, "drained");
    const { group, id, since } = test.grant();
    equal((await test.drain()).kind, "drained");
    // Two late requests: one saw the earlier hold, the other none.
    await test.keeper.uncordon(group, id, earlier.since);
    await test.keeper.uncordon(group, id);
    const { unschedulable, cordon } = await test.cordonOf();
    ok(unschedulable);
    deepEqual(JSON.parse(cordon!), { "default/default": { id, since: new Date(since).toISOString() } });
    test.locks.drop(test.hold);
    await test.keeper.uncordon(group, id);
    deepEqual(await test.cordonOf(), FREE);
  },
);

clusterTest(
  "an installation in another namespace leaves our cordon alone, even for a group of the same name",
  async () => {
    await using test = await DrainFixture.create(plane());
    equal((await test.drain()).kind, "drained");
    const before = await test.cordonOf();
    // It does not know the lock, and checks every cordon at once and when it is told that the client is back.
    const other = await test.replica({ locks: new TestLocks(), namespace: "kube-public", sweepMs: 50 });
    await other.keeper.uncordon(test.hold.group, test.hold.id);
    // It lifts a cordon of its own, which shows that it has checked.
    const second = await objects.createNode(plane());
    await other.keeper.drain({ ...test.hold, id: second.id as typeof test.hold.id }, 20_000, never);
    await until(async () => !(await test.cordonOf(second.name)).unschedulable);
    deepEqual(await test.cordonOf(), before);
    await test.uncordon();
    deepEqual(await test.cordonOf(), FREE);
  },
);

clusterTest("a keeper lifts a stale cordon at its start, but not one whose client holds its slot", async () => {
  const locks = new TestLocks();
  await using held = await DrainFixture.create(plane(), { locks });
  equal((await held.drain()).kind, "drained");
  await using stale = await DrainFixture.create(plane(), { locks });
  equal((await stale.drain()).kind, "drained");
  for (const fixture of [held, stale]) await fixture.first.stop();
  locks.drop(stale.hold);
  const second = await stale.replica();
  await until(async () => !(await stale.cordonOf()).unschedulable);
  deepEqual(await stale.cordonOf(), FREE);
  await until(() => second.log.includes("lifted a stale cordon: its client holds no slot"));
  ok((await held.cordonOf()).unschedulable);
});

/** Uncordons the node as an administrator and cordons it again. */
async function takeOver(test: DrainFixture, between: () => Promise<unknown> = () => Promise.resolve()): Promise<void> {
  await test.cordonByHand(false);
  await between();
  await test.cordonByHand(true);
}

clusterTest("a cordon that an administrator lifts and sets again during the drain is theirs and stays", async () => {
  await using test = await DrainFixture.create(plane());
  await test.pod("slow", { graceSeconds: 77 });
  const waiting = test.drain();
  await test.terminating("slow");
  await takeOver(test);
  // Our annotation goes although the drain still runs.
  await until(async () => (await test.cordonOf()).cordon === undefined);
  await test.endPod("slow");
  equal((await waiting).kind, "drained");
  await test.uncordon();
  deepEqual(await test.cordonOf(), CORDONED_BY_OTHERS);
});

clusterTest(
  "a cordon that an administrator sets after ours has lost its annotation stays, during the drain too",
  async () => {
    await using test = await DrainFixture.create(plane());
    await test.pod("slow", { graceSeconds: 77 });
    const waiting = test.drain();
    await test.terminating("slow");
    await takeOver(test, () => until(async () => (await test.cordonOf()).cordon === undefined));
    await test.endPod("slow");
    equal((await waiting).kind, "drained");
    await test.uncordon();
    deepEqual(await test.cordonOf(), CORDONED_BY_OTHERS);
  },
);

clusterTest(
  "a cordon that an administrator lifts and sets again while no server runs is theirs and stays",
  async () => {
    await using test = await DrainFixture.create(plane());
    equal((await test.drain()).kind, "drained");
    await test.first.stop();
    await takeOver(test);
    ok((await test.cordonOf()).cordon !== undefined);
    const second = await test.replica();
    await until(async () => (await test.cordonOf()).cordon === undefined);
    await second.keeper.uncordon(test.hold.group, test.hold.id, test.hold.since);
    deepEqual(await test.cordonOf(), CORDONED_BY_OTHERS);
  },
);

clusterTest("a cordon whose annotation cannot be read stays as it is, and is told once", async () => {
  await using test = await DrainFixture.create(plane());
  const metadata = { annotations: { "fleetlock.internal/cordoned-for": "{" } };
  await plane().request("PATCH", `/api/v1/nodes/${test.name}`, { metadata, spec: { unschedulable: true } }, PATCH);
  const { log } = await test.replica({ sweepMs: 20 });
  equal((await test.drain()).kind, "drained");
  await test.uncordon();
  const told = () => log.filter((line) => line.startsWith("the annotation of a cordon cannot be read")).length;
  await until(() => told() > 0);
  equal(told(), 1);
  deepEqual(await test.cordonOf(), { unschedulable: true, cordon: "{" });
});

clusterTest("a cordon for locks in another namespace is told once, with what to do", async () => {
  await using test = await DrainFixture.create(plane());
  equal((await test.drain()).kind, "drained");
  const fields: Record<string, unknown>[] = [];
  const warning = (message: string, about: Record<string, unknown>) => {
    if (message === "a node is cordoned for locks in another namespace" && about.node === test.name) fields.push(about);
  };
  const log = { info() {}, warning, error() {} };
  await test.replica({ namespace: "kube-public", sweepMs: 20, log });
  await until(() => fields.length > 0);
  // Another sweep.
  await test.cordonOf();
  equal(fields.length, 1);
  deepEqual([fields[0]!.namespace, fields[0]!.ours], ["default", "kube-public"]);
  ok(String(fields[0]!.hint).includes("fleetlock.internal/cordoned-for"));
});

clusterTest("a cordon that an admission policy refuses is told in its own words, and tried once", async () => {
  await using test = await DrainFixture.create(plane());
  const policies = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies";
  const bindings = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings";
  const name = `no-cordon-${test.name}`;
  await plane().request("POST", policies, {
    metadata: { name },
    spec: {
      failurePolicy: "Fail",
      matchConstraints: {
        resourceRules: [{ apiGroups: [""], apiVersions: ["v1"], operations: ["UPDATE"], resources: ["nodes"] }],
      },
      validations: [{
        expression: `object.metadata.name != "${test.name}" || !has(object.spec.unschedulable)`,
        message: "nobody cordons this node today",
      }],
    },
  });
  await plane().request("POST", bindings, {
    metadata: { name },
    spec: { policyName: name, validationActions: ["Deny"] },
  });
  const dryRun = `/api/v1/nodes/${test.name}?dryRun=All`;
  const isDenied = () =>
    plane().request("PATCH", dryRun, { spec: { unschedulable: true } }, PATCH).then(() => false, () => true);
  await until(isDenied, { timeoutMs: 30_000, what: "the policy is in force" });
  const owner = { ...test.hold, namespace: "default" };
  const cordon = new NodeCordon(new NodeCalls(test.first.client), new NodeWatch(new NodeCalls(test.first.client)));
  const before = test.first.calls.filter((call) => call === "patchNode").length;
  await rejects(cordon.set(test.node, owner, () => Promise.resolve(true), true, never), (error) => {
    return error instanceof CallRefusedError && /nobody cordons this node today/.test(error.publicMessage ?? "");
  });
  equal(test.first.calls.filter((call) => call === "patchNode").length, before + 1);
  await plane().request("DELETE", `${bindings}/${name}`);
  await plane().request("DELETE", `${policies}/${name}`);
});

clusterTest("a patch meant for an earlier Node of the name is a conflict, not a refusal", async () => {
  await using test = await DrainFixture.create(plane());
  const calls = new NodeCalls(test.first.client);
  const node = (await calls.getNode(test.name))!;
  equal(await calls.patchNode({ ...node, uid: crypto.randomUUID() }, { unschedulable: true }), "conflict");
  equal(await calls.patchNode({ ...node, resourceVersion: "1" }, { unschedulable: true }), "conflict");
});
