/** Which cordons a drain sets and lifts, and which ones it leaves to others. @module */

import { deepEqual, equal, ok } from "node:assert/strict";
import * as objects from "../support/cluster_objects.ts";
import { until } from "../support/condition.ts";
import { clusterTest, useControlPlane } from "../support/control_plane.ts";
import { DrainFixture, never } from "../support/drain_fixture.ts";
import { TestLocks } from "../support/keepers.ts";

const plane = useControlPlane();
const FREE = { unschedulable: false, cordon: undefined };
const CORDONED_BY_OTHERS = { unschedulable: true, cordon: undefined };

for (const [onTimeout, kind] of [["refuse", "failed"], ["proceed", "proceed"]] as const) {
  clusterTest(
    `a node that somebody uncordons all the time is not drained in time, with few calls: ${onTimeout}`,
    async () => {
      await using test = await DrainFixture.create(plane(), { drainOptions: { timeoutMs: 1_500, onTimeout } });
      let ended = false;
      const uncordoning = (async () => {
        while (!ended) if ((await test.cordonOf()).unschedulable) await test.cordonByHand(false);
      })();
      const outcome = await test.drain();
      ended = true;
      await uncordoning;
      deepEqual(outcome, { kind, node: test.name, pods: [] });
      const rounds = test.first.calls.filter((call) => call === "get /api/v1/pods").length;
      ok(rounds >= 3 && rounds <= 6, `${rounds} rounds`);
      test.locks.drop(test.hold);
    },
  );
}

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
