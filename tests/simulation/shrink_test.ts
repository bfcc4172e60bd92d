/** A schedule that fails is made smaller, and the flags of the exploration. @module */

import { deepEqual, equal, ok, throws } from "node:assert/strict";
import { parseOptions } from "./explore_options.ts";
import { planOf } from "./plan.ts";
import { shrink, withIncidents } from "./shrink.ts";

Deno.test("a plan is determined by its seed", () => {
  deepEqual(planOf(7), planOf(7));
  ok(planOf(7).incidents.length > 0);
  equal(planOf(7, { isCalm: true }).incidents.length, 0);
});

Deno.test("a failure that needs no incident shrinks to none", async () => {
  // A host whose turn takes for ever: nothing is over before the faults are said to be.
  const plan = { ...planOf(10, { hosts: 2, replicas: 2 }), faultsEndMs: -3_600_000 * 24 };
  const shrunk = await shrink(plan, "no turn", 5);
  deepEqual([shrunk.kept, shrunk.runs], [[], 1]);
  equal(shrunk.result.violations[0]?.kind, "no turn");
});

Deno.test("the plan of some incidents has them in their order", () => {
  const plan = planOf(7);
  deepEqual(withIncidents(plan, [0, 2]).incidents, [plan.incidents[0], plan.incidents[2]]);
});

Deno.test("a seed alone means one run, and minutes mean as many as fit", () => {
  deepEqual([parseOptions(["--seed", "5"]).seeds, parseOptions(["--seed=5", "--minutes=1"]).seeds], [1, Infinity]);
  equal(parseOptions([]).seeds, 20);
  deepEqual([[], ["--busy"]].map((args) => parseOptions(args).nodesChangeOften), [undefined, true]);
  throws(() => parseOptions(["--sed", "5"]), /unknown flag --sed/);
  throws(() => parseOptions(["--seeds", "none"]), /--seeds must be a positive number/);
});
