/**
 * The wait for a host's return, on a clock that proves the waiting. What a real kubelet does is in tests/cluster.
 * @module
 */

import { deepEqual, equal, rejects } from "node:assert/strict";
import type { NodeCalls } from "../../../src/keeper/nodes/node_calls.ts";
import { NodeWatch } from "../../../src/keeper/nodes/node_watch.ts";
import { type NodeView, viewNode } from "../../../src/keeper/nodes/node.ts";
import { ReturnWait } from "../../../src/keeper/nodes/return_wait.ts";
import { ForbiddenError } from "../../../src/kubernetes/errors.ts";
import type { ResourceWatcher } from "../../../src/kubernetes/watch.ts";
import { UnavailableError } from "../../../src/lock/errors.ts";
import { comparableId, parseClientId, parseGroup } from "../../../src/lock/identity.ts";
import type { Hold, ReturnOutcome } from "../../../src/lock/node_keeper.ts";
import { FakeClock } from "../../support/fake_clock.ts";

const ID = parseClientId("alice")!;
const HOLD: Hold = {
  group: parseGroup("default")!,
  id: ID,
  since: 1,
  node: { name: "a", uid: "uid of a", bootId: "1", phase: "drained" },
};
const SILENT = "its kubelet has not reported since this request came";

function view(name: string, change: Partial<NodeView> = {}): NodeView {
  const node = viewNode({ metadata: { name, uid: `uid of ${name}`, resourceVersion: "5" } });
  return { ...node, ids: [comparableId(ID)], bootId: "1", ready: "True", ...change };
}

/** Waits for the host of a hold, whose Nodes are as given, and whose watch shows the same unless said otherwise. */
async function setUp(nodes: NodeView[], options: { seen?: NodeView[] | "behind"; ms?: number; hold?: Hold } = {}) {
  const { seen = nodes, ms = 60_000, hold = HOLD } = options;
  const clock = new FakeClock();
  const stop = new AbortController();
  const there = new Map(nodes.map((node) => [node.name, node]));
  let version = 5;
  /** When each Node was read, when their versions were listed, and when all Nodes were. */
  const calls: string[] = [];
  const state = {
    renewed: 1 as number | undefined,
    fault: undefined as Error | undefined,
    forbidden: 0,
    absent: [] as Hold[],
    /** How long the answer to a list of the versions is under way. */
    delayMs: 0,
  };
  let watcher: ResourceWatcher<NodeView>;
  const api: Pick<NodeCalls, "watchNodes" | "listNodes" | "listVersions" | "nodeAt" | "getNode" | "kubeletRenewal"> = {
    watchNodes: (given) => {
      watcher = given;
      return new Promise(() => {});
    },
    listNodes: (keep) => {
      calls.push(`all ${clock.passed}`);
      return Promise.resolve([...there.values()].filter(keep));
    },
    listVersions: async () => {
      calls.push(`versions ${clock.passed}`);
      const listed = { items: [...there.values()], version: `${version}` };
      if (state.delayMs > 0) await clock.sleep(state.delayMs);
      return listed;
    },
    nodeAt: (name, at) => {
      equal(at, `${version}`);
      calls.push(`${name} at ${at} ${clock.passed}`);
      return Promise.resolve(there.get(name));
    },
    getNode: (name) => {
      calls.push(`${name} ${clock.passed}`);
      return Promise.resolve(there.get(name));
    },
    kubeletRenewal: () => state.fault === undefined ? Promise.resolve(state.renewed) : Promise.reject(state.fault),
  };
  const watch = new NodeWatch(api as NodeCalls, {}, { clock });
  watch.run(stop.signal);
  if (seen === "behind") watcher!.lost(new Error("cut off"));
  else watcher!.synced(seen, "5");
  const wait = new ReturnWait({
    calls: api as NodeCalls,
    nodes: watch,
    clock,
    forbidden: () => void state.forbidden++,
    absent: (hold) => void state.absent.push(hold),
  });
  let outcome: ReturnOutcome | undefined;
  const end = wait.forHold(hold, clock.monotonic() + ms, stop.signal).then((value) => outcome = value);
  end.catch(() => {});
  await clock.advance(0);
  /** Lets the time pass from sleep to sleep. */
  const pass = async (ms: number) => {
    const until = clock.passed + ms;
    while (clock.passed < until) await clock.advance(Math.min(clock.nextIn || 1, until - clock.passed));
    await clock.advance(0);
  };
  /** Changes a Node in the cluster; its watch shows that unless it lags. */
  const change = (node: NodeView, lags?: "lags") => {
    const changed = { ...node, resourceVersion: `${++version}` };
    there.set(node.name, changed);
    if (lags === undefined) watcher!.changed("MODIFIED", changed);
  };
  /** Deletes a Node from the cluster, and shows that by the watch. */
  const remove = (node: NodeView) => {
    there.delete(node.name);
    watcher!.changed("DELETED", { ...node, resourceVersion: `${++version}` });
  };
  return { clock, stop, calls, state, end, outcome: () => outcome, pass, change, remove };
}

const NOT_READY = view("a", { ready: "False" });
const BACK = view("a", { bootId: "2" });

Deno.test("a host that is back in another boot is found by one read, at once", async () => {
  const { outcome, calls } = await setUp([BACK]);
  deepEqual([outcome(), calls], [{ kind: "ready", rebooted: true }, ["a 0"]]);
});

const UNREADABLE: Hold = { ...HOLD, node: undefined, isNodeUnreadable: true };

Deno.test("a host whose Node does not exist is waited for until its reply is due, and then a read decides", async () => {
  for (const [hold, reads] of [[HOLD, ["a", "versions"]], [UNREADABLE, ["versions"]]] as const) {
    const { outcome, calls, pass, state, clock } = await setUp([], { hold });
    const first = reads.map((read) => `${read} 0`);
    await pass(59_999);
    deepEqual([outcome(), calls, state.absent], [undefined, first, []], "one reading, and none without a sign");
    await pass(1);
    deepEqual([outcome(), calls], [{ kind: "ready" }, [...first, ...reads.map((read) => `${read} 60000`)]]);
    deepEqual([state.absent, clock.sleepers], [[hold], 0]);
  }
});

Deno.test("where a reply is due at once, so is a host whose Node does not exist", async () => {
  const { outcome, calls, state, pass } = await setUp([], { ms: 0 });
  await pass(0);
  deepEqual([outcome(), calls, state.absent], [{ kind: "ready" }, ["a 0", "versions 0"], [HOLD]]);
});

Deno.test("a host whose Node does not exist is back once one is ready, which is told as usual", async () => {
  for (const [name, uid] of [["a", "uid of the next a"], ["b", "uid of b"]] as const) {
    const { outcome, calls, pass, change, state } = await setUp([]);
    await pass(10_000);
    change(view(name, { uid, ready: "False", bootId: "2" }));
    await pass(10_000);
    deepEqual([outcome(), calls], [undefined, ["a 0", "versions 0"]], "it need not be read before it is ready");
    change(view(name, { uid, bootId: "2" }));
    await pass(0);
    deepEqual([outcome(), state.absent], [{ kind: "ready", rebooted: true }, []]);
    deepEqual(new Set(calls.slice(2)), new Set(["a 20000", `${name} 20000`]));
  }
});

Deno.test("a Node that joins while the host is waited for, and is not ready when its reply is due, keeps the slot", async () => {
  for (const lags of [undefined, "lags"] as const) {
    const { outcome, pass, change, state } = await setUp([]);
    await pass(59_999);
    change(view("b", { ready: "False" }), lags);
    await pass(1);
    deepEqual(outcome(), { kind: "not_ready", node: "b", reason: "its condition Ready is False" });
    deepEqual(state.absent, []);
  }
});

Deno.test("a read that began before the reply was due does not show that the host has no Node then", async () => {
  const { outcome, pass, change, state } = await setUp([NOT_READY]);
  await pass(59_000);
  state.delayMs = 2_000;
  change(view("a", { uid: "later", ids: [] }));
  await pass(500);
  change(view("b", { ready: "False" }), "lags");
  await pass(4_500);
  deepEqual([outcome()?.kind, state.absent], ["not_ready", []]);
});

Deno.test("a host whose Node is deleted while it is waited for keeps its slot until its reply is due", async () => {
  const { outcome, calls, pass, remove } = await setUp([NOT_READY]);
  await pass(10_000);
  remove(NOT_READY);
  await pass(0);
  await pass(49_999);
  deepEqual([outcome(), calls], [undefined, ["a 10000", "versions 10000"]]);
  await pass(1);
  deepEqual(outcome(), { kind: "ready" });
});

Deno.test("while the watch is behind, a Node that does not exist is looked for every five and a half seconds", async () => {
  const { outcome, calls, pass, change } = await setUp([], { seen: "behind" });
  await pass(11_000);
  deepEqual([outcome(), calls], [undefined, ["a 0", "all 0", "a 5500", "all 5500", "a 11000", "all 11000"]]);
  change(view("b", { bootId: "2" }), "lags");
  await pass(5_500);
  deepEqual(outcome(), { kind: "ready", rebooted: true });
  const gone = await setUp([], { seen: "behind", ms: 8_000 });
  await gone.pass(7_999);
  equal(gone.outcome(), undefined);
  await gone.pass(1);
  deepEqual([gone.outcome(), gone.calls.slice(-2)], [{ kind: "ready" }, ["a 8000", "all 8000"]]);
});

Deno.test("a watch that shows Nodes which reads do not find is not asked to show them again", async () => {
  for (const seen of [[view("a")], [view("b", { bootId: "2" })], [view("a"), view("b")]]) {
    const { outcome, calls, pass } = await setUp([], { seen });
    const isRead = seen.some(({ name }) => name === "b");
    await pass(59_999);
    deepEqual([outcome(), calls], [undefined, ["a 0", ...(isRead ? ["b 0"] : []), "versions 0"]]);
    await pass(1);
    deepEqual(outcome(), { kind: "ready" });
  }
});

Deno.test("an abort while the Node does not exist keeps the slot", async () => {
  for (const [hold, node] of [[HOLD, "a"], [UNREADABLE, "alice"]] as const) {
    const { outcome, pass, stop, state, clock } = await setUp([], { hold });
    await pass(10_000);
    stop.abort();
    await pass(0);
    deepEqual(outcome(), { kind: "not_ready", node, reason: "its Node does not exist" });
    deepEqual([state.absent, clock.passed], [[], 10_000]);
  }
});

Deno.test("a Node that has joined under another name unseen by the watch is waited for", async () => {
  const { outcome, calls, pass, change } = await setUp([view("b", { ready: "False" })], { seen: [] });
  deepEqual([outcome(), calls], [undefined, ["a 0", "versions 0", "b at 5 0"]]);
  change(view("b", { bootId: "2" }));
  await pass(500);
  deepEqual(outcome(), { kind: "ready", rebooted: true });
});

Deno.test("a hold that notes no Node was granted to a host without one, so that the watch tells whether it has one now", async () => {
  const hold = { ...HOLD, node: undefined };
  const { outcome, calls } = await setUp([], { hold });
  deepEqual([outcome(), calls], [{ kind: "ready" }, []]);
  const joined = await setUp([NOT_READY], { hold });
  equal(joined.outcome(), undefined);
  const behind = await setUp([NOT_READY], { hold, seen: "behind" });
  deepEqual([behind.outcome(), behind.calls], [undefined, ["all 0"]]);
});

Deno.test("a Node that is not ready is read when the watch shows that it may be, not before", async () => {
  const { outcome, calls, pass, change } = await setUp([NOT_READY]);
  await pass(40_000);
  deepEqual([outcome(), calls], [undefined, []]);
  change(BACK);
  await pass(0);
  deepEqual([outcome(), calls], [{ kind: "ready", rebooted: true }, ["a 40000"]]);
});

Deno.test("a Node that does not get ready in time is read once at the end, and the answer says what it shows", async () => {
  const { outcome, calls, pass, clock } = await setUp([NOT_READY]);
  await pass(59_999);
  deepEqual([outcome(), calls], [undefined, []]);
  await pass(1);
  deepEqual(outcome(), { kind: "not_ready", node: "a", reason: "its condition Ready is False" });
  deepEqual([calls, clock.sleepers], [["a 60000"], 0]);
});

Deno.test("while the watch is behind, the Node is read every five and a half seconds", async () => {
  const { outcome, calls, pass, change } = await setUp([NOT_READY], { seen: "behind" });
  await pass(11_000);
  deepEqual(calls.filter((call) => call.startsWith("a ")), ["a 0", "a 5500", "a 11000"]);
  change(BACK, "lags");
  await pass(5_500);
  deepEqual(outcome(), { kind: "ready", rebooted: true });
});

Deno.test("a watch that shows more than a read is given half a second each time", async () => {
  const { outcome, calls, pass, change } = await setUp([NOT_READY], { seen: [BACK] });
  await pass(1_400);
  deepEqual([outcome(), calls], [undefined, ["a 0", "a 500", "a 1000"]]);
  change(BACK, "lags");
  await pass(100);
  deepEqual(outcome(), { kind: "ready", rebooted: true });
});

Deno.test("a Node that looks as before the reboot counts when its kubelet has renewed its Lease and it has settled", async () => {
  const { outcome, calls, pass, state } = await setUp([view("a")]);
  await pass(1_000);
  state.renewed = 2;
  await pass(1_000);
  await pass(2_999);
  equal(outcome(), undefined);
  await pass(1);
  deepEqual([outcome(), calls], [{ kind: "ready", rebooted: false }, ["a 0", "a 5000"]]);
});

Deno.test("where nothing shows whether the host has rebooted, the answer does not say it", async () => {
  const noted = { ...HOLD.node!, bootId: undefined };
  const unknown: [NodeView, Hold, "lease" | "no lease"][] = [
    [view("a"), HOLD, "no lease"],
    [view("a"), { ...HOLD, node: noted }, "lease"],
    [view("a", { bootId: undefined }), HOLD, "lease"],
    [view("a", { bootId: undefined }), { ...HOLD, node: noted }, "lease"],
    [view("a"), { ...HOLD, node: undefined }, "lease"],
    [view("a"), { ...HOLD, isNodeUnreadable: true }, "lease"],
  ];
  for (const [node, hold, lease] of unknown) {
    const { outcome, pass, state, change } = await setUp([{ ...node, ready: "False" }], { hold });
    if (lease === "no lease") state.renewed = undefined;
    change(node);
    await pass(1_000);
    if (lease === "lease") state.renewed = 2;
    await pass(4_000);
    deepEqual(outcome(), { kind: "ready" });
  }
});

Deno.test("a Node whose kubelet stays silent is not ready, whatever its condition says", async () => {
  const { outcome, pass } = await setUp([view("a")]);
  await pass(59_999);
  equal(outcome(), undefined);
  await pass(1);
  deepEqual(outcome(), { kind: "not_ready", node: "a", reason: SILENT });
});

Deno.test("a kubelet that reports another boot is back, and one that reports that it is not ready is waited for", async () => {
  for (const [after, kind] of [[BACK, "ready"], [NOT_READY, undefined]] as const) {
    const { outcome, pass, state, change } = await setUp([view("a")]);
    state.renewed = 2;
    await pass(1_000);
    change(after);
    await pass(3_500);
    equal(outcome()?.kind, kind);
  }
});

Deno.test("a Node that was replaced while its kubelet was waited for must show that it runs, too", async () => {
  const { outcome, pass, state, change } = await setUp([view("a")]);
  state.renewed = 2;
  await pass(1_000);
  change(view("a", { uid: "later" }), "lags");
  await pass(3_000);
  equal(outcome(), undefined);
  await pass(10_000);
  equal(outcome(), undefined);
  state.renewed = 3;
  await pass(4_000);
  deepEqual(outcome(), { kind: "ready", rebooted: false });
});

Deno.test("without the permission to read Leases, the kubelet counts as running, and that is told", async () => {
  const denied = new ForbiddenError("no", { verb: "get", group: "coordination.k8s.io", resource: "leases" });
  const { outcome, pass, state, change } = await setUp([NOT_READY]);
  state.fault = denied;
  change(view("a"));
  await pass(0);
  deepEqual([outcome(), state.forbidden], [{ kind: "ready" }, 1]);
});

Deno.test("a Lease that cannot be read for another reason is a fault", async () => {
  const { end, pass, state, change } = await setUp([NOT_READY]);
  state.fault = new UnavailableError("away");
  change(view("a"));
  await pass(0);
  await rejects(end, /away/);
  equal(state.forbidden, 0);
});

Deno.test("a host that is ready under another name is back, though the noted Node is dead", async () => {
  const dead = view("a", { ready: "Unknown" });
  const { outcome, calls } = await setUp([dead, view("b", { bootId: "2" })]);
  deepEqual([outcome(), calls], [{ kind: "ready", rebooted: true }, ["a 0", "b 0"]]);
});

Deno.test("where the noted Node no longer has the client's id and another one has, that one must show that its kubelet runs", async () => {
  for (const bootId of ["1", "2"]) {
    const another = view("b", { bootId: "3", ready: "Unknown" });
    const { outcome, pass, state, change } = await setUp([view("a", { ids: ["other"], bootId }), another]);
    await pass(10_000);
    equal(outcome(), undefined, "the kubelet of the noted Node says nothing of the host");
    change({ ...another, ready: "True" });
    await pass(2_000);
    equal(outcome(), undefined, "it may look as before the reboot");
    state.renewed = 2;
    await pass(10_000);
    deepEqual(outcome(), { kind: "ready" });
  }
  // Nobody else has the id, so that the noted one counts.
  const { outcome } = await setUp([view("a", { ids: ["other"], bootId: "2" })]);
  deepEqual(outcome(), { kind: "ready", rebooted: true });
});

Deno.test("the Node of another host does not count, nor a later one of the noted name that is not the host's", async () => {
  const other = view("b", { ids: [], bootId: "2" });
  const { outcome, pass } = await setUp([NOT_READY, other]);
  await pass(60_000);
  deepEqual(outcome()?.kind, "not_ready");
  const later = view("a", { uid: "later", ids: [], ready: "False" });
  // Nothing is left of the host.
  const gone = await setUp([later]);
  await gone.pass(59_999);
  equal(gone.outcome(), undefined);
  await gone.pass(1);
  deepEqual(gone.outcome(), { kind: "ready" });
});

Deno.test("an abort ends the wait with what was read", async () => {
  const { outcome, pass, stop, clock } = await setUp([NOT_READY]);
  await pass(10_000);
  stop.abort();
  await pass(0);
  equal(outcome()?.kind, "not_ready");
  deepEqual([clock.passed, clock.sleepers], [10_000, 0]);
});
