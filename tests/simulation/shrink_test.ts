/** A schedule that fails is made smaller, and the flags of the exploration. @module */

import { deepEqual, equal, ok, throws } from "node:assert/strict";
import { parseOptions } from "./explore_options.ts";
import { planOf } from "./plan.ts";
import { commandOf } from "./failure.ts";
import type { RunResult } from "./run.ts";
import { shrink, withIncidents } from "./shrink.ts";
import type { Plan } from "./plan.ts";

Deno.test("a plan is determined by its seed", () => {
  deepEqual(planOf(7), planOf(7));
  ok(planOf(7).incidents.length > 0);
  equal(planOf(7, { isCalm: true }).incidents.length, 0);
});

Deno.test("a failure that needs no incident shrinks to none", async () => {
  // A host whose turn takes for ever: nothing is over before the faults are said to be.
  const plan = { ...planOf(10, { hosts: 2, replicas: 2 }), faultsEndMs: -3_600_000 * 24 };
  const shrunk = await shrink(plan, "no turn", { maxRuns: 5 });
  deepEqual([shrunk.kept, shrunk.runs, shrunk.isMinimal], [[], 1, true]);
  equal(shrunk.result.violations[0]?.kind, "no turn");
});

/** A run of a plan of 40 incidents that fails or not by the places of its incidents alone. */
function failingIf(fails: (places: ReadonlySet<number>) => boolean): (plan: Plan) => Promise<RunResult> {
  return (plan) => {
    const isFailing = fails(new Set(plan.incidents.map(({ seed }) => seed)));
    const violation = { kind: isFailing ? "exclusion" : "storm", message: "", at: 0, about: [] } as const;
    return Promise.resolve({ plan, violations: [violation] } as unknown as RunResult);
  };
}

const FORTY: Plan = {
  ...planOf(7),
  incidents: Array.from({ length: 40 }, (_, seed) => ({ at: seed, kind: "replica killed", seed })),
};

Deno.test("a schedule shrinks to the two incidents that it needs, also where one is needed only beside a third", async () => {
  // The seventh must be there as long as the ninth is, which goes later than it was tried.
  const run = failingIf((places) => places.has(7) && places.has(9) && (!places.has(8) || places.has(6)));
  const { kept, result, isMinimal } = await shrink(FORTY, "exclusion", { run });
  deepEqual([kept, isMinimal], [[7, 9], true]);
  deepEqual(result.plan.incidents, [FORTY.incidents[7], FORTY.incidents[9]]);
});

Deno.test("a schedule whose runs are used up is not said to be the smallest", async () => {
  const run = failingIf((places) => places.size >= 30);
  const { kept, runs, isMinimal } = await shrink(FORTY, "exclusion", { run, maxRuns: 6 });
  deepEqual([runs, isMinimal, kept.length >= 30], [6, false, true]);
});

Deno.test("the command that repeats a failure has all that was chosen, and the places in the plan of the seed", () => {
  const result = { plan: FORTY } as unknown as RunResult;
  const shrunk = { result, kept: [0, 2], runs: 1, isMinimal: true };
  equal(commandOf(shrunk, {}), "deno task explore --seed 7 --incidents 0,2");
  const chosen = parseOptions("--seed 7 --replicas 2 --hosts 3 --busy --incidents 5,6,7 --minutes 1".split(" "));
  const command = commandOf(shrunk, chosen);
  equal(command, "deno task explore --seed 7 --replicas 2 --hosts 3 --busy --incidents 5,7");
  const { incidents, replicas, hosts, nodesChangeOften } = parseOptions(command.split(" ").slice(3));
  deepEqual([incidents, replicas, hosts, nodesChangeOften], [[5, 7], 2, 3, true]);
  const none = commandOf({ ...shrunk, kept: [] }, {});
  deepEqual(parseOptions(none.split(" ").slice(3)).incidents, []);
  equal(commandOf(shrunk, { isCalm: true }), "deno task explore --seed 7 --calm");
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
