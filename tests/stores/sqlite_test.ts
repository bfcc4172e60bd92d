/** The SQLite store: the contract of all stores, and its file. @module */

import assert from "node:assert/strict";
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
        assert.equal(database.prepare("DELETE FROM lock_group WHERE name = ?").run(group).changes, 1);
      },
      async [Symbol.asyncDispose]() {
        await first[Symbol.asyncDispose]();
        await second[Symbol.asyncDispose]();
        await folder[Symbol.asyncDispose]();
      },
    };
  },
});

test("a file is created for its owner alone, folders included, and left without a log", async (folder) => {
  const file = join(folder, "a", "b", "locks.db");
  {
    await using store = await SqliteLockStore.open(file);
    await write(store, ABSENT);
    assert.equal(mode(file), 0o600);
    assert.equal(mode(`${file}-wal`), 0o600);
    assert.equal(mode(join(folder, "a", "b")), 0o700);
    assert.equal(mode(join(folder, "a")), 0o700);
  }
  assert.deepEqual([...Deno.readDirSync(join(folder, "a", "b"))].map(({ name }) => name), ["locks.db"]);
});

test("locks outlive the process, and their versions go on", async (folder) => {
  const file = join(folder, "locks.db");
  let written: Versioned;
  {
    await using store = await SqliteLockStore.open(file);
    written = await write(store, ABSENT);
  }
  await using store = await SqliteLockStore.open(file);
  assert.deepEqual(await store.read(GROUP), written);
  assert.equal((await write(store, written)).version, written.version + 1);
});

test("the file has a write-ahead log", async (folder) => {
  const file = join(folder, "locks.db");
  await using _store = await SqliteLockStore.open(file);
  using database = new DatabaseSync(file);
  assert.equal(database.prepare("PRAGMA journal_mode").get()!.journal_mode, "wal");
});

test("an empty file becomes a store", async (folder) => {
  const file = join(folder, "locks.db");
  Deno.writeFileSync(file, new Uint8Array());
  await using store = await SqliteLockStore.open(file);
  await write(store, ABSENT);
});

const FOREIGN: [what: string, make: (file: string) => void, message: RegExp][] = [
  ["a text", (file) => Deno.writeTextFileSync(file, "no database\n".repeat(200)), /locks\.db" .*not a database$/],
  ["another program's database", (file) => sql(file, "CREATE TABLE theirs (x)"), /locks\.db" .*another program's/],
  ["a database with another mark", (file) => sql(file, "PRAGMA application_id = 7"), /locks\.db" .*another program's/],
  [
    "a newer fleetlock's database",
    (file) => sql(file, `PRAGMA application_id = ${0x666c6f6b}; PRAGMA user_version = 99`),
    /locks\.db" .*a newer fleetlock wrote it \(schema 99, known is 1\)$/,
  ],
];

for (const [what, make, message] of FOREIGN) {
  test(`${what} is refused in one sentence and left as it was`, async (folder) => {
    const file = join(folder, "locks.db");
    make(file);
    const before = Deno.readFileSync(file);
    await assert.rejects(SqliteLockStore.open(file), (error: Error) => {
      assert.ok(error instanceof ConfigError);
      assert.match(error.message, message);
      assert.ok(!error.message.includes("\n"));
      return true;
    });
    assert.deepEqual(Deno.readFileSync(file), before);
    assert.deepEqual([...Deno.readDirSync(folder)].map(({ name }) => name), ["locks.db"]);
  });
}

test("a path that is no file's is refused", async (folder) => {
  Deno.writeTextFileSync(join(folder, "plain"), "");
  for (const path of ["", ":memory:", folder, join(folder, "plain", "locks.db")]) {
    await assert.rejects(SqliteLockStore.open(path), ConfigError, `path "${path}"`);
  }
});

test("a file locked by another process is waited for, and given up at the deadline", async (folder) => {
  const file = join(folder, "locks.db");
  await using store = await open(file, { busyDeadlineMs: 50 });
  await using patient = await open(file);
  {
    using database = new DatabaseSync(file);
    database.exec("BEGIN IMMEDIATE");
    await assert.rejects(store.write(GROUP, ABSENT, HELD), (error: Error) => {
      assert.ok(error instanceof UnavailableError);
      assert.match(error.message, /locked for 50 ms$/);
      return error.cause !== undefined;
    });
    assert.deepEqual(await store.read(GROUP), ABSENT, "reading needs no lock");

    const reason = new Error("gone");
    const leaving = new AbortController();
    const abandoned = patient.write(GROUP, ABSENT, HELD, { signal: leaving.signal });
    leaving.abort(reason);
    await assert.rejects(abandoned, reason);

    const waiting = patient.write(GROUP, ABSENT, HELD);
    database.exec("COMMIT");
    assert.notEqual(await waiting, "conflict");
  }
});

test("a damaged or vanished file makes the store unavailable, and a watch says so", async (folder) => {
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
    await assert.rejects(store.read(GROUP), UnavailableError);
    await assert.rejects(store.write(GROUP, written, HELD), UnavailableError);
    await until(() => events.length === 2);
    assert.match(events[1]!, /^UnavailableError: SQLite file/);

    Deno.writeFileSync(file, new Uint8Array());
    await assert.rejects(store.list(), /replaced while in use/);

    Deno.renameSync(`${file}.away`, file);
    await until(() => events.length === 3);
    assert.equal(events[2], "synced");
    assert.deepEqual(await store.read(GROUP), written);

    sql(file, "ALTER TABLE lock_group RENAME TO mislaid");
    await assert.rejects(store.read(GROUP), UnavailableError);
    await assert.rejects(store.write(GROUP, written, HELD), UnavailableError);
    sql(file, "ALTER TABLE mislaid RENAME TO lock_group");
    assert.deepEqual(await store.read(GROUP), written);
  } finally {
    stop.abort();
    await watched;
  }
});

test("a row that an administrator edits gets a new version, and a damaged one is not read as free", async (folder) => {
  const file = join(folder, "locks.db");
  await using store = await open(file);
  const written = await write(store, ABSENT);
  sql(file, "UPDATE lock_group SET holders = '[]'");
  assert.equal(await store.write(GROUP, written, HELD), "conflict");
  const edited = await store.read(GROUP);
  assert.deepEqual(edited.state, { holders: [], transitions: 1 });
  assert.ok(edited.version > written.version);

  assert.throws(() => sql(file, "UPDATE lock_group SET holders = 'nobody'"));
  sql(file, `UPDATE lock_group SET holders = '["host"]'`);
  await assert.rejects(store.read(GROUP), (error: Error) => {
    assert.ok(error instanceof UnavailableError);
    assert.match(error.message, /holders of group "default" are malformed$/);
    return true;
  });
});

for (
  const [what, statements] of [
    ["put back to a backup", "DELETE FROM lock_group; UPDATE counter SET version = 0;"],
    ["given a free group by hand", "INSERT OR REPLACE INTO lock_group VALUES ('default', 1, '[]', 0, NULL);"],
  ] as const
) {
  test(`a file ${what} while a server uses it is obeyed, whatever its versions`, async (folder) => {
    const file = join(folder, "locks.db");
    await using store = await open(file);
    const locks = new LockService(store);
    const stop = new AbortController();
    const watching = locks.watch(stop.signal);
    const [alice, bob] = [parseClientId("alice")!, parseClientId("bob")!];
    assert.equal((await locks.preReboot(alice, GROUP)).kind, "granted");
    assert.equal((await locks.preReboot(alice, GROUP)).kind, "renewed");
    assert.equal((await locks.preReboot(bob, GROUP)).kind, "refused");
    sql(file, `BEGIN; ${statements} COMMIT`);
    await until(async () => (await locks.preReboot(bob, GROUP)).kind === "granted");
    stop.abort();
    await watching;
  });
}

test("fields of a holder that this store does not know come back", async (folder) => {
  await using store = await open(join(folder, "locks.db"));
  const state = { ...HELD, holders: [{ ...HELD.holders[0]!, later: { added: true } }] };
  await store.write(GROUP, ABSENT, state);
  assert.deepEqual((await store.read(GROUP)).state, state);
});

test("a closed store is unavailable, and closing again is nothing", async (folder) => {
  const store = await open(join(folder, "locks.db"));
  await store[Symbol.asyncDispose]();
  await store[Symbol.asyncDispose]();
  await assert.rejects(store.read(GROUP), UnavailableError);
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
  assert.notEqual(written, "conflict");
  return written as Versioned;
}

function sql(file: string, statements: string): void {
  using database = new DatabaseSync(file);
  database.exec(statements);
}

function mode(path: string): number {
  return Deno.statSync(path).mode! & 0o777;
}
