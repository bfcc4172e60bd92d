/** Drains whose time is over while pods are held back: the acts take effect, and the promises hold. @module */

import { deepEqual, equal, match, ok } from "node:assert/strict";
import { LATE_DRAIN_ACTS, lateDrainPlanOf } from "./late_drain_acts.ts";
import { drainTimeoutMs, planOf } from "./plan.ts";
import { runPlan } from "./run.ts";

Deno.test("the acts come last in the plan of a seed, with a time-out that permits more than a drain does", () => {
  const { incidents, flags } = planOf(141);
  const first = incidents.findIndex(({ kind }) => kind in LATE_DRAIN_ACTS);
  ok(first > 0);
  equal(incidents.slice(first).every(({ kind }) => kind in LATE_DRAIN_ACTS), true);
  match(flags["drain-on-timeout"]!, /^(proceed|delete)$/);
  deepEqual(lateDrainPlanOf(141, "sqlite").incidentsUntil(1_000_000), []);
  for (const seed of [26, 50, 142]) deepEqual(lateDrainPlanOf(seed, "kubernetes").flags, {});
});

Deno.test("the time limit of a drain is what the flag says", () => {
  const plan = planOf(1);
  equal(drainTimeoutMs({ ...plan, flags: {} }), 900_000);
  equal(drainTimeoutMs({ ...plan, flags: { "drain-timeout": "7m" } }), 420_000);
});

for (const onTimeout of ["proceed", "delete"]) {
  for (const kind of Object.keys(LATE_DRAIN_ACTS)) {
    Deno.test(`the promises hold with ${onTimeout}: ${kind}`, async () => {
      const plan = planOf(1, { isCalm: true, replicas: 3, hosts: 6 });
      const flags = { "drain-on-timeout": onTimeout, "drain-timeout": "2m" };
      const incidents = Array.from({ length: 12 }, (_, seed) => ({ at: 10_000 + seed * 100_000, kind, seed }));
      const { violations, timeline } = await runPlan({ ...plan, flags, incidents });
      deepEqual(violations.map((one) => `${one.kind}: ${one.message}`), []);
      ok(timeline.situations.get(`fault: ${kind}`)! > 0);
    });
  }
}
