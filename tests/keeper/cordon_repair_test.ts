/** The clean-up of stale cordons, on nodes in memory. @module */

import { deepEqual, equal } from "node:assert/strict";
import { CordonRepair } from "../../src/keeper/cordon_repair.ts";
import type { NodeReports } from "../../src/keeper/node_reports.ts";
import { type CordonOwner, type CordonState, planCordon, planRepair } from "../../src/keeper/nodes/cordon.ts";
import type { NodeCordon } from "../../src/keeper/nodes/node_cordon.ts";
import type { NodeWatch } from "../../src/keeper/nodes/node_watch.ts";
import { type NodeView, viewNode } from "../../src/keeper/nodes/node.ts";
import { UnavailableError } from "../../src/lock/errors.ts";
import { parseClientId, parseGroup } from "../../src/lock/identity.ts";
import { FakeClock } from "../support/fake_clock.ts";

const owner = (group: string, namespace = "ops"): CordonOwner => {
  return {
    namespace,
    group: parseGroup(group)!,
    id: parseClientId(`host of ${group}`.replaceAll(" ", "-"))!,
    since: 1,
  };
};

/** The state of a node that is cordoned for these owners. */
const cordonedFor = (...owners: CordonOwner[]): CordonState =>
  owners.reduce<CordonState>((state, each) => ({ ...state, ...planCordon(state, each) as CordonState }), {
    unschedulable: false,
  });

/** A repair that runs over nodes in memory. */
function setUp() {
  const clock = new FakeClock();
  const nodes = new Map<string, NodeView>();
  const held = new Set<string>();
  const busy = new Set<string>();
  const told: string[] = [];
  const asked: string[] = [];
  const looked: number[] = [];
  /** What the next repairs answer instead. */
  const answers: ("conflict" | "gone" | Error)[] = [];
  const stop = new AbortController();
  /** Called while a node is repaired. */
  const hooks = { repairing: () => {} };
  const reports = new Proxy({}, {
    get: (_, event: string) => (...args: unknown[]) => {
      const shown = args.map((arg) => arg instanceof Error ? arg.message : (arg as CordonOwner).group ?? arg);
      told.push([event, ...shown].join(" "));
    },
  }) as NodeReports;
  const cordon: Pick<NodeCordon, "repair"> = {
    repair: (node, isHeld) => {
      looked.push(clock.passed);
      hooks.repairing();
      const answer = answers.shift();
      if (answer instanceof Error) return Promise.reject(answer);
      if (answer !== undefined) return Promise.resolve(answer);
      const patch = planRepair(node, isHeld);
      if (patch === undefined) return Promise.resolve("right");
      const unschedulable = patch.unschedulable === undefined ? node.unschedulable : false;
      nodes.set(node.name, { ...node, unschedulable, cordon: patch.cordon ?? undefined });
      return Promise.resolve("repaired");
    },
  };
  const watch: Pick<NodeWatch, "marked" | "peek"> = {
    get marked() {
      return [...nodes.values()];
    },
    peek: (name) => nodes.get(name),
  };
  const repair = new CordonRepair({
    namespace: "ops",
    nodes: watch as NodeWatch,
    cordon: cordon as NodeCordon,
    reports,
    clock,
    clientHolds: ({ group }) => {
      asked.push(group);
      return Promise.resolve(held.has(group));
    },
    isBusy: (node) => busy.has(node),
  });
  const put = (name: string, state: CordonState): NodeView => {
    const node = { ...viewNode({ metadata: { name, uid: `uid of ${name}` } }), ...state };
    nodes.set(name, node);
    return node;
  };
  const run = repair.run(stop.signal);
  return {
    ...{ clock, nodes, held, busy, told, asked, looked, answers, hooks, stop, repair, put },
    async [Symbol.asyncDispose]() {
      stop.abort();
      await run;
      equal(clock.sleepers, 0);
    },
  };
}

Deno.test("a cordon whose hold has ended is lifted at once, and one whose client holds a slot stays", async () => {
  await using test = setUp();
  test.held.add("held");
  test.put("a", cordonedFor(owner("ended")));
  test.put("b", cordonedFor(owner("held")));
  test.repair.suspectAll();
  await test.clock.advance(0);
  deepEqual([test.nodes.get("a")?.unschedulable, test.nodes.get("a")?.cordon], [false, undefined]);
  deepEqual(test.nodes.get("b")?.unschedulable, true);
  deepEqual(test.told, ["staleCordonLifted a ended"]);
});

Deno.test("of a node that is cordoned for two holds, only the one that has ended is told", async () => {
  await using test = setUp();
  test.held.add("held");
  test.repair.suspect(test.put("a", cordonedFor(owner("ended"), owner("held"))));
  await test.clock.advance(0);
  deepEqual([test.nodes.get("a")?.unschedulable, test.told], [true, ["staleCordonLifted a ended"]]);
});

Deno.test("a cordon whose hold was shown to end is told as such, until it is lifted or all nodes are checked", async () => {
  await using test = setUp();
  const both = cordonedFor(owner("ended"), owner("stale"));
  const shown = parseGroup("ended")!;
  test.repair.suspect(test.put("a", both), shown);
  // Another node of the same group.
  test.repair.suspect(test.put("b", cordonedFor(owner("ended"))));
  await test.clock.advance(0);
  deepEqual(test.told, ["endedCordonLifted a ended", "staleCordonLifted a stale", "staleCordonLifted b ended"]);
  test.told.length = 0;
  test.repair.suspect(test.put("a", cordonedFor(owner("ended"))));
  await test.clock.advance(0);
  deepEqual(test.told, ["staleCordonLifted a ended"]);
  test.told.length = 0;
  test.busy.add("a");
  test.repair.suspect(test.put("a", cordonedFor(owner("ended"))), shown);
  await test.clock.advance(0);
  test.busy.clear();
  test.repair.suspectAll();
  await test.clock.advance(0);
  deepEqual(test.told, ["staleCordonLifted a ended"]);
});

Deno.test("a node without our annotation is not checked", async () => {
  await using test = setUp();
  test.repair.suspect(test.put("a", { unschedulable: true }));
  test.repair.nodeChanged(test.put("b", { unschedulable: false }));
  await test.clock.advance(0);
  // The annotation may be gone before its turn comes.
  const c = test.put("c", cordonedFor(owner("ended")));
  test.nodes.delete("c");
  test.repair.suspect(c);
  test.repair.suspect(test.put("d", cordonedFor(owner("ended"))));
  test.put("d", { unschedulable: true });
  await test.clock.advance(0);
  deepEqual([test.asked, test.looked, test.told], [[], [], []]);
});

Deno.test("a cordon for a group of the same name in another namespace stays", async () => {
  await using test = setUp();
  test.repair.suspect(test.put("a", cordonedFor(owner("ended"), owner("ended", "elsewhere"))));
  await test.clock.advance(0);
  const { unschedulable, cordon } = test.nodes.get("a")!;
  deepEqual([unschedulable, cordon], [true, cordonedFor(owner("ended", "elsewhere")).cordon]);
});

Deno.test("nothing is remembered of a node that is gone when all nodes are checked", async () => {
  await using test = setUp();
  test.held.add("held");
  const node = test.put("a", cordonedFor(owner("held")));
  test.repair.nodeChanged(node);
  await test.clock.advance(0);
  test.nodes.delete("a");
  test.repair.suspectAll();
  await test.clock.advance(0);
  test.nodes.set("a", node);
  test.repair.nodeChanged(node);
  await test.clock.advance(0);
  equal(test.looked.length, 2);
});

for (const answer of [new UnavailableError("aborted"), "gone"] as const) {
  Deno.test(`an end during a check ends the repair, and neither checks the next node nor tells of it: ${answer}`, async () => {
    await using test = setUp();
    test.answers.push(answer);
    test.hooks.repairing = () => test.stop.abort();
    for (const name of ["a", "b"]) test.repair.suspect(test.put(name, cordonedFor(owner("ended"))));
    await test.clock.advance(0);
    deepEqual([test.looked, test.told], [[0], []]);
  });
}

for (
  const [what, state, expected] of [
    ["uncordoned", { unschedulable: false }, "annotationRemoved a false"],
    ["cordoned for themselves", { isCordonForeign: true }, "annotationRemoved a true"],
  ] as const
) {
  Deno.test(`our annotation is removed from a node that others have ${what}, also during a drain`, async () => {
    await using test = setUp();
    test.held.add("held");
    test.busy.add("a");
    test.repair.suspect(test.put("a", { ...cordonedFor(owner("held")), ...state }));
    await test.clock.advance(0);
    equal(test.nodes.get("a")?.cordon, undefined);
    deepEqual([test.told, test.asked], [[expected], []]);
  });
}

Deno.test("a node that this process drains is left to the drain", async () => {
  await using test = setUp();
  test.busy.add("a");
  test.repair.suspect(test.put("a", cordonedFor(owner("ended"))));
  await test.clock.advance(0);
  deepEqual([test.asked, test.looked], [[], []]);
});

Deno.test("a state that was found right is checked again only if a lock may have changed", async () => {
  await using test = setUp();
  test.held.add("held");
  const node = test.put("a", cordonedFor(owner("held")));
  test.repair.nodeChanged(node);
  await test.clock.advance(0);
  test.repair.nodeChanged(node);
  await test.clock.advance(0);
  equal(test.looked.length, 1);
  test.repair.suspect(node);
  await test.clock.advance(0);
  equal(test.looked.length, 2);
  test.repair.suspectAll();
  await test.clock.advance(0);
  equal(test.looked.length, 3);
  // Each of these makes it another state.
  for (const change of [{ uid: "later" }, { unschedulable: false }, { cordon: cordonedFor(owner("other")).cordon }]) {
    const before: number = test.asked.length + test.looked.length;
    const changed = { ...node, ...change };
    test.nodes.set("a", changed);
    test.repair.nodeChanged(changed);
    await test.clock.advance(0);
    equal(test.asked.length + test.looked.length > before, true, JSON.stringify(change));
    test.nodes.set("a", node);
    test.repair.suspect(node);
    await test.clock.advance(0);
  }
});

Deno.test("a check that fails is repeated after ten seconds, one after a conflict too, and neither before", async () => {
  for (const answer of [new UnavailableError("away"), "conflict"] as const) {
    await using test = setUp();
    test.answers.push(answer);
    test.repair.suspect(test.put("a", cordonedFor(owner("ended"))));
    await test.clock.advance(0);
    await test.clock.advance(9_999);
    deepEqual(test.looked, [0]);
    deepEqual(test.told, answer === "conflict" ? [] : ["repairFailed a away"]);
    await test.clock.advance(1);
    deepEqual(test.looked, [0, 10_000]);
    equal(test.nodes.get("a")?.cordon, undefined);
  }
});

Deno.test("a repair with nothing to do sleeps for an hour, and a new suspect ends the sleep", async () => {
  await using test = setUp();
  await test.clock.advance(0);
  equal(test.clock.nextIn, 3_600_000);
  await test.clock.advance(10_000);
  test.answers.push("gone");
  test.repair.suspect(test.put("a", cordonedFor(owner("ended"))));
  await test.clock.advance(0);
  deepEqual([test.looked, test.told], [[10_000], []]);
  equal(test.clock.nextIn, 3_600_000);
});

Deno.test("cordons of other namespaces and unreadable ones are told and left alone", async () => {
  await using test = setUp();
  const other = test.put("a", cordonedFor(owner("ended", "elsewhere")));
  test.repair.suspect(other);
  test.repair.suspect(test.put("b", { unschedulable: true, cordon: "?" }));
  await test.clock.advance(0);
  deepEqual(test.told, ["cordonOfOtherNamespace a elsewhere ops", "unreadableCordon b ?"]);
  deepEqual([test.nodes.get("a")?.unschedulable, test.nodes.get("b")?.cordon, test.asked], [true, "?", []]);
});
