/**
 * A hold whose host may reboot shows it in its record, whichever way its yes came; one whose host had no yes does not;
 * and what happens between the last reading and the yes is not overlooked.
 *
 * @module
 */

import { deepEqual, equal, ok } from "node:assert/strict";
import { type ClientId, parseClientId, parseGroup } from "../../src/lock/identity.ts";
import { LockService } from "../../src/lock/lock_service.ts";
import { ABSENT, MemoryBackend, MemoryLockStore } from "../../src/lock/lock_store.ts";
import type { DrainOutcome } from "../../src/lock/node_keeper.ts";
import { slotsOnly } from "../../src/lock/policy.ts";
import type { Holder } from "../../src/lock/semaphore.ts";
import { judgeYes } from "../../src/lock/yes.ts";
import { FakeClock, HastyClock } from "../support/fake_clock.ts";
import { drained, NO_NODE, noted, ScriptedKeeper, timedOut, worker } from "../support/scripted_keeper.ts";

const group = parseGroup("default")!;
const alice = parseClientId("alice")!;
const bob = parseClientId("bob")!;

/** @param clock Must stand still where the service watches: its timers would move a hasty one on. */
function setUp({ isDraining = true, clock = new HastyClock() }: { isDraining?: boolean; clock?: FakeClock } = {}) {
  const backend = new MemoryBackend();
  const held = (): Holder | undefined => backend.groups.get(group)?.state.holders[0];
  const keeper = new ScriptedKeeper(() => held());
  const store = new MemoryLockStore(backend);
  const locks = new LockService(store, { keeper: isDraining ? keeper : undefined, clock, random: () => 0 });
  return { backend, store, keeper, clock, held, locks };
}

/** Puts holds into a backend, in the place of what is there. */
async function put(backend: MemoryBackend, ...holders: (Partial<Holder> & { id?: ClientId })[]): Promise<void> {
  const whole = holders.map((holder) => ({ id: alice, since: 1_000, ...holder }));
  const now = backend.groups.get(group) ?? ABSENT;
  await new MemoryLockStore(backend).write(group, now, { holders: whole, transitions: 1, renewed: 1_000 });
}

for (const phase of ["draining", "failed"] as const) {
  Deno.test(`a yes without a drain is noted with a hold that another server left ${phase}`, async () => {
    const { backend, held, locks } = setUp({ isDraining: false });
    await put(backend, { node: noted(phase) });
    equal((await locks.preReboot(alice, group)).kind, "renewed");
    deepEqual([held()?.hadYes, held()?.node], [true, noted(phase)]);
  });
}

Deno.test("a yes without a drain costs no further write where the record shows it already", async () => {
  for (const holder of [{}, { node: noted("drained") }, { node: noted("failed"), hadYes: true as const }]) {
    const { backend, locks } = setUp({ isDraining: false });
    await put(backend, holder);
    const before = backend.version;
    equal((await locks.preReboot(alice, group)).kind, "renewed");
    equal(backend.version, before + 1);
  }
});

Deno.test("no evidence is enough for a yes on a hold whose record shows none", () => {
  const holder = { id: alice, since: 1_000, node: noted("draining") };
  const written = { holders: [holder], transitions: 1 };
  const hold = { id: alice, since: 1_000, written, slots: 1, isEnding: false, ageMs: 0 };
  const shown = { ...hold, written: { ...written, holders: [{ ...holder, hadYes: true as const }] } };
  const { host: waived } = drained(worker, { isTimedOut: true });
  for (const host of [{ kind: "not_drained" } as const, waived]) {
    deepEqual(judgeYes(hold, host), { kind: "not_written" });
    deepEqual(judgeYes(shown, host), { kind: "yes", staying: [] });
  }
});

Deno.test("a host without a node gets no yes on a slot that was freed while its Node was looked for", async () => {
  const { backend, keeper, held, locks } = setUp();
  keeper.looks = { kind: "clear" };
  keeper.drains = async () => {
    // An administrator frees the slot, and another host takes it.
    await put(backend, { id: bob, node: noted("drained") });
    return NO_NODE;
  };
  const answer = await locks.preReboot(alice, group);
  equal(answer.kind === "refused" && answer.refusal.kind, "contended");
  equal(held()?.id, bob);
});

/** What the watch may show of a hold right after the write that notes its drain. */
const CHANGES: [what: string, change: (backend: MemoryBackend) => Promise<void> | void, refusal: string][] = [
  ["another's slot", (backend) => put(backend, { id: bob, node: noted("drained") }), "contended"],
  ["about another Node", (backend) => {
    const { since } = backend.groups.get(group)!.state.holders[0]!;
    return put(backend, { since, node: { ...noted("draining"), uid: "uid-2" } });
  }, "contended"],
  ["on a lock whose object is being deleted", (backend) => {
    const ending = { object: "Lease default/fleetlock-default", finalizers: [] };
    const found = { ...backend.groups.get(group)!, ending, version: ++backend.version };
    backend.groups.set(group, found);
    for (const watcher of backend.watchers) watcher.changed(group, found, found.version);
  }, "lock_ending"],
];

for (const [what, change, refusal] of CHANGES) {
  Deno.test(`a host gets no yes on a hold that the watch shows to be ${what} right after it was written`, async () => {
    const { backend, store, keeper, locks } = setUp({ clock: new FakeClock() });
    keeper.looks = { kind: "clear", node: worker };
    keeper.drains = drained();
    const stop = new AbortController();
    const watching = locks.watch(stop.signal);
    const write = store.write.bind(store);
    let writes = 0;
    store.write = async (...args) => {
      const written = await write(...args);
      if (++writes === 2) await change(backend);
      return written;
    };
    const answer = await locks.preReboot(alice, group);
    stop.abort();
    await watching;
    equal(answer.kind === "refused" && answer.refusal.kind, refusal);
  });
}

Deno.test("a node is read again where the write that notes its drain takes long, and an uncordon in it is no yes", async () => {
  for (const [ms, kind] of [[1_000, "granted"], [1_001, "draining"]] as const) {
    const { store, keeper, clock, locks } = setUp();
    keeper.looks = { kind: "clear", node: worker };
    keeper.drains = () => {
      const isUncordoned = keeper.drained.length > 1;
      return Promise.resolve(isUncordoned ? { kind: "draining", node: worker.name, pods: [] } : drained());
    };
    let writes = 0;
    const write = store.write.bind(store);
    store.write = async (...args) => {
      const written = await write(...args);
      if (++writes === 2) await clock.advance(ms);
      return written;
    };
    const answer = await locks.preReboot(alice, group);
    equal(answer.kind === "refused" ? answer.refusal.kind : answer.kind, kind);
  }
});

const elsewhere = { ...worker, uid: "uid-2" };

/** What a second reading may show, and how many drains the yes takes then. */
const SECOND: [what: string, second: DrainOutcome, drains: number][] = [
  ["the node as it was", drained(), 2],
  ["that the host runs on another Node", { kind: "moved", node: worker }, 3],
  ["another Node, drained", drained(elsewhere), 3],
  ["a Node that was gone", NO_NODE, 3],
  ["that its drain goes on", { kind: "draining", node: worker.name, pods: [] }, 3],
  ["that the time-out permits the reboot", timedOut(), 2],
];

for (const [what, second, drains] of SECOND) {
  Deno.test(`a second reading proves a yes only by what it shows: ${what}: ${drains} drains`, async () => {
    const { store, keeper, clock, locks, held } = setUp();
    keeper.looks = { kind: "clear", node: worker };
    const waits: number[] = [];
    keeper.drains = (_, waitMs) => {
      waits.push(waitMs);
      return Promise.resolve(waits.length === 2 ? second : drained());
    };
    let writes = 0;
    const write = store.write.bind(store);
    store.write = async (...args) => {
      const written = await write(...args);
      if (++writes === 2) await clock.advance(1_001);
      return written;
    };
    equal((await locks.preReboot(alice, group)).kind, "granted");
    equal(held()?.node?.uid, worker.uid);
    deepEqual(waits, [240_000, 238_999, 238_999].slice(0, drains));
  });
}

Deno.test("a second reading that comes after the answer was due does not wait, and one that is too old itself is made again", async () => {
  const { store, keeper, clock, locks } = setUp();
  keeper.looks = { kind: "clear", node: worker };
  const waits: number[] = [];
  keeper.drains = (_, waitMs) => {
    waits.push(waitMs);
    // The second reading says that it is from long ago.
    return Promise.resolve({ ...drained(), ...(waits.length === 2 && { readAt: clock.monotonic() - 3_600_000 }) });
  };
  let writes = 0;
  const write = store.write.bind(store);
  store.write = async (...args) => {
    const written = await write(...args);
    if (++writes === 2) await clock.advance(250_000);
    return written;
  };
  equal((await locks.preReboot(alice, group)).kind, "granted");
  ok(waits.length > 2);
  deepEqual(waits.slice(1).filter((waitMs) => waitMs !== 0), []);
});

/** Runs something before the write of a store whose turn it is. */
function beforeWrite(store: MemoryLockStore, turn: number, act: () => Promise<void>): void {
  let writes = 0;
  const write = store.write.bind(store);
  store.write = async (...args) => {
    if (++writes === turn) await act();
    return await write(...args);
  };
}

Deno.test("a second reading is as old as it says", async () => {
  const { store, keeper, clock, locks } = setUp();
  keeper.looks = { kind: "clear", node: worker };
  keeper.drains = () => {
    const isSecond = keeper.drained.length === 2;
    return Promise.resolve({ ...drained(), ...(isSecond && { readAt: clock.monotonic() - 3_600_000 }) });
  };
  // Only the write that notes the first drain takes long.
  beforeWrite(store, 2, () => clock.advance(1_001));
  equal((await locks.preReboot(alice, group)).kind, "granted");
  equal(keeper.drained.length, 3);
});

Deno.test("a host without a node gets no yes on a slot that was freed while its Node was looked for, and is not granted it anew", async () => {
  const { backend, keeper, held, locks } = setUp();
  keeper.looks = { kind: "clear" };
  keeper.drains = async () => {
    await put(backend);
    return NO_NODE;
  };
  const answer = await locks.preReboot(alice, group);
  equal(answer.kind === "refused" && answer.refusal.kind, "contended");
  equal(held(), undefined);
});

Deno.test("a hold that has become one too many while it was written gets no yes", async () => {
  const backend = new MemoryBackend();
  const store = new MemoryLockStore(backend);
  let slots = 2;
  const locks = new LockService(store, { policy: slotsOnly(() => slots), clock: new HastyClock(), random: () => 0 });
  await put(backend, { id: bob, since: 500 }, {});
  beforeWrite(store, 1, () => {
    slots = 1;
    return Promise.resolve();
  });
  const answer = await locks.preReboot(alice, group);
  ok(answer.kind === "refused" && answer.refusal.kind === "lock_held");
  deepEqual([answer.refusal.holders.map(({ id }) => id), answer.refusal.slots], [[bob], 1]);
});

Deno.test("without drains, a yes that cannot be noted is none", async () => {
  const { backend, store, locks } = setUp({ isDraining: false });
  await put(backend, { node: noted("draining") });
  beforeWrite(store, 2, () => put(backend, { id: bob }));
  equal((await locks.preReboot(alice, group)).kind, "refused");
});

Deno.test("a node that others uncordon before the answer is drained again, and no pods are named", async () => {
  for (const change of [{ unschedulable: false }, { deleting: true }]) {
    const { keeper, locks } = setUp();
    keeper.looks = { kind: "clear", node: worker };
    const node = { uid: worker.uid, unschedulable: true, deleting: false, ready: "True", ...change };
    keeper.drains = drained(worker, { node });
    const answer = await locks.preReboot(alice, group);
    deepEqual(answer, {
      kind: "refused",
      refusal: { kind: "draining", node: worker.name, pods: [] },
    });
  }
});

Deno.test("a hold that moves to its Node in the request that took it has had no yes, so that it may yield", async () => {
  const { keeper, held, locks } = setUp();
  // The Node has joined a moment ago, and the watch has not shown it yet.
  keeper.looks = { kind: "clear" };
  keeper.drains = (hold) => {
    return Promise.resolve(
      hold.node === undefined ? { kind: "moved", node: worker } : { kind: "draining", node: worker.name, pods: [] },
    );
  };
  const answer = await locks.preReboot(alice, group);
  equal(answer.kind === "refused" && answer.refusal.kind, "draining");
  deepEqual([held()?.node, held()?.hadYes], [noted("draining"), undefined]);
});

Deno.test("a hold that moves after another request has renewed it may have had a yes", async () => {
  const { backend, keeper, held, locks } = setUp();
  const rival = new LockService(new MemoryLockStore(backend), { random: () => 0 });
  keeper.looks = { kind: "clear" };
  keeper.drains = async (hold) => {
    if (hold.node !== undefined) return { kind: "draining", node: worker.name, pods: [] };
    equal((await rival.preReboot(alice, group)).kind, "renewed");
    return { kind: "moved", node: worker };
  };
  const answer = await locks.preReboot(alice, group);
  equal(answer.kind === "refused" && answer.refusal.kind, "draining");
  deepEqual([held()?.node, held()?.hadYes], [noted("draining"), true]);
});
