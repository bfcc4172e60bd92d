/**
 * What is printed of a run that breaks a promise: what is broken, how to repeat it, its schedule, and the part of its
 * timeline that the violation is about.
 *
 * @module
 */

import type { ExploreOptions } from "./explore_options.ts";
import type { Shrunk } from "./shrink.ts";
import { clockOf } from "./timeline.ts";

/** What a caller of the exploration chose instead of the seed. */
export type Chosen = Partial<
  Pick<ExploreOptions, "replicas" | "hosts" | "nodesChangeOften" | "isCalm" | "incidents" | "isVerbose">
>;

/** How many lines of a timeline are printed at most. */
const LINES = 200;

/**
 * Describes a failure.
 *
 * @param chosen What was chosen for the run that was shrunk. With `isVerbose`, the whole timeline is printed.
 */
export function failureOf(shrunk: Shrunk, chosen: Chosen = {}): string {
  const { result: { plan, violations, timeline } } = shrunk;
  const about = violations[0]?.about ?? [];
  const isWhole = chosen.isVerbose === true || about.length === 0;
  return [
    ...violations.map(({ kind, message }) => `${kind}: ${message}`),
    `seed ${plan.seed}, ${plan.incidents.length} incidents (${effortOf(shrunk)}):`,
    ...plan.incidents.map(({ at, kind }) => `  ${clockOf(at + 30_000)} ${kind}`),
    `flags of the program: ${JSON.stringify(plan.flags)}`,
    `repeat it with: ${commandOf(shrunk, chosen)}`,
    isWhole ? "timeline:" : `timeline, of what is about ${about.join(", ")} (with --verbose, all of it):`,
    ...(chosen.isVerbose ? timeline.text() : timeline.text(LINES, about)),
  ].join("\n");
}

/** The command that repeats a failure. */
export function commandOf({ result: { plan }, kept }: Shrunk, chosen: Chosen): string {
  // The places that are kept are those of the incidents that were chosen.
  const places = chosen.incidents === undefined ? kept : kept.map((place) => chosen.incidents![place]!);
  return [
    `deno task explore --seed ${plan.seed}`,
    ...(chosen.replicas === undefined ? [] : [`--replicas ${chosen.replicas}`]),
    ...(chosen.hosts === undefined ? [] : [`--hosts ${chosen.hosts}`]),
    ...(chosen.nodesChangeOften ? ["--busy"] : []),
    ...(chosen.isCalm ? ["--calm"] : [`--incidents ${places.join() || "none"}`]),
  ].join(" ");
}

function effortOf({ runs, isMinimal }: Shrunk): string {
  if (runs === 0) return "not shrunk";
  return `shrunk in ${runs} runs, ${isMinimal ? "each of them needed" : "after which not each may be needed"}`;
}
