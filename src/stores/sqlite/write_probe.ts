/**
 * Finds out whether the SQLite file takes writes, before a client's write fails.
 * It decides when to try; what is written is up to the caller of
 * {@link WriteProbe.check}, except for {@link PROBE}.
 *
 * @module
 */

import type { Clock } from "../../lock/clock.ts";
import { within } from "../../lock/within.ts";

/** How long a successful write shows that the file takes writes, in milliseconds. */
const GOOD_FOR_MS = 10_000;

/**
 * How long a failed write answers for the next ones, in milliseconds. So a crowd of callers costs one write a second.
 */
const BAD_FOR_MS = 1_000;

/** How long a check waits for its write, in milliseconds. It takes longer only while another process writes. */
const WAIT_MS = 200;

/**
 * What a probe does in one transaction, which changes nothing that anybody reads. It touches the pages of a grant, and
 * takes and frees three pages. On a full disk, a write into the pages that the file already has succeeds, and only one
 * that needs further pages fails. With `secure_delete`, the freed pages are written, so that a successful probe leaves
 * them on the disk for the next grants.
 */
export const PROBE = `
  UPDATE counter SET version = version + 1;
  UPDATE counter SET version = version - 1;
  INSERT INTO lock_group VALUES (' probe', json_object('holders', json('[]'), 'fill', hex(zeroblob(5000))), 0, 'probe');
  DELETE FROM lock_group WHERE name = ' probe';
`;

/** Tries a write where the last one says too little. */
export class WriteProbe {
  readonly #clock: Pick<Clock, "monotonic" | "sleep">;
  #succeededAt = -Infinity;
  #failure: { readonly error: unknown; readonly at: number } | undefined;
  #running: Promise<void> | undefined;

  /** Makes one that knows of no write. `clock` measures how long writes count and checks wait. */
  constructor(clock: Pick<Clock, "monotonic" | "sleep">) {
    this.#clock = clock;
  }

  /** Notes that a write took effect. */
  succeeded(): void {
    this.#succeededAt = this.#clock.monotonic();
    this.#failure = undefined;
  }

  /** Notes that a write failed: the next check must try one. */
  failed(): void {
    this.#succeededAt = -Infinity;
  }

  /**
   * Checks that writes take effect. Calls `write` unless a write took effect in the last 10 s. Calls at the same time
   * share one write, and those in the second after a failure share its error. If the write takes long, because another
   * process has locked the file, it goes on, and the result of the one before it stands in the meantime.
   *
   * @throws What `write` throws.
   */
  async check(write: () => Promise<void>): Promise<void> {
    const now = this.#clock.monotonic();
    if (now - this.#succeededAt < GOOD_FOR_MS) return;
    if (this.#failure !== undefined && now - this.#failure.at < BAD_FOR_MS) throw this.#failure.error;
    this.#running ??= this.#try(write);
    if (await within(WAIT_MS, this.#running, this.#clock) === "late" && this.#failure !== undefined) {
      throw this.#failure.error;
    }
  }

  async #try(write: () => Promise<void>): Promise<void> {
    try {
      await write();
      this.succeeded();
    } catch (error) {
      this.failed();
      this.#failure = { error, at: this.#clock.monotonic() };
      throw error;
    } finally {
      this.#running = undefined;
    }
  }
}
