/**
 * What the lock service is given, and who is told what happens to the locks. Types only.
 *
 * @module
 */

import type { Clock } from "./clock.ts";
import type { GrantsObserver } from "./grants.ts";
import type { HoldsObserver } from "./hold_outcomes.ts";
import type { ClientId, Group } from "./identity.ts";
import type { DrainRule, NodeKeeper } from "./node_keeper.ts";
import type { GrantPolicy, Pause, Reason } from "./policy.ts";
import type { GroupState, Holder } from "./semaphore.ts";

/** Options of {@link "./lock_service.ts".LockService}. */
export interface LockServiceOptions {
  /**
   * Says how many clients of a group may reboot at a time, and what speaks against a grant.
   *
   * @default {one slot, and nothing speaks against it}
   */
  readonly policy?: GrantPolicy;
  /** How many groups may exist; a further one is refused. @default {64} */
  readonly maxGroups?: number;
  /** Drains the hosts before they reboot. Without one, a slot alone is enough for a yes. */
  readonly keeper?: NodeKeeper;
  /** How nodes are drained where the policy says nothing else; the keeper's own way where nothing is said here. */
  readonly drain?: DrainRule;
  /** How long an answer may wait for the node keeper, in milliseconds. @default {240000} */
  readonly replyWaitMs?: number;
  /** Ends such waits at once, when the server stops. */
  readonly stopping?: AbortSignal;
  /** Gives the time of grants, and measures proofs and pauses. @default {systemClock} */
  readonly clock?: Clock;
  /** A number from 0 (inclusive) to 1, for jitter. @default {Math.random} */
  readonly random?: () => number;
  /** Is told what happens. */
  readonly observer?: LockObserver;
}

/** Is told what happens to the locks. Its methods must not throw. */
export interface LockObserver extends HoldsObserver, GrantsObserver {
  /** The watch of the store is in step. */
  synced?(): void;
  /** The watch of the store fell behind. */
  lost?(reason: unknown): void;
  /** This process saw another state of a group than before; undefined where it knew nothing of it. */
  changed?(group: Group, before: GroupState | undefined, after: GroupState): void;
  /** A slot was granted, as {@link granted} told, to a client whose id no Node has, although hosts are drained. */
  grantedWithoutNode?(group: Group, holder: Holder): void;
  /** Policies refused a request for these reasons. Told for each such request, so it must be cheap. */
  refusedFor?(reasons: readonly Reason[]): void;
  /** The pause of a group has changed in the store; undefined where there is none any more. */
  pauseChanged?(group: Group, pause: Pause | undefined): void;
  /**
   * A client reported for a group in which it holds nothing, and seems to hold a slot of another one: its group may
   * have been changed on the host during a reboot.
   */
  heldElsewhere?(group: Group, id: ClientId, other: Group): void;
}
