/**
 * Counts and times the calls to a store.
 *
 * @module
 */

import { type Clock, systemClock } from "../lock/clock.ts";
import type { Group } from "../lock/identity.ts";
import { UnavailableError } from "../lock/errors.ts";
import type { CallOptions, Listing, LockStore, LockWatcher, Versioned } from "../lock/lock_store.ts";
import type { GroupState } from "../lock/semaphore.ts";
import type { Metrics, StoreOperation, StoreResult } from "./metrics.ts";

/** A store that does what another one does, and counts it. */
export class MeteredLockStore implements LockStore {
  readonly #store: LockStore;
  readonly #metrics: Pick<Metrics, "storeOperationDone">;
  readonly #clock: Pick<Clock, "monotonic">;

  /**
   * Wraps a store, which it owns from then on.
   *
   * @param clock What durations go by.
   */
  constructor(
    store: LockStore,
    metrics: Pick<Metrics, "storeOperationDone">,
    clock: Pick<Clock, "monotonic"> = systemClock,
  ) {
    this.#store = store;
    this.#metrics = metrics;
    this.#clock = clock;
  }

  /** See {@link LockStore.read}. */
  read(group: Group, options?: CallOptions): Promise<Versioned> {
    return this.#meter("read", () => this.#store.read(group, options), options);
  }

  /** See {@link LockStore.write}. */
  write(
    group: Group,
    expected: Versioned,
    next: GroupState,
    options?: CallOptions,
  ): Promise<Versioned | "conflict"> {
    return this.#meter("write", () => this.#store.write(group, expected, next, options), options);
  }

  /** See {@link LockStore.list}. */
  list(options?: CallOptions): Promise<Listing> {
    return this.#meter("list", () => this.#store.list(options), options);
  }

  /** See {@link LockStore.watch}. */
  watch(watcher: LockWatcher, signal: AbortSignal): Promise<void> {
    return this.#store.watch(watcher, signal);
  }

  /** Closes the store underneath. */
  [Symbol.asyncDispose](): Promise<void> {
    return Promise.resolve(this.#store[Symbol.asyncDispose]());
  }

  async #meter<T>(operation: StoreOperation, call: () => Promise<T>, options: CallOptions = {}): Promise<T> {
    const began = this.#clock.monotonic();
    let result: StoreResult = "error";
    try {
      const value = await call();
      result = value === "conflict" ? "conflict" : "ok";
      return value;
    } catch (error) {
      if (error instanceof UnavailableError) result = "unavailable";
      else if (options.signal?.aborted) result = "aborted";
      throw error;
    } finally {
      this.#metrics.storeOperationDone(operation, result, (this.#clock.monotonic() - began) / 1000);
    }
  }
}
