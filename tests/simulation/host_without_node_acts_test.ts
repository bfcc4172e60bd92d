/** What happens while hosts without Nodes get their slots: the acts take effect, and the promises hold. @module */

import { deepEqual, equal, ok } from "node:assert/strict";
import { HOST_WITHOUT_NODE_ACTS, MANY_UPDATES, withoutNodeIncidentsUntil } from "./host_without_node_acts.ts";
import { planOf } from "./plan.ts";
import { runPlan } from "./run.ts";

Deno.test("the acts come last in the plan of a seed", () => {
  const { incidents } = planOf(158);
  const first = incidents.findIndex(({ kind }) => kind in HOST_WITHOUT_NODE_ACTS);
  ok(first > 0);
  equal(incidents.slice(first).every(({ kind }) => kind in HOST_WITHOUT_NODE_ACTS), true);
  deepEqual(withoutNodeIncidentsUntil(158, "sqlite", 1_000_000), []);
  deepEqual(withoutNodeIncidentsUntil(14, "kubernetes", 1_000_000), []);
});

Deno.test("no host gets a yes for a Node that it was just without, nor by the search of another host", async () => {
  const kinds = Object.keys(HOST_WITHOUT_NODE_ACTS);
  const calm = planOf(1, { isCalm: true, replicas: 2, hosts: 10 });
  const hosts = calm.hosts.map((host) => ({ ...host, updates: MANY_UPDATES }));
  const plan = { ...calm, hosts, faultsEndMs: 60 * 40_000 };
  const incidents = Array.from({ length: 60 }, (_, index) => ({
    at: 10_000 + index * 40_000,
    kind: kinds[index % kinds.length]!,
    seed: index,
  }));
  const { violations, timeline } = await runPlan({ ...plan, incidents });
  deepEqual(violations.map(({ kind, message }) => `${kind}: ${message}`), []);
  for (const kind of kinds) ok(timeline.situations.get(`fault: ${kind}`)! > 0, kind);
});
