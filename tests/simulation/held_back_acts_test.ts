/** Answers that are held back while what they show changes: the acts take effect, and the promises hold. @module */

import { deepEqual, equal, ok } from "node:assert/strict";
import { HELD_BACK_ACTS, heldBackIncidentsUntil } from "./held_back_acts.ts";
import { planOf } from "./plan.ts";
import { runPlan } from "./run.ts";

Deno.test("the acts come last in the plan of a seed", () => {
  const { incidents } = planOf(521);
  const first = incidents.findIndex(({ kind }) => kind in HELD_BACK_ACTS);
  ok(first > 0);
  equal(incidents.slice(first).every(({ kind }) => kind in HELD_BACK_ACTS), true);
  deepEqual(heldBackIncidentsUntil(521, "sqlite", 1_000_000), []);
});

Deno.test("no host gets a yes for what an answer that was held back shows", async () => {
  const kinds = Object.keys(HELD_BACK_ACTS);
  const plan = planOf(1, { isCalm: true, replicas: 3, hosts: 8 });
  const incidents = Array.from({ length: 30 }, (_, index) => ({
    at: 10_000 + index * 40_000,
    kind: kinds[index % kinds.length]!,
    seed: index,
  }));
  const { violations, timeline } = await runPlan({ ...plan, incidents });
  deepEqual(violations.map(({ kind, message }) => `${kind}: ${message}`), []);
  for (const kind of kinds) ok(timeline.situations.get(`fault: ${kind}`)! > 0, kind);
});
