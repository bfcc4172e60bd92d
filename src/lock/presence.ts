/**
 * Whether the client of a request hung up at once, so that nobody acts on the answer. Such a request may be late: it
 * waited, perhaps for minutes, in a network that was interrupted or in the queue of a server that was stopped, and its
 * client has gone on by later answers since then. It takes and frees no slot: a late steady-state could free the slot
 * of a host that reboots by a later yes, and a late pre-reboot could take one for which nobody asks again.
 *
 * A client that hangs up later had sent its request in time. What it asked for goes on, and its next request joins
 * that.
 *
 * @module
 */

import type { Clock } from "./clock.ts";

/**
 * Gets what aborts when the client of a request hangs up. It may cost more than a refusal, and is called once at most,
 * where a slot seems free or is to be freed.
 */
export type HangUp = () => AbortSignal;

/** How soon a client must hang up to count as gone, in milliseconds. Proxies wait longer before they cut a request. */
const GONE_MS = 5_000;

/** How much longer than asked for a sleep takes where the process is too busy, in milliseconds. */
const BUSY_MS = 20;

/** How often to wait again because the process was too busy to notice anything in time. */
const MAX_BUSY = 5;

/** See the module. */
export class Presence {
  readonly #clock: Pick<Clock, "monotonic" | "sleep">;
  readonly #began: number;
  readonly #isKnown: boolean;
  #isGone = false;

  /**
   * Begins to follow the client of a request that has just come.
   *
   * @param hangUp Undefined where nobody can tell. The client then counts as present.
   */
  constructor(hangUp: HangUp | undefined, clock: Pick<Clock, "monotonic" | "sleep">) {
    this.#clock = clock;
    this.#began = clock.monotonic();
    this.#isKnown = hangUp !== undefined;
    const signal = hangUp?.();
    const hungUp = () => this.#isGone = clock.monotonic() - this.#began <= GONE_MS;
    if (signal?.aborted) hungUp();
    else signal?.addEventListener("abort", hungUp, { once: true });
  }

  /** Whether the client is known to have hung up at once. */
  get isGone(): boolean {
    return this.#isGone;
  }

  /**
   * Tells the same once a client that hung up before its request was read has probably been noticed.
   *
   * @param noticeMs How long after the request that may take, in milliseconds. Where the network repeats both, the end
   * of the connection comes a round trip after the request. It is waited for again where the process is too busy to
   * notice anything in time.
   */
  async settled(noticeMs: number): Promise<boolean> {
    let at = this.#clock.monotonic();
    let leftMs = this.#began + noticeMs - at;
    for (let busy = 0; this.#isKnown && !this.#isGone && leftMs > 0 && busy < MAX_BUSY; busy++) {
      await this.#clock.sleep(leftMs);
      const sleptMs = this.#clock.monotonic() - at;
      at += sleptMs;
      leftMs = sleptMs - leftMs > BUSY_MS ? noticeMs : 0;
    }
    return this.#isGone;
  }
}
