import { deepEqual, equal } from "node:assert/strict";
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
  ["no node, and one was noted", NOTED, [], "absent"],
  ["no node, and what was noted cannot be read", { isNodeUnreadable: true }, [], "absent"],
  ["no node, and none was noted", {}, [], "ready"],
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
    const node = state.kind === "same_boot" ? state.node.name : state.kind === "not_ready" ? state.node : undefined;
    equal([state.kind, ...(node === undefined ? [] : [node])].join(" "), expected);
  });
}

Deno.test("only another boot shows a reboot: a host without a node is back without one", () => {
  deepEqual(judgeReturn(NOTED, [{ ...NODE, bootId: "2" }]), { kind: "ready", rebooted: true });
  deepEqual(judgeReturn({}, []), { kind: "ready" });
});

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

for (
  const [ready, readyMessage, expected] of [
    ["False", "the network is not ready", "its condition Ready is False (the network is not ready)"],
    ["Unknown", undefined, "its condition Ready is Unknown"],
    [undefined, undefined, "its condition Ready is missing"],
  ] as const
) {
  Deno.test(`a node that is not ready is told with what it says itself: ${expected}`, () => {
    const state = judgeReturn(NOTED, [{ ...NODE, ready, readyMessage }]);
    deepEqual(state, { kind: "not_ready", node: "a", reason: expected });
  });
}

/** Waits for a kubelet's Lease, which shows what `renewals` says at each time that has passed. */
async function waitFor(renewals: (passed: number) => number, ms: number, signal = never) {
  const clock = new FakeClock();
  const reads: number[] = [];
  let outcome: boolean | "unknown" | undefined;
  const read = () => {
    reads.push(clock.passed);
    return Promise.resolve(renewals(clock.passed));
  };
  const ended = kubeletIsAlive(read, clock, ms, signal).then((alive) => outcome = alive);
  // The first read.
  await clock.advance(0);
  return { clock, reads, ended, outcome: () => outcome };
}

Deno.test("a renewal counts only three seconds later, in which a new bootID may follow", async () => {
  const { clock, reads, ended, outcome } = await waitFor((passed) => passed < 1_500 ? 1 : 2, 60_000);
  await clock.advance(1_000);
  await clock.advance(1_000);
  deepEqual(reads, [0, 1_000, 2_000]);
  await clock.advance(2_999);
  equal(outcome(), undefined);
  await clock.advance(1);
  equal(await ended, true);
});

Deno.test("the Lease is read once a second, and last when the wait is over", async () => {
  const { clock, reads, outcome } = await waitFor(() => 1, 2_500);
  await clock.advance(999);
  deepEqual(reads, [0]);
  await clock.advance(1);
  await clock.advance(1_000);
  equal(outcome(), undefined);
  await clock.advance(499);
  equal(outcome(), undefined);
  await clock.advance(1);
  deepEqual(reads, [0, 1_000, 2_000, 2_500]);
  equal(outcome(), false);
  equal(clock.sleepers, 0);
});

Deno.test("a renewal counts for nothing when the wait is aborted before it has settled", async () => {
  for (const at of [500, 1_500]) {
    const stop = new AbortController();
    const { clock, reads, ended } = await waitFor((passed) => passed < 1_000 ? 1 : 2, 60_000, stop.signal);
    await clock.advance(Math.min(at, 1_000));
    await clock.advance(at - Math.min(at, 1_000));
    const before = reads.length;
    stop.abort();
    equal(await ended, false);
    equal(reads.length, before);
  }
});
