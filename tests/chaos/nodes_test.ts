/**
 * A short fault run with nodes, and runs of programs that are set up wrongly,
 * each of which breaks one promise that the run must find broken.
 *
 * @module
 */

import { deepEqual, equal, ok } from "node:assert/strict";
import { clusterTest } from "../support/control_plane.ts";
import { FAKETIME_LACK } from "../support/faketime.ts";
import type { Victims } from "./nodes/faults.ts";
import { NODE_FAULT_KINDS } from "./nodes/faults.ts";
import type { Violation } from "./nodes/observer.ts";
import { formatNodeReport, type NodeReport, type NodeRunOptions, runNodeFaults } from "./nodes/run.ts";

const SEED = 1;
const ROOM = { restarts: true, whole: true, lack: FAKETIME_LACK };

/** Runs faults and prints the report. */
async function run(options: Omit<NodeRunOptions, "seed">): Promise<NodeReport> {
  const report = await runNodeFaults({ seed: SEED, log: console.log, ...options });
  console.log(formatNodeReport(report));
  return report;
}

clusterTest("with nodes, wrong clocks and faults, every yes is proven and every host gets its turn", async () => {
  const report = await run({ durationMs: 80_000 });
  deepEqual(report.violations.map(({ kind, message }) => `${kind}: ${message}`), []);
  deepEqual(Object.keys(report.faults).toSorted(), NODE_FAULT_KINDS.toSorted(), "every kind of fault happened");
  ok(report.turns > 24, `only ${report.turns} turns`);
  ok(report.resumed > 0, "no drain was completed by another process than the one that began it");
}, ROOM);

/** Uncordons what an administrator cordoned, as a program would that takes every cordon for its own. */
async function uncordonAll({ plane, observer, hosts }: Victims, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    for (const { machine } of hosts) {
      const { name } = machine.identity;
      if (!observer.isCordoned(name)) continue;
      const patch = { spec: { unschedulable: null } };
      await plane.request("PATCH", `/api/v1/nodes/${name}`, patch, "application/merge-patch+json");
    }
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

const CORDONING = "node cordoned for a while";

/** A program or a cluster in which one promise is broken. */
const MUTANTS: readonly [what: string, found: Violation["kind"], options: Partial<NodeRunOptions>][] = [
  ["says that every node is drained", "unproven yes", { flags: () => ["--drain=false"] }],
  ["does not wait for the host's Node", "early release", { flags: () => ["--release-wait-ready=false"] }],
  [
    "keeps the locks of its replicas apart",
    "exclusion",
    { namespaceOf: (index, common) => index === 0 ? common : "default" },
  ],
  ["takes every cordon for its own", "cordon lifted", {
    meanwhile: uncordonAll,
    without: NODE_FAULT_KINDS.filter((kind) => kind !== CORDONING),
  }],
];

for (const [what, found, options] of MUTANTS) {
  clusterTest(`a fault run with nodes finds that a program ${what}`, async () => {
    const report = await run({ durationMs: 90_000, nodes: 6, without: NODE_FAULT_KINDS, until: found, ...options });
    const violation = report.violations.find(({ kind }) => kind === found);
    equal(violation?.kind, found);
    ok(violation.timeline.length > 0, "the violation has no timeline");
  }, ROOM);
}
