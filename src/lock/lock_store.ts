/**
 * The port to whatever keeps the locks, and its simplest implementation.
 * Exclusion rests on {@link LockStore.write} alone: it takes effect only on the
 * very version that the decision was made from.
 *
 * @module
 */

import type { Group } from "./identity.ts";
import { FREE, type GroupState } from "./semaphore.ts";

/**
 * A group's state as a store has it. A store may return a subclass that carries
 * more (the Lease's labels, say): hand back the object itself to
 * {@link LockStore.write}, never a copy.
 */
export interface Versioned {
  /** The state; {@link FREE} where the store has no such group. */
  readonly state: GroupState;
  /**
   * Names this very version of the group. Versions are positive integers that
   * grow with every write of the store, over all groups; 0 says that the group
   * does not exist.
   */
  readonly version: number;
}

/** What a store says of a group that it does not have. */
export const ABSENT: Versioned = Object.freeze({ state: FREE, version: 0 });

/** The groups of a store at one moment. */
export interface Listing {
  /** Every group that exists, with its state. */
  readonly groups: ReadonlyMap<Group, Versioned>;
  /** The moment, on the scale of {@link Versioned.version}. */
  readonly version: number;
}

/** Told by {@link LockStore.watch} what happens in the store. Its methods must not throw. */
export interface LockWatcher {
  /** The whole store, at the start and whenever changes may have been missed. */
  synced(listing: Listing): void;
  /**
   * One group changed.
   *
   * @param versioned The new state; {@link ABSENT} where the group was deleted.
   * @param version The moment of the change, which a deletion has too.
   */
  changed(group: Group, versioned: Versioned, version: number): void;
  /** Changes may be missed from now on, until the next {@link synced}. */
  lost(reason: unknown): void;
}

/** Options of every call to a store. */
export interface CallOptions {
  /** Ends the call early, which then throws the signal's reason. */
  readonly signal?: AbortSignal;
}

/**
 * Keeps the state of every group. All methods throw {@link UnavailableError}
 * when the store does not answer in time or cannot be used; after a `write` that
 * threw, it is unknown whether the write took effect.
 */
export interface LockStore extends AsyncDisposable {
  /**
   * Reads a group afresh: the answer is never older than the call.
   *
   * @returns The group, or {@link ABSENT}.
   */
  read(group: Group, options?: CallOptions): Promise<Versioned>;

  /**
   * Writes a group if it is still at the version of `expected`.
   *
   * @param expected What this store returned for the group earlier; {@link ABSENT} creates it.
   * @returns The group as written, or "conflict" where it was at another version
   * and nothing was written.
   */
  write(group: Group, expected: Versioned, next: GroupState, options?: CallOptions): Promise<Versioned | "conflict">;

  /** Reads all groups afresh. */
  list(options?: CallOptions): Promise<Listing>;

  /**
   * Reports every change of the store, by whomever it was made, until the signal
   * aborts. Reconnects by itself; does not throw. Changes may come late, and
   * several to one group may come as one.
   */
  watch(watcher: LockWatcher, signal: AbortSignal): Promise<void>;
}

/** The data of {@link MemoryLockStore}s that share it, as replicas share a database. */
export class MemoryBackend {
  /** The last version given out. */
  version = 0;
  /** All groups. */
  readonly groups: Map<Group, Versioned> = new Map();
  /** Every watcher of every store on this backend. */
  readonly watchers: Set<LockWatcher> = new Set();
}

/** Keeps the locks in this process, for tests and trials: they are gone when it ends. */
export class MemoryLockStore implements LockStore {
  readonly #backend: MemoryBackend;

  /**
   * Opens the store.
   *
   * @param backend Shared by the stores that should see the same groups; its own by default.
   */
  constructor(backend: MemoryBackend = new MemoryBackend()) {
    this.#backend = backend;
  }

  /** See {@link LockStore.read}. */
  read(group: Group, options: CallOptions = {}): Promise<Versioned> {
    return settle(options, () => this.#backend.groups.get(group) ?? ABSENT);
  }

  /** See {@link LockStore.write}. */
  write(
    group: Group,
    expected: Versioned,
    next: GroupState,
    options: CallOptions = {},
  ): Promise<Versioned | "conflict"> {
    return settle(options, () => {
      const { groups, watchers } = this.#backend;
      if ((groups.get(group) ?? ABSENT).version !== expected.version) return "conflict";
      const written: Versioned = { state: next, version: ++this.#backend.version };
      groups.set(group, written);
      for (const watcher of watchers) watcher.changed(group, written, written.version);
      return written;
    });
  }

  /** See {@link LockStore.list}. */
  list(options: CallOptions = {}): Promise<Listing> {
    return settle(options, () => ({ groups: new Map(this.#backend.groups), version: this.#backend.version }));
  }

  /** See {@link LockStore.watch}. */
  async watch(watcher: LockWatcher, signal: AbortSignal): Promise<void> {
    if (signal.aborted) return;
    this.#backend.watchers.add(watcher);
    watcher.synced({ groups: new Map(this.#backend.groups), version: this.#backend.version });
    await new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
    this.#backend.watchers.delete(watcher);
  }

  /** Nothing to give back. */
  [Symbol.asyncDispose](): Promise<void> {
    return Promise.resolve();
  }
}

function settle<T>(options: CallOptions, act: () => T): Promise<T> {
  return options.signal?.aborted ? Promise.reject(options.signal.reason) : Promise.resolve(act());
}
