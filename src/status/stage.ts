/**
 * Where a hold is between its grant and its release, and whether it is stuck
 * there. Pure.
 *
 * @module
 */

import type { Holder } from "../lock/semaphore.ts";
import { DRAIN_GRACE_MS, type StuckOptions } from "../policies/options.ts";
import type { Stage } from "./account.ts";

/** What is known of a hold's node. */
export type HeldNodeFacts =
  /** The watch of the nodes is in step, and shows the noted node. */
  | { readonly kind: "seen"; readonly isReady: boolean; readonly bootId?: string }
  /** The watch of the nodes is in step, and the noted node is not there. */
  | { readonly kind: "gone" }
  /** No node is noted, or the watch of the nodes is behind. */
  | { readonly kind: "unknown" };

/** What is known of the drain of a hold. */
export interface DrainFacts {
  /** How many pods are left. */
  readonly left: number;
  /** How many of those a budget holds back. */
  readonly blocked: number;
}

/** How long a hold may stay in each stage before it counts as stuck, in milliseconds. */
export type Thresholds = Readonly<Record<Exclude<Stage, "unknown">, number>>;

/**
 * Makes the thresholds of a group.
 *
 * @param stuck What the operator says.
 * @param drainTimeoutMs The time limit of the group's drains, in milliseconds.
 */
export function thresholdsOf(stuck: StuckOptions, drainTimeoutMs: number): Thresholds {
  return { draining: drainTimeoutMs + DRAIN_GRACE_MS, ...stuck };
}

/** Says where a hold is. @param drain The drain that this replica runs for it; undefined where it runs none. */
export function stageOf({ node }: Pick<Holder, "node">, facts: HeldNodeFacts, drain?: DrainFacts): Stage {
  if (node === undefined || facts.kind === "unknown") {
    return node === undefined || node.phase === "drained" ? "unknown" : drainStage(node.phase, drain);
  }
  if (facts.kind === "gone") return "node-gone";
  const hasRebooted = facts.bootId !== undefined && node.bootId !== undefined && facts.bootId !== node.bootId;
  if (hasRebooted) return facts.isReady ? "back-not-reporting" : "rebooting";
  if (node.phase !== "drained") return drainStage(node.phase, drain);
  return facts.isReady ? "granted-not-rebooting" : "rebooting";
}

function drainStage(phase: "draining" | "failed", drain: DrainFacts | undefined): Stage {
  if (phase === "failed") return "blocked";
  return drain !== undefined && drain.left > 0 && drain.blocked === drain.left ? "blocked" : "draining";
}

/**
 * Whether a hold has been in its stage for too long. @param sinceMs For how long it has been there, in milliseconds.
 */
export function isStuck(stage: Stage, sinceMs: number, thresholds: Thresholds): boolean {
  return stage !== "unknown" && sinceMs >= thresholds[stage];
}
