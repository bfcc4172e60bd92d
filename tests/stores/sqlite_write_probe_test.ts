/** Whether the SQLite store notices a file that takes no writes before a client's write fails. @module */

import { deepEqual, equal, match, notEqual, ok, rejects } from "node:assert/strict";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { UnavailableError } from "../../src/lock/errors.ts";
import { parseClientId, parseGroup } from "../../src/lock/identity.ts";
import { ABSENT } from "../../src/lock/lock_store.ts";
import { SqliteLockStore } from "../../src/stores/sqlite/store.ts";
import { WriteProbe } from "../../src/stores/sqlite/write_probe.ts";
import { FakeClock } from "../support/fake_clock.ts";
import { temporaryFolder } from "./sqlite_support.ts";

const GROUP = parseGroup("default")!;
const HELD = { holders: [{ id: parseClientId("host")!, since: 1_700_000_000_123 }], transitions: 1 };

/** How many transactions have changed the file, from the counter in its header. */
function changes(file: string): number {
  return new DataView(Deno.readFileSync(file).buffer).getUint32(24);
}

/** Makes the file take no writes, for root too: a folder stands where SQLite's journal belongs. */
function block(file: string): Disposable {
  Deno.renameSync(`${file}-journal`, `${file}-away`);
  Deno.mkdirSync(`${file}-journal`);
  return {
    [Symbol.dispose]() {
      Deno.removeSync(`${file}-journal`);
      Deno.renameSync(`${file}-away`, `${file}-journal`);
    },
  };
}

Deno.test("a file that takes no writes is noticed without a client's write, and so is the end of that", async () => {
  await using folder = await temporaryFolder();
  const file = join(folder.path, "locks.db");
  const clock = new FakeClock();
  await using store = await SqliteLockStore.open(file, { clock });
  await store.checkWritable();
  {
    using _blocked = block(file);
    await clock.advance(10_000);
    await rejects(store.checkWritable(), (error: Error) => {
      ok(error instanceof UnavailableError);
      match(error.publicMessage!, /^the SQLite file takes no writes: [a-z].*[a-z]$/);
      ok(!error.publicMessage!.includes(file));
      match(error.message, new RegExp(file));
      return true;
    });
    await clock.advance(1_000);
    await rejects(store.checkWritable(), UnavailableError);
  }
  await clock.advance(1_000);
  await store.checkWritable();
});

Deno.test("a client's write that failed makes the next check try one at once", async () => {
  await using folder = await temporaryFolder();
  const file = join(folder.path, "locks.db");
  await using store = await SqliteLockStore.open(file, { clock: new FakeClock() });
  await store.checkWritable();
  using _blocked = block(file);
  await store.checkWritable();
  await rejects(store.write(GROUP, ABSENT, HELD), UnavailableError);
  await rejects(store.checkWritable(), UnavailableError);
});

Deno.test("a check writes at most once in ten seconds, and not at all soon after a client's write", async () => {
  await using folder = await temporaryFolder();
  const file = join(folder.path, "locks.db");
  const clock = new FakeClock();
  await using store = await SqliteLockStore.open(file, { clock });
  const before = changes(file);
  await Promise.all([store.checkWritable(), store.checkWritable()]);
  await clock.advance(9_999);
  await store.checkWritable();
  equal(changes(file), before + 1);
  notEqual(await store.write(GROUP, ABSENT, HELD), "conflict");
  await clock.advance(9_999);
  await store.checkWritable();
  equal(changes(file), before + 2);
  await clock.advance(1);
  await store.checkWritable();
  equal(changes(file), before + 3);
});

Deno.test("a check changes nothing that anybody reads, and leaves pages for later writes", async () => {
  await using folder = await temporaryFolder();
  const file = join(folder.path, "locks.db");
  const clock = new FakeClock();
  await using store = await SqliteLockStore.open(file, { clock });
  await using other = await SqliteLockStore.open(file, { clock });
  const written = await store.write(GROUP, ABSENT, HELD);
  const rows = () => {
    using database = new DatabaseSync(file);
    return ["counter", "lock_group", "sqlite_schema"].map((table) => database.prepare(`SELECT * FROM ${table}`).all());
  };
  const [before, listing] = [rows(), await other.list()];
  const sizes = new Set<number>();
  for (let n = 0; n < 3; n++) {
    await clock.advance(10_000);
    await store.checkWritable();
    const { blocks, size } = Deno.statSync(file);
    ok(blocks! * 512 >= size, "the pages are on the disk, and not only promised");
    await other.checkWritable();
    sizes.add(Deno.statSync(file).size);
  }
  deepEqual(rows(), before);
  deepEqual(await other.list(), listing);
  equal(sizes.size, 1, "the file grows once");
  {
    using database = new DatabaseSync(file);
    deepEqual({ ...database.prepare("PRAGMA integrity_check").get() }, { integrity_check: "ok" });
    ok((database.prepare("PRAGMA freelist_count").get() as { freelist_count: number }).freelist_count >= 3);
  }
  if (written === "conflict") throw new Error("the write conflicted");
  notEqual(await other.write(GROUP, written, { holders: [], transitions: 1 }), "conflict");
});

Deno.test("checks at one time share a write, and those in the second after a failure share its error", async () => {
  const clock = new FakeClock();
  const probe = new WriteProbe(clock);
  let writes = 0;
  const fault = new Error("full");
  const fail = () => {
    writes++;
    return Promise.reject(fault);
  };
  const both = await Promise.allSettled([probe.check(fail), probe.check(fail)]);
  deepEqual(both.map((each) => each.status), ["rejected", "rejected"]);
  await clock.advance(999);
  await rejects(probe.check(fail), fault);
  equal(writes, 1);
  await clock.advance(1);
  await rejects(probe.check(fail), fault);
  equal(writes, 2);
  probe.succeeded();
  await probe.check(fail);
  equal(writes, 2);
});

Deno.test("while a write waits for another process, the result of the one before it stands", async () => {
  const clock = new FakeClock();
  const probe = new WriteProbe(clock);
  const check = async (write: () => Promise<void>) => {
    const checked = probe.check(write);
    checked.catch(() => {});
    await clock.advance(200);
    return checked;
  };
  const never = () => Promise.reject(new Error("a second write"));
  const first = Promise.withResolvers<void>();
  await check(() => first.promise);
  await check(never);
  const locked = new UnavailableError("locked");
  first.reject(locked);
  await clock.advance(0);
  await rejects(probe.check(never), locked);
  await clock.advance(1_000);
  const second = Promise.withResolvers<void>();
  await rejects(check(() => second.promise), locked);
  second.resolve();
  await clock.advance(0);
  await probe.check(never);
});

Deno.test("a file that another process keeps locked makes the check fail in the end, and a store in a check can close", async () => {
  await using folder = await temporaryFolder();
  const file = join(folder.path, "locks.db");
  const clock = new FakeClock();
  await using store = await SqliteLockStore.open(file, { busyDeadlineMs: 300, clock, random: () => 1 });
  using database = new DatabaseSync(file);
  database.exec("BEGIN IMMEDIATE");
  const first = store.checkWritable();
  for (let passed = 0; passed < 200; passed += 20) await clock.advance(20);
  await first;
  for (let passed = 200; passed < 300; passed += 20) await clock.advance(20);
  const isNamed = /^the SQLite file takes no writes: another process keeps it locked$/;
  await rejects(store.checkWritable(), (error: UnavailableError) => isNamed.test(error.publicMessage!));
  await clock.advance(1_000);
  const last = rejects(store.checkWritable(), (error: UnavailableError) => isNamed.test(error.publicMessage!));
  await clock.advance(200);
  await last;
});

Deno.test("a probe that fails counts more than a write that took effect while it waited", async () => {
  const clock = new FakeClock();
  const probe = new WriteProbe(clock);
  const write = Promise.withResolvers<void>();
  const full = new Error("full");
  const checked = probe.check(() => write.promise);
  probe.succeeded();
  write.reject(full);
  await rejects(checked, full);
  await clock.advance(1_000);
  let writes = 0;
  await probe.check(() => Promise.resolve(void writes++));
  equal(writes, 1);
});
