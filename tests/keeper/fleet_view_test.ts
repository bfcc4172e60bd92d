import { deepEqual, equal, ok, rejects } from "node:assert/strict";
import { FleetView } from "../../src/keeper/fleet_view.ts";
import { type EvictionAnswer, type PodView, viewPod } from "../../src/keeper/drain/pods.ts";
import { type NodePatch, planCordon } from "../../src/keeper/nodes/cordon.ts";
import { type NodeView, viewNode } from "../../src/keeper/nodes/node.ts";
import { parseClientId, parseGroup } from "../../src/lock/identity.ts";

const NODE = viewNode({ metadata: { name: "a", uid: "uid-a", annotations: { "fleetlock.internal/skip": "all" } } });
const never = new AbortController().signal;

function pod(name: string, more: Record<string, unknown> = {}): PodView {
  return viewPod({ metadata: { name, namespace: "apps", uid: `uid-${name}`, ...more } });
}

/** What a test may say of the nodes, their pods and the answers to patches and trials. */
interface Fleet {
  pods?: PodView[];
  patches?: (NodeView | "conflict" | "gone" | Error)[];
  answers?: Record<string, EvictionAnswer>;
  /** As the watch has seen them. The first is the one that is patched. */
  nodes?: NodeView[];
  /** What a read shows; what was seen where undefined, and no Node where null. */
  read?: NodeView | null;
  ghosts?: string[];
  isSynced?: boolean;
}

/** A view over these, which checks what it is asked. */
function setUp({ pods = [], patches = [], answers = {}, nodes = [NODE], read, ghosts = [], isSynced = true }: Fleet) {
  const told: unknown[] = [];
  const tried: string[] = [];
  const [node] = nodes;
  const view = new FleetView({
    nodes: {
      isSynced,
      edition: 7,
      nodes,
      peek: (name) => nodes.find((one) => one.name === name),
      peekById: (id) => {
        equal(id, "alice");
        return nodes;
      },
      isGhost: ({ name }) => ghosts.includes(name),
      learn: ({ name }) => told.push(`learned ${name}`),
    },
    calls: {
      getNode: (name) => {
        equal(name, "a");
        return Promise.resolve(read === null ? undefined : read ?? node);
      },
      patchNode: (seen: NodeView, patch: NodePatch) => {
        deepEqual([seen, patch], [read ?? node, { skip: null }]);
        const answer = patches.shift();
        ok(answer !== undefined, "one patch too many");
        return answer instanceof Error ? Promise.reject(answer) : Promise.resolve(answer);
      },
    },
    pods: {
      listPods: (name, signal) => {
        deepEqual([name, signal], ["a", never]);
        return Promise.resolve(pods);
      },
      tryEviction: async ({ name }, signal) => {
        equal(signal, never);
        tried.push(name);
        // The answers come in another order than the trials.
        for (let turns = name.length; turns < 10; turns++) await Promise.resolve();
        return answers[name] ?? { kind: "accepted" };
      },
    },
    policy: {},
    namespace: "fleetlock",
    reports: {
      skipUsed: (name, rules) => told.push(`used ${name} ${rules}`),
      skipStays: (name, error) => told.push(`stays ${name} ${(error as Error).message}`),
    },
  });
  return { view, told, tried, patches };
}

Deno.test("only pods that a drain would evict are tried, and only budgets refuse", async () => {
  const pods = [
    pod("web"),
    pod("db"),
    pod("twice"),
    pod("ending"),
    pod("mirror", { annotations: { "kubernetes.io/config.mirror": "x" } }),
  ];
  const answers: Record<string, EvictionAnswer> = {
    db: { kind: "blocked", reason: "its budget allows none" },
    twice: { kind: "several_budgets", reason: "two budgets cover it" },
    web: { kind: "gone" },
    ending: { kind: "namespace_ending", reason: "its namespace is being deleted" },
  };
  const { view, tried } = setUp({ pods, answers });
  deepEqual(await view.budgetRefusals(NODE, never), [
    "apps/db: its budget allows none",
    "apps/twice: two budgets cover it",
  ]);
  deepEqual(tried.sort(), ["db", "ending", "twice", "web"]);
});

Deno.test("an eviction that could not be tried says nothing about budgets", async () => {
  const answers: Record<string, EvictionAnswer> = { web: { kind: "failed", reason: "a webhook is down" } };
  await rejects(
    setUp({ pods: [pod("web")], answers }).view.budgetRefusals(NODE, never),
    /apps\/web: a webhook is down/,
  );
});

Deno.test("the pods that a selector matches are named unless they have finished", async () => {
  const labels = { job: "long" };
  const finished = viewPod({ metadata: { name: "done", namespace: "apps", labels }, status: { phase: "Failed" } });
  const { view } = setUp({ pods: [pod("backup", { labels }), pod("web"), finished] });
  deepEqual(await view.podsOn(NODE, (all) => all?.job === "long", never), ["apps/backup"]);
});

Deno.test("a skip is removed by a patch of the node as it was read, again after a conflict", async () => {
  const { view, told } = setUp({ patches: ["conflict", { ...NODE, skip: undefined }] });
  equal(await view.takeSkip(NODE, "all"), true);
  deepEqual(told, ["learned a", "used a all"]);
});

const plain = (name: string, change: Partial<NodeView> = {}): NodeView => ({
  ...viewNode({ metadata: { name, uid: `uid-${name}` } }),
  ...change,
});
const plainSeen = { isReady: false, isCordoned: false };

Deno.test("a node is seen with what policies ask about, and only with the annotations that it has", () => {
  const change = { ready: "True", unschedulable: true, hold: "until monday", skip: "windows" };
  const { view } = setUp({ nodes: [plain("a"), plain("b", change), plain("c", { ready: "Unknown" })] });
  const { count, suspects } = view.count(undefined);
  equal(count, 3);
  deepEqual(suspects, [
    { name: "a", uid: "uid-a", ...plainSeen },
    {
      name: "b",
      uid: "uid-b",
      isReady: true,
      isCordoned: true,
      hold: "until monday",
      skip: "windows",
    },
    { name: "c", uid: "uid-c", ...plainSeen },
  ]);
});

Deno.test("nodes are selected by their labels", () => {
  const { view } = setUp({ nodes: [plain("a", { labels: { zone: "1" } }), plain("b", { labels: { zone: "2" } })] });
  const { count, suspects } = view.count((labels) => labels?.zone === "2");
  deepEqual([count, suspects.map(({ name }) => name)], [1, ["b"]]);
});

Deno.test("a client's node is the one that counts, or all of them where nobody can tell", () => {
  const nodes = [plain("a", { ready: "True" }), plain("b", { ready: "Unknown" })];
  const candidates = (fleet: Fleet) => setUp(fleet).view.candidates(parseClientId("alice")!).map(({ name }) => name);
  deepEqual(candidates({ nodes: [] }), []);
  deepEqual(candidates({ nodes, ghosts: ["b"] }), ["a"]);
  deepEqual(candidates({ nodes }), ["a", "b"]);
});

Deno.test("a node is found and read by its name and UID, not another one of the name", async () => {
  const nodes = [plain("a"), plain("b")];
  const read = async (fleet: Fleet, uid: string) => (await setUp(fleet).view.read({ name: "a", uid }, never))?.uid;
  const { view } = setUp({ nodes });
  deepEqual(["uid-b", "another"].map((uid) => view.find({ name: "b", uid })?.name), ["b", undefined]);
  equal(view.find({ name: "c", uid: "uid-c" }), undefined);
  equal(await read({ nodes }, "uid-a"), "uid-a");
  equal(await read({ nodes }, "another"), undefined);
  equal(await read({ nodes, read: null }, "uid-a"), undefined);
});

Deno.test("the view is as much in step, and of the edition, as what the keeper has seen", () => {
  for (const isSynced of [true, false]) {
    const { view } = setUp({ isSynced });
    deepEqual([view.isSynced, view.edition], [isSynced, 7]);
  }
});

Deno.test("a skip that others changed or removed, or that is another node's, is not taken", async () => {
  const changed = setUp({});
  equal(await changed.view.takeSkip(NODE, "freeze"), false);
  deepEqual(changed.told, ["learned a"], "whoever judges again sees what is there");
  const other = setUp({});
  equal(await other.view.takeSkip({ name: "a", uid: "uid-of-another" }, "all"), false);
  deepEqual(other.told, []);
  const gone = setUp({ patches: ["gone"] });
  equal(await gone.view.takeSkip(NODE, "all"), false);
  const busy = setUp({ patches: Array.from({ length: 6 }, () => "conflict" as const) });
  equal(await busy.view.takeSkip(NODE, "all"), false);
  deepEqual(busy.told, []);
});

Deno.test("a skip that nobody needed is removed after the grant, and one that stays is told", async () => {
  const { view, told } = setUp({ patches: [{ ...NODE, skip: undefined }] });
  await view.dropSkip(NODE);
  deepEqual(told, ["learned a", "used a all"]);
  const failing = setUp({ patches: [new Error("the API server does not answer")] });
  await failing.view.dropSkip(NODE);
  deepEqual(failing.told, ["stays a the API server does not answer"]);
  const none = setUp({ nodes: [{ ...NODE, skip: undefined }] });
  await none.view.dropSkip(NODE);
  deepEqual(none.told, []);
});

Deno.test("a node tells the holds of our namespace that it is cordoned for", () => {
  const [group, id] = [parseGroup("w")!, parseClientId("h")!];
  const cordoned = (namespace: string): NodeView => {
    return { ...NODE, unschedulable: true, cordon: planCordon(NODE, { namespace, group, id, since: 1 })!.cordon! };
  };
  const ownersOf = (node: NodeView) => {
    const [seen] = setUp({ nodes: [node] }).view.count(undefined).suspects;
    return seen!.cordonedFor?.map((owner) => ({ group: owner.group, id: owner.id, since: owner.since }));
  };
  deepEqual(ownersOf(cordoned("fleetlock")), [{ group, id, since: 1 }]);
  deepEqual(ownersOf(cordoned("elsewhere")), undefined);
  deepEqual(ownersOf({ ...NODE, unschedulable: true }), undefined);
});

Deno.test("a count looks at each Node once and describes only those that are not ready or cordoned", () => {
  const ready: NodeView = { ...NODE, ready: "True" };
  const count = (node: NodeView, matches?: (labels: unknown) => boolean) => {
    const { count, suspects } = setUp({ nodes: [node] }).view.count(matches);
    return [count, ...suspects.map(({ isReady, isCordoned }) => `${isReady} ${isCordoned}`)];
  };
  deepEqual(count(ready), [1]);
  deepEqual(count(NODE), [1, "false false"]);
  deepEqual(count({ ...ready, unschedulable: true }), [1, "true true"]);
  const labelled = { ...NODE, labels: ready.labels };
  deepEqual(count(labelled, (labels) => (equal(labels, labelled.labels), false)), [0]);
});
