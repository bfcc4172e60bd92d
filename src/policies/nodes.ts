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

/** How many nodes the group has. A share is taken of them. */
export function countOf(nodes: readonly NodeFacts[]): number {
  return nodes.filter((node) => node.isInGroup).length;
}

/**
 * How many slots a group has before unavailable nodes take some.
 *
 * @returns 1 or more; 1 where a share of nodes is asked for and they are not known.
 */
export function slotsOf({ slots }: Pick<GroupOptions, "slots">, nodes: Gathered<readonly NodeFacts[]>): number {
  if (slots.kind === "number") return slots.value;
  return nodes.kind === "known" ? Math.max(1, Math.floor(countOf(nodes.value) * slots.value / 100)) : 1;
}

/** The nodes of the group that are not ready, without those that {@link isLeftOut leaves out}. */
export function unreadyNodes(nodes: readonly NodeFacts[], state: GroupState): NodeFacts[] {
  return nodes.filter((node) => node.isInGroup && !node.isReady && !isLeftOut(node, state));
}

/** The nodes of the group that are not ready or that others have cordoned, without those that are left out. */
export function unavailableNodes(nodes: readonly NodeFacts[], state: GroupState): NodeFacts[] {
  return nodes.filter((node) => node.isInGroup && (!node.isReady || node.isCordoned) && !isLeftOut(node, state));
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
 * Whether a node does not count: the one that asks, since a sick node must get the update that heals it; those of
 * holders, who have their slots already; and those with our cordon.
 */
function isLeftOut({ uid, name, isAsking, isCordonOurs }: NodeFacts, { holders }: GroupState): boolean {
  return isAsking || isCordonOurs || holders.some(({ node }) => node?.uid === uid || node?.name === name);
}
