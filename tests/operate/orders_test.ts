/** Orders and releases by hand on a real store: what they write, and races that they lose. @module */

import { deepEqual, equal } from "node:assert/strict";
import { MemoryBackend, MemoryLockStore } from "../../src/lock/lock_store.ts";
import { type ClientId, parseClientId, parseGroup } from "../../src/lock/identity.ts";
import { acquire, amend, type GroupState, release } from "../../src/lock/semaphore.ts";
import { pauseGroup, resumeGroup, undefer } from "../../src/operate/orders.ts";
import type { StorePlace } from "../../src/operate/place.ts";
import { planRelease, releaseHold } from "../../src/operate/release.ts";

const GROUP = parseGroup("workers")!;
const ALICE = parseClientId("alice-id")!;
const BOB = parseClientId("bob-id")!;
const NODE = { name: "node-a", uid: "u", phase: "draining" } as const;

/** A place over a memory store. `beforeWrite` runs once, before the first write. */
async function place(ids: readonly ClientId[], beforeWrite?: (store: MemoryLockStore) => Promise<void>) {
  const backend = new MemoryBackend();
  const store = new MemoryLockStore(backend);
  for (const id of ids) {
    await change(store, (state) => (acquire(state, id, 2, 1_000, NODE) as { next: GroupState }).next);
  }
  let isFirst = true;
  const watched = Object.assign(Object.create(store) as MemoryLockStore, {
    async write(...args: Parameters<MemoryLockStore["write"]>) {
      if (isFirst) await beforeWrite?.(store);
      isFirst = false;
      return await store.write(...args);
    },
    read: store.read.bind(store),
  });
  const read = async () => (await store.read(GROUP)).state;
  const one: StorePlace = { kind: "sqlite", path: "x", store: watched, [Symbol.asyncDispose]: () => Promise.resolve() };
  return { place: one, read };
}

async function change(store: MemoryLockStore, next: (state: GroupState) => GroupState): Promise<void> {
  const found = await store.read(GROUP);
  await store.write(GROUP, found, next(found.state));
}

async function plan(one: StorePlace, name: string) {
  const search = await planRelease(one, GROUP, name);
  if (search.kind !== "plan") throw new Error(search.kind);
  return search.plan;
}

const HOW = { uncordon: false, by: "ada" };

Deno.test("a release frees the slot of the one that is named, and no other", async () => {
  const { place: one, read } = await place([ALICE, BOB]);
  equal((await releaseHold(one, await plan(one, "alic"), HOW)).kind, "released");
  deepEqual((await read()).holders.map(({ id }) => id), [BOB]);
});

Deno.test("a release after the host's own release changes nothing", async () => {
  const { place: one, read } = await place(
    [ALICE, BOB],
    (store) => change(store, (state) => (release(state, ALICE, 5_000) as { next: GroupState }).next),
  );
  equal((await releaseHold(one, await plan(one, "alice-id"), HOW)).kind, "not_held");
  deepEqual((await read()).holders.map(({ id }) => id), [BOB]);
});

Deno.test("a release that another client's grant comes before is tried again", async () => {
  const { place: one, read } = await place(
    [ALICE],
    (store) => change(store, (state) => (acquire(state, BOB, 2, 5_000) as { next: GroupState }).next),
  );
  equal((await releaseHold(one, await plan(one, "alice-id"), HOW)).kind, "released");
  deepEqual((await read()).holders.map(({ id }) => id), [BOB]);
});

Deno.test("a release whose host has got its yes since it was shown changes nothing", async () => {
  const { place: one, read } = await place(
    [ALICE],
    (store) => change(store, (state) => amend(state, state.holders[0]!, 5_000, { ...NODE, phase: "drained" })!),
  );
  const shown = await plan(one, "alice-id");
  equal(shown.mayReboot, false);
  equal((await releaseHold(one, shown, HOW)).kind, "changed");
  equal((await read()).holders.length, 1);
});

Deno.test("a release of a hold that was released and granted again changes nothing", async () => {
  const { place: one, read } = await place([ALICE], async (store) => {
    await change(store, (state) => (release(state, ALICE, 5_000) as { next: GroupState }).next);
    await change(store, (state) => (acquire(state, ALICE, 2, 6_000, NODE) as { next: GroupState }).next);
  });
  equal((await releaseHold(one, await plan(one, "alice-id"), HOW)).kind, "changed");
  equal((await read()).holders.length, 1);
});

Deno.test("a pause keeps holders and deferrals, replaces the pause before, and a resume leaves nothing of it", async () => {
  const { place: one, read } = await place([ALICE]);
  const deferred = [{ id: BOB, node: "node-b", until: 9_000, count: 1, pods: [] }];
  const found = await one.store.read(GROUP);
  await one.store.write(GROUP, found, { ...found.state, notes: { deferred } });
  await pauseGroup(one, GROUP, { reason: "first", by: "ada" });
  const again = await pauseGroup(one, GROUP, { reason: "second", by: "bea", drains: true });
  deepEqual([again.isNew, again.before?.reason], [false, "first"]);
  deepEqual((await read()).notes, { deferred, pause: { reason: "second", by: "bea", drains: true } });
  equal((await read()).holders.length, 1);
  equal((await resumeGroup(one, GROUP, { by: "ada" })).kind, "resumed");
  deepEqual((await read()).notes, { deferred });
  equal((await resumeGroup(one, GROUP, { by: "ada" })).kind, "not_paused");
  equal((await undefer(one, GROUP, "node-z", "ada")).kind, "not_deferred");
  equal((await undefer(one, GROUP, "node-b", "ada")).kind, "undeferred");
  equal((await read()).notes, undefined);
});

Deno.test("a resume deletes what cannot be read only where it may", async () => {
  const { place: one, read } = await place([ALICE]);
  const found = await one.store.read(GROUP);
  const pause = { reason: "its pause cannot be read", isUnreadable: true } as const;
  await one.store.write(GROUP, found, { ...found.state, notes: { pause } });
  deepEqual(await resumeGroup(one, GROUP, { by: "ada" }), { kind: "unreadable", pause });
  deepEqual((await read()).notes, { pause });
  equal((await resumeGroup(one, GROUP, { by: "ada", deleteUnreadable: true })).kind, "resumed");
  equal((await read()).notes, undefined);
});

Deno.test("a pause of a group that has no record says so", async () => {
  const { place: one } = await place([]);
  equal((await pauseGroup(one, GROUP, { reason: "x", by: "ada" })).isNew, true);
});

Deno.test("nobody of that name is no release", async () => {
  const { place: one } = await place([ALICE, parseClientId("alice-ib")!]);
  equal((await planRelease(one, GROUP, "node-z")).kind, "not_held");
  equal((await planRelease(one, GROUP, "alice")).kind, "several");
});
