/**
 * The transactions on a hold, each on every state of its group that it can meet. What the store has may be another
 * state than the view shows, since other replicas write too. What a policy has to do with a grant is in grants_test.ts,
 * and how a hold whose Node is gone is freed in gone_nodes_test.ts.
 *
 * @module
 */

import { deepEqual, equal, ok } from "node:assert/strict";
import { GroupView } from "../../src/lock/group_view.ts";
import { GroupWriter } from "../../src/lock/group_writer.ts";
import type { Held, Proven } from "../../src/lock/hold_outcomes.ts";
import { Holds } from "../../src/lock/holds.ts";
import { parseClientId, parseGroup } from "../../src/lock/identity.ts";
import { MemoryBackend, type Versioned } from "../../src/lock/lock_store.ts";
import { refused } from "../../src/lock/outcomes.ts";
import type { GroupNotes } from "../../src/lock/policy.ts";
import { FREE, type GroupState, type HeldNode, type Holder } from "../../src/lock/semaphore.ts";
import { FakeClock } from "../support/fake_clock.ts";
import { CountingStore } from "../support/faulty_stores.ts";

const group = parseGroup("default")!;
const [alice, bob] = [parseClientId("alice")!, parseClientId("bob")!];
const NOW = Date.UTC(2026, 0, 1);
const SINCE = NOW - 60_000;

const NODE: HeldNode = { name: "worker-1", uid: "u1", phase: "draining" };
const DRAINED: HeldNode = { ...NODE, phase: "drained" };
const OTHER_NODE: HeldNode = { name: "worker-2", uid: "u2", phase: "draining" };

/** Alice's hold, as the request under test has last seen it. */
const HOLD: Holder = { id: alice, since: SINCE, renewed: SINCE, slots: 1, node: NODE };
/** A hold of bob's that goes before alice's. */
const FIRST: Holder = { id: bob, since: SINCE - 5, node: { ...DRAINED, name: "worker-9", uid: "u9" } };

const ENDING = { object: "Lease ns/fleetlock-default", finalizers: ["example.com/f"] };
const LOCK_ENDING = refused({ kind: "lock_ending", ...ENDING });
const CONTENDED = refused({ kind: "contended" });
const PAUSED: GroupNotes = { pause: { reason: "a fire", drains: true } };

function stateWith(holders: readonly Holder[], notes?: GroupNotes): GroupState {
  return { holders, transitions: 1, renewed: SINCE, ...(notes && { notes }) };
}

interface SetUp {
  /** Whether somebody is told. */
  readonly isObserved?: boolean;
  /** How many slots the group has. */
  readonly slots?: number;
  /** Whether the group's object is being deleted. */
  readonly isEnding?: boolean;
  /** What the view shows, in step with the store or not. By default it knows nothing. */
  readonly seen?: { readonly state: GroupState; readonly isSynced: boolean };
}

/** One transaction at a time over a store that holds `state`. */
function setUp(state: GroupState, { slots = 1, isEnding = false, seen, isObserved = true }: SetUp = {}) {
  const backend = new MemoryBackend();
  const stored: Versioned = { state, version: 7, ...(isEnding && { ending: ENDING }) };
  backend.version = 7;
  backend.groups.set(group, stored);
  const store = new CountingStore(backend);
  const view = new GroupView();
  if (seen !== undefined) {
    // Where both are the same, so is the version: then a write needs no read.
    const version = seen.state === state ? 7 : 6;
    view.synced({ groups: new Map([[group, { state: seen.state, version }]]), version });
    if (!seen.isSynced) view.lost("away");
  }
  const clock = new FakeClock(NOW);
  const writer = new GroupWriter(store, view, { clock, random: () => 0 });
  const told: unknown[][] = [];
  const holds = new Holds(writer, {
    slotsOf(asked) {
      equal(asked, group);
      return slots;
    },
    clock,
    observer: isObserved
      ? {
        granted: (...event) => told.push(["granted", ...event]),
        released: (...event) => told.push(["released", ...event]),
        yielded: (...event) => told.push(["yielded", ...event]),
      }
      : {},
  });
  // The writer's random pause is 0, and only this ends it.
  const settle = async <T>(operation: Promise<T>): Promise<T> => {
    for (let turns = 0; turns < 5; turns++) await clock.advance(0);
    return await operation;
  };
  const stateOf = () => backend.groups.get(group)!.state;
  return { holds, writer, store, told, settle, stateOf, clock };
}

/** What a request for alice's hold has proven so far. */
function provenAs(kind: Proven["kind"], holder: Holder): Proven {
  return { kind, holder, written: { state: stateWith([holder]), ending: undefined, began: 0 } };
}

function lockHeld(holders: readonly Holder[], slots = 1) {
  return refused({ kind: "lock_held", holders, slots });
}

Deno.test("renew: a holder is proven by a write, others hear why not, or that a slot seems free", async () => {
  const beyond = { ...HOLD, slots: undefined };
  const cases: [what: string, state: GroupState, options: SetUp, answer: unknown][] = [
    ["nobody holds", FREE, {}, { kind: "free", state: FREE }],
    ["a slot is left", stateWith([FIRST]), { slots: 2 }, { kind: "free", state: stateWith([FIRST]) }],
    ["others hold all", stateWith([FIRST]), {}, lockHeld([FIRST])],
    ["beyond the slots", stateWith([FIRST, beyond]), {}, lockHeld([FIRST])],
    ["no slot at all", FREE, { slots: 0 }, lockHeld([], 0)],
    ["being deleted", stateWith([HOLD]), { isEnding: true }, LOCK_ENDING],
    ["being deleted and free", FREE, { isEnding: true }, LOCK_ENDING],
  ];
  for (const [what, state, options, answer] of cases) {
    const { holds, writer, store, settle } = setUp(state, options);
    deepEqual(await settle(holds.renew(alice, group, writer.arrive())), answer, what);
    equal(store.calls.writes, 0, what);
  }
  const { holds, writer, settle, stateOf, told } = setUp(stateWith([FIRST, HOLD]), { slots: 2 });
  const renewal = await settle(holds.renew(alice, group, writer.arrive()));
  ok(renewal.kind === "renewed");
  deepEqual(renewal.holder, { ...HOLD, renewed: NOW });
  equal(renewal.written.state, stateOf());
  deepEqual(stateOf(), { ...stateWith([FIRST, { ...HOLD, renewed: NOW }]), renewed: NOW });
  deepEqual(told, []);
});

Deno.test("renew: the gate is asked about the state, and only where a slot seems free", async () => {
  const refusal = refused({ kind: "contended" });
  const asked: GroupState[] = [];
  const gate = (state: GroupState) => {
    asked.push(state);
    return refusal;
  };
  for (const [state, slots] of [[FREE, 1], [stateWith([FIRST]), 2]] as const) {
    const { holds, writer, settle } = setUp(state, { slots });
    equal(await settle(holds.renew(alice, group, writer.arrive(), gate)), refusal);
    ok(asked.length > 0 && asked.splice(0).every((each) => each === state));
  }
  for (const state of [stateWith([FIRST]), stateWith([HOLD])]) {
    const { holds, writer, settle } = setUp(state);
    await settle(holds.renew(alice, group, writer.arrive(), gate));
    deepEqual(asked, []);
  }
});

Deno.test("a refusal of others names the group's own list of holders, so that all replies are one", async () => {
  const state = stateWith([FIRST]);
  const { holds, writer, settle } = setUp(state);
  const renewal = await settle(holds.renew(alice, group, writer.arrive()));
  ok(renewal.kind === "refused" && renewal.refusal.kind === "lock_held");
  equal(renewal.refusal.holders, state.holders);
});

Deno.test("grant: the slot is granted on the state that the permit was asked about, with the slots that it says", async () => {
  const state = stateWith([FIRST]);
  const refusal = refused({ kind: "contended" });
  for (const [slots, isGranted] of [[2, true], [3, true], [refusal, false], [1, false]] as const) {
    const { holds, writer, settle, stateOf, told, store } = setUp(state, { slots: 1 });
    const asked: GroupState[] = [];
    const permit = { slots: 3, node: NODE, slotsOn: (each: GroupState) => (asked.push(each), slots) };
    const outcome = await settle(holds.grant(alice, group, writer.arrive(), permit));
    ok(asked.length > 0 && asked.every((each) => each === state));
    if (!isGranted) {
      deepEqual(outcome, slots === 1 ? lockHeld([FIRST]) : refusal);
      deepEqual([told, store.calls.writes], [[], 0]);
      continue;
    }
    const holder = { id: alice, since: NOW, renewed: NOW, slots, node: NODE };
    ok(outcome.kind === "granted");
    deepEqual(outcome.holder, holder);
    deepEqual(stateOf(), { holders: [FIRST, holder], transitions: 2, renewed: NOW });
    deepEqual(told, [["granted", group, holder]], "once, and only of what was written");
  }
});

Deno.test("grant: a client that got its hold meanwhile renews it, whatever the permit says", async () => {
  const permit = { slots: 0, slotsOn: () => refused({ kind: "contended" as const }) };
  const { holds, writer, settle, stateOf, told } = setUp(stateWith([{ ...HOLD, slots: undefined }]));
  const outcome = await settle(holds.grant(alice, group, writer.arrive(), permit));
  ok(outcome.kind === "renewed");
  deepEqual(stateOf().holders, [{ ...HOLD, slots: undefined, renewed: NOW }]);
  deepEqual(outcome.holder, stateOf().holders[0]);
  deepEqual(told, []);
  // The slots of now decide whether it goes on, not those of the permit.
  const beyond = { ...HOLD, slots: undefined };
  const other = setUp(stateWith([FIRST, beyond]), { slots: 1 });
  const waits = other.holds.grant(alice, group, other.writer.arrive(), { ...permit, slots: 2 });
  deepEqual(await other.settle(waits), lockHeld([FIRST]));
});

Deno.test("grant: where the slots are taken or the object is being deleted, nothing is written", async () => {
  const permit = { slots: 1, slotsOn: () => 1 };
  const cases: [GroupState, SetUp, unknown][] = [
    [stateWith([FIRST]), { slots: 2 }, lockHeld([FIRST])],
    [FREE, { isEnding: true }, LOCK_ENDING],
    [stateWith([HOLD]), { isEnding: true }, LOCK_ENDING],
  ];
  for (const [state, options, answer] of cases) {
    const { holds, writer, settle, store, told } = setUp(state, options);
    deepEqual(await settle(holds.grant(alice, group, writer.arrive(), permit)), answer);
    deepEqual([store.calls.writes, told], [0, []]);
  }
});

Deno.test("find: what is found rests on what the caller says of it", async () => {
  const needs = (found: Held) => found.kind === "held" && found.holder.id === alice ? "anything" : "fresh";
  const seen = { state: stateWith([HOLD]), isSynced: false };
  for (
    const [each, stored, answer] of [
      [needs, FREE, { kind: "held", holder: HOLD }],
      [() => "fresh" as const, FREE, { kind: "not_held" }],
      [undefined, FREE, { kind: "not_held" }],
    ] as const
  ) {
    const { holds, writer, settle } = setUp(stored, { seen });
    deepEqual(await settle(holds.find(alice, group, writer.arrive(), each)), answer);
  }
  const { holds, writer, settle, store } = setUp(stateWith([HOLD]), { seen: { state: FREE, isSynced: true } });
  deepEqual(await settle(holds.find(alice, group, writer.arrive(), needs)), { kind: "held", holder: HOLD });
  equal(store.calls.reads, 1);
});

/** What {@link Holds.note} makes of alice's hold. */
interface Note {
  readonly what: string;
  /** The hold as the request has proven it. */
  readonly proven?: Holder;
  readonly kind?: Proven["kind"];
  /** What the store has. */
  readonly stored: readonly Holder[];
  readonly options?: SetUp;
  readonly node: HeldNode;
  /** What alice's hold is then; or the refusal. */
  readonly then: Partial<Holder> | ReturnType<typeof refused>;
}

const deferred = [{ id: alice, node: "worker-1", until: 5, count: 1, pods: [] }, {
  id: bob,
  node: "worker-9",
  until: 6,
  count: 2,
  pods: [],
}];

const NOTES: Note[] = [
  {
    what: "the phase of its node",
    stored: [HOLD],
    node: { ...NODE, phase: "failed" },
    then: { node: { ...NODE, phase: "failed" } },
  },
  {
    what: "its first node",
    proven: { ...HOLD, node: undefined },
    stored: [{ ...HOLD, node: undefined }],
    node: NODE,
    then: { node: NODE, hadYes: true },
  },
  {
    what: "the first node of a slot that this request took and nobody has renewed: no yes was given",
    kind: "granted",
    proven: { ...HOLD, node: undefined },
    stored: [{ ...HOLD, node: undefined }],
    node: NODE,
    then: { node: NODE },
  },
  {
    what: "the first node of a slot that another request has renewed, perhaps with a yes",
    kind: "granted",
    proven: { ...HOLD, node: undefined },
    stored: [{ ...HOLD, node: undefined, renewed: SINCE + 1 }],
    node: NODE,
    then: { node: NODE, hadYes: true },
  },
  {
    what: "the first node of a slot that another request took, and that is as old as its renewal",
    kind: "renewed",
    proven: { ...HOLD, node: undefined },
    stored: [{ ...HOLD, node: undefined }],
    node: NODE,
    then: { node: NODE, hadYes: true },
  },
  { what: "another node than it proved", stored: [HOLD], node: OTHER_NODE, then: { node: OTHER_NODE } },
  {
    what: "the node that another request has noted too",
    stored: [{ ...HOLD, node: OTHER_NODE }],
    node: OTHER_NODE,
    then: { node: OTHER_NODE },
  },
  { what: "a third node", stored: [{ ...HOLD, node: OTHER_NODE }], node: { ...NODE, uid: "u3" }, then: CONTENDED },
  { what: "a node after the hold has ended", stored: [], node: DRAINED, then: CONTENDED },
  {
    what: "a node after the slot that this request took is free again",
    kind: "granted",
    stored: [],
    node: NODE,
    then: CONTENDED,
  },
  { what: "a node of an earlier hold", stored: [{ ...HOLD, since: SINCE + 1 }], node: DRAINED, then: CONTENDED },
  { what: "that a drained node drains", stored: [{ ...HOLD, node: DRAINED }], node: NODE, then: { node: DRAINED } },
  {
    what: "that a drained node failed",
    stored: [{ ...HOLD, node: DRAINED }],
    node: { ...NODE, phase: "failed" },
    then: { node: DRAINED },
  },
  {
    what: "that a drained node is drained, with another boot",
    stored: [{ ...HOLD, node: DRAINED }],
    node: { ...DRAINED, bootId: "b" },
    then: { node: { ...DRAINED, bootId: "b" } },
  },
  {
    what: "that another node than the drained one drains",
    proven: { ...HOLD, node: DRAINED },
    stored: [{ ...HOLD, node: DRAINED }],
    node: OTHER_NODE,
    then: { node: OTHER_NODE, hadYes: true },
  },
  {
    what: "that its node drains although others come first",
    stored: [FIRST, { ...HOLD, slots: undefined }],
    node: NODE,
    then: { slots: undefined },
  },
  {
    what: "that its node is drained although others come first",
    stored: [FIRST, { ...HOLD, slots: undefined }],
    node: DRAINED,
    then: lockHeld([FIRST]),
  },
  {
    what: "anything on an object that is being deleted",
    stored: [HOLD],
    options: { isEnding: true },
    node: NODE,
    then: LOCK_ENDING,
  },
];

for (const { what, proven = HOLD, kind = "renewed", stored, node, then, options } of NOTES) {
  Deno.test(`note: ${what}`, async () => {
    const { holds, settle, stateOf, store } = setUp(stateWith(stored), options);
    const outcome = await settle(holds.note(provenAs(kind, proven), group, node));
    if ("kind" in then) {
      deepEqual(outcome, then);
      deepEqual([stateOf().holders, store.calls.writes], [stored, 0]);
      return;
    }
    const whole = { ...stored.at(-1)!, renewed: NOW, ...then };
    ok(outcome.kind === kind);
    deepEqual(outcome.holder, whole);
    deepEqual(stateOf().holders, [...stored.slice(0, -1), whole]);
    equal(outcome.written.state, stateOf());
  });
}

Deno.test("note: a node that is drained ends the host's deferral, and another phase does not", async () => {
  for (
    const [node, left] of [[DRAINED, [deferred[1]]], [NODE, deferred], [
      { ...NODE, phase: "failed" },
      deferred,
    ]] as const
  ) {
    const { holds, settle, stateOf } = setUp(stateWith([HOLD], { deferred }));
    await settle(holds.note(provenAs("renewed", HOLD), group, node));
    deepEqual(stateOf().notes, { deferred: left });
  }
});

Deno.test("noteYes: the yes is noted with the very hold that may go on, or refused", async () => {
  const cases: [what: string, stored: readonly Holder[], options: SetUp, answer: unknown][] = [
    ["the hold has ended", [], {}, CONTENDED],
    ["the hold has ended, and another has the slot", [FIRST], {}, CONTENDED],
    ["another hold of the client", [{ ...HOLD, since: SINCE + 1 }], {}, CONTENDED],
    ["others come first", [FIRST, { ...HOLD, slots: undefined }], {}, lockHeld([FIRST])],
    ["being deleted", [HOLD], { isEnding: true }, LOCK_ENDING],
  ];
  for (const [what, stored, options, answer] of cases) {
    const { holds, settle, store } = setUp(stateWith(stored), options);
    deepEqual(await settle(holds.noteYes(provenAs("renewed", HOLD), group)), answer, what);
    equal(store.calls.writes, 0);
  }
  for (const kind of ["granted", "renewed"] as const) {
    const { holds, settle, stateOf } = setUp(stateWith([HOLD]));
    const outcome = await settle(holds.noteYes(provenAs(kind, HOLD), group));
    ok(outcome.kind === kind);
    deepEqual(outcome.holder, { ...HOLD, renewed: NOW, hadYes: true });
    deepEqual(stateOf().holders, [outcome.holder]);
  }
});

Deno.test("release: the slot of the very stage of the hold is free, with the return in the same write", async () => {
  for (const hasRebooted of [true, false]) {
    const { holds, writer, settle, stateOf, told } = setUp(stateWith([FIRST, HOLD], PAUSED));
    const outcome = await settle(holds.release(HOLD, group, writer.arrive(), hasRebooted));
    deepEqual(outcome, { kind: "released", holder: HOLD });
    const notes = { ...PAUSED, ...(hasRebooted && { returned: NOW }) };
    deepEqual(stateOf(), { ...stateWith([FIRST], notes), renewed: NOW });
    deepEqual(told, [["released", group, HOLD]]);
  }
  const cases: [what: string, stored: readonly Holder[], answer: unknown][] = [
    ["the hold has ended", [FIRST], { kind: "not_held" }],
    ["another hold of the client", [{ ...HOLD, since: SINCE + 1 }], CONTENDED],
    ["renewed since", [{ ...HOLD, renewed: SINCE + 1 }], CONTENDED],
    ["drained since", [{ ...HOLD, node: DRAINED }], CONTENDED],
  ];
  for (const [what, stored, answer] of cases) {
    const { holds, writer, settle, stateOf, told } = setUp(stateWith(stored));
    deepEqual(await settle(holds.release(HOLD, group, writer.arrive(), true)), answer, what);
    deepEqual([stateOf(), told], [stateWith(stored), []], what);
  }
  const { holds, writer, settle, stateOf } = setUp(stateWith([HOLD]), { isEnding: true });
  equal((await settle(holds.release(HOLD, group, writer.arrive(), true))).kind, "released", "also while it is deleted");
  deepEqual(stateOf().holders, []);
});

const pods = [{ namespace: "web", name: "web-0", reason: "its budget allows no disruption now" }];
const TIMED_OUT = { kind: "timed_out", pods } as const;

/** States in which alice's hold stays, for a cause that would otherwise end it. */
const STAYS: [what: string, cause: "timed_out" | "paused", holder: Holder, notes: GroupNotes | undefined][] = [
  ["the node is drained", "timed_out", { ...HOLD, node: DRAINED }, undefined],
  ["there may have been a yes on an earlier node", "timed_out", { ...HOLD, hadYes: true }, undefined],
  ["no node is noted", "timed_out", { ...HOLD, node: undefined }, undefined],
  ["the node cannot be read", "timed_out", { ...HOLD, node: undefined, isNodeUnreadable: true }, undefined],
  ["the hold is about another node by now", "timed_out", { ...HOLD, node: OTHER_NODE }, undefined],
  ["the hold is about another node by now, and the group paused", "timed_out", { ...HOLD, node: OTHER_NODE }, PAUSED],
  ["the pause was lifted", "paused", HOLD, undefined],
  ["the pause was lifted and something else is noted", "paused", HOLD, { returned: 5 }],
  ["the pause lets drains go on by now", "paused", HOLD, { pause: { reason: "a fire" } }],
  ["the pause is over", "paused", HOLD, { pause: { drains: true, until: NOW } }],
  ["the node is drained during a pause", "paused", { ...HOLD, node: DRAINED }, PAUSED],
];

for (const [what, cause, holder, notes] of STAYS) {
  Deno.test(`yield: the hold stays where ${what} (${cause})`, async () => {
    const state = stateWith([holder], notes);
    const { holds, settle, store, stateOf, told } = setUp(state);
    const outcome = await settle(holds.yield(HOLD, group, cause === "paused" ? { kind: cause } : TIMED_OUT));
    deepEqual(outcome, { kind: "stays" });
    deepEqual([stateOf(), store.calls.writes, told], [state, 0, []]);
  });
}

Deno.test("yield: a hold that has ended, or that is another one, is told with the state", async () => {
  for (const cause of [TIMED_OUT, { kind: "paused" } as const]) {
    for (const holders of [[FIRST], [{ ...HOLD, since: SINCE + 1 }]]) {
      const state = stateWith(holders, PAUSED);
      const { holds, settle, store, told } = setUp(state);
      deepEqual(await settle(holds.yield(HOLD, group, cause)), { kind: "not_held", state });
      deepEqual([store.calls.writes, told], [0, []]);
    }
  }
});

Deno.test("yield: a drain that has timed out frees the slot, and the host is deferred in the same write", async () => {
  // A renewal by the client, or a drain that has failed, does not keep the slot.
  for (
    const holder of [HOLD, { ...HOLD, renewed: SINCE + 9 }, { ...HOLD, node: { ...NODE, phase: "failed" as const } }]
  ) {
    for (const before of [undefined, PAUSED]) {
      const { holds, settle, stateOf, told } = setUp(stateWith([FIRST, holder], before));
      const outcome = await settle(holds.yield(HOLD, group, TIMED_OUT));
      const deferral = {
        id: alice,
        node: "worker-1",
        until: NOW + 30 * 60_000,
        count: 1,
        pods: ["web/web-0: its budget allows no disruption now"],
      };
      deepEqual(outcome, { kind: "yielded", deferral });
      deepEqual(stateOf(), { ...stateWith([FIRST], { ...before, deferred: [deferral] }), renewed: NOW });
      deepEqual(told, [["yielded", group, holder, "timed_out", deferral]]);
    }
  }
});

Deno.test("yield: a pause with its drains frees the slot, whatever Node the hold is about, without a deferral", async () => {
  for (const holder of [HOLD, { ...HOLD, node: OTHER_NODE }]) {
    const { holds, settle, stateOf, told } = setUp(stateWith([holder], PAUSED));
    deepEqual(await settle(holds.yield(HOLD, group, { kind: "paused" })), { kind: "yielded" });
    deepEqual(stateOf(), { ...stateWith([], PAUSED), renewed: NOW });
    deepEqual(told, [["yielded", group, holder, "paused", undefined]]);
  }
});

Deno.test("yield: a hold whose request saw no node stays where it notes one by now", async () => {
  const { holds, settle, store } = setUp(stateWith([HOLD]));
  deepEqual(await settle(holds.yield({ ...HOLD, node: undefined }, group, TIMED_OUT)), { kind: "stays" });
  equal(store.calls.writes, 0);
});

Deno.test("nobody needs to be told of a grant, a yield and a release", async () => {
  const { holds, writer, settle } = setUp(FREE, { isObserved: false });
  const permit = { slots: 1, node: NODE, slotsOn: () => 1 };
  const granted = async () => {
    const outcome = await settle(holds.grant(alice, group, writer.arrive(), permit));
    ok(outcome.kind === "granted");
    return outcome.holder;
  };
  equal((await settle(holds.yield(await granted(), group, TIMED_OUT))).kind, "yielded");
  equal((await settle(holds.release(await granted(), group, writer.arrive(), false))).kind, "released");
});

Deno.test("reread: the hold as the store has it, and nothing where it has ended or is another one", async () => {
  const now = { ...HOLD, node: DRAINED, renewed: SINCE + 5 };
  for (
    const [stored, found] of [[[now], now], [[FIRST], undefined], [[{ ...now, since: SINCE + 1 }], undefined]] as const
  ) {
    const seen = { state: stateWith([HOLD]), isSynced: true };
    const { holds, settle, store } = setUp(stateWith(stored), { seen });
    deepEqual(await settle(holds.reread(HOLD, group)), found);
    deepEqual(store.calls, { reads: 1, writes: 0, lists: 0 });
  }
});

Deno.test("confirm: the hold as the store has it from then on, and contended where it has ended or is about another node", async () => {
  const now = { ...HOLD, renewed: SINCE + 5 };
  for (
    const stored of [[now], [FIRST], [{ ...now, since: SINCE + 1 }], [{ ...now, node: { ...DRAINED, uid: "u2" } }]]
  ) {
    const seen = { state: stateWith([HOLD]), isSynced: true };
    const { holds, settle, store, clock } = setUp(stateWith(stored), { seen });
    const began = clock.monotonic();
    const confirmed = await settle(holds.confirm(provenAs("granted", HOLD), group));
    if (stored[0] !== now) deepEqual(confirmed, CONTENDED);
    else {
      const written = { state: stateWith(stored), ending: undefined, began };
      deepEqual(confirmed, { kind: "granted", holder: now, written });
    }
    deepEqual(store.calls, { reads: 1, writes: 0, lists: 0 });
  }
});

/** How many reads an answer costs that the view suggests and the store confirms: what the answer must rest on. */
const PROOFS: [
  what: string,
  state: GroupState,
  isEnding: boolean,
  reads: { readonly inStep: number; readonly behind: number },
  ask: (all: ReturnType<typeof setUp>) => Promise<unknown>,
][] = [
  [
    "a free slot",
    FREE,
    false,
    { inStep: 0, behind: 0 },
    ({ holds, writer }) => holds.renew(alice, group, writer.arrive()),
  ],
  [
    "what speaks against a grant",
    FREE,
    false,
    { inStep: 0, behind: 1 },
    ({ holds, writer }) => holds.renew(alice, group, writer.arrive(), () => CONTENDED),
  ],
  [
    "what speaks against a grant, when it is written",
    FREE,
    false,
    { inStep: 0, behind: 1 },
    ({ holds, writer }) => holds.grant(alice, group, writer.arrive(), { slots: 1, slotsOn: () => CONTENDED }),
  ],
  [
    "that others hold the slots",
    stateWith([FIRST]),
    false,
    { inStep: 0, behind: 1 },
    ({ holds, writer }) => holds.renew(alice, group, writer.arrive()),
  ],
  [
    "that a note comes too late",
    FREE,
    false,
    { inStep: 1, behind: 1 },
    ({ holds }) => holds.note(provenAs("renewed", HOLD), group, NODE),
  ],
  [
    "that a yes comes too late",
    stateWith([{ ...HOLD, since: SINCE + 1 }]),
    false,
    { inStep: 1, behind: 1 },
    ({ holds }) => holds.noteYes(provenAs("renewed", HOLD), group),
  ],
  [
    "that nothing is held",
    FREE,
    false,
    { inStep: 1, behind: 1 },
    ({ holds, writer }) => holds.release(HOLD, group, writer.arrive(), false),
  ],
  [
    "that a hold has changed",
    stateWith([{ ...HOLD, renewed: SINCE + 1 }]),
    false,
    { inStep: 1, behind: 1 },
    ({ holds, writer }) => holds.release(HOLD, group, writer.arrive(), false),
  ],
  [
    "that a hold to yield has ended",
    FREE,
    false,
    { inStep: 1, behind: 1 },
    ({ holds }) => holds.yield(HOLD, group, TIMED_OUT),
  ],
  [
    "that a hold to yield stays",
    stateWith([{ ...HOLD, node: DRAINED }]),
    false,
    { inStep: 1, behind: 1 },
    ({ holds }) => holds.yield(HOLD, group, TIMED_OUT),
  ],
];

for (const [what, state, isEnding, { inStep, behind }, ask] of PROOFS) {
  Deno.test(`it costs ${inStep} reads to say ${what} while the view is in step, and ${behind} while it is behind`, async () => {
    for (const [isSynced, reads] of [[true, inStep], [false, behind]] as const) {
      const all = setUp(state, { isEnding, seen: { state, isSynced } });
      await all.settle(ask(all));
      deepEqual(all.store.calls, { reads, writes: 0, lists: 0 });
    }
  });
}
