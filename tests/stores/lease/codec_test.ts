/** The Lease codec: examples and properties. @module */

import type { V1Lease } from "@kubernetes/client-node/dist/gen/models/V1Lease.js";
import fc from "fast-check";
import { deepEqual, equal, ok } from "node:assert/strict";
import { type ClientId, type Group, parseClientId, parseGroup } from "../../../src/lock/identity.ts";
import type { GroupState } from "../../../src/lock/semaphore.ts";
import {
  GROUP_ANNOTATION,
  groupOfLease,
  HOLDERS_ANNOTATION,
  isForeignDrainRecord,
  leaseName,
  leaseToState,
  NOTES_ANNOTATION,
  PAUSED_ANNOTATION,
  stateToLease,
} from "../../../src/stores/lease/codec.ts";

const T1 = Date.UTC(2026, 0, 2, 3, 4, 5, 678);
const T2 = T1 + 1;
const T3 = T1 + 2;

const group = (raw: string) => parseGroup(raw)!;
const id = (raw: string) => raw as ClientId;

/** A Lease as the API returns it: times are strings, except in the metadata. */
function lease(spec: Record<string, unknown>, metadata: V1Lease["metadata"] = {}): V1Lease {
  return { metadata: { name: "fleetlock-default", ...metadata }, spec } as V1Lease;
}

function annotated(holders: unknown, spec: Record<string, unknown>): V1Lease {
  const text = typeof holders === "string" ? holders : JSON.stringify(holders);
  return lease(spec, { annotations: { [HOLDERS_ANNOTATION]: text } });
}

const iso = (ms: number) => new Date(ms).toISOString();

const READS: { name: string; lease: V1Lease; state: GroupState }[] = [
  { name: "an empty Lease", lease: {}, state: { holders: [], transitions: 0 } },
  {
    name: "one with a holder and nothing else",
    lease: { spec: { holderIdentity: "a" } },
    state: { holders: [{ id: id("a"), since: 0 }], transitions: 0 },
  },
  {
    name: "one released by the Go program",
    lease: lease({ holderIdentity: "", leaseTransitions: 7 }),
    state: { holders: [], transitions: 7 },
  },
  {
    name: "one held by the Go program, which writes no time: held since the last change",
    lease: lease({ holderIdentity: "a", leaseTransitions: 7 }, {
      creationTimestamp: new Date(T1),
      managedFields: [{ time: new Date(T3) }, { time: new Date(T2) }, {}],
    }),
    state: { holders: [{ id: id("a"), since: T3 }], transitions: 7 },
  },
  {
    name: "one without any recorded change: held since its creation",
    lease: lease({ holderIdentity: "a" }, { creationTimestamp: new Date(T1) }),
    state: { holders: [{ id: id("a"), since: T1 }], transitions: 0 },
  },
  {
    name: "one without any time",
    lease: lease({ holderIdentity: "a" }),
    state: { holders: [{ id: id("a"), since: 0 }], transitions: 0 },
  },
  {
    name: "acquireTime takes precedence over other guesses, including its microseconds",
    lease: lease({ holderIdentity: "a", acquireTime: "2026-01-02T03:04:05.678999Z" }, {
      managedFields: [{ time: new Date(T3) }],
    }),
    state: { holders: [{ id: id("a"), since: T1 }], transitions: 0 },
  },
  {
    name: "the annotation's details of the holders in holderIdentity",
    lease: annotated(
      [
        { id: "a", since: iso(T1) },
        {
          id: "b",
          since: iso(T2),
          renewed: iso(T3),
          node: "n",
          uid: "u",
          machineId: "m",
          bootId: "x",
          phase: "drained",
        },
        { id: "c", since: iso(T1) },
      ],
      { holderIdentity: "a,b", renewTime: iso(T3) },
    ),
    state: {
      holders: [{ id: id("a"), since: T1 }, {
        id: id("b"),
        since: T2,
        renewed: T3,
        node: { name: "n", uid: "u", machineId: "m", bootId: "x", phase: "drained" },
      }],
      transitions: 0,
      renewed: T3,
    },
  },
  {
    name: "the holders of the annotation come first, in its order, whatever the order of holderIdentity",
    lease: annotated([{ id: "c", since: iso(T2) }, { id: "a", since: iso(T3) }], {
      holderIdentity: "z,a,b,c",
      acquireTime: iso(T1),
    }),
    state: {
      holders: [
        { id: id("c"), since: T2 },
        { id: id("a"), since: T3 },
        { id: id("z"), since: T1 },
        { id: id("b"), since: T1 },
      ],
      transitions: 0,
    },
  },
  ...[
    { name: "the last change", managedFields: [{ time: new Date(T2) }, { time: new Date(T3) }], since: T3 },
    { name: "renewTime where no change is recorded", managedFields: undefined, since: T2 },
  ].map(({ name, managedFields, since }) => ({
    name: `another id written over a holder of two hours holds since ${name}, not since that holder's grant`,
    lease: lease({ holderIdentity: "h2", acquireTime: iso(T1 - 7_200_000), renewTime: iso(T2) }, {
      annotations: { [HOLDERS_ANNOTATION]: JSON.stringify([{ id: "h1", since: iso(T1 - 7_200_000) }]) },
      managedFields,
    }),
    state: { holders: [{ id: id("h2"), since }], transitions: 0, renewed: T2 },
  })),
  {
    name: "a holder that an administrator wrote and that cannot be a client",
    lease: annotated([{ id: "a", since: iso(T1) }], {
      holderIdentity: "maintenance window",
      acquireTime: iso(T2),
    }),
    state: { holders: [{ id: id("maintenance window"), since: T2 }], transitions: 0 },
  },
  {
    name:
      "several holders without the annotation: acquireTime is that of the oldest, so they hold since the last change",
    lease: lease({ holderIdentity: "a,b", acquireTime: iso(T1) }, { managedFields: [{ time: new Date(T3) }] }),
    state: { holders: [{ id: id("a"), since: T3 }, { id: id("b"), since: T3 }], transitions: 0 },
  },
  {
    name: "a list written by hand, with spaces, duplicates and gaps",
    lease: lease({ holderIdentity: " b, a,,b ,", acquireTime: iso(T1) }),
    state: { holders: [{ id: id("b"), since: T1 }, { id: id("a"), since: T1 }], transitions: 0 },
  },
  {
    name: "a holder that a well-formed annotation lacks: no node was noted for it",
    lease: annotated([{ id: "b", since: iso(T1) }], { holderIdentity: "a", acquireTime: iso(T1) }),
    state: { holders: [{ id: id("a"), since: T1 }], transitions: 0 },
  },
  ...['[{"id":"a"}]', '[{"id":"a","since":"yesterday"}]', '[{"id":"a","since":7}]'].map((annotation) => ({
    name: `a record without a time: ${annotation}`,
    lease: annotated(annotation, { holderIdentity: "a", acquireTime: iso(T1) }),
    state: { holders: [{ id: id("a"), since: T1 }], transitions: 0 },
  })),
  ...["", "{", "null", "7", "{}", '"a"', '["a"]', "[null]", "[[]]", '[{"id":1}]', '[{"id":""}]', '[{"node":"n"}]'].map(
    (annotation) => ({
      name: `an annotation of which something is not understood: ${JSON.stringify(annotation)}`,
      lease: annotated(annotation, { holderIdentity: "a,b", acquireTime: iso(T1) }),
      state: {
        holders: ["a", "b"].map((each) => ({ id: id(each), since: T1, isNodeUnreadable: true as const })),
        transitions: 0,
      },
    }),
  ),
  {
    name: "an annotation of which one record is understood",
    lease: annotated([{ id: "a", since: iso(T2) }, 7], { holderIdentity: "a,b", acquireTime: iso(T1) }),
    state: {
      holders: [{ id: id("a"), since: T2 }, { id: id("b"), since: T1, isNodeUnreadable: true }],
      transitions: 0,
    },
  },
  {
    name: "two records of one holder, which may contradict each other",
    lease: annotated(
      [{ id: "a", since: iso(T1), node: "n", uid: "u", phase: "drained" }, { id: "a", since: iso(T2) }],
      {
        holderIdentity: "a",
      },
    ),
    state: { holders: [{ id: id("a"), since: T2, isNodeUnreadable: true }], transitions: 0 },
  },
  ...[
    { node: "n" },
    { node: "n", phase: "drained" },
    { node: "n", uid: "", phase: "drained" },
    { node: "", uid: "u", phase: "drained" },
    { node: "n", uid: 7, phase: "drained" },
    { node: "n", uid: "u", bootId: 7, phase: "drained" },
    { node: { name: "n", uid: "u" }, phase: "drained" },
    { node: ["n"], uid: "u", phase: "drained" },
    { node: null },
    { uid: "u" },
    { bootId: "x" },
    { machineId: "m" },
    { node: "n", uid: "u", machineId: 7, phase: "drained" },
    { phase: "drained" },
  ].map((fields) => ({
    name: `a record that says something about a node, but not which one: ${JSON.stringify(fields)}`,
    lease: annotated([{ id: "a", since: iso(T1), ...fields }], { holderIdentity: "a" }),
    state: { holders: [{ id: id("a"), since: T1, isNodeUnreadable: true as const }], transitions: 0 },
  })),
  ...["flying", "", "DRAINED", 7, null, true, {}, undefined].map((phase) => ({
    name: `an unknown phase counts as not drained: ${JSON.stringify(phase)}`,
    lease: annotated([{ id: "a", since: iso(T1), node: "n", uid: "u", phase }], { holderIdentity: "a" }),
    state: {
      holders: [{ id: id("a"), since: T1, node: { name: "n", uid: "u", phase: "draining" as const } }],
      transitions: 0,
    },
  })),
  {
    name: "fields of a later version",
    lease: annotated([{ id: "a", since: iso(T1), later: { x: [1] } }], { holderIdentity: "a" }),
    state: { holders: [{ id: id("a"), since: T1, extra: { later: { x: [1] } } }], transitions: 0 },
  },
  ...[[-5, 0], [2_147_483_647, 2_147_483_647], [2_147_483_648, 2_147_483_647], ["7", 0]].map((
    [found, transitions],
  ) => ({
    name: `leaseTransitions ${JSON.stringify(found)}`,
    lease: lease({ leaseTransitions: found }),
    state: { holders: [], transitions: transitions as number },
  })),
  {
    name: "a year that could not be written back",
    lease: annotated([{ id: "a", since: "+012026-01-01T00:00:00Z" }], { holderIdentity: "a", acquireTime: iso(T1) }),
    state: { holders: [{ id: id("a"), since: T1 }], transitions: 0 },
  },
];

for (const example of READS) {
  Deno.test(`a Lease is read: ${example.name}`, () => {
    deepEqual(leaseToState(example.lease), example.state);
  });
}

Deno.test("a free group is written with an empty holderIdentity and without acquireTime", () => {
  const base = lease({ holderIdentity: "a", acquireTime: iso(T1), renewTime: iso(T1) });
  const written = stateToLease(group("default"), "ns", { holders: [], transitions: 3 }, base);
  deepEqual(JSON.parse(JSON.stringify(written.spec)), { holderIdentity: "", leaseTransitions: 3 });
});

Deno.test("times are written with six digits, and acquireTime is the oldest grant", () => {
  const state = { holders: [{ id: id("b"), since: T2 }, { id: id("a"), since: T1 }], transitions: 2, renewed: T3 };
  const { spec } = JSON.parse(JSON.stringify(stateToLease(group("default"), "ns", state)));
  deepEqual(spec, {
    holderIdentity: "b,a",
    leaseTransitions: 2,
    acquireTime: "2026-01-02T03:04:05.678000Z",
    renewTime: "2026-01-02T03:04:05.680000Z",
  });
});

Deno.test("a write keeps everything in a Lease except the state", () => {
  const base = lease({ holderIdentity: "x", strategy: "OldestEmulationVersion", leaseDurationSeconds: 5 }, {
    resourceVersion: "41",
    uid: "u",
    labels: { team: "ops" },
    finalizers: ["example.com/f"],
    annotations: { note: "by hand" },
    managedFields: [{ manager: "kubectl" }],
  });
  const written = stateToLease(group("default"), "ns", { holders: [], transitions: 1 }, base);
  const { metadata, spec } = JSON.parse(JSON.stringify(written));
  deepEqual(metadata, {
    name: "fleetlock-default",
    namespace: "ns",
    resourceVersion: "41",
    uid: "u",
    labels: { team: "ops" },
    finalizers: ["example.com/f"],
    annotations: { note: "by hand", [HOLDERS_ANNOTATION]: "[]" },
  });
  equal(spec.strategy, "OldestEmulationVersion");
  equal(spec.leaseDurationSeconds, 5);
});

Deno.test("a write fills in what a Lease lacks", () => {
  for (const base of [undefined, {}, { metadata: {} }, { spec: {} }]) {
    const written = stateToLease(group("default"), "ns", { holders: [], transitions: 1 }, base);
    deepEqual(JSON.parse(JSON.stringify(written)), {
      apiVersion: "coordination.k8s.io/v1",
      kind: "Lease",
      metadata: { name: "fleetlock-default", namespace: "ns", annotations: { [HOLDERS_ANNOTATION]: "[]" } },
      spec: { holderIdentity: "", leaseTransitions: 1 },
    });
  }
});

Deno.test("a write keeps the text of the annotations that say the same, and replaces those that do not", () => {
  const texts = {
    [NOTES_ANNOTATION]: `{ "returned":  "${iso(T1)}", "later": 1 }`,
    [PAUSED_ANNOTATION]: '{ "by":  "ops", "reason": "a fire" }',
  };
  const base = lease({}, { annotations: { note: "by hand", ...texts } });
  const { notes } = leaseToState(base);
  const write = (notes: GroupState["notes"]) =>
    stateToLease(group("default"), "ns", { holders: [], transitions: 1, notes }, base).metadata!.annotations;
  const others = { note: "by hand", [HOLDERS_ANNOTATION]: "[]" };
  deepEqual(write(notes), { ...others, ...texts });
  deepEqual(write({ ...notes, returned: T2 }), {
    ...others,
    ...texts,
    [NOTES_ANNOTATION]: JSON.stringify({ returned: iso(T2), later: 1 }),
  });
  deepEqual(write({ ...notes, pause: { reason: "a flood" } }), {
    ...others,
    ...texts,
    [PAUSED_ANNOTATION]: JSON.stringify({ reason: "a flood" }),
  });
  // What a later version noted stays. An annotation that says nothing any more is gone.
  deepEqual(write(undefined), { ...others, [NOTES_ANNOTATION]: '{"later":1}' });
  const said = lease({}, { annotations: { [PAUSED_ANNOTATION]: "a fire" } });
  const lifted = stateToLease(group("default"), "ns", { holders: [], transitions: 1 }, said);
  deepEqual(Object.entries(lifted.metadata!.annotations!), [[HOLDERS_ANNOTATION, "[]"]]);
});

Deno.test("leaseTransitions is written in the range that the API server accepts", () => {
  for (const [transitions, written] of [[-1, 0], [2_147_483_647, 2_147_483_647], [2_147_483_648, 2_147_483_647]]) {
    const { spec } = stateToLease(group("default"), "ns", { holders: [], transitions: transitions! });
    equal(spec?.leaseTransitions, written);
  }
});

Deno.test("a record of a drain that another fleetlock keeps in a Lease is told from a lock", () => {
  const named = (name: string, holderIdentity: string, annotations?: Record<string, string>) =>
    isForeignDrainRecord(lease({ holderIdentity }, { name, ...(annotations && { annotations }) }));
  equal(named("fleetlock-drain-node-1", "done"), true);
  equal(named("fleetlock-drain-node-1", "done", { "other.example/note": "x" }), true);
  equal(named("fleetlock-drain-node-1", "done", { [HOLDERS_ANNOTATION]: "[]" }), false);
  equal(named("fleetlock-drain-node-1", "done", { [GROUP_ANNOTATION]: "drain-node-1" }), false);
  equal(named("fleetlock-drain-node-1", "a"), false);
  equal(named("fleetlock-drain-node-1", ""), false);
  equal(named("fleetlock-drained", "done"), false);
  equal(named("fleetlock-default", "done"), false);
  equal(isForeignDrainRecord({ metadata: { name: "fleetlock-drain-node-1" } }), false);
  equal(isForeignDrainRecord({}), false);
});

const NAMES: [string, string][] = [
  ["default", "fleetlock-default"],
  ["a.b-c", "fleetlock-a.b-c"],
  ["1.a.bc.def.ghij.0", "fleetlock-1.a.bc.def.ghij.0"],
  ["-x", "fleetlock--x"],
  ["Workers", "fleetlock.x-57orkers"],
  ["a.", "fleetlock.xa-2e"],
  [".", "fleetlock.x-2e"],
  ["-", "fleetlock.x-2d"],
  ["a..b", "fleetlock.xa-2e-2eb"],
];
for (const [raw, name] of NAMES) {
  Deno.test(`the group ${raw} has the Lease ${name}`, () => {
    equal(leaseName(group(raw)), name);
    const { metadata } = stateToLease(group(raw), "ns", { holders: [], transitions: 0 });
    equal(metadata?.name, name);
    equal(metadata?.annotations?.[GROUP_ANNOTATION], name.startsWith("fleetlock-") ? undefined : raw);
  });
}

const FOREIGN = [
  "",
  "fleetlock",
  "fleetlock-",
  "leader",
  "fleetlock.x",
  "fleetlock.xa",
  "fleetlock.x-57-",
  "fleetlock-A",
];
for (const name of FOREIGN) {
  Deno.test(`a Lease named ${JSON.stringify(name)} belongs to another program`, () => {
    equal(groupOfLease({ metadata: { name } }), undefined);
  });
}

Deno.test("a Lease without a name belongs to another program", () => {
  for (const unnamed of [{}, { metadata: {} }]) equal(groupOfLease(unnamed), undefined);
});

const groups: fc.Arbitrary<Group> = fc.oneof(
  // Few characters, so that names that could be confused come up.
  fc.string({ unit: fc.constantFrom(..."aAxX27df.-"), minLength: 1, maxLength: 8 }),
  fc.stringMatching(/^[a-zA-Z0-9.-]{1,63}$/),
).map((raw) => group(raw));

Deno.test("Lease names are valid, have at most 253 characters, and identify exactly one group", () => {
  fc.assert(
    fc.property(groups, (each) => {
      const name = leaseName(each);
      // The API server's rule, written in another way: labels of letters, digits and inner dashes between single dots.
      ok(name.length <= 253);
      ok(name.split(".").every((label) => /^[a-z0-9-]+$/.test(label) && !/^-|-$/.test(label)), name);
      equal(groupOfLease({ metadata: { name } }), each);
    }),
    { numRuns: 2000 },
  );
  fc.assert(
    fc.property(groups, groups, (one, other) => {
      equal(leaseName(one) === leaseName(other), one === other);
    }),
    { numRuns: 2000 },
  );
});

const times = fc.integer({ min: 0, max: Date.UTC(9999, 0) });
const ids = fc.string({ unit: fc.integer({ min: 0x21, max: 0x7e }).map((c) => String.fromCharCode(c)), minLength: 1 })
  .filter((raw) => parseClientId(raw) !== undefined).map((raw) => parseClientId(raw)!);
const nodes = fc.record({
  name: fc.string({ minLength: 1 }),
  uid: fc.string({ minLength: 1 }),
  bootId: fc.string(),
  phase: fc.constantFrom("draining" as const, "drained" as const, "failed" as const),
}, { requiredKeys: ["name", "uid", "phase"], noNullPrototype: true });
const states: fc.Arbitrary<GroupState> = fc.record({
  holders: fc.uniqueArray(
    fc.record({ id: ids, since: times, node: nodes }, { requiredKeys: ["id", "since"], noNullPrototype: true }),
    { selector: (holder) => holder.id, maxLength: 10 },
  ),
  transitions: fc.nat(),
  renewed: times,
}, { requiredKeys: ["holders", "transitions"], noNullPrototype: true });

Deno.test("every state is read back as it was written, whatever the Lease held before", () => {
  fc.assert(fc.property(groups, states, states, (each, before, state) => {
    const base = JSON.parse(JSON.stringify(stateToLease(each, "ns", before)));
    const written = JSON.parse(JSON.stringify(stateToLease(each, "ns", state, base)));
    equal(JSON.stringify(leaseToState(written)), JSON.stringify(normalized(state)));
  }));
});

Deno.test("the holders of a Lease are those of holderIdentity, whatever the annotation says", () => {
  fc.assert(fc.property(states, fc.uniqueArray(ids), fc.oneof(fc.json(), fc.string()), (state, byHand, junk) => {
    const written: V1Lease = JSON.parse(JSON.stringify(stateToLease(group("default"), "ns", state)));
    written.spec!.holderIdentity = byHand.join(",");
    // Those who were granted a slot come first, in the order of their grants.
    const noted = state.holders.map((holder) => holder.id).filter((id) => byHand.includes(id));
    const added = byHand.filter((id) => !noted.includes(id));
    deepEqual(leaseToState(written).holders.map((holder) => holder.id), [...noted, ...added]);
    written.metadata!.annotations![HOLDERS_ANNOTATION] = junk;
    deepEqual(leaseToState(written).holders.map((holder) => holder.id).toSorted(), byHand.toSorted());
  }));
});

/** Puts the keys of a state in the codec's order, for a comparison as JSON. */
function normalized({ holders, transitions, renewed }: GroupState): GroupState {
  return {
    holders: holders.map(({ id, since, node }) => ({
      id,
      since,
      ...(node &&
        {
          node: {
            name: node.name,
            uid: node.uid,
            ...(node.bootId !== undefined && { bootId: node.bootId }),
            phase: node.phase,
          },
        }),
    })),
    transitions,
    ...(renewed !== undefined && { renewed }),
  };
}
