/**
 * The port to what makes a host safe to reboot: on Kubernetes, the Node that is
 * cordoned, drained, awaited and uncordoned.
 *
 * @module
 */

import type { AgeBounds } from "./hold_ages.ts";
import type { ClientId, Group } from "./identity.ts";
import type { HeldNode } from "./semaphore.ts";
import type { HostEvidence } from "./yes.ts";

/** What happens when a drain's time-out has passed with pods left. */
export type TimeoutPolicy =
  /** The drain fails: the reboot is refused. */
  | "refuse"
  /** The reboot goes on. */
  | "proceed"
  /** The drain deletes the pods past their budgets. */
  | "delete"
  /** The drain fails, and its hold gives its slot to others. */
  | "yield";

/** How the nodes of one group are drained. What is undefined is as the node keeper does it for all. */
export interface DrainRule {
  /** How long a drain may take, from the grant of the slot, in milliseconds. */
  readonly timeoutMs?: number;
  /** What happens then. */
  readonly onTimeout?: TimeoutPolicy;
}

/** One grant to one client. A drain belongs to it; a later grant to the same client is another hold. */
export interface Hold {
  /** The group whose slot is held. */
  readonly group: Group;
  /** The client that holds it. */
  readonly id: ClientId;
  /** When the slot was granted, in milliseconds since the epoch. */
  readonly since: number;
  /** The very Node on which the hold's drain began; undefined if none was noted. */
  readonly node?: HeldNode;
  /** Whether the record names a node in a form that this version does not understand. */
  readonly isNodeUnreadable?: boolean;
  /** How long ago the slot was granted, as far as this process has seen that by itself; undefined where it has not. */
  readonly age?: AgeBounds;
  /** How its node is drained. A drain that runs goes by the rule with which it began. */
  readonly rule?: DrainRule;
}

/** One Node object. A later Node of the same name is another one. */
export interface NodeIdentity {
  /** Its name. */
  readonly name: string;
  /** Its UID. */
  readonly uid: string;
  /** `status.nodeInfo.machineID`; undefined if the kubelet has not reported it. */
  readonly machineId?: string;
  /**
   * `status.nodeInfo.bootID` as it was read last; another one later shows that the host has rebooted. Undefined where
   * the Node was not ready, since its kubelet may not have reported the host's last boot.
   */
  readonly bootId?: string;
}

/** What is known before a grant, before any step that cannot be taken back. */
export type LookOutcome =
  /** Nothing speaks against a grant. `node` is the client's; undefined if none is known. It may be behind. */
  | { readonly kind: "clear"; readonly node?: NodeIdentity }
  /** Several nodes have the client's id. */
  | { readonly kind: "ambiguous"; readonly nodes: readonly string[] }
  /** The operator's policy forbids the eviction of these pods. */
  | { readonly kind: "drain_refused"; readonly node: string; readonly pods: readonly PodLeft[] }
  /** The server lacks a permission that the drain needs, such as `patch nodes`. */
  | { readonly kind: "permission_missing"; readonly permission: string };

/** A pod that a drain waits for. */
export interface PodLeft {
  /** Its namespace. */
  readonly namespace: string;
  /** Its name. */
  readonly name: string;
  /**
   * Why it is still there, as a sentence for a person, such as `its PodDisruptionBudget "web" allows no disruption
   * now`.
   */
  readonly reason: string;
}

/** The state of a drain when its request must be answered. */
export type DrainOutcome =
  /**
   * The host is ready to reboot, as `host` shows, whose facts were read after the call. The oldest of them is as of
   * `readAt`, by the monotonic clock. What changes at any moment, the Node and that there is none, is as of
   * `confirmedAt`. `node` is the Node as it was read last; undefined if the host has none.
   */
  | {
    readonly kind: "drained";
    readonly host: HostEvidence;
    readonly readAt?: number;
    readonly confirmedAt?: number;
    readonly node?: NodeIdentity;
  }
  /**
   * The hold is about another Node than the one that is noted with it: none was noted, or the noted one is gone, and
   * its pods too. Note this one, then call again.
   */
  | { readonly kind: "moved"; readonly node: NodeIdentity }
  /** Pods are left, or `reason`, a sentence for a person, says what else the drain waits for. It goes on. */
  | { readonly kind: "draining"; readonly node: string; readonly pods: readonly PodLeft[]; readonly reason?: string }
  /**
   * The drain cannot go on: the time-out has passed with pods left, or for `reason`, a sentence for a person. `yields`
   * is set where the time-out has passed and the rule is that the hold yields its slot.
   */
  | {
    readonly kind: "failed";
    readonly node: string;
    readonly pods: readonly PodLeft[];
    readonly reason?: string;
    readonly yields?: true;
  }
  /** The hold has ended (an administrator deleted the lock, for example), so the drain was stopped. */
  | { readonly kind: "abandoned" }
  /** Several nodes have the client's id, so it is not known which one to drain. */
  | { readonly kind: "ambiguous"; readonly nodes: readonly string[] }
  /** The record of the hold names a node that cannot be understood, and no Node has the client's id. */
  | { readonly kind: "unreadable" };

/** Whether a host is back. */
export type ReturnOutcome =
  /**
   * It is: its node is ready, or it has no node to wait for. `rebooted` says whether the host runs another boot than
   * the one that is noted with the hold; undefined where that cannot be told.
   */
  | { readonly kind: "ready"; readonly rebooted?: boolean }
  /** It is not, for `reason`, a sentence for a person. */
  | { readonly kind: "not_ready"; readonly node: string; readonly reason: string };

/** Whether the Node of a hold's host is gone, by readings that began after the call. */
export type GoneOutcome =
  /**
   * No Node has the noted name, the client's id or the noted machine-id, and no pod is left that a drain must see gone.
   * The watch of the nodes has told everything up to a moment after the call. The oldest reading is as of `readAt`, by
   * the monotonic clock.
   */
  | { readonly kind: "gone"; readonly readAt: number }
  /** A Node may be the host's. */
  | { readonly kind: "there"; readonly node: string }
  /** The Node is gone, but these pods are bound to its name. */
  | { readonly kind: "pods_left"; readonly pods: readonly PodLeft[] }
  /** The watch of the nodes has not caught up in time, so a Node may have come and gone. */
  | { readonly kind: "unseen" };

/**
 * Makes hosts safe to reboot. Any replica may repeat any method at any time. The
 * methods that return a promise reject with {@link "./errors.ts".UnavailableError}
 * if the cluster does not answer or denies the access.
 */
export interface NodeKeeper extends AsyncDisposable {
  /**
   * Looks whether the client's node can be drained, before a slot is taken, a
   * cordon set or a pod evicted. It changes nothing.
   */
  look(id: ClientId): Promise<LookOutcome>;

  /**
   * Whether a watch shows a Node of the client, while it is in step. It may be behind, so it proves nothing, but it may
   * show one that has just joined. It makes no calls.
   */
  showsNode(id: ClientId): boolean;

  /**
   * Removes what lets a Node pass rules once, before the grant that rests on it. Of all who try, on any replica, at
   * most one succeeds.
   *
   * @param skip What it says, as the policies saw it.
   * @returns Whether this call has removed it. False where it is gone or says something else by now, and where others
   * change the Node all the time.
   */
  takeSkip(node: NodeIdentity, skip: string): Promise<boolean>;

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
   * Tells since when, by the monotonic clock, this process has seen without a break that no Node may be that of a
   * hold's host: none has the noted name, the client's id or the noted machine-id. The time begins with the first
   * question, and anew where a Node has come and gone or the watch of the nodes may have missed one. It makes no calls.
   *
   * @returns Undefined where there is such a Node, where the watch is behind, and where the hold notes no Node.
   */
  absentSince(hold: Hold): number | undefined;

  /**
   * Proves that the Node of a hold's host is gone. It changes nothing.
   *
   * @param signal Ends it.
   */
  proveGone(hold: Hold, signal: AbortSignal): Promise<GoneOutcome>;

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
