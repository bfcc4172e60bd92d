/**
 * Keeps the locks in one SQLite file, for hosts without Kubernetes. Exclusion
 * rests on the random token of a group's row, which a write compares and renews
 * in one transaction. database.ts owns the file, and record.ts the format of a
 * group's record.
 *
 * @module
 */

import { resolve } from "node:path";
import type { DatabaseSync, StatementSync } from "node:sqlite";
import { type Clock, systemClock } from "../../lock/clock.ts";
import { ConfigError } from "../../config/config_error.ts";
import { type Group, parseGroup } from "../../lock/identity.ts";
import { MalformedGroupError, UnavailableError } from "../../lock/errors.ts";
import {
  ABSENT,
  type CallOptions,
  type Listing,
  type LockStore,
  type LockWatcher,
  type Versioned,
} from "../../lock/lock_store.ts";
import type { GroupState } from "../../lock/semaphore.ts";
import { inTransaction, isBusy, messageOf, openDatabase, whileBusy } from "./database.ts";
import { recordToState, stateToRecord } from "./record.ts";
import { PROBE, WriteProbe } from "./write_probe.ts";

/** Options of {@link SqliteLockStore.open}. */
export interface SqliteLockStoreOptions {
  /** How often a watch checks for changes by other processes, in milliseconds. @default {200} */
  readonly pollIntervalMs?: number;
  /** How long a call waits for a file that another process has locked, in milliseconds. @default {5_000} */
  readonly busyDeadlineMs?: number;
  /** Measures the two above. @default {systemClock} */
  readonly clock?: Clock;
  /** Returns a number from 0 (inclusive) to 1 (exclusive), for the pauses of a busy file. @default {Math.random} */
  readonly random?: () => number;
}

/** A row of `lock_group`. */
interface Row {
  readonly name: string;
  readonly record: string;
  readonly version: number;
  readonly token: string;
}

/** A group's state with the row that it was read from, on which a write is based. */
interface VersionedRow extends Versioned {
  readonly row: Row;
}

/** Keeps the locks in one SQLite file. Several processes of one machine may use it at a time. */
export class SqliteLockStore implements LockStore {
  readonly #path: string;
  readonly #database: DatabaseSync;
  readonly #file: Deno.FileInfo;
  readonly #watchers = new Set<LockWatcher>();
  readonly #options: Required<SqliteLockStoreOptions>;
  readonly #selectOne: StatementSync;
  readonly #selectAll: StatementSync;
  readonly #count: StatementSync;
  readonly #upsert: StatementSync;
  readonly #dataVersion: StatementSync;
  readonly #probe: WriteProbe;
  readonly #closing = new AbortController();
  #closed = false;

  private constructor(path: string, database: DatabaseSync, options: Required<SqliteLockStoreOptions>) {
    this.#path = path;
    this.#database = database;
    this.#file = Deno.statSync(path);
    this.#options = options;
    this.#selectOne = database.prepare("SELECT * FROM lock_group WHERE name = ?");
    // One statement, so that the groups and the counter are of one moment.
    this.#selectAll = database.prepare(
      "SELECT counter.version AS moment, lock_group.* FROM counter LEFT JOIN lock_group ON true",
    );
    this.#count = database.prepare("UPDATE counter SET version = version + 1 RETURNING version");
    this.#upsert = database.prepare("INSERT OR REPLACE INTO lock_group VALUES (?, ?, ?, lower(hex(randomblob(16))))");
    this.#dataVersion = database.prepare("PRAGMA data_version");
    this.#probe = new WriteProbe(options.clock);
  }

  /**
   * Opens the file. Creates it (mode 0600) if it does not exist. Its folder must
   * exist: a folder that is missing is more likely a typing error than a new store.
   *
   * @param path The file, absolute or relative to the working directory.
   * @throws {ConfigError} The file cannot be created or written, is not a
   * database, or belongs to another program or another version of fleetlock. It stays as it was.
   * @throws {UnavailableError} Another process kept the file locked.
   */
  static async open(path: string, options: SqliteLockStoreOptions = {}): Promise<SqliteLockStore> {
    const { pollIntervalMs = 200, busyDeadlineMs = 5_000, clock = systemClock, random = Math.random } = options;
    const all = { pollIntervalMs, busyDeadlineMs, clock, random };
    if (path === "" || path === ":memory:") {
      throw new ConfigError(`Cannot keep locks in "${path}": the SQLite store needs the path of a file`);
    }
    const file = resolve(path);
    let database: DatabaseSync | undefined;
    try {
      database = await openDatabase(file, all);
      return new SqliteLockStore(file, database, all);
    } catch (error) {
      database?.close();
      if (error instanceof ConfigError || error instanceof UnavailableError) throw error;
      throw new ConfigError(`Cannot use "${file}" as a SQLite store: ${messageOf(error)}`, {
        cause: error,
      });
    }
  }

  /** See {@link LockStore.read}. */
  read(group: Group, options: CallOptions = {}): Promise<Versioned> {
    return this.#attempt(options, () => this.#read(group));
  }

  /** See {@link LockStore.write}. */
  async write(
    group: Group,
    expected: Versioned,
    next: GroupState,
    options: CallOptions = {},
  ): Promise<Versioned | "conflict"> {
    const base = (expected as Partial<VersionedRow>).row;
    const write = () => {
      // IMMEDIATE takes the write lock before the read, so that nothing can change between the read and the write.
      const written = inTransaction(this.#database, "IMMEDIATE", () => {
        if (!isSame(this.#select(group), base)) return "conflict";
        const { version } = this.#count.get() as { version: number };
        this.#upsert.run(group, stateToRecord(group, next, base?.record), version);
        return this.#read(group);
      });
      if (written !== "conflict") {
        this.#probe.succeeded();
        for (const watcher of this.#watchers) watcher.changed(group, written, written.version);
      }
      return written;
    };
    try {
      return await this.#attempt(options, write);
    } catch (error) {
      this.#probe.failed();
      throw error;
    }
  }

  /**
   * See {@link LockStore.checkWritable}. Writes at most once in 10 s, and only if no other write took effect in them.
   */
  checkWritable(): Promise<void> {
    return this.#probe.check(async () => {
      try {
        const probe = () => inTransaction(this.#database, "IMMEDIATE", () => this.#database.exec(PROBE));
        await this.#attempt({ signal: this.#closing.signal }, probe);
      } catch (error) {
        if (this.#closing.signal.aborted) throw error;
        const { message, cause } = error as UnavailableError;
        const why = isBusy(cause) ? "another process keeps it locked" : messageOf(cause ?? error);
        throw new UnavailableError(message, { cause, publicMessage: `the SQLite file takes no writes: ${why}` });
      }
    });
  }

  /** See {@link LockStore.list}. Leaves a damaged group out; only calls about that group fail. */
  list(options: CallOptions = {}): Promise<Listing> {
    return this.#attempt(options, () => this.#list());
  }

  /**
   * See {@link LockStore.watch}. Reports this store's writes at once, and those of
   * other processes after {@link SqliteLockStoreOptions.pollIntervalMs} at most.
   */
  async watch(watcher: LockWatcher, signal: AbortSignal): Promise<void> {
    let seen: unknown;
    let isLost = false;
    while (!signal.aborted) {
      try {
        // In one synchronous step, so that no write of this store is missed in between.
        await this.#attempt({ signal }, () => {
          const { data_version: latest } = this.#dataVersion.get() as { data_version: number };
          if (latest === seen) return;
          watcher.synced(this.#list());
          this.#watchers.add(watcher);
          seen = latest;
          isLost = false;
        });
      } catch (error) {
        if (signal.aborted) break;
        seen = undefined;
        this.#watchers.delete(watcher);
        if (!isLost) watcher.lost(error);
        isLost = true;
      }
      await this.#options.clock.sleep(this.#options.pollIntervalMs, signal).catch(() => {});
    }
    this.#watchers.delete(watcher);
  }

  /** Closes the file. Its journal stays beside it, empty. */
  [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort(new UnavailableError("The store is closed"));
    if (!this.#closed) this.#database.close();
    this.#closed = true;
    return Promise.resolve();
  }

  #select(group: Group): Row | undefined {
    return this.#selectOne.get(group) as Row | undefined;
  }

  #read(group: Group): Versioned {
    const row = this.#select(group);
    return row === undefined ? ABSENT : fromRow(row);
  }

  #list(): Listing {
    const rows = this.#selectAll.all() as unknown as (Row & { moment: number })[];
    const groups = new Map<Group, Versioned>();
    for (const row of rows) {
      const group = parseGroup(row.name);
      const found = group && whole(() => fromRow(row));
      if (found !== undefined) groups.set(group!, found);
    }
    return { groups, version: rows[0]!.moment };
  }

  async #attempt<T>(options: CallOptions, act: () => T): Promise<T> {
    options.signal?.throwIfAborted();
    try {
      return await whileBusy(this.#options, options.signal, () => {
        this.#checkFile();
        // SQLite trusts the pages that it has cached while the file's change counter stands still. A copy that was
        // restored over the file may bring the same count with other pages.
        this.#database.exec("PRAGMA shrink_memory");
        return act();
      });
    } catch (error) {
      if (error instanceof UnavailableError || options.signal?.aborted) throw error;
      throw new UnavailableError(`SQLite file "${this.#path}": ${messageOf(error)}`, { cause: error });
    }
  }

  /**
   * Checks that the path still names the file that we opened. A removed or
   * replaced file would stay usable for us, while another process would grant the
   * same slots from the new one. Opening the new file here would mix its versions
   * with the old file's, so the operator must restart the server.
   */
  #checkFile(): void {
    if (this.#closed) throw new Error("the store is closed");
    const { dev, ino } = Deno.statSync(this.#path);
    if (dev !== this.#file.dev || ino !== this.#file.ino) {
      throw new Error("it was replaced while in use; restart to use the new file");
    }
  }
}

/** Compares a row with the one that a write is based on. Undefined is the row of a group that does not exist. */
function isSame(row: Row | undefined, base: Row | undefined): boolean {
  // The record as well, for an edit that has escaped the triggers.
  return row?.token === base?.token && row?.record === base?.record;
}

/** @throws {MalformedGroupError} The record is damaged. */
function fromRow(row: Row): VersionedRow {
  return { state: recordToState(row.name, row.record), version: row.version, row };
}

/** Returns undefined instead of a damaged group. */
function whole<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if (error instanceof MalformedGroupError) return undefined;
    throw error;
  }
}
