/**
 * Stores in memory that fail on command, or count their calls.
 *
 * @module
 */

import type { Group } from "../../src/lock/identity.ts";
import { UnavailableError } from "../../src/lock/errors.ts";
import {
  type CallOptions,
  type Listing,
  type LockWatcher,
  MemoryBackend,
  MemoryLockStore,
  type Versioned,
} from "../../src/lock/lock_store.ts";
import type { GroupState } from "../../src/lock/semaphore.ts";

/** Returns what another writer makes of a group's state. */
export type Rival = (state: GroupState) => GroupState;

/** A store on which another writer is faster, so that writes really conflict. */
export class ConflictingStore extends MemoryLockStore {
  /** How many of the next writes conflict. */
  conflicts: number;
  readonly #rival: Rival;
  readonly #other: MemoryLockStore;

  /**
   * @param conflicts How many of the next writes conflict.
   * @param rival What the other writer writes. By default it keeps the state, so that only the version changes.
   */
  constructor(conflicts: number, rival: Rival = (state) => state, backend: MemoryBackend = new MemoryBackend()) {
    super(backend);
    this.conflicts = conflicts;
    this.#rival = rival;
    this.#other = new MemoryLockStore(backend);
  }

  /** Writes, after the other writer while {@link conflicts} is above 0. */
  override async write(
    group: Group,
    expected: Versioned,
    next: GroupState,
    options?: CallOptions,
  ): Promise<Versioned | "conflict"> {
    if (this.conflicts > 0) {
      this.conflicts--;
      const found = await this.#other.read(group);
      await this.#other.write(group, found, this.#rival(found.state));
    }
    return super.write(group, expected, next, options);
  }
}

/** A store that keeps something else than it is given, as an admission webhook can make a cluster do. */
export class AlteringStore extends MemoryLockStore {
  /** What is kept of a write; `undefined` for what was written. */
  alter: Rival | undefined;

  /** @param alter Makes what is kept. */
  constructor(alter: Rival | undefined, backend: MemoryBackend = new MemoryBackend()) {
    super(backend);
    this.alter = alter;
  }

  /** See {@link MemoryLockStore.write}. */
  override write(
    group: Group,
    expected: Versioned,
    next: GroupState,
    options?: CallOptions,
  ): Promise<Versioned | "conflict"> {
    return super.write(group, expected, this.alter?.(next) ?? next, options);
  }
}

/** A store that can become unavailable, to its watchers too, and whose answers can get lost. */
export class UnavailableStore extends MemoryLockStore {
  /** How many of the next writes take effect and throw nevertheless. */
  lostAnswers = 0;
  readonly #watchers = new Set<LockWatcher>();
  #unavailable = false;

  /** Whether every call throws {@link UnavailableError}. */
  get unavailable(): boolean {
    return this.#unavailable;
  }

  /** Makes the store unavailable, or available again. */
  async setUnavailable(unavailable: boolean): Promise<void> {
    if (unavailable === this.#unavailable) return;
    this.#unavailable = unavailable;
    const listing = unavailable ? undefined : await super.list();
    for (const watcher of this.#watchers) {
      if (listing === undefined) watcher.lost(fault());
      else watcher.synced(listing);
    }
  }

  /** See {@link MemoryLockStore.read}. */
  override async read(group: Group, options?: CallOptions): Promise<Versioned> {
    this.#check();
    return await super.read(group, options);
  }

  /** See {@link MemoryLockStore.write}. */
  override async write(
    group: Group,
    expected: Versioned,
    next: GroupState,
    options?: CallOptions,
  ): Promise<Versioned | "conflict"> {
    this.#check();
    const written = await super.write(group, expected, next, options);
    if (this.lostAnswers > 0) {
      this.lostAnswers--;
      throw fault();
    }
    return written;
  }

  /** See {@link MemoryLockStore.list}. */
  override async list(options?: CallOptions): Promise<Listing> {
    this.#check();
    return await super.list(options);
  }

  /** See {@link MemoryLockStore.watch}. Nothing arrives while the store is unavailable. */
  override async watch(watcher: LockWatcher, signal: AbortSignal): Promise<void> {
    const gate: LockWatcher = {
      synced: (listing) => this.#unavailable ? watcher.lost(fault()) : watcher.synced(listing),
      changed: (...change) => this.#unavailable || watcher.changed(...change),
      lost: (reason) => watcher.lost(reason),
    };
    this.#watchers.add(watcher);
    await super.watch(gate, signal);
    this.#watchers.delete(watcher);
  }

  #check(): void {
    if (this.#unavailable) throw fault();
  }
}

/** A store that counts the calls to it. */
export class CountingStore extends MemoryLockStore {
  /** Calls since the start or the last {@link reset}. */
  calls: { reads: number; writes: number; lists: number } = { reads: 0, writes: 0, lists: 0 };

  /** Counts from 0 again. */
  reset(): void {
    this.calls = { reads: 0, writes: 0, lists: 0 };
  }

  /** See {@link MemoryLockStore.read}. */
  override read(group: Group, options?: CallOptions): Promise<Versioned> {
    this.calls.reads++;
    return super.read(group, options);
  }

  /** See {@link MemoryLockStore.write}. */
  override write(
    group: Group,
    expected: Versioned,
    next: GroupState,
    options?: CallOptions,
  ): Promise<Versioned | "conflict"> {
    this.calls.writes++;
    return super.write(group, expected, next, options);
  }

  /** See {@link MemoryLockStore.list}. */
  override list(options?: CallOptions): Promise<Listing> {
    this.calls.lists++;
    return super.list(options);
  }
}

function fault(): UnavailableError {
  return new UnavailableError("The store was made unavailable by a test");
}
