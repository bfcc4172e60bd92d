/**
 * The port to whatever keeps the locks, and its simplest implementation.
 * Exclusion rests on {@link LockStore.write} alone, which takes effect only on the
 * version that the decision was made from.
 *
 * @module
 */

import { untilAborted } from "./abort.ts";
import type { ClientId, Group } from "./identity.ts";
import { FREE, type GroupState, type Holder, holderOf } from "./semaphore.ts";

/**
 * A group's state as a store has it. A store may return a subclass that carries
 * more, such as the labels of a Lease, so pass the object itself to
 * {@link LockStore.write}, never a copy.
 */
export interface Versioned {
  /** The state; {@link FREE} where the store has no such group. */
  readonly state: GroupState;
  /**
   * Identifies this version of the group. Versions are positive integers that
   * grow with every write to the store, over all groups. 0 means that the group
   * does not exist.
   */
  readonly version: number;
  /**
   * Set where the object that keeps the group is being deleted. It is there until its finalizers are gone, and its
   * holds end with it. So it carries no new grant and proves no hold; a release on it works.
   */
  readonly ending?: Ending;
}

/** An object of the store that is being deleted. */
export interface Ending {
  /** What a person calls it, such as `Lease default/fleetlock-workers`. */
  readonly object: string;
  /** The finalizers that it waits for; empty where it only has not gone yet. */
  readonly finalizers: readonly string[];
}

/** The state and version of a group that the store does not have. */
export const ABSENT: Versioned = Object.freeze({ state: FREE, version: 0 });

/** The groups of a store at one moment. */
export interface Listing {
  /** Every group that exists, with its state. */
  readonly groups: ReadonlyMap<Group, Versioned>;
  /** The moment, on the scale of {@link Versioned.version}. */
  readonly version: number;
}

/** Is told by {@link LockStore.watch} what happens in the store. Its methods must not throw. */
export interface LockWatcher {
  /** Gets the whole store, at the start and whenever changes may have been missed. */
  synced(listing: Listing): void;
  /**
   * One group changed.
   *
   * @param versioned The new state; {@link ABSENT} where the group was deleted.
   * @param version The moment of the change. A deletion has one too.
   */
  changed(group: Group, versioned: Versioned, version: number): void;
  /** From now on, changes may be missed until the next {@link synced}. */
  lost(reason: unknown): void;
}

/** Options of every call to a store. */
export interface CallOptions {
  /** Ends the call early; the call then throws the signal's reason. */
  readonly signal?: AbortSignal;
}

/**
 * Keeps the state of every group. All methods throw
 * {@link "./errors.ts".UnavailableError} when the store does not answer in time or
 * cannot be used. After a `write` that threw, it is unknown whether it took effect.
 */
export interface LockStore extends AsyncDisposable {
  /**
   * Reads a group afresh: the result is never older than the call.
   *
   * @returns The group, or {@link ABSENT}.
   */
  read(group: Group, options?: CallOptions): Promise<Versioned>;

  /**
   * Writes a group if it is still at the version of `expected`.
   *
   * @param expected What this store returned for the group earlier; {@link ABSENT} creates it.
   * @returns The group as written, or "conflict" if it was at another version;
   * then nothing was written.
   */
  write(group: Group, expected: Versioned, next: GroupState, options?: CallOptions): Promise<Versioned | "conflict">;

  /** Reads all groups afresh. */
  list(options?: CallOptions): Promise<Listing>;

  /**
   * Checks that the store takes writes, without changing anything that anybody
   * reads. It is absent if the store cannot tell. May be called often.
   *
   * @throws {UnavailableError} A write would fail; `publicMessage` says why.
   */
  checkWritable?(): Promise<void>;

  /**
   * Reports every change to the store, whoever made it, until the signal aborts.
   * Reconnects by itself and does not throw. Changes may arrive late, and several
   * changes to one group may arrive as one.
   */
  watch(watcher: LockWatcher, signal: AbortSignal): Promise<void>;
}

/**
 * Asks a store whether a client holds a slot, without any cache.
 *
 * @returns The hold, or undefined if the client has none.
 * @throws {UnavailableError} The store does not answer.
 */
export async function readHolder(store: LockStore, id: ClientId, group: Group): Promise<Holder | undefined> {
  return holderOf((await store.read(group)).state, id);
}

/** The data that several {@link MemoryLockStore}s share, as replicas share a database. */
export class MemoryBackend {
  /** The last version that was assigned. */
  version = 0;
  /** All groups. */
  readonly groups: Map<Group, Versioned> = new Map();
  /** Every watcher of every store on this backend. */
  readonly watchers: Set<LockWatcher> = new Set();
}

/** Keeps the locks in this process, for tests and trials. They are gone when it ends. */
export class MemoryLockStore implements LockStore {
  readonly #backend: MemoryBackend;

  /**
   * Opens the store.
   *
   * @param backend Stores that share one see the same groups. By default, each has its own.
   */
  constructor(backend: MemoryBackend = new MemoryBackend()) {
    this.#backend = backend;
  }

  /** See {@link LockStore.read}. */
  read(group: Group, options: CallOptions = {}): Promise<Versioned> {
    return answer(options, () => this.#backend.groups.get(group) ?? ABSENT);
  }

  /** See {@link LockStore.write}. */
  write(
    group: Group,
    expected: Versioned,
    next: GroupState,
    options: CallOptions = {},
  ): Promise<Versioned | "conflict"> {
    return answer(options, () => {
      const { groups, watchers } = this.#backend;
      const found = groups.get(group) ?? ABSENT;
      if (found.version !== expected.version) return "conflict";
      const written: Versioned = { ...found, state: next, version: ++this.#backend.version };
      groups.set(group, written);
      for (const watcher of watchers) watcher.changed(group, written, written.version);
      return written;
    });
  }

  /** See {@link LockStore.list}. */
  list(options: CallOptions = {}): Promise<Listing> {
    return answer(options, () => ({ groups: new Map(this.#backend.groups), version: this.#backend.version }));
  }

  /** See {@link LockStore.watch}. */
  async watch(watcher: LockWatcher, signal: AbortSignal): Promise<void> {
    if (signal.aborted) return;
    this.#backend.watchers.add(watcher);
    watcher.synced({ groups: new Map(this.#backend.groups), version: this.#backend.version });
    await untilAborted(signal);
    this.#backend.watchers.delete(watcher);
  }

  /** Does nothing: the store holds no resources. */
  [Symbol.asyncDispose](): Promise<void> {
    return Promise.resolve();
  }
}

function answer<T>(options: CallOptions, act: () => T): Promise<T> {
  return options.signal?.aborted ? Promise.reject(options.signal.reason) : Promise.resolve(act());
}
