/**
 * The one table of stores: opens the store that a configuration names. A new
 * store gets its line here.
 *
 * @module
 */

import type { StoreChoice } from "../config/config.ts";
import { ConfigError } from "../config/config_error.ts";
import type { KubernetesClient } from "../kubernetes/client.ts";
import type { Clock } from "../lock/clock.ts";
import { UnavailableError } from "../lock/errors.ts";
import { type LockStore, MemoryLockStore } from "../lock/lock_store.ts";
import { Leases } from "./lease/leases.ts";
import { LeaseLockStore } from "./lease/store.ts";
import { SqliteLockStore } from "./sqlite/store.ts";

/** Options of {@link openStore}. */
export interface OpenStoreOptions {
  /** Measures the pauses and deadlines of the store. @default {systemClock} */
  readonly clock?: Clock;
  /** Returns a number from 0 (inclusive) to 1 (exclusive), to vary pauses. @default {Math.random} */
  readonly random?: () => number;
}

/**
 * Opens a store. The caller disposes of it.
 *
 * @param kubernetes The client for a store in Kubernetes, which the store does not dispose of.
 * @throws {ConfigError} The store cannot be opened; the message says what to do.
 */
export async function openStore(
  choice: StoreChoice,
  kubernetes: KubernetesClient | undefined,
  options: OpenStoreOptions = {},
): Promise<LockStore> {
  switch (choice.kind) {
    case "kubernetes":
      if (kubernetes === undefined) throw new TypeError("Cannot open a store in Kubernetes without a client");
      return new LeaseLockStore(new Leases(kubernetes, options));
    case "memory":
      return new MemoryLockStore();
    case "sqlite":
      return await openSqlite(choice.path, options);
  }
}

/** A file that is locked at the start is an error of the configuration: it may name the file of another program. */
async function openSqlite(path: string, options: OpenStoreOptions): Promise<LockStore> {
  try {
    return await SqliteLockStore.open(path, options);
  } catch (error) {
    if (error instanceof UnavailableError) throw new ConfigError(error.message, { cause: error });
    throw error;
  }
}
