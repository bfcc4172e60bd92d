/**
 * Time, as an interface: whoever bases a decision on time takes a
 * {@link Clock}, so that tests control it.
 *
 * @module
 */

import { abortable } from "./abort.ts";

/** A source of time. */
export interface Clock {
  /** Wall-clock time, in milliseconds since the epoch. It may jump, and replicas may disagree by hours. */
  now(): number;
  /** Milliseconds since some fixed moment. It never jumps, and it also runs while the process is paused. */
  monotonic(): number;
  /**
   * Waits.
   *
   * @param ms How long, in milliseconds.
   * @param signal Ends the wait early.
   * @throws The signal's reason, when the signal aborts first.
   */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
}

/** The machine's clock. */
export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  async sleep(ms, signal) {
    signal?.throwIfAborted();
    const over = Promise.withResolvers<void>();
    const timer = setTimeout(over.resolve, ms);
    try {
      await abortable(over.promise, signal);
    } finally {
      clearTimeout(timer);
    }
  },
};
