/**
 * A wait that ends at a time or when something happens, whichever comes first. For loops that look at some state,
 * act, and wait until there may be something new to look at.
 *
 * @module
 */

import type { Clock } from "./clock.ts";

/** See the module. One loop sleeps; anybody wakes it. */
export class WakeableSleep {
  readonly #clock: Clock;
  #isWoken = false;
  #alarm: AbortController | undefined;

  /** Makes one that measures time with `clock`. */
  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Ends the current sleep, or the next one at once, so that nothing that happens between two sleeps is missed. */
  wake(): void {
    this.#isWoken = true;
    // Nobody sees the reason. Without one, the runtime makes an exception with its stack at each call.
    this.#alarm?.abort("woken");
  }

  /**
   * Sleeps until the time is over, {@link wake} is called or the signal aborts. Does not throw.
   *
   * @param ms How long at most, in milliseconds.
   */
  async sleep(ms: number, signal: AbortSignal): Promise<void> {
    if (!this.#isWoken) {
      this.#alarm = new AbortController();
      await this.#clock.sleep(ms, AbortSignal.any([signal, this.#alarm.signal])).catch(() => {});
      this.#alarm = undefined;
    }
    this.#isWoken = false;
  }
}
