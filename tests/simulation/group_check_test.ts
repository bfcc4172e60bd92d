/** What is found wrong with a replica's writes to a group's Lease. @module */

import { deepEqual, equal, match } from "node:assert/strict";
import { changesPause, isYield, mayHaveHadYes, notedSlots, NOTES, PAUSED, wrongGrant } from "./group_check.ts";
import type { Stored } from "./world/objects.ts";

const NOW = Date.UTC(2030, 0, 1);

function lease(holders: readonly { id: string; [more: string]: unknown }[], annotations = {}): Stored {
  const record = JSON.stringify(holders);
  return {
    metadata: { name: "fleetlock-g", annotations: { "fleetlock.internal/holders": record, ...annotations } },
    spec: { holderIdentity: holders.map(({ id }) => id).join(",") },
  } as Stored;
}

Deno.test("a grant leaves no more holders than the slots that it notes, one where it notes none", () => {
  const two = [{ id: "a" }, { id: "b", slots: 2 }];
  equal(wrongGrant(lease([{ id: "a" }]), lease(two), "b", NOW), undefined);
  match(
    wrongGrant(lease([...two]), lease([...two, { id: "c", slots: 2 }]), "c", NOW)!,
    /one of 2 slots as holder number 3/,
  );
  match(wrongGrant(undefined, lease([{ id: "a" }, { id: "b" }]), "b", NOW)!, /one of 1 slots/);
  deepEqual(["a", "b", "c"].map((id) => notedSlots(lease(two), id)), [1, 2, 1]);
});

Deno.test("a grant is wrong while the group is paused, in words or until a time", () => {
  const granted = (text: string) => {
    const wrong = wrongGrant(lease([], { [PAUSED]: text }), lease([{ id: "a", slots: 1 }]), "a", NOW);
    return wrong === undefined;
  };
  const until = (ms: number) => JSON.stringify({ until: new Date(NOW + ms).toISOString() });
  deepEqual(["it burns", "{}", until(10_000), until(-1), until(1_000)].map(granted), [false, false, false, true, true]);
});

Deno.test("a write that takes a pause away or alters it is noticed, not one that makes a new Lease", () => {
  const paused = lease([], { [PAUSED]: "x" });
  deepEqual(
    [changesPause(paused, paused), changesPause(paused, lease([])), changesPause(undefined, lease([]))],
    [false, true, false],
  );
});

Deno.test("a holder yields where its deferral is noted anew, or its group is paused with its drains while it asks", () => {
  const deferred = (count: number) => lease([], { [NOTES]: JSON.stringify({ deferred: [{ id: "a", count }] }) });
  const held = (annotations = {}) => lease([{ id: "a" }], annotations);
  equal(isYield(held(), deferred(1), "a", false), true);
  equal(isYield(held(), deferred(1), "b", true), false);
  equal(isYield(held(deferred(1).metadata.annotations), deferred(1), "a", true), false);
  equal(isYield(held({ [PAUSED]: '{"drains":true}' }), lease([]), "a", true), true);
  equal(isYield(held({ [PAUSED]: '{"drains":true}' }), lease([]), "a", false), false);
  equal(isYield(held({ [PAUSED]: "it burns" }), lease([]), "a", true), false);
});

Deno.test("a holder that is drained, or was once, may have had its yes", () => {
  const holders = [{ id: "a", phase: "drained" }, { id: "b", phase: "draining", hadYes: true }, {
    id: "c",
    phase: "failed",
  }];
  deepEqual(["a", "b", "c", "d"].map((id) => mayHaveHadYes(lease(holders), id)), [true, true, false, false]);
});
