/**
 * What this process has seen of the store last: the watch's reports and the
 * results of its own calls. It is a cache, so it may say no, and it may be the
 * base of a conditional write, but it never proves a yes.
 *
 * @module
 */

import type { Group } from "./identity.ts";
import { ABSENT, type Listing, type LockWatcher, type Versioned } from "./lock_store.ts";

/** The last seen state of every group. Never regresses: what is older than what it has is passed over. */
export class GroupView implements LockWatcher {
  readonly #groups = new Map<Group, Versioned>();
  readonly #onLost: (reason: unknown) => void;
  readonly #onSynced: () => void;
  #synced = false;

  /**
   * Starts with nothing known.
   *
   * @param on Told when the watch gets in step with the store (`synced`) and when it falls behind (`lost`).
   */
  constructor(on: { synced?: () => void; lost?: (reason: unknown) => void } = {}) {
    this.#onSynced = on.synced ?? (() => {});
    this.#onLost = on.lost ?? (() => {});
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
    if (versioned.version === ABSENT.version) this.#groups.delete(group);
    else this.#keepNewer(group, versioned);
  }

  /** See {@link LockWatcher.synced}. */
  synced(listing: Listing): void {
    for (const [group, known] of this.#groups) {
      if (!listing.groups.has(group) && known.version <= listing.version) this.#groups.delete(group);
    }
    for (const [group, versioned] of listing.groups) this.#keepNewer(group, versioned);
    this.#synced = true;
    this.#onSynced();
  }

  /** See {@link LockWatcher.changed}. */
  changed(group: Group, versioned: Versioned, version: number): void {
    if (versioned.version !== ABSENT.version) this.#keepNewer(group, versioned);
    else if ((this.#groups.get(group)?.version ?? 0) < version) this.#groups.delete(group);
  }

  /** See {@link LockWatcher.lost}. */
  lost(reason: unknown): void {
    this.#synced = false;
    this.#onLost(reason);
  }

  #keepNewer(group: Group, versioned: Versioned): void {
    const known = this.#groups.get(group);
    if (known === undefined || known.version < versioned.version) this.#groups.set(group, versioned);
  }
}
