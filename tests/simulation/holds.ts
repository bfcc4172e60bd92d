/** What the tests of the simulation expect of a run. @module */

import { ok } from "node:assert/strict";
import { type Chosen, failureOf } from "./failure.ts";
import type { RunResult } from "./run.ts";

/** Asserts that a run broke no promise. `chosen` is what was chosen for it, so that a failure says how to repeat it. */
export function assertHolds(result: RunResult, chosen: Chosen = {}): void {
  const kept = result.plan.incidents.map((_, index) => index);
  ok(result.violations.length === 0, failureOf({ result, kept, runs: 0, isMinimal: false }, chosen));
}
