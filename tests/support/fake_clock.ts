/**
 * Clocks that a test controls.
 *
 * @module
 */

import { setImmediate as turn } from "node:timers/promises";
import type { Clock } from "../../src/lock/clock.ts";

/** Where the monotonic time of a fake begins, in milliseconds: not at 0, so that a duration is not taken for a time. */
const MONOTONIC_START = 7_654_321;

/** A clock that stands still until a test calls {@link advance}. Both of its times move together. */
export class FakeClock implements Clock {
  #now: number;
  readonly #start: number;
  readonly #sleepers = new Set<{ at: number; wake: () => void }>();

  /** @param now The first wall-clock time, in milliseconds since the epoch. */
  constructor(now: number = Date.UTC(2026, 0, 1)) {
    this.#now = now;
    this.#start = now - MONOTONIC_START;
  }

  /** See {@link Clock.now}. */
  now(): number {
    return this.#now;
  }

  /** See {@link Clock.monotonic}. */
  monotonic(): number {
    return this.#now - this.#start;
  }

  /** How much time has passed since the clock was made, in milliseconds. */
  get passed(): number {
    return this.monotonic() - MONOTONIC_START;
  }

  /** How many sleeps have not ended. */
  get sleepers(): number {
    return this.#sleepers.size;
  }

  /** How long until the first sleep ends, in milliseconds; undefined where nobody sleeps. */
  get nextIn(): number | undefined {
    const next = Math.min(...[...this.#sleepers].map(({ at }) => at));
    return Number.isFinite(next) ? Math.max(next - this.#now, 0) : undefined;
  }

  /** See {@link Clock.sleep}. An aborted sleep is gone at once, so that a test can look right after the abort. */
  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason);
      const abort = () => {
        this.#sleepers.delete(sleeper);
        reject(signal?.reason);
      };
      const sleeper = {
        at: this.#now + ms,
        wake: () => {
          signal?.removeEventListener("abort", abort);
          resolve();
        },
      };
      this.#sleepers.add(sleeper);
      signal?.addEventListener("abort", abort, { once: true });
    });
  }

  /** Moves the time on, ends the sleeps that are over, and lets their callers run. */
  async advance(ms: number): Promise<void> {
    this.moveOn(ms);
    await new Promise((resolve) => setTimeout(resolve, 0));
  }

  /** Moves the time on, and ends the sleeps that are over. */
  protected moveOn(ms: number): void {
    this.#now += ms;
    for (const sleeper of this.#sleepers) {
      if (sleeper.at > this.#now) continue;
      this.#sleepers.delete(sleeper);
      sleeper.wake();
    }
  }
}

/** A clock whose sleeps end at once and move the time on. */
export class HastyClock extends FakeClock {
  override async sleep(ms: number): Promise<void> {
    await this.advance(ms);
  }
}

/** How many turns of the event loop may pass until everything in memory has settled. */
const SETTLED_TURNS = 5;

/**
 * A clock whose time moves on to the end of the next sleep once nothing else is left to do. For what runs in memory.
 */
export class IdleClock extends FakeClock {
  /**
   * Lets the time pass until a promise is settled.
   *
   * @param mostMs How much time may pass, in milliseconds.
   */
  async until<T>(promise: Promise<T>, mostMs = 3_600_000): Promise<T> {
    const limit = this.monotonic() + mostMs;
    let settled = false;
    promise.then(() => settled = true, () => settled = true);
    while (true) {
      for (let turns = 0; turns < SETTLED_TURNS && !settled; turns++) {
        await turn();
      }
      if (settled) return await promise;
      const ms = this.nextIn;
      if (ms === undefined) throw new Error("everybody waits for something, and nobody for the time");
      if (this.monotonic() + ms > limit) throw new Error(`not settled within ${mostMs} ms`);
      this.moveOn(ms);
    }
  }

  /** Lets an amount of time pass, in milliseconds. */
  async pass(ms: number): Promise<void> {
    await this.until(this.sleep(ms));
  }
}
