import { equal } from "node:assert/strict";
import type { DrainPhase } from "../../src/lock/semaphore.ts";
import type { Stage } from "../../src/status/account.ts";
import { DEFAULT_STUCK } from "../../src/policies/options.ts";
import { type DrainFacts, type HeldNodeFacts, isStuck, stageOf, thresholdsOf } from "../../src/status/stage.ts";

const ready = (bootId?: string): HeldNodeFacts => ({ kind: "seen", isReady: true, bootId });
const unready = (bootId?: string): HeldNodeFacts => ({ kind: "seen", isReady: false, bootId });
const unknown: HeldNodeFacts = { kind: "unknown" };

const cases: readonly [string, DrainPhase | undefined, HeldNodeFacts, DrainFacts | undefined, Stage][] = [
  ["a hold without a node", undefined, unknown, undefined, "unknown"],
  ["a drain that runs elsewhere", "draining", ready("b1"), undefined, "draining"],
  ["a drain that runs here", "draining", ready("b1"), { left: 2, blocked: 1 }, "draining"],
  ["a drain of which every pod is held back", "draining", ready("b1"), { left: 2, blocked: 2 }, "blocked"],
  ["a drain with nothing left", "draining", ready("b1"), { left: 0, blocked: 0 }, "draining"],
  ["a drain of a node that is not ready", "draining", unready("b1"), undefined, "draining"],
  ["a failed drain", "failed", ready("b1"), undefined, "blocked"],
  ["a failed drain that nobody can see the node of", "failed", unknown, undefined, "blocked"],
  ["a drained node that runs on", "drained", ready("b1"), undefined, "granted-not-rebooting"],
  ["a drained node whose bootID nobody knows", "drained", ready(undefined), undefined, "granted-not-rebooting"],
  ["a drained node that is down", "drained", unready("b1"), undefined, "rebooting"],
  ["a node that has booted and is not ready", "drained", unready("b2"), undefined, "rebooting"],
  ["a node that has booted", "drained", ready("b2"), undefined, "back-not-reporting"],
  ["a node that has booted in the middle of its drain", "draining", ready("b2"), undefined, "back-not-reporting"],
  ["a node that is gone", "drained", { kind: "gone" }, undefined, "node-gone"],
  ["a node that is gone in the middle of its drain", "draining", { kind: "gone" }, undefined, "node-gone"],
  ["a drained node that nobody can see", "drained", unknown, undefined, "unknown"],
];

for (const [name, phase, facts, drain, stage] of cases) {
  Deno.test(`the stage of ${name} is ${stage}`, () => {
    const node = phase && { name: "a", uid: "u", bootId: "b1", phase };
    equal(stageOf({ node }, facts, drain), stage);
  });
}

Deno.test("a hold is stuck at the threshold of its stage, and never where its stage is unknown", () => {
  const thresholds = thresholdsOf(DEFAULT_STUCK, 15 * 60_000);
  for (const [stage, most] of Object.entries(thresholds)) {
    equal(isStuck(stage as Stage, most - 1, thresholds), false);
    equal(isStuck(stage as Stage, most, thresholds), true);
  }
  equal(thresholds.draining, 20 * 60_000);
  equal(thresholdsOf({ ...DEFAULT_STUCK, draining: 1 }, 2).draining, 1);
  equal(isStuck("unknown", Infinity, thresholds), false);
});
