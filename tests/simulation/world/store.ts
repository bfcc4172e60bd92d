/**
 * What the modelled etcd keeps: objects, their versions, and the changes since the last compaction. A write is
 * conditional where it names a resourceVersion. It knows nothing of calls and of what the objects mean, except how a
 * deletion waits for finalizers and for a kubelet.
 *
 * @module
 */

import type { Random } from "../../../src/simulator/random.ts";
import { keyOf, type Kind, KINDS, type Stored } from "./objects.ts";
import { conflict, exists, notFound } from "./status.ts";

/** A change of an object. */
export interface Change {
  readonly type: "ADDED" | "MODIFIED" | "DELETED";
  readonly kind: Kind;
  readonly key: string;
  /** The object after the change; the last state with the version of the deletion where it is gone. */
  readonly object: Stored;
  /** The object before the change. */
  readonly before: Stored | undefined;
  readonly revision: number;
}

/** How an object is deleted. */
export interface DeletionOptions {
  readonly uid?: string;
  readonly resourceVersion?: string;
  readonly graceMs?: number;
  readonly isForeground?: boolean;
}

/** A copy of everything. */
export interface Backup {
  readonly revision: number;
  readonly objects: ReadonlyMap<string, ReadonlyMap<string, Stored>>;
}

/** See the module. */
export class Store {
  readonly #now: () => number;
  readonly #random: Random;
  readonly #listeners: ((change: Change) => void)[] = [];
  #objects = new Map<string, Map<string, Stored>>(Object.keys(KINDS).map((plural) => [plural, new Map()]));
  #changes: Change[] = [];
  #revision = 1000;
  #compacted = 1000;

  /** Makes an empty one. `now` gives its time, in milliseconds since the epoch. */
  constructor(now: () => number, random: Random) {
    this.#now = now;
    this.#random = random;
  }

  /** The version of the last change. */
  get revision(): number {
    return this.#revision;
  }

  /** The version up to which changes are no longer known. */
  get compacted(): number {
    return this.#compacted;
  }

  /** Calls `listener` at each change. */
  listen(listener: (change: Change) => void): void {
    this.#listeners.push(listener);
  }

  /** Gets an object. */
  get(plural: string, key: string): Stored | undefined {
    return this.#of(plural).get(key);
  }

  /** All objects of a kind, in the order of their keys. */
  list(plural: string): Stored[] {
    const objects = this.#of(plural);
    return [...objects.keys()].sort().map((key) => objects.get(key)!);
  }

  /** All objects of a kind as they were at a version that is still known, in the order of their keys. */
  listAt(plural: string, revision: number): Stored[] {
    const objects = new Map(this.#of(plural));
    for (const { kind, key, before } of this.since(revision).reverse()) {
      if (kind.plural !== plural) continue;
      if (before === undefined) objects.delete(key);
      else objects.set(key, before);
    }
    return [...objects.keys()].sort().map((key) => objects.get(key)!);
  }

  /** All objects of a kind, in any order. */
  all(plural: string): Iterable<Stored> {
    return this.#of(plural).values();
  }

  /** The changes after a version. */
  since(revision: number): Change[] {
    return this.#changes.filter((change) => change.revision > revision);
  }

  /** Forgets the changes up to now. */
  compact(): void {
    this.#changes = [];
    this.#compacted = this.#revision;
  }

  /** Adds an object. @throws {ApiStatus} One of its name exists. */
  create(plural: string, object: Stored): Stored {
    const kind = KINDS[plural]!;
    const { namespace, name } = object.metadata;
    const key = keyOf(kind, namespace, name);
    if (this.#of(plural).has(key)) throw exists(kind, name);
    const metadata = {
      ...object.metadata,
      uid: object.metadata.uid ?? this.#uid(),
      creationTimestamp: this.#timestamp(),
    };
    return this.#put("ADDED", kind, key, { apiVersion: kind.apiVersion, kind: kind.kind, ...object, metadata });
  }

  /**
   * Replaces an object.
   *
   * @param change Makes the next state from the one that is stored.
   * @throws {ApiStatus} There is none.
   */
  update(plural: string, key: string, change: (object: Stored) => Stored): Stored {
    const kind = KINDS[plural]!;
    const before = this.#of(plural).get(key);
    if (before === undefined) throw notFound(kind, key);
    const next = change(before);
    if (next === before) return before;
    const { deletionTimestamp, finalizers } = next.metadata;
    // Removing the last finalizer ends an object that is being deleted and has no kubelet.
    const isOver = deletionTimestamp && !(finalizers?.length > 0) &&
      (plural !== "pods" || before.metadata.finalizers?.length > 0);
    return isOver ? this.#remove(kind, key, next) : this.#put("MODIFIED", kind, key, next);
  }

  /**
   * Begins to delete an object, which stays while it has finalizers or a grace period.
   *
   * @param graceMs How long its kubelet may take; 0 for at once.
   * @param isForeground Whether it waits for its dependents, by a finalizer that the garbage collector removes.
   * @throws {ApiStatus} There is none, or a precondition fails.
   */
  delete(
    plural: string,
    key: string,
    { uid, resourceVersion, graceMs = 0, isForeground = false }: DeletionOptions = {},
  ): Stored {
    const kind = KINDS[plural]!;
    const object = this.#of(plural).get(key);
    if (object === undefined) throw notFound(kind, key);
    if (uid !== undefined && uid !== object.metadata.uid) {
      throw conflict(kind, key, `the UID in the precondition (${uid}) does not match the UID in record`);
    }
    if (resourceVersion !== undefined && resourceVersion !== object.metadata.resourceVersion) {
      throw conflict(kind, key, "the ResourceVersion in the precondition does not match");
    }
    const { finalizers = [] } = object.metadata;
    const waits = finalizers.length > 0 || graceMs > 0 || isForeground;
    if (!waits) {
      // A watch shows that the kubelet need not wait before it shows that the pod is gone.
      if (plural === "pods" && object.spec.nodeName && !object.metadata.deletionTimestamp) {
        const metadata = { ...object.metadata, deletionTimestamp: this.#timestamp() };
        this.#put("MODIFIED", kind, key, { ...object, metadata });
      }
      return this.#remove(kind, key);
    }
    if (object.metadata.deletionTimestamp) return object;
    const deletionTimestamp = this.#timestamp(this.#now() + graceMs);
    const metadata = {
      ...object.metadata,
      deletionTimestamp,
      ...(isForeground && { finalizers: [...finalizers, "foregroundDeletion"] }),
    };
    return this.#put("MODIFIED", kind, key, { ...object, metadata });
  }

  /** Copies everything. */
  backup(): Backup {
    return { revision: this.#revision, objects: new Map([...this.#objects].map(([name, of]) => [name, new Map(of)])) };
  }

  /** Goes back to a copy, with its version, and tells of all that changes thereby. */
  restore(backup: Backup): void {
    const before = this.#objects;
    this.#objects = new Map([...backup.objects].map(([plural, of]) => [plural, new Map(of)]));
    this.#revision = backup.revision;
    this.compact();
    for (const [plural, objects] of before) {
      const kind = KINDS[plural]!;
      const now = this.#of(plural);
      for (const [key, object] of objects) {
        const other = now.get(key);
        if (other === object) continue;
        const change = { kind, key, before: object, revision: this.#revision } as const;
        // An object of the same name may be another one.
        if (other?.metadata.uid !== object.metadata.uid) this.#tell({ ...change, type: "DELETED", object });
        else this.#tell({ ...change, type: "MODIFIED", object: other });
      }
      for (const [key, object] of now) {
        if (objects.get(key)?.metadata.uid !== object.metadata.uid) {
          this.#tell({ type: "ADDED", kind, key, object, before: undefined, revision: this.#revision });
        }
      }
    }
  }

  #of(plural: string): Map<string, Stored> {
    return this.#objects.get(plural)!;
  }

  #remove(kind: Kind, key: string, last?: Stored): Stored {
    const objects = this.#of(kind.plural);
    const before = objects.get(key)!;
    objects.delete(key);
    const revision = ++this.#revision;
    const { metadata: { finalizers: _, ...metadata }, ...rest } = last ?? before;
    const object = { ...rest, metadata: { ...metadata, resourceVersion: `${revision}` } };
    this.#note({ type: "DELETED", kind, key, object, before, revision });
    return object;
  }

  #put(type: "ADDED" | "MODIFIED", kind: Kind, key: string, next: Stored): Stored {
    const objects = this.#of(kind.plural);
    const before = objects.get(key);
    const revision = ++this.#revision;
    const object = { ...next, metadata: { ...next.metadata, resourceVersion: `${revision}` } };
    objects.set(key, object);
    this.#note({ type, kind, key, object, before, revision });
    return object;
  }

  #note(change: Change): void {
    this.#changes.push(change);
    if (this.#changes.length > 4_000) {
      this.#compacted = this.#changes[1_999]!.revision;
      this.#changes = this.#changes.slice(2_000);
    }
    this.#tell(change);
  }

  #tell(change: Change): void {
    for (const listener of this.#listeners) listener(change);
  }

  #timestamp(at = this.#now()): string {
    return `${new Date(at).toISOString().slice(0, 19)}Z`;
  }

  #uid(): string {
    const hex = this.#random.hex(32);
    return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-8${hex.slice(17, 20)}-${hex.slice(20)}`;
  }
}
