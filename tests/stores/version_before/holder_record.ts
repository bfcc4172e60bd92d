/**
 * A copy of the records of holders of the version before groups had notes (commit 8d36cb6), to show that it neither
 * erases nor stumbles over what this version writes. It must not be changed.
 *
 * A holder as every store writes it in JSON: an object with `id`, `since` and
 * `renewed` (RFC 3339), with `node`, `uid`, `machineId`, `bootId` and `phase` where
 * the node is known, and with whatever a later version adds. It does not know where
 * the record is kept.
 *
 * What this version does not understand is never taken for "nothing", and
 * survives every write: a record whose holder was not amended is written back
 * as it was read.
 *
 * @module
 */

import type { ClientId } from "../../../src/lock/identity.ts";
import { type DrainPhase, type HeldNode, type Holder, MAX_TRANSITIONS } from "../../../src/lock/semaphore.ts";

/** A holder as read, where its record may lack a time that can be used. */
export type ReadHolder = Omit<Holder, "since"> & { readonly since?: number };

/** Every {@link DrainPhase}. */
const PHASES: ReadonlySet<unknown> = new Set<DrainPhase>(["draining", "drained", "failed"]);

/** What stands for a node that could not be read where its record is gone. Without a UID, it is read as unreadable. */
const UNREADABLE_NODE = "unreadable";

/** The end of the year 9999. */
const MAX_MS = Date.UTC(10_000, 0) - 1;

/**
 * Reads a holder from its record.
 *
 * @returns Undefined where the record does not say whose it is. `since` is missing where the record has no usable time.
 */
export function readHolder(record: unknown): ReadHolder | undefined {
  if (typeof record !== "object" || record === null || Array.isArray(record)) return undefined;
  const { id, since, renewed, node: name, uid, machineId, bootId, phase, ...extra } = record as Record<string, unknown>;
  if (typeof id !== "string" || id === "") return undefined;
  const sinceMs = toMs(since);
  const renewedMs = toMs(renewed);
  const namesNode = [name, uid, machineId, bootId, phase].some((field) => field !== undefined);
  const node = readNode({ name, uid, machineId, bootId, phase });
  return {
    id: id as ClientId,
    ...(sinceMs !== undefined && { since: sinceMs }),
    ...(node !== undefined && { node }),
    ...(renewedMs !== undefined && { renewed: renewedMs }),
    ...(namesNode && node === undefined && { isNodeUnreadable: true as const }),
    ...(Object.keys(extra).length > 0 && { extra }),
  };
}

/**
 * Makes the record of a holder.
 *
 * @param base The holder's record in what is replaced. Where it says the same of the holder, it is kept as it is.
 */
export function writeHolder(holder: Holder, base: unknown): unknown {
  const before = readHolder(base);
  const { id, since, renewed, node, isNodeUnreadable, extra } = holder;
  const times = {
    id,
    since: new Date(since).toISOString(),
    ...(renewed !== undefined && { renewed: new Date(renewed).toISOString() }),
  };
  if (before !== undefined && isSame(before, holder)) {
    const isOfSameTime = before.since === since && before.renewed === renewed;
    return isOfSameTime ? base : { ...base as Record<string, unknown>, ...times };
  }
  if (node === undefined) return { ...times, ...(isNodeUnreadable && { node: UNREADABLE_NODE }), ...extra };
  const { name, uid, machineId, bootId, phase } = node;
  return { ...times, node: name, uid, machineId, bootId, phase, ...extra };
}

/** Reads a time, in milliseconds since the epoch. The client library types some strings as dates. */
export function toMs(time: unknown): number | undefined {
  const ms = time instanceof Date ? time.getTime() : typeof time === "string" ? Date.parse(time) : NaN;
  // Ignore a time that could not be written back, such as a year of five digits set by hand.
  return ms >= 0 && ms <= MAX_MS ? ms : undefined;
}

/** Takes a number of transitions into the range that every store accepts. Anything but a number counts as 0. */
export function clampTransitions(transitions: unknown): number {
  if (typeof transitions !== "number" || Number.isNaN(transitions)) return 0;
  return Math.min(Math.max(Math.trunc(transitions), 0), MAX_TRANSITIONS);
}

/** An unknown phase is one in which the drain is not known to have ended. */
function readNode(
  { name, uid, machineId, bootId, phase }: Readonly<Record<keyof HeldNode, unknown>>,
): HeldNode | undefined {
  if (typeof name !== "string" || name === "" || typeof uid !== "string" || uid === "") return undefined;
  if (machineId !== undefined && typeof machineId !== "string") return undefined;
  if (bootId !== undefined && typeof bootId !== "string") return undefined;
  return {
    name,
    uid,
    ...(machineId !== undefined && { machineId }),
    ...(bootId !== undefined && { bootId }),
    phase: PHASES.has(phase) ? phase as DrainPhase : "draining",
  };
}

/** Whether two records say the same apart from their times. */
function isSame(one: ReadHolder, other: ReadHolder): boolean {
  return said(one) === said(other);
}

function said({ id, node, isNodeUnreadable, extra = {} }: ReadHolder): string {
  const { name, uid, machineId, bootId, phase } = node ?? {};
  return JSON.stringify([id, name, uid, machineId, bootId, phase, isNodeUnreadable === true, extra]);
}
