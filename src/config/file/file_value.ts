/**
 * Writes policies in the words of the configuration file. Reading the result
 * gives the same policies.
 *
 * @module
 */

import type { AllowWindow, GroupOptions, PolicyOptions, StuckOptions } from "../../policies/options.ts";
import { formatAmount, formatDuration, formatTimeOfDay, formatWindowDay } from "./texts.ts";

/** A value of a configuration file. */
export type FileValue =
  | string
  | number
  | boolean
  | readonly FileValue[]
  | { readonly [key: string]: FileValue };

/** Writes all policies, also those that nobody has changed. */
export function fileValueOf({ timeZone, allowUnknownGroups, stuck, defaults, groups }: PolicyOptions): FileValue {
  return {
    timeZone,
    allowUnknownGroups,
    stuck: stuckValueOf(stuck),
    defaults: groupValueOf(defaults),
    groups: Object.fromEntries([...groups].map(([name, group]) => [name, groupValueOf(group)])),
  };
}

/** Writes when a hold counts as stuck, by stage. */
export function stuckValueOf(stuck: StuckOptions): { readonly [key: string]: string } {
  return Object.fromEntries(Object.entries(stuck).map(([stage, ms]) => [stage, formatDuration(ms)]));
}

/**
 * Writes everything about a group. What has no value is left out, and so are `drain` and `health` where they are empty.
 */
export function groupValueOf(group: GroupOptions): { readonly [key: string]: FileValue } {
  const { timeoutMs, onTimeout } = group.drain;
  const { notReady, blockingPods, budgets, prometheus, alertmanager } = group.health;
  const drain = present({ timeout: timeoutMs === undefined ? undefined : formatDuration(timeoutMs), onTimeout });
  const health = present({
    notReady: notReady && formatAmount(notReady),
    blockingPods,
    budgets,
    prometheus: prometheus && present({ ...prometheus }),
    alertmanager: alertmanager && present({ ...alertmanager }),
  });
  return present({
    nodes: group.nodes,
    slots: formatAmount(group.slots),
    unavailable: group.unavailable,
    allow: group.allow.map(windowValueOf),
    freeze: group.freeze.map((each) => present({ ...each })),
    settle: formatDuration(group.settleMs),
    mode: group.mode,
    drain: Object.keys(drain).length > 0 ? drain : undefined,
    onNodeGone: { action: group.onNodeGone.action, after: formatDuration(group.onNodeGone.afterMs) },
    health: Object.keys(health).length > 0 ? health : undefined,
  });
}

function windowValueOf({ days, at, forMs, cutoffMs }: AllowWindow): FileValue {
  return present({
    days: days.length > 0 ? days.map(formatWindowDay) : undefined,
    at: formatTimeOfDay(at),
    for: formatDuration(forMs),
    cutoff: cutoffMs === undefined ? undefined : formatDuration(cutoffMs),
  });
}

function present(values: Readonly<Record<string, FileValue | undefined>>): { readonly [key: string]: FileValue } {
  return Object.fromEntries(
    Object.entries(values).filter((entry): entry is [string, FileValue] => entry[1] !== undefined),
  );
}
