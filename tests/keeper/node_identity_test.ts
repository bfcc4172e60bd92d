/**
 * What a hold is about: the very Node on which its drain began, whatever becomes of the identities of that Node and of
 * the client. On a cluster in memory.
 *
 * @module
 */

import { deepEqual, equal, ok } from "node:assert/strict";
import { KubernetesNodeKeeper, type NodeKeeperOptions } from "../../src/keeper/node_keeper.ts";
import { ID_ANNOTATION } from "../../src/keeper/nodes/node.ts";
import { type ClientId, parseClientId, parseGroup } from "../../src/lock/identity.ts";
import type { DrainOutcome, Hold } from "../../src/lock/node_keeper.ts";
import type { HeldNode } from "../../src/lock/semaphore.ts";
import { until } from "../support/condition.ts";
import { FakeClock } from "../support/fake_clock.ts";
import { FakeCluster, type FakeNode } from "./fake_cluster.ts";

const MACHINE = "1c09ca98649c4c7abc779cd04c96812e";
const OTHER_MACHINE = "ad432f2cb0c28bbcd1f87a20199237f9";
const ZINCATI = parseClientId("978a225b3d7b40e9acd7ce9b62f68444")!;
const CUSTOM = parseClientId("custom")!;
/** When the slot was granted. */
const SINCE = Date.now();
const never = new AbortController().signal;

/** The node of the client: by its machine-id, or by the annotation. */
const A: FakeNode = { name: "a", uid: "uid-a", machineID: MACHINE };
const ANNOTATED: FakeNode = { name: "a", uid: "uid-a", annotations: { [ID_ANNOTATION]: CUSTOM } };
const B: FakeNode = { name: "b", uid: "uid-b", machineID: OTHER_MACHINE };

function holdOf(id: ClientId, node?: Partial<HeldNode>): Hold {
  const held = node && { name: "a", uid: "uid-a", bootId: "boot-1", phase: "draining" as const, ...node };
  return { group: parseGroup("default")!, id, since: SINCE, node: held };
}

/** A keeper that has seen the cluster's nodes. */
async function setUp(cluster: FakeCluster, options: Partial<NodeKeeperOptions> = {}) {
  const log: string[] = [];
  const write = (message: string, { error }: Record<string, unknown>) =>
    log.push(error ? `${message}: ${error}` : message);
  const keeper = new KubernetesNodeKeeper(cluster.client, {
    readHolder: () => Promise.resolve({ since: SINCE }),
    log: { info: write, warning: write, error: write },
    ...options,
  });
  keeper.run();
  await until(() => keeper.isSynced, { timeoutMs: 1_000, what: () => log.join() });
  return { keeper, log };
}

interface Row {
  readonly identity: string;
  readonly change: string;
  /** The node before. */
  readonly node: FakeNode;
  readonly id: ClientId;
  /** What happens after the hold's drain has begun. */
  happens(cluster: FakeCluster): void;
  /** What a request is answered while a pod of the node is left. */
  readonly before?: string;
  /** What a request is answered once no pod of the node is left, and about which Node. */
  readonly answer: string;
}

const newNode = () => new Date(Date.now() + 1_000);
const ROWS: Row[] = [
  ...([["annotation", ANNOTATED, CUSTOM], ["machine-id", A, ZINCATI]] as const).flatMap(([identity, node, id]) => {
    const named = (value: string | undefined): Partial<FakeNode> => {
      if (identity === "machine-id") {
        return { machineID: value === "same" ? MACHINE : value === "new" ? "f".repeat(32) : "" };
      }
      return { annotations: value === undefined ? {} : { [ID_ANNOTATION]: value === "same" ? CUSTOM : "new" } };
    };
    const row = (change: string, answer: string, happens: (cluster: FakeCluster) => void): Row => {
      return { identity, change, node, id, answer, happens };
    };
    return [
      row("changed", "drained a", (cluster) => cluster.put({ ...node, ...named("new") })),
      row("emptied", "drained a", (cluster) => cluster.put({ ...node, ...named(undefined) })),
      row("moved", "moved b", (cluster) => {
        cluster.put({ ...node, ...named(undefined) });
        cluster.put({ ...B, ...named("same") });
      }),
      row("doubled", "ambiguous a b", (cluster) => cluster.put({ ...B, ...named("same") })),
    ];
  }),
  {
    identity: "name",
    change: "changed",
    node: A,
    id: ZINCATI,
    answer: "moved b",
    happens: (cluster) => {
      cluster.nodes.delete("a");
      cluster.put({ ...B, machineID: MACHINE });
    },
  },
  {
    identity: "name",
    change: "emptied",
    node: A,
    id: ZINCATI,
    answer: "drained a",
    happens: (cluster) => cluster.nodes.delete("a"),
  },
  {
    identity: "name",
    change: "moved to another machine",
    node: A,
    id: ZINCATI,
    answer: "drained a",
    happens: (cluster) => {
      cluster.put({ name: "a", uid: "uid-c", machineID: OTHER_MACHINE, createdAt: newNode() });
      // A pod of that machine.
      cluster.pods.push({ name: "theirs", node: "a", createdAt: new Date(Date.now() + 5_000) });
    },
  },
  {
    identity: "UID",
    change: "changed",
    node: A,
    id: ZINCATI,
    // The host registered again: all pods of the name are drained there, old and new.
    before: "moved a",
    answer: "moved a",
    happens: (cluster) => cluster.put({ ...A, uid: "uid-c", createdAt: newNode() }),
  },
  {
    identity: "UID",
    change: "changed with the loss of the annotation, but not of the machine-id,",
    node: { ...ANNOTATED, machineID: MACHINE },
    id: CUSTOM,
    before: "moved a",
    answer: "moved a",
    happens: (cluster) => {
      cluster.put({ ...A, uid: "uid-c", createdAt: newNode() });
      cluster.pods.push({ name: "late", node: "a", createdAt: new Date(Date.now() + 5_000) });
    },
  },
];

function described(outcome: DrainOutcome): string {
  switch (outcome.kind) {
    case "ambiguous":
      return `ambiguous ${outcome.nodes.join(" ")}`;
    case "drained":
    case "moved":
      return `${outcome.kind} ${outcome.node?.name}`;
    default:
      return outcome.kind;
  }
}

for (const { identity, change, node, id, happens, before = "draining", answer } of ROWS) {
  for (const phase of ["draining", "drained"] as const) {
    const what = `the ${identity} of a node is ${change} while the hold's phase is ${phase}`;
    Deno.test(`${what}: with a pod left the answer is "${before}", without one "${answer}"`, async () => {
      const cluster = new FakeCluster();
      for (const one of [{ ...node, unschedulable: phase === "drained" }, B]) cluster.put(one);
      cluster.pods = [{ name: "web", node: "a", createdAt: new Date(Date.now() - 60_000) }];
      const first = await setUp(cluster);
      await using _first = first.keeper;
      const hold = holdOf(id, { phase, machineId: node.machineID });
      happens(cluster);
      // The cordon stays on the Node that the hold notes.
      if (cluster.nodes.get("a")?.uid === "uid-a") cluster.nodes.get("a")!.unschedulable = true;
      equal(described(await first.keeper.drain(hold, 30, never)), before);
      cluster.pods = cluster.pods.filter(({ name }) => name !== "web");
      // Another replica answers from what it sees.
      const second = await setUp(cluster);
      await using _second = second.keeper;
      equal(described(await second.keeper.drain(hold, 2_000, never)), answer);
      ok(!cluster.calls.includes("evict theirs"));
    });
  }
}

Deno.test("a hold without a node is about the client's node where there is one, and needs none where a list shows none", async () => {
  const cluster = new FakeCluster();
  const { keeper } = await setUp(cluster);
  await using _ = keeper;
  equal(described(await keeper.drain(holdOf(ZINCATI), 0, never)), "drained undefined");
  deepEqual(await keeper.drain({ ...holdOf(ZINCATI), isNodeUnreadable: true }, 0, never), { kind: "unreadable" });
  cluster.holdBack();
  cluster.put(A);
  const moved = { kind: "moved", node: { name: "a", uid: "uid-a", machineId: MACHINE, bootId: "boot-1" } };
  for (const isNodeUnreadable of [undefined, true]) {
    deepEqual(await keeper.drain({ ...holdOf(ZINCATI), isNodeUnreadable }, 0, never), moved);
  }
  cluster.put({ ...B, machineID: MACHINE });
  equal(described(await keeper.drain(holdOf(ZINCATI), 0, never)), "ambiguous a b");
});

Deno.test("the bootID to note is the one that the proof has read, not the one that the watch shows", async () => {
  const cluster = new FakeCluster();
  cluster.seen = [A];
  cluster.put({ ...A, bootID: "boot-2" });
  const { keeper } = await setUp(cluster);
  await using _ = keeper;
  const outcome = await keeper.drain(holdOf(ZINCATI, {}), 2_000, never);
  ok(outcome.kind === "drained");
  deepEqual(outcome.node, { name: "a", uid: "uid-a", machineId: MACHINE, bootId: "boot-2" });
});

Deno.test("a host that joined again as another Node is drained there too, although the old Node is still there", async () => {
  const cluster = new FakeCluster();
  cluster.put(A);
  const { keeper, log } = await setUp(cluster, { ghostMs: 60_000 });
  await using _ = keeper;
  cluster.holdBack();
  cluster.put({ ...A, ready: "Unknown", unschedulable: true });
  cluster.put({ ...B, machineID: MACHINE });
  equal(described(await keeper.drain(holdOf(ZINCATI, { phase: "drained" }), 2_000, never)), "ambiguous a b");
  equal(log.filter((line) => line.startsWith("several nodes have the same id")).length, 1);
  const again = await setUp(cluster, { ghostMs: 0 });
  await using _again = again.keeper;
  equal(described(await again.keeper.drain(holdOf(ZINCATI, { phase: "drained" }), 2_000, never)), "moved b");
});

Deno.test("a Node that is being deleted is not a yes until it is gone", async () => {
  const cluster = new FakeCluster();
  cluster.put({ ...A, deletedAt: new Date() });
  const { keeper } = await setUp(cluster);
  await using _ = keeper;
  const hold = holdOf(ZINCATI, {});
  equal(described(await keeper.drain(hold, 50, never)), "draining");
  cluster.nodes.delete("a");
  equal(described(await keeper.drain(hold, 2_000, never)), "drained a");
});

Deno.test("a Node that was replaced by one of an unknown machine is not a yes until the machine is known", async () => {
  const reason = "its Node was replaced, and whose the new one is is unknown";
  const replacement: FakeNode = { name: "a", uid: "uid-c", createdAt: newNode() };
  for (
    const [notedId, machineID, answer] of [
      [MACHINE, undefined, "draining"],
      [undefined, MACHINE, "draining"],
      [MACHINE, MACHINE, "moved a"],
      [MACHINE, OTHER_MACHINE, "drained a"],
    ] as const
  ) {
    for (const phase of ["draining", "drained"] as const) {
      const cluster = new FakeCluster();
      cluster.put({ ...replacement, machineID });
      // It may be the host's, which has come back without its cordon.
      cluster.pods = [{ name: "theirs", node: "a", createdAt: new Date(Date.now() + 5_000) }];
      const { keeper } = await setUp(cluster);
      await using _ = keeper;
      const outcome = await keeper.drain(holdOf(CUSTOM, { phase, machineId: notedId }), 100, never);
      equal(described(outcome), answer);
      if (outcome.kind === "draining") equal(outcome.reason, reason);
      ok(!cluster.calls.includes("evict theirs"));
      ok(!cluster.calls.includes("patch nodes"));
    }
  }
});

Deno.test("the pods are listed last but for the Node where that takes long, and a yes tells when its oldest reading began", async () => {
  const all = ["get nodes", "list nodes", "list pods", "get nodes"];
  for (
    const [what, node, noted, calls] of [
      ["a node with the id", { ...A, unschedulable: true }, {}, all],
      ["a node without the id", { ...A, machineID: "", unschedulable: true }, {}, all],
      ["a node that is gone", undefined, {}, all],
      ["no node", undefined, undefined, ["list nodes"]],
    ] as const
  ) {
    const cluster = new FakeCluster();
    if (node !== undefined) cluster.put(node);
    let now = 5_000;
    const { keeper } = await setUp(cluster, { clock: Object.assign(new FakeClock(), { monotonic: () => now }) });
    await using _ = keeper;
    cluster.calls.length = 0;
    cluster.hook = (_call, when) => {
      if (when === "before") now += 1_000;
    };
    const before = now;
    const outcome = await keeper.drain(holdOf(ZINCATI, noted && { ...noted, phase: "drained" }), 60_000, never);
    equal(outcome.kind, "drained", what);
    deepEqual(cluster.calls, calls, what);
    equal(outcome.kind === "drained" && outcome.readAt, before, what);
  }
});

Deno.test("a Node that stays in deletion is drained seldom, over several requests too, and the answers say why", async () => {
  const cluster = new FakeCluster();
  cluster.put({ ...A, unschedulable: true, deletedAt: new Date() });
  const clock = new FakeClock();
  const { keeper, log } = await setUp(cluster, { clock });
  await using _ = keeper;
  for (let request = 0; request < 4; request++) {
    let answered = false;
    const outcome = keeper.drain(holdOf(ZINCATI, {}), 16_000, never).finally(() => answered = true);
    for (let ms = 0; ms < 16_000 || !answered; ms += 100) await clock.advance(100);
    deepEqual(await outcome, { kind: "draining", node: "a", pods: [], reason: "its Node is being deleted" });
  }
  // At 0, 2, 6 and 14 s, and then every 10 s.
  const drains = log.filter((line) => line === "draining the node").length;
  ok(drains >= 6 && drains <= 9, `${drains} drains in 64 s`);
});

Deno.test("each request proves for itself: a node that was drained before is read, and its pods listed, after the call", async () => {
  const cluster = new FakeCluster();
  cluster.put({ ...A, unschedulable: true });
  const { keeper } = await setUp(cluster);
  await using _ = keeper;
  const hold = holdOf(ZINCATI, { phase: "drained" });
  for (let request = 0; request < 2; request++) {
    cluster.calls.length = 0;
    equal(described(await keeper.drain(hold, 0, never)), "drained a");
    deepEqual(cluster.calls, ["get nodes", "list nodes", "list pods"]);
  }
});
