/**
 * Keeps the locks in one SQLite file, for hosts without Kubernetes. It owns the
 * file: its schema, its durability (a write that was answered survives a power
 * failure) and its use by several processes at a time. It stores holders as they
 * come; the semaphore knows what they mean.
 *
 * SQLite blocks the thread. So each attempt is short, and the store waits
 * asynchronously before it tries a locked file again.
 *
 * This file is longer than others, since the schema, the transactions and the
 * checks of the file depend on one another and make sense only together.
 *
 * @module
 */

import { dirname, resolve } from "node:path";
import { DatabaseSync, type StatementSync } from "node:sqlite";
import { type Clock, systemClock } from "../lock/clock.ts";
import { ConfigError } from "../config/config_error.ts";
import type { Group } from "../lock/identity.ts";
import { UnavailableError } from "../lock/errors.ts";
import {
  ABSENT,
  type CallOptions,
  type Listing,
  type LockStore,
  type LockWatcher,
  type Versioned,
} from "../lock/lock_store.ts";
import type { GroupState, Holder } from "../lock/semaphore.ts";

/** Options of {@link SqliteLockStore.open}. */
export interface SqliteLockStoreOptions {
  /** How often a watch checks for changes by other processes, in milliseconds. @default {200} */
  readonly pollIntervalMs?: number;
  /** How long a call waits for a file that another process has locked, in milliseconds. @default {5000} */
  readonly busyDeadlineMs?: number;
  /** Measures the two above. @default {systemClock} */
  readonly clock?: Clock;
  /** Returns a number from 0 (inclusive) to 1 (exclusive), for the pauses of a busy file. @default {Math.random} */
  readonly random?: () => number;
}

/** "flok", the mark in the header of our files. We never write to a file without it. */
const APPLICATION_ID = 0x666c6f6b;

/** SQLite's value for `synchronous = FULL`. */
const SYNCHRONOUS_FULL = 2;

/** The version of {@link SCHEMA}, kept in `user_version`. */
const SCHEMA_VERSION = 1;

/**
 * The counter survives the deletion of groups, so that a version is never used
 * twice. The trigger gives an administrator's `UPDATE` a new version, so that a
 * write based on the old state becomes a conflict.
 */
const SCHEMA = `
  CREATE TABLE counter (
    only INTEGER PRIMARY KEY CHECK (only = 0),
    version INTEGER NOT NULL
  ) STRICT;
  INSERT INTO counter VALUES (0, 0);
  CREATE TABLE lock_group (
    name TEXT PRIMARY KEY,
    version INTEGER NOT NULL CHECK (version > 0),
    holders TEXT NOT NULL CHECK (json_valid(holders) AND json_type(holders) = 'array'),
    transitions INTEGER NOT NULL,
    renewed INTEGER
  ) STRICT, WITHOUT ROWID;
  CREATE TRIGGER edited_by_hand AFTER UPDATE ON lock_group WHEN new.version = old.version BEGIN
    UPDATE counter SET version = version + 1;
    UPDATE lock_group SET version = (SELECT version FROM counter) WHERE name = new.name;
  END;
  PRAGMA application_id = ${APPLICATION_ID};
  PRAGMA user_version = ${SCHEMA_VERSION};
`;

/** How long SQLite itself may block the thread on a locked file, in milliseconds. */
const BUSY_TIMEOUT_MS = 10;

/** The longest pause before a locked file is tried again, in milliseconds. */
const BUSY_PAUSE_MS = 20;

/** A row of `lock_group`. */
interface Row {
  readonly name: string;
  readonly version: number;
  readonly holders: string;
  readonly transitions: number;
  readonly renewed: number | null;
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
    this.#upsert = database.prepare("INSERT OR REPLACE INTO lock_group VALUES (?, ?, ?, ?, ?)");
    this.#dataVersion = database.prepare("PRAGMA data_version");
  }

  /**
   * Opens the file. Creates it (mode 0600), with its parent folders (0700), if it
   * does not exist.
   *
   * @param path The file, absolute or relative to the working directory.
   * @throws {ConfigError} The file cannot be created or written, is not a
   * database, or belongs to another program or a newer fleetlock. It stays as it was.
   * @throws {UnavailableError} Another process kept the file locked.
   */
  static async open(path: string, options: SqliteLockStoreOptions = {}): Promise<SqliteLockStore> {
    const all = { pollIntervalMs: 200, busyDeadlineMs: 5000, clock: systemClock, random: Math.random, ...options };
    if (path === "" || path === ":memory:") {
      throw new ConfigError(`Cannot keep locks in "${path}": the SQLite store needs the path of a file`);
    }
    const file = resolve(path);
    let database: DatabaseSync | undefined;
    try {
      create(file);
      database = new DatabaseSync(file, { timeout: BUSY_TIMEOUT_MS });
      await whileBusy(all, {}, () => prepare(database!, file));
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
    return this.#attempt(options, () => {
      const row = this.#selectOne.get(group) as unknown as Row | undefined;
      return row === undefined ? ABSENT : decode(row);
    });
  }

  /** See {@link LockStore.write}. */
  write(
    group: Group,
    expected: Versioned,
    next: GroupState,
    options: CallOptions = {},
  ): Promise<Versioned | "conflict"> {
    return this.#attempt(options, () => {
      // IMMEDIATE takes the write lock before the read, so that nothing can change between the read and the write.
      const written = inTransaction(this.#database, "IMMEDIATE", () => {
        const row = this.#selectOne.get(group) as unknown as Row | undefined;
        if ((row?.version ?? ABSENT.version) !== expected.version) return "conflict";
        const { version } = this.#count.get() as { version: number };
        this.#upsert.run(group, version, JSON.stringify(next.holders), next.transitions, next.renewed ?? null);
        return { state: next, version };
      });
      if (written !== "conflict") {
        for (const watcher of this.#watchers) watcher.changed(group, written, written.version);
      }
      return written;
    });
  }

  /** See {@link LockStore.list}. */
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

  /** Closes the file. The last process to do so merges the write-ahead log into it. */
  [Symbol.asyncDispose](): Promise<void> {
    if (!this.#closed) this.#database.close();
    this.#closed = true;
    return Promise.resolve();
  }

  #list(): Listing {
    const rows = this.#selectAll.all() as unknown as (Row & { moment: number })[];
    const groups = new Map<Group, Versioned>();
    for (const row of rows) {
      if (row.name !== null) groups.set(row.name as Group, decode(row));
    }
    return { groups, version: rows[0]!.moment };
  }

  async #attempt<T>(options: CallOptions, act: () => T): Promise<T> {
    options.signal?.throwIfAborted();
    try {
      return await whileBusy(this.#options, options, () => {
        this.#checkFile();
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

function create(file: string): void {
  Deno.mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
  try {
    // Never opens an existing file: closing it would release the POSIX locks that this process has on it.
    Deno.openSync(file, { createNew: true, write: true, mode: 0o600 }).close();
  } catch (error) {
    if (!(error instanceof Deno.errors.AlreadyExists)) throw error;
    if (!Deno.statSync(file).isFile) throw new Error("it is not a regular file");
  }
}

/** Creates the schema in a new database, or checks that the database is ours. Never writes to another program's. */
function prepare(database: DatabaseSync, file: string): void {
  // In one transaction, since another process may be creating the schema at this moment.
  inTransaction(database, "DEFERRED", () => checkOwner(database, file));
  const { journal_mode: mode } = database.prepare("PRAGMA journal_mode = WAL").get() as { journal_mode: string };
  if (mode !== "wal") throw new Error("its file system does not allow a write-ahead log");
  // Otherwise a power failure may undo a write that was answered.
  database.exec("PRAGMA synchronous = FULL");
  const { synchronous } = database.prepare("PRAGMA synchronous").get() as { synchronous: number };
  if (synchronous !== SYNCHRONOUS_FULL) throw new Error("its writes would not survive a power failure");
  // Even if the schema exists, this shows at the start that the file can be written.
  inTransaction(database, "IMMEDIATE", () => {
    if (checkOwner(database, file) === "new") database.exec(SCHEMA);
  });
}

/** Finds out whose database it is. Call it in a transaction, since it runs several queries. */
function checkOwner(database: DatabaseSync, file: string): "new" | "ours" {
  const { application_id: owner } = database.prepare("PRAGMA application_id").get() as { application_id: number };
  const { user_version: schema } = database.prepare("PRAGMA user_version").get() as { user_version: number };
  const { tables } = database.prepare("SELECT count(*) AS tables FROM sqlite_schema").get() as { tables: number };
  if (owner === 0 && schema === 0 && tables === 0) return "new";
  if (owner !== APPLICATION_ID) {
    throw new ConfigError(`Cannot use "${file}" as a SQLite store: it is another program's database`);
  }
  if (schema > SCHEMA_VERSION) {
    throw new ConfigError(
      `Cannot use "${file}" as a SQLite store: a newer fleetlock wrote it (its schema is ${schema}, the newest supported is ${SCHEMA_VERSION})`,
    );
  }
  return "ours";
}

/** Runs `act` in a transaction. If `act` or the commit throws, nothing is written. */
function inTransaction<T>(database: DatabaseSync, kind: "DEFERRED" | "IMMEDIATE", act: () => T): T {
  database.exec(`BEGIN ${kind}`);
  try {
    const result = act();
    database.exec("COMMIT");
    return result;
  } catch (error) {
    try {
      database.exec("ROLLBACK");
    } catch {
      // SQLite has already rolled back, as it does after some faults.
    }
    throw error;
  }
}

/** Runs `act`, again and again while another process has the file locked, until the deadline. */
async function whileBusy<T>(
  { busyDeadlineMs, clock, random }: Required<SqliteLockStoreOptions>,
  { signal }: CallOptions,
  act: () => T,
): Promise<T> {
  const deadline = clock.monotonic() + busyDeadlineMs;
  for (;;) {
    try {
      return act();
    } catch (error) {
      if (!isBusy(error)) throw error;
      if (clock.monotonic() >= deadline) {
        throw new UnavailableError(`Another process kept the SQLite file locked for ${busyDeadlineMs} ms`, {
          cause: error,
        });
      }
    }
    await clock.sleep(random() * BUSY_PAUSE_MS, signal);
  }
}

/** Checks for SQLITE_BUSY. Deno reports SQLite's result code only as text. */
function isBusy(error: unknown): boolean {
  return error instanceof Error && error.message.startsWith("database is locked");
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** @throws {Error} The row's holders are malformed, so someone has damaged it. */
function decode(row: Row): Versioned {
  const holders = JSON.parse(row.holders) as Holder[];
  for (const holder of holders) {
    if (typeof holder?.id !== "string" || typeof holder.since !== "number") {
      throw new Error(`the holders of group "${row.name}" are malformed`);
    }
  }
  return {
    state: { holders, transitions: row.transitions, ...(row.renewed === null ? {} : { renewed: row.renewed }) },
    version: row.version,
  };
}
