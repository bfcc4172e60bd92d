/** What the checks say of the configuration file, nodes, budgets and pods. @module */

import { deepEqual, equal } from "node:assert/strict";
import { checkBudgets, checkNodes, checkPods } from "../../src/operate/check/node_checks.ts";
import { configCheck } from "../../src/operate/check/config_checks.ts";
import { checksOfClosed } from "../../src/operate/check/place_checks.ts";
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

Deno.test("what comes after a part that had to run first is skipped and says why", async () => {
  let asked = 0;
  const node = { category: "nodes" as const, name: "two", run: () => (asked++, Promise.resolve([])) };
  const first = { category: "cluster" as const, name: "one", otherwise: "the cluster is away" };
  const results = await runChecks([{ ...first, run: () => Promise.reject(new Error("no route")) }, node], () => {});
  deepEqual(results.map(({ name, status, detail }) => [name, status, detail]), [
    ["one", "failed", "no route"],
    ["two", "skipped", "the cluster is away"],
  ]);
  equal(asked, 0);
  const found = { name: "one", status: "failed" as const };
  await runChecks([{ ...first, run: () => Promise.resolve([found]) }, node], () => {});
  equal(asked, 1, "a first part that ran and found a fault does not stop the others");
});

Deno.test("a place that cannot be opened is one failure, and what would need it is skipped", async () => {
  const of = async (kind: "cluster" | "sqlite") => {
    const results = await runChecks(checksOfClosed(kind, new Error("there is none")), () => {});
    return results.map(({ category, status, detail }) => `${category} ${status} ${detail}`);
  };
  deepEqual(await of("sqlite"), ["locks failed there is none"]);
  deepEqual(await of("cluster"), [
    "cluster failed there is none",
    "permissions skipped the cluster cannot be reached",
    "nodes skipped the cluster cannot be reached",
  ]);
});

/** The moment of all checks of windows: a Thursday. */
const NOW = Date.parse("2026-11-26T00:00:00Z");

async function checkFile(text: string): Promise<string[]> {
  const path = await Deno.makeTempFile({ suffix: ".yaml" });
  try {
    await Deno.writeTextFile(path, text);
    const context = { store: "kubernetes", drainTimeoutMs: 900_000 } as const;
    const results = await configCheck({ path, context, now: () => NOW }).run();
    return brief(results).map((line) => line.replaceAll(path, "F"));
  } finally {
    await Deno.remove(path);
  }
}

/** Writes a file with one group, whose hosts alone get slots. */
const fileOf = (keys: string) => `allowUnknownGroups: false\ngroups: {a: {${keys}}}\n`;

const FRIDAYS = '{days: [fri], at: "22:00", for: 6h}';

for (
  const [name, text, expected] of [
    ["a file without windows", fileOf("slots: 2"), []],
    ["errors by line", "slots: 1\ngroups: 7\n", [
      "failed F:1:1: slots: is unknown: the keys here are timeZone, allowUnknownGroups, stuck, defaults, groups",
      "failed F:2:9: groups: must be a mapping of groups: it is 7",
    ]],
    ["windows that open", fileOf(`allow: [${FRIDAYS}]`), ['ok group "a"']],
    [
      "a freeze over more than a year",
      fileOf(`allow: [${FRIDAYS}], freeze: [{from: 2026-01-01, to: 2028-01-01}]`),
      ['warning group "a" never does'],
    ],
    [
      "a freeze over more than a year, and no windows",
      fileOf("freeze: [{from: 2026-01-01, to: 2028-01-01}]"),
      ['warning group "a" never does'],
    ],
    ["a freeze of some weeks", fileOf("freeze: [{from: 2026-11-01, to: 2027-01-06}]"), ['ok group "a"']],
    [
      "windows that leave a minute",
      fileOf('allow: [{at: "22:00", for: 16m}]'),
      ['warning group "a": slots are granted for 1 min at most, and a host asks every 5 minutes'],
    ],
    [
      "one window of two that a freeze covers",
      fileOf(
        `allow: [${FRIDAYS}, {days: [5th sun], at: "02:00", for: 3h}], freeze: [` +
          ["2026-11-29", "2027-01-31", "2027-05-30", "2027-08-29", "2027-10-31"].map((day) =>
            `{from: ${day}, to: ${day}}`
          ).join(", ") + "]",
      ),
      ['warning group "a": allow[1] never opens'],
    ],
    [
      "the defaults of groups that the file does not name",
      `defaults: {freeze: [{from: 2026-01-01, to: 2028-01-01}]}`,
      ["warning other groups never does"],
    ],
  ] as const
) {
  Deno.test(`the check of the configuration file: ${name}`, async () => {
    const [first = "", ...more] = await checkFile(text);
    const isValid = /^ok F: \d groups?, hash [0-9a-f]{16}$/.test(first);
    deepEqual(isValid ? more : [first, ...more], expected);
  });
}

Deno.test("the check of the configuration file is skipped where there is none, and fails where it cannot be read", async () => {
  const context = { store: "sqlite" } as const;
  equal((await configCheck({ context }).run())[0]!.status, "skipped");
  const [missing] = await configCheck({ context, path: "/nowhere/policies.yaml" }).run();
  equal(missing!.status, "failed");
  equal(missing!.detail, "/nowhere/policies.yaml: the file does not exist");
});
