/**
 * Counts the nodes of a group for the rules: how many slots a share of them is,
 * and which of them are unavailable. Pure.
 *
 * @module
 */

import type { PolicyQuestion } from "../lock/policy.ts";
import { printable } from "../lock/wording.ts";
import { type GroupOptions, MAX_LEASE_SLOTS } from "./options.ts";
import type { Gathered, NodeFacts } from "./snapshot.ts";

/** How many nodes a sentence names. */
const NAMED = 5;

/** How many nodes the group has. A share is taken of them. */
export function countOf(nodes: readonly NodeFacts[]): number {
  return nodes.filter((node) => node.isInGroup).length;
}

/**
 * How many slots a group has before unavailable nodes take some.
 *
 * @returns 1 or more, of a share at most {@link MAX_LEASE_SLOTS}; 1 where a share of nodes is asked for and they are not known.
 */
export function slotsOf({ slots }: Pick<GroupOptions, "slots">, nodes: Gathered<readonly NodeFacts[]>): number {
  if (slots.kind === "number") return slots.value;
  if (nodes.kind !== "known") return 1;
  return Math.min(Math.max(1, Math.floor(countOf(nodes.value) * slots.value / 100)), MAX_LEASE_SLOTS);
}

/** The nodes of the group that are not ready, without those that {@link isLeftOut leaves out}. */
export function unreadyNodes(nodes: readonly NodeFacts[], question: PolicyQuestion): NodeFacts[] {
  return nodes.filter((node) => node.isInGroup && !node.isReady && !isLeftOut(node, question));
}

/** The nodes of the group that are not ready or that others have cordoned, without those that are left out. */
export function unavailableNodes(nodes: readonly NodeFacts[], question: PolicyQuestion): NodeFacts[] {
  // A cordon of ours whose hold is over is about to be lifted.
  const isUnavailable = ({ isReady, isCordoned, cordonedFor }: NodeFacts) => {
    return !isReady || isCordoned && cordonedFor === undefined;
  };
  return nodes.filter((node) => node.isInGroup && isUnavailable(node) && !isLeftOut(node, question));
}

/** Names some nodes in a sentence. */
export function describeNodes(nodes: readonly NodeFacts[]): string {
  const shown = nodes.slice(0, NAMED).map(({ name, isReady }) => {
    return `${printable(name, 253)} (${isReady ? "cordoned" : "not ready"})`;
  });
  const more = nodes.length > NAMED ? [`${nodes.length - NAMED} more`] : [];
  return [...shown, ...more].join(", ");
}

/**
 * Whether a node does not count: the one that asks, since a sick node must get the update that heals it; and those of
 * holders, of any group as far as it is known, who have their slots already. A cordon of ours alone says nothing: its hold
 * may have been ended by hand while the node was away.
 */
function isLeftOut({ uid, name, isAsking, cordonedFor = [] }: NodeFacts, question: PolicyQuestion): boolean {
  const { state, groups } = question;
  if (isAsking || state.holders.some(({ node }) => node?.uid === uid || node?.name === name)) return true;
  return cordonedFor.some(({ group, id, since }) => {
    const { holders = [] } = group === question.group ? state : groups?.get(group)?.state ?? {};
    return holders.some((holder) => holder.id === id && holder.since === since);
  });
}
