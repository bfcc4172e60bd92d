/**
 * Finds out, for one request, whether the host of a hold is ready to reboot: whether the very Node that the hold notes
 * is empty, and whether the client runs on another one by now. All readings begin after the call. What "empty" means is
 * decided in `lock/yes.ts`, and which Node counts in `nodes/node_choice.ts`.
 *
 * @module
 */

import { type ClientId, comparableId } from "../lock/identity.ts";
import type { DrainOutcome, Hold, PodLeft } from "../lock/node_keeper.ts";
import type { Clock } from "../lock/clock.ts";
import type { HeldNode } from "../lock/semaphore.ts";
import {
  FRESH_MS,
  judgeNode,
  type NodeEvidence,
  type NodeVerdict,
  SECOND_SEARCH_MS,
  type SeenPod,
  type StayingPod,
} from "../lock/yes.ts";
import { collectEvidence, type ProofOptions } from "./drain/proof.ts";
import { identityOf, type NodeView, seenIdentityOf } from "./nodes/node.ts";
import type { FoundNodes } from "./nodes/fresh_nodes.ts";
import type { NodeCalls } from "./nodes/node_calls.ts";
import { chooseBeside, chooseNode, type NodeChoice, type Successor, successorOf } from "./nodes/node_choice.ts";
import type { NodeWatch } from "./nodes/node_watch.ts";

/** What was found about a hold. */
export type HoldVerdict =
  | Extract<DrainOutcome, { kind: "moved" | "ambiguous" | "unreadable" }>
  /** The host is ready to reboot. `staying` names the pods that are left and that a person should know of. */
  | Extract<DrainOutcome, { kind: "drained" }> & { readonly staying: readonly StayingPod[] }
  /** The node that the hold notes is not empty, or may not stay so. */
  | { readonly kind: "not_empty"; readonly pods: PodLeft[]; readonly reason?: string };

/** What the functions below work with. */
export interface HoldProofOptions {
  /** Finds the Nodes of a client. */
  readonly nodes: Pick<NodeWatch, "byId" | "search" | "isSynced" | "peekById" | "isGhost">;
  /** Reads the noted Node. */
  readonly calls: Pick<NodeCalls, "getNode">;
  /** Collects the evidence. */
  readonly proof: ProofOptions;
  /** Tells how old the evidence is. */
  readonly clock: Pick<Clock, "monotonic">;
}

/**
 * Finds the Node of a hold that notes none, or none that can be understood.
 *
 * @throws {UnavailableError} The Nodes could not be read.
 */
export async function findNode(
  hold: Hold,
  { nodes }: Pick<HoldProofOptions, "nodes">,
): Promise<HoldVerdict> {
  const { nodes: found, readAt } = await nodes.byId(hold.id);
  const choice = chooseNode(found, (node) => nodes.isGhost(node));
  if (choice.kind !== "none") return elsewhere(choice);
  if (hold.isNodeUnreadable) return { kind: "unreadable" };
  return { kind: "drained", host: { kind: "no_node" }, readAt, confirmedAt: readAt, staying: [] };
}

/**
 * How long the search for the client's Nodes and the list of the pods may take, in milliseconds, until the Node is read
 * again after them: somebody may have uncordoned it meanwhile.
 */
const SLOW_MS = 250;

/**
 * Proves a hold on the Node that it notes. The pods are listed last of all, since they may come at any moment, except
 * that the Node is read once more where that took long.
 *
 * @throws {UnavailableError} The Node, its pods or the Nodes of the client could not be read.
 */
export async function proveHold(
  hold: Hold,
  noted: HeldNode,
  options: HoldProofOptions,
  signal: AbortSignal,
): Promise<HoldVerdict> {
  const { nodes, calls, proof, clock } = options;
  const readAt = clock.monotonic();
  let confirmedAt = readAt;
  const read = await calls.getNode(noted.name, signal);
  const successor = successorOf(hold.id, noted, read);
  // All pods of the name are drained there, old and new.
  if (read !== undefined && successor === "same_host") return { kind: "moved", node: seenIdentityOf(read) };
  const node = read?.uid === noted.uid ? read : undefined;
  let found = await searchFor(hold, noted, node, nodes);
  if (clock.monotonic() - found.readAt > FRESH_MS) found = await searchFor(hold, noted, node, nodes);
  let evidence = await collectEvidence(noted, read, hold.since, proof, signal);
  if (clock.monotonic() - readAt > SLOW_MS) {
    confirmedAt = clock.monotonic();
    const last = await calls.getNode(noted.name, signal);
    if (!isSameBoot(last, read)) return { kind: "not_empty", pods: [] };
    evidence = { ...evidence, ...(last && { node: last }) };
  }
  const verdict = judgeNode(evidence);
  if (verdict.kind !== "empty") return notEmpty(verdict, evidence, successor);
  if (clock.monotonic() - found.readAt > SECOND_SEARCH_MS) return { kind: "not_empty", pods: [] };
  const isKnown = ({ uid }: NodeView) => uid === noted.uid || found.nodes.some((one) => one.uid === uid);
  // What the watch shows proves nothing, but a Node that it shows may have joined after the search.
  if (nodes.isSynced && !nodes.peekById(hold.id).every(isKnown)) {
    return { kind: "not_empty", pods: [], reason: JOINED_REASON };
  }
  const choice = chooseFor(node, hold.id, found.nodes, nodes);
  switch (choice.kind) {
    case "ambiguous":
      return choice;
    case "none":
      if (successor === "unknown") return { kind: "not_empty", pods: [], reason: UNKNOWN_REASON };
      break;
    case "node":
      if (choice.node.uid !== noted.uid) return elsewhere(choice);
      break;
  }
  const { staying } = verdict;
  const host = { kind: "node", evidence } as const;
  return { kind: "drained", host, readAt, confirmedAt, node: node ? seenIdentityOf(node) : identityOf(noted), staying };
}

/** Whether two readings of a name show the same Node, of the same host, which has not rebooted between them. */
function isSameBoot(one: NodeView | undefined, other: NodeView | undefined): boolean {
  return one?.uid === other?.uid && one?.bootId === other?.bootId && one?.ids.join() === other?.ids.join();
}

/**
 * Finds the Nodes with the client's id, except the noted one.
 *
 * @param node The noted Node as just read; undefined where it is gone.
 */
async function searchFor(
  hold: Hold,
  noted: HeldNode,
  node: NodeView | undefined,
  nodes: HoldProofOptions["nodes"],
): Promise<FoundNodes> {
  if (node === undefined) return await nodes.byId(hold.id, noted.uid);
  // The host may have joined again as another Node, which is not cordoned, while the noted one still looks ready. What
  // the watch has seen may be behind that.
  const found = await nodes.search(hold.id);
  return { ...found, nodes: found.nodes.filter(({ uid }) => uid !== node.uid) };
}

/**
 * Decides where the client runs.
 *
 * @param node The noted Node as just read; undefined where it is gone.
 * @param others The other Nodes that have its id.
 */
function chooseFor(
  node: NodeView | undefined,
  id: ClientId,
  others: readonly NodeView[],
  nodes: HoldProofOptions["nodes"],
): NodeChoice {
  const isGhost = (one: NodeView) => nodes.isGhost(one);
  if (node === undefined) return chooseNode(others, isGhost);
  return chooseBeside(node, node.ids.includes(comparableId(id)), others, isGhost);
}

function elsewhere(choice: Exclude<NodeChoice, { kind: "none" }>): HoldVerdict {
  return choice.kind === "ambiguous" ? choice : { kind: "moved", node: seenIdentityOf(choice.node) };
}

/** What a drain waits for, if not for pods. */
const REASONS: Readonly<Record<Exclude<NodeVerdict["kind"], "empty">, string | undefined>> = {
  pods_left: undefined,
  uncordoned: "its Node is not cordoned",
  node_ending: "its Node is being deleted",
};

/** What a drain waits for where the search for the client's Nodes is to be made again. */
const JOINED_REASON = "its host has just joined as another Node";

/** Why a Node of the noted name is no proof: see {@link successorOf}. */
const UNKNOWN_REASON = "its Node was replaced, and whose the new one is is unknown";

function notEmpty(
  verdict: Exclude<NodeVerdict, { kind: "empty" }>,
  evidence: NodeEvidence,
  successor: Successor | undefined,
): HoldVerdict {
  const pods = verdict.kind === "pods_left" ? verdict.pods.map((pod) => podLeft(pod, evidence)) : [];
  return { kind: "not_empty", pods, reason: successor === "unknown" ? UNKNOWN_REASON : REASONS[verdict.kind] };
}

function podLeft({ namespace, name, graceEndsAt }: SeenPod, { noted, node }: NodeEvidence): PodLeft {
  const isGone = node?.uid !== noted.uid;
  const reason = graceEndsAt !== undefined
    ? "it is terminating"
    : isGone
    ? "its node no longer exists, but the pod does"
    : "it is still running";
  return { namespace, name, reason };
}
