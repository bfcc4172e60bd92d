/**
 * What a drain does next about the pods of its node, as a pure function of what it sees. It makes no calls and changes
 * nothing; {@link "./emptying.ts".Emptying} takes the steps.
 *
 * @module
 */

import type { PodLeft, TimeoutPolicy } from "../../lock/node_keeper.ts";
import type { EvictionQueue } from "./eviction_queue.ts";
import type { PodView } from "./pods.ts";

/** How well the drain sees the pods: not listed yet, in step with the cluster, or behind it. */
export type Visibility = "listing" | "synced" | "lost";

/** What a drain sees at one moment. Times are milliseconds on one scale that does not jump. */
export interface Situation {
  /** The pods that are left. */
  readonly queue: Pick<EvictionQueue, "size" | "refused" | "allTried" | "needsTime" | "left" | "due" | "nextAt">;
  /** How well it sees them. */
  readonly visibility: Visibility;
  /** Whether the node is gone, so that its pods are only waited for. */
  readonly isGone: boolean;
  /** Whether the API server has told its time lately. */
  readonly isTimeKnown: boolean;
  /** Whether the API server has been asked for its time, in vain, for as long as a drain asks. */
  readonly isTimeWithheld: boolean;
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
  /**
   * The time-out has passed, and what follows it needs a time that the API server does not tell: the end, by a fault.
   */
  | { readonly kind: "timeless" }
  /** Ask the API server anything, to learn its time, then ask again. */
  | { readonly kind: "ask_time" }
  /** From now on pods are deleted instead of evicted. */
  | { readonly kind: "start_deleting" }
  /** Evict (or delete) this pod, then ask again. */
  | { readonly kind: "evict"; readonly pod: PodView }
  /** Wait until this time, or until something changes, then ask again. */
  | { readonly kind: "wait"; readonly until: number };

/**
 * The longest wait, in milliseconds: whether the node is still cordoned and its kubelet alive is looked at as often.
 */
const MAX_WAIT_MS = 5_000;

/** Decides what to do next. */
export function nextStep(situation: Situation, policy: StepPolicy): NextStep {
  return turningPoint(situation, policy) ?? workOrWait(situation, policy);
}

/** The end of the drain, or what must come before it; undefined where neither is due. */
function turningPoint(situation: Situation, policy: StepPolicy): NextStep | undefined {
  const { queue, visibility, isGone, isTimeKnown, isTimeWithheld, now, deadline } = situation;
  const isLate = now >= deadline;
  if (visibility === "lost" && isLate) return { kind: "blind" };
  if (visibility !== "synced") return undefined;
  if (queue.size === 0) return { kind: "empty" };
  if (queue.refused.length > 0 && !isGone) return { kind: "fail", pods: queue.refused };
  if (queue.needsTime && !isTimeKnown && !isTimeWithheld) return { kind: "ask_time" };
  return isLate ? timeOut(situation, policy) : undefined;
}

/** What follows the time-out. */
function timeOut(situation: Situation, policy: StepPolicy): NextStep | undefined {
  const { queue, isGone, isTimeKnown, isTimeWithheld, calling, now, deleteBy } = situation;
  if (deleteBy !== undefined) return now >= deleteBy ? { kind: "fail", pods: queue.left() } : undefined;
  // The pods of a node that is gone are not deleted either.
  const onTimeout = isGone && policy.onTimeout === "delete" ? "refuse" : policy.onTimeout;
  // A drain that begins or resumes after its time-out tries each pod once, so that it succeeds once its obstacle is
  // gone.
  if (onTimeout !== "delete" && !isGone && !queue.allTried) return undefined;
  // What permits more than a drain does rests on the API server's clock, not on a guess.
  if (onTimeout !== "refuse" && !isTimeKnown) return { kind: isTimeWithheld ? "timeless" : "ask_time" };
  switch (onTimeout) {
    case "proceed":
      return { kind: "proceed", pods: queue.left() };
    case "refuse":
    case "yield":
      return { kind: "fail", pods: queue.left() };
    case "delete":
      return calling === 0 ? { kind: "start_deleting" } : undefined;
  }
}

function workOrWait(situation: Situation, { concurrency, onTimeout }: StepPolicy): NextStep {
  const { queue, isGone, calling, now, deadline, deleteBy } = situation;
  const isLate = now >= deadline;
  // Deletions begin when the last evictions have been answered.
  const isTurning = isLate && onTimeout === "delete" && deleteBy === undefined;
  const mayCall = calling < concurrency && !isTurning && !isGone;
  const pod = mayCall ? queue.due(now) : undefined;
  if (pod !== undefined) return { kind: "evict", pod };
  const nextAt = mayCall ? queue.nextAt() ?? Infinity : Infinity;
  const turnsAt = deleteBy ?? (isLate ? Infinity : deadline);
  return { kind: "wait", until: Math.min(Math.max(Math.min(nextAt, turnsAt), now + 1), now + MAX_WAIT_MS) };
}
