/** The record of a group in its row: what it reads as, what is written, and what it must not be taken for. @module */

import { deepEqual, equal, ok, throws } from "node:assert/strict";
import { MalformedGroupError } from "../../src/lock/errors.ts";
import type { ClientId } from "../../src/lock/identity.ts";
import type { GroupState } from "../../src/lock/semaphore.ts";
import { recordToState, stateToRecord } from "../../src/stores/sqlite/record.ts";

const SINCE = Date.UTC(2026, 0, 2);
const TIME = "2026-01-02T00:00:00.000Z";
const id = (raw: string) => raw as ClientId;

/** Records, and what is wrong with them. */
const DAMAGED: [record: string, fault: string][] = [
  ["", "it is not JSON"],
  ["nobody", "it is not JSON"],
  ["null", "it is not a JSON object"],
  ["7", "it is not a JSON object"],
  ['"holders"', "it is not a JSON object"],
  ["[]", "it is not a JSON object"],
  ["{}", 'its "holders" is not a list'],
  ['{"holders": {}}', 'its "holders" is not a list'],
  ['{"holders": null}', 'its "holders" is not a list'],
  [`{"holders": [{"id": "a", "since": "${TIME}"}, "b"]}`, 'holder 2 of 2 is not an object with an "id"'],
  ['{"holders": [{"since": "2026-01-02"}]}', 'holder 1 of 1 is not an object with an "id"'],
  ['{"holders": [{"id": "a"}]}', 'holder 1 of 1 has no time in "since"'],
  ['{"holders": [{"id": "a", "since": 5}]}', 'holder 1 of 1 has no time in "since"'],
  [
    `{"holders": [{"id": "a", "since": "${TIME}"}, {"id": "b", "since": "${TIME}"}, {"id": "a", "since": "${TIME}"}]}`,
    "holder 3 of 3 is in the list twice",
  ],
];

for (const [record, fault] of DAMAGED) {
  Deno.test(`a record is damaged and never free: ${record}`, () => {
    throws(() => recordToState("default", record), (error: Error) => {
      ok(error instanceof MalformedGroupError);
      equal(error.message, `the record of group "default" in the store is damaged: ${fault}`);
      equal(error.cause instanceof SyntaxError, fault === "it is not JSON");
      return true;
    });
  });
}

const HOLDERS = [{ id: id("a"), since: SINCE }, { id: id("b"), since: SINCE + 1, renewed: SINCE + 2, slots: 2 }];

/** Records, and what they read as. */
const READS: [record: Record<string, unknown>, state: GroupState][] = [
  [{ holders: [] }, { holders: [], transitions: 0 }],
  [{ holders: [], transitions: 7, renewed: TIME }, { holders: [], transitions: 7, renewed: SINCE }],
  [{ holders: [], transitions: "7", renewed: "yesterday" }, { holders: [], transitions: 0 }],
  [{ holders: [], notes: {}, paused: "a fire" }, {
    holders: [],
    transitions: 0,
    notes: { pause: { reason: "a fire" } },
  }],
  [{ holders: [], notes: { returned: TIME } }, { holders: [], transitions: 0, notes: { returned: SINCE } }],
  [{ holders: [{ id: "a", since: TIME, later: 1 }] }, {
    holders: [{ id: id("a"), since: SINCE, extra: { later: 1 } }],
    transitions: 0,
  }],
];

for (const [record, state] of READS) {
  const text = JSON.stringify(record);
  Deno.test(`a record is read: ${text}`, () => {
    deepEqual(recordToState("default", text), state);
    deepEqual(recordToState("default", stateToRecord("default", state)), state);
    deepEqual(recordToState("default", stateToRecord("default", state, text)), state);
  });
}

Deno.test("a new record has what is known, and no more", () => {
  deepEqual(JSON.parse(stateToRecord("default", { holders: HOLDERS, transitions: 2, renewed: SINCE })), {
    holders: [
      { id: "a", since: TIME },
      { id: "b", since: "2026-01-02T00:00:00.001Z", renewed: "2026-01-02T00:00:00.002Z", slots: 2 },
    ],
    transitions: 2,
    renewed: TIME,
  });
  deepEqual(JSON.parse(stateToRecord("default", { holders: [], transitions: -1 })), { holders: [], transitions: 0 });
});

Deno.test("a write keeps what it does not know, of the group and of each holder that stays", () => {
  const base = JSON.stringify({
    later: { x: [1] },
    holders: [{ id: "b", since: "2026-01-02", phase: "?" }, { id: "c", since: TIME, more: 1 }],
    transitions: 1,
    renewed: TIME,
  });
  const before = recordToState("default", base);
  const next = { holders: [{ id: id("a"), since: SINCE + 5 }, before.holders[0]!], transitions: 2 };
  deepEqual(JSON.parse(stateToRecord("default", next, base)), {
    later: { x: [1] },
    holders: [{ id: "a", since: "2026-01-02T00:00:00.005Z" }, { id: "b", since: "2026-01-02", phase: "?" }],
    transitions: 2,
  });
});

Deno.test("a damaged record is not written over", () => {
  throws(() => stateToRecord("default", { holders: [], transitions: 0 }, "nobody"), MalformedGroupError);
});
