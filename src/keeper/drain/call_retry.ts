/**
 * Which failed calls of a drain are repeated, and for how long. It knows nothing of what the calls do.
 *
 * @module
 */

import type { Clock } from "../../lock/clock.ts";
import { CallRefusedError, UnavailableError } from "../../lock/errors.ts";
import { ForbiddenError, KubernetesError } from "../../kubernetes/errors.ts";

/** The first and the longest pause before a failed call is repeated, in milliseconds; it doubles with each. */
const PAUSE_MS = 1_000;
const MAX_PAUSE_MS = 5_000;

/** The longest pause that the API server may ask for, in milliseconds. */
const MAX_ASKED_MS = 30_000;

/** Options of {@link CallRetry}. */
export interface CallRetryOptions {
  /** Time. */
  readonly clock: Clock;
  /** Until when calls are repeated, by {@link Clock.monotonic}. */
  readonly deadline: number;
  /** How long a denied call is repeated, in milliseconds. */
  readonly deniedMs: number;
  /** Ends the repeating, with the signal's reason. */
  readonly signal: AbortSignal;
  /** Told of each failure that is followed by another try. */
  retrying(error: unknown): void;
}

/** Repeats the calls of one drain. */
export class CallRetry {
  readonly #options: CallRetryOptions;
  /** When the current series of denials began. */
  #deniedAt = -Infinity;

  /** Makes one for a drain that begins now. */
  constructor(options: CallRetryOptions) {
    this.#options = options;
  }

  /**
   * Makes a call, and repeats it while the cluster does not answer, until the deadline.
   *
   * @throws The last error, or the signal's reason.
   */
  async persist<T>(call: () => Promise<T>): Promise<T> {
    const { clock, deadline, signal, retrying } = this.#options;
    for (let pauseMs = PAUSE_MS;; pauseMs = Math.min(pauseMs * 2, MAX_PAUSE_MS)) {
      try {
        return await call();
      } catch (error) {
        signal.throwIfAborted();
        if (!(error instanceof UnavailableError) || this.isFinal(error)) throw error;
        if (clock.monotonic() >= deadline) throw error;
        retrying(error);
        await clock.sleep(Math.max(pauseMs, Math.min(error.retryAfterMs ?? 0, MAX_ASKED_MS)), signal);
      }
    }
  }

  /**
   * Whether repeating the call that failed is pointless: the error does not come from the cluster, the API server
   * refuses the call for good, or it has been denying calls for a while. Call it once for each failure, since it notes
   * when denials began.
   */
  isFinal(error: unknown): boolean {
    if (error instanceof CallRefusedError) return true;
    if (!(error instanceof ForbiddenError)) {
      return !(error instanceof UnavailableError || error instanceof KubernetesError);
    }
    const { clock, deniedMs } = this.#options;
    const now = clock.monotonic();
    // Denials that lie further apart are two series.
    if (now - this.#deniedAt > 6 * deniedMs) this.#deniedAt = now;
    return now - this.#deniedAt >= deniedMs;
  }
}
