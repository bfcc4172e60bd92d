/**
 * What the two operations of the protocol can end in, and the one table of
 * refusals. A new reason to refuse is a member of {@link Refusal} and its entry
 * in {@link REFUSALS}: statuses, sentences and metrics derive from those. This
 * module decides nothing and does not know HTTP beyond the status numbers.
 *
 * @module
 */

import type { Group } from "./identity.ts";
import type { PodLeft } from "./node_keeper.ts";
import type { Reason, ReasonKind } from "./policy.ts";
import type { Holder } from "./semaphore.ts";
import {
  describeAlteredWrite,
  describeAmbiguity,
  describeContention,
  describeDrain,
  describeEndingLock,
  describeFailedDrain,
  describeGroupLimit,
  describeHolders,
  describeMissingPermission,
  describeReason,
  describeRefusedDrain,
  describeUnreadableHold,
  describeUnreadyNode,
} from "./wording.ts";

/** A policy's reason not to grant a slot now. There is one kind of refusal for each kind of reason. */
export type PolicyRefusal = {
  readonly [K in ReasonKind]: {
    readonly kind: K;
    /** Every reason, the one that lasts longest first. That one is told, and has the same kind. */
    readonly reasons: readonly [Reason, ...Reason[]];
  };
}[ReasonKind];

/** Why the answer is "not now". The client may ask again. */
export type Refusal =
  | PolicyRefusal
  /** Others, these `holders`, hold every slot, or come before the client, which is a holder beyond the slots. */
  | { readonly kind: "lock_held"; readonly holders: readonly Holder[]; readonly slots: number }
  /** Other writers kept changing the group while this request tried, or ended the client's hold. */
  | { readonly kind: "contended" }
  /** The group is new, and `limit` groups exist already. */
  | { readonly kind: "too_many_groups"; readonly limit: number }
  /** Several nodes have the client's id. */
  | { readonly kind: "node_ambiguous"; readonly nodes: readonly string[] }
  /** The object that keeps the group's lock is being deleted, and waits for these finalizers. */
  | { readonly kind: "lock_ending"; readonly object: string; readonly finalizers: readonly string[] }
  /** The store kept something else than was written. */
  | { readonly kind: "write_altered" }
  /** The operator's policy forbids the eviction of these pods, so no slot was taken. */
  | { readonly kind: "drain_refused"; readonly node: string; readonly pods: readonly PodLeft[] }
  /** The server lacks a permission that the drain needs, so no slot was taken. */
  | { readonly kind: "permission_missing"; readonly permission: string }
  /** The record of the client's hold names a node that cannot be understood. */
  | { readonly kind: "hold_unreadable" }
  /** The client holds a slot; its node still has pods to evict. */
  | { readonly kind: "draining"; readonly node: string; readonly pods: readonly PodLeft[]; readonly reason?: string }
  /** The client holds a slot; its node could not be drained in time. */
  | {
    readonly kind: "drain_failed";
    readonly node: string;
    readonly pods: readonly PodLeft[];
    readonly reason?: string;
  }
  /** The client keeps its slot until its node is ready. */
  | { readonly kind: "node_not_ready"; readonly node: string; readonly reason: string };

/** One kind of {@link Refusal}. */
export type RefusalKind = Refusal["kind"];

/** An operation of the protocol, by the name of its endpoint. */
export type Operation = "pre-reboot" | "steady-state";

/** Everything that is the same for all refusals of one kind. */
export interface RefusalRule<R extends Refusal> {
  /** The HTTP status of the answer, a 4xx. */
  readonly status: number;
  /** The operations that can be refused for this reason. */
  readonly endpoints: readonly Operation[];
  /**
   * Makes the sentence of the answer.
   *
   * @param now Milliseconds since the epoch.
   */
  describe(refusal: R, group: Group, now: number): string;
}

/** The policies' refusals speak for themselves, and only to a client that asks for a slot. */
const BY_POLICY: RefusalRule<PolicyRefusal> = {
  status: 423,
  endpoints: ["pre-reboot"],
  describe: ({ reasons: [reason] }) => describeReason(reason.sentence),
};

/** The table of refusals, by kind. */
export const REFUSALS: { readonly [K in RefusalKind]: RefusalRule<Extract<Refusal, { kind: K }>> } = {
  unknown_group: BY_POLICY,
  paused: BY_POLICY,
  node_on_hold: BY_POLICY,
  frozen: BY_POLICY,
  outside_window: BY_POLICY,
  deferred: BY_POLICY,
  settling: BY_POLICY,
  fleet_unhealthy: BY_POLICY,
  pods_blocking: BY_POLICY,
  budget_exhausted: BY_POLICY,
  policy_undecided: BY_POLICY,
  lock_held: {
    status: 423,
    endpoints: ["pre-reboot"],
    describe: ({ holders, slots }, group, now) => describeHolders(holders, slots, group, now),
  },
  contended: {
    status: 423,
    endpoints: ["pre-reboot", "steady-state"],
    describe: (_refusal, group) => describeContention(group),
  },
  too_many_groups: {
    status: 429,
    endpoints: ["pre-reboot"],
    describe: ({ limit }, group) => describeGroupLimit(limit, group),
  },
  node_ambiguous: {
    status: 423,
    endpoints: ["pre-reboot"],
    describe: ({ nodes }) => describeAmbiguity(nodes),
  },
  lock_ending: {
    status: 423,
    endpoints: ["pre-reboot"],
    describe: ({ object, finalizers }) => describeEndingLock(object, finalizers),
  },
  write_altered: {
    status: 423,
    endpoints: ["pre-reboot", "steady-state"],
    describe: (_refusal, group) => describeAlteredWrite(group),
  },
  drain_refused: {
    status: 423,
    endpoints: ["pre-reboot"],
    describe: ({ node, pods }) => describeRefusedDrain(node, pods),
  },
  permission_missing: {
    status: 423,
    endpoints: ["pre-reboot"],
    describe: ({ permission }) => describeMissingPermission(permission),
  },
  hold_unreadable: {
    status: 423,
    endpoints: ["pre-reboot"],
    describe: (_refusal, group) => describeUnreadableHold(group),
  },
  draining: {
    status: 423,
    endpoints: ["pre-reboot"],
    describe: ({ node, pods, reason }) => describeDrain(node, pods, reason),
  },
  drain_failed: {
    status: 423,
    endpoints: ["pre-reboot"],
    describe: ({ node, pods, reason }) => describeFailedDrain(node, pods, reason),
  },
  node_not_ready: {
    status: 423,
    endpoints: ["steady-state"],
    describe: ({ node, reason }) => describeUnreadyNode(node, reason),
  },
};

/**
 * Says why a request was refused.
 *
 * @param now Milliseconds since the epoch, for the age of the holds.
 * @returns A sentence for a person.
 */
export function describeRefusal(refusal: Refusal, group: Group, now: number): string {
  // The table's type pairs each kind with its own rule, which TypeScript cannot follow through a lookup.
  const rule: RefusalRule<never> = REFUSALS[refusal.kind];
  return rule.describe(refusal as never, group, now);
}

/** The outcome of a refused request. */
export interface Refused {
  /** Tells it from the other outcomes. */
  readonly kind: "refused";
  /** Why. */
  readonly refusal: Refusal;
}

/** Makes the outcome of a refused request. */
export function refused(refusal: Refusal): Refused {
  return { kind: "refused", refusal };
}

/** The refusal for each list of reasons, so that all who are refused for one list share the refusal and its reply. */
const BY_REASONS = new WeakMap<readonly Reason[], Refused>();

/**
 * Makes the outcome of a request that policies speak against.
 *
 * @param reasons Why, the reason that lasts longest first.
 * @returns Undefined where there is no reason.
 */
export function refusedFor(reasons: readonly Reason[]): Refused | undefined {
  const [first, ...others] = reasons;
  if (first === undefined) return undefined;
  let known = BY_REASONS.get(reasons);
  if (known === undefined) {
    known = refused({ kind: first.kind, reasons: [first, ...others] });
    BY_REASONS.set(reasons, known);
  }
  return known;
}

/** A yes to pre-reboot: the client holds a slot, and its host may reboot. */
export type Yes =
  /** This request took the slot. */
  | { readonly kind: "granted"; readonly holder: Holder }
  /** The client held the slot before, and still does. */
  | { readonly kind: "renewed"; readonly holder: Holder };

/** The outcome of a pre-reboot request. */
export type PreRebootOutcome = Yes | Refused;

/** The outcome of a steady-state request. */
export type SteadyStateOutcome =
  /** The client gave back its slot, which it had held as `holder` says. */
  | { readonly kind: "released"; readonly holder: Holder }
  /** The client held nothing. */
  | { readonly kind: "not_held" }
  | Refused;
