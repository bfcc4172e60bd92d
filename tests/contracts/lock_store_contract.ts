/**
 * The test suite that every {@link LockStore} must pass. Each case gets two
 * stores on one fresh backend, like two replicas.
 *
 * @module
 */

import { deepEqual, equal, match, notEqual, ok, rejects } from "node:assert/strict";
import { type ClientId, type Group, parseClientId, parseGroup } from "../../src/lock/identity.ts";
import { ABSENT, type Listing, type LockStore, type LockWatcher, type Versioned } from "../../src/lock/lock_store.ts";
import type { Pause } from "../../src/lock/policy.ts";
import type { GroupState, Holder } from "../../src/lock/semaphore.ts";
import { until } from "../support/condition.ts";

/** Two stores on one backend that holds no groups yet. */
export interface ContractStores extends AsyncDisposable {
  /** The store of one replica. */
  readonly first: LockStore;
  /** The store of another replica. */
  readonly second: LockStore;
  /**
   * Deletes a group as an administrator would, without the stores. Without it, the cases about deletion are skipped.
   */
  readonly deleteGroup?: (group: Group) => Promise<void> | void;
  /**
   * Writes what is noted with a group as a person does, without the stores; undefined leaves a value as it is. Without
   * it, the cases about such notes are skipped.
   */
  readonly editNotes?: (group: Group, texts: { notes?: string; paused?: string }) => Promise<void> | void;
}

/** The store to run the suite on. */
export interface LockStoreContract {
  /** The store's name, for the names of the tests. */
  readonly name: string;
  /** Opens two stores on a fresh, empty backend; the case disposes of them. */
  readonly open: () => Promise<ContractStores>;
  /** Whether to ignore the whole suite, since the backend is not available. */
  readonly ignore?: boolean;
  /** The cases that this store cannot pass, by name, with the reason of each. */
  readonly skip?: Readonly<Record<string, string>>;
}

type Case = (stores: ContractStores) => Promise<void>;

const NOW = Date.UTC(2026, 0, 2, 3, 4, 5, 678);

/** All printable ASCII characters that an id may have. */
const PRINTABLE = Array.from({ length: 0x7e - 0x21 + 1 }, (_, i) => String.fromCharCode(0x21 + i))
  .filter((character) => character !== ",").join("");

const LONGEST_ID = (PRINTABLE + PRINTABLE + PRINTABLE).slice(0, 253);

const ODD_GROUPS = [
  "default",
  "Default",
  "DEFAULT",
  ".",
  "..",
  "...",
  "-",
  ".leading",
  "trailing.",
  "-dash-",
  "a..b",
  "a.b",
  "a-b",
  "0",
  "x".repeat(63),
  "X".repeat(63),
  "-".repeat(63),
].map(group);

const CASES: Record<string, Case> = {
  async "reports a group that does not exist as absent"({ first }) {
    const found = await first.read(group("none"));
    deepEqual(found.state, ABSENT.state);
    equal(found.version, 0);
    equal((await first.list()).groups.size, 0);
  },

  async "creates a group that the other store then reads"({ first, second }) {
    const written = await mustWrite(first, group("default"), ABSENT, held("a"));
    ok(Number.isSafeInteger(written.version) && written.version > 0);
    deepEqual(written.state, held("a"));
    assertSame(await second.read(group("default")), written);
    assertSame(await first.read(group("default")), written);
  },

  async "lets exactly one of many creators win"({ first, second }) {
    for (const name of ["race-1", "race-2", "race-3"].map(group)) {
      const stores = Array.from({ length: 10 }, (_, i) => i % 2 === 0 ? first : second);
      const results = await Promise.all(stores.map((store, i) => store.write(name, ABSENT, held(`host-${i}`))));
      const winners = results.filter((result) => result !== "conflict");
      equal(winners.length, 1);
      assertSame(await first.read(name), winners[0]!);
    }
  },

  async "lets exactly one of many writers on one version win"({ first, second }) {
    const base = await mustWrite(first, group("default"), ABSENT, held());
    const stores = Array.from({ length: 10 }, (_, i) => i % 2 === 0 ? first : second);
    const results = await Promise.all(stores.map((store, i) => store.write(group("default"), base, held(`host-${i}`))));
    const winners = results.filter((result) => result !== "conflict");
    equal(winners.length, 1);
    assertSame(await second.read(group("default")), winners[0]!);
  },

  async "writes nothing on a stale version, or if the group exists unexpectedly"({ first, second }) {
    const old = await mustWrite(first, group("default"), ABSENT, held("a"));
    const latest = await mustWrite(second, group("default"), old, held("b"));
    equal(await first.write(group("default"), old, held("c")), "conflict");
    equal(await second.write(group("default"), old, held("c")), "conflict");
    equal(await first.write(group("default"), ABSENT, held("c")), "conflict");
    assertSame(await first.read(group("default")), latest);
  },

  async "accepts what any of its calls returned as the base of a write"({ first, second }) {
    const name = group("default");
    const created = await mustWrite(first, name, ABSENT, held("a"));
    const written = await mustWrite(first, name, created, held("a", "b"));
    ok(written.version > created.version);
    await mustWrite(second, name, await second.read(name), held("b"));
    await mustWrite(first, name, (await first.list()).groups.get(name)!, held("c"));
    await watching(second, async (mirror) => {
      await until(() => mirror.groups.get(name)?.state.holders[0]?.id === "c");
      await mustWrite(second, name, mirror.groups.get(name)!, held());
    });
    deepEqual((await first.read(name)).state, held());
  },

  async "gives versions that grow over all groups and both stores"({ first, second }) {
    const versions: number[] = [];
    const latest = new Map<Group, Versioned>();
    for (let i = 0; i < 12; i++) {
      const name = group(`group-${i % 3}`);
      const written = await mustWrite(
        i % 2 === 0 ? first : second,
        name,
        latest.get(name) ?? ABSENT,
        held(`host-${i}`),
      );
      latest.set(name, written);
      versions.push(written.version);
    }
    deepEqual(versions, [...new Set(versions)].sort((a, b) => a - b));
    ok((await first.list()).version >= versions.at(-1)!);
  },

  async "has nothing that is being deleted where nobody deletes anything"({ first, second }) {
    const written = await mustWrite(first, group("default"), ABSENT, held("a"));
    equal(written.ending, undefined);
    equal((await second.read(group("default"))).ending, undefined);
    equal((await second.list()).groups.get(group("default"))!.ending, undefined);
  },

  async "does not change other groups"({ first, second }) {
    const one = await mustWrite(first, group("one"), ABSENT, held("a"));
    await mustWrite(second, group("two"), ABSENT, held("b"));
    assertSame(await second.read(group("one")), one);
    await mustWrite(second, group("one"), one, held());
  },

  async "returns every state exactly as written"({ first, second }) {
    const states: GroupState[] = [
      { holders: [], transitions: 0 },
      { holders: [], transitions: 2_147_483_647, renewed: NOW },
      ...[0, 1, 2, 3, 10].map((count) => ({
        holders: Array.from({ length: count }, (_, i) => holder(`host-${i}`, NOW - 90_000 + i * 1001)),
        transitions: count + 7,
        renewed: NOW + count,
      })),
      {
        holders: [
          { ...holder("a", NOW), node: { name: "node-a.example", uid: "1", phase: "draining" } },
          {
            ...holder("b", NOW + 1),
            node: {
              name: "b",
              uid: "6c3a7a52-6a0c-4b3c-8d0e-1f9d5f4f4b1d",
              bootId: "0b6b9f0e-4d1c-4f0e-8a54-2d0c6a1f3b77",
              phase: "drained",
            },
          },
          { ...holder("c", NOW + 2), node: { name: "c", uid: "3", bootId: "x", phase: "failed" } },
          holder("d", NOW + 3),
          { ...holder("e", NOW + 4), isNodeUnreadable: true },
          { ...holder("f", NOW + 5), extra: { later: { added: [true, null, "x"] }, "": 1 } },
          { ...holder("g", NOW + 6), node: { name: "g", uid: "7", phase: "drained" }, extra: { later: 1 } },
          { ...holder("h", NOW + 7), slots: 3 },
          { ...holder("i", NOW + 8), node: { name: "i", uid: "9", phase: "failed" }, slots: 12, hadYes: true },
        ],
        transitions: 4,
        renewed: NOW,
      },
      { holders: [], transitions: 4, renewed: NOW + 1, notes: { returned: NOW + 1 } },
      {
        holders: [holder("a", NOW)],
        transitions: 5,
        renewed: NOW + 2,
        notes: {
          returned: NOW + 1,
          deferred: [
            { id: id("b"), node: "b", until: NOW + 1_800_000, count: 1, pods: [] },
            {
              id: id(LONGEST_ID),
              node: "c",
              until: NOW + 3_600_001,
              count: 7,
              pods: ["web/web-0: its budget", '"\\é'],
            },
          ],
          pause: { reason: "a fire", by: "ops", until: NOW + 60_000, drains: true },
        },
      },
      { holders: [], transitions: 5, renewed: NOW + 3, notes: { pause: {} } },
      { holders: [], transitions: 5, renewed: NOW + 4 },
      // The order is that of the grants, even if the clocks of the granting replicas disagreed.
      { holders: [holder("b", NOW), holder("a", NOW - 3_600_000), holder("c", NOW)], transitions: 3, renewed: NOW - 1 },
    ];
    const name = group("default");
    let base: Versioned = ABSENT;
    for (const state of states) {
      base = await mustWrite(first, name, base, state);
      deepEqual(base.state, state);
      deepEqual((await second.read(name)).state, state);
      deepEqual((await second.list()).groups.get(name)?.state, state);
    }
  },

  async "keeps groups apart whatever their names"({ first, second }) {
    for (const [i, name] of ODD_GROUPS.entries()) await mustWrite(first, name, ABSENT, held(`host-${i}`));
    for (const [i, name] of ODD_GROUPS.entries()) {
      deepEqual((await second.read(name)).state, held(`host-${i}`), name);
    }
    deepEqual([...(await second.list()).groups.keys()].sort(), [...ODD_GROUPS].sort());
  },

  async "returns ids of 253 characters, including quotes and backslashes"({ first, second }) {
    const ids = [LONGEST_ID, ...PRINTABLE, `';DROP/**/TABLE/**/lock_group;--`, `%s"\\u0000\\`, "null", "[]"];
    const state = held(...ids);
    await mustWrite(first, group("default"), ABSENT, state);
    deepEqual((await second.read(group("default"))).state, state);
  },

  async "lists every group with its state and version"({ first, second }) {
    const written = new Map<Group, Versioned>();
    for (const name of ["a", "b", "C"].map(group)) {
      written.set(name, await mustWrite(first, name, ABSENT, held(`host-${name}`)));
    }
    const listing = await second.list();
    deepEqual([...listing.groups.keys()].sort(), [...written.keys()].sort());
    for (const [name, versioned] of written) assertSame(listing.groups.get(name)!, versioned);
  },

  async "reports the existing groups and the changes by both stores to a watch"({ first, second }) {
    const name = group("default");
    const created = await mustWrite(first, name, ABSENT, held("a"));
    await watching(second, async (mirror) => {
      await until(() => mirror.groups.has(name), { what: "the initial state" });
      assertSame(mirror.groups.get(name)!, created);

      const changed = await mustWrite(first, name, created, held("b"));
      await until(() => mirror.groups.get(name)?.version === changed.version, { what: "a change of the other store" });
      deepEqual(mirror.groups.get(name)!.state, held("b"));

      const own = await mustWrite(second, name, changed, held("c"));
      await until(() => mirror.groups.get(name)?.version === own.version, { what: "a change of the same store" });

      await mustWrite(first, group("New"), ABSENT, held("d"));
      await until(() => mirror.groups.has(group("New")), { what: "a new group" });
      deepEqual(mirror.groups.get(group("New"))!.state, held("d"));
      ok(mirror.version >= mirror.groups.get(group("New"))!.version);
    });
  },

  async "reports nothing to a watch that has ended, and allows several watches"({ first, second }) {
    const name = group("default");
    let ended: Mirror | undefined;
    await watching(first, async (lasting) => {
      await watching(first, async (mirror) => {
        ended = mirror;
        await until(() => mirror.isSynced && lasting.isSynced);
      });
      const reports = ended!.reports;
      await mustWrite(second, name, ABSENT, held("a"));
      await until(() => lasting.groups.has(name), { what: "the lasting watch sees the change" });
      equal(ended!.reports, reports);
    });
  },

  async "ends a watch at once if its signal is already aborted"({ first }) {
    const mirror = new Mirror();
    await first.watch(mirror, AbortSignal.abort());
    equal(mirror.reports, 0);
  },

  async "loses no update of many concurrent writers"({ first, second }) {
    const name = group("default");
    const writers = 12, rounds = 5;
    await Promise.all(Array.from({ length: writers }, async (_, i) => {
      const store = i % 2 === 0 ? first : second;
      for (let done = 0; done < rounds;) {
        const found = await store.read(name);
        const next = { ...found.state, transitions: found.state.transitions + 1, renewed: NOW };
        if (await store.write(name, found, next) !== "conflict") done++;
      }
    }));
    equal((await first.read(name)).state.transitions, writers * rounds);
  },

  async "throws the reason of an aborted signal, and writes nothing"({ first }) {
    const reason = new Error("no longer wanted");
    const options = { signal: AbortSignal.abort(reason) };
    await rejects(first.read(group("default"), options), reason);
    await rejects(first.list(options), reason);
    await rejects(first.write(group("default"), ABSENT, held("a"), options), reason);
    equal((await first.read(group("default"))).version, 0);
  },
};

const DELETION_CASES: Record<string, Case> = {
  async "accepts the deletion of a group"({ first, second, deleteGroup }) {
    const name = group("default");
    const old = await mustWrite(first, name, ABSENT, held("a"));
    await deleteGroup!(name);
    equal((await second.read(name)).version, 0);
    equal((await second.list()).groups.size, 0);
    equal(await first.write(name, old, held("b")), "conflict");
    equal((await first.read(name)).version, 0);

    const created = await mustWrite(second, name, ABSENT, held("c"));
    ok(created.version > old.version, "a version came twice");
    equal(await first.write(name, old, held("b")), "conflict");
    assertSame(await first.read(name), created);
  },

  async "reports a deletion to a watch"({ first, second, deleteGroup }) {
    const name = group("Default");
    const old = await mustWrite(first, name, ABSENT, held("a"));
    await mustWrite(first, group("other"), ABSENT, held("b"));
    await watching(second, async (mirror) => {
      await until(() => mirror.groups.size === 2, { what: "both groups" });
      await deleteGroup!(name);
      await until(() => !mirror.groups.has(name), { what: "the deletion" });
      ok(mirror.groups.has(group("other")));
      ok(mirror.version >= old.version);
    });
  },
};

/** What a person may write to pause a group, and how it reads. */
const PAUSES: readonly [text: string, pause: Pause][] = [
  ["the rack gets new power", { reason: "the rack gets new power" }],
  ["", {}],
  ["true", { reason: "true" }],
  ['{"reason":"a fire","by":"ops","until":"2026-01-02T04:00:00Z","drains":true,"ticket":7}', {
    reason: "a fire",
    by: "ops",
    until: Date.UTC(2026, 0, 2, 4),
    drains: true,
  }],
  ['{"drains":false}', { drains: false }],
];

/** What cannot be read as it stands. Each pauses, without an end and with its drains left alone. */
const UNREADABLE: readonly { notes?: string; paused?: string }[] = [
  { paused: '{"reason":"a fire"' },
  { paused: '["a fire"]' },
  { paused: '{"until":"tonight"}' },
  { paused: '{"until":"2026-12-24"}' },
  { paused: '{"until":7}' },
  { paused: '{"drains":"yes"}' },
  { notes: '{"returned":"yesterday"}' },
  { notes: '{"deferred":{}}' },
  { notes: '{"deferred":[{"id":"a","node":"a","until":"soon"}]}' },
  { notes: "lost", paused: '{"until":"2020-01-01T00:00:00Z","drains":true}' },
];

const NOTES_CASES: Record<string, Case> = {
  async "reads the pause that a person sets, and keeps it over writes"({ first, second, editNotes }) {
    const name = group("default");
    for (const [paused, pause] of PAUSES) {
      await mustWrite(first, name, await first.read(name), held("a"));
      await editNotes!(name, { paused });
      const found = await second.read(name);
      deepEqual(found.state.notes, { pause }, paused);
      const noted = { ...held("a", "b"), notes: { ...found.state.notes, returned: NOW } };
      const written = await mustWrite(second, name, found, noted);
      deepEqual((await first.read(name)).state, noted);
      // Whoever lifts it replaces it with nothing.
      await mustWrite(second, name, written, held());
      deepEqual((await first.read(name)).state, held());
    }
  },

  async "takes what it cannot read for a pause, and keeps it until somebody replaces it"({ first, second, editNotes }) {
    const name = group("default");
    for (const texts of UNREADABLE) {
      await mustWrite(first, name, await first.read(name), held("a"));
      await editNotes!(name, texts);
      const found = await second.read(name);
      const { isUnreadable, reason, until } = found.state.notes!.pause!;
      deepEqual([isUnreadable, until], [true, undefined], JSON.stringify(texts));
      match(reason!, /cannot be read/);
      const written = await mustWrite(second, name, found, { ...held("b"), notes: found.state.notes! });
      deepEqual((await first.read(name)).state.notes, found.state.notes);
      const replaced = { ...held("b"), notes: { returned: NOW, pause: { reason: "read me" } } };
      deepEqual((await mustWrite(first, name, written, replaced)).state, replaced);
      await mustWrite(first, name, await first.read(name), held());
    }
  },
};

/** Registers the suite's tests. */
export function lockStoreContract({ name, open, ignore = false, skip = {} }: LockStoreContract): void {
  for (const unknown of Object.keys(skip)) {
    if (!(unknown in { ...CASES, ...DELETION_CASES, ...NOTES_CASES })) throw new Error(`No such case: ${unknown}`);
  }
  for (const [title, run] of Object.entries({ ...CASES, ...DELETION_CASES, ...NOTES_CASES })) {
    const reason = skip[title];
    Deno.test({
      name: `${name} store ${title}${reason === undefined ? "" : ` (skipped: ${reason})`}`,
      ignore: ignore || reason !== undefined,
      async fn(test) {
        await using stores = await open();
        if (title in DELETION_CASES && stores.deleteGroup === undefined) {
          await test.step({ name: "skipped: groups cannot be deleted", ignore: true, fn: () => {} });
          return;
        }
        if (title in NOTES_CASES && stores.editNotes === undefined) {
          await test.step({ name: "skipped: nobody can edit its notes", ignore: true, fn: () => {} });
          return;
        }
        await run(stores);
      },
    });
  }
}

/** The groups as a watch has reported them. */
class Mirror implements LockWatcher {
  groups = new Map<Group, Versioned>();
  version = 0;
  reports = 0;
  isSynced = false;

  synced(listing: Listing): void {
    this.reports++;
    this.isSynced = true;
    this.groups = new Map(listing.groups);
    this.version = listing.version;
  }

  changed(group: Group, versioned: Versioned, version: number): void {
    this.reports++;
    ok(this.isSynced, "a change before the first listing");
    if (versioned.version === ABSENT.version) this.groups.delete(group);
    else this.groups.set(group, versioned);
    this.version = Math.max(this.version, version);
  }

  lost(): void {
    this.reports++;
  }
}

async function watching(store: LockStore, act: (mirror: Mirror) => Promise<void>): Promise<void> {
  const mirror = new Mirror();
  const stop = new AbortController();
  const ended = store.watch(mirror, stop.signal);
  try {
    await act(mirror);
  } finally {
    stop.abort();
    await ended;
  }
}

async function mustWrite(store: LockStore, name: Group, base: Versioned, next: GroupState): Promise<Versioned> {
  const written = await store.write(name, base, next);
  notEqual(written, "conflict");
  return written as Versioned;
}

/** Compares the parts that every Versioned has. A store may add more. */
function assertSame(actual: Versioned, expected: Versioned): void {
  deepEqual(actual.state, expected.state);
  equal(actual.version, expected.version);
}

function held(...ids: string[]): GroupState {
  return { holders: ids.map((id, i) => holder(id, NOW + i)), transitions: ids.length, renewed: NOW };
}

function holder(raw: string, since: number): Holder {
  return { id: id(raw), since };
}

function id(raw: string): ClientId {
  const parsed = parseClientId(raw);
  ok(parsed !== undefined, `invalid id: ${raw}`);
  return parsed;
}

function group(raw: string): Group {
  const parsed = parseGroup(raw);
  ok(parsed !== undefined, `invalid group: ${raw}`);
  return parsed;
}
