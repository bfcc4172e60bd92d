/**
 * Holds nodes back from reboots, with an annotation that every replica obeys. It
 * asks nobody.
 *
 * @module
 */

import { callOptions, MERGE_PATCH, valueOfStatus } from "../kubernetes/calls.ts";
import { askReplicas } from "./accounts.ts";
import { DEFAULT_PORT, DEFAULT_SELECTOR, type LookOptions } from "./look.ts";
import { sendEvents } from "./operator.ts";
import type { ClusterPlace } from "./place.ts";

/** The annotation of a node that must not reboot. Its value is the reason. */
export const HOLD_ANNOTATION = "fleetlock.internal/hold";

/** The annotation with the rules that a node may pass once, or `all`. */
export const SKIP_ANNOTATION = "fleetlock.internal/skip";

/** What {@link setNodeHold} came to. */
export type NodeHoldOutcome =
  | {
    readonly kind: "changed" | "unchanged";
    /** The reason that was there before. */
    readonly before?: string;
    /** Why it could not be told in an Event. */
    readonly problem?: string;
  }
  /** There is no such node. */
  | { readonly kind: "no_node" };

/** The name under which the API server notes who has set the annotation. */
const FIELD_MANAGER = "fleetlock-command";

/**
 * Finds the replicas that follow no Nodes, because draining is off. They grant slots whatever a Node's annotation says.
 *
 * @returns Their names. Those that do not answer are not among them.
 */
export async function replicasWithoutNodes(
  { client, isInPod }: Pick<ClusterPlace, "client" | "isInPod">,
  { selector = DEFAULT_SELECTOR, port = DEFAULT_PORT, signal }: LookOptions,
): Promise<string[]> {
  try {
    const answers = await askReplicas(client, { selector, port, isInPod, signal });
    return answers.filter(({ account }) => account !== undefined && account.areNodesInStep === undefined)
      .map(({ replica }) => replica);
  } catch {
    // The order counts, whether or not anybody may list the replicas.
    signal?.throwIfAborted();
    return [];
  }
}

/**
 * Holds a node back, or lifts that (get and patch nodes; create events).
 *
 * @param reason Why; null lifts it.
 * @param by Who does it.
 */
export async function setNodeHold(
  { client }: Pick<ClusterPlace, "client">,
  name: string,
  reason: string | null,
  by: string,
  signal?: AbortSignal,
): Promise<NodeHoldOutcome> {
  const wording = { subject: "the change of the node" };
  const reading = client.apis.core.readNode({ name }, callOptions(signal));
  const node = await valueOfStatus(reading, { 404: undefined }, wording);
  if (node === undefined) return { kind: "no_node" };
  const before = node.metadata?.annotations?.[HOLD_ANNOTATION];
  if ((before ?? null) === reason) return { kind: "unchanged", ...(before !== undefined && { before }) };
  // The UID keeps the order from another node that has taken the name since.
  const body = { metadata: { uid: node.metadata?.uid, annotations: { [HOLD_ANNOTATION]: reason } } };
  const patching = client.apis.core.patchNode(
    { name, body, fieldManager: FIELD_MANAGER },
    callOptions(signal, MERGE_PATCH),
  );
  const patched = await valueOfStatus(patching, { 404: undefined, 409: undefined }, wording);
  if (patched === undefined) return { kind: "no_node" };
  const note = reason === null
    ? `${by} lets the node reboot again`
    : `${by} holds the node back from reboots: ${reason}`;
  const event = {
    subject: { kind: "Node", name },
    reason: reason === null ? "NodeHoldLifted" : "NodeHeld",
    note,
  } as const;
  const problem = await sendEvents(client, [event]);
  return {
    kind: "changed",
    ...(before !== undefined && { before }),
    ...(problem !== undefined && { problem: `the Event could not be written: ${problem}` }),
  };
}
