/**
 * Measures what a refused poll costs the rules that count nodes: `deno run -P=development
 * tests/bench/counting_polls.ts`. Compare the figures of one run with one another, not with those of another machine.
 *
 * @module
 */

import { FleetView } from "../../src/keeper/fleet_view.ts";
import { type NodeView, viewNode } from "../../src/keeper/nodes/node.ts";
import { parseClientId, parseGroup } from "../../src/lock/identity.ts";
import { FREE } from "../../src/lock/semaphore.ts";
import { Monitors } from "../../src/policies/monitors.ts";
import { DEFAULT_GROUP, type GroupOptions, NO_POLICIES } from "../../src/policies/options.ts";
import { Policies } from "../../src/policies/policies.ts";
import { Facts } from "../../src/service/facts.ts";
import { systemClock } from "../../src/lock/clock.ts";

const NODES = 15_000;
const POLLS = 2_000;

/** The rules of a group, of which none, one or all count nodes. */
const RULES: readonly (readonly [name: string, options: Partial<GroupOptions>])[] = [
  ["a pause, no rule that counts", {}],
  ["slots: 10%", { slots: { kind: "percent", value: 10 } }],
  ["unavailable: count", { unavailable: "count" }],
  ["health.notReady: 1%", { health: { notReady: { kind: "percent", value: 1 } } }],
  ["all three", {
    slots: { kind: "percent", value: 10 },
    unavailable: "count",
    health: { notReady: { kind: "percent", value: 1 } },
  }],
];

/** Nodes of which one in fifty is not ready. */
const nodes: NodeView[] = Array.from({ length: NODES }, (_, n) =>
  viewNode({
    metadata: { name: `worker-${n}`, uid: `uid-${n}` },
    status: { conditions: [{ type: "Ready", status: n % 50 === 0 ? "False" : "True" }] },
  }));

function never(): never {
  throw new Error("a poll makes no calls");
}

let edition = 0;
const fleet = new FleetView({
  nodes: {
    isSynced: true,
    get edition() {
      return edition;
    },
    nodes,
    peek: (name) => nodes.find((node) => node.name === name),
    peekById: () => [nodes[1]!],
    isGhost: () => false,
    learn: never,
  },
  calls: { getNode: never, patchNode: never },
  pods: { listPods: never, tryEviction: never },
  policy: {},
  namespace: "fleetlock",
  reports: { skipUsed: never, skipStays: never },
});
const clock = systemClock;
const time = { now: () => clock.now(), isFresh: () => true, hear: () => Promise.resolve() };
const facts = new Facts({ time, fleet, monitors: new Monitors({ clock }), clock });
const question = {
  group: parseGroup("workers")!,
  id: parseClientId("978a225b3d7b40e9acd7ce9b62f68444")!,
  state: { ...FREE, notes: { pause: { reason: "a release" } } },
};

console.log(`A refused poll at ${NODES} nodes, in microseconds: while nothing changes, and after a change of one node`);
for (const [name, more] of RULES) {
  const groups = new Map([["workers", { ...DEFAULT_GROUP, ...more }]]);
  const policies = new Policies({ current: () => ({ ...NO_POLICIES, groups }), facts, drainTimeoutMs: 0 });
  const measure = (polls: number, changes: number) => {
    for (let n = 0; n < 50; n++) policies.peek(question);
    const began = performance.now();
    for (let n = 0; n < polls; n++) {
      edition += changes;
      if (policies.peek(question).reasons.length === 0) throw new Error("the poll is not refused");
    }
    return ((performance.now() - began) * 1_000 / polls).toFixed(1).padStart(9);
  };
  console.log(`${name.padEnd(32)}${measure(POLLS, 0)}${measure(POLLS / 10, 1)}`);
}
