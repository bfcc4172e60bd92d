/**
 * Time as the domain sees it, so that tests need not wait for it.
 *
 * @module
 */

/** A source of time. */
export interface Clock {
  /** Wall-clock time, in milliseconds since the epoch. It may jump, and replicas may disagree by hours. */
  now(): number;
  /** Milliseconds since some fixed moment; it never jumps, and goes on while the process is paused. */
  monotonic(): number;
  /**
   * Waits.
   *
   * @param ms How long, in milliseconds.
   * @param signal Ends the wait early, which then throws the signal's reason.
   */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
}

/** The machine's own clock. */
export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  sleep(ms, signal) {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason);
      const stop = () => {
        clearTimeout(timer);
        reject(signal?.reason);
      };
      const timer = setTimeout(() => {
        signal?.removeEventListener("abort", stop);
        resolve();
      }, ms);
      signal?.addEventListener("abort", stop, { once: true });
    });
  },
};
