/**
 * The port to what makes a host safe to reboot: on Kubernetes, the Node that is
 * cordoned, drained, awaited and uncordoned.
 *
 * @module
 */

import type { ClientId, Group } from "./identity.ts";
import type { HeldNode } from "./semaphore.ts";

/** One grant to one client. A drain belongs to it; a later grant to the same client is another hold. */
export interface Hold {
  /** The group whose slot is held. */
  readonly group: Group;
  /** The client that holds it. */
  readonly id: ClientId;
  /** When the slot was granted, in milliseconds since the epoch. */
  readonly since: number;
  /** The node as noted with the grant; undefined if none matched then. */
  readonly node?: HeldNode;
}

/** Which node a client runs on. */
export type NodeMatch =
  | { readonly kind: "node"; readonly name: string; readonly bootId?: string }
  /** No node has the client's id: the host is outside the cluster and is not drained. */
  | { readonly kind: "none" }
  /** Several nodes have the client's id. */
  | { readonly kind: "ambiguous"; readonly nodes: readonly string[] };

/** A pod that a drain waits for. */
export interface PodLeft {
  /** Its namespace. */
  readonly namespace: string;
  /** Its name. */
  readonly name: string;
  /** Why it is still there, as a sentence for a person, such as `its PodDisruptionBudget "web" allows no disruption now`. */
  readonly reason: string;
}

/** The state of a drain when its request must be answered. */
export type DrainOutcome =
  /** Every pod that was to be evicted is gone, or there was none. */
  | { readonly kind: "drained" }
  /** The time-out has passed with pods left, and the operator's policy allows the reboot anyway. */
  | { readonly kind: "proceed"; readonly node: string; readonly pods: readonly PodLeft[] }
  /** Pods are left, and the drain goes on. */
  | { readonly kind: "draining"; readonly node: string; readonly pods: readonly PodLeft[] }
  /** The time-out has passed with pods left, or policy forbids the eviction of a pod. */
  | { readonly kind: "failed"; readonly node: string; readonly pods: readonly PodLeft[] }
  /** The hold has ended (an administrator deleted the lock, for example), so the drain was stopped. */
  | { readonly kind: "abandoned" };

/** Whether a host is back. */
export type ReturnOutcome =
  /** It is: its node is ready, or it has no node to wait for. */
  | { readonly kind: "ready" }
  /** It is not, for `reason`, a sentence for a person. */
  | { readonly kind: "not_ready"; readonly node: string; readonly reason: string };

/**
 * Makes hosts safe to reboot. Any replica may repeat any method at any time. The
 * methods that return a promise reject with {@link "./errors.ts".UnavailableError}
 * if the cluster does not answer or denies the access.
 */
export interface NodeKeeper extends AsyncDisposable {
  /** Finds the client's node. */
  match(id: ClientId): Promise<NodeMatch>;

  /**
   * Cordons and drains the hold's node, or joins its drain if one is running, and
   * waits for the end. The drain outlives the wait and stops when the hold ends.
   *
   * @param waitMs How long to wait at most, in milliseconds.
   * @param signal Ends the wait at once, but not the drain. The outcome is then the state at that moment.
   */
  drain(hold: Hold, waitMs: number, signal: AbortSignal): Promise<DrainOutcome>;

  /**
   * Waits until the hold's node is ready again after its reboot.
   *
   * @param waitMs How long to wait at most, in milliseconds.
   * @param signal Ends the wait at once.
   */
  awaitReturn(hold: Hold, waitMs: number, signal: AbortSignal): Promise<ReturnOutcome>;

  /**
   * Ends a hold's drain and lifts the cordon that this program set for it. The
   * cordons of administrators and of other holds stay.
   *
   * @param since When the hold that is over was granted, in milliseconds since
   * the epoch. Without it, a fresh read of the lock tells which holds are over.
   */
  uncordon(group: Group, id: ClientId, since?: number): Promise<void>;

  /**
   * Is told that a hold of a client seems to have ended, as a watch of the locks
   * reports it. Where a fresh read confirms it, the hold's drain ends and its
   * cordon is lifted, in the background. Returns at once and does not throw.
   */
  holdEnded(group: Group, id: ClientId): void;
}
