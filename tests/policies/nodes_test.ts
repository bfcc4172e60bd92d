/** Which nodes of a group count: for a share of them, as unready, and as unavailable. @module */

import { deepEqual, equal } from "node:assert/strict";
import { type ClientId, parseClientId } from "../../src/lock/identity.ts";
import type { GroupState, Holder } from "../../src/lock/semaphore.ts";
import { countOf, describeNodes, slotsOf, unavailableNodes, unreadyNodes } from "../../src/policies/nodes.ts";
import type { NodeFacts } from "../../src/policies/snapshot.ts";
import { node } from "./support.ts";

const known = (count: number) => ({
  kind: "known" as const,
  value: [...Array.from({ length: count }, (_, i) => node(`n${i}`)), node("other", { isInGroup: false })],
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
    equal(countOf(known(count).value), count);
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

/** Whether a node that is not ready, and one that is cordoned, count. */
const COUNTED: [what: string, facts: Partial<NodeFacts>, state: GroupState, isCounted: boolean][] = [
  ["nobody holds a slot", {}, stateOf(), true],
  ["it is of another group", { isInGroup: false }, stateOf(), false],
  ["it asks", { isAsking: true }, stateOf(), false],
  ["the cordon is ours", { isCordonOurs: true }, stateOf(), false],
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
    ];
    const [unready, cordoned, both] = all;
    deepEqual(unreadyNodes(all, state), isCounted ? [unready, both] : []);
    deepEqual(unavailableNodes(all, state), isCounted ? [unready, cordoned, both] : []);
  });
}

Deno.test("a sentence names five nodes, and says what is wrong with each", () => {
  const names = (count: number) => describeNodes(Array.from({ length: count }, (_, i) => node(`n${i}`)));
  equal(names(0), "");
  equal(names(5), "n0 (cordoned), n1 (cordoned), n2 (cordoned), n3 (cordoned), n4 (cordoned)");
  equal(names(7), `${names(5)}, 2 more`);
  equal(describeNodes([node("\x1b[1ma", { isReady: false, isCordoned: true })]), "\ufffd[1ma (not ready)");
});
