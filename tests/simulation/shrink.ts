/**
 * Finds a small schedule that still fails: it takes incidents out, many at a time and then one by one, as long as the
 * run still breaks the same promise.
 *
 * @module
 */

import type { Violation } from "./observer.ts";
import type { Incident, Plan } from "./plan.ts";
import { runPlan, type RunResult } from "./run.ts";

/** A failing run with as few incidents as were needed. */
export interface Shrunk {
  readonly result: RunResult;
  /** The places of its incidents in the plan of the seed. */
  readonly kept: readonly number[];
  /** How many runs that took. */
  readonly runs: number;
}

/**
 * Shrinks the schedule of a plan that fails.
 *
 * @param maxRuns How many runs to try at most.
 */
export async function shrink(plan: Plan, kind: Violation["kind"], maxRuns = 150): Promise<Shrunk> {
  const all = plan.incidents;
  let kept = all.map((_, index) => index);
  let runs = 0;
  let best: RunResult | undefined;
  const fails = async (places: readonly number[]): Promise<boolean> => {
    if (runs >= maxRuns) return false;
    runs++;
    const result = await runPlan(withIncidents(plan, places));
    if (!result.violations.some((violation) => violation.kind === kind)) return false;
    best = result;
    return true;
  };
  if (await fails([])) return { result: best!, kept: [], runs };
  for (let size = Math.ceil(kept.length / 2); size >= 1; size = size === 1 ? 0 : Math.ceil(size / 2)) {
    for (let from = 0; from < kept.length;) {
      const fewer = [...kept.slice(0, from), ...kept.slice(from + size)];
      if (await fails(fewer)) kept = fewer;
      else from += size;
    }
  }
  const result = best ?? await runPlan(withIncidents(plan, kept));
  return { result, kept, runs };
}

/** The plan with some of its incidents alone. */
export function withIncidents(plan: Plan, places: readonly number[]): Plan {
  return { ...plan, incidents: places.map((place): Incident => plan.incidents[place]!) };
}
