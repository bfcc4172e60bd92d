/**
 * A short fault run, and two runs that show that it finds a broken program.
 *
 * @module
 */

import { deepEqual, equal, ok } from "node:assert/strict";
import { clusterTest } from "../support/control_plane.ts";
import { FAULT_KINDS } from "./faults.ts";
import { type FaultReport, formatReport, runFaults } from "./run.ts";

const TWO_MINUTES_MS = 120_000;
const SEED = 1;

/** Runs faults and prints the report. */
async function run(options: Parameters<typeof runFaults>[0]): Promise<FaultReport> {
  const report = await runFaults(options);
  console.log(formatReport(report));
  return report;
}

clusterTest("in two minutes of faults, no group has more holders than slots and every client gets a turn", async () => {
  const report = await run({ durationMs: TWO_MINUTES_MS, seed: SEED });
  deepEqual(report.check.violations, []);
  equal(report.withoutTurn, 0);
  deepEqual(Object.keys(report.faults).toSorted(), FAULT_KINDS.toSorted(), "every kind of fault happened");
  ok(report.turns > 100, `only ${report.turns} turns`);
}, { restarts: true });

for (const mutation of ["plain-write", "cached-yes"]) {
  clusterTest(`a fault run finds that a program with the mutation ${mutation} violates exclusion`, async () => {
    const report = await run({
      durationMs: TWO_MINUTES_MS,
      seed: SEED,
      entry: "tests/chaos/mutant_main.ts",
      environment: { FLEETLOCK_MUTATION: mutation },
      untilViolation: true,
    });
    equal(report.check.violations[0]?.kind, "exclusion");
  }, { restarts: true });
}
