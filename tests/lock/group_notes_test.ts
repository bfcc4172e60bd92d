/** What is noted with a group for the policies. @module */

import { deepEqual, equal } from "node:assert/strict";
import { isSamePause, pauseAt, withDeferral, withoutDeferral, withReturn } from "../../src/lock/group_notes.ts";
import { parseClientId } from "../../src/lock/identity.ts";
import { type GroupNotes, MAX_DEFERRALS, type Pause } from "../../src/lock/policy.ts";
import { FREE, type GroupState } from "../../src/lock/semaphore.ts";

const alice = parseClientId("alice")!;
const bob = parseClientId("bob")!;

/** What must survive a change of the other notes. */
const PAUSE: Pause = { reason: "a fire", by: "ops", until: 900, drains: true };

function withNotes(notes: GroupNotes): GroupState {
  return Object.freeze({ ...FREE, transitions: 3, renewed: 50, notes: Object.freeze(notes) });
}

function deferralOf(id: string, until: number, count = 1) {
  return { id: parseClientId(id)!, node: "n", until, count, pods: [] };
}

Deno.test("a pause is in force until its end, or without one until somebody lifts it", () => {
  const { reason } = PAUSE;
  deepEqual([899, 900, 901].map((now) => pauseAt({ pause: PAUSE }, now)), [PAUSE, undefined, undefined]);
  deepEqual(pauseAt({ pause: { reason } }, 9e15), { reason });
  equal(pauseAt({ returned: 1 }, 0), undefined);
  equal(pauseAt(undefined, 0), undefined);
});

Deno.test("a return is noted with the time of the write, beside the other notes", () => {
  const deferred = [deferralOf("bob", 70)];
  const { notes: _, ...state } = withNotes({});
  deepEqual(withReturn(state), { ...state, notes: { returned: 50 } });
  deepEqual(withReturn(withNotes({ returned: 7, deferred, pause: PAUSE })), {
    ...state,
    notes: { returned: 50, deferred, pause: PAUSE },
  });
  equal(withReturn(FREE), FREE, "a write without a time");
});

Deno.test("a deferral counts the times of its own host in a row, and leaves the notes about others as they are", () => {
  const others = [deferralOf("bob", 70, 5)];
  const before = withNotes({ returned: 7, deferred: others, pause: PAUSE });
  const first = withDeferral(before, { id: alice, node: "n", pods: [] }, 100);
  equal(first.deferral.count, 1);
  deepEqual(first.state.notes, { returned: 7, deferred: [...others, first.deferral], pause: PAUSE });
  const second = withDeferral(first.state, { id: alice, node: "m", pods: [] }, 200);
  deepEqual([second.deferral.count, second.deferral.node], [2, "m"]);
  deepEqual(second.state.notes, { returned: 7, deferred: [...others, second.deferral], pause: PAUSE });
});

Deno.test("a deferral names a few of the pods, in few characters, and ends in whole milliseconds", () => {
  const pods = ["a", "b", "c", "d"].map((name) => ({ namespace: "web", name, reason: "r".repeat(500) }));
  const { deferral } = withDeferral(FREE, { id: alice, node: "n", pods }, 100.75);
  deepEqual(deferral.pods, ["a", "b", "c"].map((name) => `web/${name}: ${"r".repeat(160 - `web/${name}: `.length)}…`));
  equal(deferral.until, 100 + 30 * 60_000);
});

Deno.test("of too many deferrals, the one that ends first is forgotten, and of those the oldest", () => {
  const untils = Array.from({ length: MAX_DEFERRALS }, (_, i) => i === 5 || i === 9 ? 10 : 1_000 - i);
  const deferred = untils.map((until, i) => deferralOf(`host-${i}`, until));
  const { state, deferral } = withDeferral(withNotes({ deferred }), { id: alice, node: "n", pods: [] }, 100);
  deepEqual(state.notes?.deferred, [...deferred.toSpliced(5, 1), deferral]);
  // A host that has one already takes its own place.
  const again = withDeferral(withNotes({ deferred }), { id: deferred[20]!.id, node: "n", pods: [] }, 100);
  deepEqual(again.state.notes?.deferred, [...deferred.toSpliced(20, 1), again.deferral]);
});

Deno.test("the deferral of a host that was drained is forgotten, and nothing else", () => {
  const deferred = [deferralOf("alice", 70), deferralOf("bob", 80)];
  const state = withNotes({ returned: 7, deferred, pause: PAUSE });
  deepEqual(withoutDeferral(state, alice).notes, { returned: 7, deferred: [deferred[1]], pause: PAUSE });
  deepEqual(withoutDeferral(withNotes({ pause: PAUSE, deferred: [deferred[0]!] }), alice).notes, { pause: PAUSE });
  const { notes: _, ...bare } = state;
  deepEqual(withoutDeferral(withNotes({ deferred: [deferred[0]!] }), alice), bare, "notes that say nothing");
  for (const unchanged of [withNotes({ returned: 7, deferred: [deferred[0]!] }), withNotes({ pause: PAUSE }), FREE]) {
    equal(withoutDeferral(unchanged, bob), unchanged);
  }
});

Deno.test("two pauses are the same only if they say the same in everything", () => {
  const others: (Pause | undefined)[] = [
    undefined,
    {},
    { ...PAUSE, reason: "a flood" },
    { ...PAUSE, by: "dev" },
    { ...PAUSE, until: 901 },
    { ...PAUSE, drains: false },
    { ...PAUSE, isUnreadable: true },
  ];
  for (const one of [PAUSE, ...others]) {
    for (const other of [PAUSE, ...others]) {
      equal(isSamePause(one && { ...one }, other && { ...other }), one === other);
    }
  }
});
