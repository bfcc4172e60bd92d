/**
 * Counts the nodes of a group for the rules: how many slots a share of them is,
 * and which of them are unavailable. Pure.
 *
 * @module
 */

import type { GroupState } from "../lock/semaphore.ts";
import { printable } from "../lock/wording.ts";
import type { GroupOptions } from "./options.ts";
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
   * The nodes that are not ready, without those that {@link isLeftOut leaves out}.
   *
   * @param asking Where the client may run. Those do not count, since a sick node must get the update that heals it.
   */
  unready(state: GroupState, asking: readonly NodeFacts[]): NodeCount {
    return this.#count(state).unready.without(asking);
  }

  /**
   * The nodes that are not ready or that others have cordoned, without those that are left out.
   *
   * @param asking See {@link unready}.
   */
  unavailable(state: GroupState, asking: readonly NodeFacts[]): NodeCount {
    return this.#count(state).unavailable.without(asking);
  }

  #count(state: GroupState) {
    let counted = this.#counted.get(state);
    if (counted === undefined) {
      const held = new Set(state.holders.flatMap(({ node }) => node === undefined ? [] : [node.uid, node.name]));
      const unavailable = this.#suspects.filter((node) => !isLeftOut(node, held));
      const unready = unavailable.filter(({ isReady }) => !isReady);
      this.#counted.set(state, counted = { unready: new Counted(unready), unavailable: new Counted(unavailable) });
    }
    return counted;
  }
}

/** Nodes of which some can be taken away without looking at all of them. */
class Counted {
  readonly #nodes: readonly NodeFacts[];
  readonly #uids: ReadonlySet<string>;

  constructor(nodes: readonly NodeFacts[]) {
    this.#nodes = nodes;
    this.#uids = new Set(nodes.map(({ uid }) => uid));
  }

  without(asking: readonly NodeFacts[]): NodeCount {
    const gone = asking.map(({ uid }) => uid).filter((uid) => this.#uids.has(uid));
    const shown = this.#nodes.slice(0, NAMED + gone.length).filter(({ uid }) => !gone.includes(uid)).slice(0, NAMED);
    return { count: this.#nodes.length - gone.length, shown };
  }
}

/**
 * How many slots a group has before unavailable nodes take some.
 *
 * @returns 1 or more; 1 where a share of nodes is asked for and they are not known.
 */
export function slotsOf({ slots }: Pick<GroupOptions, "slots">, nodes: Gathered<GroupNodes>): number {
  if (slots.kind === "number") return slots.value;
  return nodes.kind === "known" ? Math.max(1, Math.floor(nodes.value.count * slots.value / 100)) : 1;
}

/** Names some nodes in a sentence. */
export function describeNodes({ count, shown }: NodeCount): string {
  const names = shown.map(({ name, isReady }) => `${printable(name, 253)} (${isReady ? "cordoned" : "not ready"})`);
  const more = count > shown.length ? [`${count - shown.length} more`] : [];
  return [...names, ...more].join(", ");
}

/** Whether a node does not count: those of holders, who have their slots already, and those with our cordon. */
function isLeftOut({ uid, name, isCordonOurs }: NodeFacts, held: ReadonlySet<string>): boolean {
  return isCordonOurs || held.has(uid) || held.has(name);
}
