/**
 * The pure decision which of several Nodes a client runs on. It makes no calls and keeps no state.
 *
 * @module
 */

import { type ClientId, comparableId } from "../../lock/identity.ts";
import type { HeldNode } from "../../lock/semaphore.ts";
import type { NodeView } from "./node.ts";

/** The Node that a client runs on, as far as the Nodes with its id tell. */
export type NodeChoice =
  | { readonly kind: "none" }
  | { readonly kind: "node"; readonly node: NodeView }
  /** Any of several Nodes. Their names are sorted. */
  | { readonly kind: "ambiguous"; readonly nodes: readonly string[] };

/**
 * Chooses among the Nodes that have a client's id. Those that have been not ready for long (ghosts) do not count beside
 * one that is ready: a host that has joined again under another name leaves such a Node behind.
 */
export function chooseNode(nodes: readonly NodeView[], isGhost: (node: NodeView) => boolean): NodeChoice {
  const [first, ...others] = nodes;
  if (first === undefined) return { kind: "none" };
  if (others.length === 0) return { kind: "node", node: first };
  const [live, ...more] = nodes.filter((node) => !isGhost(node));
  if (live?.ready === "True" && more.length === 0) return { kind: "node", node: live };
  return { kind: "ambiguous", nodes: namesOf(nodes) };
}

/**
 * Decides whether a client runs on the Node that its hold notes, which exists and was found empty.
 *
 * @param noted The noted Node, as just read.
 * @param hasId Whether it has the client's id.
 * @param others The other Nodes that have the id.
 * @returns The noted Node; another one, which must be drained too; or several, of which nobody can tell.
 */
export function chooseBeside(
  noted: NodeView,
  hasId: boolean,
  others: readonly NodeView[],
  isGhost: (node: NodeView) => boolean,
): Exclude<NodeChoice, { kind: "none" }> {
  const live = others.filter((node) => !isGhost(node));
  const [other, ...more] = live;
  // Where the noted Node is not ready either, its host may be the one behind any of them.
  if (other === undefined && others.length > 0 && noted.ready !== "True") {
    return { kind: "ambiguous", nodes: namesOf([noted, ...others]) };
  }
  if (other === undefined) return { kind: "node", node: noted };
  const isElsewhere = !hasId || isGhost(noted);
  if (isElsewhere && more.length === 0) return { kind: "node", node: other };
  return { kind: "ambiguous", nodes: namesOf(isElsewhere ? live : [noted, ...live]) };
}

/** Whose a Node is that has the name of a Node that is gone. */
export type Successor =
  /** The same host's, which has registered again. */
  | "same_host"
  /** Another machine's. */
  | "other_machine"
  /** Nobody can tell. */
  | "unknown";

/**
 * Decides whose a Node is that has the name of the one that a hold notes.
 *
 * @param id The client that holds.
 * @param noted The Node as noted with the hold.
 * @param node The Node of that name, as just read.
 * @returns Undefined where there is none, or it is the noted one.
 */
export function successorOf(
  id: ClientId,
  noted: Pick<HeldNode, "uid" | "machineId">,
  node: NodeView | undefined,
): Successor | undefined {
  if (node === undefined || node.uid === noted.uid) return undefined;
  if (node.ids.includes(comparableId(id))) return "same_host";
  if (node.machineId === undefined || noted.machineId === undefined) return "unknown";
  return comparableId(node.machineId) === comparableId(noted.machineId) ? "same_host" : "other_machine";
}

function namesOf(nodes: readonly NodeView[]): string[] {
  return nodes.map(({ name }) => name).sort();
}
