/**
 * What the keeper needs to know of a Node. The whole object is a hundred times as big. Pure.
 *
 * @module
 */

import type { V1Node } from "@kubernetes/client-node/dist/gen/models/V1Node.js";
import { CORDON_ANNOTATION, type CordonState } from "./cordon.ts";
import { timeOf } from "../../kubernetes/micro_time.ts";
import { comparableId, zincatiId } from "./zincati_id.ts";

/**
 * The annotation in which an operator gives the id of a host whose agent does not derive it from the machine-id
 * (Zincati's `node_uuid`).
 */
const ID_ANNOTATION = "fleetlock.internal/id";

/** A Node, as the keeper sees it. */
export interface NodeView extends CordonState {
  /** Its name. */
  readonly name: string;
  /** Distinguishes it from an earlier or later Node of the same name. */
  readonly uid: string;
  /** When it was created, in milliseconds since the epoch by the API server's clock, exact to the second. */
  readonly createdAt?: number;
  /** Whether it is being deleted. */
  readonly deleting: boolean;
  /** The version of this state. */
  readonly resourceVersion: string;
  /** The ids of clients that may run on it, as {@link comparableId} normalizes them. */
  readonly ids: readonly string[];
  /** Whether its `status.nodeInfo.machineID` is malformed. A missing one is not. */
  readonly malformed: boolean;
  /** `status.nodeInfo.bootID`; undefined where the kubelet has not reported it. */
  readonly bootId?: string;
  /** The status of its Ready condition: "True", "False" or "Unknown"; undefined where it has no such condition. */
  readonly ready?: string;
  /** Why it is not ready, in the words of the condition. */
  readonly readyMessage?: string;
}

/** Takes from a Node what the keeper needs. */
export function viewNode(node: V1Node): NodeView {
  const metadata = node.metadata ?? {};
  const { machineID, bootID } = node.status?.nodeInfo ?? {};
  const derived = zincatiId(machineID ?? "");
  const named = metadata.annotations?.[ID_ANNOTATION]?.trim();
  const ids = new Set<string>();
  if (derived !== undefined) ids.add(derived);
  if (named) ids.add(comparableId(named));
  const condition = node.status?.conditions?.find((one) => one.type === "Ready");
  return {
    name: metadata.name ?? "",
    uid: metadata.uid ?? "",
    createdAt: timeOf(metadata.creationTimestamp),
    deleting: timeOf(metadata.deletionTimestamp) !== undefined,
    resourceVersion: metadata.resourceVersion ?? "",
    ids: [...ids],
    malformed: Boolean(machineID) && derived === undefined,
    bootId: bootID || undefined,
    unschedulable: node.spec?.unschedulable === true,
    cordon: metadata.annotations?.[CORDON_ANNOTATION],
    ready: condition?.status,
    readyMessage: condition?.message || condition?.reason || undefined,
  };
}

/**
 * Whether a state of a Node is later than another one. The API server's versions order them.
 *
 * @see https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions
 */
export function isNewer(one: NodeView, other: NodeView): boolean {
  return BigInt(one.resourceVersion || 0) > BigInt(other.resourceVersion || 0);
}
