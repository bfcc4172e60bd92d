/** Cordoning while others change the node, on scripted calls. What needs a real API server is in tests/cluster. @module */

import { deepEqual, equal } from "node:assert/strict";
import type { NodeCalls } from "../../../src/keeper/nodes/node_calls.ts";
import { NodeCordon } from "../../../src/keeper/nodes/node_cordon.ts";
import { NodeWatch } from "../../../src/keeper/nodes/node_watch.ts";
import { type NodeView, viewNode } from "../../../src/keeper/nodes/node.ts";
import type { ResourceWatcher } from "../../../src/kubernetes/watch.ts";
import { parseClientId, parseGroup } from "../../../src/lock/identity.ts";

const OWNER = { namespace: "ops", group: parseGroup("default")!, id: parseClientId("a")!, since: 1 };
const NODE = viewNode({ metadata: { name: "n", uid: "u", resourceVersion: "5" } });
const never = new AbortController().signal;

/** A cordon on one node that the watch has seen or not, and whose first patches conflict. */
function setUp(options: { seen: boolean; there?: boolean; conflicts?: number }) {
  const done: string[] = [];
  let conflicts = options.conflicts ?? 0;
  let watcher: ResourceWatcher<NodeView>;
  const calls: Partial<NodeCalls> = {
    watchNodes: (given) => {
      watcher = given;
      return new Promise(() => {});
    },
    getNode: () => {
      done.push("get");
      return Promise.resolve(options.there === false ? undefined : NODE);
    },
    patchNode: () => {
      done.push("patch");
      if (options.there === false) return Promise.resolve("gone");
      return Promise.resolve(conflicts-- > 0 ? "conflict" : { ...NODE, unschedulable: true, resourceVersion: "7" });
    },
  };
  const watch = new NodeWatch(calls as NodeCalls);
  watch.run(never);
  watcher!.synced(options.seen ? [NODE] : [], "5");
  const isHeld = (held: boolean) => () => {
    done.push("is it held?");
    return Promise.resolve(held);
  };
  return { cordon: new NodeCordon(calls as NodeCalls, watch), watch, done, isHeld };
}

Deno.test("a node that the watch has seen is cordoned in one call", async () => {
  const { cordon, done, isHeld } = setUp({ seen: true });
  equal(await cordon.set({ name: "n", uid: "u" }, OWNER, isHeld(true), false, never), "cordoned");
  deepEqual(done, ["patch"]);
});

for (
  const [what, options, fresh, expected] of [
    ["the watch has not seen it", { seen: false }, false, ["get", "is it held?"]],
    ["it is to be read", { seen: true }, true, ["get", "is it held?"]],
    ["it has changed", { seen: true, conflicts: 1 }, false, ["patch", "get", "is it held?"]],
  ] as const
) {
  Deno.test(`a node is not cordoned for a hold that is over where ${what}`, async () => {
    const { cordon, done, isHeld } = setUp(options);
    equal(await cordon.set({ name: "n", uid: "u" }, OWNER, isHeld(false), fresh, never), "not_held");
    deepEqual(done, expected);
  });
}

for (const fresh of [true, false]) {
  Deno.test(`a node that no longer exists is forgotten, ${fresh ? "read" : "patched"}`, async () => {
    const { cordon, watch, isHeld } = setUp({ seen: true, there: false });
    equal(await cordon.set({ name: "n", uid: "u" }, OWNER, isHeld(true), fresh, never), "gone");
    equal(watch.peek("n"), undefined);
  });
}

Deno.test("what the watch shows of a cordon, or of another Node of the name, is read before it is believed", async () => {
  const { cordon, watch, done, isHeld } = setUp({ seen: true });
  watch.learn({ ...NODE, unschedulable: true, resourceVersion: "6" });
  equal(await cordon.set({ name: "n", uid: "u" }, OWNER, isHeld(true), false, never), "cordoned");
  deepEqual(done, ["get", "is it held?", "patch"]);
  done.length = 0;
  equal(await cordon.set({ name: "n", uid: "earlier" }, OWNER, isHeld(true), false, never), "gone");
  deepEqual(done, ["get"]);
});
