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
  /** The watch got in step with the store (undefined), or fell behind, and why. */
  watching?(lost?: unknown): void;
  /** A client holds its slot no more, or holds it by another grant now. */
  ended?(group: Group, id: ClientId): void;
}

/** The last seen state of every group. Never regresses: what is older than what it has is passed over. */
export class GroupView implements LockWatcher {
  readonly #groups = new Map<Group, Versioned>();
  readonly #observer: ViewObserver;
  #synced = false;

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

  /** Takes in the result of a read or write of this process. */
  learn(group: Group, versioned: Versioned): void {
    if (versioned.version === ABSENT.version) this.#delete(group);
    else this.#keepNewer(group, versioned);
  }

  /** See {@link LockWatcher.synced}. */
  synced(listing: Listing): void {
    for (const [group, known] of this.#groups) {
      if (!listing.groups.has(group) && known.version <= listing.version) this.#delete(group);
    }
    for (const [group, versioned] of listing.groups) this.#keepNewer(group, versioned);
    this.#synced = true;
    this.#observer.watching?.();
  }

  /** See {@link LockWatcher.changed}. */
  changed(group: Group, versioned: Versioned, version: number): void {
    if (versioned.version !== ABSENT.version) this.#keepNewer(group, versioned);
    else if ((this.#groups.get(group)?.version ?? 0) < version) this.#delete(group);
  }

  /** See {@link LockWatcher.lost}. */
  lost(reason: unknown): void {
    this.#synced = false;
    this.#observer.watching?.(reason);
  }

  #keepNewer(group: Group, versioned: Versioned): void {
    const known = this.#groups.get(group);
    if (known !== undefined && known.version >= versioned.version) return;
    this.#groups.set(group, versioned);
    this.#tellEnded(group, known, versioned);
  }

  #delete(group: Group): void {
    const known = this.#groups.get(group);
    this.#groups.delete(group);
    this.#tellEnded(group, known, ABSENT);
  }

  #tellEnded(group: Group, before: Versioned | undefined, after: Versioned): void {
    for (const { id, since } of before?.state.holders ?? []) {
      if (holderOf(after.state, id)?.since !== since) this.#observer.ended?.(group, id);
    }
  }
}
