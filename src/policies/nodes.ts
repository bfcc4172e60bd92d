/**
 * Counts the nodes of a group for the rules: how many slots a share of them is,
 * and which of them are unavailable. Pure.
 *
 * @module
 */

import type { Group } from "../lock/identity.ts";
import type { PolicyQuestion } from "../lock/policy.ts";
import type { GroupState } from "../lock/semaphore.ts";
import { printable } from "../lock/wording.ts";
import { type GroupOptions, MAX_LEASE_SLOTS } from "./options.ts";
import type { Gathered, NodeFacts } from "./snapshot.ts";

/** How many nodes a sentence names. */
const NAMED = 5;

/** Some nodes that are counted, and a few of them to name. */
export interface NodeCount {
  /** How many there are. */
  readonly count: number;
  /** The first of them, {@link NAMED} at most. */
  readonly shown: readonly NodeFacts[];
}

/**
 * The nodes of a group at one moment. It looks at each of them once for a state of the group, however many clients ask
 * while neither changes.
 */
export class GroupNodes {
  /** How many nodes the group has. A share is taken of them. */
  readonly count: number;
  readonly #suspects: readonly NodeFacts[];
  /** What counts, by the state of a group. Several groups may have the same nodes. */
  readonly #counted = new WeakMap<GroupState, { readonly unready: Counted; readonly unavailable: Counted }>();

  /**
   * Takes the nodes of a group.
   *
   * @param count How many there are.
   * @param suspects Those of them that are not ready or that are cordoned.
   */
  constructor(count: number, suspects: readonly NodeFacts[]) {
    this.count = count;
    this.#suspects = suspects;
  }

  /**
   * The nodes that are not ready, without those of holders, of any group as far as it is known, who have their slots
   * already. A cordon of ours alone says nothing: its hold may have been ended by hand while the node was away.
   *
   * @param asking Where the client may run. Those do not count, since a sick node must get the update that heals it.
   */
  unready(question: PolicyQuestion, asking: readonly NodeFacts[]): NodeCount {
    return this.#count(question).unready.without(asking, question);
  }

  /**
   * The nodes that are not ready or that others have cordoned, without those of holders. A cordon of ours whose hold is
   * over is about to be lifted.
   *
   * @param asking See {@link unready}.
   */
  unavailable(question: PolicyQuestion, asking: readonly NodeFacts[]): NodeCount {
    return this.#count(question).unavailable.without(asking, question);
  }

  #count({ state }: PolicyQuestion) {
    let counted = this.#counted.get(state);
    if (counted === undefined) {
      const held = new Set(state.holders.flatMap(({ node }) => node === undefined ? [] : [node.uid, node.name]));
      const left = this.#suspects.filter(({ uid, name }) => !held.has(uid) && !held.has(name));
      const unavailable = left.filter(({ cordonedFor }) => cordonedFor === undefined);
      const unready = unavailable.filter(({ isReady }) => !isReady);
      const ours = left.filter(({ isReady, cordonedFor }) => !isReady && cordonedFor !== undefined);
      counted = { unready: new Counted(unready, ours), unavailable: new Counted(unavailable, ours) };
      this.#counted.set(state, counted);
    }
    return counted;
  }
}

/** Nodes of which some can be taken away without looking at all of them. */
class Counted {
  readonly #nodes: readonly NodeFacts[];
  readonly #uids: ReadonlySet<string>;
  readonly #ours: readonly NodeFacts[];

  /**
   * Takes the nodes.
   *
   * @param ours More of them, which we have cordoned. They are looked at with each question, since holds of other
   * groups end without a change of the one that is asked for. There are about as many as all groups have slots.
   */
  constructor(nodes: readonly NodeFacts[], ours: readonly NodeFacts[]) {
    this.#nodes = nodes;
    this.#uids = new Set(nodes.map(({ uid }) => uid));
    this.#ours = ours;
  }

  without(asking: readonly NodeFacts[], { group, state, groups }: PolicyQuestion): NodeCount {
    const isAsking = (node: NodeFacts) => asking.some(({ uid }) => uid === node.uid);
    const stateOf = (other: Group) => other === group ? state : groups?.get(other)?.state;
    const more = this.#ours.filter((node) => !isAsking(node) && !isHeld(node, stateOf));
    const gone = asking.map(({ uid }) => uid).filter((uid) => this.#uids.has(uid));
    const here = this.#nodes.slice(0, NAMED + gone.length).filter(({ uid }) => !gone.includes(uid));
    return { count: this.#nodes.length - gone.length + more.length, shown: [...here, ...more].slice(0, NAMED) };
  }
}

/** Whether a node is cordoned for a hold that exists. */
function isHeld({ cordonedFor = [] }: NodeFacts, stateOf: (group: Group) => GroupState | undefined): boolean {
  return cordonedFor.some(({ group, id, since }) => {
    return stateOf(group)?.holders.some((holder) => holder.id === id && holder.since === since);
  });
}

/**
 * How many slots a group has before unavailable nodes take some.
 *
 * @returns 1 or more, of a share at most {@link MAX_LEASE_SLOTS}; 1 where a share of nodes is asked for and they are
 * not known.
 */
export function slotsOf({ slots }: Pick<GroupOptions, "slots">, nodes: Gathered<GroupNodes>): number {
  if (slots.kind === "number") return slots.value;
  if (nodes.kind !== "known") return 1;
  return Math.min(Math.max(1, Math.floor(nodes.value.count * slots.value / 100)), MAX_LEASE_SLOTS);
}

/** Names some nodes in a sentence. */
export function describeNodes({ count, shown }: NodeCount): string {
  const names = shown.map(({ name, isReady }) => `${printable(name, 253)} (${isReady ? "cordoned" : "not ready"})`);
  const more = count > shown.length ? [`${count - shown.length} more`] : [];
  return [...names, ...more].join(", ");
}
