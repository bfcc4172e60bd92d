/**
 * Keeps the locks in Kubernetes Leases, one for each group. Exclusion rests on
 * the API server's conditional write, on the resourceVersion. codec.ts owns the
 * format of a Lease, and leases.ts the calls.
 *
 * @module
 */

import type { V1Lease } from "@kubernetes/client-node/dist/gen/models/V1Lease.js";
import type { Group } from "../../lock/identity.ts";
import {
  ABSENT,
  type CallOptions,
  type Listing,
  type LockStore,
  type LockWatcher,
  type Versioned,
} from "../../lock/lock_store.ts";
import type { GroupState } from "../../lock/semaphore.ts";
import { groupOfLease, leaseName, leaseToState, stateToLease } from "./codec.ts";
import type { Leases } from "./leases.ts";

/** A group's state with the Lease that it was read from, so that a write keeps the rest of the Lease. */
interface VersionedLease extends Versioned {
  readonly lease: V1Lease;
}

/** Keeps each group in a Lease that {@link leaseName} names. It owns nothing to dispose of: the client is the caller's. */
export class LeaseLockStore implements LockStore {
  readonly #leases: Leases;

  /** Keeps the locks in `leases`. */
  constructor(leases: Leases) {
    this.#leases = leases;
  }

  /** See {@link LockStore.read}. One call: get. */
  async read(group: Group, options: CallOptions = {}): Promise<Versioned> {
    const lease = await this.#leases.get(leaseName(group), options.signal);
    return lease === undefined ? ABSENT : fromLease(lease);
  }

  /** See {@link LockStore.write}. One call: create or update. */
  async write(
    group: Group,
    expected: Versioned,
    next: GroupState,
    options: CallOptions = {},
  ): Promise<Versioned | "conflict"> {
    const base = (expected as Partial<VersionedLease>).lease;
    const lease = stateToLease(group, this.#leases.namespace, next, base);
    const written = base === undefined
      ? await this.#leases.create(lease, options.signal)
      : await this.#leases.replace(lease, options.signal);
    return written === "conflict" ? "conflict" : fromLease(written);
  }

  /** See {@link LockStore.list}. One call: list. */
  async list(options: CallOptions = {}): Promise<Listing> {
    const { items, resourceVersion } = await this.#leases.list(options.signal);
    return toListing(items, resourceVersion);
  }

  /** See {@link LockStore.watch}. Without the permission to list and watch, it reports `lost` and goes on trying. */
  async watch(watcher: LockWatcher, signal: AbortSignal): Promise<void> {
    await this.#leases.watch({
      synced: (items, resourceVersion) => watcher.synced(toListing(items, resourceVersion)),
      changed(type, lease) {
        const group = groupOfLease(lease);
        if (group === undefined) return;
        const versioned = fromLease(lease);
        watcher.changed(group, type === "DELETED" ? ABSENT : versioned, versioned.version);
      },
      lost: (error) => watcher.lost(error),
    }, signal);
  }

  /** Does nothing. */
  [Symbol.asyncDispose](): Promise<void> {
    return Promise.resolve();
  }
}

function fromLease(lease: V1Lease): VersionedLease {
  return { state: leaseToState(lease), version: Number(lease.metadata?.resourceVersion), lease };
}

function toListing(items: V1Lease[], resourceVersion: string): Listing {
  const groups = new Map<Group, Versioned>();
  for (const lease of items) {
    const group = groupOfLease(lease);
    if (group !== undefined) groups.set(group, fromLease(lease));
  }
  return { groups, version: Number(resourceVersion) };
}
