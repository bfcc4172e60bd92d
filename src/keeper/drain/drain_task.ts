/**
 * What a drain is given: its task, its options, and what it works with. Types only.
 *
 * @module
 */

import type { AgeBounds } from "../../lock/hold_ages.ts";
import type { PodLeft, TimeoutPolicy } from "../../lock/node_keeper.ts";
import type { StayingPod } from "../../lock/yes.ts";
import type { ServerClock } from "../../kubernetes/server_clock.ts";
import type { CordonOwner } from "../nodes/cordon.ts";
import type { DrainMemory } from "./drain_memory.ts";
import type { NodeCalls } from "../nodes/node_calls.ts";
import type { NodeView } from "../nodes/node.ts";
import type { NodeCordon } from "../nodes/node_cordon.ts";
import type { PodCalls } from "./pod_calls.ts";
import type { EvictionAnswer, PodPolicy, PodView } from "./pods.ts";

/** How nodes are drained. */
export interface DrainOptions {
  /** How many evictions on one node may be under way at a time. @default {10} */
  readonly concurrency?: number;
  /** How long a drain may take, from the grant of the slot, in milliseconds. @default {900_000} */
  readonly timeoutMs?: number;
  /** What happens then. @default {"refuse"} */
  readonly onTimeout?: TimeoutPolicy;
  /** Which pods are evicted. */
  readonly pods?: PodPolicy;
  /** How long to wait for volumes to be detached when the pods are gone, in milliseconds. @default {120_000} */
  readonly detachMs?: number;
  /**
   * How long a denied call is repeated, in milliseconds. An API server that has just started denies everything until
   * it has loaded the roles. @default {10_000}
   */
  readonly deniedMs?: number;
}

/** What to drain, and for whom. */
export interface DrainTask {
  /** The node's name. */
  readonly node: string;
  /** The UID of the very Node on which the hold's drain began. */
  readonly uid: string;
  /** Its machine-id as noted with the hold; undefined where that is unknown. */
  readonly machineId?: string;
  /** What this process remembers of the hold's drain. */
  readonly memory: DrainMemory;
  /** The hold. */
  readonly owner: CordonOwner;
  /** How old the hold is, as far as this process has seen that by itself; undefined where it has not. */
  readonly age?: AgeBounds;
  /** Whether the node was drained for this hold before, and only has to be proven empty again. */
  readonly again: boolean;
}

/** Told how a drain goes. The methods must not throw. */
export interface DrainListener {
  /** The drain has cordoned the node. */
  cordoned(task: DrainTask): void;
  /** The API server answered an eviction or a deletion. */
  evicted(task: DrainTask, pod: PodView, answer: EvictionAnswer): void;
  /** How many pods are left, and how many of them a budget holds back. */
  progress(task: DrainTask, left: number, blocked: number): void;
  /** The time-out has passed, and the drain deletes the pods that are left. */
  deleting(task: DrainTask, pods: readonly PodLeft[]): void;
  /** The pods are gone, but these volumes are still attached, and the drain no longer waits for them. */
  stillAttached(task: DrainTask, volumes: readonly string[]): void;
  /** These pods are left on the emptied node, for a reason that a person should know. */
  staying(task: DrainTask, pods: readonly StayingPod[]): void;
  /** Others uncordoned the node during the drain. */
  uncordonedByOthers(task: DrainTask): void;
  /** A call failed and will be repeated. */
  retrying(task: DrainTask, error: unknown): void;
}

/** The clock of a drain. */
export type DrainClock = Pick<ServerClock, "now" | "monotonic" | "sleep" | "isFresh">;

/** What a drain works with. */
export interface DrainContext {
  /** Calls about the pods. */
  readonly pods: PodCalls;
  /** Calls about the node. */
  readonly nodes: Pick<NodeCalls, "getNode">;
  /** The nodes as the watch has seen them last, and whether it is in step with the cluster. */
  readonly view: { readonly isSynced: boolean; peek(name: string): NodeView | undefined };
  /** Cordons the node, and lifts the cordon. */
  readonly cordon: Pick<NodeCordon, "set" | "lift">;
  /** The API server's time. */
  readonly clock: DrainClock;
  /** Told how it goes. */
  readonly listener: DrainListener;
  /** Reads whether the hold still exists, past every cache. */
  holdExists(owner: CordonOwner): Promise<boolean>;
  /** A number from 0 (inclusive) to 1 (exclusive), for jitter. */
  readonly random: () => number;
}
