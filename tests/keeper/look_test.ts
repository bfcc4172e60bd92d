/** The look before a grant, on scripted calls. @module */

import { deepEqual, equal, ok, rejects } from "node:assert/strict";
import { ForbiddenError } from "../../src/kubernetes/errors.ts";
import type { PodPolicy, PodView } from "../../src/keeper/drain/pods.ts";
import { viewPod } from "../../src/keeper/drain/pods.ts";
import { Look, type LookOptions } from "../../src/keeper/look.ts";
import { type NodeView, viewNode } from "../../src/keeper/nodes/node.ts";
import { UnavailableError } from "../../src/lock/errors.ts";
import { parseClientId } from "../../src/lock/identity.ts";
import { FakeClock } from "../support/fake_clock.ts";
import { isGarbage } from "../support/garbage.ts";

const ALICE = parseClientId("alice")!;
const NODE: NodeView = { ...viewNode({ metadata: { name: "a", uid: "uid-a" } }), bootId: "1", ready: "True" };
const BARE = viewPod({ metadata: { name: "bare", namespace: "apps", uid: "u" } });
const REFUSE: PodPolicy = { unmanaged: "refuse" };

interface SetUp extends Partial<LookOptions> {
  /** The Nodes of the client that the watch shows, or that are read where it shows nothing. */
  readonly found?: NodeView[];
  readonly on?: () => PodView[];
  readonly isSynced?: boolean;
  readonly isGhost?: (node: NodeView) => boolean;
}

function setUp(options: SetUp = {}) {
  const {
    found = [NODE],
    on = () => [],
    policy = REFUSE,
    isSynced = false,
    isGhost = () => false,
    ...more
  } = options;
  const clock = new FakeClock();
  const calls: string[] = [];
  const look = new Look({
    nodes: {
      listById: (id) => {
        equal(id, ALICE);
        calls.push("nodes");
        return Promise.resolve(found);
      },
      started: () => Promise.resolve(),
      isSynced,
      peekById: (id) => {
        equal(id, ALICE);
        ok(isSynced, "a look at a watch that is behind");
        return found;
      },
      isGhost,
    },
    pods: {
      listPods: (name) => {
        ok(found.some((node) => node.name === name));
        calls.push("pods");
        return Promise.resolve().then(on);
      },
    },
    policy,
    clock,
    ambiguous: () => {},
    ...more,
  });
  return { look, clock, calls };
}

Deno.test("a node whose pods may all be evicted is clear, and so is a client without a node", async () => {
  const { look } = setUp();
  deepEqual(await look.forClient(ALICE), { kind: "clear", node: { name: "a", uid: "uid-a", bootId: "1" } });
  deepEqual(await setUp({ found: [] }).look.forClient(ALICE), { kind: "clear" });
});

Deno.test("while the watch is in step, a look costs no call about the nodes", async () => {
  const { look, calls } = setUp({ isSynced: true });
  deepEqual(await look.forClient(ALICE), { kind: "clear", node: { name: "a", uid: "uid-a", bootId: "1" } });
  deepEqual(calls, ["pods"]);
  const none = setUp({ isSynced: true, found: [] });
  deepEqual(await none.look.forClient(ALICE), { kind: "clear" });
  deepEqual(none.calls, []);
});

Deno.test("several nodes of one id are ambiguous, and that is told", async () => {
  const told: unknown[] = [];
  const found = [NODE, { ...NODE, name: "b", uid: "uid-b" }];
  const { look, calls } = setUp({ found, ambiguous: (...args) => told.push(args) });
  deepEqual(await look.forClient(ALICE), { kind: "ambiguous", nodes: ["a", "b"] });
  deepEqual(told, [[ALICE, ["a", "b"]]]);
  deepEqual(calls, ["nodes"]);
});

Deno.test("a node that has been not ready for long does not count beside one that is ready", async () => {
  const found = [NODE, { ...NODE, name: "b", uid: "uid-b" }];
  const { look } = setUp({ found, isGhost: ({ name }) => name === "a" });
  deepEqual(await look.forClient(ALICE), { kind: "clear", node: { name: "b", uid: "uid-b", bootId: "1" } });
});

Deno.test("either of the policies that refuse pods costs a list of them, and refuses by it", async () => {
  const scratch: PodView = { ...BARE, name: "scratch", controller: "ReplicaSet", emptyDir: true };
  for (const [policy, refused] of [[{ unmanaged: "refuse" }, "bare"], [{ emptyDir: "refuse" }, "scratch"]] as const) {
    const { look, calls } = setUp({ policy, on: () => [BARE, scratch] });
    const outcome = await look.forClient(ALICE);
    ok(outcome.kind === "drain_refused");
    deepEqual([outcome.node, outcome.pods.map(({ name }) => name)], ["a", [refused]]);
    deepEqual(calls, ["nodes", "pods"]);
  }
});

Deno.test("a fault of a call is thrown, and the next look makes the call again", async () => {
  const faults: Error[] = [new UnavailableError("away"), new TypeError("bug")];
  const { look, calls } = setUp({
    on: () => {
      const fault = faults.shift();
      if (fault !== undefined) throw fault;
      return [];
    },
  });
  await rejects(look.forClient(ALICE), UnavailableError);
  await rejects(look.forClient(ALICE), TypeError);
  equal((await look.forClient(ALICE)).kind, "clear");
  equal(calls.filter((call) => call === "pods").length, 3);
});

Deno.test("the refusals of several nodes are kept side by side, each for 30 s", async () => {
  const found = [NODE];
  const { look, clock, calls } = setUp({ found, on: () => [BARE] });
  const lists = () => calls.filter((call) => call === "pods").length;
  const lookAt = async (name: string) => {
    found[0] = { ...NODE, name, uid: `uid-${name}` };
    const outcome = await look.forClient(ALICE);
    ok(outcome.kind === "drain_refused");
    equal(outcome.node, name);
    return lists();
  };
  equal(await lookAt("a"), 1);
  await clock.advance(20_000);
  equal(await lookAt("b"), 2);
  equal(await lookAt("a"), 2);
  // The first one is over; the second is not.
  await clock.advance(10_000);
  equal(await lookAt("a"), 3);
  equal(await lookAt("b"), 3);
});

Deno.test("a policy that refuses nothing costs no list of the pods", async () => {
  const { look, calls } = setUp({ policy: {}, on: () => [BARE] });
  equal((await look.forClient(ALICE)).kind, "clear");
  deepEqual(calls, ["nodes"]);
});

Deno.test("a permission that is known to be missing is told without a call", async () => {
  const permission = { verb: "create", group: "", resource: "pods", subresource: "eviction" };
  const { look, calls } = setUp({ permissions: { missingForDrain: () => permission } });
  deepEqual(await look.forClient(ALICE), { kind: "permission_missing", permission: "create pods/eviction" });
  deepEqual(calls, []);
});

const REFUSALS: [what: string, on: () => PodView[], kind: string][] = [
  ["pods that the policy refuses", () => [BARE], "drain_refused"],
  ["a list that is denied", () => {
    throw new ForbiddenError("no", { verb: "list", group: "", resource: "pods" });
  }, "permission_missing"],
];

for (const [what, on, kind] of REFUSALS) {
  Deno.test(`${what}: refused without further lists of the pods for 30 s, then looked for again`, async () => {
    let state = on;
    const { look, clock, calls } = setUp({ on: () => state() });
    const first = await look.forClient(ALICE);
    equal(first.kind, kind);
    if (first.kind === "drain_refused") equal(first.pods[0]?.name, "bare");
    if (first.kind === "permission_missing") equal(first.permission, "list pods");
    state = () => [];
    await clock.advance(29_999);
    deepEqual(await look.forClient(ALICE), first);
    equal(calls.filter((call) => call === "pods").length, 1);
    await clock.advance(1);
    equal((await look.forClient(ALICE)).kind, "clear");
  });
}

Deno.test("a refusal that is over is forgotten at the next one, so that nodes of the past take no memory", async () => {
  const found = [NODE];
  const { look, clock } = setUp({ found, on: () => [BARE] });
  const refuse = async (uid: string) => {
    found[0] = { ...NODE, uid };
    return new WeakRef(await look.forClient(ALICE));
  };
  const refusal = await refuse("uid-1");
  await clock.advance(29_999);
  await refuse("uid-2");
  equal(await isGarbage(refusal), false);
  await clock.advance(1);
  await refuse("uid-3");
  equal(await isGarbage(refusal), true);
});
