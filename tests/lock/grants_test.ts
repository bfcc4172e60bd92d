/**
 * What stands between a judgement of the policies and the grant that rests on it: a skip that must be removed first,
 * and time that passes. What a policy is asked, and how its answers count, is in policy_flow_test.ts; hosts without a
 * Node are in hosts_without_nodes_test.ts, and what rests on facts that have changed in stale_facts_test.ts.
 *
 * @module
 */

import { deepEqual, equal, ok, rejects } from "node:assert/strict";
import { UnavailableError } from "../../src/lock/errors.ts";
import { type ClientId, parseClientId, parseGroup } from "../../src/lock/identity.ts";
import { type LockObserver, LockService } from "../../src/lock/lock_service.ts";
import { type LockStore, MemoryBackend, MemoryLockStore, type Versioned } from "../../src/lock/lock_store.ts";
import type { PreRebootOutcome } from "../../src/lock/outcomes.ts";
import type { PolicyAnswer, PolicyQuestion } from "../../src/lock/policy.ts";
import type { GroupState } from "../../src/lock/semaphore.ts";
import { HastyClock } from "../support/fake_clock.ts";
import { drained, NO_NODE, ScriptedKeeper } from "../support/scripted_keeper.ts";
import { reason, ScriptedPolicy } from "../support/scripted_policy.ts";

const [group, other] = [parseGroup("default")!, parseGroup("other")!];
const [alice, bob] = ["alice", "bob"].map(parseClientId) as [ClientId, ClientId];

/** One lock service over a store whose writes a test can delay, with a keeper whose node may carry a skip. */
function setUp(
  backend = new MemoryBackend(),
  beforeWrite: (next: GroupState) => Promise<void> = () => Promise.resolve(),
) {
  const told: unknown[] = [];
  const observer: LockObserver = {
    skipLost: (of, id, { name }, rules) => told.push(["lost", of, id, name, rules]),
    kept: (of, { id }) => told.push(["kept", of, id]),
    takenBack: (of, { id }, { kind }) => told.push(["taken back", of, id, kind]),
    grantedDespite: (of, { id }, ignored) => told.push(["despite", of, id, ignored.map(({ rule }) => rule)]),
  };
  const keeper = new ScriptedKeeper(() => backend.groups.get(group)?.state.holders[0]);
  const policy = new ScriptedPolicy();
  const clock = new HastyClock();
  const memory = new MemoryLockStore(backend);
  const store: LockStore = {
    read: (of) => memory.read(of),
    list: () => memory.list(),
    watch: (watcher, signal) => memory.watch(watcher, signal),
    async write(of, expected: Versioned, next) {
      await beforeWrite(next);
      return await memory.write(of, expected, next);
    },
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
  const locks = new LockService(store, { policy, keeper, clock, observer, random: () => 0 });
  const holders = () => (backend.groups.get(group)?.state.holders ?? []).map(({ id }) => id);
  return { backend, clock, keeper, policy, locks, told, holders, memory };
}

/** A freeze that the skip of a keeper's node lets pass, or the skip that a question names. */
function freezeUnlessSkipped(
  keeper: { skip: string | undefined },
): (question: PolicyQuestion) => Partial<PolicyAnswer> {
  return ({ skip }) => {
    const passes = skip ?? keeper.skip ?? "";
    if (passes !== "freeze") return { reasons: [reason("frozen")] };
    return { ignored: [{ ...reason("frozen"), because: "skip" }], ...(skip === undefined && { skip: passes }) };
  };
}

function kindOf(outcome: PreRebootOutcome): string {
  return outcome.kind === "refused" ? outcome.refusal.kind : outcome.kind;
}

Deno.test("a skip is removed before the grant that rests on it, and only where it is needed", async () => {
  const { keeper, policy, locks, told, holders } = setUp();
  keeper.skip = "freeze";
  policy.peeks = policy.judges = freezeUnlessSkipped(keeper);
  equal(kindOf(await locks.preReboot(alice, group)), "granted");
  deepEqual([keeper.skip, keeper.skipsAsked, holders()], [undefined, ["freeze"], [alice]]);
  const kept = [["kept", group, alice], ["despite", group, alice, ["frozen"]]];
  deepEqual(told, kept);
  equal(kindOf(await locks.preReboot(alice, group)), "renewed");
  deepEqual(told, kept, "a renewal is not a grant");

  const unneeded = setUp();
  unneeded.keeper.skip = "freeze";
  equal(kindOf(await unneeded.locks.preReboot(alice, group)), "granted");
  deepEqual([unneeded.keeper.skipsAsked, unneeded.told], [[], [["kept", group, alice]]]);
});

Deno.test("two replicas that judged by one skip grant one slot, even in two groups", async () => {
  const backend = new MemoryBackend();
  const [one, two] = [setUp(backend), setUp(backend)];
  const { keeper } = one;
  keeper.skip = "freeze";
  one.policy.peeks =
    one.policy.judges =
    two.policy.peeks =
    two.policy.judges =
      freezeUnlessSkipped(keeper);
  two.keeper.beforeSkip = () => Promise.resolve();
  two.keeper.takeSkip = (node, skip) => keeper.takeSkip(node, skip);
  // Both have judged before either removes the skip.
  const both = Promise.withResolvers<void>();
  let judged = 0;
  keeper.beforeSkip = () => {
    if (++judged === 2) both.resolve();
    return both.promise;
  };
  const outcomes = await Promise.all([one.locks.preReboot(alice, group), two.locks.preReboot(alice, other)]);
  deepEqual(outcomes.map(kindOf).sort(), ["frozen", "granted"]);
  equal([...backend.groups.values()].flatMap(({ state }) => state.holders).length, 1);
});

Deno.test("a skip that changes all the time grants nothing", async () => {
  const { keeper, policy, locks, holders } = setUp();
  policy.judges = { skip: "freeze", ignored: [{ ...reason("frozen"), because: "skip" }] };
  equal(kindOf(await locks.preReboot(alice, group)), "contended");
  deepEqual([keeper.skipsAsked, holders()], [["freeze", "freeze", "freeze"], []]);
});

Deno.test("where the skip cannot be removed, nothing is granted", async () => {
  const { keeper, policy, locks, told, holders } = setUp();
  keeper.skip = "freeze";
  policy.peeks = policy.judges = freezeUnlessSkipped(keeper);
  keeper.beforeSkip = () => Promise.reject(new UnavailableError("the API server does not answer"));
  await rejects(locks.preReboot(alice, group), UnavailableError);
  deepEqual([holders(), told], [[], []]);
});

Deno.test("a skip whose request gets no slot is used up, and that is told", async () => {
  const fault: { error?: Error } = {};
  const failing = setUp(new MemoryBackend(), () => fault.error ? Promise.reject(fault.error) : Promise.resolve());
  failing.keeper.skip = "freeze";
  failing.policy.peeks = failing.policy.judges = freezeUnlessSkipped(failing.keeper);
  fault.error = new UnavailableError("the store does not answer");
  await rejects(failing.locks.preReboot(alice, group), UnavailableError);
  const lost = ["lost", group, alice, "worker-1", "freeze"];
  deepEqual([failing.keeper.skip, failing.told], [undefined, [lost]]);

  const late = setUp();
  late.keeper.skip = "freeze";
  late.policy.peeks = late.policy.judges = freezeUnlessSkipped(late.keeper);
  late.keeper.beforeSkip = async () => {
    await late.memory.write(group, await late.memory.read(group), {
      holders: [{ id: bob, since: 1, slots: 1 }],
      transitions: 1,
      renewed: 1,
    });
    late.keeper.held = () => undefined;
  };
  equal(kindOf(await late.locks.preReboot(alice, group)), "lock_held");
  deepEqual([late.keeper.skip, late.told], [undefined, [lost]]);
});

Deno.test("a skip stays where every slot is taken, and a slot that comes free then is not granted by it", async () => {
  const backend = new MemoryBackend();
  const { keeper, policy, locks, memory, holders } = setUp(backend);
  keeper.skip = "freeze";
  policy.slots = 2;
  await memory.write(group, await memory.read(group), { holders: [{ id: bob, since: 1, slots: 1 }], transitions: 1 });
  keeper.held = () => undefined;
  const script = freezeUnlessSkipped(keeper);
  policy.peeks = script;
  policy.judges = (question) => ({ ...script(question), slots: 1 });
  equal(kindOf(await locks.preReboot(alice, group)), "lock_held");
  policy.judges = async (question) => {
    const found = await memory.read(group);
    await memory.write(group, found, { ...found.state, holders: [] });
    return { ...script(question), slots: 1 };
  };
  equal(kindOf(await locks.preReboot(alice, group)), "contended");
  deepEqual([keeper.skip, keeper.skipsAsked, holders()], ["freeze", [], []]);
});

Deno.test("rules are asked again before the write where a second has passed, and nothing is written against them", async () => {
  for (const [ms, kind] of [[1_000, "granted"], [1_001, "frozen"]] as const) {
    const { clock, keeper, policy, locks, holders, memory } = setUp();
    // This group is known, so that a refusal is followed by a read of the very same state.
    await memory.write(group, await memory.read(group), { holders: [], transitions: 1 });
    keeper.skip = "freeze";
    policy.judges = { skip: "freeze" };
    keeper.beforeSkip = () => {
      policy.peeks = { reasons: [reason("frozen")] };
      return clock.advance(ms);
    };
    equal(kindOf(await locks.preReboot(alice, group)), kind, `${ms}`);
    deepEqual(holders(), kind === "granted" ? [alice] : []);
  }
});

Deno.test("slots that have become fewer since the judgement count, and those that have become more do not", async () => {
  for (const [slots, kind] of [[1, "lock_held"], [2, "granted"], [9, "granted"]] as const) {
    const { keeper, policy, locks, memory, backend } = setUp();
    await memory.write(group, await memory.read(group), { holders: [{ id: bob, since: 1, slots: 1 }], transitions: 1 });
    keeper.held = () => undefined;
    keeper.drain = () => Promise.resolve(NO_NODE);
    policy.slots = 3;
    policy.judges = async () => {
      // Another write comes in between, so that the policies are asked again.
      await memory.write(group, await memory.read(group), { ...(await memory.read(group)).state, transitions: 7 });
      return { slots: 3 };
    };
    policy.peeks = () => ({ slots: policy.judged.length > 0 ? slots : 3 });
    keeper.looks = { kind: "clear" };
    equal(kindOf(await locks.preReboot(alice, group)), kind, `${slots}`);
    const holder = backend.groups.get(group)?.state.holders.find(({ id }) => id === alice);
    equal(holder?.slots, kind === "granted" ? Math.min(slots, 3) : undefined);
  }
});

Deno.test("a judgement that is older than a minute grants nothing, whatever is known by then", async () => {
  for (const [ms, kind] of [[60_000, "granted"], [60_001, "contended"]] as const) {
    const { clock, keeper, policy, locks, holders } = setUp();
    keeper.skip = "freeze";
    policy.judges = { skip: "freeze" };
    keeper.beforeSkip = () => clock.advance(ms);
    equal(kindOf(await locks.preReboot(alice, group)), kind, `${ms}`);
    deepEqual(holders(), kind === "granted" ? [alice] : []);
  }
});

Deno.test("a slot whose write took longer than a second is given back where a rule speaks against it by then", async () => {
  for (const [ms, kind] of [[1_000, "granted"], [1_001, "frozen"], [3_600_000, "frozen"]] as const) {
    const slow = { once: true };
    const test = setUp(new MemoryBackend(), async () => {
      if (!slow.once) return;
      slow.once = false;
      // The process may be stopped before the write, or the store may be slow.
      await test.clock.advance(ms);
      test.policy.peeks = (question) => {
        ok(!question.state.holders.some(({ id }) => id === alice), "a policy is never asked about a hold");
        return { reasons: [reason("frozen")] };
      };
    });
    equal(kindOf(await test.locks.preReboot(alice, group)), kind, `${ms}`);
    deepEqual(test.holders(), kind === "granted" ? [alice] : []);
    deepEqual(test.told, [kind === "granted" ? ["kept", group, alice] : ["taken back", group, alice, kind]]);
    equal(test.keeper.drained.length, kind === "granted" ? 1 : 0, "nothing is cordoned for a slot that is given back");
    equal(test.backend.groups.get(group)?.state.notes?.returned, undefined, "no host was away");
  }
});

Deno.test("the rules are asked after the write about the other holders, and nobody needs to listen", async () => {
  const backend = new MemoryBackend();
  const memory = new MemoryLockStore(backend);
  await memory.write(group, await memory.read(group), { holders: [{ id: bob, since: 1, slots: 2 }], transitions: 1 });
  const [clock, policy, keeper] = [new HastyClock(), new ScriptedPolicy(), new ScriptedKeeper(() => undefined)];
  policy.slots = 2;
  keeper.skip = "freeze";
  policy.judges = { skip: "freeze", ignored: [{ ...reason("frozen"), because: "skip" }] };
  const write = memory.write.bind(memory);
  memory.write = async (...args) => {
    memory.write = write;
    await clock.advance(1_001);
    policy.peeks = { reasons: [reason("frozen")] };
    return await write(...args);
  };
  const locks = new LockService(memory, { policy, keeper, clock, random: () => 0 });
  equal(kindOf(await locks.preReboot(alice, group)), "frozen");
  deepEqual(policy.peeked.at(-1)?.state.holders.map(({ id }) => id), [bob]);
  policy.peeks = {};
  keeper.skip = "freeze";
  keeper.drain = () => Promise.resolve(drained());
  equal(kindOf(await locks.preReboot(alice, group)), "granted");
});

Deno.test("an answer that rests on the skip of no Node, or of one that nobody can change, grants nothing", async () => {
  const { keeper, policy, locks, holders } = setUp();
  keeper.looks = { kind: "clear" };
  policy.judges = { skip: "freeze" };
  equal(kindOf(await locks.preReboot(alice, group)), "contended");
  deepEqual([keeper.skipsAsked, holders()], [[], []]);
  const backend = new MemoryBackend();
  const keeperless = new LockService(new MemoryLockStore(backend), { policy, clock: new HastyClock() });
  equal(kindOf(await keeperless.preReboot(alice, group)), "contended");
  equal(backend.groups.size, 0);
});

Deno.test("a slot that another request of the client has renewed meanwhile is not given back", async () => {
  const slow = { once: true };
  const backend = new MemoryBackend();
  const second = setUp(backend);
  const test = setUp(backend, async () => {
    if (!slow.once) return;
    slow.once = false;
    await test.clock.advance(1_001);
  });
  test.policy.peeks = (question) => {
    if (question.state.transitions === 0) return {};
    // This is asked after the write. The policy cannot wait, so that the other write comes with the next one.
    slow.once = false;
    return { reasons: [reason("frozen")] };
  };
  const write = test.memory.write.bind(test.memory);
  test.memory.write = async (of, expected, next) => {
    if (next.holders.length === 0) {
      test.memory.write = write;
      equal(kindOf(await second.locks.preReboot(alice, group)), "renewed");
    }
    return await write(of, expected, next);
  };
  equal(kindOf(await test.locks.preReboot(alice, group)), "contended");
  deepEqual([test.holders(), test.told], [[alice], [["kept", group, alice]]]);
});

Deno.test("a skip whose slot is given back is told as lost; where the slot stays or may stay, the grant is told", async () => {
  const lost = [["taken back", group, alice, "frozen"], ["lost", group, alice, "worker-1", "freeze"]];
  const kept = [["kept", group, alice], ["despite", group, alice, ["frozen"]]];
  for (const [release, told] of [["works", lost], ["fails", kept]] as const) {
    const test = setUp(new MemoryBackend(), async (next) => {
      if (next.holders.length === 0) {
        if (release === "fails") throw new UnavailableError("the store does not answer");
        return;
      }
      await test.clock.advance(1_001);
      test.policy.peeks = { reasons: [reason("frozen")] };
    });
    test.keeper.skip = "freeze";
    test.policy.judges = { skip: "freeze", ignored: [{ ...reason("frozen"), because: "skip" }] };
    const answer = test.locks.preReboot(alice, group);
    if (release === "works") equal(kindOf(await answer), "frozen");
    else await rejects(answer, UnavailableError);
    deepEqual([test.keeper.skip, test.told], [undefined, told], release);
  }
});
