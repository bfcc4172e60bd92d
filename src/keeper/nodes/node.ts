/**
 * What the keeper needs to know of a Node. The whole object is a hundred times as big. Pure.
 *
 * @module
 */

import { comparableId } from "../../lock/identity.ts";
import type { V1ManagedFieldsEntry } from "@kubernetes/client-node/dist/gen/models/V1ManagedFieldsEntry.js";
import type { V1Node } from "@kubernetes/client-node/dist/gen/models/V1Node.js";
import { CORDON_ANNOTATION, type CordonState } from "./cordon.ts";
import type { Labels } from "../../kubernetes/label_selector.ts";
import type { ObjectVersion } from "../../kubernetes/list_pages.ts";
import { timeOf } from "../../kubernetes/micro_time.ts";
import type { NodeIdentity } from "../../lock/node_keeper.ts";
import { zincatiId } from "./zincati_id.ts";

/**
 * The annotation in which an operator gives the id of a host whose agent does not derive it from the machine-id
 * (Zincati's `node_uuid`).
 */
export const ID_ANNOTATION = "fleetlock.internal/id";

/** The annotation by which an operator keeps a Node from rebooting; its value says why. */
const HOLD_ANNOTATION = "fleetlock.internal/hold";

/** The annotation by which an operator lets a Node pass rules once: their names joined by commas, or `all`. */
export const SKIP_ANNOTATION = "fleetlock.internal/skip";

/** The name under which the API server notes which fields of a Node this server has set. */
export const FIELD_MANAGER = "fleetlock";

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
  /** The one of them that is derived from the machine-id; undefined where that is missing or malformed. */
  readonly derivedId?: string;
  /** Whether its `status.nodeInfo.machineID` is malformed. A missing one is not. */
  readonly malformed: boolean;
  /** `status.nodeInfo.machineID` as it is; undefined where the kubelet has not reported it. */
  readonly machineId?: string;
  /** `status.nodeInfo.bootID`; undefined where the kubelet has not reported it. */
  readonly bootId?: string;
  /** The names of its operating system's image and of its kernel; undefined where the kubelet has not reported them. */
  readonly image?: string;
  /** The status of its Ready condition: "True", "False" or "Unknown"; undefined where it has no such condition. */
  readonly ready?: string;
  /** Why it is not ready, in the words of the condition; undefined where it is. */
  readonly readyMessage?: string;
  /** The annotation `fleetlock.internal/hold`, by which an operator keeps it from rebooting: why. */
  readonly hold?: string;
  /** The value of {@link SKIP_ANNOTATION}. */
  readonly skip?: string;
  /** Its labels, where they are kept. */
  readonly labels?: Labels;
}

/**
 * Takes from a Node what the keeper needs.
 *
 * @param known An earlier view of it, which saves the work of deriving its id again, and lends its labels.
 * @param keepsLabels Whether to keep its labels, which take more memory than all the rest.
 */
export function viewNode(node: V1Node, known?: NodeView, keepsLabels = false): NodeView {
  const metadata = node.metadata ?? {};
  const { machineID, bootID, osImage, kernelVersion } = node.status?.nodeInfo ?? {};
  const derived = machineID && known?.machineId === machineID ? known.derivedId : zincatiId(machineID ?? "");
  const named = metadata.annotations?.[ID_ANNOTATION]?.trim();
  // Some agents send the machine-id itself. Whatever it looks like, its host must not count as one without a node.
  const raw = machineID?.trim();
  const ids = new Set<string>();
  if (derived !== undefined) ids.add(derived);
  if (raw) ids.add(comparableId(raw));
  if (named) ids.add(comparableId(named));
  const condition = node.status?.conditions?.find((one) => one.type === "Ready");
  const { [HOLD_ANNOTATION]: hold, [SKIP_ANNOTATION]: skip } = metadata.annotations ?? {};
  return {
    name: metadata.name ?? "",
    uid: metadata.uid ?? "",
    createdAt: timeOf(metadata.creationTimestamp),
    deleting: timeOf(metadata.deletionTimestamp) !== undefined,
    resourceVersion: metadata.resourceVersion ?? "",
    ids: [...ids],
    derivedId: derived,
    malformed: Boolean(machineID) && derived === undefined,
    machineId: machineID || undefined,
    bootId: bootID || undefined,
    ...(osImage && { image: shared(`${osImage}, kernel ${kernelVersion}`.slice(0, MAX_IMAGE)) }),
    unschedulable: node.spec?.unschedulable === true,
    cordon: metadata.annotations?.[CORDON_ANNOTATION],
    isCordonForeign: isSetByOthers(metadata.managedFields),
    ready: condition?.status,
    // Where it is ready, nobody asks why, and thousands of nodes would keep the same words.
    readyMessage: condition?.status === "True" ? undefined : condition?.message || condition?.reason || undefined,
    ...(hold !== undefined && { hold }),
    ...(skip !== undefined && { skip }),
    ...(keepsLabels && { labels: sameLabels(metadata.labels, known?.labels) }),
  };
}

/** How much of an image's name is kept, in characters. */
const MAX_IMAGE = 200;

/** The names of images that were seen lately, of which a fleet has few. */
const images = new Map<string, string>();

/** Returns a text that thousands of nodes have in common as one object. */
function shared(text: string): string {
  const known = images.get(text);
  if (known !== undefined) return known;
  if (images.size >= 64) images.clear();
  images.set(text, text);
  return text;
}

/** Returns the labels that are known already where they are the same, so that a heartbeat does not replace them. */
function sameLabels(labels: NonNullable<Labels> = {}, known: Labels): Labels {
  if (known === undefined || Object.keys(known).length !== Object.keys(labels).length) return labels;
  return Object.entries(labels).every(([key, value]) => known[key] === value) ? known : labels;
}

/** Whether two states of a Node are the same to who counts and judges nodes: a heartbeat makes no difference. */
export function countsAlike(one: NodeView, other: NodeView): boolean {
  return one.uid === other.uid && one.ready === other.ready && one.unschedulable === other.unschedulable &&
    one.cordon === other.cordon && one.hold === other.hold && one.skip === other.skip && one.labels === other.labels;
}

/**
 * Says which Node was seen, for a hold to note. Of one that is not ready, the bootID is left out: its host may run
 * another boot already, which its kubelet has not reported yet.
 */
export function seenIdentityOf(node: NodeView): NodeIdentity {
  return identityOf(node.ready === "True" ? node : { ...node, bootId: undefined });
}

/** Says which Node it is, without what else is known of it. */
export function identityOf({ name, uid, machineId, bootId }: NodeIdentity): NodeIdentity {
  return { name, uid, ...(machineId !== undefined && { machineId }), ...(bootId !== undefined && { bootId }) };
}

/**
 * Whether somebody else set `spec.unschedulable`, alone or beside us, as the API server noted it. Uncordoning ends our
 * ownership of the field, and whoever cordons then owns it, while our annotation stays ours. Who applies the cordon
 * that we have set owns it too, and expects it to stay. An earlier version of this server may have set both under
 * another name.
 *
 * @returns False where the API server noted nobody.
 *
 * @see https://kubernetes.io/docs/reference/using-api/server-side-apply/#field-management
 */
function isSetByOthers(managed: readonly V1ManagedFieldsEntry[] = []): boolean {
  const owners = managed.filter(({ fieldsV1 }) => {
    return (fieldsV1 as ManagedFields | undefined)?.["f:spec"]?.["f:unschedulable"] !== undefined;
  });
  return owners.some(({ manager, fieldsV1 }) => {
    const annotations = (fieldsV1 as ManagedFields)["f:metadata"]?.["f:annotations"];
    return manager !== FIELD_MANAGER && annotations?.[`f:${CORDON_ANNOTATION}`] === undefined;
  });
}

/** The part of an entry of `metadata.managedFields` that is about cordons. */
interface ManagedFields {
  readonly "f:metadata"?: { readonly "f:annotations"?: Readonly<Record<string, unknown>> };
  readonly "f:spec"?: { readonly "f:unschedulable"?: unknown };
}

/**
 * Whether a state of a Node is later than another one. The API server's versions order them.
 *
 * @see https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions
 */
export function isNewer(one: NodeView, other: NodeView): boolean {
  return BigInt(one.resourceVersion || 0) > BigInt(other.resourceVersion || 0);
}

/** Whether a Node is in the state that a list shows. */
export function isSameState(node: NodeView | undefined, listed: ObjectVersion): node is NodeView {
  return node?.uid === listed.uid && node.resourceVersion === listed.resourceVersion;
}

/**
 * Whether the Nodes that were seen are those that there are, apart from changes after a version, which a watch is about
 * to show.
 *
 * @param seen The Nodes as last seen, by name.
 * @param versions All Nodes as they are now.
 * @param version The version up to which the watch has shown everything.
 */
export function isInStep(
  seen: ReadonlyMap<string, NodeView>,
  versions: readonly ObjectVersion[],
  version: bigint,
): boolean {
  let found = 0;
  for (const listed of versions) {
    const node = seen.get(listed.name);
    if (node !== undefined) found++;
    const now = BigInt(listed.resourceVersion);
    const isToBeShown = now > version && BigInt(node?.resourceVersion || 0) <= now;
    if (!isToBeShown && !isSameState(node, listed)) return false;
  }
  // Of one that is missing, nobody knows whether its deletion is about to be shown.
  return found === seen.size;
}
