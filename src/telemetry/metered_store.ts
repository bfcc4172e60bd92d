/**
 * A lock store that counts and times the calls to another one.
 *
 * @module
 */

import { type Clock, systemClock } from "../lock/clock.ts";
import type { Group } from "../lock/identity.ts";
import { UnavailableError } from "../lock/errors.ts";
import type { CallOptions, Listing, LockStore, LockWatcher, Versioned } from "../lock/lock_store.ts";
import type { GroupState } from "../lock/semaphore.ts";
import type { StoreMetrics, StoreOperation, StoreResult } from "./store_metrics.ts";

/** Passes every call on to another store, and counts and times it. */
export class MeteredLockStore implements LockStore {
  readonly #store: LockStore;
  readonly #metrics: Pick<StoreMetrics, "storeOperationDone">;
  readonly #clock: Pick<Clock, "monotonic">;

  /**
   * Wraps a store and takes ownership of it.
   *
   * @param clock The clock that measures durations.
   */
  constructor(
    store: LockStore,
    metrics: Pick<StoreMetrics, "storeOperationDone">,
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

  /** See {@link LockStore.checkWritable}. It is not counted, since no request waits for it. */
  async checkWritable(): Promise<void> {
    await this.#store.checkWritable?.();
  }

  /** See {@link LockStore.watch}. */
  watch(watcher: LockWatcher, signal: AbortSignal): Promise<void> {
    return this.#store.watch(watcher, signal);
  }

  /** Closes the wrapped store. */
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
