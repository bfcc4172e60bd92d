/**
 * The definition of a yes: what a request must have seen before its client may
 * reboot. It is pure. Everything else collects the evidence for it, and nothing
 * else decides.
 *
 * A yes is within the slots that the deciding replica computed and noted with the
 * grant: when a slot is granted, the group has no more holders than the grant
 * notes, and the holder keeps that number ({@link mayGoOn}). So whatever slots the
 * replicas go by while a configuration reaches one after the other, the holders
 * that may be rebooting are never more than the most that a grant among them notes;
 * and once all replicas have fewer slots, the holders beyond them only become
 * fewer, since nobody is granted one beside them. Policies play no other part in a
 * yes: they speak before a grant, and never of a hold.
 *
 * Every fact in the evidence comes from a write or a read that began after the
 * request did. The times of objects are the API server's, and so are
 * `grantedAt` and `now`.
 *
 * @module
 */

import type { ClientId } from "./identity.ts";
import { type GroupState, type Holder, holderOf, mayGoOn, mayHaveHadYes } from "./semaphore.ts";

/** What the store returned for the conditional write that proves the hold. */
export interface HoldEvidence {
  /** The client. */
  readonly id: ClientId;
  /** When the slot was granted, in milliseconds since the epoch: which of the client's holds this is. */
  readonly since: number;
  /** The group as the store returned it from the write, which may differ from what was sent. */
  readonly written: GroupState;
  /** How many holders the group may have now, by this replica. The holder's own record counts where it notes more. */
  readonly slots: number;
  /** Whether the object that holds the group is being deleted. */
  readonly isEnding: boolean;
  /** How long ago the write or the oldest read began that the yes rests on, in milliseconds. */
  readonly ageMs: number;
}

/** A pod that is bound to the node. */
export interface SeenPod {
  /** Its namespace. */
  readonly namespace: string;
  /** Its name. */
  readonly name: string;
  /** Why a drain leaves it alone, such as "daemon_set"; undefined where the drain must see it gone. */
  readonly exempt?: string;
  /** When it was created, in milliseconds since the epoch, exact to the second; undefined where that is unknown. */
  readonly createdAt?: number;
  /** Whether it tolerates the taint `node.kubernetes.io/unschedulable:NoSchedule`. */
  readonly toleratesCordon: boolean;
  /** The UID of its controller; undefined where it has none. */
  readonly controller?: string;
  /**
   * When it was bound to the node, in milliseconds since the epoch, exact to the second; undefined where that is
   * unknown.
   */
  readonly boundAt?: number;
  /** When its grace period ends, in milliseconds since the epoch, where it is being deleted. */
  readonly graceEndsAt?: number;
}

/** A Node as it was read. */
export interface SeenNode {
  /** Tells it from an earlier or later Node of the same name. */
  readonly uid: string;
  /** When it was created, in milliseconds since the epoch, exact to the second; undefined where that is unknown. */
  readonly createdAt?: number;
  /** Whether it is cordoned. */
  readonly unschedulable: boolean;
  /** Whether it is being deleted. */
  readonly deleting: boolean;
  /** The status of its condition Ready: "True", "False", "Unknown"; undefined where it has none. */
  readonly ready?: string;
}

/** What was seen of the Node on which a hold's drain began. */
export interface NodeEvidence {
  /** The Node that was noted with the hold. */
  readonly noted: { readonly name: string; readonly uid: string };
  /** The Node that has that name now; undefined where the API server knows none. */
  readonly node?: SeenNode;
  /** Every pod bound to that name, by a list that began after `node` was read. */
  readonly pods: readonly SeenPod[];
  /** When the slot was granted, in milliseconds since the epoch. */
  readonly grantedAt: number;
  /** The time now, in milliseconds since the epoch; undefined where the API server has not told it lately. */
  readonly now?: number;
  /**
   * For each controller whose pods this process has evicted {@link MAX_EVICTIONS} times in this hold, although they
   * were created after the grant: when the last of these evictions was accepted, in milliseconds since the epoch.
   */
  readonly exhausted: ReadonlyMap<string, number>;
  /**
   * Whether the drain's time-out has passed and the operator's policy is to go on all the same: then no pod must go any
   * more. Everything else is as ever.
   */
  readonly isTimedOut?: boolean;
}

/** A pod that is left at a yes, and why it may be. */
export interface StayingPod {
  /** The pod. */
  readonly pod: SeenPod;
  /**
   * - `tolerates_cordon`: it tolerates the cordon and was created after the grant: the cordon does not keep such pods away;
   * - `put_back`: its controller has put pods back after each of {@link MAX_EVICTIONS} evictions;
   * - `kubelet_dead`: its grace period is over, and the kubelet that would confirm its end does not answer;
   * - `timed_out`: the drain has timed out, and the operator's policy is to go on.
   */
  readonly why: "tolerates_cordon" | "put_back" | "kubelet_dead" | "timed_out";
}

/** Whether a node is empty. */
export type NodeVerdict =
  /** It is. `staying` names the pods that a person should know of; exempt ones are not among them. */
  | { readonly kind: "empty"; readonly staying: readonly StayingPod[] }
  /** Pods are left that must go first. */
  | { readonly kind: "pods_left"; readonly pods: readonly SeenPod[] }
  /** The node is not cordoned, so that pods may come at any moment. */
  | { readonly kind: "uncordoned" }
  /** The Node is being deleted: the host's next Node would not be cordoned. */
  | { readonly kind: "node_ending" };

/** What was seen of the host, apart from its hold. */
export type HostEvidence =
  /** Draining is off, or the hosts have no nodes. */
  | { readonly kind: "not_drained" }
  /** No Node was ever noted with the hold, and none has the client's id. */
  | { readonly kind: "no_node" }
  | { readonly kind: "node"; readonly evidence: NodeEvidence };

/** Whether the client may reboot. */
export type Yes =
  | { readonly kind: "yes"; readonly staying: readonly StayingPod[] }
  /**
   * What the store returned does not show the hold, or not that its host may reboot: somebody changed what was written.
   */
  | { readonly kind: "not_written" }
  /** The object that holds the group is being deleted, and the hold with it. */
  | { readonly kind: "lock_ending" }
  /** The group has more holders than slots, and others come before this client. */
  | { readonly kind: "full" }
  /** The write or a read lies too long back: the process was paused, and the world has moved on. */
  | { readonly kind: "too_old" }
  | Exclude<NodeVerdict, { kind: "empty" }>;

/** How often pods of one controller that were created after the grant are evicted from one Node in one hold. */
export const MAX_EVICTIONS = 3;

/** How long a write proves a hold, and a read what it showed, in milliseconds. */
export const PROOF_TTL_MS = 15_000;

/**
 * How old what may change at any moment may be at a yes, in milliseconds: the reading of a node, the search for others,
 * and the proof of the hold where its answer was slow. Meanwhile, others may free the slot, and the host may join as
 * another node.
 */
export const FRESH_MS = 1_000;

/** How old a second search may be, in milliseconds: beside very many Nodes, each takes longer than {@link FRESH_MS}. */
export const SECOND_SEARCH_MS = 5_000;

/** How long after the end of its grace period a pod of a dead kubelet counts as gone, in milliseconds. */
export const DEAD_KUBELET_MS = 10_000;

/** Decides whether a client may reboot. */
export function judgeYes(hold: HoldEvidence, host: HostEvidence): Yes {
  const holder = holderOf(hold.written, hold.id);
  if (holder?.since !== hold.since) return { kind: "not_written" };
  if (hold.isEnding) return { kind: "lock_ending" };
  if (!mayGoOn(hold.written, hold.id, hold.slots)) return { kind: "full" };
  if (hold.ageMs > PROOF_TTL_MS) return { kind: "too_old" };
  if (host.kind !== "node") {
    // A hold that notes a node, or one that could not be understood, is about that node.
    const { node, isNodeUnreadable } = holder;
    if (host.kind === "no_node" && (node !== undefined || isNodeUnreadable)) return { kind: "not_written" };
    return yesOn(holder, []);
  }
  const { noted } = host.evidence;
  if (holder.node?.uid !== noted.uid) return { kind: "not_written" };
  const verdict = judgeNode(host.evidence);
  return verdict.kind === "empty" ? yesOn(holder, verdict.staying) : verdict;
}

/** Whoever reads the record must see that the host may reboot: a hold that looks as if it had no yes may be ended. */
function yesOn(holder: Holder, staying: readonly StayingPod[]): Yes {
  return mayHaveHadYes(holder) ? { kind: "yes", staying } : { kind: "not_written" };
}

/**
 * Decides whether the node of a hold is empty.
 *
 * Where the noted Node is gone, the pods bound to its name tell whether the
 * host's work is gone; where another Node has the name by now, only pods that
 * are older than that Node can be the host's.
 */
export function judgeNode(evidence: NodeEvidence): NodeVerdict {
  const { noted, node } = evidence;
  if (node?.uid === noted.uid) {
    if (node.deleting) return { kind: "node_ending" };
    if (!node.unschedulable) return { kind: "uncordoned" };
  }
  const left: SeenPod[] = [];
  const staying: StayingPod[] = [];
  for (const pod of evidence.pods) {
    if (pod.exempt !== undefined || belongsToLaterNode(pod, evidence)) continue;
    const why = mayStay(pod, evidence);
    if (why === undefined) left.push(pod);
    else staying.push({ pod, why });
  }
  return left.length > 0 ? { kind: "pods_left", pods: left } : { kind: "empty", staying };
}

/**
 * Whether a pod came to another Node that has the name by now. A pod that was pending is older than the Node that it
 * was bound to, so that the time of its binding counts where it is known.
 *
 * A Node of another name proves nothing about the pods of this name, even where it has the client's id and is older
 * than they are: the kubelet of a Node that was deleted goes on to run the pods of its name, the host may have left the
 * other Node behind when it returned to this name, and two machines may show one machine-id.
 */
export function belongsToLaterNode(pod: SeenPod, { noted, node }: Pick<NodeEvidence, "noted" | "node">): boolean {
  if (node === undefined || node.uid === noted.uid) return false;
  return isAfter(pod.createdAt, node.createdAt) || isAfter(pod.boundAt, node.createdAt);
}

/**
 * Says why a pod may be left at a yes.
 *
 * @returns Undefined where the drain must see it gone.
 */
function mayStay(
  pod: SeenPod,
  { noted, node, grantedAt, now, exhausted, isTimedOut }: Omit<NodeEvidence, "pods">,
): StayingPod["why"] | undefined {
  if (pod.toleratesCordon && isAfter(pod.createdAt, grantedAt)) return "tolerates_cordon";
  // A pod without a controller is put back by nobody.
  const lastEviction = pod.controller === undefined ? undefined : exhausted.get(pod.controller);
  if (isAfter(pod.createdAt, lastEviction)) return "put_back";
  const isDead = node?.uid === noted.uid && node.ready === "Unknown";
  if (isDead && isAfter(now, pod.graceEndsAt, DEAD_KUBELET_MS)) return "kubelet_dead";
  return isTimedOut ? "timed_out" : undefined;
}

/**
 * Whether one time is later than another by more than `ms`. The API server's times are whole seconds: the same second
 * is not later.
 */
export function isAfter(time: number | undefined, other: number | undefined, ms = 0): boolean {
  return time !== undefined && other !== undefined && Math.floor(time / 1000) > Math.floor((other + ms) / 1000);
}
