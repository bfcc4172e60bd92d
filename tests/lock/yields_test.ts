/**
 * Holds that yield their slot: when, in which order, with which note, and never after a yes. On two replicas over one
 * store, whose requests may cross at any point.
 *
 * @module
 */

import { deepEqual, equal, match, ok } from "node:assert/strict";
import { type ClientId, parseClientId, parseGroup } from "../../src/lock/identity.ts";
import { type LockObserver, LockService } from "../../src/lock/lock_service.ts";
import { type LockWatcher, MemoryBackend, MemoryLockStore } from "../../src/lock/lock_store.ts";
import { UnavailableError } from "../../src/lock/errors.ts";
import { DEFERRAL_MS, MAX_DEFERRAL_MS, withDeferral, withoutDeferral } from "../../src/lock/group_notes.ts";
import type { DrainOutcome } from "../../src/lock/node_keeper.ts";
import { describeRefusal, type PreRebootOutcome, type SteadyStateOutcome } from "../../src/lock/outcomes.ts";
import { type GroupNotes, MAX_DEFERRALS } from "../../src/lock/policy.ts";
import { FREE, type GroupState, type Holder } from "../../src/lock/semaphore.ts";
import { IdleClock } from "../support/fake_clock.ts";
import { UnavailableStore } from "../support/faulty_stores.ts";
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

Deno.test("where nobody asks, the replica that drains yields at the time-out", async () => {
  const { clock, held, stateOf, replica } = setUp();
  const { keeper, locks } = replica();
  const watching = new AbortController();
  const watched = locks.watch(watching.signal);
  keeper.drains = { kind: "draining", node: "worker-1", pods };
  equal(kindOf(await locks.preReboot(alice, group)), "draining");
  keeper.drains = TIMED_OUT;
  await clock.pass(TIMEOUT_MS - 1);
  equal(held()?.id, alice);
  equal(keeper.drained.length, 1, "it is not looked at before");
  await clock.pass(2);
  equal(held(), undefined);
  equal(stateOf().notes?.deferred?.[0]?.id, alice);
  watching.abort();
  await watched;
});

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
