/**
 * Looks from time to time whether a hold is stuck, and tells of each once. It runs
 * only while there are holds. It changes nothing.
 *
 * @module
 */

import type { Clock } from "../lock/clock.ts";
import type { Group } from "../lock/identity.ts";
import type { HolderAccount } from "./account.ts";
import type { Accountant } from "./accountant.ts";

/** Options of {@link StuckWatch}. */
export interface StuckWatchOptions {
  /** Knows where each hold is. */
  readonly accountant: Pick<Accountant, "holds">;
  /** Is told of a hold that is stuck, once for each stage of it. Must not throw. */
  readonly stuck: (group: Group, holder: HolderAccount) => void;
  /** Paces the looks. */
  readonly clock: Pick<Clock, "sleep">;
  /** Ends it. */
  readonly signal: AbortSignal;
}

/** How often to look, in milliseconds. */
const LOOK_MS = 30_000;

/** See the module. */
export class StuckWatch {
  readonly #options: StuckWatchOptions;
  /** What was told, by group, hold and stage. */
  #told = new Set<string>();
  #running: Promise<void> | undefined;

  /** Makes one that does not run yet. */
  constructor(options: StuckWatchOptions) {
    this.#options = options;
  }

  /** Whether it runs. */
  get isRunning(): boolean {
    return this.#running !== undefined;
  }

  /** There may be a hold: begins to look where it does not yet. */
  begin(): void {
    if (this.#options.signal.aborted) return;
    this.#running ??= this.#run();
  }

  /** Waits until it has ended. */
  async ended(): Promise<void> {
    await this.#running;
  }

  async #run(): Promise<void> {
    const { clock, signal } = this.#options;
    do {
      await clock.sleep(LOOK_MS, signal).catch(() => {});
    } while (!signal.aborted && this.#look());
    // In the same turn as the look, so that no hold comes in between.
    this.#running = undefined;
  }

  /** @returns Whether there is any hold. */
  #look(): boolean {
    const { accountant, stuck } = this.#options;
    const holds = accountant.holds();
    const now = new Set<string>();
    for (const { group, since, holder } of holds) {
      if (!holder.isStuck) continue;
      const key = JSON.stringify([group, holder.id, since, holder.stage]);
      now.add(key);
      if (!this.#told.has(key)) stuck(group, holder);
    }
    this.#told = now;
    return holds.length > 0;
  }
}
