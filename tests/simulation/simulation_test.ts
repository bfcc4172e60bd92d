/** The real service in a simulated cluster: a fixed number of seeds, and that a seed determines its run. @module */

import { deepEqual, equal, match, notEqual } from "node:assert/strict";
import { assertHolds } from "./holds.ts";
import { planOf } from "./plan.ts";
import { runPlan } from "./run.ts";

/** How many seeds a test run explores. */
const SEEDS = 12;

Deno.test("a fleet without faults reboots host by host", async () => {
  const result = await runPlan(planOf(1, { isCalm: true, replicas: 3, hosts: 6 }));
  assertHolds(result, { isCalm: true, replicas: 3, hosts: 6 });
  equal(result.turns >= 6, true, `${result.turns} reboots`);
});

for (let seed = 1; seed <= SEEDS; seed++) {
  Deno.test(`the promises hold under the faults of seed ${seed}`, async () => {
    assertHolds(await runPlan(planOf(seed)));
  });
}

Deno.test("the same seed gives the same run", async () => {
  const plan = planOf(3, { hosts: 5 });
  const [first, second] = [await runPlan(plan), await runPlan(plan)];
  deepEqual(first.timeline.text(), second.timeline.text());
  equal(first.timeline.hash(), second.timeline.hash());
  notEqual(first.timeline.hash(), (await runPlan(planOf(4, { hosts: 5 }))).timeline.hash());
});

Deno.test("the same seed gives the same run in another process, whatever ran there before and wherever it is", async () => {
  const run = async (seed: number, seeds: number, more: Record<string, string>) => {
    const { stdout } = await new Deno.Command(Deno.execPath(), {
      args: [
        ...["run", "--quiet", "--no-check", "-P=development", new URL("explore.ts", import.meta.url).pathname],
        ...["--seed", `${seed}`, "--seeds", `${seeds}`, "--hosts", "4"],
      ],
      env: more,
    }).output();
    const [, hash] = /^seed 3: .* run ([0-9a-f]{16}): holds$/m.exec(new TextDecoder().decode(stdout)) ?? [];
    return hash;
  };
  const [alone, second] = await Promise.all([
    run(3, 1, { TZ: "UTC", LC_ALL: "C" }),
    run(2, 2, { TZ: "Asia/Kathmandu", LC_ALL: "tr_TR.UTF-8" }),
  ]);
  match(`${alone}`, /^[0-9a-f]{16}$/);
  equal(second, alone);
});
