/** The seeds that ever failed hold now. @module */

import { assertHolds } from "./holds.ts";
import { planOf } from "./plan.ts";
import { runPlan } from "./run.ts";
import { KEPT_SEEDS } from "./seeds.ts";
import { withIncidents } from "./shrink.ts";

for (const { seed, options, incidents, about } of KEPT_SEEDS) {
  Deno.test(`the promises hold under seed ${seed}, which once found: ${about}`, async () => {
    const plan = planOf(seed, options);
    const chosen = { ...options, incidents };
    assertHolds(await runPlan(incidents === undefined ? plan : withIncidents(plan, incidents)), chosen);
  });
}
