/**
 * Finds a small schedule that still fails: it takes incidents out, many at a time and then one by one, as long as the
 * run still breaks the same promise.
 *
 * @module
 */

import type { Violation } from "./observer.ts";
import type { Incident, Plan } from "./plan.ts";
import { runPlan, type RunResult } from "./run.ts";

/** How many runs {@link shrink} tries at most. Most failures need fewer than 200. */
const MAX_RUNS = 600;

/** A failing run with as few incidents as were needed. */
export interface Shrunk {
  readonly result: RunResult;
  /** The places of its incidents in the plan that was shrunk. */
  readonly kept: readonly number[];
  /** How many runs that took; 0 where nobody tried. */
  readonly runs: number;
  /** Whether the run breaks another promise, or none, without any one of the incidents. */
  readonly isMinimal: boolean;
}

/** Options of {@link shrink}. */
export interface ShrinkOptions {
  /** How many runs to try at most. @default {600} */
  readonly maxRuns?: number;
  /** Runs a plan. @default {runPlan} */
  readonly run?: (plan: Plan) => Promise<RunResult>;
}

/**
 * Shrinks the schedule of a plan that fails until no incident can be left out by itself, or the runs are used up.
 *
 * @param kind The promise that it must still break.
 */
export async function shrink(plan: Plan, kind: Violation["kind"], options: ShrinkOptions = {}): Promise<Shrunk> {
  const { maxRuns = MAX_RUNS, run = runPlan } = options;
  let kept = plan.incidents.map((_, index) => index);
  let runs = 0;
  let best: RunResult | undefined;
  const fails = async (places: readonly number[]): Promise<boolean> => {
    if (runs >= maxRuns) return false;
    runs++;
    const result = await run(withIncidents(plan, places));
    if (!result.violations.some((violation) => violation.kind === kind)) return false;
    best = result;
    return true;
  };
  /** Takes out what can go, so many incidents at a time. Returns whether something could. */
  const takeOut = async (size: number): Promise<boolean> => {
    const before = kept.length;
    for (let from = 0; from < kept.length;) {
      const fewer = [...kept.slice(0, from), ...kept.slice(from + size)];
      if (await fails(fewer)) kept = fewer;
      else from += size;
    }
    return kept.length < before;
  };
  if (await fails([])) return { result: best!, kept: [], runs, isMinimal: true };
  for (let size = Math.ceil(kept.length / 2); size > 1; size = Math.ceil(size / 2)) await takeOut(size);
  // What one incident hid may make another one needless.
  while (await takeOut(1));
  return { result: best ?? await run(withIncidents(plan, kept)), kept, runs, isMinimal: runs < maxRuns };
}

/** The plan with some of its incidents alone. */
export function withIncidents(plan: Plan, places: readonly number[]): Plan {
  return { ...plan, incidents: places.map((place): Incident => plan.incidents[place]!) };
}
