/**
 * What an operator orders about a group: pauses, and that a host which has yielded
 * may come again. The orders are notes of the group in the store, which every
 * replica obeys. It asks nobody.
 *
 * @module
 */

import type { Group } from "../lock/identity.ts";
import { pauseAt } from "../lock/group_notes.ts";
import type { Deferral, GroupNotes, Pause } from "../lock/policy.ts";
import type { GroupState } from "../lock/semaphore.ts";
import { leaseName } from "../stores/lease/codec.ts";
import { findNamed, nameOf } from "./clients.ts";
import { changeGroup } from "./conditional_write.ts";
import { type OperatorEvent, sendEvents } from "./operator.ts";
import { clusterOf, type StorePlace } from "./place.ts";
import { timeText } from "../status/account_text.ts";

/** What every order says of itself. */
export interface Ordered {
  /** Why it could not be told in an Event. */
  readonly problem?: string;
}

/** What {@link pauseGroup} came to. */
export type PauseOutcome = Ordered & {
  readonly kind: "paused";
  /** Whether the group had no record before. It may be a typing error. */
  readonly isNew: boolean;
  /** The pause that was in force before. */
  readonly before?: Pause;
};

/** Pauses a group (get, create and update the lock; create events). It replaces the pause that is there. */
export async function pauseGroup(
  place: StorePlace,
  group: Group,
  pause: Pause & { readonly by: string },
  signal?: AbortSignal,
): Promise<PauseOutcome> {
  let isNew = false;
  const written = await changeGroup<never>(place.store, group, ({ state, version }) => {
    isNew = version === 0;
    return { kind: "write", next: withNotes(state, { ...state.notes, pause }) };
  }, signal);
  const end = pause.until === undefined ? "until somebody resumes it" : `until ${timeText(pause.until)}`;
  const why = pause.reason === undefined ? "" : `: ${pause.reason}`;
  const problem = await tell(place, group, "GroupPaused", `${pause.by} paused group ${group} ${end}${why}`);
  const before = pauseAt(written.before.notes, nowOf(place));
  return { kind: "paused", isNew, ...(before && { before }), ...problem };
}

/** What {@link resumeGroup} came to. */
export type ResumeOutcome =
  | Ordered & { readonly kind: "resumed"; readonly pause: Pause }
  /** There is no pause. */
  | { readonly kind: "not_paused" }
  /** What the store notes of the group cannot be read, and would be deleted. Nothing was changed. */
  | { readonly kind: "unreadable"; readonly pause: Pause };

/** How {@link resumeGroup} lifts a pause. */
export interface ResumeOptions {
  /** Who orders it. */
  readonly by: string;
  /** Whether what cannot be read may be deleted. @default {false} */
  readonly deleteUnreadable?: boolean;
  /** Ends it early, with the signal's reason. */
  readonly signal?: AbortSignal;
}

/** Lifts the pause of a group (get and update the lock; create events). */
export async function resumeGroup(
  place: StorePlace,
  group: Group,
  { by, deleteUnreadable = false, signal }: ResumeOptions,
): Promise<ResumeOutcome> {
  const outcome = await changeGroup<Exclude<ResumeOutcome, { kind: "resumed" }>>(place.store, group, ({ state }) => {
    const { pause, ...notes } = state.notes ?? {};
    if (pause === undefined) return { kind: "not_paused" };
    if (pause.isUnreadable && !deleteUnreadable) return { kind: "unreadable", pause };
    return { kind: "write", next: withNotes(state, notes) };
  }, signal);
  if (outcome.kind !== "written") return outcome;
  const problem = await tell(place, group, "GroupResumed", `${by} lifted the pause of group ${group}`);
  return { kind: "resumed", pause: outcome.before.notes!.pause!, ...problem };
}

/** What {@link undefer} came to. */
export type UndeferOutcome =
  | Ordered & { readonly kind: "undeferred"; readonly deferral: Deferral }
  /** Nobody of that name has yielded. */
  | { readonly kind: "not_deferred"; readonly deferred: readonly Deferral[] }
  /** The name fits several. */
  | { readonly kind: "several"; readonly deferred: readonly Deferral[] };

/** Forgets that a host has yielded (get and update the lock; create events), so that it may get the next slot. */
export async function undefer(
  place: StorePlace,
  group: Group,
  name: string,
  by: string,
  signal?: AbortSignal,
): Promise<UndeferOutcome> {
  let gone: Deferral | undefined;
  const outcome = await changeGroup<Exclude<UndeferOutcome, { kind: "undeferred" }>>(
    place.store,
    group,
    ({ state }) => {
      const deferred = state.notes?.deferred ?? [];
      const found = findNamed(deferred, name);
      if (found.kind === "none") return { kind: "not_deferred", deferred };
      if (found.kind === "several") return { kind: "several", deferred };
      gone = found.value;
      return {
        kind: "write",
        next: withNotes(state, { ...state.notes, deferred: deferred.filter((one) => one !== gone) }),
      };
    },
    signal,
  );
  if (outcome.kind !== "written") return outcome;
  const note = `${by} lets ${nameOf(gone!)} of group ${group} have a slot again`;
  return { kind: "undeferred", deferral: gone!, ...await tell(place, group, "DeferralLifted", note) };
}

/** Replaces the notes; those that say nothing are left out. */
function withNotes({ notes: _, ...state }: GroupState, notes: GroupNotes): GroupState {
  const { deferred = [], ...rest } = notes;
  const whole: GroupNotes = deferred.length === 0 ? rest : { ...rest, deferred };
  return Object.keys(whole).length === 0 ? state : { ...state, notes: whole };
}

/** The time of the locks, in milliseconds since the epoch. */
export function nowOf(place: StorePlace): number {
  return place.kind === "cluster" ? place.client.clock.now() : Date.now();
}

async function tell(place: StorePlace, group: Group, reason: OperatorEvent["reason"], note: string): Promise<Ordered> {
  const problem = await sendEvents(clusterOf(place), [{
    subject: { kind: "Lease", name: leaseName(group) },
    reason,
    note,
  }]);
  return problem === undefined ? {} : { problem: `the Event could not be written: ${problem}` };
}
