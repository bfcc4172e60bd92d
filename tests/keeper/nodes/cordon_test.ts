import { deepEqual, equal } from "node:assert/strict";
import fc from "fast-check";
import {
  type CordonOwner,
  cordonOwners,
  type CordonState,
  isUnreadable,
  type NodePatch,
  planCordon,
  planRepair,
  planUncordon,
} from "../../../src/keeper/nodes/cordon.ts";
import { parseClientId, parseGroup } from "../../../src/lock/identity.ts";

const namespace = "ops";
const owner = (group: string, id: string, since: number): CordonOwner => {
  return { namespace, group: parseGroup(group)!, id: parseClientId(id)!, since };
};
const OWNER = owner("default", "a", Date.UTC(2026, 0, 1));
const OTHER = owner("other", "a", Date.UTC(2026, 0, 2));
const FREE: CordonState = { unschedulable: false };
const ADMIN: CordonState = { unschedulable: true };

/** Applies a patch to a Node, as the API server does. */
function apply(state: CordonState, patch: NodePatch | undefined): CordonState {
  if (patch === undefined) return state;
  return {
    unschedulable: patch.unschedulable === undefined ? state.unschedulable : patch.unschedulable === true,
    cordon: patch.cordon === undefined ? state.cordon : patch.cordon ?? undefined,
  };
}

const cordon = (state: CordonState, owner: CordonOwner) => apply(state, planCordon(state, owner));

Deno.test("a free node is cordoned and marked in one patch, and freed in one", () => {
  const patch = planCordon(FREE, OWNER);
  deepEqual(patch, { unschedulable: true, cordon: '{"ops/default":{"id":"a","since":"2026-01-01T00:00:00.000Z"}}' });
  const state = apply(FREE, patch);
  equal(planCordon(state, OWNER), undefined);
  deepEqual(planUncordon(state, OWNER), { unschedulable: null, cordon: null });
});

Deno.test("an administrator's cordon is neither marked nor lifted", () => {
  equal(planCordon(ADMIN, OWNER), undefined);
  equal(planUncordon(ADMIN, OWNER), undefined);
  equal(planRepair(ADMIN, () => false), undefined);
});

Deno.test("a cordon goes with the last of its groups", () => {
  const both = cordon(cordon(FREE, OWNER), OTHER);
  deepEqual(cordonOwners(both.cordon), [OWNER, OTHER]);
  equal(isUnreadable(both.cordon), false);
  for (const each of [OWNER, OTHER]) equal(planCordon(both, each), undefined);
  const one = apply(both, planUncordon(both, OWNER));
  deepEqual([one.unschedulable, cordonOwners(one.cordon)], [true, [OTHER]]);
  deepEqual(apply(one, planUncordon(one, OTHER)), { unschedulable: false, cordon: undefined });
});

Deno.test("cordons of another installation's groups are its own, whatever their names", () => {
  const theirs: CordonOwner = { ...OWNER, namespace: "other" };
  const both = cordon(cordon(FREE, theirs), OWNER);
  deepEqual(cordonOwners(both.cordon), [theirs, OWNER]);
  deepEqual(apply(both, planUncordon(both, OWNER)), cordon(FREE, theirs));
  deepEqual(apply(both, planRepair(both, (owner) => owner.namespace === "other")), cordon(FREE, theirs));
});

Deno.test("a later hold takes the cordon over, and the end of the earlier one leaves it", () => {
  const first = cordon(FREE, OWNER);
  const later = { ...OWNER, since: OWNER.since + 1 };
  const state = cordon(first, later);
  deepEqual(cordonOwners(state.cordon), [later]);
  equal(planUncordon(state, OWNER), undefined);
  deepEqual(planUncordon(state, later), { unschedulable: null, cordon: null });
});

Deno.test("repair removes the annotation from a schedulable node, and a hold cordons the node again", () => {
  const uncordoned = { ...cordon(FREE, OWNER), unschedulable: false };
  deepEqual(planRepair(uncordoned, () => true), { cordon: null });
  equal(cordon(uncordoned, OWNER).unschedulable, true);
});

Deno.test("repair lifts the cordons of holds that ended", () => {
  const both = cordon(cordon(FREE, OWNER), OTHER);
  equal(planRepair(both, () => true), undefined);
  deepEqual(cordonOwners(apply(both, planRepair(both, ({ group }) => group === "other")).cordon), [OTHER]);
  deepEqual(planRepair(both, () => false), { unschedulable: null, cordon: null });
});

for (
  const annotation of [
    "",
    "x",
    "[]",
    "null",
    "1",
    "{}",
    '{"default":null}',
    '{"default":{"id":"a"}}',
    '{"default":{"id":1,"since":"x"}}',
    '{"ops/default":{"id":"a","since":1}}',
    '{"ops/default/more":{"id":"a","since":"2026-01-01T00:00:00Z"}}',
    '{"ops/default":{"id":"a,b","since":"2026-01-01T00:00:00Z"}}',
    '{"ops/a group":{"id":"a","since":"2026-01-01T00:00:00Z"}}',
  ]
) {
  Deno.test(`an annotation that cannot be read is not a claim of ours: '${annotation}'`, () => {
    deepEqual(cordonOwners(annotation), []);
    equal(isUnreadable(annotation), annotation !== "{}");
    const state = { unschedulable: true, cordon: annotation };
    equal(planCordon(state, OWNER), undefined);
    equal(planUncordon(state, OWNER), undefined);
    equal(planRepair(state, () => false), undefined);
    equal(planRepair({ ...state, unschedulable: false }, () => false), undefined);
    // Where the node is not cordoned, the annotation says nothing.
    deepEqual(cordonOwners(cordon({ ...state, unschedulable: false }, OWNER).cordon), [OWNER]);
  });
}

Deno.test("entries and fields that this version does not know are kept, and keep the cordon", () => {
  const unknown = {
    "ops/default/more": { by: "later" },
    "ops/other": { id: "a", since: "2026-01-02T00:00:00Z", x: 1 },
  };
  const state = { unschedulable: true, cordon: JSON.stringify(unknown) };
  const both = cordon(state, OWNER);
  deepEqual([isUnreadable(both.cordon), isUnreadable(undefined)], [true, false]);
  deepEqual(JSON.parse(both.cordon!), { ...unknown, "ops/default": { id: "a", since: "2026-01-01T00:00:00.000Z" } });
  deepEqual(apply(both, planUncordon(both, OWNER)), state);
  const left = apply(both, planRepair(both, () => false));
  deepEqual(left, { unschedulable: true, cordon: '{"ops/default/more":{"by":"later"}}' });
});

Deno.test("a cordon that an administrator set after uncordoning ours is theirs: the annotation goes, the cordon stays", () => {
  const foreign: CordonState = { ...cordon(FREE, OWNER), isCordonForeign: true };
  const patch = { cordon: null };
  deepEqual(planCordon(foreign, OWNER), patch);
  deepEqual(planCordon(foreign, OTHER), patch);
  deepEqual(planUncordon(foreign, OWNER), patch);
  deepEqual(planRepair(foreign, () => true), patch);
  equal(planUncordon(foreign, OTHER), undefined);
});

Deno.test("whatever we and an administrator do, a node carries the annotation only while the cordon is ours", () => {
  const groups = ["a", "b", "c"];
  const step = fc.oneof(
    fc.record({
      kind: fc.constant("hold" as const),
      group: fc.constantFrom(...groups),
      since: fc.integer({ min: 1, max: 3 }),
    }),
    fc.record({ kind: fc.constant("release" as const), group: fc.constantFrom(...groups) }),
    fc.record({ kind: fc.constantFrom("admin cordons" as const, "admin uncordons" as const, "repair" as const) }),
  );
  fc.assert(fc.property(fc.array(step), (steps) => {
    let state: CordonState = FREE;
    let admins = false;
    const held = new Map<string, number>();
    for (const one of steps) {
      switch (one.kind) {
        case "hold":
          held.set(one.group, one.since);
          state = cordon(state, owner(one.group, "x", one.since));
          break;
        case "release":
          state = apply(
            state,
            planUncordon(state, owner(one.group, "x", held.get(one.group) ?? 0)),
          );
          held.delete(one.group);
          break;
        case "admin cordons":
          admins ||= !state.unschedulable;
          // A cordon beside a stale annotation would count as ours, so repair follows every uncordoning.
          state = { ...state, unschedulable: true };
          break;
        case "admin uncordons":
          admins = false;
          state = { ...state, unschedulable: false };
          state = apply(state, planRepair(state, ({ group }) => held.has(group)));
          break;
        case "repair":
          state = apply(state, planRepair(state, ({ group }) => held.has(group)));
          break;
      }
      if (admins) {
        equal(state.unschedulable, true);
        equal(state.cordon, undefined);
      } else {
        // The cordon is ours exactly while the node carries the annotation.
        equal(state.unschedulable, state.cordon !== undefined);
      }
      for (const { group } of cordonOwners(state.cordon)) equal(held.has(group), true);
    }
  }));
});
