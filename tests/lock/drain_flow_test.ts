import { deepEqual, equal, notEqual, ok, rejects } from "node:assert/strict";
import { parseClientId, parseGroup } from "../../src/lock/identity.ts";
import { LockService } from "../../src/lock/lock_service.ts";
import { UnavailableError } from "../../src/lock/errors.ts";
import { ABSENT, type LockWatcher, MemoryBackend, MemoryLockStore } from "../../src/lock/lock_store.ts";
import type { DrainOutcome, Hold } from "../../src/lock/node_keeper.ts";
import type { Holder } from "../../src/lock/semaphore.ts";
import { until } from "../support/condition.ts";
import { HastyClock } from "../support/fake_clock.ts";
import { CountingStore } from "../support/faulty_stores.ts";
import { drained, NO_NODE, noted, ScriptedKeeper, timedOut, worker } from "../support/scripted_keeper.ts";

const group = parseGroup("default")!;
const alice = parseClientId("alice")!;
const bob = parseClientId("bob")!;
const pods = [{ namespace: "web", name: "web-0", reason: "its budget allows no disruption now" }];

/** A store whose watch stays in step and tells of nothing. */
class Silent extends MemoryLockStore {
  override watch(watcher: LockWatcher, signal: AbortSignal): Promise<void> {
    return super.watch({ synced: (listing) => watcher.synced(listing), changed() {}, lost() {} }, signal);
  }
}

function setUp() {
  const backend = new MemoryBackend();
  const held = () => backend.groups.get(group)?.state.holders[0];
  const keeper = new ScriptedKeeper(held);
  const clock = new HastyClock();
  const locks = new LockService(new MemoryLockStore(backend), { keeper, clock, random: () => 0 });
  /** Another replica, through which the client comes back and is granted a slot again. */
  const rival = new LockService(new MemoryLockStore(backend), { clock });
  const holdAgain = async () => {
    await clock.advance(1_000);
    equal((await rival.steadyState(alice, group)).kind, "released");
    await clock.advance(1_000);
    equal((await rival.preReboot(alice, group)).kind, "granted");
  };
  return { backend, clock, keeper, locks, rival, held, holdAgain };
}

Deno.test("a yes comes after the drain, and the lock records the node and its drain phase", async () => {
  const { keeper, locks, held } = setUp();
  keeper.drains = () => {
    deepEqual(held()?.node, noted("draining"));
    return Promise.resolve(drained({ ...worker, bootId: "boot-2" }));
  };
  equal((await locks.preReboot(alice, group)).kind, "granted");
  deepEqual(held()?.node, noted("drained", { ...worker, bootId: "boot-2" }), "the boot is the one that was read last");
});

Deno.test("while pods are left, a client is refused, keeps its slot, and its next request joins the drain", async () => {
  const { keeper, locks, held } = setUp();
  keeper.drains = { kind: "draining", node: "worker-1", pods };
  for (const _ of [1, 2]) {
    deepEqual(await locks.preReboot(alice, group), {
      kind: "refused",
      refusal: { kind: "draining", node: "worker-1", pods },
    });
  }
  equal(new Set(keeper.drained.map((hold) => hold.since)).size, 1);
  equal(held()?.node?.phase, "draining");
  keeper.drains = drained();
  equal((await locks.preReboot(alice, group)).kind, "renewed");
});

Deno.test("a client whose drain failed keeps its slot and is refused until a drain succeeds", async () => {
  const { keeper, locks, held } = setUp();
  keeper.drains = { kind: "failed", node: "worker-1", pods };
  const outcome = await locks.preReboot(alice, group);
  ok(outcome.kind === "refused" && outcome.refusal.kind === "drain_failed");
  equal(held()?.node?.phase, "failed");
  equal((await locks.preReboot(bob, group)).kind, "refused");
  keeper.drains = drained();
  equal((await locks.preReboot(alice, group)).kind, "renewed");
  equal(held()?.node?.phase, "drained");
});

Deno.test("a drain that policy lets proceed with pods left is a yes", async () => {
  const { keeper, locks } = setUp();
  keeper.drains = timedOut();
  equal((await locks.preReboot(alice, group)).kind, "granted");
});

Deno.test("a client whose id several nodes have is refused and takes no slot", async () => {
  const { keeper, locks, held } = setUp();
  keeper.looks = { kind: "ambiguous", nodes: ["worker-1", "worker-2"] };
  deepEqual(await locks.preReboot(alice, group), {
    kind: "refused",
    refusal: { kind: "node_ambiguous", nodes: ["worker-1", "worker-2"] },
  });
  equal(held(), undefined);
});

Deno.test("a holder whose drain finds several nodes of its id gets no yes", async () => {
  const { keeper, locks } = setUp();
  keeper.drains = { kind: "ambiguous", nodes: ["worker-1", "worker-2"] };
  deepEqual(await locks.preReboot(alice, group), {
    kind: "refused",
    refusal: { kind: "node_ambiguous", nodes: ["worker-1", "worker-2"] },
  });
});

Deno.test("a host that matches no node is locked and released without a drain", async () => {
  const { keeper, locks, held } = setUp();
  keeper.looks = { kind: "clear" };
  keeper.drains = NO_NODE;
  equal((await locks.preReboot(alice, group)).kind, "granted");
  equal(held()?.node, undefined);
  equal((await locks.steadyState(alice, group)).kind, "released");
});

Deno.test("a hold that ended during the search for its node does not lead to a yes", async () => {
  const { keeper, locks, held, clock, rival } = setUp();
  keeper.looks = { kind: "clear" };
  keeper.drains = NO_NODE;
  await locks.preReboot(alice, group);
  keeper.drains = async () => {
    // The process was paused for so long that the client came back through another replica, and someone else took over.
    await clock.advance(60_000);
    await rival.steadyState(alice, group);
    await rival.preReboot(bob, group);
    return NO_NODE;
  };
  const outcome = await locks.preReboot(alice, group);
  ok(outcome.kind === "refused" && outcome.refusal.kind === "lock_held");
  equal(held()?.id, bob);
});

Deno.test("the keeper is not asked about a client that finds every slot taken", async () => {
  const { keeper, locks } = setUp();
  await locks.preReboot(alice, group);
  keeper.looks = () => Promise.reject(new Error("must not be asked"));
  equal((await locks.preReboot(bob, group)).kind, "refused");
});

Deno.test("a lock that is deleted by hand during the drain does not lead to a yes", async () => {
  const { backend, keeper, locks } = setUp();
  keeper.drains = () => {
    backend.groups.delete(group);
    return Promise.resolve(drained());
  };
  const outcome = await locks.preReboot(alice, group);
  ok(outcome.kind === "refused" && outcome.refusal.kind === "contended");
  equal(backend.groups.get(group), undefined);
});

Deno.test("a slot that another client took during the drain does not lead to a yes", async () => {
  const { backend, keeper, locks, held } = setUp();
  const rival = new LockService(new MemoryLockStore(backend));
  keeper.drains = async () => {
    await rival.steadyState(alice, group);
    await rival.preReboot(bob, group);
    return drained();
  };
  equal((await locks.preReboot(alice, group)).kind, "refused");
  equal(held()?.id, bob);
});

Deno.test("a slot is freed once the node is back, and then our cordon is lifted", async () => {
  const { keeper, locks, held } = setUp();
  await locks.preReboot(alice, group);
  keeper.returns = { kind: "not_ready", node: "worker-1", reason: "its kubelet has not reported since the reboot" };
  const outcome = await locks.steadyState(alice, group);
  ok(outcome.kind === "refused" && outcome.refusal.kind === "node_not_ready");
  equal(held()?.id, alice);
  deepEqual(keeper.uncordoned, []);
  keeper.returns = { kind: "ready" };
  const uncordon = keeper.uncordon.bind(keeper);
  keeper.uncordon = (...args) => {
    equal(held(), undefined, "the cordon is lifted last");
    return uncordon(...args);
  };
  const { since } = held()!;
  equal((await locks.steadyState(alice, group)).kind, "released");
  deepEqual(keeper.uncordoned, [{ group, id: alice, since }]);
  equal(held(), undefined);
});

for (const watch of [true, false]) {
  for (const where of ["for the node's return", "while the cordon is lifted"]) {
    Deno.test(`a release that is delayed ${where} does not end the client's next hold ${watch ? "with" : "without"} a watch`, async () => {
      const { keeper, locks, rival, held, holdAgain } = setUp();
      const stop = new AbortController();
      const watching = watch ? locks.watch(stop.signal) : undefined;
      await locks.preReboot(alice, group);
      const { since } = held()!;
      if (where === "for the node's return") {
        keeper.returns = async () => {
          await holdAgain();
          return { kind: "ready" };
        };
      } else {
        const uncordon = keeper.uncordon.bind(keeper);
        keeper.uncordon = async (...args) => {
          equal((await rival.preReboot(alice, group)).kind, "granted");
          await uncordon(...args);
        };
      }
      const outcome = await locks.steadyState(alice, group);
      equal(outcome.kind, where === "for the node's return" ? "refused" : "released");
      const asked = where === "for the node's return" ? [] : [{ group, id: alice, since }];
      deepEqual(keeper.uncordoned, asked, "the next hold's cordon is not asked for");
      notEqual(held()!.since, since);
      stop.abort();
      await watching;
    });
  }
}

for (const watch of [true, false]) {
  Deno.test(`a release that is delayed until the drain of its hold ends in a yes frees nothing ${watch ? "with" : "without"} a watch`, async () => {
    const { backend, keeper, locks, held } = setUp();
    const stop = new AbortController();
    const watching = watch ? locks.watch(stop.signal) : undefined;
    const over = Promise.withResolvers<DrainOutcome>();
    const other = new ScriptedKeeper(held);
    other.drains = () => over.promise;
    const rival = new LockService(new MemoryLockStore(backend), { keeper: other });
    const rebooting = rival.preReboot(alice, group);
    await until(() => held() !== undefined);
    keeper.returns = async () => {
      over.resolve(drained());
      equal((await rebooting).kind, "granted");
      return { kind: "ready" };
    };
    deepEqual(await locks.steadyState(alice, group), { kind: "refused", refusal: { kind: "contended" } });
    equal(held()?.id, alice);
    deepEqual(keeper.uncordoned, []);
    stop.abort();
    await watching;
  });
}

Deno.test("a hold that the watch reports as ended is released only if a fresh read confirms it", async () => {
  const { backend, keeper, locks, rival, clock, held } = setUp();
  const stop = new AbortController();
  const watching = locks.watch(stop.signal);
  await locks.preReboot(alice, group);
  keeper.returns = async () => {
    await clock.advance(1_000);
    await rival.steadyState(alice, group);
    // The watch has reported the release. It goes silent before the client's next grant.
    backend.watchers.clear();
    await rival.preReboot(alice, group);
    return { kind: "ready" };
  };
  deepEqual(await locks.steadyState(alice, group), { kind: "refused", refusal: { kind: "contended" } });
  equal(held()?.id, alice);
  stop.abort();
  await watching;
});

Deno.test("the drain phase is read afresh before a host's return is judged", async () => {
  const { backend, keeper, held } = setUp();
  const rival = new LockService(new MemoryLockStore(backend), { keeper: new ScriptedKeeper(held) });
  const phases: unknown[] = [];
  keeper.awaitReturn = (hold: Hold) => {
    phases.push(hold.node?.phase);
    return Promise.resolve({ kind: "ready" });
  };
  await new MemoryLockStore(backend).write(group, ABSENT, {
    holders: [{ id: alice, since: 1, node: noted("draining") }],
    transitions: 1,
  });
  const stop = new AbortController();
  const locks = new LockService(new Silent(backend), { keeper });
  const watching = locks.watch(stop.signal);
  equal((await rival.preReboot(alice, group)).kind, "renewed");
  await locks.steadyState(alice, group);
  deepEqual(phases, ["drained"]);
  stop.abort();
  await watching;
});

for (
  const [what, holder, drains, reads] of [
    ["that notes a Node", { node: noted("drained") }, true, 1],
    ["whose note of a Node is unreadable", { isNodeUnreadable: true }, true, 1],
    ["that notes no Node", {}, true, 0],
    ["that notes a Node, by a server without drains,", { node: noted("drained") }, false, 0],
  ] as const
) {
  Deno.test(`to release a hold ${what} costs ${reads} reads beside the write`, async () => {
    const { backend, keeper } = setUp();
    const store = new CountingStore(backend);
    await store.write(group, ABSENT, { holders: [{ id: alice, since: 1, ...holder }], transitions: 1 });
    const stop = new AbortController();
    const locks = new LockService(store, { ...(drains && { keeper }) });
    const watching = locks.watch(stop.signal);
    store.reset();
    equal((await locks.steadyState(alice, group)).kind, "released");
    deepEqual(store.calls, { reads, writes: 1, lists: 0 });
    stop.abort();
    await watching;
  });
}

Deno.test("a view that is behind a note of the host's Node frees nothing without the Node's return", async () => {
  const { backend, keeper, held } = setUp();
  const store = new MemoryLockStore(backend);
  await store.write(group, ABSENT, { holders: [{ id: alice, since: 1 }], transitions: 1 });
  const stop = new AbortController();
  const locks = new LockService(new Silent(backend), { keeper });
  const watching = locks.watch(stop.signal);
  const asked: unknown[] = [];
  keeper.awaitReturn = ({ node }: Hold) => {
    asked.push(node?.phase);
    return Promise.resolve({ kind: "ready" });
  };
  const found = await store.read(group);
  await store.write(group, found, { holders: [{ id: alice, since: 1, node: noted("drained") }], transitions: 1 });
  deepEqual(await locks.steadyState(alice, group), { kind: "refused", refusal: { kind: "contended" } });
  equal(held()?.id, alice);
  equal((await locks.steadyState(alice, group)).kind, "released");
  deepEqual(asked, [undefined, "drained"]);
  stop.abort();
  await watching;
});

Deno.test("the keeper is told once of each hold that ends, on whichever replica", async () => {
  const { keeper, locks, rival } = setUp();
  const stop = new AbortController();
  const watching = locks.watch(stop.signal);
  await locks.preReboot(alice, group);
  await locks.preReboot(alice, group);
  deepEqual(keeper.ended, []);
  await rival.steadyState(alice, group);
  deepEqual(keeper.ended, [{ group, id: alice }]);
  await locks.preReboot(bob, group);
  await locks.steadyState(bob, group);
  deepEqual(keeper.ended, [{ group, id: alice }, { group, id: bob }]);
  stop.abort();
  await watching;
});

Deno.test("a replica with an old view releases the hold that the client has now", async () => {
  const { keeper, locks, held, holdAgain } = setUp();
  await locks.preReboot(alice, group);
  // Without a watch, the replica does not hear of this.
  await holdAgain();
  const { since } = held()!;
  equal((await locks.steadyState(alice, group)).kind, "released");
  deepEqual(keeper.uncordoned, [{ group, id: alice, since }]);
});

for (
  const [what, outcome] of [
    ["drained", drained()],
    ["timed out", timedOut()],
    ["failed", { kind: "failed", node: "worker-1", pods }],
  ] as const
) {
  Deno.test(`a drain that ended as ${what} for an earlier hold neither leads to a yes for the next one nor is noted with it`, async () => {
    const { keeper, locks, held, holdAgain } = setUp();
    keeper.drains = async () => {
      await holdAgain();
      return outcome;
    };
    const answer = await locks.preReboot(alice, group);
    equal(answer.kind, "refused");
    notEqual(held()?.node?.phase, "drained");
    notEqual(held()?.node?.phase, "failed");
  });
}

Deno.test("a steady-state of a client that holds nothing lifts a cordon of ours that is left", async () => {
  const { keeper, locks } = setUp();
  equal((await locks.steadyState(alice, group)).kind, "not_held");
  deepEqual(keeper.uncordoned, [{ group, id: alice, since: undefined }]);
});

Deno.test("while the cluster does not answer, there is no yes, and a release is not answered until the cordon is lifted", async () => {
  const { keeper, locks, held } = setUp();
  await locks.preReboot(alice, group);
  keeper.drain = () => Promise.reject(new UnavailableError("away"));
  await rejects(locks.preReboot(alice, group), UnavailableError);
  const uncordon = keeper.uncordon.bind(keeper);
  keeper.uncordon = () => Promise.reject(new UnavailableError("away"));
  await rejects(locks.steadyState(alice, group), UnavailableError);
  equal(held(), undefined);
  keeper.uncordon = uncordon;
  equal((await locks.steadyState(alice, group)).kind, "not_held");
  deepEqual(keeper.uncordoned, [{ group, id: alice, since: undefined }]);
});

for (const phase of ["drained", "draining"] as const) {
  Deno.test(`a release frees nothing and lifts no cordon where another replica renewed the ${phase} hold during the wait`, async () => {
    const { backend, keeper, locks, held } = setUp();
    const other = new ScriptedKeeper(held);
    const rival = new LockService(new MemoryLockStore(backend), { keeper: other, clock: new HastyClock() });
    if (phase === "draining") other.drains = { kind: "draining", node: "worker-1", pods };
    await rival.preReboot(alice, group);
    keeper.returns = async () => {
      await rival.preReboot(alice, group);
      return { kind: "ready" };
    };
    deepEqual(await locks.steadyState(alice, group), { kind: "refused", refusal: { kind: "contended" } });
    equal(held()?.node?.phase, phase);
    deepEqual(keeper.uncordoned, []);
    // What is noted before the next request comes does not disturb it.
    keeper.returns = { kind: "ready" };
    equal((await locks.steadyState(alice, group)).kind, "released");
  });
}

Deno.test("a release whose write conflicts with a yes lifts no cordon", async () => {
  const { backend, clock, held } = setUp();
  const keeper = new ScriptedKeeper(held);
  const rival = new LockService(new MemoryLockStore(backend), { keeper: new ScriptedKeeper(held), clock });
  const store = new MemoryLockStore(backend);
  const locks = new LockService(store, { keeper, clock, random: () => 0 });
  equal((await locks.preReboot(alice, group)).kind, "granted");
  const write = store.write.bind(store);
  store.write = async (...args) => {
    store.write = write;
    equal((await rival.preReboot(alice, group)).kind, "renewed");
    return await write(...args);
  };
  deepEqual(await locks.steadyState(alice, group), { kind: "refused", refusal: { kind: "contended" } });
  equal(held()?.id, alice);
  deepEqual(keeper.uncordoned, []);
});

/** Puts holders beyond the one slot into the store, as somebody's edit by hand does. */
async function putBoth(backend: MemoryBackend, holders: readonly Holder[]): Promise<void> {
  await new MemoryLockStore(backend).write(group, ABSENT, { holders, transitions: 1, renewed: 9 });
}

for (const phase of ["draining", "drained", undefined] as const) {
  Deno.test(`a holder that was added by hand waits for the one whose node is ${phase ?? "not known"}, and keeps its record`, async () => {
    const { backend, keeper, locks, clock } = setUp();
    const first: Holder = { id: alice, since: 1, ...(phase && { node: noted(phase) }) };
    await putBoth(backend, [first, { id: bob, since: 2 }]);
    const before = backend.groups.get(group)!.state;
    for (const service of [locks, new LockService(new MemoryLockStore(backend), { clock })]) {
      deepEqual(await service.preReboot(bob, group), {
        kind: "refused",
        refusal: { kind: "lock_held", holders: [first], slots: 1 },
      });
    }
    deepEqual(keeper.drained, []);
    deepEqual(backend.groups.get(group)?.state, before);
    equal((await locks.steadyState(alice, group)).kind, "released");
    keeper.drains = NO_NODE;
    equal((await locks.preReboot(bob, group)).kind, "renewed");
  });
}

Deno.test("a drain that ends after another holder's yes is not noted, and gives no yes", async () => {
  const { backend, keeper, locks } = setUp();
  await putBoth(backend, [{ id: alice, since: 1, node: noted("draining") }]);
  keeper.drains = async () => {
    const store = new MemoryLockStore(backend);
    const found = await store.read(group);
    const rebooting: Holder = { id: bob, since: 2, node: noted("drained", { name: "n", uid: "u" }) };
    await store.write(group, found, { ...found.state, holders: [...found.state.holders, rebooting] });
    return drained();
  };
  const outcome = await locks.preReboot(alice, group);
  ok(outcome.kind === "refused" && outcome.refusal.kind === "lock_held");
  deepEqual(outcome.refusal.holders.map(({ id }) => id), [bob]);
  equal(backend.groups.get(group)?.state.holders[0]?.node?.phase, "draining");
});
