/** What the port of the stores offers beside them. The memory store is in tests/stores/memory_test.ts. @module */

import { deepEqual, equal, rejects } from "node:assert/strict";
import { parseClientId, parseGroup } from "../../src/lock/identity.ts";
import { ABSENT, type LockStore, type LockWatcher, MemoryLockStore, readHolder } from "../../src/lock/lock_store.ts";
import { FREE, type GroupState, holderOf } from "../../src/lock/semaphore.ts";

const GROUP = parseGroup("default")!;
const ID = parseClientId("a")!;
const HELD: GroupState = { ...FREE, holders: [{ id: ID, since: 1 }] };

/** Writes a group that nobody else has written since `expected`. */
async function write(store: LockStore, expected = ABSENT, state = HELD) {
  const written = await store.write(GROUP, expected, state);
  if (written === "conflict") throw new Error("a conflict");
  return written;
}

Deno.test("a client's hold is read from its group, where there is one", async () => {
  await using store = new MemoryLockStore();
  equal(await readHolder(store, ID, GROUP), undefined);
  await write(store);
  deepEqual(await readHolder(store, ID, GROUP), holderOf(HELD, ID));
  equal(await readHolder(store, parseClientId("b")!, GROUP), undefined);
  equal(await readHolder(store, ID, parseGroup("other")!), undefined);
});

Deno.test("each memory store has groups of its own unless it shares a backend", async () => {
  await using one = new MemoryLockStore();
  await using other = new MemoryLockStore();
  await write(one);
  deepEqual(await other.read(GROUP), ABSENT);
});

Deno.test("a call with an ended signal fails with its reason, and a write changes nothing", async () => {
  await using store = new MemoryLockStore();
  const options = { signal: AbortSignal.abort(new Error("over")) };
  await rejects(store.read(GROUP, options), /^Error: over$/);
  await rejects(store.list(options), /^Error: over$/);
  await rejects(store.write(GROUP, ABSENT, HELD, options), /^Error: over$/);
  deepEqual(await store.read(GROUP, { signal: new AbortController().signal }), ABSENT);
});

Deno.test("a listing stays as it was when it was made, and has the version of the last write", async () => {
  await using store = new MemoryLockStore();
  const before = await store.list();
  const written = await write(store);
  deepEqual([before.groups.size, before.version], [0, 0]);
  const { groups, version } = await store.list();
  deepEqual([[...groups], version], [[[GROUP, written]], written.version]);
});

Deno.test("a watch tells the groups at its start and each change, until its signal ends it", async () => {
  await using store = new MemoryLockStore();
  const first = await write(store);
  const told: unknown[] = [];
  const watcher: LockWatcher = {
    synced: ({ groups, version }) => told.push([...groups.keys(), version]),
    changed: (group, { version }, at) => told.push([group, version, at]),
    lost: () => told.push("lost"),
  };
  const stop = new AbortController();
  const watch = store.watch(watcher, stop.signal);
  const second = await write(store, first, FREE);
  stop.abort();
  await watch;
  await write(store, second);
  await store.watch(watcher, stop.signal);
  deepEqual(told, [[GROUP, first.version], [GROUP, second.version, second.version]]);
});
