/**
 * The two operations of the protocol without a node keeper. With one, they are in drain_flow_test.ts, yes_flow_test.ts,
 * hosts_without_nodes_test.ts, used_holds_test.ts and stale_facts_test.ts; the policies in policy_flow_test.ts and
 * grants_test.ts, yields in yields_test.ts, and Nodes that are gone in gone_nodes_test.ts.
 *
 * @module
 */

import { deepEqual, equal, ok, rejects } from "node:assert/strict";
import fc from "fast-check";
import { type ClientId, type Group, parseClientId, parseGroup } from "../../src/lock/identity.ts";
import type { Refused } from "../../src/lock/outcomes.ts";
import { LockService, type LockServiceOptions } from "../../src/lock/lock_service.ts";
import { slotsOnly } from "../../src/lock/policy.ts";
import { UnavailableError } from "../../src/lock/errors.ts";
import {
  ABSENT,
  type CallOptions,
  type LockStore,
  MemoryBackend,
  MemoryLockStore,
  type Versioned,
} from "../../src/lock/lock_store.ts";
import type { GroupState } from "../../src/lock/semaphore.ts";
import { FakeClock, HastyClock } from "../support/fake_clock.ts";

const group = parseGroup("default")!;
const other = parseGroup("other")!;
const alice = parseClientId("alice")!;
const bob = parseClientId("bob")!;

function client(n: number): ClientId {
  return parseClientId(`client-${n}`)!;
}

/** Counts the calls, and lets a test step in before each. */
class SpyStore extends MemoryLockStore {
  reads = 0;
  writes = 0;
  lists = 0;
  before: (call: "read" | "write" | "list", group?: Group) => Promise<void> | void = () => {};

  constructor(readonly backend: MemoryBackend = new MemoryBackend()) {
    super(backend);
  }

  override async read(group: Group, options?: CallOptions): Promise<Versioned> {
    this.reads++;
    await this.before("read", group);
    return super.read(group, options);
  }

  override async write(group: Group, expected: Versioned, next: GroupState, options?: CallOptions) {
    this.writes++;
    await this.before("write", group);
    return super.write(group, expected, next, options);
  }

  override async list(options?: CallOptions) {
    this.lists++;
    await this.before("list");
    return await super.list(options);
  }
}

/** A service on its own store, with the watch on or off. */
function setUp(options: LockServiceOptions & { watch?: boolean; backend?: MemoryBackend } = {}) {
  const store = new SpyStore(options.backend);
  const locks = new LockService(store, { clock: new HastyClock(), random: () => 0, ...options });
  const stop = new AbortController();
  const watching = options.watch ? locks.watch(stop.signal) : Promise.resolve();
  return {
    store,
    locks,
    async [Symbol.asyncDispose]() {
      stop.abort();
      await watching;
    },
  };
}

function holders(backend: MemoryBackend, of: Group = group): string[] {
  return (backend.groups.get(of)?.state.holders ?? []).map((holder) => holder.id);
}

for (const watch of [false, true]) {
  const how = watch ? "with a watch" : "without a watch";

  Deno.test(`${how}, a client obtains, keeps and releases while another is refused`, async () => {
    await using all = setUp({ watch });
    const { locks, store } = all;
    equal((await locks.preReboot(alice, group)).kind, "granted");
    equal((await locks.preReboot(alice, group)).kind, "renewed");
    const refused = await locks.preReboot(bob, group);
    ok(refused.kind === "refused" && refused.refusal.kind === "lock_held");
    deepEqual(refused.refusal.holders.map((holder) => holder.id), [alice]);
    equal((await locks.steadyState(bob, group)).kind, "not_held");
    deepEqual(holders(store.backend), [alice]);
    equal((await locks.steadyState(alice, group)).kind, "released");
    deepEqual(holders(store.backend), []);
    equal((await locks.steadyState(alice, group)).kind, "not_held");
    equal((await locks.preReboot(bob, group)).kind, "granted");
    equal(store.backend.groups.get(group)?.state.transitions, 2);
  });
}

Deno.test("the refusals of all waiting clients share one list of holders, so that their replies can be shared too", async () => {
  await using all = setUp({ watch: true });
  await all.locks.preReboot(alice, group);
  const lists = new Set<unknown>();
  for (const id of [bob, parseClientId("carol")!]) {
    const { refusal } = await all.locks.preReboot(id, group) as Refused;
    ok(refusal.kind === "lock_held");
    lists.add(refusal.holders);
  }
  equal(lists.size, 1);
});

Deno.test("with a watch, each operation costs the fewest possible calls to the store", async () => {
  await using all = setUp({ watch: true });
  const { locks, store } = all;
  const cost = async (act: () => Promise<unknown>) => {
    const before = [store.reads, store.writes, store.lists];
    await act();
    return [store.reads, store.writes, store.lists].map((count, i) => count - before[i]!);
  };
  deepEqual(await cost(() => locks.preReboot(alice, group)), [0, 1, 0], "first grant of a group");
  deepEqual(await cost(() => locks.preReboot(bob, group)), [0, 0, 0], "refusal");
  deepEqual(await cost(() => locks.preReboot(alice, group)), [0, 1, 0], "renewal");
  deepEqual(await cost(() => locks.steadyState(bob, group)), [1, 0, 0], "release by a non-holder");
  deepEqual(await cost(() => locks.steadyState(alice, group)), [0, 1, 0], "release");
  deepEqual(await cost(() => locks.preReboot(bob, group)), [0, 1, 0], "grant");
});

Deno.test("without a watch, a known free group costs one write, a refusal one read", async () => {
  await using all = setUp();
  const { locks, store } = all;
  await locks.preReboot(alice, group);
  await locks.steadyState(alice, group);
  store.reads = store.writes = 0;
  await locks.preReboot(bob, group);
  deepEqual([store.reads, store.writes], [0, 1]);
  await locks.preReboot(alice, group);
  deepEqual([store.reads, store.writes], [1, 1]);
});

Deno.test("after a conflict, another replica's grant is respected", async () => {
  const backend = new MemoryBackend();
  await using mine = setUp({ backend });
  await using theirs = setUp({ backend });
  await mine.locks.preReboot(alice, group);
  await mine.locks.steadyState(alice, group); // mine now knows the group as free
  await theirs.locks.preReboot(bob, group);
  const outcome = await mine.locks.preReboot(alice, group);
  ok(outcome.kind === "refused" && outcome.refusal.kind === "lock_held");
  deepEqual(holders(backend), [bob]);
});

Deno.test("a client whose writes always conflict is refused and takes no slot", async () => {
  const backend = new MemoryBackend();
  await using all = setUp({ backend, policy: slotsOnly(() => 100) });
  const rival = new MemoryLockStore(backend);
  all.store.before = async (call) => {
    if (call !== "write") return;
    const seen = await rival.read(group);
    await rival.write(group, seen, { ...seen.state, transitions: seen.state.transitions + 1 });
  };
  const outcome = await all.locks.preReboot(alice, group);
  deepEqual(outcome, { kind: "refused", refusal: { kind: "contended" } });
  deepEqual(holders(backend), []);
});

Deno.test("a crowd that asks at once costs one write, and its result answers all", async () => {
  await using all = setUp({ watch: true });
  const outcomes = await Promise.all(
    Array.from({ length: 1_000 }, (_, n) => all.locks.preReboot(client(n), group)),
  );
  equal(outcomes.filter((outcome) => outcome.kind === "granted").length, 1);
  deepEqual([all.store.reads, all.store.writes], [0, 1]);
});

Deno.test("a crowd of hosts that hold nothing shares one read that begins after they asked", async () => {
  await using all = setUp({ watch: true });
  await all.locks.preReboot(alice, group);
  all.store.reads = 0;
  const outcomes = await Promise.all(Array.from({ length: 100 }, (_, n) => all.locks.steadyState(client(n), group)));
  ok(outcomes.every((outcome) => outcome.kind === "not_held"));
  // At most the first one's own, and one for all who came while that was under way.
  ok(all.store.reads <= 2, `${all.store.reads} reads`);
});

Deno.test("a read that began before a client asked does not prove that the client holds nothing", async () => {
  const backend = new MemoryBackend();
  await using mine = setUp({ backend });
  await using theirs = setUp({ backend });
  const gate = Promise.withResolvers<void>();
  const read = mine.store.read.bind(mine.store);
  let first = true;
  // The first read looks at the store at once, and its answer arrives late.
  mine.store.read = async (of: Group) => {
    const found = await read(of);
    if (first) {
      first = false;
      await gate.promise;
    }
    return found;
  };
  const early = mine.locks.steadyState(bob, group);
  await new Promise((resolve) => setTimeout(resolve, 0));
  await theirs.locks.preReboot(alice, group);
  const late = mine.locks.steadyState(alice, group);
  gate.resolve();
  equal((await early).kind, "not_held");
  equal((await late).kind, "released");
  deepEqual(holders(backend), []);
});

Deno.test("a stale view may refuse, but never grants and never confirms a release", async () => {
  const backend = new MemoryBackend();
  await using all = setUp({ backend, watch: true });
  await all.locks.preReboot(alice, group);
  backend.watchers.clear(); // the watch goes silent
  const rival = new LockService(new MemoryLockStore(backend));
  await rival.steadyState(alice, group);
  await rival.preReboot(bob, group);
  // The view still says that alice holds the only slot.
  const repeated = await all.locks.preReboot(alice, group);
  ok(repeated.kind === "refused" && repeated.refusal.kind === "lock_held");
  deepEqual(repeated.refusal.holders.map((holder) => holder.id), [bob]);
  await rival.steadyState(bob, group);
  await rival.preReboot(alice, group);
  equal((await all.locks.steadyState(alice, group)).kind, "released");
});

Deno.test("a process that was paused after its write proves the hold again before it says yes", async () => {
  const backend = new MemoryBackend();
  const clock = new HastyClock();
  await using all = setUp({ backend, clock });
  const rival = new LockService(new MemoryLockStore(backend));
  const write = all.store.write.bind(all.store);
  let paused = false;
  all.store.write = async (...args) => {
    const written = await write(...args);
    if (!paused) {
      paused = true;
      await clock.advance(3_600_000);
      // Meanwhile the client came back through another replica, and someone else took its slot.
      await rival.steadyState(alice, group);
      await rival.preReboot(bob, group);
    }
    return written;
  };
  const outcome = await all.locks.preReboot(alice, group);
  ok(outcome.kind === "refused" && outcome.refusal.kind === "lock_held");
  deepEqual(holders(backend), [bob]);
});

Deno.test("a grant that had to be proven again after a pause is still a grant", async () => {
  const clock = new HastyClock();
  await using all = setUp({ clock });
  const write = all.store.write.bind(all.store);
  all.store.write = async (...args) => {
    all.store.write = write;
    const written = await write(...args);
    await clock.advance(3_600_000);
    return written;
  };
  equal((await all.locks.preReboot(alice, group)).kind, "granted");
  equal(all.store.backend.groups.get(group)?.state.transitions, 1);
  equal((await all.locks.preReboot(alice, group)).kind, "renewed");
});

Deno.test("each group has its own number of slots", async () => {
  await using all = setUp({ policy: slotsOnly((of) => of === other ? 2 : 1) });
  for (const [of, most] of [[group, 1], [other, 2]] as const) {
    equal(all.locks.slotsOf(of), most);
    for (let n = 0; n < 3; n++) {
      const outcome = await all.locks.preReboot(client(n), of);
      equal(outcome.kind, n < most ? "granted" : "refused");
      if (outcome.kind === "refused") ok(outcome.refusal.kind === "lock_held" && outcome.refusal.slots === most);
    }
  }
});

Deno.test("a process that was paused before its release does not free the client's next hold", async () => {
  const backend = new MemoryBackend();
  const clock = new HastyClock();
  await using all = setUp({ backend, clock, watch: true });
  const rival = new LockService(new MemoryLockStore(backend), { clock });
  await all.locks.preReboot(alice, group);
  let paused = false;
  all.store.before = async (call) => {
    if (paused || call !== "write") return;
    paused = true;
    await clock.advance(3_600_000);
    // The client gave up on this replica, released through another one, and is rebooting again.
    await rival.steadyState(alice, group);
    await rival.preReboot(alice, group);
  };
  const outcome = await all.locks.steadyState(alice, group);
  deepEqual(outcome, { kind: "refused", refusal: { kind: "contended" } });
  deepEqual(holders(backend), [alice]);
});

Deno.test("while the store is unavailable, every request fails; afterwards they are served", async () => {
  await using all = setUp();
  all.store.before = () => {
    throw new UnavailableError("away");
  };
  const outcomes = await Promise.allSettled(
    Array.from({ length: 20 }, (_, n) => all.locks.preReboot(client(n), group)),
  );
  ok(outcomes.every((outcome) => outcome.status === "rejected" && outcome.reason instanceof UnavailableError));
  await rejects(all.locks.steadyState(alice, group), UnavailableError);
  all.store.before = () => {};
  equal((await all.locks.preReboot(alice, group)).kind, "granted");
});

Deno.test("a grant whose answer was lost is found again by the repeated request", async () => {
  await using all = setUp();
  const write = all.store.write.bind(all.store);
  all.store.write = async (...args) => {
    await write(...args);
    throw new UnavailableError("answer lost");
  };
  await rejects(all.locks.preReboot(alice, group), UnavailableError);
  all.store.write = write;
  equal((await all.locks.preReboot(alice, group)).kind, "renewed");
  deepEqual(holders(all.store.backend), [alice]);
});

for (const watch of [false, true]) {
  Deno.test(`new groups beyond the limit are refused ${watch ? "with" : "without"} a watch, known ones and releases are not`, async () => {
    await using all = setUp({ watch, maxGroups: 1 });
    equal((await all.locks.preReboot(alice, group)).kind, "granted");
    deepEqual(await all.locks.preReboot(bob, other), {
      kind: "refused",
      refusal: { kind: "too_many_groups", limit: 1 },
    });
    equal((await all.locks.steadyState(bob, other)).kind, "not_held");
    equal((await all.locks.steadyState(alice, group)).kind, "released");
    equal((await all.locks.preReboot(bob, group)).kind, "granted");
    deepEqual([...all.store.backend.groups.keys()], [group]);
  });
}

for (const watch of [false, true]) {
  Deno.test(`a burst of new groups does not get past the limit ${watch ? "with" : "without"} a watch`, async () => {
    await using all = setUp({ watch, maxGroups: 5 });
    const groups = Array.from({ length: 40 }, (_, n) => parseGroup(`burst-${n % 20}`)!);
    const outcomes = await Promise.all(groups.map((each, n) => all.locks.preReboot(client(n), each)));
    equal(outcomes.filter(({ kind }) => kind === "granted").length, 5);
    equal(all.store.backend.groups.size, 5);
    // Those that were refused keep no place.
    const [free] = all.store.backend.groups.keys();
    all.store.backend.groups.delete(free!);
    for (const watcher of all.store.backend.watchers) watcher.changed(free!, ABSENT, ++all.store.backend.version);
    equal((await all.locks.preReboot(alice, parseGroup("late")!)).kind, "granted");
  });
}

Deno.test("at the limit, a group that another replica has created since it was read is not a new one", async () => {
  await using all = setUp({ maxGroups: 2 });
  const rival = new LockService(new MemoryLockStore(all.store.backend));
  await rival.preReboot(alice, group);
  all.store.before = async (call) => {
    if (call !== "list") return;
    await rival.preReboot(alice, other);
    await rival.steadyState(alice, other);
  };
  equal((await all.locks.preReboot(bob, other)).kind, "granted");
  equal(all.store.lists, 1);
});

Deno.test("at the limit, a free group that this process knows is granted without a list of the groups", async () => {
  await using all = setUp({ maxGroups: 1 });
  await all.locks.preReboot(alice, group);
  await all.locks.steadyState(alice, group);
  all.store.lists = 0;
  equal((await all.locks.preReboot(bob, group)).kind, "granted");
  equal(all.store.lists, 0);
});

Deno.test("new groups are served by a store that may not be listed", async () => {
  await using all = setUp();
  all.store.list = () => Promise.reject(new UnavailableError("may not list"));
  equal((await all.locks.preReboot(alice, group)).kind, "granted");
  deepEqual([...(await all.locks.groups()).keys()], [group]);
});

Deno.test("a service tells whether its watch is in step, which groups it knows, and why the watch was lost", async () => {
  const told: unknown[] = [];
  const observer = { synced: () => told.push("synced"), lost: (reason: unknown) => told.push(reason) };
  const store = new SpyStore();
  let watcher: Parameters<LockStore["watch"]>[0];
  store.watch = (given, signal) => {
    watcher = given;
    return MemoryLockStore.prototype.watch.call(store, given, signal);
  };
  const locks = new LockService(store, { clock: new FakeClock(), observer });
  deepEqual([locks.isInStep, locks.knownGroups.size], [false, 0]);
  const stop = new AbortController();
  const watching = locks.watch(stop.signal);
  equal((await locks.preReboot(alice, group)).kind, "granted");
  deepEqual([locks.isInStep, [...locks.knownGroups.keys()]], [true, [group]]);
  watcher!.lost("away");
  deepEqual([locks.isInStep, [...locks.knownGroups.keys()]], [false, [group]]);
  deepEqual(told, ["synced", "away"]);
  stop.abort();
  await watching;
});

Deno.test("the groups are those that are known where the store does not answer, and a fault of the program is thrown", async () => {
  const { store, locks } = setUp();
  equal((await locks.preReboot(alice, group)).kind, "granted");
  let fault: Error = new UnavailableError("away");
  store.before = (call) => call === "list" ? Promise.reject(fault) : undefined;
  deepEqual([...(await locks.groups()).keys()], [group]);
  fault = new TypeError("bug");
  await rejects(locks.groups(), TypeError);
});

Deno.test("a probe reads a group from the store, and fails where that does not answer", async () => {
  const { store, locks } = setUp();
  await locks.probe(group);
  equal(store.reads + store.lists + store.writes > 0, true);
  store.before = () => Promise.reject(new UnavailableError("away"));
  await rejects(locks.probe(group), UnavailableError);
});

Deno.test("several replicas never hold more than the slots, in any interleaving", async () => {
  type Step = { replica: number; who: number; operation: "preReboot" | "steadyState" };
  const step: fc.Arbitrary<Step> = fc.record({
    replica: fc.nat(2),
    who: fc.nat(5),
    operation: fc.constantFrom("preReboot", "steadyState"),
  });
  await fc.assert(
    fc.asyncProperty(
      fc.scheduler(),
      fc.constantFrom(1, 2, 3, 10),
      fc.boolean(),
      fc.array(step, { maxLength: 30 }),
      async (scheduler, slots, watch, steps) => {
        const backend = new MemoryBackend();
        let most = 0;
        class Scheduled extends MemoryLockStore {
          override read(...args: Parameters<LockStore["read"]>) {
            return scheduler.schedule(Promise.resolve()).then(() => super.read(...args));
          }
          override write(...args: Parameters<LockStore["write"]>) {
            return scheduler.schedule(Promise.resolve()).then(() => super.write(...args)).then((written) => {
              most = Math.max(most, holders(backend).length);
              return written;
            });
          }
        }
        const stop = new AbortController();
        const replicas = [0, 1, 2].map(() =>
          new LockService(new Scheduled(backend), {
            policy: slotsOnly(() => slots),
            clock: new FakeHasty(),
            random: () => 0,
          })
        );
        const watches = watch ? replicas.map((replica) => replica.watch(stop.signal)) : [];
        const results = steps.map(({ replica, who, operation }) =>
          scheduler.schedule(Promise.resolve()).then(async () => {
            await replicas[replica]![operation](client(who), group);
          })
        );
        await scheduler.waitFor(Promise.all(results));
        stop.abort();
        await Promise.all(watches);
        ok(most <= slots, `${most} holders of ${slots}`);
        const grants = backend.groups.get(group)?.state.transitions ?? 0;
        ok(grants <= steps.filter((each) => each.operation === "preReboot").length);
      },
    ),
    { numRuns: 200 },
  );
});

/** A clock whose sleeps end in a microtask, so that a scheduler sees nothing but the store's calls. */
class FakeHasty extends FakeClock {
  override sleep(): Promise<void> {
    return Promise.resolve();
  }
}
