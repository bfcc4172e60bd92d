/**
 * What this replica remembers for the account: who was refused lately, which
 * turns are over, and since when each hold has been in its stage. It is bounded,
 * gone after a restart, and decides nothing.
 *
 * @module
 */

import type { ClientId, Group } from "../lock/identity.ts";
import type { Refusal } from "../lock/outcomes.ts";
import type { GroupState, Holder } from "../lock/semaphore.ts";
import type { Stage } from "./account.ts";

/** A client that was refused lately. */
export interface LateRefusal {
  /** When it asked last, in milliseconds since the epoch. */
  readonly at: number;
  /** When it asked first in a row of refusals, in milliseconds since the epoch. */
  readonly since: number;
  /** Why it was refused last. */
  readonly refusal: Refusal;
}

/** A turn that is over. */
export interface Turn {
  /** The hold as it was at the end. */
  readonly holder: Holder;
  /** When the slot was free again, in milliseconds since the epoch. */
  readonly released: number;
  /** Whether the host came back with the image that it had before; undefined where that is unknown. */
  readonly isSameImage?: boolean;
}

/** How many clients of all groups are remembered. */
const MAX_CLIENTS = 4_096;

/** How many turns of a group are remembered. */
const MAX_TURNS = 20;

/** How many groups are remembered. More than may exist by default, since an administrator may make some. */
const MAX_GROUPS = 256;

/** A host asks every 330 s at most. One that has not asked for longer than two such times has stopped. */
const LATE_MS = 12 * 60_000;

/** See the module. */
export class StatusMemory {
  /** The last refusals by group and id, oldest first. */
  readonly #refusals = new Map<string, LateRefusal & { readonly group: Group; readonly id: ClientId }>();
  /** When each client asked last, by group and id, oldest first. */
  readonly #polls = new Map<string, number>();
  readonly #turns = new Map<Group, Turn[]>();
  /** Since when each hold has been in its stage, by group, id and grant. */
  readonly #stages = new Map<string, { readonly stage: Stage; readonly since: number }>();

  /** A client was refused a slot. */
  refused(group: Group, id: ClientId, refusal: Refusal, at: number): void {
    const key = keyOf(group, id);
    const since = this.#refusals.get(key)?.since ?? at;
    this.#refusals.delete(key);
    this.#refusals.set(key, { at, since, refusal, group, id });
    forgetOldest(this.#refusals, MAX_CLIENTS);
    this.#polled(key, at);
  }

  /** A client got a yes, or gave its slot back, so it no longer waits. */
  served(group: Group, id: ClientId, at: number): void {
    const key = keyOf(group, id);
    this.#refusals.delete(key);
    this.#polled(key, at);
  }

  /** A group changed, whoever changed it. */
  changed(group: Group, before: GroupState | undefined, after: GroupState, at: number): void {
    const held = new Map(after.holders.map((holder) => [holder.id, holder.since]));
    const over = (before?.holders ?? []).filter((holder) => held.get(holder.id) !== holder.since);
    if (over.length === 0) return;
    const turns = over.map((holder) => ({ holder, released: Math.max(at, holder.since) }));
    for (const { holder } of turns) this.#stages.delete(keyOf(group, holder.id, holder.since));
    const known = this.#turns.get(group) ?? [];
    this.#turns.delete(group);
    this.#turns.set(group, [...turns, ...known].slice(0, MAX_TURNS));
    forgetOldest(this.#turns, MAX_GROUPS);
  }

  /** The clients of a group that were refused lately, the longest waiting first. */
  waiting(group: Group, now: number): (LateRefusal & { readonly id: ClientId })[] {
    const isLate = ({ at }: LateRefusal) => now - at <= LATE_MS;
    return [...this.#refusals.values()].filter((one) => one.group === group && isLate(one))
      .toSorted((one, other) => one.since - other.since);
  }

  /** When a client asked last, in milliseconds since the epoch; undefined where it has not asked this replica. */
  lastPoll(group: Group, id: ClientId): number | undefined {
    return this.#polls.get(keyOf(group, id));
  }

  /** The last turns of a group, newest first. */
  turns(group: Group): readonly Turn[] {
    return this.#turns.get(group) ?? [];
  }

  /** The last turns of all groups. */
  *allTurns(): Generator<Turn> {
    for (const turns of this.#turns.values()) yield* turns;
  }

  /** Notes the stage of a hold. @returns Since when this replica has seen it there, in milliseconds since the epoch. */
  stage(group: Group, { id, since }: Pick<Holder, "id" | "since">, stage: Stage, now: number): number {
    const key = keyOf(group, id, since);
    const known = this.#stages.get(key);
    if (known?.stage === stage) return known.since;
    this.#stages.delete(key);
    this.#stages.set(key, { stage, since: now });
    forgetOldest(this.#stages, MAX_CLIENTS);
    return now;
  }

  #polled(key: string, at: number): void {
    this.#polls.delete(key);
    this.#polls.set(key, at);
    forgetOldest(this.#polls, MAX_CLIENTS);
  }
}

function keyOf(group: Group, id: ClientId, since?: number): string {
  return since === undefined ? `${group} ${id}` : `${group} ${id} ${since}`;
}

/** Forgets what was set first, beyond a number of entries. */
function forgetOldest(entries: Map<unknown, unknown>, most: number): void {
  for (const key of entries.keys()) {
    if (entries.size <= most) return;
    entries.delete(key);
  }
}
