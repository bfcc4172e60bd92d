/**
 * The sentences that tell a client why its request was refused. Zincati writes
 * them to the host's journal, so they are for a person to read. This module
 * does not know which refusals exist: the table in {@link "./outcomes.ts"} does.
 *
 * @module
 */

import type { Group } from "./identity.ts";
import type { PodLeft } from "./node_keeper.ts";
import type { Holder } from "./semaphore.ts";

/** How many holders a sentence names. */
const HOLDERS_NAMED = 3;

/** How many pods or nodes a sentence names. */
const OBJECTS_NAMED = 5;

/**
 * Says who holds the slots of a group, and since when.
 *
 * @param now Milliseconds since the epoch, for the age of each hold.
 */
export function describeHolders(holders: readonly Holder[], slots: number, group: Group, now: number): string {
  const which = slots === 1 && holders.length === 1
    ? `reboot slot of group "${group}" is`
    : `all ${slots} reboot slots of group "${group}" are`;
  return `${which} held by ${list(holders, HOLDERS_NAMED, (holder) => describeHolder(holder, now))}`;
}

/** Says that other writers changed a group so often that this request gave up. */
export function describeContention(group: Group): string {
  return `the reboot slots of group "${group}" kept changing during this request: try again`;
}

/** Says that a new group would exceed the limit. */
export function describeGroupLimit(limit: number, group: Group): string {
  return `group "${group}" is new, and the limit of ${limit} groups has been reached`;
}

/** Says that an id does not tell which node the client runs on. */
export function describeAmbiguity(nodes: readonly string[]): string {
  return `several nodes have this client's id: ${list(nodes, OBJECTS_NAMED, (name) => `"${name}"`)}`;
}

/** Says that a drain is under way, and which pods it waits for. */
export function describeDrain(node: string, pods: readonly PodLeft[]): string {
  return `node "${node}" is being drained${describePods(pods)}`;
}

/** Says that a drain failed, and which pods are left. */
export function describeFailedDrain(node: string, pods: readonly PodLeft[]): string {
  return `node "${node}" could not be drained${describePods(pods)}`;
}

/** Says why a node does not count as back. */
export function describeUnreadyNode(node: string, reason: string): string {
  return `node "${node}" is not ready yet: ${reason}`;
}

/**
 * Rounds a duration down to one unit.
 *
 * @param ms Milliseconds; less than 0, which clocks that disagree produce, counts as 0.
 * @returns Such as `40 s`, `12 min`, `3 h` or `5 d`.
 */
export function describeDuration(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 48 * 3600) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86_400)} d`;
}

function describeHolder(holder: Holder, now: number): string {
  // A time that somebody wrote by hand, or that a broken clock gave, may be outside the range of dates.
  if (!(Math.abs(holder.since) <= 8.64e15)) return holder.id;
  const since = new Date(holder.since).toISOString().slice(0, -5);
  return `${holder.id} since ${since}Z (${describeDuration(now - holder.since)})`;
}

function describePods(pods: readonly PodLeft[]): string {
  if (pods.length === 0) return "";
  const named = list(pods, OBJECTS_NAMED, (pod) => `${pod.namespace}/${pod.name} (${pod.reason})`);
  return `: ${pods.length === 1 ? "1 pod is" : `${pods.length} pods are`} left: ${named}`;
}

/** Names the first few items and counts the others. */
function list<T>(items: readonly T[], most: number, describe: (item: T) => string): string {
  const named = items.slice(0, most).map(describe);
  const others = items.length - named.length;
  if (others > 0) named.push(others === 1 ? "1 other" : `${others} others`);
  const last = named.pop() ?? "nobody";
  return named.length === 0 ? last : `${named.join(", ")} and ${last}`;
}
