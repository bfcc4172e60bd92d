/**
 * Notices that a connection has carried nothing for too long. It closes nothing itself.
 *
 * @module
 */

import type { Clock } from "../lock/clock.ts";

/** Rings once, when nothing has arrived for a while. Dispose of it to stop it. */
export class SilenceAlarm implements Disposable {
  readonly #clock: Clock;
  readonly #stop = new AbortController();
  #silenceMs: number;
  #last: number;
  #rang = false;

  /**
   * Begins to wait.
   *
   * @param silenceMs How long nothing may arrive, in milliseconds.
   * @param ring Called once, when that time has passed. Must not throw.
   */
  constructor(clock: Clock, silenceMs: number, ring: () => void) {
    this.#clock = clock;
    this.#silenceMs = silenceMs;
    this.#last = clock.monotonic();
    this.#run(ring);
  }

  /** Whether it has rung. */
  get rang(): boolean {
    return this.#rang;
  }

  /** Notes that bytes have arrived. */
  reset(): void {
    this.#last = this.#clock.monotonic();
  }

  /** Allows another silence from now on, in milliseconds, which may not be shorter than before. */
  allow(silenceMs: number): void {
    this.#silenceMs = silenceMs;
  }

  /** Stops it. */
  [Symbol.dispose](): void {
    this.#stop.abort();
  }

  async #run(ring: () => void): Promise<void> {
    const { signal } = this.#stop;
    for (;;) {
      const left = this.#last + this.#silenceMs - this.#clock.monotonic();
      if (left <= 0) break;
      await this.#clock.sleep(left, signal).catch(() => {});
      if (signal.aborted) return;
    }
    this.#rang = true;
    ring();
  }
}
