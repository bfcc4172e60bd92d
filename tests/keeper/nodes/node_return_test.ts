import { equal } from "node:assert/strict";
import { judgeReturn, kubeletIsAlive } from "../../../src/keeper/nodes/node_return.ts";
import { type NodeView, viewNode } from "../../../src/keeper/nodes/node.ts";
import type { Hold } from "../../../src/lock/node_keeper.ts";
import { FakeClock, HastyClock } from "../../support/fake_clock.ts";

const NODE: NodeView = { ...viewNode({ metadata: { name: "a", uid: "uid-a" } }), bootId: "1", ready: "True" };
const never = new AbortController().signal;

const NOTED = { node: { name: "a", uid: "uid-a", bootId: "1", phase: "drained" as const } };
const NOTED_WITHOUT_BOOT = { node: { ...NOTED.node, bootId: undefined } };
const OTHER: NodeView = { ...NODE, name: "b", uid: "uid-b", bootId: "2" };

const CASES: [what: string, hold: Pick<Hold, "node" | "isNodeUnreadable">, nodes: NodeView[], expected: string][] = [
  ["no node", NOTED, [], "ready"],
  ["ready after another boot", NOTED, [{ ...NODE, bootId: "2" }], "ready"],
  ["ready in the same boot", NOTED, [NODE], "same_boot a"],
  ["ready, and its kubelet has not told the boot", NOTED, [{ ...NODE, bootId: undefined }], "same_boot a"],
  ["ready, and no boot was noted", NOTED_WITHOUT_BOOT, [NODE], "same_boot a"],
  ["ready, and no node was noted", {}, [NODE], "same_boot a"],
  ["ready, and what was noted cannot be read", { isNodeUnreadable: true }, [NODE], "same_boot a"],
  ["not ready after another boot", NOTED, [{ ...NODE, bootId: "2", ready: "False" }], "not_ready a"],
  ["without a report of its kubelet", NOTED, [{ ...NODE, ready: "Unknown" }], "not_ready a"],
  ["without a condition", {}, [{ ...NODE, ready: undefined }], "not_ready a"],
  ["dead, and ready under another name", NOTED, [{ ...NODE, ready: "Unknown" }, OTHER], "ready"],
  [
    "dead, and under another name not ready",
    NOTED,
    [{ ...NODE, ready: "Unknown" }, { ...OTHER, ready: "False" }],
    "not_ready a",
  ],
  ["registered again in the same boot", NOTED, [{ ...OTHER, bootId: "1" }], "same_boot b"],
];

for (const [what, hold, nodes, expected] of CASES) {
  Deno.test(`a node's return: ${what}: ${expected}`, () => {
    const state = judgeReturn(hold, nodes);
    const node = state.kind === "ready" ? "" : ` ${state.kind === "same_boot" ? state.node.name : state.node}`;
    equal(state.kind + node, expected);
  });
}

Deno.test("a kubelet without a Lease counts as running at once", async () => {
  equal(await kubeletIsAlive(() => Promise.resolve(undefined), new FakeClock(), 0, never), "unknown");
});

Deno.test("a Lease counts only when it is renewed after the call, however young it looks by our clock", async () => {
  const clock = new HastyClock();
  const renewed = clock.now();
  equal(await kubeletIsAlive(() => Promise.resolve(renewed), clock, 0, never), false);
  equal(await kubeletIsAlive(() => Promise.resolve(renewed), clock, 60_000, never), false);
});

Deno.test("a Lease that is deleted during the wait is not a renewal, but one that the kubelet makes anew is", async () => {
  const clock = new HastyClock();
  const alive = async (...renewals: (number | undefined)[]) => {
    return await kubeletIsAlive(
      () => Promise.resolve(renewals.length > 1 ? renewals.shift() : renewals[0]),
      clock,
      60_000,
      never,
    );
  };
  equal(await alive(1_000, undefined), false);
  equal(await alive(1_000, undefined, 1_000), false);
  equal(await alive(1_000, undefined, 2_000), true);
});

Deno.test("a kubelet whose Lease is old counts as running when it renews it, whatever its clock says", async () => {
  const clock = new HastyClock();
  let reads = 0;
  const alive = await kubeletIsAlive(() => Promise.resolve(++reads < 4 ? 1_000 : 2_000), clock, 60_000, never);
  equal(alive, true);
  equal(await kubeletIsAlive(() => Promise.resolve(1_000), clock, 60_000, never), false);
});
