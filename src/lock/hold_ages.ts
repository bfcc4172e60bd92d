/**
 * How long ago slots were granted, as far as this process has seen it by itself. A hold says when it was granted, but
 * by the clock of the API server that told its replica the time. That clock may have been wrong, or may not agree with
 * the one of the API server that tells the time now. What this process has seen passing bounds such a claim: a drain
 * does not time out long before its time, and a grant in the future does not stop the time.
 *
 * @module
 */

import type { Clock } from "./clock.ts";
import type { ClientId, Group } from "./identity.ts";
import type { GroupState, Holder } from "./semaphore.ts";

/** Between which two ages a hold is, in milliseconds. */
export interface AgeBounds {
  /** It has been seen for so long. */
  readonly atLeastMs: number;
  /** It was not there that long ago; infinite where that is unknown. */
  readonly atMostMs: number;
}

/**
 * How much later than a change the watch may show it, in milliseconds. A connection that has gone silent is noticed
 * after 75 s.
 */
const LATE_MS = 120_000;

const UNKNOWN: AgeBounds = { atLeastMs: 0, atMostMs: Infinity };

/** When a hold was first seen. Both are monotonic times. */
interface Seen {
  readonly since: number;
  /** It was there then. */
  readonly at: number;
  /** It was not there yet. */
  readonly notBefore: number;
}

/** See the module. It must be told what the view of the groups shows. */
export class HoldAges {
  readonly #clock: Pick<Clock, "monotonic">;
  readonly #seen = new Map<Group, ReadonlyMap<ClientId, Seen>>();
  #isInStep = false;
  /** When the view was in step last, while it is not. */
  #inStepUntil = -Infinity;

  /** Makes one that has seen nothing yet. */
  constructor(clock: Pick<Clock, "monotonic">) {
    this.#clock = clock;
  }

  /** The view is in step with the store. */
  synced(): void {
    this.#isInStep = true;
  }

  /** The view may miss changes from now on. */
  lost(): void {
    if (this.#isInStep) this.#inStepUntil = this.#clock.monotonic();
    this.#isInStep = false;
  }

  /** A group has another state. */
  changed(group: Group, { holders }: GroupState): void {
    const known = this.#seen.get(group);
    const at = this.#clock.monotonic();
    const notBefore = (this.#isInStep ? at : this.#inStepUntil) - LATE_MS;
    const seen = holders.map(({ id, since }): [ClientId, Seen] => {
      const before = known?.get(id);
      return [id, before && isSameHold(before.since, since) ? before : { since, at, notBefore }];
    });
    if (seen.length === 0) this.#seen.delete(group);
    else this.#seen.set(group, new Map(seen));
  }

  /** Tells between which ages a hold is now. */
  of(group: Group, { id, since }: Pick<Holder, "id" | "since">): AgeBounds {
    const seen = this.#seen.get(group)?.get(id);
    if (seen === undefined || !isSameHold(seen.since, since)) return UNKNOWN;
    const now = this.#clock.monotonic();
    return { atLeastMs: now - seen.at, atMostMs: now - seen.notBefore };
  }
}

/**
 * Whether two times of a grant to one client mean the same grant. A Lease that has lost its annotation, or that another
 * program wrote, may keep only whole seconds. Otherwise the times of one grant are the same: a client may be granted
 * its slot twice within a second.
 */
export function isSameHold(since: number, other: number): boolean {
  const isWhole = since % 1_000 === 0 || other % 1_000 === 0;
  return since === other || (isWhole && Math.floor(since / 1_000) === Math.floor(other / 1_000));
}

/** Corrects an age that a clock claims, in milliseconds. */
export function ageWithin(claimedMs: number, { atLeastMs, atMostMs }: AgeBounds = UNKNOWN): number {
  return Math.min(Math.max(claimedMs, atLeastMs), atMostMs);
}
