import { deepEqual, equal, rejects } from "node:assert/strict";
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

/** A view over a node with pods, and the answers to patches of it. */
function setUp(
  { pods = [], patches = [], answers = {}, node = NODE }: {
    pods?: PodView[];
    patches?: (NodeView | "conflict" | "gone")[];
    answers?: Record<string, EvictionAnswer>;
    node?: NodeView;
  },
) {
  const told: unknown[] = [];
  const tried: string[] = [];
  const view = new FleetView({
    nodes: {
      isSynced: true,
      edition: 0,
      nodes: [node],
      peek: (name) => name === node.name ? node : undefined,
      peekById: () => [node],
      isGhost: () => false,
      learn: ({ name }) => told.push(`learned ${name}`),
    },
    calls: {
      getNode: (name) => Promise.resolve(name === node.name ? node : undefined),
      patchNode: (seen: NodeView, patch: NodePatch) => {
        deepEqual([seen, patch], [node, { skip: null }]);
        const answer = patches.shift();
        if (answer === undefined) throw new Error("the API server does not answer");
        return Promise.resolve(answer);
      },
    },
    pods: {
      listPods: (name) => {
        equal(name, "a");
        return Promise.resolve(pods);
      },
      tryEviction: ({ name }) => {
        tried.push(name);
        return Promise.resolve(answers[name] ?? { kind: "accepted" });
      },
    },
    policy: {},
    namespace: "fleetlock",
    reports: {
      skipUsed: (name, rules) => told.push(`used ${name} ${rules}`),
      skipStays: (name, error) => told.push(`stays ${name} ${(error as Error).message}`),
    },
  });
  return { view, told, tried };
}

Deno.test("only pods that a drain would evict are tried, and only budgets refuse", async () => {
  const pods = [
    pod("web"),
    pod("db"),
    pod("twice"),
    pod("mirror", { annotations: { "kubernetes.io/config.mirror": "x" } }),
  ];
  const answers: Record<string, EvictionAnswer> = {
    db: { kind: "blocked", reason: "its budget allows none" },
    twice: { kind: "several_budgets", reason: "two budgets cover it" },
    web: { kind: "gone" },
  };
  const { view, tried } = setUp({ pods, answers });
  deepEqual(await view.budgetRefusals(NODE, never), [
    "apps/db: its budget allows none",
    "apps/twice: two budgets cover it",
  ]);
  deepEqual(tried.sort(), ["db", "twice", "web"]);
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
  const failing = setUp({ patches: [] });
  await failing.view.dropSkip(NODE);
  deepEqual(failing.told, ["stays a the API server does not answer"]);
  const none = setUp({ node: { ...NODE, skip: undefined } });
  await none.view.dropSkip(NODE);
  deepEqual(none.told, []);
});

Deno.test("a node tells the holds of our namespace that it is cordoned for", () => {
  const [group, id] = [parseGroup("w")!, parseClientId("h")!];
  const cordoned = (namespace: string): NodeView => {
    return { ...NODE, unschedulable: true, cordon: planCordon(NODE, { namespace, group, id, since: 1 })!.cordon! };
  };
  const ownersOf = (node: NodeView) => {
    const [seen] = setUp({ node }).view.select(undefined);
    return seen!.cordonedFor?.map((owner) => ({ group: owner.group, id: owner.id, since: owner.since }));
  };
  deepEqual(ownersOf(cordoned("fleetlock")), [{ group, id, since: 1 }]);
  deepEqual(ownersOf(cordoned("elsewhere")), undefined);
  deepEqual(ownersOf({ ...NODE, unschedulable: true }), undefined);
});
