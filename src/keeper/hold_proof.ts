/**
 * Finds out, for one request, whether the host of a hold is ready to reboot: whether the very Node that the hold notes
 * is empty, and whether the client runs on another one by now. All readings begin after the call. What "empty" means is
 * decided in `lock/yes.ts`, and which Node counts in `nodes/node_choice.ts`.
 *
 * @module
 */

import type { DrainOutcome, Hold, PodLeft } from "../lock/node_keeper.ts";
import type { HeldNode } from "../lock/semaphore.ts";
import { judgeNode, type NodeEvidence, type NodeVerdict, type SeenPod, type StayingPod } from "../lock/yes.ts";
import { collectEvidence, type ProofOptions } from "./drain/proof.ts";
import { identityOf, type NodeView } from "./nodes/node.ts";
import { chooseBeside, chooseNode, type NodeChoice } from "./nodes/node_choice.ts";
import type { NodeWatch } from "./nodes/node_watch.ts";
import { comparableId } from "./nodes/zincati_id.ts";

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
  readonly nodes: Pick<NodeWatch, "byId" | "listById" | "peekById" | "isSynced" | "isGhost">;
  /** Collects the evidence. */
  readonly proof: ProofOptions;
}

/**
 * Finds the Node of a hold that notes none, or none that can be understood.
 *
 * @throws {UnavailableError} The Nodes could not be read.
 */
export async function findNode(hold: Hold, { nodes }: Pick<HoldProofOptions, "nodes">): Promise<HoldVerdict> {
  const choice = chooseNode(await nodes.byId(hold.id), (node) => nodes.isGhost(node));
  if (choice.kind !== "none") return elsewhere(choice);
  if (hold.isNodeUnreadable) return { kind: "unreadable" };
  return { kind: "drained", host: { kind: "no_node" }, staying: [] };
}

/**
 * Proves a hold on the Node that it notes.
 *
 * @throws {UnavailableError} The Node, its pods or the Nodes of the client could not be read.
 */
export async function proveHold(
  hold: Hold,
  noted: HeldNode,
  options: HoldProofOptions,
  signal: AbortSignal,
): Promise<HoldVerdict> {
  const proof = await collectEvidence(noted, hold.since, options.proof, signal);
  // The host has registered again under the same name. All pods of that name are drained there, old and new.
  if (proof.node !== undefined && isRegisteredAgain(hold, noted, proof.node)) {
    return { kind: "moved", node: identityOf(proof.node) };
  }
  const verdict = judgeNode(proof.evidence);
  if (verdict.kind !== "empty") return notEmpty(verdict, proof.evidence);
  const { nodes } = options;
  const isGhost = (node: NodeView) => nodes.isGhost(node);
  const drained = (node: NodeView | undefined): HoldVerdict => ({
    kind: "drained",
    host: { kind: "node", evidence: proof.evidence },
    node: identityOf(node ?? noted),
    staying: verdict.staying,
  });
  const node = proof.node?.uid === noted.uid ? proof.node : undefined;
  if (node === undefined) {
    const choice = chooseNode(await nodes.byId(hold.id, noted.uid), isGhost);
    return choice.kind === "none" ? drained(undefined) : elsewhere(choice);
  }
  const hasId = node.ids.includes(comparableId(hold.id));
  const choice = chooseBeside(node, hasId, await othersOf(hold, node, hasId, nodes), isGhost);
  return choice.kind === "node" && choice.node.uid === noted.uid ? drained(node) : elsewhere(choice);
}

/** Whether a Node is another one than the hold notes, with the same name and the client's id. */
export function isRegisteredAgain({ id }: Hold, noted: HeldNode, node: NodeView): boolean {
  return node.name === noted.name && node.uid !== noted.uid && node.ids.includes(comparableId(id));
}

/**
 * The other Nodes with the client's id. A Node that has the id and is ready is the host's, so that what the watch has
 * seen of others is enough. Otherwise the host may have joined again as another Node, which only a list shows for sure.
 */
async function othersOf(
  { id }: Hold,
  noted: NodeView,
  hasId: boolean,
  nodes: HoldProofOptions["nodes"],
): Promise<NodeView[]> {
  const isSure = nodes.isSynced && hasId && noted.ready === "True";
  const all = isSure ? nodes.peekById(id) : await nodes.listById(id);
  return all.filter(({ uid }) => uid !== noted.uid);
}

function elsewhere(choice: Exclude<NodeChoice, { kind: "none" }>): HoldVerdict {
  return choice.kind === "ambiguous" ? choice : { kind: "moved", node: identityOf(choice.node) };
}

/** What a drain waits for, if not for pods. */
const REASONS: Readonly<Record<Exclude<NodeVerdict["kind"], "empty">, string | undefined>> = {
  pods_left: undefined,
  uncordoned: "its Node is not cordoned",
  node_ending: "its Node is being deleted",
};

function notEmpty(verdict: Exclude<NodeVerdict, { kind: "empty" }>, evidence: NodeEvidence): HoldVerdict {
  const pods = verdict.kind === "pods_left" ? verdict.pods.map((pod) => podLeft(pod, evidence)) : [];
  return { kind: "not_empty", pods, reason: REASONS[verdict.kind] };
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
