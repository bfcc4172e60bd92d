import { equal } from "node:assert/strict";
import { judgeReturn, kubeletIsAlive, type ReturnState } from "../../../src/keeper/nodes/node_return.ts";
import { type NodeView, viewNode } from "../../../src/keeper/nodes/node.ts";
import { FakeClock, HastyClock } from "../../support/fake_clock.ts";

const NODE: NodeView = { ...viewNode({ metadata: { name: "a" } }), bootId: "1", ready: "True" };
const never = new AbortController().signal;

const CASES: [what: string, node: NodeView | undefined, bootId: string | undefined, kind: ReturnState["kind"]][] = [
  ["no node", undefined, "1", "ready"],
  ["ready after another boot", { ...NODE, bootId: "2" }, "1", "ready"],
  ["ready in the same boot", NODE, "1", "same_boot"],
  ["ready, and no boot was noted", NODE, undefined, "ready"],
  ["not ready after another boot", { ...NODE, bootId: "2", ready: "False" }, "1", "not_ready"],
  ["without a report of its kubelet", { ...NODE, ready: "Unknown" }, "1", "not_ready"],
  ["without a condition", { ...NODE, ready: undefined }, undefined, "not_ready"],
];

for (const [what, node, bootId, kind] of CASES) {
  Deno.test(`a node's return: ${what}: ${kind}`, () => equal(judgeReturn(node, bootId).kind, kind));
}

Deno.test("a kubelet that has just renewed its Lease counts as running at once, and so does one without a Lease", async () => {
  const clock = new FakeClock();
  equal(await kubeletIsAlive(() => Promise.resolve(clock.now() - 5_000), clock, 0, never), true);
  equal(await kubeletIsAlive(() => Promise.resolve(undefined), clock, 0, never), true);
});

Deno.test("a kubelet whose Lease is old counts as running when it renews it, whatever its clock says", async () => {
  const clock = new HastyClock();
  let reads = 0;
  const alive = await kubeletIsAlive(() => Promise.resolve(++reads < 4 ? 1_000 : 2_000), clock, 60_000, never);
  equal(alive, true);
  equal(await kubeletIsAlive(() => Promise.resolve(1_000), clock, 60_000, never), false);
});
