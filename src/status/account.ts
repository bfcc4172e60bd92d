/**
 * One account of the state: who holds which slot, for how long, what it waits
 * for, and what blocks the next grant. Commands, page, JSON and metrics show it.
 * It is one replica's view: what only another replica knows is undefined, never
 * guessed. It holds data only, and all of it is JSON.
 *
 * @module
 */

/** The version of the account's form. It changes when a field changes its meaning or goes. */
export const ACCOUNT_VERSION = 1;

/** Where a hold is between its grant and its release. */
export type Stage =
  /** Pods are evicted. */
  | "draining"
  /** The drain has failed, or budgets hold back every pod that is left. */
  | "blocked"
  /** The host may reboot and has not: its node is ready with the bootID of the grant. */
  | "granted-not-rebooting"
  /** The node is not ready after the yes. */
  | "rebooting"
  /** The node is ready with another bootID, and the host has not reported. */
  | "back-not-reporting"
  /** The noted node does not exist. */
  | "node-gone"
  /** The hold is about no node, or this replica cannot see it. */
  | "unknown";

/** A pod that a drain waits for. */
export interface PodAccount {
  /** `namespace/name`. */
  readonly pod: string;
  /** Why it is still there. */
  readonly reason: string;
}

/** How a client is shown. Whoever knows its whole id can free its slot, so that nobody is told it. */
export interface ClientAccount {
  /** The start of its id, at most half of it, and an ellipsis. Several clients may share it. */
  readonly id: string;
  /** Tells it from the other clients of the group: a hash of the group and the whole id, the same on every replica. */
  readonly hash: string;
}

/** One hold. */
export interface HolderAccount extends ClientAccount {
  /** The name of its node; undefined where none is noted. */
  readonly node?: string;
  /** When the slot was granted, RFC 3339. */
  readonly since: string;
  /** Where it is. */
  readonly stage: Stage;
  /** Since when, as far as this replica knows, RFC 3339. */
  readonly stageSince?: string;
  /** Whether it has been there longer than the threshold of its stage. */
  readonly isStuck: boolean;
  /**
   * When the server frees it because its node is gone; undefined where that is not planned, as far as this replica
   * knows.
   */
  readonly release?: {
    /** When the grace period is over, RFC 3339. It begins again where the node or its host shows up. */
    readonly at: string;
    /** What the release waits for once that time has passed, a sentence; undefined where for nothing. */
    readonly waitsFor?: string;
  };
  /** The pods that its drain waits for; undefined where this replica does not run it. */
  readonly pods?: readonly PodAccount[];
  /** When the client asked this replica last, RFC 3339; undefined where it has not. */
  readonly lastPoll?: string;
}

/** A reason not to grant a slot now. */
export interface ReasonAccount {
  /** The kind of the refusal, such as `lock_held` or `outside_window`. */
  readonly kind: string;
  /** The rule of the configuration that speaks; undefined where it is none. */
  readonly rule?: string;
  /** A sentence. */
  readonly sentence: string;
  /** When it ends by itself, RFC 3339. */
  readonly until?: string;
}

/** What is asked only when a host asks for a slot, because it needs calls, or depends on the host's node. */
export type UnaskedRule =
  | "health.prometheus"
  | "health.alertmanager"
  | "health.blockingPods"
  | "health.budgets"
  /** Whether the flags of the drain forbid the eviction of a pod of the node. It is no rule of the file. */
  | "drain";

/** A rule that lets grants go on because its monitor cannot be asked (`onError: allow`). */
export interface PassedOver {
  /** The rule, such as `health.prometheus`. */
  readonly rule: string;
  /** Why the monitor could not be asked. */
  readonly reason: string;
}

/** A client that was refused lately, by this replica. */
export interface RefusedAccount extends ClientAccount {
  /** Its node, where the watch shows one. */
  readonly node?: string;
  /** When it asked last, RFC 3339. */
  readonly at: string;
  /** When it asked first in a row of refusals, RFC 3339. */
  readonly since: string;
  /** Why it was refused. */
  readonly kind: string;
  /** The sentence of the reply. */
  readonly sentence: string;
}

/** A turn that is over: a client that held a slot, and gave it back or lost it. */
export interface TurnAccount extends ClientAccount {
  /** Its node. */
  readonly node?: string;
  /** When the slot was granted, RFC 3339. */
  readonly granted: string;
  /** When it was free again, RFC 3339. */
  readonly released: string;
  /** Whether the host came back with the image that it had before. Undefined where that is unknown. */
  readonly isSameImage?: boolean;
}

/** Somebody's order that no slot of a group is granted. */
export interface PauseAccount {
  /** Why. */
  readonly reason?: string;
  /** Who ordered it. */
  readonly by?: string;
  /** When it ends, RFC 3339; undefined for until somebody lifts it. */
  readonly until?: string;
}

/** A host that has yielded. */
export interface DeferredAccount extends ClientAccount {
  /** Its node. */
  readonly node: string;
  /** When it gets its next turn, RFC 3339. */
  readonly until: string;
  /** The pods that kept it. */
  readonly pods: readonly string[];
}

/** One group. */
export interface GroupAccount {
  /** Its name. */
  readonly name: string;
  /** How many clients may hold a slot. */
  readonly slots: number;
  /** Grants so far. */
  readonly transitions: number;
  /** Who holds a slot, oldest grant first. */
  readonly holders: readonly HolderAccount[];
  /** What is known to speak against the next grant now, the reason that lasts longest first. */
  readonly blocks: readonly ReasonAccount[];
  /** What may speak against a grant besides, and is not known before a host asks. */
  readonly unasked: readonly UnaskedRule[];
  /**
   * The rules that let grants go on although this replica could not ask their monitor last, and why it could not;
   * undefined where there are none.
   */
  readonly passedOver?: readonly PassedOver[];
  /**
   * When windows and freezes next allow a grant, RFC 3339: now, where they allow one; undefined where they never do.
   */
  readonly nextOpening?: string;
  /** The pause in force. */
  readonly pause?: PauseAccount;
  /** The hosts that have yielded. */
  readonly deferred: readonly DeferredAccount[];
  /** Who was refused lately by this replica, the longest waiting first. */
  readonly waiting: readonly RefusedAccount[];
  /** How many clients beyond those of `waiting` were refused lately. */
  readonly waitingMore: number;
  /** The last turns that this replica saw, newest first. */
  readonly turns: readonly TurnAccount[];
}

/** The account of one replica. */
export interface Account {
  /** {@link ACCOUNT_VERSION}. */
  readonly version: number;
  /** Which replica this is: the name of its pod, or of its host. */
  readonly replica: string;
  /** The program's version. */
  readonly program: string;
  /** Where the locks are stored: `kubernetes`, `sqlite` or `memory`. */
  readonly store: string;
  /** The time of this account, RFC 3339, by the clock of the locks. */
  readonly at: string;
  /** When this replica started, RFC 3339. What happened before is known only as far as the store tells it. */
  readonly started: string;
  /** Whether the groups are in step with the store. */
  readonly isInStep: boolean;
  /** Whether the nodes are in step with the cluster; undefined where nodes are not drained. */
  readonly areNodesInStep?: boolean;
  /** The configuration file: its hash, and why a newer one is not in force. */
  readonly config?: { readonly hash: string; readonly error?: string };
  /** Every group, by name. */
  readonly groups: readonly GroupAccount[];
}
