/**
 * Clocks that a test controls.
 *
 * @module
 */

import { abortable } from "../../src/lock/abort.ts";
import type { Clock } from "../../src/lock/clock.ts";

/** A clock that stands still until a test calls {@link advance}. Both of its times move together. */
export class FakeClock implements Clock {
  #now: number;
  readonly #start: number;
  readonly #sleepers = new Set<{ at: number; wake: () => void }>();

  /** @param now The first wall-clock time, in milliseconds since the epoch. */
  constructor(now: number = Date.UTC(2026, 0, 1)) {
    this.#now = now;
    this.#start = now;
  }

  /** See {@link Clock.now}. */
  now(): number {
    return this.#now;
  }

  /** See {@link Clock.monotonic}. */
  monotonic(): number {
    return this.#now - this.#start;
  }

  /** How many sleeps have not ended. */
  get sleepers(): number {
    return this.#sleepers.size;
  }

  /** See {@link Clock.sleep}. */
  async sleep(ms: number, signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted();
    const woken = Promise.withResolvers<void>();
    const sleeper = { at: this.#now + ms, wake: woken.resolve };
    this.#sleepers.add(sleeper);
    try {
      await abortable(woken.promise, signal);
    } finally {
      this.#sleepers.delete(sleeper);
    }
  }

  /** Moves the time on, ends the sleeps that are over, and lets their callers run. */
  async advance(ms: number): Promise<void> {
    this.#now += ms;
    for (const sleeper of this.#sleepers) {
      if (sleeper.at > this.#now) continue;
      this.#sleepers.delete(sleeper);
      sleeper.wake();
    }
    await new Promise((resolve) => setTimeout(resolve, 0));
  }
}

/** A clock whose sleeps end at once and move the time on. */
export class HastyClock extends FakeClock {
  override async sleep(ms: number): Promise<void> {
    await this.advance(ms);
  }
}
