/** What a guard knows of its node between its calls. How a drain uses it is in drain_test.ts. @module */

import { deepEqual, equal, rejects } from "node:assert/strict";
import { CordonGuard } from "../../../src/keeper/drain/cordon_guard.ts";
import { CallRetry } from "../../../src/keeper/drain/call_retry.ts";
import { DrainMemory } from "../../../src/keeper/drain/drain_memory.ts";
import type { DrainContext, DrainTask } from "../../../src/keeper/drain/drain_task.ts";
import { type NodeView, viewNode } from "../../../src/keeper/nodes/node.ts";
import { parseClientId, parseGroup } from "../../../src/lock/identity.ts";
import { FakeClock } from "../../support/fake_clock.ts";

const view = (resourceVersion: string, change: Partial<NodeView> = {}): NodeView => ({
  ...viewNode({ metadata: { name: "n", uid: "n1", resourceVersion } }),
  unschedulable: true,
  ...change,
});

type Set = Awaited<ReturnType<DrainContext["cordon"]["set"]>>;

/**
 * A guard of the Node n with the UID n1. The test says what the watch shows, what a read finds and what a patch does.
 */
function setUp(start: { seen?: NodeView; read?: NodeView; set?: Set; isSynced?: boolean } = {}) {
  const world = { seen: start.seen, read: start.read, set: start.set ?? "cordoned" as Set, isSynced: true, ...start };
  const clock = new FakeClock();
  const { signal } = new AbortController();
  const owner = { namespace: "ops", group: parseGroup("default")!, id: parseClientId("a")!, since: clock.now() };
  const task: DrainTask = { node: "n", uid: "n1", memory: new DrainMemory(), owner, again: false };
  const told: string[] = [];
  const tell = (event: string) => () => void told.push(event);
  const listener = new Proxy({}, { get: (_, event: string) => tell(event) }) as DrainContext["listener"];
  const guard = new CordonGuard({
    task,
    context: {
      clock,
      listener,
      nodes: {
        getNode: (name: string, by?: AbortSignal) => {
          deepEqual([name, by], ["n", signal]);
          return Promise.resolve(world.read);
        },
      },
      view: {
        get isSynced() {
          return world.isSynced;
        },
        peek: (name: string) => name === "n" ? world.seen : undefined,
      },
      cordon: { set: () => Promise.resolve(world.set) },
    } as unknown as DrainContext,
    retry: new CallRetry({ clock, deadline: clock.monotonic(), deniedMs: 0, signal, retrying: () => {} }),
    signal,
  });
  return { guard, world, clock, told, memory: task.memory };
}

Deno.test("a cordon counts as set for ten seconds after a write has shown it, and for one while the watch is not in step", async () => {
  for (const [isSynced, ms] of [[true, 10_000], [false, 1_000]] as const) {
    const { guard, clock } = setUp({ seen: view("1"), isSynced });
    equal(guard.isConfirmed, false);
    await guard.begin();
    equal(guard.isConfirmed, true);
    await clock.advance(ms - 1);
    equal(guard.isConfirmed, true);
    await clock.advance(1);
    equal(guard.isConfirmed, false);
  }
});

Deno.test("a Node that is cordoned already counts as cordoned, and nothing is told", async () => {
  for (const [set, told] of [["already", []], ["cordoned", ["cordoned"]]] as const) {
    const test = setUp({ seen: view("1"), set });
    equal(await test.guard.begin(), "cordoned");
    equal(await test.guard.check(), "cordoned");
    deepEqual([test.told, test.memory.wasCordoned], [told, true]);
  }
});

Deno.test("a Node that is cordoned for a hold that is gone is not remembered as cordoned", async () => {
  const { guard, memory } = setUp({ seen: view("1"), set: "not_held" });
  equal(await guard.begin(), "not_held");
  equal(memory.wasCordoned, false);
});

Deno.test("the Node is shown as it was read or as the watch shows it, whichever is newer", async () => {
  const { guard, world } = setUp({ seen: view("5"), read: view("6") });
  deepEqual(guard.node, world.seen);
  await guard.confirm();
  deepEqual(guard.node, world.read);
  world.seen = view("7");
  deepEqual(guard.node, world.seen);
  // The same version is the same state.
  world.seen = view("6", { ready: "True" });
  equal(guard.node, world.seen);
});

Deno.test("the Node is shown as it was read where the watch shows none or another one, and nothing where none was read", async () => {
  const { guard, world } = setUp({ read: view("6") });
  equal(guard.node, undefined);
  await guard.confirm();
  equal(guard.node, world.read);
  world.seen = view("9", { uid: "n2" });
  equal(guard.node, world.read);
  const unread = setUp({ seen: view("9", { uid: "n2" }) });
  equal(unread.guard.node, undefined);
});

Deno.test("a Node that is gone is shown as the read found it, whatever the watch still shows", async () => {
  const { guard, world } = setUp({ seen: view("5"), read: view("9", { uid: "n2" }) });
  equal(await guard.confirm(), "gone");
  equal(guard.isGone, true);
  equal(guard.node, world.read);
});

Deno.test("what was found out holds until the watch shows anything else but a cordoned Node", async () => {
  const { guard, world } = setUp({ seen: view("5") });
  await guard.begin();
  equal(guard.isUnchanged, true);
  world.seen = view("6");
  equal(guard.isUnchanged, true);
  for (const change of [{ unschedulable: false }, { uid: "n2" }]) {
    world.seen = view("7", change);
    equal(guard.isUnchanged, false);
  }
  world.seen = undefined;
  equal(guard.isUnchanged, false);
  // Where the Node is gone, what the watch showed then may be anything, and the next thing is new.
  equal(await guard.confirm(), "gone");
  equal(guard.isUnchanged, true);
  world.seen = view("8");
  equal(guard.isUnchanged, false);
});

Deno.test("a reading for its time alone is kept where it shows the Node, and says nothing of one that is gone", async () => {
  const { guard, world } = setUp({ read: view("6") });
  await guard.read();
  equal(guard.node, world.read);
  // It confirms no cordon: the next check looks at what it shows.
  equal(guard.isConfirmed, false);
  const [kept] = [world.read];
  for (const found of [undefined, view("9", { uid: "n2" })]) {
    world.read = found;
    await guard.read();
    equal(guard.node, kept);
    equal(guard.isGone, false);
  }
});

Deno.test("a reading for its time alone is not repeated", async () => {
  const { guard, world } = setUp();
  Object.defineProperty(world, "read", {
    get: () => {
      throw new Error("away");
    },
  });
  await rejects(guard.read(), /away/);
});
