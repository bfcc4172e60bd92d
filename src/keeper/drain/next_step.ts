/**
 * What a drain does next about the pods of its node, as a pure function of what it sees. It makes no calls and changes
 * nothing; {@link "./emptying.ts".Emptying} takes the steps.
 *
 * @module
 */

import type { PodLeft } from "../../lock/node_keeper.ts";
import type { EvictionQueue } from "./eviction_queue.ts";
import type { PodView } from "./pods.ts";

/** What a drain does when its time-out has passed with pods left. */
export type TimeoutPolicy =
  /** The drain fails: the reboot is refused. */
  | "refuse"
  /** The reboot goes on. */
  | "proceed"
  /** The drain deletes the pods past their budgets. */
  | "delete";

/** How well the drain sees the pods: not listed yet, in step with the cluster, or behind it. */
export type Visibility = "listing" | "synced" | "lost";

/** What a drain sees at one moment. Times are milliseconds on one scale that does not jump. */
export interface Situation {
  /** The pods that are left. */
  readonly queue: Pick<EvictionQueue, "size" | "refused" | "allTried" | "left" | "due" | "nextAt">;
  /** How well it sees them. */
  readonly visibility: Visibility;
  /** How many evictions or deletions are under way. */
  readonly calling: number;
  /** The time. */
  readonly now: number;
  /** When the drain's time-out passes. */
  readonly deadline: number;
  /** Until when pods may take to go once they are deleted; undefined while they are evicted. */
  readonly deleteBy?: number;
}

/** What the operator decided. */
export interface StepPolicy {
  /** How many evictions may be under way at a time. */
  readonly concurrency: number;
  /** What happens at the time-out. */
  readonly onTimeout: TimeoutPolicy;
}

/** What to do next. */
export type NextStep =
  /** Every pod that must go is gone: the end. */
  | { readonly kind: "empty" }
  /** Pods are left, but the reboot goes on: the end. */
  | { readonly kind: "proceed"; readonly pods: readonly PodLeft[] }
  /** Pods are left, and the reboot is refused: the end. */
  | { readonly kind: "fail"; readonly pods: readonly PodLeft[] }
  /** The time-out has passed, and the pods cannot be seen: the end, by a fault. */
  | { readonly kind: "blind" }
  /** From now on pods are deleted instead of evicted. */
  | { readonly kind: "start_deleting" }
  /** Evict (or delete) this pod, then ask again. */
  | { readonly kind: "evict"; readonly pod: PodView }
  /** Wait until this time, or until something changes, then ask again. */
  | { readonly kind: "wait"; readonly until: number };

/** The longest wait, in milliseconds, so that a timer of any length is safe. */
const MAX_WAIT_MS = 60_000;

/** Decides what to do next. */
export function nextStep(situation: Situation, policy: StepPolicy): NextStep {
  return turningPoint(situation, policy) ?? workOrWait(situation, policy);
}

/** The end of the drain or the change from evictions to deletions; undefined where neither is due. */
function turningPoint(situation: Situation, { onTimeout }: StepPolicy): NextStep | undefined {
  const { queue, visibility, calling, now, deadline, deleteBy } = situation;
  const isLate = now >= deadline;
  if (visibility === "lost" && isLate) return { kind: "blind" };
  if (visibility !== "synced") return undefined;
  if (queue.size === 0) return { kind: "empty" };
  if (queue.refused.length > 0) return { kind: "fail", pods: queue.refused };
  if (deleteBy !== undefined) return now >= deleteBy ? { kind: "fail", pods: queue.left() } : undefined;
  if (!isLate) return undefined;
  switch (onTimeout) {
    case "proceed":
      return { kind: "proceed", pods: queue.left() };
    case "refuse":
      // A drain that is resumed after its time-out tries each pod once, so that it succeeds once its obstacle is gone.
      return queue.allTried ? { kind: "fail", pods: queue.left() } : undefined;
    case "delete":
      return calling === 0 ? { kind: "start_deleting" } : undefined;
  }
}

function workOrWait(situation: Situation, { concurrency, onTimeout }: StepPolicy): NextStep {
  const { queue, calling, now, deadline, deleteBy } = situation;
  const isLate = now >= deadline;
  // Deletions begin when the last evictions have been answered.
  const isTurning = isLate && onTimeout === "delete" && deleteBy === undefined;
  const mayCall = calling < concurrency && !isTurning;
  const pod = mayCall ? queue.due(now) : undefined;
  if (pod !== undefined) return { kind: "evict", pod };
  const nextAt = mayCall ? queue.nextAt() ?? Infinity : Infinity;
  const turnsAt = deleteBy ?? (isLate ? Infinity : deadline);
  return { kind: "wait", until: Math.min(Math.max(Math.min(nextAt, turnsAt), now + 1), now + MAX_WAIT_MS) };
}
