/** The SQLite store: the contract of all stores, and its file. @module */

import { deepEqual, equal, match, notEqual, ok, rejects, throws } from "node:assert/strict";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { type ClientId, type Group, parseClientId, parseGroup } from "../../src/lock/identity.ts";
import { GroupView } from "../../src/lock/group_view.ts";
import { GroupWriter } from "../../src/lock/group_writer.ts";
import { LockService } from "../../src/lock/lock_service.ts";
import { MalformedGroupError, UnavailableError } from "../../src/lock/errors.ts";
import { ABSENT, type Versioned } from "../../src/lock/lock_store.ts";
import { acquire, type GroupState } from "../../src/lock/semaphore.ts";
import { ConfigError } from "../../src/config/config_error.ts";
import { fromText } from "../../src/stores/notes_record.ts";
import { SqliteLockStore, type SqliteLockStoreOptions } from "../../src/stores/sqlite/store.ts";
import { lockStoreContract } from "../contracts/lock_store_contract.ts";
import { until } from "../support/condition.ts";
import { FakeClock } from "../support/fake_clock.ts";
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
      editNotes: (group, { notes, paused }) => {
        using database = new DatabaseSync(file);
        const { record } = database.prepare("SELECT record FROM lock_group WHERE name = ?").get(group) as {
          record: string;
        };
        const edited = {
          ...JSON.parse(record),
          ...(notes !== undefined && { notes: fromText(notes) }),
          ...(paused !== undefined && { paused: fromText(paused) }),
        };
        database.prepare("UPDATE lock_group SET record = ? WHERE name = ?").run(JSON.stringify(edited), group);
      },
      async [Symbol.asyncDispose]() {
        await first[Symbol.asyncDispose]();
        await second[Symbol.asyncDispose]();
        await folder[Symbol.asyncDispose]();
      },
    };
  },
});

test("a new file is for its owner only, with its journal", async (folder) => {
  const file = join(folder, "locks.db");
  {
    await using store = await SqliteLockStore.open(file);
    await write(store, ABSENT);
    equal(mode(file), 0o600);
    equal(mode(`${file}-journal`), 0o600);
  }
  const left = [...Deno.readDirSync(folder)].map(({ name }) => name).sort();
  deepEqual(left, ["locks.db", "locks.db-journal"]);
});

test("a folder that does not exist is named in one sentence, and not made", async (folder) => {
  await rejects(SqliteLockStore.open(join(folder, "a", "b", "locks.db")), (error: Error) => {
    ok(error instanceof ConfigError);
    match(
      error.message,
      /^Cannot use ".*\/a\/b\/locks\.db" .*: the folder ".*\/a\/b" does not exist: correct the path, or /,
    );
    return true;
  });
  deepEqual([...Deno.readDirSync(folder)], []);
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

test("between writes, the one file is whole: a copy of it has the locks", async (folder) => {
  const file = join(folder, "locks.db");
  await using store = await SqliteLockStore.open(file);
  let base: Versioned = ABSENT;
  for (let n = 0; n < 3; n++) {
    base = await write(store, base);
    Deno.copyFileSync(file, join(folder, `copy-${n}.db`));
    await using copy = await SqliteLockStore.open(join(folder, `copy-${n}.db`));
    deepEqual((await copy.read(GROUP)).state, HELD);
  }
});

test("a file that somebody gave a write-ahead log is whole again once it is opened", async (folder) => {
  const file = join(folder, "locks.db");
  await (await SqliteLockStore.open(file))[Symbol.asyncDispose]();
  sql(file, "PRAGMA journal_mode = WAL");
  await using store = await SqliteLockStore.open(file);
  await write(store, ABSENT);
  Deno.copyFileSync(file, join(folder, "copy.db"));
  await using copy = await SqliteLockStore.open(join(folder, "copy.db"));
  deepEqual((await copy.read(GROUP)).state, HELD);
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
  [
    "another program's database with a write-ahead log",
    (file) => sql(file, "PRAGMA journal_mode = WAL; CREATE TABLE theirs (x)"),
    /locks\.db" .*another program's/,
  ],
  [
    "an empty database with a version",
    (file) => sql(file, "PRAGMA user_version = 7"),
    /locks\.db" .*another program's/,
  ],
  ["a database with another mark", (file) => sql(file, "PRAGMA application_id = 7"), /locks\.db" .*another program's/],
  [
    "a newer fleetlock's database",
    (file) => sql(file, `PRAGMA application_id = ${0x666c6f6b}; PRAGMA user_version = 99`),
    /locks\.db" .*a newer fleetlock wrote it \(its schema is 99, the newest supported is 2\)$/,
  ],
  [
    "the database of an unreleased fleetlock",
    (file) => sql(file, `PRAGMA application_id = ${0x666c6f6b}; PRAGMA user_version = 1`),
    /locks\.db" .*from before the first release wrote it .*: when no host holds a lock in it, remove it$/,
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
  await rejects(SqliteLockStore.open(folder), /it is not a regular file$/);
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

test("a watch tells each loss once, and each return, by looking at the file once in each interval", async (folder) => {
  const file = join(folder, "locks.db");
  const clock = new FakeClock();
  await using store = await open(file, { pollIntervalMs: 200, clock });
  const events: string[] = [];
  const stop = new AbortController();
  const watched = store.watch({
    synced: () => void events.push("synced"),
    changed: () => void events.push("changed"),
    lost: () => void events.push("lost"),
  }, stop.signal);
  await clock.advance(0);
  for (let round = 1; round <= 2; round++) {
    const before = events.length;
    Deno.renameSync(file, `${file}.away`);
    await clock.advance(199);
    equal(events.length, before);
    for (let passed = 0; passed < 1_000; passed += 200) await clock.advance(200);
    deepEqual(events.slice(before), ["lost"]);
    Deno.renameSync(`${file}.away`, file);
    for (let passed = 0; passed < 1_000; passed += 200) await clock.advance(200);
    deepEqual(events.slice(before), ["lost", "synced"]);
  }
  // Its own writes are told at once, and only while it watches.
  await write(store, ABSENT);
  equal(events.at(-1), "changed");
  stop.abort();
  await watched;
  const all = events.length;
  await write(store, await store.read(GROUP));
  equal(events.length, all);
});

const FREED = "UPDATE lock_group SET record = json_set(record, '$.holders', json('[]'))";

test("what an administrator writes gets a new version, and a write that was based on the old state conflicts", async (folder) => {
  const file = join(folder, "locks.db");
  await using store = await open(file);
  const written = await write(store, ABSENT);
  sql(file, FREED);
  equal(await store.write(GROUP, written, HELD), "conflict");
  const edited = await store.read(GROUP);
  deepEqual(edited.state, { holders: [], transitions: 1 });
  ok(edited.version > written.version);

  sql(file, "DELETE FROM lock_group");
  sql(
    file,
    `INSERT INTO lock_group (name, record) VALUES ('default', '{"holders": [{"id": "ops", "since": "2026-01-02"}]}')`,
  );
  equal(await store.write(GROUP, edited, HELD), "conflict");
  const inserted = await store.read(GROUP);
  deepEqual(inserted.state, { holders: [{ id: "ops", since: Date.UTC(2026, 0, 2) }], transitions: 0 });
  ok(inserted.version > edited.version);
});

test("at the limit of groups, deleting the row of a group that nobody holds makes room for a new one", async (folder) => {
  const file = join(folder, "locks.db");
  await using store = await open(file);
  const stop = new AbortController();
  const locks = new LockService(store, { maxGroups: 1 });
  const running = locks.watch(stop.signal);
  const id = parseClientId("host")!;
  const other = parseGroup("other")!;
  equal((await locks.preReboot(id, GROUP)).kind, "granted");
  equal((await locks.steadyState(id, GROUP)).kind, "released");
  equal((await locks.preReboot(id, other)).kind, "refused");
  sql(file, "DELETE FROM lock_group WHERE name = 'default'");
  await until(async () => (await locks.preReboot(id, other)).kind === "granted");
  stop.abort();
  await running;
});

test("an edit that escapes the triggers still makes a write based on the old state conflict", async (folder) => {
  const file = join(folder, "locks.db");
  await using store = await open(file);
  const written = await write(store, ABSENT);
  sql(file, `DROP TRIGGER updated_by_hand; ${FREED}`);
  equal(await store.write(GROUP, written, HELD), "conflict");
});

const DAMAGED: [record: string, fault: RegExp][] = [
  ['{"holders": ["A"]}', /holder 1 of 1 is not an object with an "id"$/],
  ['{"holders": [{"since": "2026-01-02"}]}', /holder 1 of 1 is not an object with an "id"$/],
  ['{"holders": [{"id": "", "since": "2026-01-02"}]}', /holder 1 of 1 is not an object with an "id"$/],
  ['{"holders": [null]}', /holder 1 of 1 is not an object with an "id"$/],
  ['{"holders": [{"id": "a", "since": 5}]}', /holder 1 of 1 has no time in "since"$/],
  [
    '{"holders": [{"id": "a", "since": "2026-01-02"}, {"id": "a", "since": "2026-01-03"}]}',
    /holder 2 of 2 is in the list twice$/,
  ],
  ["{}", /its "holders" is not a list$/],
  ['{"holders": {}}', /its "holders" is not a list$/],
  ["[]", /it is not a JSON object$/],
  ["null", /it is not a JSON object$/],
  ["nobody", /it is not JSON$/],
];

test("a damaged group fails by name and is never free, and everything else works", async (folder) => {
  const file = join(folder, "locks.db");
  await using store = await open(file, { pollIntervalMs: 5 });
  const written = await write(store, ABSENT);
  const other = parseGroup("other")!;
  notEqual(await store.write(other, ABSENT, HELD), "conflict");
  const view = new GroupView();
  const writer = new GroupWriter(store, view);
  const stop = new AbortController();
  const watched = store.watch(view, stop.signal);
  await until(() => view.groups.size === 2);
  for (const [record, fault] of DAMAGED) {
    sql(
      file,
      `PRAGMA ignore_check_constraints = ON; UPDATE lock_group SET record = '${record}' WHERE name = 'default'`,
    );
    const isNamed = (error: unknown) => {
      ok(error instanceof MalformedGroupError, record);
      match(error.message, /^the record of group "default" in the store is damaged: /);
      match(error.message, fault);
      equal(error.publicMessage, error.message);
      return true;
    };
    await rejects(store.read(GROUP), isNamed);
    equal(await store.write(GROUP, written, HELD), "conflict");
    equal(await store.write(GROUP, ABSENT, HELD), "conflict");
    deepEqual([...(await store.list()).groups.keys()], [other]);
    await until(() => !view.groups.has(GROUP));
    ok(view.isSynced);
    deepEqual((await store.read(other)).state, HELD);

    await rejects(
      writer.transact(GROUP, writer.arrive(), () => ({ kind: "answer", needs: "fresh", answer: "" })),
      isNamed,
    );
    await writer.probe(GROUP);
    await new GroupWriter(store, new GroupView()).probe(GROUP);
  }
  sql(file, FREED.replace("record,", `'{"holders": []}',`));
  await until(() => view.get(GROUP)?.state.holders.length === 0);
  stop.abort();
  await watched;
});

test("a record that does not belong in the table is refused where it is written", async (folder) => {
  const file = join(folder, "locks.db");
  await using store = await open(file);
  await write(store, ABSENT);
  for (const record of ["nobody", "{}", "[]", "null", '{"holders": "a"}']) {
    throws(() => sql(file, `UPDATE lock_group SET record = '${record}'`), /constraint/);
  }
  deepEqual((await store.read(GROUP)).state, HELD);
});

test("a row whose name is not a group is left out", async (folder) => {
  const file = join(folder, "locks.db");
  await using store = await open(file);
  sql(file, `INSERT INTO lock_group (name, record) VALUES ('no group', '{"holders": []}')`);
  equal((await store.list()).groups.size, 0);
});

test("a copy that was restored over the file in place is read, even with the same change counter", async (folder) => {
  const file = join(folder, "locks.db");
  await using first = await open(file);
  let base = await write(first, ABSENT);
  base = await must(first.write(GROUP, base, { holders: [], transitions: 1 }));
  const copy = Deno.readFileSync(file);
  base = await must(first.write(GROUP, base, held("a")));
  deepEqual((await first.read(GROUP)).state, held("a"));
  const freed = await must(first.write(GROUP, base, { holders: [], transitions: 2 }));
  Deno.writeFileSync(file, copy);
  {
    await using second = await open(file);
    const granted = await must(second.write(GROUP, await second.read(GROUP), held("b")));
    await must(second.write(GROUP, granted, held("b")));
  }
  equal(await first.write(GROUP, freed, held("a")), "conflict");
  deepEqual((await first.read(GROUP)).state, held("b"));
});

test("a write returns what the file has, not what was sent", async (folder) => {
  const file = join(folder, "locks.db");
  await using store = await open(file);
  sql(
    file,
    `CREATE TRIGGER meddling AFTER INSERT ON lock_group BEGIN
       UPDATE lock_group SET record = json_set(record, '$.holders[0].id', 'other') WHERE name = new.name;
     END`,
  );
  const written = await write(store, ABSENT);
  deepEqual(written.state.holders.map(({ id }) => id), ["other"]);
  deepEqual(await store.read(GROUP), written);
});

for (
  const [what, statements] of [
    ["restored from a backup", "DELETE FROM lock_group; UPDATE counter SET version = 0;"],
    ["edited to free a group", `REPLACE INTO lock_group VALUES ('default', '{"holders": []}', 1, 'x');`],
  ] as const
) {
  test(`a file ${what} while a server uses it takes effect, whatever its versions`, async (folder) => {
    const file = join(folder, "locks.db");
    await using store = await open(file, { pollIntervalMs: 5 });
    const view = new GroupView();
    const stop = new AbortController();
    const watching = store.watch(view, stop.signal);
    // As the lock service does: on what was seen last, and after a conflict on what the file has.
    const preReboot = async (id: string) => {
      for (let seen = view.get(GROUP);;) {
        seen ??= await store.read(GROUP);
        const wish = acquire(seen.state, parseClientId(id)!, 1, 1_700_000_000_123);
        if (wish.kind === "full") return "refused";
        const written = await store.write(GROUP, seen, wish.next);
        if (written !== "conflict") return wish.kind;
        seen = undefined;
      }
    };
    equal(await preReboot("alice"), "grant");
    equal(await preReboot("alice"), "renew");
    equal(await preReboot("bob"), "refused");
    sql(file, `BEGIN; ${statements} COMMIT`);
    await until(async () => await preReboot("bob") === "grant");
    equal(await preReboot("alice"), "refused");
    stop.abort();
    await watching;
  });
}

test("a closed store is unavailable, and may be closed again", async (folder) => {
  const store = await open(join(folder, "locks.db"));
  await store[Symbol.asyncDispose]();
  await store[Symbol.asyncDispose]();
  await rejects(store.read(GROUP), (error: Error) => {
    ok(error instanceof UnavailableError);
    match(error.message, /store is closed$/);
    return true;
  });
});

test("the end of a store or of a watch ends its wait for a file that another process has locked", async (folder) => {
  const file = join(folder, "locks.db");
  const clock = new FakeClock();
  const store = await open(file, { clock, random: () => 0.75 });
  const other = await open(file, { clock, random: () => 0.75 });
  using database = new DatabaseSync(file);
  database.exec("BEGIN EXCLUSIVE");
  const stop = new AbortController();
  const events: string[] = [];
  const watched = other.watch({
    synced: () => void events.push("synced"),
    changed: () => void events.push("changed"),
    lost: () => void events.push("lost"),
  }, stop.signal);
  const checked = store.checkWritable();
  const fails = rejects(
    checked,
    (error) => error instanceof UnavailableError && error.message === "The store is closed",
  );
  equal(clock.sleepers, 3, "both for the file, and one as long as a check may take");
  equal(clock.nextIn, 15);
  await store[Symbol.asyncDispose]();
  stop.abort();
  await Promise.all([fails, watched]);
  equal(clock.sleepers, 0);
  deepEqual(events, []);
  await other[Symbol.asyncDispose]();
});

test("a write that was based on a state conflicts where the same state was written again since", async (folder) => {
  await using store = await open(join(folder, "locks.db"));
  const base = await write(store, ABSENT);
  const again = await write(store, base);
  deepEqual(again.state, base.state);
  equal(await store.write(GROUP, base, held("a")), "conflict");
  notEqual(await store.write(GROUP, again, held("a")), "conflict");
});

test("a file that is locked at the start is told from one that cannot be used, each with its cause", async (folder) => {
  const file = join(folder, "locks.db");
  await (await open(file))[Symbol.asyncDispose]();
  {
    using database = new DatabaseSync(file);
    database.exec("BEGIN EXCLUSIVE");
    await rejects(open(file, { busyDeadlineMs: 0 }), (error: Error) => {
      ok(error instanceof UnavailableError && error.cause instanceof Error);
      match(error.message, /^Another process kept the SQLite file locked/);
      return true;
    });
  }
  Deno.writeTextFileSync(file, "no database\n".repeat(200));
  await rejects(open(file), (error: Error) => error instanceof ConfigError && error.cause instanceof Error);
  sql(join(folder, "theirs.db"), "CREATE TABLE theirs (x)");
  await rejects(open(join(folder, "theirs.db")), (error: Error) => {
    // The sentence stands alone, and not as the cause of another one.
    ok(error instanceof ConfigError && error.cause === undefined);
    equal(error.message.split("Cannot use").length, 2);
    return true;
  });
  for (const path of ["", ":memory:"]) await rejects(open(path), /needs the path of a file$/);
});

test("a watch tells at its start that the file is away, and nothing of this store's writes until it is back in step", async (folder) => {
  const file = join(folder, "locks.db");
  const clock = new FakeClock();
  await using store = await open(file, { pollIntervalMs: 200, clock });
  const events: string[] = [];
  const stop = new AbortController();
  Deno.renameSync(file, `${file}.away`);
  const watched = store.watch({
    synced: ({ groups }) => void events.push(`synced ${groups.size}`),
    changed: (group) => void events.push(`changed ${group}`),
    lost: () => void events.push("lost"),
  }, stop.signal);
  await clock.advance(0);
  deepEqual(events.splice(0), ["lost"]);
  Deno.renameSync(`${file}.away`, file);
  await clock.advance(200);
  deepEqual(events.splice(0), ["synced 0"]);
  Deno.renameSync(file, `${file}.away`);
  await clock.advance(200);
  Deno.renameSync(`${file}.away`, file);
  const written = await write(store, ABSENT);
  deepEqual(events.splice(0), ["lost"]);
  await clock.advance(200);
  deepEqual(events.splice(0), ["synced 1"]);
  await write(store, written);
  // A write that conflicts has changed nothing.
  equal(await store.write(GROUP, written, HELD), "conflict");
  deepEqual(events.splice(0), ["changed default"]);
  stop.abort();
  await watched;
});

function test(name: string, run: (folder: string) => Promise<void>): void {
  Deno.test({
    name: `SQLite: ${name}`,
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
  return await must(store.write(GROUP, base, HELD));
}

async function must(writing: Promise<Versioned | "conflict">): Promise<Versioned> {
  const written = await writing;
  notEqual(written, "conflict");
  return written as Versioned;
}

function held(id: string): GroupState {
  return { holders: [{ id: parseClientId(id)!, since: 1_700_000_000_123 }], transitions: 2 };
}

function sql(file: string, statements: string): void {
  using database = new DatabaseSync(file);
  database.exec(statements);
}

function mode(path: string): number {
  return Deno.statSync(path).mode! & 0o777;
}

test("a write based on a version whose record was written once more conflicts", async (folder) => {
  await using store = await SqliteLockStore.open(join(folder, "locks.db"));
  const base = await write(store, ABSENT);
  const again = await store.write(GROUP, base, HELD);
  if (again === "conflict") throw new Error("a conflict without another writer");
  // The record is the same; only the version and its token tell the two apart.
  ok(again.version > base.version);
  equal(await store.write(GROUP, base, HELD), "conflict");
  deepEqual(await store.read(GROUP), again);
});
