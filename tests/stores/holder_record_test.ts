/**
 * The record of a holder, as every store writes it: what is understood, what is not, and what a write keeps. @module
 */

import { deepEqual, equal } from "node:assert/strict";
import type { ClientId } from "../../src/lock/identity.ts";
import { type Holder, MAX_TRANSITIONS } from "../../src/lock/semaphore.ts";
import { clampTransitions, readHolder, toMs, writeHolder } from "../../src/stores/holder_record.ts";

const SINCE = Date.UTC(2026, 0, 2);
const id = "a" as ClientId;
const iso = (ms: number) => new Date(ms).toISOString();

const NODE = { node: "n", uid: "u", machineId: "m", bootId: "b", phase: "failed" };
/** A record with every field, and one of a later version. */
const WHOLE = {
  id: "a",
  since: iso(SINCE),
  renewed: iso(SINCE + 1),
  ...NODE,
  slots: 2,
  hadYes: true,
  later: { x: [1] },
};
const HOLDER: Holder = {
  id,
  since: SINCE,
  renewed: SINCE + 1,
  node: { name: "n", uid: "u", machineId: "m", bootId: "b", phase: "failed" },
  slots: 2,
  hadYes: true,
  extra: { later: { x: [1] } },
};

/** What is read of each record. Fields that are not named must not be there. */
const READS: [what: string, record: unknown, holder: unknown][] = [
  ["everything", WHOLE, HOLDER],
  ["an id alone", { id: "a" }, { id }],
  ["a time without a zone's offset is one all the same", { id: "a", since: "2026-01-02" }, { id, since: SINCE }],
  ["a node without what is optional", { id: "a", node: "n", uid: "u" }, {
    id,
    node: { name: "n", uid: "u", phase: "draining" },
  }],
  ...[1, 2, Number.MAX_SAFE_INTEGER].map((slots): [string, unknown, unknown] => [
    `slots ${slots}`,
    { id: "a", slots },
    { id, slots },
  ]),
  ...[0, -1, 1.5, 2 ** 53, "2", null, true, {}].map((slots): [string, unknown, unknown] => [
    `slots that are not understood are kept and let nobody go on: ${JSON.stringify(slots)}`,
    { id: "a", slots },
    { id, extra: { slots } },
  ]),
  ...[true, "no", 0, null, {}].map((hadYes): [string, unknown, unknown] => [
    `what is not understood may say that there was a yes: ${JSON.stringify(hadYes)}`,
    { id: "a", hadYes },
    { id, hadYes: true },
  ]),
  ...[
    { node: "n" },
    { uid: "u" },
    { machineId: "m" },
    { bootId: "b" },
    { phase: "drained" },
    { node: null },
    { node: "n", uid: "" },
    { node: "", uid: "u" },
    { node: "n", uid: 7 },
    { node: 7, uid: "u" },
    { node: ["n"], uid: "u" },
    { node: "n", uid: "u", machineId: 7 },
    { node: "n", uid: "u", machineId: null },
    { node: "n", uid: "u", bootId: 7 },
    { node: "n", uid: "u", bootId: null },
  ].map((fields): [string, unknown, unknown] => [
    `something about a node, but not which one: ${JSON.stringify(fields)}`,
    { id: "a", ...fields },
    { id, isNodeUnreadable: true },
  ]),
  ["that there was no yes", { id: "a", hadYes: false }, { id }],
  ...[undefined, null, "a", 7, [], [{ id: "a" }], {}, { id: "" }, { id: 7 }, { since: iso(SINCE) }].map(
    (record): [string, unknown, unknown] => [`nobody's record: ${JSON.stringify(record)}`, record, undefined],
  ),
];

for (const [what, record, holder] of READS) {
  Deno.test(`the record of a holder is read: ${what}`, () => deepEqual(readHolder(record), holder));
}

/** What is written over a record. "base" stands for the very record. */
const WRITES: [what: string, holder: Holder, base: unknown, written: unknown][] = [
  ["the same", HOLDER, WHOLE, "base"],
  ["the same in another order", HOLDER, Object.fromEntries(Object.entries(WHOLE).toReversed()), "base"],
  ["the same as what is not understood", { id, since: SINCE, isNodeUnreadable: true }, {
    id: "a",
    since: iso(SINCE),
    node: ["?"],
  }, "base"],
  ["an unknown phase that was not amended", { id, since: SINCE, node: { name: "n", uid: "u", phase: "draining" } }, {
    id: "a",
    since: iso(SINCE),
    node: "n",
    uid: "u",
    phase: "flying",
  }, "base"],
  ["a renewal", { ...HOLDER, renewed: SINCE + 2 }, WHOLE, { ...WHOLE, renewed: iso(SINCE + 2) }],
  ["a later hold that is otherwise the same", { ...HOLDER, since: SINCE - 1 }, WHOLE, {
    ...WHOLE,
    since: iso(SINCE - 1),
  }],
  ["a first renewal", { id, since: SINCE, renewed: SINCE }, { id: "a", since: iso(SINCE), hadYes: false }, {
    id: "a",
    since: iso(SINCE),
    hadYes: false,
    renewed: iso(SINCE),
  }],
  ["a time that could not be read", { id, since: SINCE }, { id: "a", since: "yesterday" }, {
    id: "a",
    since: iso(SINCE),
  }],
  ["a hold without a record", HOLDER, undefined, WHOLE],
  ["a plain hold without a record", { id, since: SINCE }, undefined, { id: "a", since: iso(SINCE) }],
  ["another client's hold", { id, since: SINCE }, { id: "b", since: iso(SINCE) }, { id: "a", since: iso(SINCE) }],
  ["another phase", { ...HOLDER, node: { ...HOLDER.node!, phase: "drained" } }, WHOLE, { ...WHOLE, phase: "drained" }],
  ["another number of slots", { ...HOLDER, slots: 3 }, WHOLE, { ...WHOLE, slots: 3 }],
  ["a node that cannot be read, without its record", { id, since: SINCE, isNodeUnreadable: true }, undefined, {
    id: "a",
    since: iso(SINCE),
    node: "unreadable",
  }],
  ["a node that cannot be read, over a record without one", { id, since: SINCE, isNodeUnreadable: true }, {
    id: "a",
    since: iso(SINCE),
  }, { id: "a", since: iso(SINCE), node: "unreadable" }],
  ["no node over one that cannot be read", { id, since: SINCE }, { id: "a", since: iso(SINCE), node: "n" }, {
    id: "a",
    since: iso(SINCE),
  }],
];

for (const [what, holder, base, written] of WRITES) {
  Deno.test(`the record of a holder is written: ${what}`, () => {
    const record = writeHolder(holder, base);
    if (written === "base") equal(record, base);
    else deepEqual(JSON.parse(JSON.stringify(record)), written);
    // What is written is read as it was meant, in each of its fields.
    deepEqual(readHolder(JSON.parse(JSON.stringify(record))), holder);
  });
}

Deno.test("a record has no field for what is not known", () => {
  deepEqual(Object.keys(writeHolder({ id, since: SINCE }, undefined) as object), ["id", "since"]);
});

/** Times as they may stand in a record. */
const TIMES: [time: unknown, ms: number | undefined][] = [
  [iso(SINCE), SINCE],
  [new Date(SINCE), SINCE],
  ["1970-01-01T00:00:00Z", 0],
  ["1969-12-31T23:59:59.999Z", undefined],
  ["9999-12-31T23:59:59.999Z", Date.UTC(10_000, 0) - 1],
  ["+010000-01-01T00:00:00Z", undefined],
  [new Date(NaN), undefined],
  ["yesterday", undefined],
  ["", undefined],
  [SINCE, undefined],
  [[iso(SINCE)], undefined],
  [null, undefined],
  [undefined, undefined],
];

for (const [time, ms] of TIMES) {
  Deno.test(`the time ${Deno.inspect(time)} is ${ms}`, () => equal(toMs(time), ms));
}

Deno.test("a number of grants is a whole one that every store accepts", () => {
  const numbers = [
    0,
    1,
    1.9,
    -1,
    -0.5,
    MAX_TRANSITIONS,
    MAX_TRANSITIONS + 1,
    Infinity,
    -Infinity,
    NaN,
    "7",
    null,
    undefined,
  ];
  const clamped = [0, 1, 1, 0, 0, MAX_TRANSITIONS, MAX_TRANSITIONS, MAX_TRANSITIONS, 0, 0, 0, 0, 0];
  deepEqual(numbers.map((each) => clampTransitions(each) + 0), clamped);
});
