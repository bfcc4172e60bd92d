/**
 * The pause of one disruption budget, which its pods share. It has no clock and knows nothing of pods.
 *
 * @module
 */

/** The first pause after a refusal, in milliseconds. It doubles with each further one up to {@link MAX_PAUSE_MS}. */
const PAUSE_MS = 1_000;

/** The longest pause before a budget is asked again, in milliseconds. */
const MAX_PAUSE_MS = 5_000;

/** A budget that has refused an eviction. Times are milliseconds on any one scale that does not jump. */
export class Budget {
  /** Whether one of its pods is being tried. */
  trying = false;
  #notBefore = 0;
  #pauseMs = 0;

  /** The earliest time of the next try; Infinity during one. */
  get notBefore(): number {
    return this.trying ? Infinity : this.#notBefore;
  }

  /** Notes that it let a pod go: it may allow another one. */
  allowed(now: number): void {
    this.#notBefore = now;
    this.#pauseMs = 0;
  }

  /** Notes that it refused an eviction. Refusals of simultaneous calls count once. `jitter` shortens the pause. */
  refused(now: number, retryAfterMs: number, jitter: number): void {
    if (this.#notBefore > now) return;
    this.#pauseMs = Math.min(Math.max(this.#pauseMs * 2, PAUSE_MS), MAX_PAUSE_MS);
    this.#notBefore = now + Math.max(retryAfterMs, this.#pauseMs * jitter);
  }
}
