/** The real service in a simulated cluster: a fixed number of seeds, and every seed that ever failed. @module */

import { deepEqual, equal, notEqual, ok } from "node:assert/strict";
import { planOf } from "./plan.ts";
import { failureOf } from "./failure.ts";
import { runPlan, type RunResult } from "./run.ts";
import { KEPT_SEEDS } from "./seeds.ts";
import { withIncidents } from "./shrink.ts";

/** How many seeds a test run explores. */
const SEEDS = 12;

function assertHolds(result: RunResult): void {
  const kept = result.plan.incidents.map((_, index) => index);
  ok(result.violations.length === 0, failureOf({ result, kept, runs: 0 }));
}

Deno.test("a fleet without faults reboots host by host", async () => {
  const result = await runPlan(planOf(1, { isCalm: true, replicas: 3, hosts: 6 }));
  assertHolds(result);
  equal(result.turns >= 6, true, `${result.turns} reboots`);
});

for (let seed = 1; seed <= SEEDS; seed++) {
  Deno.test(`the promises hold under the faults of seed ${seed}`, async () => {
    assertHolds(await runPlan(planOf(seed)));
  });
}

for (const { seed, options, incidents, about } of KEPT_SEEDS) {
  Deno.test(`the promises hold under seed ${seed}, which once found: ${about}`, async () => {
    const plan = planOf(seed, options);
    assertHolds(await runPlan(incidents === undefined ? plan : withIncidents(plan, incidents)));
  });
}

Deno.test("the same seed gives the same run", async () => {
  const plan = planOf(3, { hosts: 5 });
  const [first, second] = [await runPlan(plan), await runPlan(plan)];
  deepEqual(first.timeline.text(), second.timeline.text());
  equal(first.timeline.hash(), second.timeline.hash());
  notEqual(first.timeline.hash(), (await runPlan(planOf(4, { hosts: 5 }))).timeline.hash());
});
