import { deepEqual, equal, notEqual, ok, rejects } from "node:assert/strict";
import { type ClientId, type Group, parseClientId, parseGroup } from "../../src/lock/identity.ts";
import { LockService } from "../../src/lock/lock_service.ts";
import { UnavailableError } from "../../src/lock/errors.ts";
import { ABSENT, type LockWatcher, MemoryBackend, MemoryLockStore } from "../../src/lock/lock_store.ts";
import type { DrainOutcome, Hold, NodeKeeper, NodeMatch, ReturnOutcome } from "../../src/lock/node_keeper.ts";
import type { Holder } from "../../src/lock/semaphore.ts";
import { until } from "../support/condition.ts";
import { HastyClock } from "../support/fake_clock.ts";

const group = parseGroup("default")!;
const alice = parseClientId("alice")!;
const bob = parseClientId("bob")!;
const pods = [{ namespace: "web", name: "web-0", reason: "its budget allows no disruption now" }];

/** A keeper that answers what the test says, and notes what it was asked to do. */
class ScriptedKeeper implements NodeKeeper {
  matches: NodeMatch = { kind: "node", name: "worker-1", bootId: "boot-1" };
  drains: DrainOutcome | (() => Promise<DrainOutcome>) = { kind: "drained" };
  returns: ReturnOutcome | (() => Promise<ReturnOutcome>) = { kind: "ready" };
  readonly drained: Hold[] = [];
  readonly uncordoned: { group: string; id: string; since?: number }[] = [];
  readonly ended: { group: Group; id: ClientId }[] = [];
  readonly held: () => Holder | undefined;

  /** @param held Looks into the store. */
  constructor(held: () => Holder | undefined) {
    this.held = held;
  }

  match(): Promise<NodeMatch> {
    return Promise.resolve(this.matches);
  }

  async drain(hold: Hold): Promise<DrainOutcome> {
    equal(this.held()?.id, hold.id, "a node is drained only for a holder");
    this.drained.push(hold);
    return typeof this.drains === "function" ? await this.drains() : this.drains;
  }

  async awaitReturn(_hold: Hold): Promise<ReturnOutcome> {
    return typeof this.returns === "function" ? await this.returns() : this.returns;
  }

  uncordon(of: string, id: string, since?: number): Promise<void> {
    this.uncordoned.push({ group: of, id, since });
    return Promise.resolve();
  }

  holdEnded(of: Group, id: ClientId): void {
    this.ended.push({ group: of, id });
  }

  [Symbol.asyncDispose](): Promise<void> {
    return Promise.resolve();
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

Deno.test("a yes comes after the drain, and the lock tells the node and how far it is", async () => {
  const { keeper, locks, held } = setUp();
  keeper.drains = () => {
    deepEqual(held()?.node, { name: "worker-1", bootId: "boot-1", phase: "draining" });
    return Promise.resolve({ kind: "drained" });
  };
  equal((await locks.preReboot(alice, group)).kind, "granted");
  deepEqual(held()?.node, { name: "worker-1", bootId: "boot-1", phase: "drained" });
});

Deno.test("pods that are left are no yes; the slot stays taken, and the next request joins", async () => {
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
  keeper.drains = { kind: "drained" };
  equal((await locks.preReboot(alice, group)).kind, "renewed");
});

Deno.test("a drain that failed keeps the lock and says so, until it succeeds after all", async () => {
  const { keeper, locks, held } = setUp();
  keeper.drains = { kind: "failed", node: "worker-1", pods };
  const outcome = await locks.preReboot(alice, group);
  ok(outcome.kind === "refused" && outcome.refusal.kind === "drain_failed");
  equal(held()?.node?.phase, "failed");
  equal((await locks.preReboot(bob, group)).kind, "refused");
  keeper.drains = { kind: "drained" };
  equal((await locks.preReboot(alice, group)).kind, "renewed");
  equal(held()?.node?.phase, "drained");
});

Deno.test("policy may go on with pods left", async () => {
  const { keeper, locks } = setUp();
  keeper.drains = { kind: "proceed", node: "worker-1", pods };
  equal((await locks.preReboot(alice, group)).kind, "granted");
});

Deno.test("an ambiguous client takes no slot, so that others of its group go on", async () => {
  const { keeper, locks, held } = setUp();
  keeper.matches = { kind: "ambiguous", nodes: ["worker-1", "worker-2"] };
  deepEqual(await locks.preReboot(alice, group), {
    kind: "refused",
    refusal: { kind: "node_ambiguous", nodes: ["worker-1", "worker-2"] },
  });
  equal(held(), undefined);
});

Deno.test("a holder that has become ambiguous gets no yes", async () => {
  const { keeper, locks } = setUp();
  await locks.preReboot(alice, group);
  keeper.matches = { kind: "ambiguous", nodes: ["worker-1", "worker-2"] };
  const outcome = await locks.preReboot(alice, group);
  ok(outcome.kind === "refused" && outcome.refusal.kind === "node_ambiguous");
});

Deno.test("a host that matches no node is locked and released without a drain", async () => {
  const { keeper, locks, held } = setUp();
  keeper.matches = { kind: "none" };
  equal((await locks.preReboot(alice, group)).kind, "granted");
  equal(held()?.node, undefined);
  deepEqual(keeper.drained, []);
  equal((await locks.steadyState(alice, group)).kind, "released");
});

Deno.test("a hold that ended while its host's node was looked for is no yes", async () => {
  const { keeper, locks, held, clock, rival } = setUp();
  keeper.matches = { kind: "none" };
  await locks.preReboot(alice, group);
  const match = keeper.match.bind(keeper);
  keeper.match = async () => {
    // The process was paused for so long that the client came back through another replica, and someone else took over.
    keeper.match = match;
    await clock.advance(60_000);
    await rival.steadyState(alice, group);
    await rival.preReboot(bob, group);
    return await match();
  };
  const outcome = await locks.preReboot(alice, group);
  ok(outcome.kind === "refused" && outcome.refusal.kind === "lock_held");
  equal(held()?.id, bob);
});

Deno.test("a refused client costs the keeper nothing", async () => {
  const { keeper, locks } = setUp();
  await locks.preReboot(alice, group);
  keeper.match = () => Promise.reject(new Error("must not be asked"));
  equal((await locks.preReboot(bob, group)).kind, "refused");
});

Deno.test("a lock that is deleted by hand while its node is drained is no yes", async () => {
  const { backend, keeper, locks } = setUp();
  keeper.drains = () => {
    backend.groups.delete(group);
    return Promise.resolve({ kind: "drained" });
  };
  const outcome = await locks.preReboot(alice, group);
  ok(outcome.kind === "refused" && outcome.refusal.kind === "contended");
  equal(backend.groups.get(group), undefined);
});

Deno.test("a lock that another client got while the drain went on is no yes", async () => {
  const { backend, keeper, locks, held } = setUp();
  const rival = new LockService(new MemoryLockStore(backend));
  keeper.drains = async () => {
    await rival.steadyState(alice, group);
    await rival.preReboot(bob, group);
    return { kind: "drained" };
  };
  equal((await locks.preReboot(alice, group)).kind, "refused");
  equal(held()?.id, bob);
});

Deno.test("a slot is freed when the node is back, after our cordon is lifted", async () => {
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
    equal(held()?.id, alice, "the slot is freed last");
    return uncordon(...args);
  };
  const { since } = held()!;
  equal((await locks.steadyState(alice, group)).kind, "released");
  deepEqual(keeper.uncordoned, [{ group, id: alice, since }]);
  equal(held(), undefined);
});

for (const watch of [true, false]) {
  for (const where of ["for the node's return", "while the cordon is lifted"]) {
    Deno.test(`a release that is held up ${where} does not free the client's next hold ${watch ? "with" : "without"} a watch`, async () => {
      const { keeper, locks, held, holdAgain } = setUp();
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
          await holdAgain();
          await uncordon(...args);
        };
      }
      deepEqual(await locks.steadyState(alice, group), { kind: "refused", refusal: { kind: "contended" } });
      const asked = where === "for the node's return" ? [] : [{ group, id: alice, since }];
      deepEqual(keeper.uncordoned, asked, "the next hold's cordon is not asked for");
      notEqual(held()!.since, since);
      stop.abort();
      await watching;
    });
  }
}

for (const watch of [true, false]) {
  Deno.test(`a release that is held up while the drain of the same hold ends in a yes frees nothing ${watch ? "with" : "without"} a watch`, async () => {
    const { backend, keeper, locks, held } = setUp();
    const stop = new AbortController();
    const watching = watch ? locks.watch(stop.signal) : undefined;
    const drained = Promise.withResolvers<DrainOutcome>();
    const other = new ScriptedKeeper(held);
    other.drains = () => drained.promise;
    const rival = new LockService(new MemoryLockStore(backend), { keeper: other });
    const rebooting = rival.preReboot(alice, group);
    await until(() => held() !== undefined);
    keeper.returns = async () => {
      drained.resolve({ kind: "drained" });
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

Deno.test("how far its drain is, is read afresh before a host's return is judged", async () => {
  const { backend, keeper, held } = setUp();
  /** A store whose watch stays in step and tells of nothing. */
  class Silent extends MemoryLockStore {
    override watch(watcher: LockWatcher, signal: AbortSignal): Promise<void> {
      return super.watch({ synced: (listing) => watcher.synced(listing), changed() {}, lost() {} }, signal);
    }
  }
  const rival = new LockService(new MemoryLockStore(backend), { keeper: new ScriptedKeeper(held) });
  const phases: unknown[] = [];
  keeper.awaitReturn = (hold: Hold) => {
    phases.push(hold.node?.phase);
    return Promise.resolve({ kind: "ready" });
  };
  await new MemoryLockStore(backend).write(group, ABSENT, {
    holders: [{ id: alice, since: 1, node: { name: "worker-1", phase: "draining" } }],
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

Deno.test("a release by a replica whose view is old waits for the hold that the client has now", async () => {
  const { keeper, locks, held, holdAgain } = setUp();
  await locks.preReboot(alice, group);
  // Without a watch, the replica does not hear of this.
  await holdAgain();
  const { since } = held()!;
  equal((await locks.steadyState(alice, group)).kind, "released");
  deepEqual(keeper.uncordoned, [{ group, id: alice, since }]);
});

for (const kind of ["drained", "proceed", "failed"] as const) {
  Deno.test(`a drain that ended as ${kind} for an earlier hold is no yes for the client's next, and not noted with it`, async () => {
    const { keeper, locks, held, holdAgain } = setUp();
    keeper.drains = async () => {
      await holdAgain();
      return { kind, node: "worker-1", pods };
    };
    const outcome = await locks.preReboot(alice, group);
    equal(outcome.kind, "refused");
    notEqual(held()?.node?.phase, "drained");
    notEqual(held()?.node?.phase, "failed");
  });
}

Deno.test("a client that holds nothing has our cordon lifted if one is left", async () => {
  const { keeper, locks } = setUp();
  equal((await locks.steadyState(alice, group)).kind, "not_held");
  deepEqual(keeper.uncordoned, [{ group, id: alice, since: undefined }]);
});

Deno.test("a cluster that does not answer is neither a yes nor a release", async () => {
  const { keeper, locks, held } = setUp();
  await locks.preReboot(alice, group);
  keeper.drain = () => Promise.reject(new UnavailableError("away"));
  await rejects(locks.preReboot(alice, group), UnavailableError);
  keeper.uncordon = () => Promise.reject(new UnavailableError("away"));
  await rejects(locks.steadyState(alice, group), UnavailableError);
  equal(held()?.id, alice);
});
