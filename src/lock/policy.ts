/**
 * What the operator's policies say about a grant: how many slots a group has now,
 * and every reason not to grant one. This is the port between the lock service and
 * the rules; it knows no rule.
 *
 * A policy gates grants only. It never speaks against a release, the renewal of a
 * hold, or a drain under way.
 *
 * @module
 */

import type { ClientId, Group } from "./identity.ts";
import type { Versioned } from "./lock_store.ts";
import type { DrainRule, NodeIdentity } from "./node_keeper.ts";
import type { GroupState } from "./semaphore.ts";

/** The kinds of reasons not to grant a slot now. Each is the `kind` of a 423. */
export const REASON_KINDS = [
  "unknown_group",
  "paused",
  "node_on_hold",
  "frozen",
  "outside_window",
  "deferred",
  "settling",
  "fleet_unhealthy",
  "pods_blocking",
  "budget_exhausted",
  "policy_undecided",
] as const;

/** One of {@link REASON_KINDS}. */
export type ReasonKind = typeof REASON_KINDS[number];

/** A reason not to grant a slot now. */
export interface Reason {
  /** What kind of reason it is. */
  readonly kind: ReasonKind;
  /** The rule that speaks, by its key in the configuration file, such as `allow` or `health.notReady`. */
  readonly rule: string;
  /** A sentence for the host's journal: what it waits for, and until when. */
  readonly sentence: string;
  /** When the reason ends by itself, in milliseconds since the epoch; undefined where nobody can know. */
  readonly until?: number;
}

/** A reason that does not count, and why. */
export interface IgnoredReason extends Reason {
  /** The group is in warn mode, or the client's Node was told to skip the rule. */
  readonly because: "warn" | "skip";
}

/** Somebody's order that no slot of a group is granted. */
export interface Pause {
  /** Why, for the replies. */
  readonly reason?: string;
  /** Who ordered it. */
  readonly by?: string;
  /** When it ends, in milliseconds since the epoch; undefined for until somebody lifts it. */
  readonly until?: number;
  /** Whether drains under way yield too. @default {false} */
  readonly drains?: boolean;
  /**
   * Set where this stands for something in the store that cannot be read, as `reason` says. Whoever puts another pause
   * in its place, or none, replaces what cannot be read.
   */
  readonly isUnreadable?: true;
}

/** A host whose node could not be drained, so that it freed its slot for others and waits longer than they. */
export interface Deferral {
  /** The host. */
  readonly id: ClientId;
  /** The name of its Node. */
  readonly node: string;
  /** When it may get a slot again, in milliseconds since the epoch. */
  readonly until: number;
  /** How many times in a row it has yielded, 1 or more. */
  readonly count: number;
  /** A few of the pods that kept it, as `namespace/name: reason`. */
  readonly pods: readonly string[];
}

/**
 * What is noted with a group's lock for the policies, so that every replica knows it after a restart too. Notes in the
 * store that cannot be read are a pause that says so.
 */
export interface GroupNotes {
  /** When a holder last came back from a reboot that happened, in milliseconds since the epoch. */
  readonly returned?: number;
  /**
   * The hosts that have yielded and have not been drained since, at most {@link MAX_DEFERRALS}, each once. An entry
   * whose `until` is over holds its host back no more; it only tells how often the host has yielded.
   */
  readonly deferred?: readonly Deferral[];
  /** The pause, which may be over. One that cannot be read is a pause with a reason that says so. */
  readonly pause?: Pause;
}

/** How many hosts of a group are remembered to have yielded. */
export const MAX_DEFERRALS = 64;

/** What a policy is asked. */
export interface PolicyQuestion {
  /** The client's group. */
  readonly group: Group;
  /** Who asks. */
  readonly id: ClientId;
  /** The group's state, on which the grant will be decided; its `notes` say what is noted for the policies. */
  readonly state: GroupState;
  /** All groups as they were seen last, this one too; undefined where nobody follows them. */
  readonly groups?: ReadonlyMap<Group, Pick<Versioned, "state">>;
  /** The client's Node; undefined where it has none, and before anybody has looked for it. */
  readonly node?: NodeIdentity;
  /**
   * The rules that the client may pass, as the Node named them before this request removed that. Undefined where the
   * Node is to be looked at.
   */
  readonly skip?: string;
}

/** What a policy answers. */
export interface PolicyAnswer {
  /** How many clients of the group may hold a slot now, a positive integer, or 0 where none may get one. */
  readonly slots: number;
  /** Every reason not to grant a slot now, the one that lasts longest first. Empty where nothing speaks against it. */
  readonly reasons: readonly Reason[];
  /** Reasons of a group in warn mode, or that a Node was told to skip. They do not count, and are logged. */
  readonly ignored: readonly IgnoredReason[];
  /**
   * What lets the client's Node pass rules once, where the answer rests on it: without it, there would be a reason or
   * fewer slots. Whoever grants by the answer must have removed it first. Undefined where the question names it.
   */
  readonly skip?: string;
}

/** Says whether a slot may be granted now. Its methods do not throw: what they cannot know is a reason. */
export interface GrantPolicy {
  /** How many slots a group has, by what is known at this moment, a positive integer. It makes no calls. */
  slotsOf(group: Group): number;
  /** How the nodes of a group are drained, as far as that differs from what holds for all. It makes no calls. */
  drainOf(group: Group): DrainRule;
  /**
   * How long the Node of a hold must be gone until the hold is freed, in milliseconds; undefined where it never is. It
   * makes no calls.
   */
  goneAfter(group: Group): number | undefined;
  /**
   * Answers at once, from what is known already, and makes no calls. A reason in the answer refuses; an answer without
   * one says nothing yet.
   *
   * It is asked for every poll while a slot is free, and again, with the Node, for the very state that a grant is
   * written on where that is not the one that {@link judge} has seen, or where {@link judge} has answered more than a
   * second before. So what rests on the state's notes is exact. One list of reasons that is returned again and again
   * makes the replies cheap: they are kept by the list's identity.
   */
  peek(question: PolicyQuestion): PolicyAnswer;
  /** Answers from facts that are fresh enough for a grant, and may make calls for them, shared and bounded in time. */
  judge(question: PolicyQuestion): Promise<PolicyAnswer>;
}

/** Makes the policy that knows only how many slots a group has. */
export function slotsOnly(slotsOf: (group: Group) => number): GrantPolicy {
  const answer = ({ group }: PolicyQuestion) => ({ slots: slotsOf(group), reasons: NONE, ignored: [] });
  return {
    slotsOf,
    drainOf: () => ({}),
    goneAfter: () => undefined,
    peek: answer,
    judge: (question) => Promise.resolve(answer(question)),
  };
}

const NONE: readonly Reason[] = Object.freeze([]);
