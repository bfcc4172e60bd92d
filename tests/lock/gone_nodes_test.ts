/**
 * Holds whose Nodes are gone, and which the operator lets the server free: when, and what keeps them. On replicas over
 * one store. Each test but the first is about one thing that must keep a hold.
 *
 * @module
 */

import { deepEqual, equal, ok } from "node:assert/strict";
import { UnavailableError } from "../../src/lock/errors.ts";
import { GoneNodes } from "../../src/lock/gone_nodes.ts";
import { GroupView } from "../../src/lock/group_view.ts";
import { GroupWriter } from "../../src/lock/group_writer.ts";
import { Holds } from "../../src/lock/holds.ts";
import { type ClientId, parseClientId, parseGroup } from "../../src/lock/identity.ts";
import { LockService } from "../../src/lock/lock_service.ts";
import { MemoryBackend, MemoryLockStore } from "../../src/lock/lock_store.ts";
import type { DrainOutcome, GoneOutcome } from "../../src/lock/node_keeper.ts";
import { amend, type GroupState, type Holder } from "../../src/lock/semaphore.ts";
import { IdleClock } from "../support/fake_clock.ts";
import { untilAborted } from "../../src/lock/abort.ts";
import { UnavailableStore } from "../support/faulty_stores.ts";
import { drained, noted, ScriptedKeeper } from "../support/scripted_keeper.ts";
import { ScriptedPolicy } from "../support/scripted_policy.ts";

const group = parseGroup("default")!;
const other = parseGroup("other")!;
const [alice, bob] = ["alice", "bob"].map(parseClientId) as [ClientId, ClientId];
const GRACE_MS = 1_080_000;

/** How late a release may be: the pause between two looks. */
const LATE_MS = 31_000;

/** Replicas over one store, in which the hold of a drained host is. Each replica has a keeper of its own. */
async function setUp(holder: Partial<Holder> = {}) {
  const backend = new MemoryBackend();
  const clock = new IdleClock();
  const held = () => backend.groups.get(group)?.state.holders[0];
  const change = async (next: (state: GroupState) => GroupState) => {
    const store = new MemoryLockStore(backend);
    const found = await store.read(group);
    await store.write(group, found, next(found.state));
  };
  const since = clock.now();
  const whole = { id: alice, since, renewed: since, slots: 1, node: noted("drained"), ...holder };
  await change((state) => ({ ...state, holders: [whole], transitions: 1, renewed: since }));
  const stops: (() => Promise<void>)[] = [];
  const told: string[] = [];
  const replica = async () => {
    const keeper = new ScriptedKeeper(held);
    const absence = { since: clock.monotonic() as number | undefined };
    keeper.absent = ({ node }) => node === undefined ? undefined : absence.since;
    keeper.proves = () => Promise.resolve({ kind: "gone", readAt: clock.monotonic() });
    const policy = new ScriptedPolicy();
    policy.goneAfterMs = GRACE_MS;
    const store = new UnavailableStore(backend);
    const observer = {
      releasedGone: (_: unknown, { id }: Holder) => told.push(id),
      yielded: () => told.push("yielded"),
    };
    const locks = new LockService(store, { keeper, policy, clock, observer, random: () => 0.5, replyWaitMs: 1_000 });
    const stop = new AbortController();
    const watched = locks.watch(stop.signal);
    stops.push(() => {
      stop.abort();
      return watched;
    });
    await clock.pass(1);
    return { keeper, policy, store, locks, absence };
  };
  return {
    backend,
    clock,
    held,
    change,
    replica,
    told,
    [Symbol.asyncDispose]: async () => {
      for (const stop of stops) await stop();
    },
  };
}

Deno.test("a hold whose Node has been gone for the whole period is freed once, by one of the replicas, also after a yes", async () => {
  await using world = await setUp();
  const { clock, held, told, backend } = world;
  const [one, two] = [await world.replica(), await world.replica()];
  const since = held()!.since;
  await clock.pass(GRACE_MS - 2_000);
  equal(held()?.id, alice);
  deepEqual([one.keeper.proven, two.keeper.proven], [[], []], "nothing is read before");
  const planned = one.locks.plannedRelease(group, held()!);
  equal(planned?.at, since + GRACE_MS, "it says when");
  await clock.pass(LATE_MS);
  equal(held(), undefined);
  deepEqual(told, [alice]);
  const state = backend.groups.get(group)!.state;
  equal(state.notes, undefined, "no host came back, and none is deferred");
  const uncordoned = [...one.keeper.uncordoned, ...two.keeper.uncordoned];
  deepEqual(uncordoned, [{ group, id: alice, since }], "what is left of its drain ends");
  equal(one.locks.plannedRelease(group, { id: alice, since }), undefined);
});

Deno.test("a release is planned by the time since which the Node is gone, and only while it is and the rule is there", async () => {
  await using world = await setUp();
  const { policy, locks, absence } = await world.replica();
  const planned = () => locks.plannedRelease(group, world.held()!);
  const expected = { at: world.held()!.since + GRACE_MS };
  deepEqual(planned(), expected);
  policy.goneAfterMs = undefined;
  equal(planned(), undefined);
  policy.goneAfterMs = GRACE_MS;
  const { since } = absence;
  absence.since = undefined;
  equal(planned(), undefined);
  absence.since = since;
  deepEqual(planned(), expected);
  equal(locks.plannedRelease(group, { id: bob, since: world.held()!.since }), undefined);
  equal(locks.plannedRelease(other, world.held()!), undefined);
});

Deno.test("a hold is followed from its grant on, even where nobody held anything before", async () => {
  await using world = await setUp();
  await world.change((state) => ({ ...state, holders: [] }));
  const { locks } = await world.replica();
  await world.clock.pass(60_000);
  const since = world.clock.now();
  const holder = { id: bob, since, renewed: since, slots: 1, node: noted("drained") };
  await world.change((state) => ({ ...state, holders: [holder] }));
  await world.clock.pass(1);
  deepEqual(locks.plannedRelease(group, holder), { at: since + GRACE_MS });
});

Deno.test("a proof that takes long is read once, and a hold whose proof is too old by then is kept and waits for nothing", async () => {
  await using world = await setUp();
  const { clock } = world;
  const { keeper, locks } = await world.replica();
  keeper.proves = async (_, signal) => {
    const readAt = clock.monotonic();
    await clock.sleep(10 * LATE_MS, signal);
    return { kind: "gone", readAt };
  };
  await clock.pass(GRACE_MS + 5 * LATE_MS);
  // A change makes all holds be looked at.
  await world.change((state) => ({ ...state, transitions: state.transitions + 1 }));
  await clock.pass(4 * LATE_MS);
  equal(keeper.proven.length, 1);
  await clock.pass(2 * LATE_MS);
  equal(world.held()?.id, alice);
  equal(locks.plannedRelease(group, world.held()!)?.waitsFor, undefined);
  deepEqual(keeper.uncordoned, []);
});

Deno.test("the watch ends when a proof under way has ended, which the end of the watch may break off", async () => {
  await using world = await setUp();
  const { clock } = world;
  const keeper = new ScriptedKeeper(world.held);
  keeper.absent = () => clock.monotonic() - GRACE_MS;
  const proof = Promise.withResolvers<GoneOutcome>();
  keeper.proves = () => proof.promise;
  const policy = new ScriptedPolicy();
  policy.goneAfterMs = 1;
  const locks = new LockService(new MemoryLockStore(world.backend), { keeper, policy, clock });
  const stop = new AbortController();
  let isOver = false;
  const watch = locks.watch(stop.signal).then(() => isOver = true);
  await clock.pass(LATE_MS);
  equal(keeper.proven.length, 1);
  stop.abort(new Error("stop"));
  await clock.pass(1);
  equal(isOver, false);
  proof.reject(stop.signal.reason);
  await watch;
  equal(world.held()?.id, alice);
});

Deno.test("a proof that waits ends when its hold is over or at another stage", async () => {
  for (const by of ["freed", "renewed"] as const) {
    await using world = await setUp();
    const { clock, change, told } = world;
    const { keeper } = await world.replica();
    const ends: unknown[] = [];
    keeper.proves = async (_, signal) => {
      await untilAborted(signal);
      ends.push(clock.now());
      return { kind: "unseen" };
    };
    await clock.pass(GRACE_MS + 10_000);
    deepEqual([keeper.proven.length, ends], [1, []]);
    const renewed = clock.now();
    await change((state) => ({
      ...state,
      holders: by === "freed" ? [] : state.holders.map((one) => ({ ...one, renewed })),
      renewed,
    }));
    await clock.pass(1);
    deepEqual([ends, told], [[renewed], []]);
  }
});

Deno.test("what a release waited for is over once the Node was there", async () => {
  await using world = await setUp();
  const { clock, held } = world;
  const { keeper, locks, absence } = await world.replica();
  keeper.proves = () => Promise.resolve({ kind: "there", node: "worker-9" });
  await clock.pass(GRACE_MS + LATE_MS);
  ok(locks.plannedRelease(group, held()!)?.waitsFor !== undefined);
  absence.since = undefined;
  await clock.pass(LATE_MS);
  absence.since = clock.monotonic();
  deepEqual(Object.keys(locks.plannedRelease(group, held()!)!), ["at"]);
});

/** Holds that are never freed. */
const KEPT: [what: string, holder: Partial<Holder>][] = [
  ["notes no Node", { node: undefined }],
  ["notes a Node that cannot be read", { node: undefined, isNodeUnreadable: true }],
  ["notes a Node, and something that cannot be read", { isNodeUnreadable: true }],
];

for (const [what, holder] of KEPT) {
  Deno.test(`a hold that ${what} is never freed`, async () => {
    await using world = await setUp(holder);
    const { keeper } = await world.replica();
    // The keeper would say that anything is gone.
    const began = world.clock.monotonic();
    keeper.absent = () => began;
    await world.clock.pass(3 * GRACE_MS);
    equal(world.held()?.id, alice);
    deepEqual(keeper.proven, []);
  });
}

Deno.test("where nobody said so, no hold is freed; a rule that goes in the middle of the period keeps it, and one that comes counts what was seen", async () => {
  await using world = await setUp();
  const { clock, held } = world;
  const { policy, keeper } = await world.replica();
  policy.goneAfterMs = undefined;
  await clock.pass(GRACE_MS / 2);
  policy.goneAfterMs = GRACE_MS;
  await clock.pass(GRACE_MS / 4);
  policy.goneAfterMs = undefined;
  await clock.pass(GRACE_MS);
  equal(held()?.id, alice);
  deepEqual(keeper.proven, []);
  policy.goneAfterMs = GRACE_MS;
  await clock.pass(LATE_MS);
  equal(held(), undefined);
});

Deno.test("a rule that goes while the proof is read keeps the hold, and its cordon", async () => {
  await using world = await setUp();
  const { policy, keeper } = await world.replica();
  keeper.proves = () => {
    policy.goneAfterMs = undefined;
    return Promise.resolve({ kind: "gone", readAt: world.clock.monotonic() });
  };
  await world.clock.pass(2 * GRACE_MS);
  equal(world.held()?.id, alice);
  equal(keeper.proven.length, 1);
  deepEqual(keeper.uncordoned, []);
});

Deno.test("the period begins with the absence of the Node, and anew where a Node was there or the watch was behind", async () => {
  await using world = await setUp();
  const { clock, held } = world;
  const { absence } = await world.replica();
  await clock.pass(GRACE_MS - 60_000);
  absence.since = undefined;
  await clock.pass(60_000);
  equal(held()?.id, alice);
  absence.since = clock.monotonic();
  await clock.pass(GRACE_MS - 1_000);
  equal(held()?.id, alice);
  await clock.pass(LATE_MS);
  equal(held(), undefined);
});

Deno.test("a Node that appears while the proof is read keeps the hold", async () => {
  await using world = await setUp();
  const { absence, keeper } = await world.replica();
  keeper.proves = () => {
    absence.since = world.clock.monotonic();
    return Promise.resolve({ kind: "gone", readAt: world.clock.monotonic() });
  };
  await world.clock.pass(GRACE_MS + LATE_MS);
  equal(keeper.proven.length, 1);
  equal(world.held()?.id, alice);
});

/** What the proof may say instead. */
const UNPROVEN: [outcome: GoneOutcome, waitsFor: string][] = [
  [{ kind: "there", node: "worker-9" }, 'the node "worker-9" may be the host\'s'],
  [{ kind: "unseen" }, "the watch of the nodes is behind"],
  [
    { kind: "pods_left", pods: ["a", "b"].map((name) => ({ namespace: "web", name, reason: "it is there" })) },
    "the pod web/a and 1 more must go first",
  ],
  [
    { kind: "pods_left", pods: [{ namespace: "web", name: "a", reason: "it is there" }] },
    "the pod web/a must go first",
  ],
];

for (const [outcome, waitsFor] of UNPROVEN) {
  Deno.test(`a proof that says ${outcome.kind} keeps the hold until another one says gone, and says what it waits for`, async () => {
    await using world = await setUp();
    const { clock, held } = world;
    const { keeper, locks } = await world.replica();
    const { proves } = keeper;
    keeper.proves = () => Promise.resolve(outcome);
    await clock.pass(GRACE_MS + 10 * LATE_MS);
    equal(held()?.id, alice);
    ok(keeper.proven.length > 2, "it looks again and again");
    ok(keeper.proven.length < 12, "but not all the time");
    equal(locks.plannedRelease(group, held()!)?.waitsFor, waitsFor);
    keeper.proves = proves;
    await clock.pass(LATE_MS);
    equal(held(), undefined);
  });
}

Deno.test("readings that are older than a proof may be keep the hold", async () => {
  await using world = await setUp();
  const { keeper } = await world.replica();
  keeper.proves = async () => {
    const readAt = world.clock.monotonic();
    await world.clock.sleep(16_000);
    return { kind: "gone", readAt };
  };
  await world.clock.pass(2 * GRACE_MS);
  equal(world.held()?.id, alice);
});

for (const kind of ["pre-reboot", "steady-state"] as const) {
  for (const asked of [group, other]) {
    Deno.test(`a request of the client begins the period again: ${kind} in the group ${asked}`, async () => {
      await using world = await setUp();
      const { clock, held } = world;
      const { locks, keeper } = await world.replica();
      keeper.returns = { kind: "not_ready", node: "worker-1", reason: "it is gone" };
      keeper.drains = { kind: "failed", node: "worker-1", pods: [] };
      // The hold itself stays as it is where the request is a release or of another group.
      await clock.pass(GRACE_MS - 60_000);
      if (asked === other) keeper.look = () => Promise.resolve({ kind: "ambiguous", nodes: ["a", "b"] });
      const answer: Promise<unknown> = kind === "pre-reboot"
        ? locks.preReboot(alice, asked)
        : locks.steadyState(alice, asked);
      await clock.until(answer);
      await clock.pass(GRACE_MS - 60_000);
      equal(held()?.id, alice);
      await clock.pass(60_000 + LATE_MS);
      equal(held(), undefined);
    });
  }
}

Deno.test("a request of another client changes nothing", async () => {
  await using world = await setUp();
  const { clock, held } = world;
  const { locks } = await world.replica();
  await clock.pass(GRACE_MS - 60_000);
  await clock.until(locks.preReboot(bob, group));
  await clock.pass(60_000 + LATE_MS);
  equal(held(), undefined);
});

Deno.test("while a request of the client runs, its hold stays, however long the request takes", async () => {
  await using world = await setUp();
  const { clock, held } = world;
  const { locks, keeper } = await world.replica();
  const answer = Promise.withResolvers<{ kind: "not_ready"; node: string; reason: string }>();
  keeper.returns = () => answer.promise;
  const asked = locks.steadyState(alice, group);
  await clock.pass(3 * GRACE_MS);
  equal(held()?.id, alice);
  answer.resolve({ kind: "not_ready", node: "worker-1", reason: "it is gone" });
  await clock.until(asked);
  await clock.pass(GRACE_MS + LATE_MS);
  equal(held(), undefined);
});

Deno.test("what another replica writes for the hold begins the period again, although this one has not seen it", async () => {
  await using world = await setUp();
  const { clock, held, change, backend } = world;
  const { keeper } = await world.replica();
  let writes = 0;
  keeper.proves = async () => {
    // Its watch shows nothing of it before the write.
    if (writes++ === 0) {
      const { watchers } = backend;
      const all = [...watchers];
      watchers.clear();
      await change((state) => amend(state, held()!, clock.now(), noted("drained"))!);
      for (const watcher of all) watchers.add(watcher);
    }
    return { kind: "gone", readAt: clock.monotonic() };
  };
  await clock.pass(GRACE_MS + 10_000);
  equal(writes, 1);
  equal(held()?.id, alice);
  await clock.pass(GRACE_MS - 60_000);
  equal(held()?.id, alice);
  await clock.pass(60_000 + LATE_MS);
  equal(held(), undefined);
});

Deno.test("a renewal that the watch shows begins the period again", async () => {
  await using world = await setUp();
  const { clock, held, change } = world;
  await world.replica();
  await clock.pass(GRACE_MS - 60_000);
  await change((state) => amend(state, held()!, clock.now(), noted("drained"))!);
  await clock.pass(GRACE_MS - 60_000);
  equal(held()?.id, alice);
  await clock.pass(60_000 + LATE_MS);
  equal(held(), undefined);
});

Deno.test("a later hold of the client, and one that somebody freed meanwhile, are left alone", async () => {
  for (const by of ["again", "freed"] as const) {
    await using world = await setUp();
    const { clock, held, change, told } = world;
    const { keeper } = await world.replica();
    keeper.proves = async () => {
      const since = clock.now();
      const holder = { ...held()!, since, renewed: since };
      await change((state) => ({ ...state, holders: by === "again" ? [holder] : [], renewed: since }));
      return { kind: "gone", readAt: clock.monotonic() };
    };
    await clock.pass(GRACE_MS + 10_000);
    equal(keeper.proven.length, 1);
    deepEqual(told, []);
    equal(held()?.id, by === "again" ? alice : undefined);
  }
});

Deno.test("a restart begins the period again", async () => {
  await using world = await setUp();
  const { clock, held } = world;
  const first = await world.replica();
  await clock.pass(GRACE_MS - 60_000);
  first.absence.since = undefined;
  await world.replica();
  await clock.pass(GRACE_MS - 60_000);
  equal(held()?.id, alice);
  await clock.pass(60_000 + LATE_MS);
  equal(held(), undefined);
});

Deno.test("a wall clock that jumps changes nothing: only time that passes counts", async () => {
  await using world = await setUp();
  const { clock, held } = world;
  await world.replica();
  const now = clock.now.bind(clock);
  clock.now = () => now() + 10 * GRACE_MS;
  await clock.pass(GRACE_MS - 60_000);
  equal(held()?.id, alice);
  clock.now = () => now() - 10 * GRACE_MS;
  await clock.pass(60_000 + LATE_MS);
  equal(held(), undefined);
});

Deno.test("a store or a cluster that does not answer keeps the hold, and it is freed once both answer", async () => {
  await using world = await setUp();
  const { clock, held } = world;
  const { keeper, store, locks } = await world.replica();
  const { proves } = keeper;
  keeper.proves = () => Promise.reject(new UnavailableError("away"));
  await clock.pass(GRACE_MS + LATE_MS);
  equal(held()?.id, alice);
  equal(locks.plannedRelease(group, held()!)?.waitsFor, "the cluster or the store does not answer");
  keeper.proves = async (hold, signal) => {
    await store.setUnavailable(true);
    return await proves(hold, signal);
  };
  await clock.pass(LATE_MS);
  equal(held()?.id, alice);
  keeper.proves = proves;
  await store.setUnavailable(false);
  await clock.pass(LATE_MS);
  equal(held(), undefined);
});

Deno.test("of a release and a yes on two replicas, exactly one takes place, whichever is first", async () => {
  for (const first of ["yes", "release"] as const) {
    await using world = await setUp({ node: noted("draining") });
    const { clock, held, told } = world;
    const [freeing, asked] = [await world.replica(), await world.replica()];
    asked.policy.goneAfterMs = undefined;
    asked.keeper.drains = drained();
    if (first === "yes") {
      const outcomes: string[] = [];
      freeing.keeper.proves = async () => {
        outcomes.push((await asked.locks.preReboot(alice, group)).kind);
        return { kind: "gone", readAt: clock.monotonic() };
      };
      await clock.pass(GRACE_MS + 10_000);
      deepEqual([outcomes, held()?.node?.phase, told], [["renewed"], "drained", []]);
    } else {
      const drain = Promise.withResolvers<DrainOutcome>();
      asked.keeper.drains = () => drain.promise;
      const answer = asked.locks.preReboot(alice, group);
      await clock.pass(GRACE_MS + LATE_MS);
      deepEqual([held(), told], [undefined, [alice]]);
      drain.resolve(drained());
      const outcome = await clock.until(answer);
      equal(outcome.kind === "refused" && outcome.refusal.kind, "contended");
    }
  }
});

Deno.test("a request costs the same however many holds of other clients are watched", async () => {
  let looks = 0;
  const holderOf = (id: ClientId): Holder => ({
    get id() {
      looks++;
      return id;
    },
    since: 1,
    renewed: 1,
    slots: 1_000,
    node: noted("drained"),
  });
  const costs: number[] = [];
  for (const others of [1, 1_000]) {
    const ids = Array.from({ length: others }, (_, n) => parseClientId(`host-${n}`)!);
    const state = { holders: [...ids, alice].map(holderOf), transitions: 1 };
    const view = new GroupView();
    view.learn(group, { state, version: 1 });
    const clock = new IdleClock();
    const keeper = new ScriptedKeeper(() => undefined);
    const writer = new GroupWriter(new MemoryLockStore(), view, { clock });
    const holds = new Holds(writer, { slotsOf: () => 1, clock, observer: {} });
    const gone = new GoneNodes(holds, view, { keeper, graceOf: () => GRACE_MS, clock });
    const stop = new AbortController();
    const run = gone.run(stop.signal);
    keeper.absent = () => 0;
    await clock.pass(1);
    ok(gone.releaseOf(group, { id: alice, since: 1 }), "the holds are watched");
    looks = 0;
    gone.asking(alice)[Symbol.dispose]();
    costs.push(looks);
    stop.abort();
    await run;
  }
  equal(costs[0], costs[1]);
});
