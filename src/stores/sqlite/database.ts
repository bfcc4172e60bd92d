/**
 * Opens the SQLite file and owns its schema, its durability (a write that was
 * answered survives a power failure) and its use by several processes at a time.
 * It does not know what the rows mean.
 *
 * SQLite blocks the thread. So each attempt is short, and the caller waits
 * asynchronously before it tries a locked file again.
 *
 * @module
 */

import { dirname } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { ConfigError } from "../../config/config_error.ts";
import type { Clock } from "../../lock/clock.ts";
import { UnavailableError } from "../../lock/errors.ts";

/** How {@link whileBusy} waits. */
export interface BusyOptions {
  /** How long a call waits for a file that another process has locked, in milliseconds. */
  readonly busyDeadlineMs: number;
  /** Measures the wait. */
  readonly clock: Clock;
  /** Returns a number from 0 (inclusive) to 1 (exclusive), for the pauses. */
  readonly random: () => number;
}

/** "flok", the mark in the header of our files. We never write to a file without it. */
const APPLICATION_ID = 0x666c6f6b;

/** SQLite's value for `synchronous = FULL`. */
const SYNCHRONOUS_FULL = 2;

/** The version of {@link SCHEMA}, kept in `user_version`. Version 1 was never released. */
const SCHEMA_VERSION = 2;

/**
 * `version` orders the states for a view. It is a counter, which a restored
 * backup takes back, so it may come again. `token` cannot: it is random, new with
 * every write, and a write takes effect only on the token that it was based on.
 *
 * The counter survives the deletion of groups. The triggers give what an
 * administrator writes a version and a token, so that a write that was based on
 * the old state becomes a conflict.
 */
const SCHEMA = `
  CREATE TABLE counter (
    only INTEGER PRIMARY KEY CHECK (only = 0),
    version INTEGER NOT NULL
  ) STRICT;
  INSERT INTO counter VALUES (0, 0);
  CREATE TABLE lock_group (
    name TEXT PRIMARY KEY,
    record TEXT NOT NULL CHECK (json_valid(record) AND json_type(record, '$.holders') IS 'array'),
    version INTEGER NOT NULL DEFAULT 0,
    token TEXT NOT NULL DEFAULT ''
  ) STRICT, WITHOUT ROWID;
  CREATE TRIGGER inserted_by_hand AFTER INSERT ON lock_group WHEN new.token = '' BEGIN
    UPDATE counter SET version = version + 1;
    UPDATE lock_group SET version = (SELECT version FROM counter), token = lower(hex(randomblob(16)))
      WHERE name = new.name;
  END;
  CREATE TRIGGER updated_by_hand AFTER UPDATE ON lock_group WHEN new.token = old.token BEGIN
    UPDATE counter SET version = version + 1;
    UPDATE lock_group SET version = (SELECT version FROM counter), token = lower(hex(randomblob(16)))
      WHERE name = new.name;
  END;
  PRAGMA application_id = ${APPLICATION_ID};
  PRAGMA user_version = ${SCHEMA_VERSION};
`;

/** How long SQLite itself may block the thread on a locked file, in milliseconds. */
const BUSY_TIMEOUT_MS = 10;

/** The longest pause before a locked file is tried again, in milliseconds. */
const BUSY_PAUSE_MS = 20;

/**
 * Opens the file. Creates it (mode 0600) if it does not exist, in a folder that exists.
 *
 * @param file An absolute path.
 * @throws {ConfigError} The database is another program's, or of another version of fleetlock, and stays as it was; or
 * its folder does not exist.
 * @throws {UnavailableError} Another process kept the file locked.
 * @throws {Error} Anything else that is wrong with the file.
 */
export async function openDatabase(file: string, options: BusyOptions): Promise<DatabaseSync> {
  create(file);
  const database = new DatabaseSync(file, { timeout: BUSY_TIMEOUT_MS });
  try {
    await whileBusy(options, undefined, () => prepare(database, file));
  } catch (error) {
    database.close();
    throw error;
  }
  return database;
}

/** Runs `act` in a transaction. If `act` or the commit throws, nothing is written. */
export function inTransaction<T>(database: DatabaseSync, kind: "DEFERRED" | "IMMEDIATE", act: () => T): T {
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

/**
 * Runs `act`, again and again while another process has the file locked, until the deadline.
 *
 * @throws {UnavailableError} The deadline has passed.
 * @throws The signal's reason, once it aborts during a pause; and what `act` throws.
 */
export async function whileBusy<T>(
  { busyDeadlineMs, clock, random }: BusyOptions,
  signal: AbortSignal | undefined,
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

/** Returns what an error says. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function create(file: string): void {
  try {
    // Never opens an existing file: closing it would release the POSIX locks that this process has on it.
    Deno.openSync(file, { createNew: true, write: true, mode: 0o600 }).close();
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) {
      const folder = dirname(file);
      const todo = `correct the path, or create the folder if no store of locks exists yet`;
      throw new ConfigError(`Cannot use "${file}" as a SQLite store: the folder "${folder}" does not exist: ${todo}`);
    }
    // Deno refuses to open files in /proc, /sys and /dev, and speaks of its own flags.
    if (error instanceof Deno.errors.NotCapable) {
      throw new Error("this program may not write there: choose another folder");
    }
    if (!(error instanceof Deno.errors.AlreadyExists)) throw error;
    if (!Deno.statSync(file).isFile) throw new Error("it is not a regular file");
  }
}

/** Creates the schema in a new database, or checks that the database is ours. Never writes to another program's. */
function prepare(database: DatabaseSync, file: string): void {
  // In one transaction, since another process may be creating the schema at this moment.
  inTransaction(database, "DEFERRED", () => checkOwner(database, file));
  // With a rollback journal, the one file is whole between writes. With a write-ahead log, a copy of the file alone
  // would lack the latest locks, or all of them. PERSIST makes the end of a transaction durable by a synced write to
  // the journal; DELETE would need `synchronous = EXTRA` and takes about twice as long.
  const { journal_mode: mode } = database.prepare("PRAGMA journal_mode = PERSIST").get() as { journal_mode: string };
  if (mode !== "persist") throw new Error(`it cannot be used with a rollback journal (its journal mode is ${mode})`);
  // Otherwise a power failure may undo a write that was answered.
  database.exec("PRAGMA synchronous = FULL");
  const { synchronous } = database.prepare("PRAGMA synchronous").get() as { synchronous: number };
  if (synchronous !== SYNCHRONOUS_FULL) throw new Error("its writes would not survive a power failure");
  // Makes SQLite write the pages that it frees, so that they are on the disk for the next write (write_probe.ts).
  database.exec("PRAGMA secure_delete = ON");
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
  const refuse = (why: string) => new ConfigError(`Cannot use "${file}" as a SQLite store: ${why}`);
  if (owner !== APPLICATION_ID) throw refuse("it is another program's database");
  if (schema > SCHEMA_VERSION) {
    throw refuse(
      `a newer fleetlock wrote it (its schema is ${schema}, the newest supported is ${SCHEMA_VERSION})`,
    );
  }
  if (schema < SCHEMA_VERSION) {
    throw refuse(
      `a fleetlock from before the first release wrote it (its schema is ${schema}, the oldest supported is ` +
        `${SCHEMA_VERSION}): when no host holds a lock in it, remove it`,
    );
  }
  return "ours";
}

/** Checks for SQLITE_BUSY. Deno reports SQLite's result code only as text. */
export function isBusy(error: unknown): boolean {
  return error instanceof Error && error.message.startsWith("database is locked");
}
