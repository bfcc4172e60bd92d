/**
 * What this process last saw of the store, from the watch and from its own calls.
 * It is a cache: a refusal or a conditional write may rest on it, but it never
 * proves a yes.
 *
 * @module
 */

import type { ClientId, Group } from "./identity.ts";
import { ABSENT, type Listing, type LockWatcher, type Versioned } from "./lock_store.ts";
import { type GroupState, holderOf } from "./semaphore.ts";

/** Is told what a {@link GroupView} sees. Its methods must not throw. */
export interface ViewObserver {
  /** The watch is in step with the store. */
  synced?(): void;
  /** The watch fell behind. */
  lost?(reason: unknown): void;
  /** A hold of a client has ended, perhaps because the client has a later one. */
  ended?(group: Group, id: ClientId): void;
  /** A group has another state than before; undefined where nothing was known of it. */
  changed?(group: Group, before: GroupState | undefined, after: GroupState): void;
}

/**
 * The last seen state of every group. While the watch is in step, the view
 * ignores what is older than what it has. Only a listing of an earlier moment
 * takes it back: then the store itself went back, to a backup for example.
 */
export class GroupView implements LockWatcher {
  readonly #groups = new Map<Group, Versioned>();
  readonly #observer: ViewObserver;
  #synced = false;
  /** The moment up to which the watch has reported everything, on the scale of {@link Versioned.version}. */
  #moment = 0;

  /** Creates a view that knows nothing yet. */
  constructor(observer: ViewObserver = {}) {
    this.#observer = observer;
  }

  /** Whether the watch is in step with the store, so that a refusal may rest on the view. */
  get isSynced(): boolean {
    return this.#synced;
  }

  /** The groups that are known to exist. They are complete only while {@link isSynced}. */
  get groups(): ReadonlyMap<Group, Versioned> {
    return this.#groups;
  }

  /**
   * Looks up a group.
   *
   * @returns Its last seen state, which is {@link ABSENT} only while the view is
   * in step; undefined if nothing is known of it.
   */
  get(group: Group): Versioned | undefined {
    return this.#groups.get(group) ?? (this.#synced ? ABSENT : undefined);
  }

  /** Takes in the result of a read or write of this process. The watch may have reported something newer already. */
  learn(group: Group, versioned: Versioned): void {
    // While in step, only the watch reports deletions. A group that was written before the watch's moment and is not
    // known has been deleted since.
    if (!this.#synced) this.#set(group, versioned);
    else if (versioned.version > (this.#groups.get(group)?.version ?? this.#moment)) this.#set(group, versioned);
  }

  /** See {@link LockWatcher.synced}. */
  synced(listing: Listing): void {
    const wentBack = listing.version < this.#moment;
    for (const group of new Set([...this.#groups.keys(), ...listing.groups.keys()])) {
      // What is newer than the listing was written or read by this process since.
      if (wentBack || (this.#groups.get(group)?.version ?? 0) <= listing.version) {
        this.#set(group, listing.groups.get(group) ?? ABSENT);
      }
    }
    this.#moment = listing.version;
    this.#synced = true;
    this.#observer.synced?.();
  }

  /** See {@link LockWatcher.changed}. */
  changed(group: Group, versioned: Versioned, version: number): void {
    this.#moment = Math.max(this.#moment, version);
    if (version > (this.#groups.get(group)?.version ?? 0)) this.#set(group, versioned);
  }

  /** See {@link LockWatcher.lost}. */
  lost(reason: unknown): void {
    this.#synced = false;
    this.#observer.lost?.(reason);
  }

  #set(group: Group, versioned: Versioned): void {
    const known = this.#groups.get(group);
    if (versioned.version === ABSENT.version) this.#groups.delete(group);
    else this.#groups.set(group, versioned);
    this.#reportEnded(group, known, versioned);
    if (known?.state !== versioned.state) this.#observer.changed?.(group, known?.state, versioned.state);
  }

  #reportEnded(group: Group, before: Versioned | undefined, after: Versioned): void {
    for (const { id, since } of before?.state.holders ?? []) {
      if (holderOf(after.state, id)?.since !== since) this.#observer.ended?.(group, id);
    }
  }
}
