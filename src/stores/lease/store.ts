/**
 * Keeps the locks in Kubernetes Leases, one a group. The API server's own
 * conditional write, on the resourceVersion, is what exclusion rests on. What
 * a Lease looks like is lease_codec.ts's.
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

/**
 * The Leases of one namespace. All methods but `watch` throw
 * {@link "../../lock/errors.ts".UnavailableError} for every fault, and the
 * signal's reason once it aborts.
 */
export interface LeaseApi {
  /** The namespace. */
  readonly namespace: string;
  /** Reads one afresh; undefined where there is none. Needs get. */
  get(name: string, signal?: AbortSignal): Promise<V1Lease | undefined>;
  /** Creates one; "conflict" where there is one of its name. Needs create. */
  create(lease: V1Lease, signal?: AbortSignal): Promise<V1Lease | "conflict">;
  /** Replaces one that is still at the resourceVersion of `lease`; else, or where it is gone, "conflict". Needs update. */
  replace(lease: V1Lease, signal?: AbortSignal): Promise<V1Lease | "conflict">;
  /** Reads all. Needs list. */
  list(signal?: AbortSignal): Promise<{ items: V1Lease[]; resourceVersion: string }>;
  /** Reports all, then every change, until the signal aborts; reconnects by itself; does not throw. Needs list and watch. */
  watch(watcher: LeaseWatcher, signal: AbortSignal): Promise<void>;
}

/** Told what happens to the Leases. */
export interface LeaseWatcher {
  /** All there are, at the start and whenever changes may have been missed. */
  synced(items: V1Lease[], resourceVersion: string): void;
  /** One changed. */
  changed(type: "ADDED" | "MODIFIED" | "DELETED", lease: V1Lease): void;
  /** Changes may be missed from now on, until the next `synced`. */
  lost(error: unknown): void;
}

/** A group's state with the Lease that it was read from, so that a write keeps what it does not know. */
interface VersionedLease extends Versioned {
  readonly lease: V1Lease;
}

/** Keeps each group in a Lease named by {@link leaseName}. Disposing of it gives nothing back: the API is the caller's. */
export class LeaseLockStore implements LockStore {
  readonly #api: LeaseApi;

  /** Makes one on the Leases of `api`. */
  constructor(api: LeaseApi) {
    this.#api = api;
  }

  /** See {@link LockStore.read}. One call: get. */
  async read(group: Group, options: CallOptions = {}): Promise<Versioned> {
    const lease = await this.#api.get(leaseName(group), options.signal);
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
    const lease = stateToLease(group, this.#api.namespace, next, base);
    const written = base === undefined
      ? await this.#api.create(lease, options.signal)
      : await this.#api.replace(lease, options.signal);
    return written === "conflict" ? "conflict" : fromLease(written);
  }

  /** See {@link LockStore.list}. One call: list. */
  async list(options: CallOptions = {}): Promise<Listing> {
    const { items, resourceVersion } = await this.#api.list(options.signal);
    return toListing(items, resourceVersion);
  }

  /** See {@link LockStore.watch}. Where we may not list or watch, it reports `lost` and goes on trying. */
  async watch(watcher: LockWatcher, signal: AbortSignal): Promise<void> {
    await this.#api.watch({
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

  /** Nothing to give back. */
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
