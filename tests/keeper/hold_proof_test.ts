/**
 * What one request finds out about the host of a hold, on scripted readings. Whether what was found is enough for a yes
 * is in tests/lock/yes_test.ts; on a cluster in memory it is in node_identity_test.ts, drain_steps_test.ts and
 * stale_facts_test.ts.
 *
 * @module
 */

import { deepEqual, equal, ok } from "node:assert/strict";
import { type PodView, viewPod } from "../../src/keeper/drain/pods.ts";
import { findNode, type HoldProofOptions, proveHold } from "../../src/keeper/hold_proof.ts";
import { type NodeView, viewNode } from "../../src/keeper/nodes/node.ts";
import { comparableId, parseClientId, parseGroup } from "../../src/lock/identity.ts";
import type { Hold } from "../../src/lock/node_keeper.ts";
import { FakeClock } from "../support/fake_clock.ts";

const ID = parseClientId("alice")!;
const NOTED = { name: "a", uid: "uid-a", machineId: "m", phase: "draining" as const };
const never = new AbortController().signal;

const node = (name: string, change: Partial<NodeView> = {}): NodeView => ({
  ...viewNode({ metadata: { name, uid: `uid-${name}` } }),
  ids: [comparableId(ID)],
  ready: "True",
  unschedulable: true,
  ...change,
});
const A = node("a");

interface World {
  /** The Node of the noted name. */
  readonly read?: NodeView;
  /** The same, when it is read again after the pods. @default {read} */
  readonly readLast?: NodeView | "gone";
  /** How long each reading takes, in milliseconds. @default {1_000} */
  readonly eachMs?: number;
  /** The Nodes that have the client's id. */
  readonly found?: NodeView[];
  /** The same, from the second search on. @default {found} */
  readonly foundLast?: NodeView[];
  /** How long each search takes, in milliseconds. @default {eachMs} */
  readonly searchMs?: number;
  /** Those of them that the watch shows; undefined where it is behind. */
  readonly shown?: NodeView[];
  readonly pods?: Partial<PodView>[];
  readonly ghosts?: string[];
}

function setUp(world: World) {
  const { read, readLast = read, eachMs = 1_000, found = [], foundLast = found, pods = [], ghosts = [] } = world;
  const { shown, searchMs = eachMs } = world;
  const clock = new FakeClock();
  const since = clock.now() - 60_000;
  const calls: string[] = [];
  const answer = async <T>(call: string, value: T) => {
    calls.push(call);
    await clock.advance(eachMs);
    return value;
  };
  const search = async (call: string) => {
    const readAt = clock.monotonic();
    const nodes = calls.includes(call) ? foundLast : found;
    calls.push(call);
    await clock.advance(searchMs);
    return { nodes, readAt };
  };
  const options: HoldProofOptions = {
    clock,
    nodes: {
      byId: (id, except) => search(`by id ${id} except ${except}`),
      search: (id) => search(`search ${id}`),
      isSynced: shown !== undefined,
      peekById: (id) => {
        equal(id, ID);
        ok(shown, "a look at a watch that is behind");
        return shown;
      },
      isGhost: ({ name }) => ghosts.includes(name),
    },
    calls: {
      getNode: (name, signal) => {
        equal(signal, never);
        const isLast = calls.includes(`get ${name}`);
        return answer(`get ${name}`, isLast ? readLast === "gone" ? undefined : readLast : read);
      },
    },
    proof: {
      pods: {
        listPods: (name) => {
          const base = { ...viewPod({}), namespace: "web", createdAt: since - 60_000 };
          return answer(`pods of ${name}`, pods.map((pod) => ({ ...base, ...pod })));
        },
      },
      clock: { now: () => clock.now(), isFresh: () => true },
      policy: {},
      exhausted: new Map(),
    },
  };
  const hold: Hold = { group: parseGroup("default")!, id: ID, since };
  const began = clock.monotonic();
  return {
    calls,
    began,
    find: (change: Partial<Hold> = {}) => findNode({ ...hold, ...change }, options),
    prove: (noted = NOTED) => proveHold({ ...hold, node: noted }, noted, options, never),
  };
}

Deno.test("the host of a hold that notes no Node has none, as of the beginning of the reading", async () => {
  const { find, began, calls } = setUp({});
  deepEqual(await find(), {
    kind: "drained",
    host: { kind: "no_node" },
    readAt: began,
    confirmedAt: began,
    staying: [],
  });
  deepEqual(calls, ["by id alice except undefined"]);
});

Deno.test("where the note of a Node cannot be read, nobody can say that there is none", async () => {
  deepEqual(await setUp({}).find({ isNodeUnreadable: true }), { kind: "unreadable" });
});

Deno.test("the Node of a host that had none is one to move to, and several are ambiguous", async () => {
  const moved = { kind: "moved", node: { name: "b", uid: "uid-b" } };
  deepEqual(await setUp({ found: [node("b")] }).find(), moved);
  deepEqual(await setUp({ found: [node("b")] }).find({ isNodeUnreadable: true }), moved);
  deepEqual(await setUp({ found: [A, node("b")], ghosts: ["a"] }).find(), moved);
  deepEqual(await setUp({ found: [node("b"), A] }).find(), { kind: "ambiguous", nodes: ["a", "b"] });
});

Deno.test("a hold is proven on its Node, whose pods are listed last", async () => {
  const { prove, began, calls } = setUp({
    read: { ...A, bootId: "1" },
    found: [A],
    pods: [{ name: "ds", mirror: true }],
  });
  const verdict = await prove();
  ok(verdict.kind === "drained" && verdict.host.kind === "node");
  deepEqual([verdict.readAt, verdict.node, verdict.staying], [began, { name: "a", uid: "uid-a", bootId: "1" }, []]);
  equal(verdict.confirmedAt, began + 3_000);
  const { evidence } = verdict.host;
  deepEqual([evidence.noted, evidence.node?.uid], [{ name: "a", uid: "uid-a" }, "uid-a"]);
  deepEqual(evidence.pods.map(({ name, exempt }) => [name, exempt]), [["ds", "mirror"]]);
  deepEqual(calls, ["get a", "search alice", "pods of a", "get a"]);
});

Deno.test("the Node is read once more only where the search and the list took long", async () => {
  const { prove, began, calls } = setUp({ read: A, readLast: { ...A, unschedulable: false }, found: [A], eachMs: 80 });
  const verdict = await prove();
  deepEqual([verdict.kind, verdict.kind === "drained" && verdict.confirmedAt], ["drained", began]);
  deepEqual(calls, ["get a", "search alice", "pods of a"]);
});

/** How long each search takes, how many are made, and whether the last one is too old in the end. */
for (
  const [searchMs, searches, isOld] of [[1_000, 1, false], [1_001, 2, false], [4_900, 2, false], [
    4_901,
    2,
    true,
  ]] as const
) {
  Deno.test(`a search of ${searchMs} ms is made ${searches === 1 ? "once" : "twice"} and ${isOld ? "too old" : "enough"}`, async () => {
    const { prove, calls } = setUp({ read: A, found: [A], eachMs: 50, searchMs });
    equal((await prove()).kind, isOld ? "not_empty" : "drained");
    equal(calls.filter((call) => call === "search alice").length, searches);
    deepEqual(calls.slice(-2), ["pods of a", "get a"].slice(searchMs > 250 ? 0 : 1));
  });
}

Deno.test("a Node as which the host joins during a slow search is found by the next one", async () => {
  const { prove } = setUp({ read: A, found: [A], foundLast: [A, node("b")], eachMs: 50, searchMs: 1_500 });
  deepEqual(await prove(), { kind: "ambiguous", nodes: ["a", "b"] });
});

/** What the watch shows in the end beside what was found, and whether that speaks against the proof. */
const SHOWN: [what: string, world: World, isProof: boolean][] = [
  ["the noted Node alone", { read: A, found: [A], shown: [A] }, true],
  ["nothing", { read: A, found: [A], shown: [] }, true],
  ["another Node that was found and does not count", {
    read: A,
    found: [A, node("b")],
    shown: [A, node("b")],
    ghosts: ["b"],
  }, true],
  ["another Node that was not found", { read: A, found: [A], shown: [A, node("b")] }, false],
  ["a Node where the noted one is gone", { shown: [node("b")] }, false],
  ["the noted Node, which is gone", { shown: [A] }, true],
];

for (const [what, world, isProof] of SHOWN) {
  Deno.test(`a watch that shows ${what} in the end ${isProof ? "changes nothing" : "speaks against the proof"}`, async () => {
    const verdict = await setUp(world).prove();
    if (isProof) return equal(verdict.kind, "drained");
    const reason = "its host has just joined as another Node";
    deepEqual(verdict, { kind: "not_empty", pods: [], reason });
  });
}

for (const ready of ["False", "Unknown", undefined]) {
  Deno.test(`of a Node whose Ready is ${ready ?? "missing"}, the bootID is not noted: its host may run another boot`, async () => {
    const read = { ...A, bootId: "1", machineId: "m", ready };
    const identity = { name: "a", uid: "uid-a", machineId: "m" };
    const proven = await setUp({ read, found: [read] }).prove();
    deepEqual(proven.kind === "drained" && proven.node, identity);
    deepEqual(await setUp({ found: [read] }).find(), { kind: "moved", node: identity });
  });
}

const MEANWHILE: [what: string, world: World, reason: string | undefined][] = [
  ["uncordoned", { read: A, readLast: { ...A, unschedulable: false } }, "its Node is not cordoned"],
  ["deleted", { read: A, readLast: { ...A, deleting: true } }, "its Node is being deleted"],
  ["removed", { read: A, readLast: "gone" }, undefined],
  ["replaced", { read: A, readLast: { ...A, uid: "later" } }, undefined],
  ["that of another boot", { read: { ...A, bootId: "1" }, readLast: { ...A, bootId: "2" } }, undefined],
  ["given to another machine", { read: A, readLast: { ...A, ids: ["other"] } }, undefined],
  ["created", { readLast: A }, undefined],
];

for (const [what, world, reason] of MEANWHILE) {
  Deno.test(`a hold is not proven where the Node is ${what} while its pods are listed`, async () => {
    const verdict = await setUp(world).prove();
    ok(verdict.kind === "not_empty");
    deepEqual([verdict.pods, verdict.reason], [[], reason]);
  });
}

Deno.test("a hold is proven on a Node that is gone, where no pods are left and the client has no other", async () => {
  const { prove, began, calls } = setUp({});
  const verdict = await prove();
  ok(verdict.kind === "drained");
  deepEqual([verdict.readAt, verdict.node], [began, { name: "a", uid: "uid-a", machineId: "m" }]);
  deepEqual(calls, ["get a", "by id alice except uid-a", "pods of a", "get a"]);
});

const GONE = "its node no longer exists, but the pod does";
const UNKNOWN = "its Node was replaced, and whose the new one is is unknown";
const unknown = node("a", { uid: "uid-2", ids: [] });

const NOT_EMPTY: [what: string, world: World, pods: string[], reason: string | undefined][] = [
  ["pods are left", { read: A, pods: [{ name: "p" }] }, ["web/p: it is still running"], undefined],
  ["pods are terminating", { read: A, pods: [{ name: "p", graceEndsAt: 1 }] }, ["web/p: it is terminating"], undefined],
  ["pods of a Node that is gone are left", { pods: [{ name: "p" }] }, [`web/p: ${GONE}`], undefined],
  ["they are terminating", { pods: [{ name: "p", graceEndsAt: 1 }] }, ["web/p: it is terminating"], undefined],
  [
    "pods are left where another machine's Node has the name",
    { read: node("a", { uid: "uid-2", ids: [], machineId: "x" }), pods: [{ name: "p" }] },
    [`web/p: ${GONE}`],
    undefined,
  ],
  ["the Node is not cordoned", { read: { ...A, unschedulable: false } }, [], "its Node is not cordoned"],
  ["the Node is being deleted", { read: { ...A, deleting: true } }, [], "its Node is being deleted"],
  ["nobody knows whose the Node of the name is", { read: unknown }, [], UNKNOWN],
  ["the same, and pods are left", { read: unknown, pods: [{ name: "p" }] }, [`web/p: ${GONE}`], UNKNOWN],
];

for (const [what, world, pods, reason] of NOT_EMPTY) {
  Deno.test(`a hold is not proven where ${what}`, async () => {
    const verdict = await setUp(world).prove();
    ok(verdict.kind === "not_empty");
    deepEqual(verdict.pods.map(({ namespace, name, reason }) => `${namespace}/${name}: ${reason}`), pods);
    equal(verdict.reason, reason);
  });
}

Deno.test("a host that has registered again under the same name moves there, and its pods are not looked at", async () => {
  const { prove, calls } = setUp({ read: node("a", { uid: "uid-2" }), pods: [{ name: "p" }] });
  deepEqual(await prove(), { kind: "moved", node: { name: "a", uid: "uid-2" } });
  deepEqual(calls, ["get a"]);
});

const MOVES: [what: string, world: World, expected: unknown][] = [
  ["as another Node beside one that is gone", { found: [node("b")] }, "b"],
  ["as another Node, where the noted one has lost the id", { read: { ...A, ids: [] }, found: [node("b")] }, "b"],
  ["as another Node beside a noted one that is long not ready", { read: A, found: [A, node("b")], ghosts: ["a"] }, "b"],
  ["as one of several beside one that is gone", { found: [node("c"), node("b")] }, ["b", "c"]],
  ["as the noted one or another", { read: A, found: [A, node("b")] }, ["a", "b"]],
  ["as the noted one, beside another that is long not ready", { read: A, found: [A, node("b")], ghosts: ["b"] }, "a"],
];

for (const [what, world, expected] of MOVES) {
  Deno.test(`a host that runs ${what}: ${expected}`, async () => {
    const verdict = await setUp(world).prove();
    if (verdict.kind === "ambiguous") return deepEqual(verdict.nodes, expected);
    ok(verdict.kind === "moved" || verdict.kind === "drained");
    equal(verdict.kind === "moved", expected !== "a");
    equal(verdict.node?.name, expected);
  });
}
