/**
 * Lets requests wait until what a watch has seen meets a condition. It knows nothing of what is seen.
 *
 * @module
 */

import type { Clock } from "../../lock/clock.ts";

/** See the module. */
export class Waiters {
  readonly #clock: Pick<Clock, "sleep">;
  readonly #waiting = new Set<() => void>();

  /** Measures waits by `clock`. Nothing waits yet. */
  constructor(clock: Pick<Clock, "sleep">) {
    this.#clock = clock;
  }

  /**
   * Waits until a condition is met.
   *
   * @param condition Asked at once, and with each call of {@link wake}.
   * @param ms How long to wait at most, in milliseconds.
   * @param signal Ends the wait at once.
   * @returns Whether the condition was met in time.
   */
  async until(condition: () => boolean, ms: number, signal?: AbortSignal): Promise<boolean> {
    const done = new AbortController();
    let reached = false;
    const look = () => {
      if (reached || !condition()) return;
      reached = true;
      done.abort();
    };
    this.#waiting.add(look);
    try {
      look();
      const ends = signal === undefined ? done.signal : AbortSignal.any([signal, done.signal]);
      await this.#clock.sleep(ms, ends).catch(() => {});
      return reached;
    } finally {
      this.#waiting.delete(look);
    }
  }

  /** Tells that something has changed. */
  wake(): void {
    for (const look of [...this.#waiting]) look();
  }
}
