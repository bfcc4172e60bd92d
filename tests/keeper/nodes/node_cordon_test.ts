/**
 * Cordoning while others change the node, on scripted calls. What needs a real API server is in tests/cluster. @module
 */

import { deepEqual, equal, notEqual, rejects } from "node:assert/strict";
import { type CordonOwner, planCordon } from "../../../src/keeper/nodes/cordon.ts";
import type { NodeCalls } from "../../../src/keeper/nodes/node_calls.ts";
import { NodeCordon } from "../../../src/keeper/nodes/node_cordon.ts";
import { NodeWatch } from "../../../src/keeper/nodes/node_watch.ts";
import { type NodeView, viewNode } from "../../../src/keeper/nodes/node.ts";
import type { ResourceWatcher } from "../../../src/kubernetes/watch.ts";
import { UnavailableError } from "../../../src/lock/errors.ts";
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

for (const call of ["get", "patch"] as const) {
  for (const before of [[NODE], []]) {
    // A node that is not known is not patched.
    if (call === "patch" && before.length === 0) continue;
    const known = before.length === 0 ? "unknown" : "known";
    Deno.test(`a node that joins while a ${call} finds that one of its name, ${known} before, is gone stays known`, async () => {
      const next = { ...NODE, uid: "next", resourceVersion: "9", ids: ["b"] };
      let watcher: ResourceWatcher<NodeView>;
      const join = () => {
        if (before.length > 0) watcher.changed("DELETED", { ...NODE, resourceVersion: "8" });
        watcher.changed("ADDED", next);
      };
      const calls: Partial<NodeCalls> = {
        watchNodes: (given) => {
          watcher = given;
          return new Promise(() => {});
        },
        getNode: () => Promise.resolve(join()).then(() => undefined),
        patchNode: () => Promise.resolve(join()).then(() => "gone"),
      };
      const watch = new NodeWatch(calls as NodeCalls);
      watch.run(never);
      watcher!.synced(before, "5");
      const cordon = new NodeCordon(calls as NodeCalls, watch);
      const isHeld = () => Promise.resolve(true);
      equal(await cordon.set({ name: "n", uid: "u" }, OWNER, isHeld, call === "get", never), "gone");
      deepEqual([watch.peek("n")?.uid, watch.peekById("b").length], ["next", 1]);
    });
  }
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

/** A cluster of one node, whose patches take effect only on the state that they name. */
class OneNode {
  node: NodeView | undefined;
  patches = 0;
  reads = 0;
  /** How many of the next patches find that the node has changed. */
  conflicts = 0;
  readonly watch: NodeWatch;
  readonly cordon: NodeCordon;
  #version = 5;

  constructor(change: Partial<NodeView>) {
    this.node = { ...NODE, ...change };
    let watcher: ResourceWatcher<NodeView>;
    const calls: Pick<NodeCalls, "watchNodes" | "getNode" | "patchNode"> = {
      watchNodes: (given) => {
        watcher = given;
        return new Promise(() => {});
      },
      getNode: (name) => {
        equal(name, "n");
        this.reads++;
        return Promise.resolve(this.node);
      },
      patchNode: (seen, patch) => {
        this.patches++;
        if (this.node === undefined) return Promise.resolve("gone");
        if (this.conflicts > 0) {
          this.conflicts--;
          this.node = { ...this.node, resourceVersion: `${++this.#version}` };
        }
        const { uid, resourceVersion } = this.node;
        if (seen.uid !== uid || seen.resourceVersion !== resourceVersion) return Promise.resolve("conflict");
        this.node = {
          ...this.node,
          ...(patch.unschedulable !== undefined && { unschedulable: patch.unschedulable === true }),
          ...(patch.cordon !== undefined && { cordon: patch.cordon ?? undefined }),
          resourceVersion: `${++this.#version}`,
        };
        return Promise.resolve(this.node);
      },
    };
    this.watch = new NodeWatch(calls as NodeCalls);
    this.watch.run(never);
    watcher!.synced([this.node], "5");
    this.cordon = new NodeCordon(calls as NodeCalls, this.watch);
  }

  /** What is left of the cordon. */
  get state() {
    return { unschedulable: this.node?.unschedulable, cordon: this.node?.cordon };
  }
}

const OURS = { unschedulable: true, cordon: planCordon({ unschedulable: false }, OWNER)!.cordon! };
const UNCORDONED = { unschedulable: false, cordon: undefined };
const ANOTHER: CordonOwner = { ...OWNER, group: parseGroup("another")! };
const isHeld = () => Promise.resolve(true);
const set = (one: OneNode, owner = OWNER) => one.cordon.set({ name: "n", uid: "u" }, owner, isHeld, false, never);

Deno.test("a cordon of ours is set and lifted, and the watch learns both at once", async () => {
  const one = new OneNode({});
  equal(await set(one), "cordoned");
  deepEqual(one.state, OURS);
  equal(one.watch.peek("n")?.unschedulable, true);
  equal(await set(one), "already");
  equal(await one.cordon.lift("n", OWNER, false), true);
  deepEqual(one.state, UNCORDONED);
  equal(one.watch.peek("n")?.unschedulable, false);
  deepEqual([one.patches, one.reads], [2, 1]);
});

Deno.test("a node that an administrator has cordoned stays so: it is neither claimed nor uncordoned", async () => {
  const one = new OneNode({ unschedulable: true });
  equal(await set(one), "already");
  equal(await one.cordon.lift("n", OWNER, false), false);
  deepEqual([one.state, one.patches], [{ unschedulable: true, cordon: undefined }, 0]);
});

Deno.test("from a cordon that is an administrator's by now, only our annotation is removed", async () => {
  const foreign = { ...OURS, isCordonForeign: true };
  const lifted = new OneNode(foreign);
  equal(await lifted.cordon.lift("n", OWNER, false), false);
  deepEqual(lifted.state, { unschedulable: true, cordon: undefined });
  const again = new OneNode(foreign);
  equal(await set(again), "already");
  deepEqual(again.state, { unschedulable: true, cordon: undefined });
});

Deno.test("a cordon that another hold needs too stays when one of them ends", async () => {
  const one = new OneNode({});
  await set(one);
  equal(await set(one, ANOTHER), "cordoned");
  equal(await one.cordon.lift("n", OWNER, false), true);
  equal(one.state.unschedulable, true);
  notEqual(one.state.cordon, undefined);
  equal(await one.cordon.lift("n", ANOTHER, false), true);
  deepEqual(one.state, UNCORDONED);
});

Deno.test("lifting what the watch shows without our cordon makes no call unless a read is asked for", async () => {
  const one = new OneNode({});
  one.node = { ...one.node!, ...OURS };
  equal(await one.cordon.lift("n", OWNER, false), false);
  deepEqual([one.reads, one.patches], [0, 0]);
  equal(await one.cordon.lift("n", OWNER, true), true);
  deepEqual(one.state, UNCORDONED);
});

Deno.test("lifting a cordon of a node that is gone is nothing to lift", async () => {
  const one = new OneNode(OURS);
  one.node = undefined;
  equal(await one.cordon.lift("n", OWNER, false), false);
  equal(one.watch.peek("n"), undefined);
});

Deno.test("a patch is repeated after ten conflicts, and not after eleven", async () => {
  const one = new OneNode({});
  one.conflicts = 10;
  equal(await set(one), "cordoned");
  one.conflicts = 11;
  await rejects(one.cordon.lift("n", OWNER, false), UnavailableError);
  deepEqual(one.state, OURS);
});

Deno.test("a stale cordon is repaired once, on the state that was seen only", async () => {
  const one = new OneNode(OURS);
  const seen = one.node!;
  const ended = () => false;
  equal(await one.cordon.repair(seen, () => true), "right");
  equal(one.patches, 0);
  one.conflicts = 1;
  equal(await one.cordon.repair(seen, ended), "conflict");
  deepEqual(one.state, OURS);
  equal(await one.cordon.repair(one.node!, ended), "repaired");
  deepEqual(one.state, UNCORDONED);
  equal(one.watch.peek("n")?.unschedulable, false);
  one.node = undefined;
  equal(await one.cordon.repair(seen, ended), "gone");
});

Deno.test("a later Node of the same name is not cordoned, whatever the watch still shows", async () => {
  const one = new OneNode({});
  one.node = { ...one.node!, uid: "later" };
  equal(await set(one), "gone");
  deepEqual(one.state, UNCORDONED);
});

Deno.test("a Node is cordoned although the watch still shows an earlier one of its name", async () => {
  const one = new OneNode({ uid: "earlier" });
  one.node = { ...one.node!, uid: "u" };
  equal(await set(one), "cordoned");
  deepEqual(one.state, OURS);
});

Deno.test("whether the hold exists is not asked where there is nothing to patch", async () => {
  const one = new OneNode({ unschedulable: true });
  const unasked = () => Promise.reject(new Error("asked"));
  equal(await one.cordon.set({ name: "n", uid: "u" }, OWNER, unasked, true, never), "already");
});
