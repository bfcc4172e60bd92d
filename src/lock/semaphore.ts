/**
 * The counting semaphore of one group, as a pure function of its state: who
 * holds a slot, who may take one, who gives one back. It knows no store, no
 * clock and no network; the conditional write that makes its decisions safe
 * over replicas is the {@link "./lock_store.ts".LockStore}'s.
 *
 * @module
 */

import type { ClientId } from "./identity.ts";

/** How far a drain is: under way, done, or given up at its time-out with pods left. */
export type DrainPhase = "draining" | "drained" | "failed";

/** The node of a holder, as recorded with the lock. */
export interface HeldNode {
  /** The Node's name. */
  readonly name: string;
  /** `status.nodeInfo.bootID` at the grant; another one later shows that the host has rebooted. */
  readonly bootId?: string;
  /** How far its drain is. */
  readonly phase: DrainPhase;
}

/** One client that holds a slot. */
export interface Holder {
  /** The client's id. One read back from a store may be what an administrator wrote there. */
  readonly id: ClientId;
  /** When the slot was granted, in milliseconds since the epoch, by the granting replica's clock. */
  readonly since: number;
  /** The node that the client runs on; undefined where none matched. */
  readonly node?: HeldNode;
}

/** Everything a store keeps of one group. */
export interface GroupState {
  /** The holders, oldest grant first; ids are unique. */
  readonly holders: readonly Holder[];
  /** How many grants the group has seen. A renewal is none. */
  readonly transitions: number;
  /** When the state was last written, in milliseconds since the epoch; undefined where nobody noted it. */
  readonly renewed?: number;
}

/** The state of a group that no store knows yet. */
export const FREE: GroupState = Object.freeze({ holders: Object.freeze([]), transitions: 0 });

/** What {@link acquire} decided. */
export type Acquisition =
  /** A slot is free: `next`, once written, makes the client a holder. */
  | { readonly kind: "grant"; readonly next: GroupState }
  /** The client is a holder already: `next`, once written, proves it. */
  | { readonly kind: "renew"; readonly next: GroupState }
  /** Others hold every slot. */
  | { readonly kind: "full" };

/** What {@link release} decided. */
export type Release =
  /** The client is a holder: `next`, once written, frees its slot. */
  | { readonly kind: "free"; readonly next: GroupState }
  /** The client holds nothing, so there is nothing to write. */
  | { readonly kind: "not_held" };

/**
 * Finds a client among the holders.
 *
 * @returns The holder, or undefined where the client holds no slot.
 */
export function holderOf(state: GroupState, id: ClientId): Holder | undefined {
  return state.holders.find((holder) => holder.id === id);
}

/**
 * Decides a client's wish for a slot.
 *
 * A holder stays one, whatever `slots` has become since: slots taken away are
 * not given out again, but never torn from a host that may be rebooting.
 *
 * @param slots How many holders the group may have, a positive integer.
 * @param now Milliseconds since the epoch, noted as the grant's time.
 * @param node The client's node, noted with a grant. A renewal keeps what was noted then.
 */
export function acquire(state: GroupState, id: ClientId, slots: number, now: number, node?: HeldNode): Acquisition {
  if (holderOf(state, id) !== undefined) {
    return { kind: "renew", next: { ...state, renewed: now } };
  }
  if (state.holders.length >= slots) return { kind: "full" };
  return {
    kind: "grant",
    next: {
      holders: [...state.holders, node === undefined ? { id, since: now } : { id, since: now, node }],
      transitions: state.transitions + 1,
      renewed: now,
    },
  };
}

/**
 * Decides a client's wish to give its slot back. A client that holds nothing
 * is told so, which is no fault: the protocol is unlock-if-held.
 *
 * @param now Milliseconds since the epoch.
 */
export function release(state: GroupState, id: ClientId, now: number): Release {
  if (holderOf(state, id) === undefined) return { kind: "not_held" };
  return {
    kind: "free",
    next: {
      ...state,
      holders: state.holders.filter((holder) => holder.id !== id),
      renewed: now,
    },
  };
}

/**
 * Notes how far a holder's node is.
 *
 * @param hold The client and the time of its grant: a later grant to the same client is another hold.
 * @param now Milliseconds since the epoch.
 * @returns The state to write, which proves the hold once written; undefined where that hold is over.
 */
export function amend(
  state: GroupState,
  hold: Pick<Holder, "id" | "since">,
  now: number,
  node: HeldNode,
): GroupState | undefined {
  if (holderOf(state, hold.id)?.since !== hold.since) return undefined;
  return {
    ...state,
    holders: state.holders.map((holder) => holder.id === hold.id ? { ...holder, node } : holder),
    renewed: now,
  };
}
