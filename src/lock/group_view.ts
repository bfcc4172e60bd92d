/**
 * What this process has seen of the store last: the watch's reports and the
 * results of its own calls. It is a cache, so it may say no, and it may be the
 * base of a conditional write, but it never proves a yes.
 *
 * @module
 */

import type { ClientId, Group } from "./identity.ts";
import { ABSENT, type Listing, type LockWatcher, type Versioned } from "./lock_store.ts";
import { holderOf } from "./semaphore.ts";

/** Told what a {@link GroupView} sees. Its methods must not throw. */
export interface ViewObserver {
  /** The watch is in step with the store. */
  synced?(): void;
  /** The watch fell behind. */
  lost?(reason: unknown): void;
  /** A client holds its slot no more, or holds it by another grant now. */
  ended?(group: Group, id: ClientId): void;
}

/**
 * The last seen state of every group. While the watch is in step it never
 * regresses: what is older than what it has is passed over. Only a listing of an
 * earlier moment takes it back, since then the store itself has gone back, to a
 * backup say.
 */
export class GroupView implements LockWatcher {
  readonly #groups = new Map<Group, Versioned>();
  readonly #observer: ViewObserver;
  #synced = false;
  /** The moment up to which the watch has told everything, on the scale of {@link Versioned.version}. */
  #moment = 0;

  /** Starts with nothing known. */
  constructor(observer: ViewObserver = {}) {
    this.#observer = observer;
  }

  /** Whether the watch is in step with the store, so that a refusal may rest on the view. */
  get isSynced(): boolean {
    return this.#synced;
  }

  /** The groups known to exist; complete only while {@link isSynced}. */
  get groups(): ReadonlyMap<Group, Versioned> {
    return this.#groups;
  }

  /**
   * Looks a group up.
   *
   * @returns Its last seen state, {@link ABSENT} included while the view is
   * synced; undefined where nothing is known of it.
   */
  get(group: Group): Versioned | undefined {
    return this.#groups.get(group) ?? (this.#synced ? ABSENT : undefined);
  }

  /** Takes in the result of a read or write of this process, which may come later than what the watch told since. */
  learn(group: Group, versioned: Versioned): void {
    // In step, the watch alone tells of deletions, and what it has passed is news no more: a group that is not known
    // although it was written before that moment has been deleted.
    if (!this.#synced) this.#set(group, versioned);
    else if (versioned.version > (this.#groups.get(group)?.version ?? this.#moment)) this.#set(group, versioned);
  }

  /** See {@link LockWatcher.synced}. */
  synced(listing: Listing): void {
    const wentBack = listing.version < this.#moment;
    for (const group of new Set([...this.#groups.keys(), ...listing.groups.keys()])) {
      // Newer than the listing is only what this process has written or read since.
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
    this.#tellEnded(group, known, versioned);
  }

  #tellEnded(group: Group, before: Versioned | undefined, after: Versioned): void {
    for (const { id, since } of before?.state.holders ?? []) {
      if (holderOf(after.state, id)?.since !== since) this.#observer.ended?.(group, id);
    }
  }
}
