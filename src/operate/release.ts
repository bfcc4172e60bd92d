/**
 * Frees a slot for an operator: finds the hold, says what freeing it means, and
 * writes on the condition that the hold is still the one that was shown. Then it
 * lifts our cordon, by the rules of the keeper. It asks nobody.
 *
 * @module
 */

import { type CordonOwner, cordonOwners } from "../keeper/nodes/cordon.ts";
import { NodeCalls } from "../keeper/nodes/node_calls.ts";
import { NodeCordon } from "../keeper/nodes/node_cordon.ts";
import { NodeWatch } from "../keeper/nodes/node_watch.ts";
import { isSameClient } from "../keeper/nodes/zincati_id.ts";
import type { Group } from "../lock/identity.ts";
import { type Holder, holderOf, isSameStage, mayHaveHadYes, release } from "../lock/semaphore.ts";
import { changeGroup } from "./conditional_write.ts";
import { findNamed, nameOf } from "./clients.ts";
import { type OperatorEvent, sendEvents } from "./operator.ts";
import { clusterOf, type StorePlace } from "./place.ts";
import { leaseName } from "../stores/lease/codec.ts";

/** What is known of the cordon of a hold's node. */
export type CordonFacts =
  /** There is no node to cordon, or no cluster. */
  | "none"
  /** The node is not cordoned. */
  | "uncordoned"
  /** The cordon is ours, for this hold. */
  | "ours"
  /** Somebody else cordoned it. */
  | "others"
  /** The node is gone. */
  | "gone"
  /** The node cannot be read. */
  | "unknown";

/** A hold that can be released. */
export interface ReleasePlan {
  /** The group. */
  readonly group: Group;
  /** The hold, as it was read. */
  readonly holder: Holder;
  /** Whether its host may have had a yes, so that it may reboot at any moment. */
  readonly mayReboot: boolean;
  /** Who cordoned its node. */
  readonly cordon: CordonFacts;
}

/** What {@link planRelease} found. */
export type ReleaseSearch =
  | { readonly kind: "plan"; readonly plan: ReleasePlan }
  /** Nobody of that name holds a slot; these do. */
  | { readonly kind: "not_held"; readonly holders: readonly Holder[] }
  /** The name fits several holds. */
  | { readonly kind: "several"; readonly holders: readonly Holder[] };

/**
 * Finds a hold (get the lock; get nodes).
 *
 * @param name The name of a node, an id, or the start of one.
 */
export async function planRelease(
  place: StorePlace,
  group: Group,
  name: string,
  signal?: AbortSignal,
): Promise<ReleaseSearch> {
  const { state } = await place.store.read(group, { signal });
  const { holders } = state;
  const found = findNamed(holders, name);
  if (found.kind === "none") return { kind: "not_held", holders };
  if (found.kind === "several") return { kind: "several", holders };
  const holder = found.value;
  const cordon = await cordonOf(place, group, holder, signal);
  return { kind: "plan", plan: { group, holder, mayReboot: mayHaveHadYes(holder), cordon } };
}

async function cordonOf(place: StorePlace, group: Group, holder: Holder, signal?: AbortSignal): Promise<CordonFacts> {
  if (place.kind === "sqlite" || holder.node === undefined) return "none";
  try {
    const node = await new NodeCalls(place.client).getNode(holder.node.name, signal);
    if (node === undefined) return "gone";
    if (!node.unschedulable) return "uncordoned";
    const owner = ownerOf(place.client.namespace, group, holder);
    const isOurs = cordonOwners(node.cordon).some((one) =>
      one.namespace === owner.namespace && one.group === group && one.since === owner.since &&
      isSameClient(one.id, owner.id)
    );
    return isOurs && !node.isCordonForeign ? "ours" : "others";
  } catch {
    signal?.throwIfAborted();
    return "unknown";
  }
}

function ownerOf(namespace: string, group: Group, { id, since }: Holder): CordonOwner {
  return { namespace, group, id, since };
}

/** What a release came to. */
export type ReleaseOutcome =
  /** The slot is free. */
  | {
    readonly kind: "released";
    /** Whether our cordon was lifted; undefined where nobody asked for it, or there is none. */
    readonly uncordoned?: boolean;
    /** What went wrong after the slot was free, one sentence each. */
    readonly problems: readonly string[];
  }
  /** The client holds nothing any more: its host released the slot, or another operator did. */
  | { readonly kind: "not_held" }
  /** The hold is another one by now, or is further than it was. Whoever decided on what was shown must look again. */
  | { readonly kind: "changed"; readonly holder: Holder };

/** How a hold is released. */
export interface ReleaseOptions {
  /** Whether to lift our cordon too. */
  readonly uncordon: boolean;
  /** Who does it. */
  readonly by: string;
  /** Ends it early. */
  readonly signal?: AbortSignal;
}

/**
 * Releases a hold (get and update the lock; get and patch nodes; create events).
 *
 * @throws {UnavailableError} The store does not answer. It is then unknown whether the slot is free.
 */
export async function releaseHold(
  place: StorePlace,
  { group, holder }: ReleasePlan,
  { uncordon, by, signal }: ReleaseOptions,
): Promise<ReleaseOutcome> {
  const now = () => place.kind === "cluster" ? place.client.clock.now() : Date.now();
  const outcome = await changeGroup<Exclude<ReleaseOutcome, { kind: "released" }>>(place.store, group, ({ state }) => {
    const found = holderOf(state, holder.id);
    if (found === undefined) return { kind: "not_held" };
    // A later hold of the client, or a drain that has ended since: its host may reboot now, which nobody was told.
    if (!isSameStage(found, holder)) return { kind: "changed", holder: found };
    const { next } = release(state, holder.id, now()) as Extract<ReturnType<typeof release>, { kind: "free" }>;
    return { kind: "write", next };
  }, signal);
  if (outcome.kind !== "written") return outcome;
  const problems: string[] = [];
  const uncordoned = uncordon ? await liftCordon(place, group, holder, problems) : undefined;
  const failed = await sendEvents(clusterOf(place), eventsOf(group, holder, by, uncordoned === true));
  if (failed !== undefined) problems.push(`the Event could not be written: ${failed}`);
  return { kind: "released", ...(uncordoned !== undefined && { uncordoned }), problems };
}

/** The slot is free by now, so that a fault here is told and nothing else. */
async function liftCordon(
  place: StorePlace,
  group: Group,
  holder: Holder,
  problems: string[],
): Promise<boolean | undefined> {
  if (place.kind === "sqlite" || holder.node === undefined) return undefined;
  const calls = new NodeCalls(place.client);
  try {
    const owner = ownerOf(place.client.namespace, group, holder);
    return await new NodeCordon(calls, new NodeWatch(calls)).lift(holder.node.name, owner, true);
  } catch (error) {
    problems.push(`the node stays cordoned: ${error instanceof Error ? error.message : error}`);
    return false;
  }
}

function eventsOf(group: Group, holder: Holder, by: string, uncordoned: boolean): OperatorEvent[] {
  const what = `${by} released the slot of group ${group} with the command release`;
  const subjects: OperatorEvent["subject"][] = [{ kind: "Lease", name: leaseName(group) }];
  if (holder.node) subjects.push({ kind: "Node", name: holder.node.name });
  return subjects.map((subject) => ({
    subject,
    reason: "LockReleased",
    note: `${what} that ${nameOf(holder)} held${uncordoned ? ", and lifted the cordon" : ""}`,
  }));
}
