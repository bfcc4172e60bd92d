/**
 * The one table of stores: opens the store that a configuration names. A new
 * store gets its line here.
 *
 * @module
 */

import type { StoreChoice } from "../config/config.ts";
import { ConfigError } from "../config/config_error.ts";
import type { KubernetesClient } from "../kubernetes/client.ts";
import { UnavailableError } from "../lock/errors.ts";
import { type LockStore, MemoryLockStore } from "../lock/lock_store.ts";
import { Leases } from "./lease/leases.ts";
import { LeaseLockStore } from "./lease/store.ts";
import { SqliteLockStore } from "./sqlite.ts";

/**
 * Opens a store. The caller disposes of it.
 *
 * @param kubernetes The client for a store in Kubernetes, which the store does not dispose of.
 * @throws {ConfigError} The store cannot be opened; the message says what to do.
 */
export async function openStore(choice: StoreChoice, kubernetes: KubernetesClient | undefined): Promise<LockStore> {
  switch (choice.kind) {
    case "kubernetes":
      if (kubernetes === undefined) throw new TypeError("Cannot open a store in Kubernetes without a client");
      return new LeaseLockStore(new Leases(kubernetes));
    case "memory":
      return new MemoryLockStore();
    case "sqlite":
      return await openSqlite(choice.path);
  }
}

/** A file that is locked at the start is an error of the configuration: it may name the file of another program. */
async function openSqlite(path: string): Promise<LockStore> {
  try {
    return await SqliteLockStore.open(path);
  } catch (error) {
    if (error instanceof UnavailableError) throw new ConfigError(error.message, { cause: error });
    throw error;
  }
}
