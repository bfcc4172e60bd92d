/** The drains of one process, over a cluster whose budget lets no pod go. What one drain does is in drain/. @module */

import { deepEqual, equal, notEqual, ok } from "node:assert/strict";
import type { Drain } from "../../src/keeper/drain/drain.ts";
import type { DrainContext, DrainOptions } from "../../src/keeper/drain/drain_task.ts";
import type { PodCalls } from "../../src/keeper/drain/pod_calls.ts";
import { viewPod } from "../../src/keeper/drain/pods.ts";
import { DrainPace, Drains } from "../../src/keeper/drains.ts";
import { isSameHold } from "../../src/lock/hold_ages.ts";
import type { CordonOwner } from "../../src/keeper/nodes/cordon.ts";
import { viewNode } from "../../src/keeper/nodes/node.ts";
import { UnavailableError } from "../../src/lock/errors.ts";
import { parseClientId, parseGroup } from "../../src/lock/identity.ts";
import type { HeldNode } from "../../src/lock/semaphore.ts";
import { FakeClock } from "../support/fake_clock.ts";

const SINCE = Date.UTC(2026, 0, 1);

function ownerOf(change: { id?: string; group?: string; since?: number } = {}): CordonOwner {
  const { id = "alice", group = "default", since = SINCE } = change;
  return { namespace: "ops", group: parseGroup(group)!, id: parseClientId(id)!, since };
}

const heldNode = (name: string, change: Partial<HeldNode> = {}): HeldNode => ({
  name,
  uid: `uid of ${name}`,
  phase: "draining",
  ...change,
});

class Clock extends FakeClock {
  isFresh(_ms: number): boolean {
    return true;
  }
}

/** Makes drains, and notes which begin and how they end. Each node has one pod, named after it. */
function setUp(options: DrainOptions = {}) {
  const clock = new Clock(SINCE);
  const told: string[] = [];
  const lifted: string[] = [];
  const state = { fault: undefined as Error | undefined, isLetGo: false };
  const nodeOf = (name: string) => ({
    ...viewNode({ metadata: { name, uid: `uid of ${name}` } }),
    unschedulable: true,
    ready: "True",
  });
  const pods: Partial<PodCalls> = {
    watchPods: (node, watcher, signal) => {
      const pod = { ...viewPod({ metadata: { name: `pod-${node}`, namespace: "shop", uid: `pod-${node}` } }) };
      watcher.synced(state.isLetGo ? [] : [pod], "1");
      if (signal.aborted) return Promise.resolve();
      return new Promise((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
    },
    evict: () => Promise.resolve({ kind: "blocked", budget: "web", reason: "its budget" }),
    listAttachments: () => Promise.resolve([]),
  };
  const nothing = () => {};
  const context: DrainContext = {
    pods: pods as PodCalls,
    nodes: { getNode: (name) => Promise.resolve(nodeOf(name)) },
    view: { isSynced: true, peek: nodeOf },
    cordon: {
      set: () => state.fault === undefined ? Promise.resolve("already") : Promise.reject(state.fault),
      lift: (name, owner, readFirst) => {
        equal(readFirst, true);
        lifted.push(`${name} ${owner.id} ${owner.since - SINCE}`);
        return Promise.resolve(true);
      },
    },
    clock,
    listener: {
      cordoned: nothing,
      evicted: nothing,
      progress: nothing,
      deleting: nothing,
      stillAttached: nothing,
      staying: nothing,
      uncordonedByOthers: nothing,
      retrying: nothing,
    },
    holdExists: () => Promise.resolve(true),
    random: () => 1,
  };
  const drains = new Drains(
    options,
    context,
    {
      drainBegan: ({ node, owner }) => told.push(`${node} ${owner.id} began`),
      drainEnded: ({ node, owner }, end, error) =>
        told.push(`${node} ${owner.id} ${end?.kind ?? (error as Error).message}`),
    },
    clock,
  );
  /** Lets what can happen without time passing happen. */
  const settle = async () => {
    for (let turns = 0; turns < 3; turns++) await clock.advance(0);
  };
  /** Lets the time pass from sleep to sleep. */
  const pass = async (ms: number) => {
    const until = clock.passed + ms;
    await settle();
    while (clock.passed < until) await clock.advance(Math.min(clock.nextIn ?? Infinity, until - clock.passed));
    await settle();
  };
  return { drains, clock, told, lifted, state, settle, pass };
}

const nodesOf = (drains: readonly Drain[]) => drains.map(({ task }) => task.node);

Deno.test("the pause between drains for nothing doubles up to a limit, which is higher where it is not for pods", async () => {
  for (
    const [isForPods, pauses] of [
      [true, [500, 1_000, 2_000, 4_000, 5_000, 5_000]],
      [false, [2_000, 4_000, 8_000, 10_000, 10_000, 10_000]],
    ] as const
  ) {
    const clock = new FakeClock();
    const pace = new DrainPace(clock);
    equal(pace.leftMs, 0);
    for (const pause of pauses) {
      pace.failed(isForPods);
      equal(pace.leftMs, pause);
      await clock.advance(pause - 100);
      equal(pace.leftMs, 100);
      await clock.advance(200);
      equal(pace.leftMs, 0);
    }
  }
});

Deno.test("a pause that was for something else is shortened to the longest one for pods, and goes on from there", () => {
  const pace = new DrainPace(new FakeClock());
  const left = [false, false, false, true, false].map((isForPods) => {
    pace.failed(isForPods);
    return pace.leftMs;
  });
  deepEqual(left, [2_000, 4_000, 8_000, 5_000, 10_000]);
});

Deno.test("a drain is joined by its hold and its very Node, and begins once", async () => {
  const { drains, told } = setUp();
  const first = drains.join(ownerOf(), heldNode("a"));
  equal(drains.join(ownerOf(), heldNode("a")), first);
  for (const owner of [ownerOf({ id: "bob" }), ownerOf({ group: "other" })]) {
    notEqual(drains.join(owner, heldNode("a")), first);
  }
  // Another Node of the same name is drained beside it.
  notEqual(drains.join(ownerOf(), heldNode("a", { uid: "later" })), first);
  deepEqual(told, ["a alice began", "a bob began", "a alice began", "a alice began"]);
  await drains[Symbol.asyncDispose]();
});

Deno.test("a drain is told which Node and hold it is for, and whether the node was drained before", async () => {
  const { drains } = setUp();
  const { task } = drains.join(ownerOf(), heldNode("a", { machineId: "m" }));
  deepEqual({ ...task, memory: undefined }, {
    node: "a",
    uid: "uid of a",
    machineId: "m",
    owner: ownerOf(),
    memory: undefined,
    again: false,
  });
  equal(task.memory, drains.memoryOf(ownerOf(), heldNode("a")));
  const age = { atLeastMs: 1, atMostMs: 2 };
  const again = drains.join(ownerOf(), heldNode("b", { phase: "drained" }), {}, age);
  deepEqual([again.task.again, again.task.age], [true, age]);
  await drains[Symbol.asyncDispose]();
});

for (const [laterMs, isStopped] of [[999, false], [1_000, true]] as const) {
  Deno.test(`a drain for a hold of the same client that began ${laterMs} ms earlier ${isStopped ? "ends" : "goes on"}`, async () => {
    const { drains, told, lifted, settle } = setUp();
    drains.join(ownerOf(), heldNode("a"));
    drains.join(ownerOf({ id: "bob" }), heldNode("c"));
    await settle();
    drains.join(ownerOf({ since: SINCE + laterMs }), heldNode("b"));
    await settle();
    deepEqual(nodesOf(drains.of(ownerOf().group, ownerOf().id)), isStopped ? ["b"] : ["a", "b"]);
    deepEqual(lifted, isStopped ? ["a alice 0"] : []);
    equal(told.includes("a alice abandoned"), isStopped);
    ok(drains.isBusy("c"));
    await drains[Symbol.asyncDispose]();
  });
}

Deno.test("a group's own time-out and policy go before those for all, one by one", async () => {
  const options = { timeoutMs: 60_000, onTimeout: "proceed" } as const;
  for (
    const [rule, endsAt, kind] of [
      [undefined, 60_000, "proceed"],
      [{}, 60_000, "proceed"],
      [{ timeoutMs: 20_000 }, 20_000, "proceed"],
      [{ onTimeout: "refuse" }, 60_000, "failed"],
      [{ timeoutMs: 20_000, onTimeout: "refuse" }, 20_000, "failed"],
    ] as const
  ) {
    const { drains, told, pass } = setUp(options);
    drains.join(ownerOf(), heldNode("a"), rule);
    await pass(endsAt - 1);
    deepEqual(told, ["a alice began"]);
    await pass(1);
    deepEqual(told, ["a alice began", `a alice ${kind}`]);
  }
});

Deno.test("a drain counts while it runs: by its hold and Node, and by its node's name", async () => {
  const { drains, pass, state } = setUp({ timeoutMs: 20_000 });
  const seen = () => [
    drains.isRunning(ownerOf(), heldNode("a")),
    drains.isRunning(ownerOf(), heldNode("b")),
    drains.isRunning(ownerOf({ id: "bob" }), heldNode("a")),
    drains.isRunning(ownerOf({ since: SINCE + 1 }), heldNode("a")),
    drains.isBusy("a"),
    drains.isBusy("b"),
  ];
  const nothing = [false, false, false, false, false, false];
  deepEqual(seen(), nothing);
  drains.join(ownerOf(), heldNode("a"));
  deepEqual(seen(), [true, false, false, false, true, false]);
  await pass(20_000);
  deepEqual(seen(), nothing);
  state.isLetGo = true;
  drains.join(ownerOf(), heldNode("a"));
  await pass(1_000);
  deepEqual(seen(), nothing);
});

Deno.test("a drain that ends by a fault is told with it, and can begin again", async () => {
  const { drains, told, pass, state } = setUp({ timeoutMs: 1_000 });
  state.fault = new UnavailableError("away");
  drains.join(ownerOf(), heldNode("a"));
  await pass(30_000);
  deepEqual(told, ["a alice began", "a alice away"]);
  drains.join(ownerOf(), heldNode("a"));
  equal(told.length, 3);
  await drains[Symbol.asyncDispose]();
});

Deno.test("what a hold's drains wait for is summed over its nodes, not over other holds", async () => {
  const { drains, settle } = setUp();
  const { group, id } = ownerOf();
  const blockedOf = ({ node }: { node: string }) => ({ a: 2, b: 3, c: 5 })[node]!;
  equal(drains.leftOf(group, id, SINCE, blockedOf), undefined);
  for (const node of ["a", "b"]) drains.join(ownerOf(), heldNode(node));
  drains.join(ownerOf({ id: "bob" }), heldNode("c"));
  await settle();
  const reason = "its budget";
  deepEqual(drains.leftOf(group, id, SINCE + 999, blockedOf), {
    pods: [{ namespace: "shop", name: "pod-a", reason }, { namespace: "shop", name: "pod-b", reason }],
    blocked: 5,
  });
  equal(drains.leftOf(group, id, SINCE + 1_000, blockedOf), undefined);
  equal(drains.leftOf(parseGroup("other")!, id, SINCE, blockedOf), undefined);
  await drains[Symbol.asyncDispose]();
});

Deno.test("holds are remembered until they are over, or their drain is abandoned, whether or not a drain runs", async () => {
  const { drains, pass, told, lifted } = setUp({ timeoutMs: 20_000 });
  const [alice, bob] = [ownerOf(), ownerOf({ id: "bob" })];
  const memory = drains.memoryOf(alice, heldNode("a"));
  const pace = drains.paceOf(alice, heldNode("a"));
  equal(drains.memoryOf(ownerOf(), heldNode("a")), memory);
  equal(drains.paceOf(ownerOf(), heldNode("a")), pace);
  notEqual(drains.paceOf(alice, heldNode("b")), pace);
  notEqual(drains.memoryOf(bob, heldNode("a")), memory);
  notEqual(drains.memoryOf(alice, heldNode("b")), memory);
  deepEqual(drains.owners(), [alice, bob]);
  deepEqual(drains.owners(alice.group, alice.id), [alice]);
  deepEqual(drains.owners(parseGroup("other")!, alice.id), []);
  drains.join(alice, heldNode("a"));
  drains.join(bob, heldNode("b"));
  await pass(20_000);
  deepEqual(told.slice(2), ["a alice failed", "b bob failed"]);
  equal(drains.memoryOf(alice, heldNode("a")), memory);
  deepEqual(drains.end(alice), []);
  deepEqual(drains.owners(), [bob]);
  notEqual(drains.memoryOf(alice, heldNode("a")), memory);
  deepEqual(lifted, []);
});

Deno.test("the end of a hold stops its drains alone, with their cordons lifted", async () => {
  const { drains, told, lifted, settle } = setUp();
  for (const node of ["a", "b"]) drains.join(ownerOf(), heldNode(node));
  drains.join(ownerOf({ group: "other" }), heldNode("c"));
  // Nearly the same time, but another hold.
  drains.join(ownerOf({ since: SINCE + 1 }), heldNode("d"));
  await settle();
  const ending = drains.end(ownerOf());
  deepEqual(nodesOf(ending), ["a", "b"]);
  deepEqual((await Promise.all(ending.map(({ end }) => end))).map(({ kind }) => kind), ["abandoned", "abandoned"]);
  deepEqual(told.slice(4), ["a alice abandoned", "b alice abandoned"]);
  deepEqual(lifted, ["a alice 0", "b alice 0"]);
  deepEqual(drains.owners().map(({ group, since }) => `${group} ${since - SINCE}`), ["other 0", "default 1"]);
  deepEqual([drains.isBusy("c"), drains.isBusy("d")], [true, true]);
  await drains[Symbol.asyncDispose]();
});

Deno.test("an abandoned drain's hold is forgotten, even if it is asked for while the drain ends", async () => {
  const { drains, settle } = setUp();
  drains.join(ownerOf(), heldNode("a"));
  await settle();
  drains.end(ownerOf());
  const memory = drains.memoryOf(ownerOf(), heldNode("a"));
  await settle();
  deepEqual(drains.owners(), []);
  notEqual(drains.memoryOf(ownerOf(), heldNode("a")), memory);
});

Deno.test("when the process ends, drains stop where they are with their cordons, and later ones too", async () => {
  const { drains, told, lifted } = setUp();
  drains.join(ownerOf(), heldNode("a"));
  await drains[Symbol.asyncDispose]();
  deepEqual(told, ["a alice began", "a alice draining"]);
  equal((await drains.join(ownerOf(), heldNode("b")).end).kind, "draining");
  deepEqual(lifted, []);
  deepEqual(drains.owners(), [ownerOf()]);
});

for (
  const [what, one, other, expected] of [
    ["the same", 1_234, 1_234, true],
    ["the same whole second", 1_000, 1_000, true],
    ["a millisecond apart", 1_234, 1_235, false],
    ["within a second, of which one is cut to that", 1_234, 1_000, true],
    ["at the end of a second, of which one is cut to that", 1_999, 1_000, true],
    ["of which one is the next whole second", 1_999, 2_000, false],
    ["of which one is an earlier whole second", 2_000, 1_000, false],
  ] as const
) {
  Deno.test(`two times of a grant that are ${what} mean ${expected ? "the same grant" : "two grants"}`, () => {
    equal(isSameHold(Date.UTC(2030, 0, 1) + one, Date.UTC(2030, 0, 1) + other), expected);
    equal(isSameHold(Date.UTC(2030, 0, 1) + other, Date.UTC(2030, 0, 1) + one), expected);
  });
}
