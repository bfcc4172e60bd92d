/**
 * At rest, the memory of a replica has nothing that belongs to a hold, a client or a request that is over. What goes by
 * a time or a number instead is within its bound. Each replica is looked at as a debugger does, so that the program
 * need not show its fields.
 *
 * Not looked at: what was read of a Node's images (`node.ts`), the events that were told (`events.ts`) and the warnings
 * (`node_reports.ts`), which go by a number; and what the SQLite store and the status page keep.
 *
 * @module
 */

import { deepEqual, equal, ok } from "node:assert/strict";
import { CordonRepair } from "../../src/keeper/cordon_repair.ts";
import { Drains } from "../../src/keeper/drains.ts";
import { GoneHosts } from "../../src/keeper/gone_hosts.ts";
import { Look } from "../../src/keeper/look.ts";
import { NodeWatch } from "../../src/keeper/nodes/node_watch.ts";
import { DrainReports } from "../../src/keeper/reports.ts";
import { GoneNodes } from "../../src/lock/gone_nodes.ts";
import { GroupPlaces } from "../../src/lock/group_places.ts";
import { GroupWriter } from "../../src/lock/group_writer.ts";
import { HoldAges } from "../../src/lock/hold_ages.ts";
import { Yields } from "../../src/lock/yields.ts";
import { KeptAnswers } from "../../src/service/kept_answers.ts";
import { Heap, type Sizes } from "./engine/heap.ts";
import { assertHolds } from "./holds.ts";
import { type Plan, planOf } from "./plan.ts";
import { runPlan } from "./run.ts";

/** The fields that are empty at rest. */
const EMPTY = {
  CordonRepair: [CordonRepair, "#suspects", "#ended"],
  DrainReports: [DrainReports, "#began", "#left", "#said"],
  Drains: [Drains, "#running", "#memories"],
  GoneNodes: [GoneNodes, "#watched", "#asking"],
  GroupPlaces: [GroupPlaces, "#coming"],
  GroupWriter: [GroupWriter, "#running"],
  HoldAges: [HoldAges, "#seen"],
  Yields: [Yields, "#watched"],
} as const;

Deno.test("at rest, nothing is remembered of holds, clients and requests that are over", async () => {
  // Holds are freed whose Nodes are gone, and drains yield. What was killed cannot be told from what runs.
  const whole = planOf(22, { replicas: 2 });
  const plan: Plan = {
    ...whole,
    flags: { ...whole.flags, "drain-on-timeout": "yield", "drain-timeout": "2m" },
    incidents: whole.incidents.filter(({ kind }) => !/killed/.test(kind)),
  };
  equal(plan.goneAfterMs, 600_000);
  const found: Record<string, Sizes[]> = {};
  let nodes = 0;
  const result = await runPlan(plan, {
    async atRest({ api }) {
      nodes = api.store.list("nodes").length;
      using heap = new Heap();
      for (const [name, [type]] of Object.entries(EMPTY)) found[name] = await heap.sizesOf(type);
      for (const type of [GoneHosts, KeptAnswers, Look, NodeWatch]) found[type.name] = await heap.sizesOf(type);
    },
  });
  assertHolds(result);
  ok(result.turns >= plan.hosts.length);
  for (const [name, [, ...fields]] of Object.entries(EMPTY)) {
    const expected = fields.map(() => 0);
    const sizes = found[name]!.map((one) => fields.map((field) => one[field]));
    deepEqual(sizes, [expected, expected], `${name} ${fields.join(" ")}`);
  }
  const hosts = plan.hosts.length;
  for (const one of found.NodeWatch!) {
    const fields = ["#nodes", "#marked", "#malformed", "#notReady"];
    deepEqual(fields.map((field) => one[field]), [nodes, 0, 0, 0]);
  }
  for (const one of found.Look!) ok(one["#kept"]! <= 1, "the refusals of the last 30 s before the last one");
  for (const one of found.GoneHosts!) ok(one["#absences"]! <= hosts);
  for (const one of found.KeptAnswers!) ok(one["#running"] === 0 && one["#known"]! <= 10);
});
