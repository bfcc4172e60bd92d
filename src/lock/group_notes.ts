/**
 * What is noted with a group's lock for the policies, as pure functions of the
 * group's state: that a host came back from its reboot, that one has yielded its
 * slot, that somebody paused the group. It decides nothing about a grant; that is
 * the policies' part.
 *
 * @module
 */

import type { ClientId } from "./identity.ts";
import type { PodLeft } from "./node_keeper.ts";
import { type Deferral, type GroupNotes, MAX_DEFERRALS, type Pause } from "./policy.ts";
import type { GroupState } from "./semaphore.ts";
import { printable } from "./wording.ts";

/** How long a host waits after it has yielded once, in milliseconds. It doubles with each time in a row. */
export const DEFERRAL_MS = 30 * 60_000;

/** The longest that a host waits after it has yielded, in milliseconds. */
export const MAX_DEFERRAL_MS = 8 * 3_600_000;

/** How many pods a deferral names. */
const PODS_NOTED = 3;

/** How much of the name and reason of a pod is noted, in characters, so that all deferrals fit into one annotation. */
const POD_NOTED = 160;

/** The pause of a group, while it is in force. */
export function pauseAt(notes: GroupNotes | undefined, now: number): Pause | undefined {
  const pause = notes?.pause;
  return pause !== undefined && (pause.until === undefined || now < pause.until) ? pause : undefined;
}

/** Notes that a holder came back from a reboot when the state was written. */
export function withReturn(state: GroupState): GroupState {
  return state.renewed === undefined ? state : withNotes(state, { ...state.notes, returned: state.renewed });
}

/**
 * Notes that a host has yielded its slot: for 30 minutes, or longer where it has yielded before and was not drained
 * since. Of too many hosts, the one that may come back first is forgotten.
 *
 * @param now Milliseconds since the epoch.
 */
export function withDeferral(
  state: GroupState,
  { id, node, pods }: { readonly id: ClientId; readonly node: string; readonly pods: readonly PodLeft[] },
  now: number,
): { readonly state: GroupState; readonly deferral: Deferral } {
  const noted = state.notes?.deferred ?? [];
  const count = (noted.find((one) => one.id === id)?.count ?? 0) + 1;
  const deferral: Deferral = {
    id,
    node,
    until: Math.floor(now) + Math.min(DEFERRAL_MS * 2 ** (count - 1), MAX_DEFERRAL_MS),
    count,
    pods: pods.slice(0, PODS_NOTED).map((pod) => printable(`${pod.namespace}/${pod.name}: ${pod.reason}`, POD_NOTED)),
  };
  const others = noted.filter((one) => one.id !== id);
  while (others.length >= MAX_DEFERRALS) {
    const first = others.reduce((least, one) => one.until < least.until ? one : least);
    others.splice(others.indexOf(first), 1);
  }
  return { state: withNotes(state, { ...state.notes, deferred: [...others, deferral] }), deferral };
}

/** Forgets that a host has yielded, because it was drained. */
export function withoutDeferral(state: GroupState, id: ClientId): GroupState {
  const noted = state.notes?.deferred;
  if (noted === undefined || !noted.some((one) => one.id === id)) return state;
  return withNotes(state, { ...state.notes, deferred: noted.filter((one) => one.id !== id) });
}

/** Replaces the notes; those that say nothing are left out. */
function withNotes({ notes: _, ...state }: GroupState, notes: GroupNotes): GroupState {
  const { deferred = [], ...rest } = notes;
  const whole: GroupNotes = deferred.length === 0 ? rest : { ...rest, deferred };
  return Object.keys(whole).length === 0 ? state : { ...state, notes: whole };
}

/** Whether two pauses say the same. */
export function isSamePause(one: Pause | undefined, other: Pause | undefined): boolean {
  return JSON.stringify(one) === JSON.stringify(other);
}
