/**
 * Judges what a replica writes to a group's Lease, by the Lease before and after the write alone: a grant leaves no
 * more holders than the slots that it notes, and comes while nobody has paused the group; a pause survives each write;
 * and a host yields only before its yes.
 *
 * @module
 */

import { type HolderRecord, recordIn } from "../chaos/nodes/history.ts";
import type { Stored } from "./world/objects.ts";

/** The annotation that pauses a group. */
export const PAUSED = "fleetlock.internal/paused";

/** The annotation of what is noted for the policies. */
export const NOTES = "fleetlock.internal/notes";

/** How far a replica's idea of the API server's time may be off, in milliseconds. */
const CLOCK_MS = 2_000;

/** How many slots a holder's grant notes. */
export function notedSlots(lease: Stored | undefined, id: string): number {
  return recordOf(lease, id)?.slots ?? 1;
}

/**
 * The UID of the Node that a hold notes; undefined where it notes none, or where an administrator has broken the note.
 */
export function notedUid(lease: Stored | undefined, id: string): string | undefined {
  const { node, uid } = recordOf(lease, id) ?? {};
  return typeof node === "string" && typeof uid === "string" ? uid : undefined;
}

/** Says what is wrong with a grant. @returns Undefined where it holds. */
export function wrongGrant(before: Stored | undefined, after: Stored, id: string, now: number): string | undefined {
  const holders = (after.spec?.holderIdentity ?? "").split(",").length;
  const slots = notedSlots(after, id);
  if (holders > slots) return `${id} is granted one of ${slots} slots as holder number ${holders}`;
  if (isPaused(before, now)) return `${id} is granted a slot while the group is paused`;
  return undefined;
}

/** Whether a write has changed the pause of a group that is there before and after. */
export function changesPause(before: Stored | undefined, after: Stored): boolean {
  return before !== undefined && textOf(before, PAUSED) !== textOf(after, PAUSED);
}

/**
 * Whether a write that takes a holder away lets it yield: it notes a deferral, or somebody has paused the group with
 * its drains, and the host has not reported.
 */
export function isYield(before: Stored, after: Stored | undefined, id: string, isAsking: boolean): boolean {
  return notesDeferral(before, after, id) || (isAsking && pauseOf(before)?.drains === true);
}

/** Whether a write notes a deferral of a holder: it yields. */
export function notesDeferral(before: Stored, after: Stored | undefined, id: string): boolean {
  const deferral = deferralOf(after, id);
  return deferral !== undefined && deferral !== deferralOf(before, id);
}

/** Whether a Lease says that a holder may have had its yes. */
export function mayHaveHadYes(lease: Stored, id: string): boolean {
  const { phase, hadYes } = recordOf(lease, id) ?? {};
  return phase === "drained" || hadYes === true;
}

function isPaused(lease: Stored | undefined, now: number): boolean {
  const pause = pauseOf(lease);
  return pause !== undefined && (pause.until === undefined || now < Date.parse(pause.until) - CLOCK_MS);
}

function pauseOf(lease: Stored | undefined): { readonly until?: string; readonly drains?: boolean } | undefined {
  const text = textOf(lease, PAUSED);
  return text === undefined ? undefined : text.startsWith("{") ? JSON.parse(text) : {};
}

function deferralOf(lease: Stored | undefined, id: string): string | undefined {
  const notes = JSON.parse(textOf(lease, NOTES) ?? "{}");
  const deferral = notes.deferred?.find((one: { id: string }) => one.id === id);
  return deferral && JSON.stringify(deferral);
}

/** The record of a holder; undefined where there is none that can be read. */
export function recordOf(lease: Stored | undefined, id: string): HolderRecord | undefined {
  return recordIn(textOf(lease, "fleetlock.internal/holders") ?? "", id);
}

function textOf(lease: Stored | undefined, annotation: string): string | undefined {
  return lease?.metadata.annotations?.[annotation];
}
