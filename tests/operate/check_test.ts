/** What the checks say of nodes, budgets and pods. @module */

import { deepEqual, equal } from "node:assert/strict";
import { checkBudgets, checkNodes, checkPods } from "../../src/operate/check/node_checks.ts";
import { runChecks } from "../../src/operate/check/check.ts";
import type { NodeView } from "../../src/keeper/nodes/node.ts";
import type { PodView } from "../../src/keeper/drain/pods.ts";

function node(name: string, more: Partial<NodeView> = {}): NodeView {
  return {
    name,
    uid: name,
    deleting: false,
    resourceVersion: "1",
    ids: [`id-of-${name}`],
    malformed: false,
    unschedulable: false,
    ready: "True",
    ...more,
  };
}

const brief = (results: readonly { status: string; detail?: string }[]) =>
  results.map(({ status, detail }) => `${status} ${detail}`);

for (
  const [name, nodes, expected] of [
    ["nodes with ids of their own", [node("a"), node("b")], ["ok 2 nodes"]],
    ["two ready nodes with one id", [node("a", { ids: ["x"] }), node("b", { ids: ["x"] })], ["failed a, b"]],
    [
      "a node that was left behind",
      [node("a", { ids: ["x", "y"] }), node("b", { ids: ["x", "y"], ready: "Unknown" })],
      ["warning a, b"],
    ],
    ["a malformed machine-id", [node("a", { malformed: true })], ["failed a"]],
    ["a missing machine-id", [node("a", { ids: [] })], ["warning a"]],
  ] as const
) {
  Deno.test(`the check of nodes: ${name}`, () => deepEqual(brief(checkNodes(nodes)), expected));
}

const budget = (spec: Record<string, unknown>, expectedPods = 0, desiredHealthy = 0) => ({
  metadata: { namespace: "n", name: "b" },
  spec: { unhealthyPodEvictionPolicy: "AlwaysAllow", ...spec },
  status: { expectedPods, desiredHealthy },
});

for (
  const [name, one, expected] of [
    ["one that allows one of two", budget({ maxUnavailable: 1 }, 2, 1), "ok 1 budget"],
    ["maxUnavailable 0 without pods", budget({ maxUnavailable: 0 }), "failed n/b"],
    ["minAvailable 100%", budget({ minAvailable: "100%" }), "failed n/b"],
    ["minAvailable 1 of one pod", budget({ minAvailable: 1 }, 1, 1), "failed n/b"],
    ["minAvailable 1 without pods", budget({ minAvailable: 1 }), "ok 1 budget"],
    ["the strict policy of unhealthy pods", budget({ unhealthyPodEvictionPolicy: undefined }, 2, 1), "warning n/b"],
  ] as const
) {
  Deno.test(`the check of budgets: ${name}`, () => deepEqual(brief(checkBudgets([one])), [expected]));
}

Deno.test("the check of pods: what the server's flags refuse fails, and what nothing starts again is a warning", () => {
  const lone = { namespace: "n", name: "p", emptyDir: false, controller: undefined } as unknown as PodView;
  equal(checkPods([lone], { unmanaged: "refuse" })[0]!.status, "failed");
  equal(checkPods([lone], {})[0]!.status, "warning");
  equal(checkPods([{ ...lone, controller: "ReplicaSet" }], { unmanaged: "refuse" })[0]!.status, "ok");
});

Deno.test("a part that throws is a failed check with its hint, and the parts after it run", async () => {
  const told: string[] = [];
  const results = await runChecks([
    { category: "cluster", name: "one", hint: "look", run: () => Promise.reject(new Error("no route")) },
    { category: "nodes", name: "two", run: () => Promise.resolve([{ name: "two", status: "ok" }]) },
  ], ({ name }) => told.push(name));
  deepEqual(results[0], { category: "cluster", name: "one", status: "failed", detail: "no route", hint: "look" });
  deepEqual(told, ["one", "two"]);
});
