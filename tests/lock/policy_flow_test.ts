/**
 * When the policies are asked, and what their answers do: to who asks for a slot, to who holds one, to the store and to
 * whoever counts.
 *
 * @module
 */

import { deepEqual, equal, ok } from "node:assert/strict";
import fc from "fast-check";
import { refusalReply } from "../../src/http/reply.ts";
import { type ClientId, type Group, parseClientId, parseGroup } from "../../src/lock/identity.ts";
import { type LockObserver, LockService } from "../../src/lock/lock_service.ts";
import { MemoryBackend, MemoryLockStore } from "../../src/lock/lock_store.ts";
import type { PreRebootOutcome, SteadyStateOutcome } from "../../src/lock/outcomes.ts";
import { REASON_KINDS } from "../../src/lock/policy.ts";
import type { GroupState, Holder } from "../../src/lock/semaphore.ts";
import { HastyClock } from "../support/fake_clock.ts";
import { CountingStore } from "../support/faulty_stores.ts";
import { drained, NO_NODE, noted, ScriptedKeeper, worker } from "../support/scripted_keeper.ts";
import { reason, rulesOfNotes, ScriptedPolicy } from "../support/scripted_policy.ts";

const group = parseGroup("default")!;
const [alice, bob, carol] = ["alice", "bob", "carol"].map(parseClientId) as [ClientId, ClientId, ClientId];

function setUp({ backend = new MemoryBackend(), observer = {} as LockObserver, keeperless = false } = {}) {
  const stateOf = () => backend.groups.get(group)?.state;
  const keeper = new ScriptedKeeper(() => stateOf()?.holders[0]);
  const policy = new ScriptedPolicy();
  const clock = new HastyClock();
  const store = new CountingStore(backend);
  const locks = new LockService(store, {
    policy,
    clock,
    observer,
    random: () => 0,
    ...(!keeperless && { keeper }),
  });
  const change = async (next: (state: GroupState) => GroupState) => {
    const found = await store.read(group);
    await new MemoryLockStore(backend).write(group, found, next(found.state));
  };
  return { backend, clock, keeper, policy, store, locks, stateOf, change };
}

function kindOf(outcome: PreRebootOutcome | SteadyStateOutcome): string {
  return outcome.kind === "refused" ? outcome.refusal.kind : outcome.kind;
}

for (const kind of REASON_KINDS) {
  Deno.test(`a reason of the kind ${kind} refuses before any call, and is told like all others that wait for it`, async () => {
    const refusedFor: string[][] = [];
    const observer: LockObserver = { refusedFor: (reasons) => refusedFor.push(reasons.map((one) => one.kind)) };
    const { backend, clock, keeper, policy, store, locks } = setUp({ observer });
    keeper.looks = () => Promise.reject(new Error("it must not look"));
    policy.peeks = { reasons: [reason(kind), reason("frozen")] };
    const watching = new AbortController();
    const watched = locks.watch(watching.signal);
    store.reset();
    const [first, second] = [await locks.preReboot(alice, group), await locks.preReboot(bob, group)];
    ok(first.kind === "refused" && second.kind === "refused");
    deepEqual(first.refusal, { kind, reasons: [reason(kind), reason("frozen")] });
    equal(first.refusal, second.refusal, "one refusal for all");
    const reply = refusalReply(first.refusal, group, clock.now());
    deepEqual([reply.status, await reply.json()], [423, { kind, value: `${kind} until later` }]);
    deepEqual(store.calls, { reads: 0, writes: 0, lists: 0 });
    deepEqual(refusedFor, [[kind, "frozen"], [kind, "frozen"]]);
    equal(backend.groups.size, 0);
    equal((await locks.steadyState(alice, group)).kind, "not_held");
    watching.abort();
    await watched;
  });
}

Deno.test("policies never speak against a hold: it is renewed, drained and released whatever they say", async () => {
  const { keeper, policy, locks, stateOf } = setUp();
  equal((await locks.preReboot(alice, group)).kind, "granted");
  policy.peeks = () => {
    throw new Error("it must not be asked");
  };
  policy.judges = policy.peeks;
  equal((await locks.preReboot(alice, group)).kind, "renewed");
  equal(kindOf(await locks.preReboot(bob, group)), "lock_held");
  keeper.returns = { kind: "ready", rebooted: true };
  equal((await locks.steadyState(alice, group)).kind, "released");
  deepEqual(stateOf()?.holders, []);
});

Deno.test("a full group answers its one refusal, and asks no policy", async () => {
  const { policy, locks } = setUp();
  await locks.preReboot(alice, group);
  policy.peeks = policy.judges = { reasons: [reason("frozen")] };
  const [first, second] = [await locks.preReboot(bob, group), await locks.preReboot(carol, group)];
  ok(first.kind === "refused" && first.refusal.kind === "lock_held");
  ok(second.kind === "refused" && second.refusal.kind === "lock_held");
  equal(first.refusal.holders, second.refusal.holders, "the group's own list");
  equal(policy.peeked.length, 1);
});

Deno.test("a judgment is made with the client's Node after the look, and its slots are those of the grant", async () => {
  const { keeper, policy, locks, stateOf } = setUp();
  keeper.look = () => Promise.resolve({ kind: "clear", node: worker });
  policy.slots = 2;
  policy.judges = { slots: 5 };
  await locks.preReboot(alice, group);
  equal(policy.peeked[0]?.node, undefined);
  deepEqual(policy.judged.map(({ id, node }) => [id, node]), [[alice, worker]]);
  equal(stateOf()?.holders[0]?.slots, 5);
  policy.judges = { slots: 1 };
  const second = await locks.preReboot(bob, group);
  ok(second.kind === "refused" && second.refusal.kind === "lock_held");
  equal(second.refusal.slots, 1);
  policy.judges = { slots: 0 };
  equal(kindOf(await locks.preReboot(bob, group)), "lock_held");
  policy.judges = { reasons: [reason("fleet_unhealthy")] };
  equal(kindOf(await locks.preReboot(bob, group)), "fleet_unhealthy");
  equal(stateOf()?.holders.length, 1);
});

Deno.test("what was noted while a policy judged is asked about again before the grant is written", async () => {
  const { clock, policy, locks, stateOf, change } = setUp();
  policy.peeks = (question) => rulesOfNotes(question, clock.now());
  policy.judges = async () => {
    // Another replica, or a person, writes in between, so that the grant conflicts.
    await change((state) => ({ ...state, notes: { pause: { reason: "a fire" } } }));
    return {};
  };
  equal(kindOf(await locks.preReboot(alice, group)), "paused");
  deepEqual(stateOf()?.holders, []);
  deepEqual(policy.peeked.at(-1)?.node, worker);
});

Deno.test("a reason that is over in the store refuses nobody, however far the view is behind", async () => {
  const { clock, policy, locks, change } = setUp();
  policy.peeks = (question) => rulesOfNotes(question, clock.now());
  await change((state) => ({ ...state, notes: { pause: {} } }));
  equal(kindOf(await locks.preReboot(alice, group)), "paused");
  await change(({ notes: _, ...state }) => state);
  equal(kindOf(await locks.preReboot(alice, group)), "granted");
});

Deno.test("reasons that do not count are told with the grant, once", async () => {
  const told: unknown[] = [];
  const observer: LockObserver = { grantedDespite: (_group, { id }, ignored) => told.push([id, ignored]) };
  const { policy, locks } = setUp({ observer });
  const ignored = [{ ...reason("frozen"), because: "skip" as const }];
  policy.judges = { ignored };
  equal((await locks.preReboot(alice, group)).kind, "granted");
  equal((await locks.preReboot(alice, group)).kind, "renewed");
  deepEqual(told, [[alice, ignored]]);
});

Deno.test("a pause is told once it is there, when it changes, and when it is lifted", async () => {
  const told: unknown[] = [];
  const { locks, change } = setUp({ observer: { pauseChanged: (_group, pause) => told.push(pause) } });
  const watching = new AbortController();
  const watched = locks.watch(watching.signal);
  await change((state) => ({ ...state, notes: { pause: { reason: "one" } } }));
  await change((state) => ({ ...state, transitions: 7 }));
  await change((state) => ({ ...state, notes: { pause: { reason: "two" } } }));
  await change(({ notes: _, ...state }) => state);
  deepEqual(told, [{ reason: "one" }, { reason: "two" }, undefined]);
  watching.abort();
  await watched;
});

/** Whether a release counts as the return from a reboot. */
const RETURNS: [what: string, holder: Partial<Holder>, rebooted: boolean | undefined, counts: boolean][] = [
  ["runs another boot", { node: noted("draining") }, true, true],
  ["runs the same boot after its yes", { node: noted("drained") }, false, false],
  ["cannot be told, after its yes", { node: noted("drained") }, undefined, true],
  ["cannot be told, after a yes on another Node", { node: noted("failed"), hadYes: true }, undefined, true],
  ["cannot be told, before its yes", { node: noted("draining") }, undefined, false],
  ["has no Node", {}, undefined, true],
];

for (const [what, holder, rebooted, counts] of RETURNS) {
  Deno.test(`a host that ${what} ${counts ? "is noted as back from its reboot, in the write of its release" : "is not noted as back"}`, async () => {
    const { clock, keeper, policy, store, locks, stateOf, change } = setUp();
    await change((state) => ({ ...state, holders: [{ id: alice, since: 1_000, ...holder }], renewed: 1_000 }));
    keeper.returns = { kind: "ready", ...(rebooted !== undefined && { rebooted }) };
    store.reset();
    equal((await locks.steadyState(alice, group)).kind, "released");
    equal(store.calls.writes, 1);
    equal(stateOf()?.notes?.returned, counts ? stateOf()?.renewed : undefined);
    policy.peeks = (question) => rulesOfNotes(question, clock.now(), 60_000);
    keeper.drains = drained();
    equal(kindOf(await locks.preReboot(bob, group)), counts ? "settling" : "granted");
  });
}

Deno.test("without draining, every hold counts as one that was used", async () => {
  const { locks, stateOf } = setUp({ keeperless: true });
  await locks.preReboot(alice, group);
  await locks.steadyState(alice, group);
  equal(stateOf()?.notes?.returned, stateOf()?.renewed);
});

Deno.test("while replicas differ about the slots, holders stay within what their grants note, and all of them go on", async () => {
  const ids = Array.from({ length: 6 }, (_, n) => parseClientId(`host-${n}`)!);
  const step = fc.record({
    replica: fc.nat(2),
    id: fc.constantFrom(...ids),
    what: fc.constantFrom("pre-reboot" as const, "pre-reboot" as const, "steady-state" as const, "config" as const),
    slots: fc.integer({ min: 1, max: 5 }),
  });
  await fc.assert(fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
    const backend = new MemoryBackend();
    const replicas = [0, 1, 2].map(() => {
      const policy = new ScriptedPolicy();
      return { policy, locks: new LockService(new MemoryLockStore(backend), { policy, clock: new HastyClock() }) };
    });
    for (const { replica, id, what, slots } of steps) {
      const { policy, locks } = replicas[replica]!;
      const held = (backend.groups.get(group)?.state.holders ?? []).some((one) => one.id === id);
      if (what === "config") policy.slots = slots;
      else if (what === "steady-state") await locks.steadyState(id, group);
      else {
        const outcome = await locks.preReboot(id, group);
        if (held) equal(outcome.kind, "renewed", "nobody who was granted a slot waits again");
      }
      const { holders = [] } = backend.groups.get(group)?.state ?? {};
      holders.forEach((holder, place) => ok(place < holder.slots!, "more holders than the grants note"));
    }
    // The rule holds once all replicas have it.
    for (const { policy } of replicas) policy.slots = 1;
    const before = backend.groups.get(group)?.state.holders ?? [];
    for (const [n, id] of ids.entries()) await replicas[n % 3]!.locks.preReboot(id, group);
    const after = backend.groups.get(group as Group)?.state.holders ?? [];
    ok(after.length <= Math.max(1, before.length));
  }));
});

Deno.test("a client whose id no Node has is judged without one", async () => {
  const { keeper, policy, locks } = setUp();
  keeper.looks = { kind: "clear" };
  keeper.drains = NO_NODE;
  equal((await locks.preReboot(alice, group)).kind, "granted");
  ok(!("node" in policy.judged[0]!));
});
