/**
 * The rules of a yes, judged from outside, on what the API server stored between
 * a request and its answer. Pure. A yes holds if at one revision of that time
 * everything that it promises was true at once: what others do between the
 * program's last look and its answer cannot be held against it.
 *
 * @module
 */

import { type History, type NodeFact, type PodFact, recordIn } from "./history.ts";

/** A yes as its host received it. */
export interface Yes {
  readonly group: string;
  readonly id: string;
  /** The name of the host's Node. */
  readonly node: string;
  /** The machine-id that the id derives from; undefined if only an annotation names the id. */
  readonly machineId?: string;
  /** The first revision at which its proof may lie. */
  readonly from: number;
  /** A revision that was not yet stored when the answer arrived, or the last one before it. */
  readonly to: number;
  /** When the answer arrived, in milliseconds since the epoch. */
  readonly at: number;
  /**
   * The first revision that counts for what may change at any moment: that the record shows the hold, and that the Node
   * is cordoned. As {@link from} where undefined.
   */
  readonly heldFrom?: number;
  /** The revision of the grant, where a backup brought back a hold that is older than its appearance. */
  readonly restoredGrant?: number;
  /** Whether the drain's time-out has passed and the operator lets the reboot go on: pods that are left may stay. */
  readonly waivesPods?: boolean;
}

/** How long after its grace a pod of a dead kubelet must be waited for, in milliseconds. */
const DEAD_KUBELET_MS = 10_000;

/** How many pods of a controller must have been evicted in a hold before one that it puts back may stay. */
const PUT_BACK_AFTER = 3;

/**
 * Judges a yes. Where {@link Yes.heldFrom} is given, the hold of the moment at which everything was true, and that the
 * Node is cordoned, must be shown from that revision on, too.
 *
 * @returns What was wrong at the last revision of the window; empty if the yes holds.
 */
export function judgeYes(history: History, yes: Yes): string[] {
  let wrong: string[] = [];
  for (const revision of revisionsOf(history, yes)) {
    wrong = wrongAt(history, yes, revision);
    if (wrong.length === 0) return [];
  }
  return wrong;
}

/** The revisions of the window at which something changed that the yes rests on, oldest first. */
function revisionsOf(history: History, { group, node, from, to }: Yes): number[] {
  const revisions = new Set([from]);
  const add = (versions: readonly { revision: number }[]) => {
    for (const { revision } of versions) if (revision > from && revision <= to) revisions.add(revision);
  };
  add(history.leases.versions(group));
  // A Node that comes into being elsewhere may have the id, too.
  for (const name of history.nodes.keys) add(history.nodes.versions(name));
  for (const uid of history.boundTo(node)) add(history.pods.versions(uid));
  return [...revisions].toSorted((a, b) => a - b);
}

function wrongAt(history: History, yes: Yes, revision: number): string[] {
  const appeared = grantOf(history, yes, revision);
  const grant = appeared && Math.min(appeared, yes.restoredGrant ?? appeared);
  if (grant === undefined) return ["the Lease does not name the host as a holder"];
  const held = heldMoments(history, yes, revision);
  if (held.length === 0) return ["the Lease did not show the hold any more when the yes was given"];
  const matches = [...history.nodes.keys].some((name) => isNodeOf(history.nodes.at(name, revision), yes));
  // A hold that never noted a node, of a host that has none now, needs no drain.
  if (!matches && !isNoted(history, yes, grant, revision)) {
    const isWithoutNode = held.some((moment) => !isNoted(history, yes, grant, moment));
    return isWithoutNode ? [] : ["the hold notes a node, which was not drained"];
  }
  const node = history.nodes.at(yes.node, revision);
  const wrong: string[] = [];
  // Nobody can tell that a Node is the host's which is not the noted one and does not show its id.
  const { uid: noted, since } = recordOf(history, yes, revision);
  const isAnothers = node !== undefined && noted !== undefined && node.uid !== noted && !isNodeOf(node, yes);
  const registered = isAnothers ? registrationOf(history, yes.node, node.uid) : Infinity;
  if (node !== undefined && !isAnothers && !node.unschedulable) wrong.push(`the node ${yes.node} is not cordoned`);
  else if (held.every((moment) => wasUncordoned(history, yes, recordOf(history, yes, moment)))) {
    wrong.push(`the node ${yes.node} was not cordoned any more when the yes was given`);
  }
  for (const pod of yes.waivesPods ? [] : history.podsOn(yes.node, revision)) {
    if (boundAt(history, yes.node, pod) >= registered) continue;
    if (!mayStay(history, yes, pod, node, { revision: grant, since })) {
      wrong.push(`the pod ${pod.name} is left on ${yes.node}`);
    }
  }
  return wrong;
}

/** The revision at which the hold began that a host has as of a revision; undefined if it has none. */
function grantOf(history: History, { group, id }: Yes, revision: number): number | undefined {
  let grant: number | undefined;
  for (const version of history.leases.versions(group)) {
    if (version.revision > revision) break;
    if (!version.fact?.holders.includes(id)) grant = undefined;
    else grant ??= version.revision;
  }
  return grant;
}

/**
 * The revisions from {@link Yes.heldFrom} on at which the record shows the very hold that it shows as of a revision.
 */
function heldMoments(history: History, yes: Yes, revision: number): number[] {
  const { heldFrom, to, group } = yes;
  if (heldFrom === undefined) return [revision];
  const grant = grantOf(history, yes, revision);
  const { since } = recordOf(history, yes, revision);
  const later = history.leases.versions(group).map((version) => version.revision);
  return [heldFrom, ...later.filter((each) => each > heldFrom && each <= to)].filter((each) => {
    const other = grantOf(history, yes, each);
    // A backup may bring the hold back.
    const isSame = since !== undefined && recordOf(history, yes, each).since === since;
    return other !== undefined && (other === grant || isSame);
  });
}

/** Whether the host's Node of the noted name was there and not cordoned all the time from {@link Yes.heldFrom} on. */
function wasUncordoned(history: History, yes: Yes, noted: { readonly node?: unknown; readonly uid?: string }): boolean {
  const { node, heldFrom, to } = yes;
  if (heldFrom === undefined || noted.node !== node) return false;
  const versions = history.nodes.versions(node);
  const later = versions.filter(({ revision }) => revision > heldFrom && revision <= to).map(({ fact }) => fact);
  return [history.nodes.at(node, heldFrom), ...later].every((fact) => {
    return fact !== undefined && !fact.unschedulable && (fact.uid === noted.uid || isNodeOf(fact, yes));
  });
}

/** Whether the record of a hold has ever named a node. */
function isNoted(history: History, { group, id }: Yes, grant: number, revision: number): boolean {
  return history.leases.versions(group).some((version) =>
    version.revision >= grant && version.revision <= revision && version.fact?.noted.includes(id)
  );
}

/** What a hold notes: the name and the UID of its Node, and when it was granted, in milliseconds since the epoch. */
export function recordOf(
  history: History,
  { group, id }: Pick<Yes, "group" | "id">,
  revision: number,
): { node?: unknown; uid?: string; since?: number } {
  const { node, uid, since } = recordIn(history.leases.at(group, revision)?.record ?? "", id) ?? {};
  return { node, uid, ...(since !== undefined && { since: Date.parse(since) }) };
}

/** The revision at which a Node was registered. */
function registrationOf(history: History, name: string, uid: string): number {
  return history.nodes.versions(name).find(({ fact }) => fact?.uid === uid)!.revision;
}

/** The revision at which a pod was bound to a node. */
function boundAt(history: History, node: string, { uid }: PodFact): number {
  return history.pods.versions(uid).find(({ fact }) => fact?.node === node)!.revision;
}

function isNodeOf(node: NodeFact | undefined, { id, machineId }: Yes): boolean {
  if (node === undefined) return false;
  return node.namedId === id || (machineId !== undefined && node.machineId === machineId);
}

/** Whether a yes may leave a pod on its node. */
function mayStay(
  history: History,
  yes: Yes,
  pod: PodFact,
  node: NodeFact | undefined,
  grant: { readonly revision: number; readonly since?: number },
): boolean {
  if (pod.isMirror || pod.controller?.kind === "DaemonSet") return true;
  if (pod.isFinished && pod.deletionAt === undefined) return true;
  const { revision: created, at } = history.pods.versions(pod.uid)[0]!;
  // The grant is noted with the time at which its write began, which may take effect later.
  const isLate = created > grant.revision || (grant.since !== undefined && at > grant.since);
  if (pod.toleratesCordon && isLate) return true;
  if (endedBefore(history, yes, pod, grant.revision, created) >= PUT_BACK_AFTER) return true;
  return node?.ready === "Unknown" && pod.deletionAt !== undefined && yes.at >= pod.deletionAt + DEAD_KUBELET_MS;
}

/** How many pods of a pod's controller began to end on the node between the grant and the pod's creation. */
function endedBefore(history: History, yes: Yes, pod: PodFact, grant: number, created: number): number {
  if (pod.controller === undefined) return 0;
  return [...history.boundTo(yes.node)].filter((uid) => {
    const versions = history.pods.versions(uid);
    if (versions[0]?.fact?.controller?.uid !== pod.controller!.uid) return false;
    const ended = versions.find((version) => version.fact === undefined || version.fact.deletionAt !== undefined);
    return ended !== undefined && ended.revision > grant && ended.revision <= created;
  }).length;
}
