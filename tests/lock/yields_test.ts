/**
 * Holds that yield their slot: when, in which order, with which note, and never after a yes. On two replicas over one
 * store, whose requests may cross at any point.
 *
 * @module
 */

import { deepEqual, equal, match, ok, rejects } from "node:assert/strict";
import { GroupView } from "../../src/lock/group_view.ts";
import { GroupWriter } from "../../src/lock/group_writer.ts";
import { HoldAges } from "../../src/lock/hold_ages.ts";
import { Holds } from "../../src/lock/holds.ts";
import { type ClientId, parseClientId, parseGroup } from "../../src/lock/identity.ts";
import { type LockObserver, LockService } from "../../src/lock/lock_service.ts";
import { type LockWatcher, MemoryBackend, MemoryLockStore } from "../../src/lock/lock_store.ts";
import { UnavailableError } from "../../src/lock/errors.ts";
import { DEFERRAL_MS, MAX_DEFERRAL_MS, withDeferral, withoutDeferral } from "../../src/lock/group_notes.ts";
import type { DrainOutcome, DrainRule } from "../../src/lock/node_keeper.ts";
import { describeRefusal, type PreRebootOutcome, type SteadyStateOutcome } from "../../src/lock/outcomes.ts";
import { type GroupNotes, MAX_DEFERRALS } from "../../src/lock/policy.ts";
import { FREE, type GroupState, type Holder } from "../../src/lock/semaphore.ts";
import { Yields } from "../../src/lock/yields.ts";
import { IdleClock } from "../support/fake_clock.ts";
import { AlteringStore, CountingStore, UnavailableStore } from "../support/faulty_stores.ts";
import { drained, noted, ScriptedKeeper, worker } from "../support/scripted_keeper.ts";
import { rulesOfNotes, ScriptedPolicy } from "../support/scripted_policy.ts";

const group = parseGroup("default")!;
const [alice, bob] = ["alice", "bob"].map(parseClientId) as [ClientId, ClientId];
const pods = [{ namespace: "web", name: "web-0", reason: "its budget allows no disruption now" }];
const TIMED_OUT: DrainOutcome = { kind: "failed", node: "worker-1", pods, yields: true };
const FAILED: DrainOutcome = { kind: "failed", node: "worker-1", pods };
const TIMEOUT_MS = 900_000;

/** Replicas over one store. Each has a keeper of its own. */
function setUp({ observer = {} as LockObserver } = {}) {
  const backend = new MemoryBackend();
  const clock = new IdleClock();
  const stateOf = () => backend.groups.get(group)!.state;
  const held = () => backend.groups.get(group)?.state.holders[0];
  const replica = () => {
    const keeper = new ScriptedKeeper(held);
    const policy = new ScriptedPolicy();
    policy.peeks = (question) => rulesOfNotes(question, clock.now());
    policy.rule = { timeoutMs: TIMEOUT_MS, onTimeout: "yield" };
    const store = new UnavailableStore(backend);
    const locks = new LockService(store, { keeper, policy, clock, observer, random: () => 0.5, replyWaitMs: 0 });
    return { keeper, policy, store, locks };
  };
  const change = async (next: (state: GroupState) => GroupState) => {
    const store = new MemoryLockStore(backend);
    const found = await store.read(group);
    await store.write(group, found, next(found.state));
  };
  const put = (holder: Partial<Holder> = {}, notes?: GroupNotes) => {
    const since = clock.now();
    const whole = { id: alice, since, renewed: since, slots: 1, node: noted("draining"), ...holder };
    return change((state) => ({ ...state, holders: [whole], transitions: 1, renewed: since, ...(notes && { notes }) }));
  };
  return { backend, clock, stateOf, held, replica, change, put };
}

function kindOf(outcome: PreRebootOutcome | SteadyStateOutcome): string {
  return outcome.kind === "refused" ? outcome.refusal.kind : outcome.kind;
}

Deno.test("a drain that has timed out frees the slot first, and then lifts the cordon; the host waits, and others come", async () => {
  const told: unknown[] = [];
  const observer: LockObserver = { yielded: (...event) => told.push(event.slice(2)) };
  const { clock, stateOf, held, replica } = setUp({ observer });
  const { keeper, locks } = replica();
  const uncordon = keeper.uncordon.bind(keeper);
  keeper.uncordon = (...call) => {
    equal(held(), undefined, "the slot is free before the cordon is lifted");
    return uncordon(...call);
  };
  keeper.drains = { kind: "draining", node: "worker-1", pods };
  equal(kindOf(await locks.preReboot(alice, group)), "draining");
  const since = held()!.since;
  keeper.drains = TIMED_OUT;
  const outcome = await locks.preReboot(alice, group);
  ok(outcome.kind === "refused" && outcome.refusal.kind === "deferred");
  const sentence = describeRefusal(outcome.refusal, group, clock.now());
  match(
    sentence,
    /^node "worker-1" could not be drained in time, because of web\/web-0: its budget.* until 2026-01-01T00:30:00Z$/,
  );
  deepEqual(stateOf().holders, []);
  const deferral = { id: alice, node: "worker-1", until: clock.now() + DEFERRAL_MS, count: 1 };
  deepEqual(stateOf().notes?.deferred, [{ ...deferral, pods: ["web/web-0: its budget allows no disruption now"] }]);
  deepEqual(keeper.uncordoned, [{ group, id: alice, since }]);
  deepEqual(told, [["timed_out", stateOf().notes!.deferred![0]]]);
  equal(kindOf(await locks.preReboot(alice, group)), "deferred");
  keeper.drains = drained();
  equal((await locks.preReboot(bob, group)).kind, "granted");
});

Deno.test("each time in a row the host waits twice as long, up to 8 hours, until its node is drained", async () => {
  const { clock, stateOf, held, replica } = setUp();
  const { keeper, locks } = replica();
  const waits: number[] = [];
  keeper.drains = TIMED_OUT;
  for (let times = 0; times < 6; times++) {
    equal(kindOf(await locks.preReboot(alice, group)), "deferred");
    waits.push(stateOf().notes!.deferred![0]!.until - clock.now());
    await clock.advance(waits.at(-1)!);
  }
  deepEqual(waits, [1, 2, 4, 8, 16, 16].map((n) => n * DEFERRAL_MS));
  equal(waits.at(-1), MAX_DEFERRAL_MS);
  keeper.drains = drained();
  equal((await locks.preReboot(alice, group)).kind, "granted");
  equal(held()?.node?.phase, "drained");
  equal(stateOf().notes, undefined, "a success is the end of it");
});

Deno.test("deferrals are bounded, by number and by size", () => {
  let state: GroupState = FREE;
  for (let n = 0; n < MAX_DEFERRALS + 9; n++) {
    const long = Array.from({ length: 20 }, () => ({ namespace: "n", name: "p".repeat(300), reason: "r".repeat(999) }));
    // The first one has the longest to wait, so that another one is forgotten.
    ({ state } = withDeferral(state, { id: `host-${n}` as ClientId, node: "n", pods: long }, n === 0 ? 1e9 : n));
  }
  const deferred = state.notes!.deferred!;
  equal(deferred.length, MAX_DEFERRALS);
  deepEqual([deferred[0]!.id, deferred[1]!.id], ["host-0", "host-10"]);
  ok(JSON.stringify(deferred).length < 64 * 1024);
  equal(withoutDeferral(state, "host-10" as ClientId).notes?.deferred?.length, MAX_DEFERRALS - 1);
});

/** Holds whose hosts may reboot at any moment. */
const TOLD: [what: string, holder: Partial<Holder>][] = [
  ["is drained", { node: noted("drained") }],
  ["was drained on another Node", { node: noted("draining"), hadYes: true }],
  ["notes no Node", { node: undefined }],
  ["notes a Node that cannot be read", { node: undefined, isNodeUnreadable: true }],
];

for (const [what, holder] of TOLD) {
  Deno.test(`a hold that ${what} never yields: neither to a time-out nor to a pause`, async () => {
    const { clock, stateOf, held, replica, change, put } = setUp();
    const { keeper, locks } = replica();
    const watching = new AbortController();
    const watched = locks.watch(watching.signal);
    await put(holder);
    keeper.drains = TIMED_OUT;
    equal(kindOf(await clock.until(locks.preReboot(alice, group))), "drain_failed");
    await change((state) => ({ ...state, notes: { pause: { drains: true } } }));
    equal(kindOf(await clock.until(locks.preReboot(alice, group))), "drain_failed");
    await clock.pass(2 * TIMEOUT_MS);
    equal(held()?.id, alice);
    equal(stateOf().notes?.deferred, undefined);
    deepEqual(keeper.uncordoned, []);
    watching.abort();
    await watched;
  });
}

Deno.test("a yes without a Node, and then a Node that cannot be drained: the hold does not yield", async () => {
  const { held, replica } = setUp();
  const { keeper, locks } = replica();
  keeper.looks = { kind: "clear" };
  keeper.drains = { kind: "drained", host: { kind: "no_node" } };
  equal((await locks.preReboot(alice, group)).kind, "granted");
  const answers: DrainOutcome[] = [{ kind: "moved", node: worker }, TIMED_OUT];
  keeper.drains = () => Promise.resolve(answers.shift()!);
  equal(kindOf(await locks.preReboot(alice, group)), "drain_failed");
  equal(held()?.hadYes, true);
});

Deno.test("a drain that fails before its time-out, or whose rule is another one, keeps the slot", async () => {
  const { held, replica } = setUp();
  const { keeper, locks } = replica();
  keeper.drains = FAILED;
  equal(kindOf(await locks.preReboot(alice, group)), "drain_failed");
  equal(held()?.node?.phase, "failed");
});

Deno.test("of a yield and a yes on two replicas, exactly one takes place, whichever write is first", async () => {
  for (const first of ["yes", "yield"] as const) {
    const { clock, held, replica, put } = setUp();
    const [one, other] = [replica(), replica()];
    await put();
    // The second replica has its outcome already when the first one writes.
    const decided = Promise.withResolvers<DrainOutcome>();
    const [slow, fast] = first === "yes" ? [TIMED_OUT, drained()] : [drained(), TIMED_OUT];
    const asked = Promise.withResolvers<void>();
    other.keeper.drains = () => {
      asked.resolve();
      return decided.promise;
    };
    one.keeper.drains = fast;
    const answer = other.locks.preReboot(alice, group);
    await asked.promise;
    const winner = kindOf(await clock.until(one.locks.preReboot(alice, group)));
    decided.resolve(slow);
    const loser = kindOf(await clock.until(answer));
    deepEqual([winner, loser], first === "yes" ? ["renewed", "drain_failed"] : ["deferred", "contended"]);
    equal(held()?.id, first === "yes" ? alice : undefined);
  }
});

Deno.test("a yield that crosses the client's own release, or one by hand, changes nothing more", async () => {
  for (const by of ["steady-state", "hand"] as const) {
    const { clock, stateOf, replica, change, put } = setUp();
    const [one, other] = [replica(), replica()];
    await put();
    const decided = Promise.withResolvers<DrainOutcome>();
    const asked = Promise.withResolvers<void>();
    one.keeper.drains = () => {
      asked.resolve();
      return decided.promise;
    };
    const answer = one.locks.preReboot(alice, group);
    await asked.promise;
    if (by === "hand") await change((state) => ({ ...state, holders: [] }));
    else equal((await clock.until(other.locks.steadyState(alice, group))).kind, "released");
    decided.resolve(TIMED_OUT);
    equal(kindOf(await clock.until(answer)), "contended");
    equal(stateOf().notes, undefined);
    deepEqual(one.keeper.uncordoned, []);
  }
});

Deno.test("a release that waits for the host while its hold yields ends as one of a client that holds nothing", async () => {
  const { stateOf, replica, put } = setUp();
  const [one, other] = [replica(), replica()];
  await put();
  const back = Promise.withResolvers<{ kind: "ready"; rebooted: true }>();
  other.keeper.returns = () => back.promise;
  const released = other.locks.steadyState(alice, group);
  one.keeper.drains = TIMED_OUT;
  equal(kindOf(await one.locks.preReboot(alice, group)), "deferred");
  back.resolve({ kind: "ready", rebooted: true });
  equal((await released).kind, "not_held");
  equal(stateOf().notes?.returned, undefined);
});

Deno.test("a store that does not answer frees nothing and lifts no cordon; the next request yields", async () => {
  const { held, replica, put } = setUp();
  const { keeper, locks, store } = replica();
  await put();
  keeper.drains = async () => {
    await store.setUnavailable(true);
    return TIMED_OUT;
  };
  const error = await locks.preReboot(alice, group).catch((error) => error);
  ok(error instanceof UnavailableError);
  equal(held()?.id, alice);
  deepEqual(keeper.uncordoned, []);
  await store.setUnavailable(false);
  keeper.drains = TIMED_OUT;
  equal(kindOf(await locks.preReboot(alice, group)), "deferred");
});

Deno.test("a cordon that cannot be lifted is left to the keeper's repair: the slot is free, and the answer the same", async () => {
  const { held, replica, put } = setUp();
  const { keeper, locks } = replica();
  await put();
  keeper.drains = TIMED_OUT;
  keeper.uncordon = () => Promise.reject(new UnavailableError("the API server does not answer"));
  equal(kindOf(await locks.preReboot(alice, group)), "deferred");
  equal(held(), undefined);
});

for (const timeoutMs of [5_000, TIMEOUT_MS]) {
  Deno.test(`where nobody asks, the replica that drains yields at the time-out of ${timeoutMs} ms`, async () => {
    const { clock, held, stateOf, replica } = setUp();
    const { keeper, locks, policy } = replica();
    policy.rule = { timeoutMs, onTimeout: "yield" };
    const watching = new AbortController();
    const watched = locks.watch(watching.signal);
    keeper.drains = async () => {
      // By then, the watch has shown the grant.
      await clock.sleep(1);
      return { kind: "draining", node: "worker-1", pods };
    };
    equal(kindOf(await clock.until(locks.preReboot(alice, group))), "draining");
    keeper.drains = TIMED_OUT;
    await clock.pass(timeoutMs - 2);
    equal(held()?.id, alice);
    equal(keeper.drained.length, 1, "it is not looked at before");
    await clock.pass(2);
    equal(held(), undefined);
    equal(stateOf().notes?.deferred?.[0]?.id, alice);
    watching.abort();
    await watched;
  });
}

Deno.test("after a restart of every replica, the hold of a host that no longer asks yields all the same, a little later", async () => {
  const { clock, held, stateOf, replica, put } = setUp();
  await put();
  await clock.pass(TIMEOUT_MS);
  const { keeper, locks } = replica();
  const watching = new AbortController();
  const watched = locks.watch(watching.signal);
  // It begins the drain again, and says by that what is left.
  const drains: DrainOutcome[] = [{ kind: "draining", node: "worker-1", pods }, TIMED_OUT];
  keeper.drains = () => Promise.resolve(drains.shift()!);
  await clock.pass(44_000);
  deepEqual([held()?.id, keeper.drained.length], [alice, 0], "whoever drained it has the first go");
  await clock.pass(60_000);
  equal(held(), undefined);
  deepEqual(stateOf().notes?.deferred?.[0]?.pods, ["web/web-0: its budget allows no disruption now"]);
  equal(keeper.uncordoned.length, 1);
  watching.abort();
  await watched;
});

Deno.test("where the rule is another one, or the node turns out empty, no hold yields in the background", async () => {
  for (const what of ["rule", "empty"] as const) {
    const { clock, held, replica, put } = setUp();
    const { keeper, policy, locks } = replica();
    const watching = new AbortController();
    await put();
    const watched = locks.watch(watching.signal);
    keeper.drains = what === "rule" ? TIMED_OUT : drained();
    if (what === "rule") policy.rule = { timeoutMs: TIMEOUT_MS, onTimeout: "refuse" };
    await clock.pass(2 * TIMEOUT_MS);
    equal(held()?.node?.phase, "draining", "and nothing is noted, since nobody is told a yes");
    equal(keeper.drained.length > 0, what === "empty");
    // A rule that changes holds for the holds that are there.
    policy.rule = { timeoutMs: TIMEOUT_MS, onTimeout: "yield" };
    keeper.drains = TIMED_OUT;
    await clock.pass(60_000);
    equal(held(), undefined);
    watching.abort();
    await watched;
  }
});

/** A store whose watch shows what was there when it began, and nothing after. */
class DeafStore extends MemoryLockStore {
  override watch(watcher: LockWatcher, signal: AbortSignal): Promise<void> {
    return super.watch({ synced: (listing) => watcher.synced(listing), changed() {}, lost() {} }, signal);
  }
}

Deno.test("a hold that ended while the view was behind is not drained in the background", async () => {
  const { backend, clock, held, change, put } = setUp();
  const keeper = new ScriptedKeeper(held);
  const drain = { timeoutMs: TIMEOUT_MS, onTimeout: "yield" as const };
  const locks = new LockService(new DeafStore(backend), { keeper, clock, drain, random: () => 0 });
  await put();
  const watching = new AbortController();
  const watched = locks.watch(watching.signal);
  await clock.pass(1);
  await change((state) => ({ ...state, holders: [] }));
  await clock.pass(2 * TIMEOUT_MS);
  deepEqual(keeper.drained, []);
  watching.abort();
  await watched;
});

Deno.test("a pause with its drains makes them yield at once, without a deferral; one without lets them go on", async () => {
  const { clock, held, stateOf, replica, change, put } = setUp();
  const { keeper, locks } = replica();
  const watching = new AbortController();
  const watched = locks.watch(watching.signal);
  await put({}, { pause: { reason: "a fire" } });
  keeper.drains = { kind: "draining", node: "worker-1", pods };
  equal(kindOf(await locks.preReboot(alice, group)), "draining");
  await clock.pass(60_000);
  equal(held()?.id, alice);
  const pause = { reason: "a fire", by: "ops", drains: true };
  const since = held()!.since;
  await change((state) => ({ ...state, notes: { ...state.notes, pause } }));
  await clock.pass(1);
  equal(held(), undefined);
  deepEqual(stateOf().notes, { pause });
  deepEqual(keeper.uncordoned, [{ group, id: alice, since }]);
  equal(kindOf(await locks.preReboot(alice, group)), "paused");
  watching.abort();
  await watched;
});

Deno.test("a request whose hold yields to a pause in the background hears of the pause; one whose hold was freed, to ask again", async () => {
  for (const [pause, kind] of [[{ reason: "a fire", drains: true }, "paused"], [undefined, "contended"]] as const) {
    const { clock, held, replica, change, put } = setUp();
    const { keeper, locks } = replica();
    const watching = new AbortController();
    const watched = locks.watch(watching.signal);
    await put();
    const ended = Promise.withResolvers<DrainOutcome>();
    const draining = Promise.withResolvers<void>();
    keeper.holdEnded = () => ended.resolve({ kind: "abandoned" });
    keeper.drain = () => {
      draining.resolve();
      return ended.promise;
    };
    const asking = locks.preReboot(alice, group);
    await draining.promise;
    await change((state) => pause ? { ...state, notes: { pause } } : { ...state, holders: [] });
    await clock.pass(1);
    equal(kindOf(await asking), kind);
    equal(held(), undefined);
    watching.abort();
    await watched;
  }
});

Deno.test("a holder that asks during a pause with its drains yields before its drain goes on, and hears of the pause", async () => {
  const { clock, held, replica, put } = setUp();
  const { keeper, locks } = replica();
  const until = clock.now() + 60_000;
  await put({}, { pause: { reason: "a fire", by: "ops", drains: true, until } });
  const outcome = await locks.preReboot(alice, group);
  ok(outcome.kind === "refused" && outcome.refusal.kind === "paused");
  equal(
    describeRefusal(outcome.refusal, group, clock.now()),
    'group "default" is paused by ops until 2026-01-01T00:01:00Z: a fire',
  );
  deepEqual(keeper.drained, []);
  equal(held(), undefined);
  await clock.pass(60_000);
  keeper.drains = drained();
  equal((await locks.preReboot(alice, group)).kind, "granted", "the pause is over");
});

Deno.test("the drain rule of the group goes with each drain, over that of the service", async () => {
  const { backend, clock, held } = setUp();
  const keeper = new ScriptedKeeper(held);
  const policy = new ScriptedPolicy();
  const drain = { timeoutMs: 1_000, onTimeout: "proceed" as const };
  const locks = new LockService(new MemoryLockStore(backend), { keeper, policy, clock, drain });
  await locks.preReboot(alice, group);
  policy.rule = { onTimeout: "yield" };
  await locks.preReboot(alice, group);
  deepEqual(keeper.drained.map(({ rule }) => rule), [drain, { ...drain, onTimeout: "yield" }]);
});

/** The yields alone, over a store that may have another state than the caller has seen. */
function setUpAlone(
  state: GroupState,
  { makeStore = (backend: MemoryBackend) => new MemoryLockStore(backend), hasKeeper = true } = {},
) {
  const backend = new MemoryBackend();
  backend.version = 1;
  backend.groups.set(group, { state, version: 1 });
  const clock = new IdleClock();
  const store = makeStore(backend);
  const ages = new HoldAges(clock);
  const view = new GroupView({
    synced: () => ages.synced(),
    lost: () => ages.lost(),
    changed: (of, _, after) => ages.changed(of, after),
  });
  const holds = new Holds(new GroupWriter(store, view, { clock }), { slotsOf: () => 1, clock, observer: {} });
  const keeper = new ScriptedKeeper(() => backend.groups.get(group)!.state.holders[0]);
  const rules = new Map<string, DrainRule>();
  const draws: number[] = [];
  const yields = new Yields(holds, view, {
    ...(hasKeeper && { keeper }),
    ruleOf: (of) => rules.get(of) ?? { onTimeout: "yield", timeoutMs: TIMEOUT_MS },
    ageOf: (of, hold) => ages.of(of, hold),
    clock,
    random: () => draws.push(0) && 0,
  });
  const change = async (next: (state: GroupState) => GroupState, of = group) => {
    const other = new MemoryLockStore(backend);
    const found = await other.read(of);
    await other.write(of, found, next(found.state));
  };
  /** Watches the store as the lock service does, until it is disposed of. */
  const watching = () => {
    const stop = new AbortController();
    const watched = store.watch({
      synced(listing) {
        view.synced(listing);
        yields.groupChanged();
      },
      changed(...event) {
        view.changed(...event);
        yields.groupChanged();
      },
      lost: (reason) => view.lost(reason),
    }, stop.signal);
    const run = yields.run(stop.signal);
    return {
      stop,
      run,
      async [Symbol.asyncDispose]() {
        stop.abort();
        await Promise.all([watched, run]);
      },
    };
  };
  return { backend, clock, store, keeper, rules, draws, yields, change, watching };
}

const SINCE = Date.UTC(2026, 0, 1);
const HOLD: Holder = { id: alice, since: SINCE, renewed: SINCE, slots: 1, node: noted("draining") };
const DRAINED: Holder = { ...HOLD, node: noted("drained") };
const stateWith = (holders: readonly Holder[], notes?: GroupNotes): GroupState => ({
  holders,
  transitions: 1,
  renewed: SINCE,
  ...(notes && { notes }),
});
const altering = (backend: MemoryBackend) =>
  new AlteringStore((state) => ({ ...state, holders: [{ ...HOLD, since: 1 }] }), backend);

const deferralOf = (id: ClientId, until: number) => ({ id, node: "worker-1", until, count: 1, pods: [] });

/** What the client hears after a drain that has timed out, by what the store has by then. */
const AFTER_DRAINS: [
  what: string,
  stored: GroupState,
  answer: "contended" | "write_altered" | number | undefined,
  makeStore?: typeof altering,
][] = [
  ["the hold is as it was", stateWith([HOLD]), SINCE + DEFERRAL_MS],
  ["the node is drained", stateWith([DRAINED]), undefined],
  ["the hold has yielded", stateWith([], { deferred: [deferralOf(bob, 5), deferralOf(alice, 7)] }), 7],
  [
    "the hold has ended, and another host's has yielded",
    stateWith([], { deferred: [deferralOf(bob, 5)] }),
    "contended",
  ],
  ["the hold has ended during a pause", stateWith([], { pause: {} }), "contended"],
  ["the hold has ended", stateWith([]), "contended"],
  ["something changes what is written", stateWith([HOLD]), "write_altered", altering],
];

for (const [what, stored, answer, makeStore] of AFTER_DRAINS) {
  Deno.test(`after a drain that has timed out, where ${what}: ${answer}`, async () => {
    const { yields, keeper } = setUpAlone(stored, { ...(makeStore && { makeStore }) });
    const refusal = await yields.afterDrain(HOLD, group, TIMED_OUT);
    if (typeof answer !== "number") {
      equal(refusal?.refusal.kind, answer);
      deepEqual(keeper.uncordoned, []);
      return;
    }
    ok(refusal?.refusal.kind === "deferred" && "reasons" in refusal.refusal);
    deepEqual(
      refusal.refusal.reasons.map(({ sentence: _, ...reason }) => reason),
      [{ kind: "deferred", rule: "drain.onTimeout", until: answer }],
    );
    deepEqual(keeper.uncordoned, stored.holders.length > 0 ? [{ group, id: alice, since: SINCE }] : []);
  });
}

Deno.test("a drain that has failed otherwise touches nothing", async () => {
  const { yields, store } = setUpAlone(stateWith([HOLD]), { makeStore: (backend) => new CountingStore(backend) });
  equal(await yields.afterDrain(HOLD, group, FAILED), undefined);
  deepEqual((store as CountingStore).calls, { reads: 0, writes: 0, lists: 0 });
});

/** What a holder hears that asks during a pause, by what it has seen and what the store has. */
const PAUSES: [
  what: string,
  seen: GroupNotes | undefined,
  holder: Holder,
  stored: GroupState,
  answer: "paused" | "contended" | "write_altered" | undefined,
  makeStore?: typeof altering,
][] = [
  ["nothing is noted", undefined, HOLD, stateWith([HOLD]), undefined],
  ["the group is not paused", { returned: 1 }, HOLD, stateWith([HOLD]), undefined],
  ["the pause lets drains go on", { pause: {} }, HOLD, stateWith([HOLD], { pause: { drains: true } }), undefined],
  [
    "the pause is over",
    { pause: { drains: true, until: SINCE } },
    HOLD,
    stateWith([HOLD], { pause: { drains: true } }),
    undefined,
  ],
  ["there may have been a yes", { pause: { drains: true } }, DRAINED, stateWith([HOLD]), undefined],
  ["there was a yes meanwhile", { pause: { drains: true } }, HOLD, stateWith([DRAINED]), undefined],
  ["the hold has ended", { pause: { drains: true } }, HOLD, stateWith([]), "contended"],
  [
    "the hold has ended, and the pause stands",
    { pause: { drains: true } },
    HOLD,
    stateWith([], { pause: { drains: true } }),
    "paused",
  ],
  [
    "something changes what is written",
    { pause: { drains: true } },
    HOLD,
    stateWith([HOLD], { pause: { drains: true } }),
    "write_altered",
    altering,
  ],
  [
    "the hold is as it was",
    { pause: { drains: true } },
    HOLD,
    stateWith([HOLD], { pause: { drains: true } }),
    "paused",
  ],
];

for (const [what, seen, holder, stored, answer, makeStore] of PAUSES) {
  Deno.test(`to a pause, where ${what}: ${answer}`, async () => {
    const { yields, keeper, backend } = setUpAlone(stored, { ...(makeStore && { makeStore }) });
    const refusal = await yields.toPause(holder, group, stateWith([holder], seen));
    equal(refusal?.refusal.kind, answer);
    const yielded = answer === "paused" && stored.holders.length > 0;
    deepEqual(keeper.uncordoned, yielded ? [{ group, id: alice, since: SINCE }] : []);
    if (answer === undefined) equal(backend.groups.get(group)!.state, stored);
  });
}

Deno.test("who yields to a pause hears when it ends, if that is known", async () => {
  for (const until of [undefined, SINCE + 5]) {
    const notes = { pause: { drains: true, ...(until !== undefined && { until }) } };
    const { yields } = setUpAlone(stateWith([HOLD], notes));
    const refusal = await yields.toPause(HOLD, group, stateWith([HOLD], notes));
    ok(refusal?.refusal.kind === "paused" && "reasons" in refusal.refusal);
    deepEqual(
      refusal.refusal.reasons.map(({ sentence: _, ...reason }) => reason),
      [{ kind: "paused", rule: "paused", ...(until !== undefined && { until }) }],
    );
  }
});

Deno.test("a fault of the keeper that is not about the cluster is not hidden", async () => {
  const { yields, keeper } = setUpAlone(stateWith([HOLD]));
  keeper.uncordon = () => Promise.reject(new TypeError("a fault of the program"));
  await rejects(yields.afterDrain(HOLD, group, TIMED_OUT), TypeError);
});

Deno.test("without a keeper there is nothing to watch and no cordon to lift", async () => {
  const { yields, clock } = setUpAlone(stateWith([HOLD]), { hasKeeper: false });
  await clock.until(yields.run(new AbortController().signal));
  equal((await yields.afterDrain(HOLD, group, TIMED_OUT))?.refusal.kind, "deferred");
});

Deno.test("where nobody said how long a drain may take, it is looked at after 15 minutes", async () => {
  const { clock, rules, keeper, yields, watching } = setUpAlone(stateWith([HOLD]));
  rules.set(group, { onTimeout: "yield" });
  keeper.drains = TIMED_OUT;
  await using _ = watching();
  yields.toDrain(HOLD, group);
  await clock.pass(15 * 60_000 - 1);
  equal(keeper.drained.length, 0);
  await clock.pass(1);
  equal(keeper.drained.length, 1);
  equal(keeper.uncordoned.length, 1);
});

Deno.test("a hold yields in its time although the clock of its grant was ahead", async () => {
  const ahead = { ...HOLD, since: SINCE + 86_400_000 };
  const { keeper, yields, clock, watching } = setUpAlone(stateWith([ahead]));
  keeper.drains = TIMED_OUT;
  await using _ = watching();
  await clock.pass(0);
  yields.toDrain(ahead, group);
  await clock.pass(TIMEOUT_MS - 1);
  equal(keeper.drained.length, 0);
  await clock.pass(1);
  equal(keeper.drained.length, 1);
  deepEqual(keeper.drained[0]!.age, { atLeastMs: TIMEOUT_MS, atMostMs: Infinity });
  equal(keeper.uncordoned.length, 1);
});

Deno.test("the watch sleeps whole milliseconds: the sum of a time and a fraction may be that time", async () => {
  const { keeper, yields, clock, watching } = setUpAlone(stateWith([HOLD]));
  keeper.drains = TIMED_OUT;
  const slept: number[] = [];
  const sleep = clock.sleep.bind(clock);
  clock.sleep = (ms, signal) => (slept.push(ms), sleep(ms, signal));
  await using _ = watching();
  await clock.pass(0);
  await clock.pass(0.25);
  slept.length = 0;
  yields.toDrain(HOLD, group);
  await clock.until(sleep(TIMEOUT_MS));
  equal(keeper.drained.length, 1);
  ok(slept.length > 1);
  deepEqual(slept.filter((ms) => !Number.isInteger(ms)), []);
});

Deno.test("a hold does not yield before its time although the clock of its grant was behind", async () => {
  const { keeper, yields, clock, change, watching } = setUpAlone(stateWith([]));
  keeper.drains = TIMED_OUT;
  await using _ = watching();
  await clock.pass(0);
  const behind = { ...HOLD, since: clock.now() - 86_400_000 };
  await change(() => stateWith([behind]));
  yields.toDrain(behind, group);
  // The watch may show a grant two minutes late.
  await clock.pass(TIMEOUT_MS - 120_001);
  equal(keeper.drained.length, 0);
  await clock.pass(1);
  equal(keeper.drained.length, 1);
});

Deno.test("a hold that cannot yield is not remembered, and one that can is once", () => {
  const { rules, draws, yields } = setUpAlone(stateWith([HOLD]));
  yields.toDrain(DRAINED, group);
  rules.set(group, { onTimeout: "refuse" });
  yields.toDrain(HOLD, group);
  equal(draws.length, 0);
  rules.delete(group);
  for (let times = 0; times < 3; times++) yields.toDrain(HOLD, group);
  equal(draws.length, 1);
});

Deno.test("a hold that may have had its yes is not looked at, and one that is over is forgotten", async () => {
  const { clock, draws, store, keeper, watching, change } = setUpAlone(stateWith([DRAINED]), {
    makeStore: (backend) => new CountingStore(backend),
  });
  await using _ = watching();
  await clock.pass(2 * TIMEOUT_MS);
  deepEqual([(store as CountingStore).calls.reads, keeper.drained.length, draws.length], [0, 0, 0]);
  const later = { ...HOLD, since: clock.now() };
  for (const holders of [[later], [], [later]]) {
    await change((state) => ({ ...state, holders }));
    await clock.pass(1);
  }
  equal(draws.length, 2, "it is remembered anew");
});

Deno.test("a drain that is looked at is not looked at again beside that, and the end of the run waits for it", async () => {
  const { clock, keeper, yields, change, watching } = setUpAlone(stateWith([HOLD]));
  const outcome = Promise.withResolvers<DrainOutcome>();
  const waits: number[] = [];
  keeper.drains = (_, waitMs) => {
    waits.push(waitMs);
    return outcome.promise;
  };
  const { stop, run, ...watched } = watching();
  yields.toDrain(HOLD, group);
  await clock.pass(TIMEOUT_MS);
  deepEqual(waits, [60_000]);
  for (let times = 0; times < 3; times++) {
    await clock.pass(31_000);
    await change((state) => ({ ...state, renewed: state.renewed! + 1 }));
  }
  equal(waits.length, 1);
  stop.abort();
  let isOver = false;
  run.then(() => isOver = true);
  await clock.advance(0);
  equal(isOver, false);
  outcome.resolve({ kind: "draining", node: "worker-1", pods });
  await watched[Symbol.asyncDispose]();
});

Deno.test("each hold has its own time: that of one which this process drains does not count for another", async () => {
  const { clock, keeper, yields, change, watching } = setUpAlone(stateWith([HOLD]));
  const other = parseGroup("other")!;
  await change((state) => ({ ...state, ...stateWith([HOLD]) }), other);
  keeper.drains = { kind: "draining", node: "worker-1", pods };
  await using _ = watching();
  yields.toDrain(HOLD, group);
  await clock.pass(TIMEOUT_MS);
  deepEqual(keeper.drained.map((hold) => hold.group), [group]);
  // The random part of the other one's grace is 0.
  await clock.pass(29_999);
  deepEqual(keeper.drained.map((hold) => hold.group), [group]);
  await clock.pass(1);
  deepEqual(keeper.drained.map((hold) => hold.group).toSorted(), [group, group, other].toSorted());
});

Deno.test("a request that joins a drain which this process drains already does not wake the watch", async () => {
  const { clock, yields, watching } = setUpAlone(stateWith([HOLD]));
  let sleeps = 0;
  const sleep = clock.sleep.bind(clock);
  clock.sleep = (...args) => {
    if (args[0] > 1_000) sleeps++;
    return sleep(...args);
  };
  await using _ = watching();
  await clock.pass(1);
  yields.toDrain(HOLD, group);
  await clock.pass(1);
  const before = sleeps;
  for (let times = 0; times < 5; times++) {
    yields.toDrain(HOLD, group);
    await clock.pass(1);
  }
  equal(sleeps, before);
});

for (const what of ["a late drain", "a pause"]) {
  Deno.test(`a store that is away when ${what} is looked at is asked again half a minute later`, async () => {
    const notes: GroupNotes | undefined = what === "a pause" ? { pause: { drains: true } } : undefined;
    const { clock, store, keeper, yields, watching, backend } = setUpAlone(stateWith([HOLD]), {
      makeStore: (backend) => new UnavailableStore(backend),
    });
    keeper.drains = TIMED_OUT;
    await using _ = watching();
    yields.toDrain(HOLD, group);
    await clock.pass(TIMEOUT_MS - 1);
    // What is paused here is seen, and then the store goes away.
    if (notes) backend.groups.set(group, { state: stateWith([HOLD], notes), version: ++backend.version });
    const seen = backend.groups.get(group)!;
    for (const watcher of backend.watchers) watcher.changed(group, seen, seen.version);
    await (store as UnavailableStore).setUnavailable(true);
    await clock.pass(20_000);
    await (store as UnavailableStore).setUnavailable(false);
    await clock.pass(9_000);
    equal(backend.groups.get(group)!.state.holders.length, 1);
    await clock.pass(2_000);
    deepEqual(backend.groups.get(group)!.state.holders, []);
  });
}
