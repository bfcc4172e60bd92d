/**
 * The sentences that tell a client why its request was refused. Zincati writes
 * them to the host's journal, so they are for a person to read. This module
 * does not know which refusals exist: the table in {@link "./outcomes.ts"} does.
 *
 * @module
 */

import { type Group, MAX_ID_LENGTH } from "./identity.ts";
import type { PodLeft } from "./node_keeper.ts";
import type { Deferral, Pause } from "./policy.ts";
import type { Holder } from "./semaphore.ts";

/** How many holders a sentence names. */
const HOLDERS_NAMED = 3;

/** How many pods or nodes a sentence names. */
const OBJECTS_NAMED = 5;

/** How much of a client's id is shown, in characters: all of one that a client can have. */
const ID_SHOWN = MAX_ID_LENGTH;

/** How much of an id is shown to strangers, in characters. */
const ID_START = 8;

/** How much of an object's name is shown, in characters: all of a valid one. */
const NAME_SHOWN = 253;

/** How much of a reason in words is shown, in characters. */
const REASON_SHOWN = 500;

/** How much of a sentence is shown that a policy has made, in characters. */
const SENTENCE_SHOWN = 1_500;

/**
 * The characters that a terminal or a page would not show as themselves: control
 * characters, line separators, and the marks that change the direction of text.
 */
export const UNPRINTABLE: RegExp =
  // deno-lint-ignore no-control-regex
  /[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g;

/**
 * Makes text that came from elsewhere, such as a record that was edited by hand,
 * safe to show to a person.
 *
 * @param max How many characters to show at most.
 * @returns The text with U+FFFD for each {@link UNPRINTABLE} character, cut off with an ellipsis where it is longer.
 */
export function printable(text: string, max: number): string {
  const shown = text.slice(0, max).toWellFormed().replace(UNPRINTABLE, "\ufffd");
  return text.length > max ? `${shown}…` : shown;
}

/** {@link printable} for the id of a client or of whoever holds a slot. */
export function printableId(id: string): string {
  return printable(id, ID_SHOWN);
}

/**
 * The start of an id, for everyone who reaches the server: whoever knows a whole id can free its slot. At most half of
 * an id is shown, and never all of a short one.
 *
 * @returns Such as `978a225b…`. It always ends in an ellipsis.
 */
export function startOfId(id: string): string {
  return printable(id, Math.min(ID_START, Math.floor(id.length / 2)));
}

/** A text without the ellipsis that {@link startOfId} ends it with, and any other as it is. */
export function withoutEllipsis(text: string): string {
  return text.endsWith("…") ? text.slice(0, -1) : text;
}

/** {@link printable} for a reason in somebody else's words. */
export function printableReason(reason: string): string {
  return printable(reason, REASON_SHOWN);
}

/** Names the first few of many, with semicolons, since each may be a sentence. What others wrote must be printable. */
export function listSome(texts: readonly string[]): string {
  const more = texts.length - OBJECTS_NAMED;
  return [...texts.slice(0, OBJECTS_NAMED), ...(more > 0 ? [`and ${more} more`] : [])].join("; ");
}

/**
 * Says who holds the slots of a group, and since when.
 *
 * @param holders They may be more than `slots`, since fewer slots end no hold.
 * @param now Milliseconds since the epoch, for the age of each hold.
 */
export function describeHolders(holders: readonly Holder[], slots: number, group: Group, now: number): string {
  if (holders.length === 0) return `group "${group}" has no reboot slot now`;
  const named = list(holders, HOLDERS_NAMED, (holder) => describeHolder(holder, now));
  if (holders.length > slots) {
    const who = holders.length === 1 ? "1 client holds" : `${holders.length} clients hold`;
    return `${who} a reboot slot of group "${group}", which has ${
      slots === 0 ? "none" : `only ${slots}`
    } now: ${named}`;
  }
  const which = slots === 1
    ? `reboot slot of group "${group}" is`
    : `all ${slots} reboot slots of group "${group}" are`;
  return `${which} held by ${named}`;
}

/** Shows the sentence of a policy's reason. */
export function describeReason(sentence: string): string {
  return printable(sentence, SENTENCE_SHOWN);
}

/** Says that a host has yielded its slot, for which pods, and until when it waits. */
export function describeDeferral({ node, until, count, pods }: Omit<Deferral, "id">): string {
  const times = count === 1 ? "" : ` ${count} times in a row`;
  const why = pods.length === 0 ? "" : `, because of ${list(pods, OBJECTS_NAMED, printableReason)}`;
  return `node ${quoted(node)} could not be drained in time${times}${why}: others come first until ${timeText(until)}`;
}

/** Says that somebody has paused a group. */
export function describePause({ reason, by, until }: Pause, group: Group): string {
  const who = by === undefined ? "" : ` by ${printableReason(by)}`;
  const end = until === undefined ? "" : ` until ${timeText(until)}`;
  return `group "${group}" is paused${who}${end}${reason === undefined ? "" : `: ${printableReason(reason)}`}`;
}

/** Says that other writers changed a group so often that this request gave up. */
export function describeContention(group: Group): string {
  return `the reboot slots of group "${group}" kept changing during this request: try again`;
}

/** Says that a new group would exceed the limit. */
export function describeGroupLimit(limit: number, group: Group): string {
  return `group "${group}" is new, and the limit of ${limit} groups has been reached`;
}

/**
 * Says that an id does not tell which node the client runs on.
 *
 * @param nodes Their names. A name stands there twice where a node was deleted and created again, and it is not known
 * that the first one is gone.
 */
export function describeAmbiguity(nodes: readonly string[]): string {
  const counts = new Map<string, number>();
  for (const name of nodes) counts.set(name, (counts.get(name) ?? 0) + 1);
  const describe = ([name, count]: [string, number]) =>
    count === 1 ? quoted(name) : `${quoted(name)} (${count} nodes of that name, one created after the other)`;
  return `several nodes have this client's id: ${list([...counts], OBJECTS_NAMED, describe)}`;
}

/** Says that a drain is under way, and which pods it waits for. */
export function describeDrain(node: string, pods: readonly PodLeft[], reason?: string): string {
  return `node ${quoted(node)} is being drained${reason === undefined ? "" : `: ${reason}`}${describePods(pods)}`;
}

/** Says that a drain failed, and which pods are left. */
export function describeFailedDrain(node: string, pods: readonly PodLeft[], reason?: string): string {
  const why = reason === undefined ? "" : `, because ${reason}`;
  return `node ${quoted(node)} could not be drained${why}${describePods(pods)}`;
}

/** Says that the object that keeps a lock is being deleted, so that nobody can take it. */
export function describeEndingLock(object: string, finalizers: readonly string[]): string {
  const waits = finalizers.length === 0
    ? ""
    : ` and waits for its finalizers: ${list(finalizers, OBJECTS_NAMED, printableName)}`;
  return `${printableReason(object)} is being deleted${waits}`;
}

/** Says that the store kept something else than was written. */
export function describeAlteredWrite(group: Group): string {
  return `the store changed the record of group "${group}" while it was written: look for an admission webhook`;
}

/** Says which pods keep a node from being drained, before anything was done. */
export function describeRefusedDrain(node: string, pods: readonly PodLeft[]): string {
  return `node ${quoted(node)} may not be drained${describePods(pods)}`;
}

/** Says which permission keeps nodes from being drained. */
export function describeMissingPermission(permission: string): string {
  return `the server may not ${printableReason(permission)}, which a drain needs: grant it`;
}

/** Says that the record of a hold cannot be understood. */
export function describeUnreadableHold(group: Group): string {
  return `the record of this client's hold in group "${group}" names a node in an unknown form: free the slot by hand`;
}

/** Says why a node does not count as back. */
export function describeUnreadyNode(node: string, reason: string): string {
  return `node ${quoted(node)} is not ready yet: ${printableReason(reason)}`;
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

/** Names a holder by its node, or by the {@link startOfId}. The log, the Lease and the file have the whole id. */
function describeHolder(holder: Holder, now: number): string {
  const name = holder.node ? `node ${quoted(holder.node.name)}` : startOfId(holder.id);
  const since = timeText(holder.since);
  return since === undefined ? name : `${name} since ${since} (${describeDuration(now - holder.since)})`;
}

/**
 * Writes a time, exact to the second.
 *
 * @returns Undefined for a time outside the range of dates, which somebody wrote by hand or a broken clock gave.
 */
function timeText(ms: number): string | undefined {
  return Math.abs(ms) <= 8.64e15 ? `${new Date(ms).toISOString().slice(0, -5)}Z` : undefined;
}

function describePods(pods: readonly PodLeft[]): string {
  if (pods.length === 0) return "";
  const named = list(pods, OBJECTS_NAMED, describePod);
  return `: ${pods.length === 1 ? "1 pod is" : `${pods.length} pods are`} left: ${named}`;
}

function describePod({ namespace, name, reason }: PodLeft): string {
  return `${printableName(namespace)}/${printableName(name)} (${printableReason(reason)})`;
}

function printableName(name: string): string {
  return printable(name, NAME_SHOWN);
}

function quoted(name: string): string {
  return `"${printableName(name)}"`;
}

/** Names the first few items and counts the others. */
function list<T>(items: readonly T[], most: number, describe: (item: T) => string): string {
  const named = items.slice(0, most).map(describe);
  const others = items.length - named.length;
  if (others > 0) named.push(others === 1 ? "1 other" : `${others} others`);
  const last = named.pop() ?? "nobody";
  return named.length === 0 ? last : `${named.join(", ")} and ${last}`;
}
