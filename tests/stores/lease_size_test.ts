/**
 * Whatever the program writes into a Lease fits in it: the API server refuses more than 262,144 bytes of annotations.
 * @module
 */

import fc from "fast-check";
import { equal, ok } from "node:assert/strict";
import { type ClientId, type Group, MAX_GROUP_LENGTH, MAX_ID_LENGTH } from "../../src/lock/identity.ts";
import { type Deferral, MAX_DEFERRALS } from "../../src/lock/policy.ts";
import type { GroupState, Holder } from "../../src/lock/semaphore.ts";
import { MAX_LEASE_SLOTS } from "../../src/policies/options.ts";
import { leaseToState, stateToLease } from "../../src/stores/lease/codec.ts";

/** What the API server allows for the keys and values of all annotations of an object. */
const LIMIT = 262_144;

/** What is left for a person's pause, and for the annotations of other programs. */
const ROOM = 32_768;

const GROUP = "A".repeat(MAX_GROUP_LENGTH) as Group;

/** An id of any length that a client may have, whose characters may take two bytes of JSON. */
const ids = (n: number) =>
  fc.stringMatching(/^[!-+\--~]{1,249}$/).map((id) => `${n}-${id}`.slice(0, MAX_ID_LENGTH) as ClientId);

const nodeNames = fc.stringMatching(/^[a-z0-9.-]{1,253}$/);

function holders(n: number): fc.Arbitrary<Holder> {
  return fc.record({
    id: ids(n),
    since: fc.integer({ min: 0, max: Date.UTC(9999, 0) }),
    renewed: fc.integer({ min: 0, max: Date.UTC(9999, 0) }),
    node: fc.record({
      name: nodeNames,
      uid: fc.uuid(),
      machineId: fc.stringMatching(/^[0-9a-f]{32,64}$/),
      bootId: fc.uuid(),
      phase: fc.constantFrom("draining", "drained", "failed"),
    }),
    slots: fc.constant(MAX_LEASE_SLOTS),
    hadYes: fc.constant(true as const),
  });
}

function deferrals(n: number): fc.Arbitrary<Deferral> {
  return fc.record({
    id: ids(n),
    node: nodeNames,
    until: fc.integer({ min: 0, max: Date.UTC(9999, 0) }),
    count: fc.integer({ min: 1, max: 99 }),
    pods: fc.array(fc.string({ unit: "binary", maxLength: 400 }), { maxLength: 8 }),
  });
}

const many = <T>(count: number, make: (n: number) => fc.Arbitrary<T>) =>
  fc.tuple(...Array.from({ length: count }, (_, n) => make(n)));

function sizeOf(state: GroupState): number {
  const encoder = new TextEncoder();
  const { annotations = {} } = stateToLease(GROUP, "n".repeat(63), state).metadata!;
  return Object.entries(annotations).reduce((sum, texts) => sum + encoder.encode(texts.join("")).length, 0);
}

Deno.test("as many holders as a group may have, and all that is noted with them, fit in a Lease", () => {
  const states = fc.record({
    holders: many(MAX_LEASE_SLOTS, holders),
    transitions: fc.constant(7),
    notes: fc.record({ returned: fc.constant(1_000), deferred: many(MAX_DEFERRALS, deferrals) }),
  });
  fc.assert(fc.property(states, (state) => ok(sizeOf(state) <= LIMIT - ROOM)), { numRuns: 20 });
});

Deno.test("the longest names fit too, and of the deferrals the last ones are kept", () => {
  const node = { name: "n".repeat(253), uid: crypto.randomUUID(), machineId: "f".repeat(64), bootId: "b".repeat(36) };
  const id = (n: number) => `${n}`.padEnd(MAX_ID_LENGTH, '"') as ClientId;
  const times = { since: Date.UTC(9998, 0), renewed: Date.UTC(9998, 0) };
  const state: GroupState = {
    holders: Array.from({ length: MAX_LEASE_SLOTS }, (_, n) => ({
      id: id(n),
      ...times,
      node: { ...node, phase: "draining" },
      slots: MAX_LEASE_SLOTS,
      hadYes: true,
    })),
    transitions: 7,
    notes: {
      returned: Date.UTC(9998, 0),
      deferred: Array.from({ length: MAX_DEFERRALS }, (_, n) => ({
        id: id(n),
        node: node.name,
        until: Date.UTC(9998, 0),
        count: 99,
        pods: Array.from({ length: 5 }, () => "\u0000".repeat(300)),
      })),
    },
  };
  ok(sizeOf(state) <= LIMIT - ROOM, `${sizeOf(state)}`);
  const { deferred = [] } = leaseToState(stateToLease(GROUP, "ns", state)).notes!;
  ok(deferred.length > 5, `${deferred.length}`);
  equal(deferred.at(-1)!.id, id(MAX_DEFERRALS - 1));
});
