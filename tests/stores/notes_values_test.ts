/**
 * The two values of the notes, by example: each field, each way in which it can be wrong, and what a write keeps.
 * @module
 */

import { deepEqual, equal, ok } from "node:assert/strict";
import type { ClientId } from "../../src/lock/identity.ts";
import { type Deferral, type GroupNotes, MAX_DEFERRALS, type Pause } from "../../src/lock/policy.ts";
import { fromText, type NotesRecord, readNotes, toText, writeNotes } from "../../src/stores/notes_record.ts";

/** How many bytes of JSON the deferrals have at most. */
const MAX_DEFERRED_BYTES = 64 * 1024;

const AT = Date.UTC(2026, 0, 2, 3, 4);
const LAST = Date.UTC(10_000, 0) - 1;
const UNTIL = "2026-01-02T03:04:00.000Z";

/** A deferral as it is written, and as it is read. */
const ENTRY = { id: "a", node: "n", until: UNTIL, count: 2, pods: ["web/web-0: its budget"] };
const DEFERRAL: Deferral = { ...ENTRY, id: "a" as ClientId, until: AT };

const NOTED = "what is noted for its policies cannot be read";
const unreadable = (reason: string, more: Pause = {}): GroupNotes => ({
  pause: { ...more, reason, isUnreadable: true },
});

/** Times, and what they are. Undefined for those that cannot be read. */
const TIMES: [time: unknown, ms: number | undefined][] = [
  ["2026-01-02T03:04:00Z", AT],
  ["2026-01-02T03:04Z", AT],
  ["2026-01-02T03:04:00.000Z", AT],
  ["2026-01-02T03:04:00.123456Z", AT + 123],
  ["2026-01-02T04:04:00+01:00", AT],
  ["2026-01-01t21:34:00-05:30", AT],
  ["2026-01-02 03:04:00z", AT],
  ["1970-01-01T00:00:00Z", 0],
  ["1970-01-01T00:59:59+01:00", undefined],
  ["9999-12-31T23:59:59.999Z", LAST],
  ["9999-12-31T23:59:59-00:01", undefined],
  ["9999-12-31T23:59:00-00:01", undefined],
  [" 2026-01-02T03:04:00Z", undefined],
  ["+002026-01-02T03:04:00Z", undefined],
  [["2026-01-02T03:04:00Z"], undefined],
  ["2026-01-02T03:04:00", undefined],
  ["2026-01-02", undefined],
  ["2026-13-02T03:04:00Z", undefined],
  ["x2026-01-02T03:04:00Z", undefined],
  ["2026-01-02T03:04:00Zx", undefined],
  ["02026-01-02T03:04:00Z", undefined],
  ["tomorrow", undefined],
  ["", undefined],
  [AT, undefined],
  [null, undefined],
  [{}, undefined],
];

for (const [time, ms] of TIMES) {
  Deno.test(`notes: the time ${JSON.stringify(time)} is ${ms}`, () => {
    deepEqual(readNotes({ notes: { returned: time } }), ms === undefined ? unreadable(NOTED) : { returned: ms });
    const wrong = 'its pause cannot be read: "until" is not a time such as 2026-12-24T18:00:00Z';
    deepEqual(readNotes({ paused: { until: time } }), ms === undefined ? unreadable(wrong) : { pause: { until: ms } });
    deepEqual(
      readNotes({ notes: { deferred: [{ ...ENTRY, until: time }] } }),
      ms === undefined ? unreadable(NOTED) : { deferred: [{ ...DEFERRAL, until: ms }] },
    );
  });
}

const WRONG_REASON = '"reason" is not a text';
const wrongPause = (...wrong: string[]) => `its pause cannot be read: ${wrong.join(", ")}`;
const NEITHER = "its pause is neither a text nor an object";
const LIKE_JSON = "its pause looks like JSON and cannot be read as an object";

/** What is read. */
const READS: [record: NotesRecord, notes: GroupNotes | undefined][] = [
  [{}, undefined],
  [{ notes: {} }, undefined],
  [{ notes: { deferred: [] } }, undefined],
  [{ notes: { later: 1 } }, undefined],
  ...[null, "text", 7, true, []].map((notes): [NotesRecord, GroupNotes] => [{ notes }, unreadable(NOTED)]),
  [{ notes: { deferred: [ENTRY] } }, { deferred: [DEFERRAL] }],
  [{ notes: { deferred: [{ ...ENTRY, later: 1 }] } }, { deferred: [DEFERRAL] }],
  [{ notes: { deferred: [{ id: "a", node: "", until: UNTIL }] } }, {
    deferred: [{ id: "a" as ClientId, node: "", until: AT, count: 1, pods: [] }],
  }],
  // The last entry about a host counts, at the place of its first one.
  [{ notes: { deferred: [ENTRY, { ...ENTRY, id: "b" }, { ...ENTRY, count: 3 }] } }, {
    deferred: [{ ...DEFERRAL, count: 3 }, { ...DEFERRAL, id: "b" as ClientId }],
  }],
  ...[null, "a", {}, 7].map((deferred): [NotesRecord, GroupNotes] => [{ notes: { deferred } }, unreadable(NOTED)]),
  ...[
    null,
    "a",
    7,
    [],
    {},
    { ...ENTRY, id: "" },
    { ...ENTRY, id: 7 },
    { ...ENTRY, id: undefined },
    { ...ENTRY, node: 7 },
    { ...ENTRY, node: undefined },
    { ...ENTRY, until: undefined },
    { ...ENTRY, count: 0 },
    { ...ENTRY, count: -1 },
    { ...ENTRY, count: 1.5 },
    { ...ENTRY, count: 2 ** 53 },
    { ...ENTRY, count: "2" },
    { ...ENTRY, count: null },
    { ...ENTRY, pods: "a" },
    { ...ENTRY, pods: ["a", 7] },
    { ...ENTRY, pods: null },
    // Whatever has the methods of a list.
    { ...ENTRY, pods: { every: 1, length: 0 } },
  ].map((entry): [NotesRecord, GroupNotes] => [{ notes: { deferred: [ENTRY, entry] } }, unreadable(NOTED)]),
  [{ notes: { deferred: [{ ...ENTRY, count: 1 }] } }, { deferred: [{ ...DEFERRAL, count: 1 }] }],

  [{ paused: {} }, { pause: {} }],
  [{ paused: { reason: "r", by: "b", until: UNTIL, drains: false, later: 1 } }, {
    pause: { reason: "r", by: "b", until: AT, drains: false },
  }],
  [{ paused: { drains: true } }, { pause: { drains: true } }],
  [{ paused: { reason: 7 } }, unreadable(wrongPause(WRONG_REASON))],
  [{ paused: { by: 7 } }, unreadable(wrongPause('"by" is not a text'))],
  [{ paused: { drains: "yes" } }, unreadable(wrongPause('"drains" is not true or false'))],
  [
    { paused: { reason: 7, by: null, until: 1, drains: 0 } },
    unreadable(wrongPause(
      WRONG_REASON,
      '"by" is not a text',
      '"until" is not a time such as 2026-12-24T18:00:00Z',
      '"drains" is not true or false',
    )),
  ],
  // What can be read of it stays, apart from its end and whether drains yield.
  [
    { paused: { reason: "r", by: "b", until: "soon", drains: true } },
    unreadable(`r (${wrongPause('"until" is not a time such as 2026-12-24T18:00:00Z')})`, { by: "b" }),
  ],
  ...[null, 7, true, false, [], [{}]].map((paused): [NotesRecord, GroupNotes] => [{ paused }, unreadable(NEITHER)]),
  ...[["a fire", "a fire"], ["  a fire\n", "a fire"], ["false", "false"], ["see [1]", "see [1]"]].map((
    [paused, reason],
  ): [NotesRecord, GroupNotes] => [{ paused }, { pause: { reason } }]),
  ...["", "  \n"].map((paused): [NotesRecord, GroupNotes] => [{ paused }, { pause: {} }]),
  ...['{"until": "soon"', " [1]", "{"].map((paused): [NotesRecord, GroupNotes] => [{ paused }, unreadable(LIKE_JSON)]),

  [{ notes: { returned: UNTIL, deferred: [ENTRY] }, paused: "a fire" }, {
    returned: AT,
    deferred: [DEFERRAL],
    pause: { reason: "a fire" },
  }],
  // Notes that cannot be read pause without end, whatever the pause says.
  [
    { notes: 7, paused: { reason: "r", by: "b", until: UNTIL, drains: true } },
    unreadable(`r (${NOTED})`, { by: "b", drains: true }),
  ],
  [{ notes: 7, paused: { by: "b", until: UNTIL } }, unreadable(NOTED, { by: "b" })],
];

for (const [record, notes] of READS) {
  Deno.test(`notes: what is read of ${JSON.stringify(record)}`, () => {
    deepEqual(readNotes(record), notes);
    // What is not changed is kept, whether it can be read or not.
    const kept = writeNotes(notes, record);
    equal(kept.notes, record.notes);
    equal(kept.paused, record.paused);
  });
}

const PAUSE: Pause = { reason: "r", by: "b", until: AT, drains: true };
const PAUSED = { reason: "r", by: "b", until: UNTIL, drains: true };

/** What is written over a record. */
const WRITES: [what: string, notes: GroupNotes | undefined, base: NotesRecord, written: NotesRecord][] = [
  ["nothing", undefined, {}, { notes: undefined, paused: undefined }],
  ["everything", { returned: AT, deferred: [DEFERRAL], pause: PAUSE }, {}, {
    notes: { returned: UNTIL, deferred: [ENTRY] },
    paused: PAUSED,
  }],
  ["an empty pause", { pause: {} }, {}, { notes: undefined, paused: {} }],
  ["that drains go on", { pause: { drains: false } }, {}, { notes: undefined, paused: { drains: false } }],
  ["nothing over everything", undefined, { notes: { returned: UNTIL, deferred: [ENTRY] }, paused: PAUSED }, {
    notes: undefined,
    paused: undefined,
  }],
  ["nothing over what a later version noted", undefined, { notes: { returned: UNTIL, later: 1 }, paused: "x" }, {
    notes: { later: 1 },
    paused: undefined,
  }],
  ["another pause over an object", { pause: { by: "c" } }, { paused: { ...PAUSED, later: 1 } }, {
    notes: undefined,
    paused: { by: "c", later: 1 },
  }],
  ["another pause over a text", { pause: { by: "c" } }, { paused: "a fire" }, {
    notes: undefined,
    paused: { by: "c" },
  }],
  ["another pause over one that cannot be read", { pause: { by: "c" } }, { paused: 7 }, {
    notes: undefined,
    paused: { by: "c" },
  }],
  [
    "another pause over notes that cannot be read, which are replaced too",
    { pause: { by: "c" }, returned: AT },
    { notes: { returned: 7, later: 1 }, paused: { reason: "r" } },
    { notes: { returned: UNTIL }, paused: { by: "c" } },
  ],
  ["no pause over notes that cannot be read", undefined, { notes: 7, paused: { reason: "r" } }, {
    notes: undefined,
    paused: undefined,
  }],
  ["a return beside a deferral and a pause", { returned: AT, deferred: [DEFERRAL], pause: PAUSE }, {
    notes: { deferred: [{ ...ENTRY, later: 1 }], later: 2 },
    paused: { ...PAUSED, later: 3 },
  }, {
    notes: { returned: UNTIL, deferred: [{ ...ENTRY, later: 1 }], later: 2 },
    paused: { ...PAUSED, later: 3 },
  }],
  [
    "a return beside a deferral in another form, with more pods than are written",
    { returned: AT, deferred: [{ ...DEFERRAL, pods: [..."abcdefg"] }] },
    { notes: { deferred: [{ ...ENTRY, until: "2026-01-02T04:04:00+01:00", pods: [..."abcdefg"] }] } },
    {
      notes: {
        returned: UNTIL,
        deferred: [{ ...ENTRY, until: "2026-01-02T04:04:00+01:00", pods: [..."abcdefg"] }],
      },
      paused: undefined,
    },
  ],
  ["a deferral of a host that has one", { deferred: [{ ...DEFERRAL, count: 3, until: AT + 60_000 }] }, {
    notes: { deferred: [{ ...ENTRY, later: 1 }] },
  }, {
    notes: { deferred: [{ ...ENTRY, count: 3, until: "2026-01-02T03:05:00.000Z", later: 1 }] },
    paused: undefined,
  }],
  ["a deferral of another host", { deferred: [{ ...DEFERRAL, id: "b" as ClientId }] }, {
    notes: { deferred: [{ ...ENTRY, later: 1 }] },
  }, { notes: { deferred: [{ ...ENTRY, id: "b" }] }, paused: undefined }],
  ["a deferral over a list that is none", { deferred: [DEFERRAL] }, { notes: { returned: UNTIL, deferred: 7 } }, {
    notes: { deferred: [ENTRY] },
    paused: undefined,
  }],
  ...(["node", "until", "count", "pods"] as const).map((field): typeof WRITES[number] => {
    const other = { node: "m", until: AT + 1, count: 9, pods: [] }[field];
    const text = field === "until" ? "2026-01-02T03:04:00.001Z" : other;
    return [
      `a deferral of which only "${field}" is another`,
      { deferred: [{ ...DEFERRAL, [field]: other }] },
      { notes: { deferred: [ENTRY] } },
      { notes: { deferred: [{ ...ENTRY, [field]: text }] }, paused: undefined },
    ];
  }),
];

for (const [what, notes, base, written] of WRITES) {
  Deno.test(`notes: what is written: ${what}`, () => {
    deepEqual(writeNotes(notes, base), written);
    deepEqual(readNotes(written), notes);
  });
}

Deno.test("notes: an empty list of deferrals says the same as none, so that what is there is kept", () => {
  for (const notes of [{ returned: "2026-01-02T04:04:00+01:00" }, { returned: UNTIL, deferred: [] }]) {
    for (const deferred of [undefined, []]) {
      equal(writeNotes({ returned: AT, ...(deferred && { deferred }) }, { notes }).notes, notes);
    }
  }
});

Deno.test("notes: long texts are cut where they are written, and only the last deferrals and first pods are", () => {
  const deferred = Array.from({ length: MAX_DEFERRALS + 2 }, (_, i) => ({
    ...DEFERRAL,
    id: `${i}` as ClientId,
    node: "n".repeat(254),
    pods: ["p".repeat(254), "2", "3", "4", `5${"\u{1f600}".repeat(127)}`, "6"],
  }));
  const written = writeNotes({ deferred }, {}).notes as { deferred: (typeof ENTRY)[] };
  const ids = written.deferred.map(({ id }) => id);
  deepEqual(ids, deferred.slice(-ids.length).map(({ id }) => id));
  const bytes = new TextEncoder().encode(JSON.stringify(written.deferred)).length;
  ok(bytes <= MAX_DEFERRED_BYTES && bytes + bytes / ids.length > MAX_DEFERRED_BYTES, `${bytes} bytes`);
  for (const { node, pods } of written.deferred) {
    equal(node, "n".repeat(253));
    deepEqual(pods, ["p".repeat(253), "2", "3", "4", `5${"\u{1f600}".repeat(126)}`]);
  }
});

/** Texts of an annotation, and the values in them. */
const TEXTS: [text: string | undefined, value: unknown][] = [
  [undefined, undefined],
  ["", ""],
  ["a fire", "a fire"],
  ["7", "7"],
  ["null", "null"],
  ["[]", "[]"],
  ['"a"', '"a"'],
  ["{", "{"],
  [' {"a": 1}', { a: 1 }],
];

for (const [text, value] of TEXTS) {
  Deno.test(`notes: the text ${JSON.stringify(text)} is taken for ${JSON.stringify(value)}, and back`, () => {
    const taken = fromText(text);
    deepEqual(taken, value);
    equal(toText(taken, { value: taken, text }), text);
    const own = typeof value === "object" ? JSON.stringify(value) : text;
    equal(toText(taken, { value: { other: 1 }, text: "other" }), own);
  });
}
