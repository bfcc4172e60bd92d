/** What a later version has written survives this version, in the codec of every store. @module */

import type { V1Lease } from "@kubernetes/client-node/dist/gen/models/V1Lease.js";
import fc from "fast-check";
import { deepEqual, equal, ok } from "node:assert/strict";
import { type ClientId, parseGroup } from "../../src/lock/identity.ts";
import { acquire, amend, type GroupState, holderOf, release } from "../../src/lock/semaphore.ts";
import { HOLDERS_ANNOTATION, leaseToState, stateToLease } from "../../src/stores/lease/codec.ts";
import { recordToState, stateToRecord } from "../../src/stores/sqlite/record.ts";

type Json = Record<string, unknown>;

/** A codec, with the records of a group as text or objects. */
interface Codec {
  /** Makes what a store has from the records of holders, and from fields of the group. */
  readonly make: (holders: readonly Json[], group: Json) => unknown;
  readonly read: (stored: unknown) => GroupState;
  /** Writes a state over what the store has, and returns what it has then. */
  readonly write: (state: GroupState, stored: unknown) => unknown;
  /** Returns the records of the holders, and the unknown fields of the group. */
  readonly look: (stored: unknown) => { readonly holders: readonly Json[]; readonly group: Json };
}

const GROUP = parseGroup("default")!;
const SINCE = Date.UTC(2026, 0, 2);
const NOW = SINCE + 60_000;
const [SUBJECT, OTHER] = ["subject" as ClientId, "other" as ClientId];

const CODECS: Record<string, Codec> = {
  Lease: {
    make: (holders, group) =>
      ({
        metadata: {
          name: "fleetlock-default",
          annotations: { ...group, [HOLDERS_ANNOTATION]: JSON.stringify(holders) },
        },
        spec: { holderIdentity: holders.map(({ id }) => id).join(","), leaseTransitions: 1, acquireTime: iso(SINCE) },
      }) as unknown as V1Lease,
    read: (lease) => leaseToState(lease as V1Lease),
    write: (state, lease) => JSON.parse(JSON.stringify(stateToLease(GROUP, "ns", state, lease as V1Lease))),
    look(lease) {
      const { [HOLDERS_ANNOTATION]: holders, ...group } = (lease as V1Lease).metadata!.annotations!;
      return { holders: JSON.parse(holders!), group };
    },
  },
  SQLite: {
    make: (holders, group) => JSON.stringify({ ...group, holders, transitions: 1 }),
    read: (record) => recordToState(GROUP, record as string),
    write: (state, record) => stateToRecord(GROUP, state, record as string),
    look(record) {
      const { holders, transitions: _, renewed: __, ...group } = JSON.parse(record as string);
      return { holders, group };
    },
  },
};

const KNOWN = ["id", "since", "renewed", "node", "uid", "machineId", "bootId", "phase", "slots", "hadYes"];

/** Fields that no version knows today. */
const unknown = fc.dictionary(fc.string().filter((key) => !KNOWN.includes(key)), fc.jsonValue(), { maxKeys: 4 });

/** The record of a holder as a later version may write it, its node in any form. */
const records: fc.Arbitrary<Json> = fc.tuple(
  fc.record({
    node: fc.oneof(fc.string(), fc.jsonValue()),
    uid: fc.oneof(fc.string(), fc.jsonValue()),
    machineId: fc.oneof(fc.string(), fc.jsonValue()),
    bootId: fc.oneof(fc.string(), fc.jsonValue()),
    phase: fc.oneof(fc.constantFrom("draining", "drained", "failed", "yielded"), fc.jsonValue()),
  }, { requiredKeys: [] }),
  unknown,
).map(([node, extra]) => plain({ ...node, ...extra }));

/**
 * What happens to the group by this version. Of the subject of the property, no more than the time of its renewal
 * changes.
 */
const STEPS: Record<string, (state: GroupState) => GroupState> = {
  grant: (state) => must(acquire(state, OTHER, 9, NOW)),
  renew: (state) => must(acquire(must(acquire(state, OTHER, 9, NOW)), OTHER, 9, NOW + 1)),
  release: (state) => must(release(must(acquire(state, OTHER, 9, NOW)), OTHER, NOW + 1)),
  amend(state) {
    const granted = must(acquire(state, OTHER, 9, NOW));
    const node = { name: "n", uid: "u", phase: "drained" } as const;
    return amend(granted, holderOf(granted, OTHER)!, NOW + 1, node)!;
  },
  renewal_of_its_own: (state) => must(acquire(state, SUBJECT, 9, NOW)),
};

for (const [name, codec] of Object.entries(CODECS)) {
  for (const [step, change] of Object.entries(STEPS)) {
    Deno.test(`${name} codec: what a later version wrote about a holder and its group survives: ${step}`, () => {
      fc.assert(fc.property(records, unknown, fc.dictionary(fc.string(), fc.string()), (record, inGroup, notes) => {
        const subject = { id: SUBJECT, since: iso(SINCE), ...record };
        const group = plain(name === "Lease" ? notes : omit(inGroup, ["holders", "transitions", "renewed"]));
        const stored = codec.make([subject], group);
        const before = codec.read(stored);
        const written = codec.write(change(before), stored);
        const renewed = step === "renewal_of_its_own" ? { renewed: NOW } : {};
        const kept = { ...subject, ...(renewed.renewed && { renewed: iso(NOW) }) };
        equal(JSON.stringify(codec.look(written).holders[0]), JSON.stringify(kept));
        equal(JSON.stringify(codec.look(written).group), JSON.stringify(group));
        deepEqual(holderOf(codec.read(written), SUBJECT), { ...holderOf(before, SUBJECT), ...renewed });
      }));
    });
  }

  Deno.test(`${name} codec: a hold whose record says anything about a node is never without one`, () => {
    fc.assert(fc.property(records, (record) => {
      const { node, isNodeUnreadable } = codec.read(codec.make([{ id: SUBJECT, since: iso(SINCE), ...record }], {}))
        .holders[0]!;
      const saysSomething = ["node", "uid", "machineId", "bootId", "phase"].some((key) => key in record);
      equal(node !== undefined || isNodeUnreadable === true, saysSomething);
      if (node?.phase === "drained") equal(record.phase, "drained");
    }));
  });

  Deno.test(`${name} codec: a note about a hold keeps the fields that only a later version knows`, () => {
    fc.assert(fc.property(records, unknown, (record, extra) => {
      const subject = plain({ id: SUBJECT, since: iso(SINCE), ...record, ...extra });
      const stored = codec.make([subject], {});
      const node = { name: "new", uid: "new-uid", machineId: "m", bootId: "b", phase: "drained" } as const;
      const before = codec.read(stored);
      const written = codec.write(amend(before, before.holders[0]!, NOW, node)!, stored);
      const holder = codec.read(written).holders[0]!;
      deepEqual(holder.node, node);
      equal(JSON.stringify(omit(codec.look(written).holders[0]!, KNOWN)), JSON.stringify(omit(subject, KNOWN)));
      equal(holder.isNodeUnreadable, undefined);
      equal(holder.renewed, NOW);
    }));
  });
}

Deno.test("Lease codec: holds of an annotation that is not understood stay holds of unreadable nodes over writes", () => {
  fc.assert(fc.property(fc.oneof(fc.json(), fc.string()), (annotation) => {
    const lease = {
      metadata: { name: "fleetlock-default", annotations: { [HOLDERS_ANNOTATION]: annotation } },
      spec: { holderIdentity: SUBJECT, leaseTransitions: 1, acquireTime: iso(SINCE) },
    } as unknown as V1Lease;
    const before = leaseToState(lease);
    const written = CODECS.Lease!.write(STEPS.grant!(before), lease) as V1Lease;
    deepEqual(holderOf(leaseToState(written), SUBJECT), before.holders[0]);
    equal(before.holders[0]!.isNodeUnreadable, isList(annotation) ? undefined : true);
  }));
});

/** Checks for a list that is about nobody. */
function isList(annotation: string): boolean {
  try {
    const parsed = JSON.parse(annotation);
    return Array.isArray(parsed) && parsed.length === 0;
  } catch {
    return false;
  }
}

/** Makes an object as JSON has it, with the same order of keys. */
function plain(object: Json): Json {
  return JSON.parse(JSON.stringify(object));
}

function omit(object: Json, keys: readonly string[]): Json {
  return Object.fromEntries(Object.entries(object).filter(([key]) => !keys.includes(key)));
}

function must(wish: { kind: string; next?: GroupState }): GroupState {
  ok(wish.next !== undefined, wish.kind);
  return wish.next;
}

function iso(ms: number): string {
  return new Date(ms).toISOString();
}
