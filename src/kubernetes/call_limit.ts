/**
 * Limits how many calls run at a time, with a bounded queue for the rest.
 *
 * @module
 */

import { UnavailableError } from "../lock/errors.ts";

/** Gives turns to calls, first come, first served. */
export class CallLimit {
  #free: number;
  readonly #maxWaiting: number;
  readonly #waiting = new Set<() => void>();

  /**
   * Creates a limit.
   *
   * @param concurrency How many calls may have a turn at a time, 1 or more.
   * @param maxWaiting How many more calls may wait for a turn.
   */
  constructor(concurrency: number, maxWaiting: number) {
    this.#free = concurrency;
    this.#maxWaiting = maxWaiting;
  }

  /**
   * Waits for a turn. The caller must give it back with {@link give}.
   *
   * @param signal Ends the wait early, which then throws the signal's reason.
   * @throws {UnavailableError} Too many calls wait already.
   */
  async take(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    if (this.#free > 0) {
      this.#free--;
      return;
    }
    if (this.#waiting.size >= this.#maxWaiting) {
      throw new UnavailableError(`${this.#waiting.size} calls to the API server are waiting already`);
    }
    await new Promise<void>((resolve, reject) => {
      const leave = () => {
        this.#waiting.delete(enter);
        reject(signal.reason);
      };
      const enter = () => {
        signal.removeEventListener("abort", leave);
        resolve();
      };
      this.#waiting.add(enter);
      signal.addEventListener("abort", leave, { once: true });
    });
  }

  /** Gives a turn back. */
  give(): void {
    const [next] = this.#waiting;
    if (next === undefined) {
      this.#free++;
      return;
    }
    this.#waiting.delete(next);
    next();
  }
}
