/**
 * The command behind `deno task explore`: runs seeds, says how fast and which situations they reached, and shrinks and
 * prints what fails.
 *
 * @module
 */

import { cpuUsage } from "node:process";
import { type ExploreOptions, parseOptions, USAGE } from "./explore_options.ts";
import { failureOf } from "./failure.ts";
import { planOf } from "./plan.ts";
import { lineOf, Totals } from "./report.ts";
import { runPlan } from "./run.ts";
import { shrink, withIncidents } from "./shrink.ts";

/** Explores. Returns the exit code: 1 if a seed fails, or if the time was over before all seeds that were asked for. */
async function explore(options: ExploreOptions): Promise<number> {
  const totals = new Totals();
  const began = performance.now();
  const seconds = () => (performance.now() - began) / 1000;
  const end = options.seed + options.seeds;
  let isLate = false;
  for (let seed = options.seed; seed < end; seed++) {
    isLate = seconds() >= options.minutes * 60;
    if (isLate) break;
    if (!await exploreSeed(seed, options, totals) && !options.goesOn) break;
  }
  const { user, system } = cpuUsage();
  console.log(totals.text(seconds(), (user + system) / 1e6));
  const isShort = isLate && end < Infinity;
  if (isShort) console.error(`only ${totals.runs} of ${options.seeds} seeds ran in ${options.minutes} minutes`);
  return totals.failures > 0 || isShort ? 1 : 0;
}

/** Runs a seed, and shrinks and prints what fails. Returns whether it holds. */
async function exploreSeed(seed: number, options: ExploreOptions, totals: Totals): Promise<boolean> {
  const whole = planOf(seed, options);
  const plan = options.incidents === undefined ? whole : withIncidents(whole, options.incidents);
  const result = await runPlan(plan);
  totals.add(result);
  console.log(lineOf(result));
  const [first] = result.violations;
  if (first === undefined) {
    if (options.isVerbose) console.log(result.timeline.text().join("\n"));
    return true;
  }
  const kept = plan.incidents.map((_, index) => index);
  const asItIs = { result, kept, runs: 0, isMinimal: false };
  console.log(failureOf(options.isShrinking ? await shrink(plan, first.kind) : asItIs, options));
  return false;
}

/** Runs the command. Returns its exit code: 2 where its flags are wrong. */
async function main(args: readonly string[]): Promise<number> {
  if (args.includes("--help")) {
    console.log(USAGE);
    return 0;
  }
  let options: ExploreOptions;
  try {
    options = parseOptions(args);
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    console.error(`${error.message}\n${USAGE}`);
    return 2;
  }
  return await explore(options);
}

if (import.meta.main) Deno.exitCode = await main(Deno.args);
