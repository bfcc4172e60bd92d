/**
 * The command behind `deno task explore`: runs seeds, says how fast and which situations they reached, and shrinks and
 * prints what fails.
 *
 * @module
 */

import { cpuUsage } from "node:process";
import { parseOptions, USAGE } from "./explore_options.ts";
import { planOf } from "./plan.ts";
import { failureOf, lineOf, Totals } from "./report.ts";
import { runPlan } from "./run.ts";
import { shrink, withIncidents } from "./shrink.ts";

/** Runs the command. Returns its exit code. */
async function main(args: readonly string[]): Promise<number> {
  if (args.includes("--help")) {
    console.log(USAGE);
    return 0;
  }
  const options = parseOptions(args);
  const totals = new Totals();
  const began = performance.now();
  const seconds = () => (performance.now() - began) / 1000;
  for (let seed = options.seed; seed < options.seed + options.seeds; seed++) {
    if (seconds() >= options.minutes * 60) break;
    const whole = planOf(seed, options);
    const plan = options.incidents === undefined ? whole : withIncidents(whole, options.incidents);
    const result = await runPlan(plan);
    totals.add(result);
    console.log(lineOf(result));
    if (options.isVerbose) console.log(result.timeline.text().join("\n"));
    const [first] = result.violations;
    if (first === undefined) continue;
    const kept = plan.incidents.map((_, index) => index);
    const shrunk = options.isShrinking ? await shrink(plan, first.kind) : { result, kept, runs: 0 };
    console.log(failureOf(shrunk));
    if (!options.goesOn) break;
  }
  const { user, system } = cpuUsage();
  console.log(totals.text(seconds(), (user + system) / 1e6));
  return totals.failures > 0 ? 1 : 0;
}

if (import.meta.main) {
  try {
    Deno.exitCode = await main(Deno.args);
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    console.error(`${error.message}\n${USAGE}`);
    Deno.exitCode = 2;
  }
}
