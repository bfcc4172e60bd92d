/** What came to the simulation later: it takes effect, and leaves the schedules alone that tests name. @module */

import { deepEqual, equal, ok } from "node:assert/strict";
import { isLater, LATER_ACTS } from "./later_acts.ts";
import { planOf } from "./plan.ts";
import { runPlan } from "./run.ts";

Deno.test("incidents that came later follow all others, so that the places of those stay what they were", () => {
  const seed = 109;
  equal(isLater(seed), true);
  const kinds = planOf(seed).incidents.map(({ kind }) => kind in LATER_ACTS);
  const first = kinds.indexOf(true);
  ok(first > 0 && first < kinds.length, `the first one is at ${first}`);
  deepEqual(kinds.slice(0, first).includes(true), false);
  const times = planOf(seed).incidents.slice(0, first).map(({ at }) => at);
  deepEqual(times, times.toSorted((one, other) => one - other));
});

Deno.test("each act that came later takes effect while a fleet updates, and the promises hold", async () => {
  const kinds = Object.keys(LATER_ACTS);
  const plan = planOf(1, { isCalm: true, replicas: 3, hosts: 6 });
  const incidents = Array.from({ length: 40 }, (_, index) => ({
    at: 20_000 + index * 23_000,
    kind: kinds[index % kinds.length]!,
    seed: index,
  }));
  const { violations, timeline } = await runPlan({ ...plan, slots: 2, incidents });
  deepEqual(violations.map(({ kind, message }) => `${kind}: ${message}`), []);
  for (const kind of kinds) ok(timeline.situations.get(`fault: ${kind}`)! > 0, kind);
});
