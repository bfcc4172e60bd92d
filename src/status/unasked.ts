/**
 * What of a group's rules is asked only when a host asks for a slot, so that an
 * account cannot have its answer. Pure.
 *
 * @module
 */

import type { GroupOptions } from "../policies/options.ts";
import type { UnaskedRule } from "./account.ts";

/** How nodes are drained, as far as it matters here. */
export interface DrainFlags {
  /** What to do with pods that nothing would create again. */
  readonly unmanaged: string;
  /** What to do with pods that have data on the node. */
  readonly emptyDir: string;
}

/**
 * Lists what is asked only when a host asks.
 *
 * @param drain Undefined where nodes are not drained.
 */
export function unaskedRules({ mode, health }: GroupOptions, drain: DrainFlags | undefined): UnaskedRule[] {
  const rules: UnaskedRule[] = [];
  // In warn mode, none of them refuses.
  if (mode !== "warn") {
    if (health.prometheus !== undefined) rules.push("health.prometheus");
    if (health.alertmanager !== undefined) rules.push("health.alertmanager");
    if (health.blockingPods !== undefined) rules.push("health.blockingPods");
    if (health.budgets !== undefined) rules.push("health.budgets");
  }
  if (drain?.unmanaged === "refuse" || drain?.emptyDir === "refuse") rules.push("drain");
  return rules;
}
