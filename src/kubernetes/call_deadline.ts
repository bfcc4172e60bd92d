/**
 * How long one call to the API server may take, what ends it early, and which
 * pool of connections to blame when it ran out of time. It makes no calls.
 *
 * @module
 */

import type { Clock } from "../lock/clock.ts";
import { UnavailableError } from "../lock/errors.ts";
import type { Pool } from "./connection_pool.ts";
import { LinkedAbort } from "./linked_abort.ts";

/** The abort reason of a call that reached its deadline. */
const PASSED = Symbol("deadline passed");

/** What {@link CallDeadline} needs. */
export interface CallDeadlineOptions {
  /** Measures the deadline. */
  readonly clock: Clock;
  /** How long the call may take, in milliseconds. */
  readonly timeoutMs: number;
  /** The API server's base URL, for the error message. */
  readonly server: string;
  /** Signals that end the call early, which then throws their reason. */
  readonly signals: readonly (AbortSignal | undefined)[];
}

/** The deadline of one call. Dispose of it when the call has ended. */
export class CallDeadline implements Disposable {
  readonly #options: CallDeadlineOptions;
  readonly #abort: LinkedAbort;
  readonly #timer = new AbortController();
  #blamed: { pool: Pool; since: number } | undefined;

  /** Starts the clock. */
  constructor(options: CallDeadlineOptions) {
    this.#options = options;
    this.#abort = new LinkedAbort(...options.signals);
    options.clock.sleep(options.timeoutMs, this.#timer.signal).then(() => this.#abort.abort(PASSED), () => {});
  }

  /** Aborts at the deadline, and when one of the signals does. */
  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  /** Says which pool the call uses from now on. */
  blame(pool: Pool): void {
    this.#blamed = { pool, since: this.#options.clock.monotonic() };
  }

  /**
   * Finds the error to throw for what the call threw. At the deadline, retires
   * the blamed pool, whose connection may have gone silent.
   *
   * @returns `error` itself where neither the deadline nor a signal ended the call.
   */
  errorOf(error: unknown): unknown {
    if (!this.signal.aborted) return error;
    if (this.signal.reason !== PASSED) return this.signal.reason;
    const { clock, timeoutMs, server } = this.#options;
    // A call that spent its time in the queue says nothing about the connection that it got at last.
    if (this.#blamed && clock.monotonic() - this.#blamed.since >= timeoutMs / 2) this.#blamed.pool.retire();
    return new UnavailableError(`the API server at ${server} did not answer within ${timeoutMs} ms`);
  }

  /** Stops the clock and lets go of the signals. */
  [Symbol.dispose](): void {
    this.#timer.abort();
    this.#abort[Symbol.dispose]();
  }
}
