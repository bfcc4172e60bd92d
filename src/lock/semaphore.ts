/**
 * The counting semaphore of one group, as pure functions of its state: who holds
 * a slot, who may take one, who gives one back. It does not use a store, a clock
 * or the network. The conditional write of a {@link "./lock_store.ts".LockStore}
 * makes its decisions safe over replicas.
 *
 * @module
 */

import type { ClientId } from "./identity.ts";
import type { GroupNotes } from "./policy.ts";

/** How far a drain is: under way, done, or failed with pods left. */
export type DrainPhase = "draining" | "drained" | "failed";

/** The node of a holder, as recorded with the lock. */
export interface HeldNode {
  /** The Node's name. */
  readonly name: string;
  /** The Node's UID, which tells it from an earlier or later Node of the same name. */
  readonly uid: string;
  /** `status.nodeInfo.machineID` as noted; a later Node of the same name and machine is the same host's. */
  readonly machineId?: string;
  /** `status.nodeInfo.bootID` at the grant. Another one later shows that the host has rebooted. */
  readonly bootId?: string;
  /** How far its drain is. */
  readonly phase: DrainPhase;
}

/** One client that holds a slot. */
export interface Holder {
  /** The client's id. An administrator may have written it to the store. */
  readonly id: ClientId;
  /**
   * When the slot was granted, in milliseconds since the epoch. Within a group it grows strictly from grant to grant,
   * whatever the clocks show, so that it tells a client's holds apart.
   */
  readonly since: number;
  /** The node that the client runs on; undefined if none matched. */
  readonly node?: HeldNode;
  /** When a pre-reboot request of the client last renewed or noted the hold, in milliseconds since the epoch. */
  readonly renewed?: number;
  /**
   * Set where the record names a node in a form that this version does not understand. Such a hold is about a node,
   * although nobody can tell which one.
   */
  readonly isNodeUnreadable?: true;
  /**
   * How many holders the group was to have by the policy on which the slot was granted, a positive integer. The holder
   * goes on under fewer slots. Undefined where a person wrote the holder, or a version that does not note it.
   */
  readonly slots?: number;
  /** Set where the hold noted another Node before, or none, on which it may have had a yes. */
  readonly hadYes?: true;
  /** Fields of the record that this version does not know. Every write keeps them. */
  readonly extra?: Readonly<Record<string, unknown>>;
}

/** Everything a store keeps of one group. */
export interface GroupState {
  /** The holders, oldest grant first, which is the order in which they may go on; ids are unique. */
  readonly holders: readonly Holder[];
  /** How many grants the group has seen, {@link MAX_TRANSITIONS} at most. Renewals do not count. */
  readonly transitions: number;
  /**
   * When the state was last written, in milliseconds since the epoch; undefined if that is unknown. It grows strictly
   * from write to write, and no time of a holder is later.
   */
  readonly renewed?: number;
  /** What is noted for the policies. */
  readonly notes?: GroupNotes;
}

/** Where {@link GroupState.transitions} stops to count: the largest value that a Lease can store. */
export const MAX_TRANSITIONS: number = 2 ** 31 - 1;

/** Times from here on are not counted with, since a later one could not be written: a date has four digits of year. */
const END_OF_TIME = Date.UTC(9999, 0);

/** The state of a group that does not exist yet. */
export const FREE: GroupState = Object.freeze({ holders: Object.freeze([]), transitions: 0 });

/** What {@link acquire} decided. */
export type Acquisition =
  /** A slot is free. Once `next` is written, the client is a holder. */
  | { readonly kind: "grant"; readonly next: GroupState }
  /** The client is a holder already. A successful write of `next` proves it. */
  | { readonly kind: "renew"; readonly next: GroupState }
  /**
   * Others hold every slot, or come before this client, which is a holder beyond the slots. There is nothing to write.
   */
  | { readonly kind: "full" };

/** What {@link release} decided. */
export type Release =
  /** The client is a holder. Once `next` is written, its slot is free. */
  | { readonly kind: "free"; readonly next: GroupState }
  /** The client holds nothing. There is nothing to write. */
  | { readonly kind: "not_held" };

/**
 * Finds a client among the holders.
 *
 * @returns The holder, or undefined if the client holds no slot.
 */
export function holderOf(state: GroupState, id: ClientId): Holder | undefined {
  return state.holders.find((holder) => holder.id === id);
}

/**
 * Decides whether a holder may go on towards its reboot. There are more holders
 * than slots where the slots have become fewer, or where somebody wrote a holder
 * to the store by hand. Then those go on that are drained, since they may have had
 * their yes, and as many of the others, in the order of holders, as there are slots left.
 *
 * The slots that count for a holder are those by which it got its own, or those of
 * now where they are more. A grant comes last in the order and leaves no more
 * holders than the slots that it notes, so that its place stays below that number
 * for as long as it holds: fewer slots revoke nobody. A holder that was written by hand
 * notes none, and waits for its place among the slots of now.
 *
 * @param slots How many holders the group may have now, a positive integer.
 */
export function mayGoOn(state: GroupState, id: ClientId, slots: number): boolean {
  const place = state.holders.findIndex((holder) => holder.id === id);
  if (place < 0) return false;
  const holder = state.holders[place]!;
  const goesFirst = ({ node, hadYes }: Holder) => node?.phase === "drained" || hadYes === true;
  if (goesFirst(holder)) return true;
  const before = state.holders.filter((other, at) => at < place || goesFirst(other)).length;
  return before < Math.max(slots, holder.slots ?? 0);
}

/**
 * Whether a pre-reboot request for a hold may have been answered with a yes. The write
 * that notes a node as drained comes before its yes; a hold that notes no node
 * needs no further write. Such a host may reboot at any moment.
 */
export function mayHaveHadYes({ node, hadYes, isNodeUnreadable }: Holder): boolean {
  return node === undefined || node.phase === "drained" || hadYes === true || isNodeUnreadable === true;
}

/** Whether two records of a client are of the same grant and the same node. */
export function isSameHoldAndNode(one: Holder | undefined, other: Holder): boolean {
  return one?.since === other.since && one.node?.uid === other.node?.uid;
}

/**
 * Whether two records of a client are of the same grant and the same node, with its drain at the same phase, and no
 * pre-reboot request has written in between. Such a request may have ended in a yes.
 */
export function isSameStage(one: Holder, other: Holder): boolean {
  return isSameHoldAndNode(one, other) && one.renewed === other.renewed && one.node?.phase === other.node?.phase;
}

/**
 * Decides whether a client gets a slot.
 *
 * A holder stays a holder when `slots` shrinks, since its host may be rebooting.
 * The slots that were taken away are not granted again, and a holder renews only
 * while it {@link mayGoOn}.
 *
 * @param slots How many holders the group may have, a positive integer, or 0. A grant notes it.
 * @param now Milliseconds since the epoch. A grant notes it as its time, or a later one where it would not be later
 * than every earlier time of the group.
 * @param node The client's node, noted with a grant. A renewal keeps what the grant noted.
 */
export function acquire(state: GroupState, id: ClientId, slots: number, now: number, node?: HeldNode): Acquisition {
  if (holderOf(state, id) !== undefined) {
    if (!mayGoOn(state, id, slots)) return { kind: "full" };
    return { kind: "renew", next: withHolder(state, id, now, (holder) => holder) };
  }
  if (state.holders.length >= slots) return { kind: "full" };
  const since = timeOfWrite(state, now);
  return {
    kind: "grant",
    next: {
      ...state,
      holders: [...state.holders, { id, since, ...(node !== undefined && { node }), renewed: since, slots }],
      transitions: Math.min(state.transitions + 1, MAX_TRANSITIONS),
      renewed: since,
    },
  };
}

/**
 * Decides how a client gives its slot back. A client that holds nothing gets
 * `not_held`; that is not an error, since the protocol is unlock-if-held.
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
      renewed: timeOfWrite(state, now),
    },
  };
}

/**
 * Notes with a hold which node it is about and how far the drain is. What the
 * record said about a node before, readable or not, is replaced; only the machine
 * id of the same Node stays where none is given.
 *
 * @param hold The client and the time of its grant. A later grant to the same client is another hold.
 * @param now Milliseconds since the epoch.
 * @param isUnused Whether it is known that no request for the hold was answered with a yes. @default {false}
 * @returns The state whose write proves the hold; undefined if the hold has ended.
 */
export function amend(
  state: GroupState,
  hold: Pick<Holder, "id" | "since">,
  now: number,
  node: HeldNode,
  isUnused = false,
): GroupState | undefined {
  if (holderOf(state, hold.id)?.since !== hold.since) return undefined;
  return withHolder(state, hold.id, now, (holder) => withNode(holder, node, isUnused));
}

/**
 * Notes with a hold that a request for it is answered with a yes, although its node was not drained.
 *
 * @param hold The client and the time of its grant.
 * @param now Milliseconds since the epoch.
 * @returns The state whose write proves the hold; undefined if the hold has ended.
 */
export function withYes(state: GroupState, hold: Pick<Holder, "id" | "since">, now: number): GroupState | undefined {
  if (holderOf(state, hold.id)?.since !== hold.since) return undefined;
  return withHolder(state, hold.id, now, (holder) => ({ ...holder, hadYes: true }));
}

/** Changes one holder for a request of its client, and notes the time. */
function withHolder(state: GroupState, id: ClientId, now: number, change: (holder: Holder) => Holder): GroupState {
  const renewed = timeOfWrite(state, now);
  const holders = state.holders.map((holder) => holder.id === id ? { ...change(holder), renewed } : holder);
  return { ...state, holders, renewed };
}

function withNode(whole: Holder, node: HeldNode, isUnused: boolean): Holder {
  const { isNodeUnreadable: _, ...holder } = whole;
  const before = holder.node?.uid === node.uid ? holder.node.machineId : undefined;
  const machineId = node.machineId ?? before;
  // Of the same Node, the phase says whether there was a yes.
  const hadYes = !isUnused && mayHaveHadYes(whole) && holder.node?.uid !== node.uid;
  return {
    ...holder,
    node: machineId === undefined ? node : { ...node, machineId },
    ...(hadYes && { hadYes }),
  };
}

/** The time to note with a write: later than every earlier one, whatever the clock shows. */
function timeOfWrite(state: GroupState, now: number): number {
  return Math.max(Math.floor(now), (latest(state) ?? -1) + 1);
}

/** The latest time in a group's record, in whole milliseconds; undefined where it has none that can be counted with. */
function latest({ holders, renewed }: GroupState): number | undefined {
  const times = [renewed, ...holders.flatMap((holder) => [holder.since, holder.renewed])].filter((time) =>
    time !== undefined && time >= 0 && time < END_OF_TIME
  ) as number[];
  return times.length === 0 ? undefined : Math.ceil(Math.max(...times));
}
