/** The SQLite store: the contract of all stores, and its file. @module */

import { deepEqual, equal, match, notEqual, ok, rejects, throws } from "node:assert/strict";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { type ClientId, type Group, parseClientId, parseGroup } from "../../src/lock/identity.ts";
import { LockService } from "../../src/lock/lock_service.ts";
import { UnavailableError } from "../../src/lock/errors.ts";
import { ABSENT, type Versioned } from "../../src/lock/lock_store.ts";
import { ConfigError } from "../../src/config/config_error.ts";
import { SqliteLockStore, type SqliteLockStoreOptions } from "../../src/stores/sqlite.ts";
import { lockStoreContract } from "../contracts/lock_store_contract.ts";
import { until } from "../support/condition.ts";
import { temporaryFolder } from "./sqlite_support.ts";

const GROUP = parseGroup("default") as Group;
const HELD = { holders: [{ id: parseClientId("host") as ClientId, since: 1_700_000_000_123 }], transitions: 1 };

lockStoreContract({
  name: "SQLite",
  async open() {
    const folder = await temporaryFolder();
    const file = join(folder.path, "locks.db");
    const [first, second] = [await SqliteLockStore.open(file), await SqliteLockStore.open(file)];
    return {
      first,
      second,
      deleteGroup: (group) => {
        using database = new DatabaseSync(file);
        equal(database.prepare("DELETE FROM lock_group WHERE name = ?").run(group).changes, 1);
      },
      async [Symbol.asyncDispose]() {
        await first[Symbol.asyncDispose]();
        await second[Symbol.asyncDispose]();
        await folder[Symbol.asyncDispose]();
      },
    };
  },
});

test("a new file and its folders are for their owner only, and closing leaves only the file", async (folder) => {
  const file = join(folder, "a", "b", "locks.db");
  {
    await using store = await SqliteLockStore.open(file);
    await write(store, ABSENT);
    equal(mode(file), 0o600);
    equal(mode(`${file}-wal`), 0o600);
    equal(mode(join(folder, "a", "b")), 0o700);
    equal(mode(join(folder, "a")), 0o700);
  }
  deepEqual([...Deno.readDirSync(join(folder, "a", "b"))].map(({ name }) => name), ["locks.db"]);
});

test("locks survive a restart, and their versions continue", async (folder) => {
  const file = join(folder, "locks.db");
  let written: Versioned;
  {
    await using store = await SqliteLockStore.open(file);
    written = await write(store, ABSENT);
  }
  await using store = await SqliteLockStore.open(file);
  deepEqual(await store.read(GROUP), written);
  equal((await write(store, written)).version, written.version + 1);
});

test("the file has a write-ahead log", async (folder) => {
  const file = join(folder, "locks.db");
  await using _store = await SqliteLockStore.open(file);
  using database = new DatabaseSync(file);
  equal(database.prepare("PRAGMA journal_mode").get()!.journal_mode, "wal");
});

test("an empty file becomes a store", async (folder) => {
  const file = join(folder, "locks.db");
  Deno.writeFileSync(file, new Uint8Array());
  await using store = await SqliteLockStore.open(file);
  await write(store, ABSENT);
});

const FOREIGN: [what: string, make: (file: string) => void, message: RegExp][] = [
  ["a text file", (file) => Deno.writeTextFileSync(file, "no database\n".repeat(200)), /locks\.db" .*not a database$/],
  ["another program's database", (file) => sql(file, "CREATE TABLE theirs (x)"), /locks\.db" .*another program's/],
  ["a database with another mark", (file) => sql(file, "PRAGMA application_id = 7"), /locks\.db" .*another program's/],
  [
    "a newer fleetlock's database",
    (file) => sql(file, `PRAGMA application_id = ${0x666c6f6b}; PRAGMA user_version = 99`),
    /locks\.db" .*a newer fleetlock wrote it \(its schema is 99, the newest supported is 1\)$/,
  ],
];

for (const [what, make, message] of FOREIGN) {
  test(`${what} is refused in one sentence and left as it was`, async (folder) => {
    const file = join(folder, "locks.db");
    make(file);
    const before = Deno.readFileSync(file);
    await rejects(SqliteLockStore.open(file), (error: Error) => {
      ok(error instanceof ConfigError);
      match(error.message, message);
      ok(!error.message.includes("\n"));
      return true;
    });
    deepEqual(Deno.readFileSync(file), before);
    deepEqual([...Deno.readDirSync(folder)].map(({ name }) => name), ["locks.db"]);
  });
}

test("a path that cannot be a file is refused", async (folder) => {
  Deno.writeTextFileSync(join(folder, "plain"), "");
  for (const path of ["", ":memory:", folder, join(folder, "plain", "locks.db")]) {
    await rejects(SqliteLockStore.open(path), ConfigError, `path "${path}"`);
  }
});

test("a call waits for a file that another process has locked, until its deadline", async (folder) => {
  const file = join(folder, "locks.db");
  await using store = await open(file, { busyDeadlineMs: 50 });
  await using patient = await open(file);
  {
    using database = new DatabaseSync(file);
    database.exec("BEGIN IMMEDIATE");
    await rejects(store.write(GROUP, ABSENT, HELD), (error: Error) => {
      ok(error instanceof UnavailableError);
      match(error.message, /locked for 50 ms$/);
      return error.cause !== undefined;
    });
    deepEqual(await store.read(GROUP), ABSENT, "a read does not need the lock");

    const reason = new Error("gone");
    const leaving = new AbortController();
    const abandoned = patient.write(GROUP, ABSENT, HELD, { signal: leaving.signal });
    leaving.abort(reason);
    await rejects(abandoned, reason);

    const waiting = patient.write(GROUP, ABSENT, HELD);
    database.exec("COMMIT");
    notEqual(await waiting, "conflict");
  }
});

test("a damaged or removed file makes the store unavailable, and a watch reports it", async (folder) => {
  const file = join(folder, "locks.db");
  await using store = await open(file, { pollIntervalMs: 5 });
  const written = await write(store, ABSENT);
  const events: string[] = [];
  const stop = new AbortController();
  const watcher = {
    synced: () => void events.push("synced"),
    changed: () => void events.push("changed"),
    lost: (reason: unknown) => void events.push(String(reason)),
  };
  const watched = store.watch(watcher, stop.signal);
  try {
    await until(() => events.length === 1);
    Deno.renameSync(file, `${file}.away`);
    await rejects(store.read(GROUP), UnavailableError);
    await rejects(store.write(GROUP, written, HELD), UnavailableError);
    await until(() => events.length === 2);
    match(events[1]!, /^UnavailableError: SQLite file/);

    Deno.writeFileSync(file, new Uint8Array());
    await rejects(store.list(), /replaced while in use/);

    Deno.renameSync(`${file}.away`, file);
    await until(() => events.length === 3);
    equal(events[2], "synced");
    deepEqual(await store.read(GROUP), written);

    sql(file, "ALTER TABLE lock_group RENAME TO mislaid");
    await rejects(store.read(GROUP), UnavailableError);
    await rejects(store.write(GROUP, written, HELD), UnavailableError);
    sql(file, "ALTER TABLE mislaid RENAME TO lock_group");
    deepEqual(await store.read(GROUP), written);
  } finally {
    stop.abort();
    await watched;
  }
});

test("an edited row gets a new version, and a damaged row is not read as free", async (folder) => {
  const file = join(folder, "locks.db");
  await using store = await open(file);
  const written = await write(store, ABSENT);
  sql(file, "UPDATE lock_group SET holders = '[]'");
  equal(await store.write(GROUP, written, HELD), "conflict");
  const edited = await store.read(GROUP);
  deepEqual(edited.state, { holders: [], transitions: 1 });
  ok(edited.version > written.version);

  throws(() => sql(file, "UPDATE lock_group SET holders = 'nobody'"));
  sql(file, `UPDATE lock_group SET holders = '["host"]'`);
  await rejects(store.read(GROUP), (error: Error) => {
    ok(error instanceof UnavailableError);
    match(error.message, /holders of group "default" are malformed$/);
    return true;
  });
});

for (
  const [what, statements] of [
    ["restored from a backup", "DELETE FROM lock_group; UPDATE counter SET version = 0;"],
    ["edited to free a group", "INSERT OR REPLACE INTO lock_group VALUES ('default', 1, '[]', 0, NULL);"],
  ] as const
) {
  test(`a file ${what} while a server uses it takes effect, whatever its versions`, async (folder) => {
    const file = join(folder, "locks.db");
    await using store = await open(file);
    const locks = new LockService(store);
    const stop = new AbortController();
    const watching = locks.watch(stop.signal);
    const [alice, bob] = [parseClientId("alice")!, parseClientId("bob")!];
    equal((await locks.preReboot(alice, GROUP)).kind, "granted");
    equal((await locks.preReboot(alice, GROUP)).kind, "renewed");
    equal((await locks.preReboot(bob, GROUP)).kind, "refused");
    sql(file, `BEGIN; ${statements} COMMIT`);
    await until(async () => (await locks.preReboot(bob, GROUP)).kind === "granted");
    stop.abort();
    await watching;
  });
}

test("unknown fields of a holder are kept", async (folder) => {
  await using store = await open(join(folder, "locks.db"));
  const state = { ...HELD, holders: [{ ...HELD.holders[0]!, later: { added: true } }] };
  await store.write(GROUP, ABSENT, state);
  deepEqual((await store.read(GROUP)).state, state);
});

test("a closed store is unavailable, and may be closed again", async (folder) => {
  const store = await open(join(folder, "locks.db"));
  await store[Symbol.asyncDispose]();
  await store[Symbol.asyncDispose]();
  await rejects(store.read(GROUP), UnavailableError);
});

function test(name: string, run: (folder: string) => Promise<void>): void {
  Deno.test({
    name: `SQLite: ${name}`,
    sanitizeOps: true,
    sanitizeResources: true,
    async fn() {
      await using folder = await temporaryFolder();
      await run(folder.path);
    },
  });
}

function open(file: string, options?: SqliteLockStoreOptions): Promise<SqliteLockStore> {
  return SqliteLockStore.open(file, options);
}

async function write(store: SqliteLockStore, base: Versioned): Promise<Versioned> {
  const written = await store.write(GROUP, base, HELD);
  notEqual(written, "conflict");
  return written as Versioned;
}

function sql(file: string, statements: string): void {
  using database = new DatabaseSync(file);
  database.exec(statements);
}

function mode(path: string): number {
  return Deno.statSync(path).mode! & 0o777;
}
