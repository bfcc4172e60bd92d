/**
 * Notices when the process did not run for a while, because somebody had stopped it or its machine. What it reads after
 * that may have waited as long: its client may have gone on by another server since then.
 *
 * @module
 */

import type { Clock } from "../lock/clock.ts";

/** How often the process shows itself that it runs, in milliseconds. */
const TICK_MS = 500;

/** How much longer than that it must not have run to count as stopped, in milliseconds. */
const STOPPED_MS = 500;

/** How long after a stop a request may be one that waited, in milliseconds: all that had come are read within seconds. */
const AFTER_MS = 10_000;

/** See the module. Dispose of it to stop its timer. */
export class Stalls implements Disposable {
  readonly #clock: Pick<Clock, "now" | "monotonic">;
  readonly #timer: ReturnType<typeof setInterval>;
  #ranAt: number;
  #wallAt: number;
  #lateUntil = -Infinity;

  /** Begins to watch the process by `clock`. */
  constructor(clock: Pick<Clock, "now" | "monotonic">) {
    this.#clock = clock;
    this.#ranAt = clock.monotonic();
    this.#wallAt = clock.now();
    this.#timer = setInterval(() => this.tick(), TICK_MS);
    // It keeps no process alive.
    Deno.unrefTimer(this.#timer as unknown as number);
  }

  /** Whether a request that is read now may have waited while the process was stopped. */
  get mayBeLate(): boolean {
    const now = this.#clock.monotonic();
    const ranMs = now - this.#ranAt;
    // The monotonic time of a machine that is suspended may stand still.
    const jumpMs = Math.abs(this.#clock.now() - this.#wallAt - ranMs);
    if (Math.max(ranMs - TICK_MS, jumpMs) > STOPPED_MS) this.#lateUntil = now + AFTER_MS;
    return now < this.#lateUntil;
  }

  /** Notes that the process runs. */
  tick(): void {
    // What is noticed here must be noticed before it is forgotten.
    void this.mayBeLate;
    this.#ranAt = this.#clock.monotonic();
    this.#wallAt = this.#clock.now();
  }

  /** Stops the timer. */
  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }
}
