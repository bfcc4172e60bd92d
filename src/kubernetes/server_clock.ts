/**
 * The API server's time, as its answers tell it. Replicas, whose own clocks may
 * differ by hours, agree on it, and the times of objects are made with it.
 *
 * The header `Date` is exact to the second and was written at some moment
 * between the sending of the call and the arrival of the answer. So each answer
 * bounds the difference between the API server's time and this process's
 * monotonic clock from both sides, and several answers together bound it more
 * closely.
 *
 * @module
 */

import { type Clock, systemClock } from "../lock/clock.ts";

/** Bounds of the API server's time minus the monotonic clock, in milliseconds. */
interface Bounds {
  readonly low: number;
  readonly high: number;
}

/** How long bounds are kept and narrowed before new ones replace them, in milliseconds: clocks drift. */
const KEPT_MS = 60_000;

/** The precision of the header, in milliseconds. */
const SECOND_MS = 1_000;

/**
 * A clock that shows the API server's time. Until an answer has told it, and
 * only then, {@link now} is this machine's own wall clock.
 */
export class ServerClock implements Clock {
  readonly #local: Clock;
  #bounds: Bounds | undefined;
  #boundsSince = -Infinity;
  #heardAt = -Infinity;

  /** Makes one that has heard nothing; `local` measures time that passes. */
  constructor(local: Clock = systemClock) {
    this.#local = local;
  }

  /**
   * The API server's time, in milliseconds since the epoch. It is never behind
   * the API server by what its answers show, and less than a second and one
   * call's duration ahead.
   */
  now(): number {
    return this.#bounds === undefined ? this.#local.now() : this.#local.monotonic() + this.#bounds.high;
  }

  /** See {@link Clock.monotonic}. */
  monotonic(): number {
    return this.#local.monotonic();
  }

  /** See {@link Clock.sleep}. */
  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return this.#local.sleep(ms, signal);
  }

  /** Whether the API server has told its time within the last `ms` milliseconds. */
  isFresh(ms: number): boolean {
    return this.#local.monotonic() - this.#heardAt <= ms;
  }

  /**
   * How far this machine's wall clock is ahead of the API server's, in
   * milliseconds; negative where it is behind, 0 where the answers leave both
   * possible, undefined where nothing was heard.
   */
  get skewMs(): number | undefined {
    if (this.#bounds === undefined) return undefined;
    const local = this.#local.now() - this.#local.monotonic();
    if (local > this.#bounds.high) return local - this.#bounds.high;
    return local < this.#bounds.low ? local - this.#bounds.low : 0;
  }

  /**
   * Takes in an answer.
   *
   * @param date Its header `Date`. One that cannot be read is passed over.
   * @param sentAt {@link monotonic} when the call was sent.
   * @param receivedAt {@link monotonic} when the answer's headers were there.
   */
  observe(date: string | null, sentAt: number, receivedAt: number): void {
    const time = Date.parse(date ?? "");
    if (Number.isNaN(time)) return;
    this.#heardAt = receivedAt;
    const heard: Bounds = { low: time - receivedAt, high: time + SECOND_MS - sentAt };
    const known = receivedAt - this.#boundsSince <= KEPT_MS ? this.#bounds : undefined;
    const both = known && { low: Math.max(known.low, heard.low), high: Math.min(known.high, heard.high) };
    // Bounds that exclude each other: one of the clocks was set, or another API server answered.
    if (both !== undefined && both.low < both.high) {
      this.#bounds = both;
    } else {
      this.#bounds = heard;
      this.#boundsSince = receivedAt;
    }
  }
}
