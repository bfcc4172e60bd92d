/**
 * The port to what makes a host safe to reboot: on Kubernetes, the Node that is
 * cordoned, drained, awaited and uncordoned.
 *
 * @module
 */

import type { ClientId, Group } from "./identity.ts";
import type { HeldNode } from "./semaphore.ts";

export type { DrainPhase, HeldNode } from "./semaphore.ts";

/** One grant to one client: what a drain belongs to. A later grant to the same client is another hold. */
export interface Hold {
  /** The group whose slot is held. */
  readonly group: Group;
  /** The client that holds it. */
  readonly id: ClientId;
  /** When the slot was granted, in milliseconds since the epoch. */
  readonly since: number;
  /** The node as it was at the grant; undefined where no node matched then. */
  readonly node?: HeldNode;
}

/** Which node a client runs on. */
export type NodeMatch =
  | { readonly kind: "node"; readonly name: string; readonly bootId?: string }
  /** No node has the client's id: a host outside the cluster. It is locked without a drain. */
  | { readonly kind: "none" }
  /** Several nodes have it. */
  | { readonly kind: "ambiguous"; readonly nodes: readonly string[] };

/** A pod that a drain waits for. */
export interface PodLeft {
  /** Its namespace. */
  readonly namespace: string;
  /** Its name. */
  readonly name: string;
  /** Why it is still there, for a person, such as `its PodDisruptionBudget "web" allows no disruption now`. */
  readonly reason: string;
}

/** How a drain stands when its request must be answered. */
export type DrainOutcome =
  /** Every pod to be evicted is gone, or there is nothing to drain. */
  | { readonly kind: "drained" }
  /** The time-out has passed with pods left, and the operator's policy says to go on all the same. */
  | { readonly kind: "proceed"; readonly node: string; readonly pods: readonly PodLeft[] }
  /** Pods are left; the drain goes on. */
  | { readonly kind: "draining"; readonly node: string; readonly pods: readonly PodLeft[] }
  /** The time-out has passed with pods left, or a pod may not be evicted by policy. */
  | { readonly kind: "failed"; readonly node: string; readonly pods: readonly PodLeft[] }
  /** The hold is gone (deleted by an administrator, say), so the drain was stopped. */
  | { readonly kind: "abandoned" }
  /** Several nodes have the client's id, so it is not known which one to drain. */
  | { readonly kind: "ambiguous"; readonly nodes: readonly string[] };

/** Whether a host is back. */
export type ReturnOutcome =
  /** It is ready, or there is no node to wait for. */
  | { readonly kind: "ready" }
  | { readonly kind: "not_ready"; readonly node: string; readonly reason: string };

/**
 * Makes hosts safe to reboot. Every method may be repeated by any replica at any
 * time and throws {@link "./errors.ts".UnavailableError} where the cluster does not answer or denies it.
 */
export interface NodeKeeper extends AsyncDisposable {
  /** Finds the client's node. */
  match(id: ClientId): Promise<NodeMatch>;

  /**
   * Cordons and drains the hold's node, or joins the drain of it that runs
   * already, and waits for its end at most `waitMs`. The drain goes on when the
   * wait ends; it stops when the hold is gone.
   *
   * @param waitMs How long to wait for the end, in milliseconds.
   * @param signal Ends the wait (not the drain) at once: the outcome is as of that moment.
   */
  drain(hold: Hold, waitMs: number, signal: AbortSignal): Promise<DrainOutcome>;

  /**
   * Waits until the hold's node is ready again after its reboot, at most `waitMs`.
   *
   * @param signal Ends the wait at once.
   */
  awaitReturn(hold: Hold, waitMs: number, signal: AbortSignal): Promise<ReturnOutcome>;

  /**
   * Ends a hold's drain and lifts our own cordon from the client's node, if there
   * is one for this group. A cordon that an administrator made stays, and so does
   * that of another hold which is not over.
   *
   * @param since The grant of the hold that is over, in milliseconds since the
   * epoch; without it, whichever are over by a fresh read of the lock.
   */
  uncordon(group: Group, id: ClientId, since?: number): Promise<void>;
}
