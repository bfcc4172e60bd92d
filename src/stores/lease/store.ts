/**
 * Keeps the locks in Kubernetes Leases, one for each group. Exclusion rests on
 * the API server's conditional write, on the resourceVersion. codec.ts owns the
 * format of a Lease, and leases.ts the calls.
 *
 * @module
 */

import type { V1Lease } from "@kubernetes/client-node/dist/gen/models/V1Lease.js";
import { UnavailableError } from "../../lock/errors.ts";
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
import { groupOfLease, isForeignDrainRecord, leaseName, leaseToState, stateToLease } from "./codec.ts";
import type { Leases } from "./leases.ts";

/** A group's state with the Lease that it was read from, so that a write keeps the rest of the Lease. */
interface VersionedLease extends Versioned {
  readonly lease: V1Lease;
}

/** Keeps each group in a Lease that {@link leaseName} names. The caller disposes of the client under `leases`. */
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

  /** See {@link LockStore.write}. One call: create or update. What it returns is what the API server says it stored. */
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
        const isGone = type === "DELETED" || isForeignDrainRecord(lease);
        watcher.changed(group, isGone ? ABSENT : versioned, versioned.version);
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
  const { name, namespace, resourceVersion, deletionTimestamp, finalizers = [] } = lease.metadata ?? {};
  const version = versionOf(resourceVersion, `the Lease ${namespace}/${name}`);
  const ending = deletionTimestamp ? { object: `Lease ${namespace}/${name}`, finalizers } : undefined;
  return { state: leaseToState(lease), version, lease, ...(ending && { ending }) };
}

/** @throws {UnavailableError} There is none. A write based on such an object would not be conditional. */
function versionOf(resourceVersion: string | undefined, what: string): number {
  const version = Number(resourceVersion);
  if (Number.isSafeInteger(version) && version > 0) return version;
  throw new UnavailableError(`the API server's answer about ${what} has no resourceVersion that can be used`);
}

function toListing(items: V1Lease[], resourceVersion: string): Listing {
  const groups = new Map<Group, Versioned>();
  for (const lease of items) {
    const group = groupOfLease(lease);
    if (group !== undefined && !isForeignDrainRecord(lease)) groups.set(group, fromLease(lease));
  }
  return { groups, version: versionOf(resourceVersion, "the list of Leases") };
}
