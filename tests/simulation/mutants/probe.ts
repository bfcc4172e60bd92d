/**
 * Runs schedules one after the other until one breaks the promise that is named, and prints what came of it as JSON. It
 * runs in the copy of the sources that has a mutant, as a process of its own.
 *
 * @module
 */

import { planOf } from "../plan.ts";
import { runPlan } from "../run.ts";
import { withIncidents } from "../shrink.ts";
import type { Schedule } from "./mutants.ts";

/** What to run. */
export interface ProbeOrder {
  readonly schedules: readonly Schedule[];
  /** A part of the text of the violation that counts, which is its kind, a colon and its message. */
  readonly expects: string;
}

/** What came of it. */
export interface ProbeResult {
  /** The schedule that broke the promise, and the text of the violation; undefined where none did. */
  readonly found?: { readonly schedule: Schedule; readonly violation: string };
  /** The schedules that broke another promise, and which. */
  readonly others: readonly { readonly schedule: Schedule; readonly violation: string }[];
}

/** Runs an order. */
async function probe({ schedules, expects }: ProbeOrder): Promise<ProbeResult> {
  const others: { schedule: Schedule; violation: string }[] = [];
  for (const schedule of schedules) {
    const plan = planOf(schedule.seed, schedule.options);
    const { violations } = await runPlan(schedule.incidents ? withIncidents(plan, schedule.incidents) : plan);
    const texts = violations.map(({ kind, message }) => `${kind}: ${message}`);
    const violation = texts.find((text) => text.includes(expects));
    if (violation !== undefined) return { found: { schedule, violation }, others };
    if (texts.length > 0) others.push({ schedule, violation: texts[0]! });
  }
  return { others };
}

if (import.meta.main) console.log(JSON.stringify(await probe(JSON.parse(Deno.args[0]!))));
