/** Which nodes of a group count: for a share of them, as unready, and as unavailable. @module */

import { deepEqual, equal } from "node:assert/strict";
import { type ClientId, parseClientId, parseGroup } from "../../src/lock/identity.ts";
import type { GroupState, Holder } from "../../src/lock/semaphore.ts";
import { describeNodes, slotsOf } from "../../src/policies/nodes.ts";
import { groupNodes, HOST, node, type TestNode, WORKERS } from "./support.ts";

const known = (count: number) => ({
  kind: "known" as const,
  value: groupNodes([...Array.from({ length: count }, (_, i) => node(`n${i}`)), node("other", { isInGroup: false })]),
});

/** A share of the nodes of a group, and how many slots it is. */
const SHARES: [percent: number, nodes: number, slots: number][] = [
  [10, 0, 1],
  [10, 9, 1],
  [10, 10, 1],
  [10, 19, 1],
  [10, 20, 2],
  [33, 10, 3],
  [100, 7, 7],
  [1, 1, 1],
];

for (const [value, count, slots] of SHARES) {
  Deno.test(`${value} % of ${count} nodes are ${slots} slots`, () => {
    equal(known(count).value.count, count);
    equal(slotsOf({ slots: { kind: "percent", value } }, known(count)), slots);
  });
}

Deno.test("a share of nodes that are not known is one slot, and a number is what it is", () => {
  for (const nodes of [{ kind: "not_asked" }, { kind: "failed", reason: "away" }] as const) {
    equal(slotsOf({ slots: { kind: "percent", value: 50 } }, nodes), 1);
    equal(slotsOf({ slots: { kind: "number", value: 3 } }, nodes), 3);
  }
  equal(slotsOf({ slots: { kind: "number", value: 3 } }, known(100)), 3);
});

const holding = (noted?: { name: string; uid: string }): Holder => ({
  id: parseClientId("host") as ClientId,
  since: 1,
  ...(noted && { node: { ...noted, phase: "draining" } }),
});
const stateOf = (...holders: Holder[]): GroupState => ({ holders, transitions: 1 });

const OTHERS = parseGroup("others")!;

/** The hold of {@link holding}. */
const OWNER = { group: WORKERS, id: parseClientId("host") as ClientId, since: 1 };

/** Whether a node that is not ready, and one that is cordoned, count. */
const COUNTED: [what: string, facts: Partial<TestNode>, state: GroupState, isCounted: boolean][] = [
  ["nobody holds a slot", {}, stateOf(), true],
  ["it is of another group", { isInGroup: false }, stateOf(), false],
  ["it asks", { isAsking: true }, stateOf(), false],
  ["it is cordoned for a hold", { cordonedFor: [OWNER] }, stateOf(holding()), false],
  ["it is a holder's", {}, stateOf(holding(), holding({ name: "a", uid: "uid-of-a" })), false],
  ["it is a holder's under another name", {}, stateOf(holding({ name: "b", uid: "uid-of-a" })), false],
  ["it has the name of a holder's", {}, stateOf(holding({ name: "a", uid: "uid-of-b" })), false],
  ["others hold", {}, stateOf(holding(), holding({ name: "b", uid: "uid-of-b" })), true],
];

for (const [what, facts, state, isCounted] of COUNTED) {
  Deno.test(`a node ${isCounted ? "counts" : "does not count"} where ${what}`, () => {
    const all = [
      node("a", { isReady: false, ...facts }),
      node("a", { isCordoned: true, ...facts }),
      node("a", { isReady: false, isCordoned: true, ...facts }),
      node("a", facts),
    ].map((one, n) => ({ ...one, uid: `${one.uid}${n === 0 ? "" : `-${n}`}` }));
    const question = { group: WORKERS, id: HOST, state };
    for (const [n, one] of all.entries()) {
      const asking = one.isAsking ? [one] : [];
      const nodes = groupNodes([{ ...one, uid: "uid-of-a" }]);
      const count = (kind: "unready" | "unavailable") =>
        nodes[kind](question, asking.map((each) => ({ ...each, uid: "uid-of-a" }))).count;
      deepEqual([count("unready"), count("unavailable")], isCounted ? [[1, 1], [0, 1], [1, 1], [0, 0]][n] : [0, 0]);
    }
  });
}

/** Cordons of ours, and whether a node that is not ready, and one that is, count with them. */
const CORDONED: [what: string, more: Partial<typeof OWNER>, others: GroupState | undefined, isCounted: boolean][] = [
  ["a hold of the group", {}, undefined, false],
  ["an earlier hold of the client", { since: 2 }, undefined, true],
  ["a hold of another client", { id: HOST }, undefined, true],
  ["a hold of another group", { group: OTHERS }, stateOf(holding()), false],
  ["a hold of another group that is over", { group: OTHERS }, stateOf(), true],
  ["a hold of another group that nobody knows", { group: OTHERS }, undefined, true],
];

for (const [what, more, others, isCounted] of CORDONED) {
  Deno.test(`an unready node that is cordoned for ${what} ${isCounted ? "counts" : "does not count"}`, () => {
    const facts = { isCordoned: true, cordonedFor: [{ ...OWNER, ...more }] };
    const nodes = groupNodes([node("a", { isReady: false, ...facts }), node("b", facts)]);
    const state = stateOf(holding());
    const groups = new Map(others && [[OTHERS, { state: others }]]);
    for (const asked of [undefined, groups]) {
      const question = { group: WORKERS, id: HOST, state, ...(asked && { groups: asked }) };
      const expected = isCounted || asked === undefined && more.group !== undefined ? 1 : 0;
      deepEqual([nodes.unready(question, []).count, nodes.unavailable(question, []).count], [expected, expected]);
    }
    equal(nodes.unready({ group: WORKERS, id: HOST, state, groups }, [node("a")]).count, 0);
  });
}

Deno.test("nodes that are cordoned for other groups are looked up in what these are at each question", () => {
  const facts = { isReady: false, isCordoned: true, cordonedFor: [{ ...OWNER, group: OTHERS }] };
  const nodes = groupNodes([node("a", facts)]);
  const state = stateOf();
  const counts = [stateOf(holding()), stateOf(), stateOf(holding())].map((others) => {
    return nodes.unready({ group: WORKERS, id: HOST, state, groups: new Map([[OTHERS, { state: others }]]) }, []).count;
  });
  deepEqual(counts, [0, 1, 0]);
});

Deno.test("groups that share a state are told apart by the holds of each", () => {
  const nodes = groupNodes([node("a", { isReady: false, isCordoned: true, cordonedFor: [OWNER] })]);
  const state = stateOf();
  equal(nodes.unready({ group: WORKERS, id: HOST, state }, []).count, 1);
  const groups = new Map([[WORKERS, { state: stateOf(holding()) }]]);
  equal(nodes.unready({ group: OTHERS, id: HOST, state, groups }, []).count, 0);
});

Deno.test("a sentence names five nodes, and says what is wrong with each", () => {
  const names = (count: number) => {
    const shown = Array.from({ length: Math.min(count, 5) }, (_, i) => node(`n${i}`));
    return describeNodes({ count, shown });
  };
  equal(names(0), "");
  equal(names(5), "n0 (cordoned), n1 (cordoned), n2 (cordoned), n3 (cordoned), n4 (cordoned)");
  equal(names(7), `${names(5)}, 2 more`);
  equal(
    describeNodes({ count: 1, shown: [node("\x1b[1ma", { isReady: false, isCordoned: true })] }),
    "\ufffd[1ma (not ready)",
  );
});
