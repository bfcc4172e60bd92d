/**
 * What is noted with a group for the policies, in the codec of every store: it survives writes by this version, a later
 * one and the one before, and what is not understood never reads as nothing.
 * Each value is in notes_values_test.ts.
 *
 * @module
 */

import type { V1Lease } from "@kubernetes/client-node/dist/gen/models/V1Lease.js";
import fc from "fast-check";
import { deepEqual, equal, ok } from "node:assert/strict";
import { type ClientId, parseGroup } from "../../src/lock/identity.ts";
import { type GroupNotes, MAX_DEFERRALS } from "../../src/lock/policy.ts";
import type { GroupState, Holder } from "../../src/lock/semaphore.ts";
import { leaseToState, NOTES_ANNOTATION, PAUSED_ANNOTATION, stateToLease } from "../../src/stores/lease/codec.ts";
import { readNotes, writeNotes } from "../../src/stores/notes_record.ts";
import { recordToState, stateToRecord } from "../../src/stores/sqlite/record.ts";
import * as leaseBefore from "./version_before/lease_codec.ts";
import * as sqliteBefore from "./version_before/sqlite_record.ts";

const GROUP = parseGroup("default")!;
const NOW = Date.UTC(2026, 0, 2);
const [SUBJECT, OTHER] = ["subject", "other"] as ClientId[] as [ClientId, ClientId];

/** A codec: how it reads, and how it writes a state over what is there. */
interface Codec<T> {
  readonly read: (stored: T) => GroupState;
  readonly write: (state: GroupState, stored?: T) => T;
}

const lease = ({ leaseToState, stateToLease }: typeof leaseBefore): Codec<unknown> => ({
  read: (stored) => leaseToState(stored as V1Lease),
  write: (state, stored) => JSON.parse(JSON.stringify(stateToLease(GROUP, "ns", state, stored as V1Lease))),
});

const record = ({ recordToState, stateToRecord }: typeof sqliteBefore): Codec<unknown> => ({
  read: (stored) => recordToState(GROUP, stored as string),
  write: (state, stored) => stateToRecord(GROUP, state, stored as string),
});

/** Each codec of this version, and of the one before. */
const CODECS: Record<string, readonly [now: Codec<unknown>, before: Codec<unknown>]> = {
  Lease: [lease({ ...leaseBefore, leaseToState, stateToLease }), lease(leaseBefore)],
  SQLite: [record({ recordToState, stateToRecord }), record(sqliteBefore)],
};

/** Records are made as the codecs make them: with the usual prototype. */
const PLAIN = { noNullPrototype: true };
const PLAIN_PARTS = { ...PLAIN, requiredKeys: [] };

const times = fc.integer({ min: 0, max: Date.UTC(9999, 0) });
const deferrals = fc.uniqueArray(
  fc.record({
    id: fc.stringMatching(/^[!-+\--~]{1,32}$/).map((id) => id as ClientId),
    node: fc.stringMatching(/^[a-z0-9.-]{1,253}$/),
    until: times,
    count: fc.integer({ min: 1, max: 99 }),
    pods: fc.array(fc.string({ maxLength: 80 }), { maxLength: 3 }),
  }, PLAIN),
  { selector: ({ id }) => id, minLength: 1, maxLength: MAX_DEFERRALS },
);
const notes: fc.Arbitrary<GroupNotes> = fc.record({
  returned: times,
  deferred: deferrals,
  pause: fc.record({ reason: fc.string(), by: fc.string(), until: times, drains: fc.boolean() }, PLAIN_PARTS),
}, PLAIN_PARTS);

/** What the version before may do to a group. */
const STEPS: Record<string, (state: GroupState) => GroupState> = {
  renew: (state) => ({
    ...state,
    holders: state.holders.map((one) => ({ ...one, renewed: NOW + 5 })),
    renewed: NOW + 5,
  }),
  grant: (state) => ({
    ...state,
    holders: [...state.holders, { id: "third" as ClientId, since: NOW + 5, renewed: NOW + 5 }],
  }),
  release_of_another: (state) => ({ ...state, holders: state.holders.filter(({ id }) => id === SUBJECT) }),
  note_a_node: (state) => ({
    ...state,
    holders: state.holders.map((one): Holder => ({ ...one, node: { name: "n", uid: "u", phase: "drained" } })),
  }),
};

for (const [name, [codec, before]] of Object.entries(CODECS)) {
  for (const [step, change] of Object.entries(STEPS)) {
    Deno.test(`${name} codec of the version before: notes and slots survive: ${step}`, () => {
      fc.assert(fc.property(notes, fc.option(fc.constant(true as const), { nil: undefined }), (noted, hadYes) => {
        const holder: Holder = { id: SUBJECT, since: NOW, renewed: NOW, slots: 3, ...(hadYes && { hadYes }) };
        const state: GroupState = {
          holders: [holder, { id: OTHER, since: NOW + 1, slots: 2 }],
          transitions: 2,
          renewed: NOW,
        };
        const stored = codec.write({ ...state, ...(Object.keys(noted).length > 0 && { notes: noted }) });
        const seen = before.read(stored);
        equal(seen.holders.length, 2, "it reads the holders");
        const read = codec.read(before.write(change(seen), stored));
        deepEqual(read.notes, Object.keys(noted).length > 0 ? noted : undefined);
        const { slots, hadYes: had } = read.holders.find(({ id }) => id === SUBJECT)!;
        deepEqual([slots, had], [3, hadYes]);
      }));
    });
  }

  Deno.test(`${name} codec: what a later version notes survives, also beside notes that change`, () => {
    const later = {
      returned: new Date(NOW).toISOString(),
      zones: { a: [1] },
      deferred: [{
        id: "a",
        node: "n",
        until: new Date(NOW).toISOString(),
        count: 2,
        pods: [],
        canary: true,
      }],
    };
    const paused = { reason: "a fire", ticket: 7 };
    const empty = { holders: [], transitions: 0 };
    const stored = name === "Lease"
      ? {
        metadata: {
          annotations: { [NOTES_ANNOTATION]: JSON.stringify(later), [PAUSED_ANNOTATION]: JSON.stringify(paused) },
        },
      }
      : JSON.stringify({ ...empty, notes: later, paused });
    const read = codec.read(stored);
    const changed = codec.write({ ...read, notes: { ...read.notes, returned: NOW + 1 } }, stored);
    const values = name === "Lease"
      ? Object.fromEntries(
        Object.entries((changed as V1Lease).metadata!.annotations!).filter(([key]) => /notes|paused/.test(key))
          .map(([key, text]) => [key.split("/")[1], JSON.parse(text)]),
      )
      : JSON.parse(changed as string);
    deepEqual(values.notes, { ...later, returned: new Date(NOW + 1).toISOString() });
    deepEqual(values.paused, paused);
  });

  Deno.test(`${name} codec: a write that changes nothing of the notes keeps them as they are, to the letter`, () => {
    const text = '{ "deferred": [], "returned" : "2026-01-02T00:00:00+00:00" }';
    const stored = name === "Lease"
      ? { metadata: { annotations: { [NOTES_ANNOTATION]: text, [PAUSED_ANNOTATION]: '{"by" : "ops"}' } } }
      : `{"holders":[],"notes":${text},"paused":{"by":"ops"}}`;
    const read = codec.read(stored);
    deepEqual(read.notes, { returned: NOW, pause: { by: "ops" } });
    const written = codec.write({ ...read, transitions: 9 }, stored);
    if (name === "Lease") equal((written as V1Lease).metadata!.annotations![NOTES_ANNOTATION], text);
    else deepEqual(JSON.parse(written as string).notes, JSON.parse(text));
  });

  Deno.test(`${name} codec: an emptied list of holders keeps the notes`, () => {
    const full = codec.write({ holders: [{ id: SUBJECT, since: NOW }], transitions: 1, notes: { returned: NOW } });
    const emptied = name === "Lease"
      ? { ...(full as V1Lease), spec: { ...(full as V1Lease).spec, holderIdentity: "" } }
      : JSON.stringify({ ...JSON.parse(full as string), holders: [] });
    const { holders, notes } = codec.read(emptied);
    deepEqual([holders, notes], [[], { returned: NOW }]);
  });
}

Deno.test("whatever stands in the two values, it reads as nothing only where there is nothing", () => {
  const any = fc.option(fc.oneof(fc.jsonValue(), fc.string()), { nil: undefined });
  fc.assert(fc.property(any, any, (notes, paused) => {
    const read = readNotes({ notes, paused });
    if (paused !== undefined) ok(read?.pause !== undefined, "it pauses");
    const isObject = typeof notes === "object" && notes !== null && !Array.isArray(notes);
    if (notes !== undefined && !isObject) ok(read?.pause?.isUnreadable && read.pause.until === undefined);
    const kept = writeNotes(read, { notes, paused });
    equal(kept.notes, notes, "what is not changed is kept");
    equal(kept.paused, paused);
  }));
});

Deno.test("what is written is bounded, whatever it is given, and the last entries stay", () => {
  const deferred = (text: string) =>
    Array.from({ length: 500 }, (_, n) => ({
      id: `${n}-host` as ClientId,
      node: text,
      until: NOW,
      count: 1,
      pods: Array.from({ length: 99 }, () => text),
    }));
  const write = (text: string) => writeNotes({ deferred: deferred(text) }, {}).notes as { deferred: { id: string }[] };
  const usual = write('shop/db-0: its PodDisruptionBudget "db" allows no disruption now, and so on and on');
  equal(usual.deferred.length, MAX_DEFERRALS);
  equal(readNotes({ notes: usual })?.deferred?.length, MAX_DEFERRALS);
  const long = write("p".repeat(9_999));
  ok(JSON.stringify(long).length < 65 * 1024);
  ok(long.deferred.length > 30, `${long.deferred.length}`);
  equal(long.deferred.at(-1)!.id, "499-host");
});
