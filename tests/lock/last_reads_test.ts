/**
 * What is read between the last evidence and a yes: how often where all answers are slow, and what counts where the
 * watch speaks against it. Holds that change meanwhile are in used_holds_test.ts, too.
 *
 * @module
 */

import { deepEqual, equal } from "node:assert/strict";
import { parseClientId, parseGroup } from "../../src/lock/identity.ts";
import { LockService } from "../../src/lock/lock_service.ts";
import { MemoryBackend, MemoryLockStore, type Versioned } from "../../src/lock/lock_store.ts";
import type { DrainOutcome } from "../../src/lock/node_keeper.ts";
import type { PreRebootOutcome } from "../../src/lock/outcomes.ts";
import { FakeClock } from "../support/fake_clock.ts";
import { drained, ScriptedKeeper, worker } from "../support/scripted_keeper.ts";

const group = parseGroup("default")!;
const alice = parseClientId("alice")!;
const bob = parseClientId("bob")!;

/** A service that watches, over a store and a keeper that take time. */
class World implements AsyncDisposable {
  readonly backend = new MemoryBackend();
  readonly clock = new FakeClock();
  readonly keeper = new ScriptedKeeper(() => this.backend.groups.get(group)?.state.holders[0]);
  readonly locks: LockService;
  /** The calls of the store, and the drains. */
  readonly calls: string[] = [];
  /** What passes after a call has taken effect, and before its answer arrives. */
  late: (call: string) => Promise<void> = () => Promise.resolve();
  readonly #stop = new AbortController();
  readonly #watching: Promise<void>;

  constructor(hasNode: boolean) {
    const memory = new MemoryLockStore(this.backend);
    const answer = async <T>(call: string, answered: Promise<T>) => {
      const found = await answered;
      this.calls.push(call);
      await this.late(call);
      return found;
    };
    const store = new MemoryLockStore(this.backend);
    store.read = (...args) => answer("read", memory.read(...args));
    store.write = (...args) => answer("write", memory.write(...args));
    this.locks = new LockService(store, { keeper: this.keeper, clock: this.clock, random: () => 0 });
    this.keeper.looks = hasNode ? { kind: "clear", node: worker } : { kind: "clear" };
    this.keeper.drains = async (): Promise<DrainOutcome> => {
      const readAt = this.clock.monotonic();
      this.calls.push("drain");
      await this.late("drain");
      return { kind: "drained", ...(hasNode ? drained() : { host: { kind: "no_node" } }), readAt, confirmedAt: readAt };
    };
    this.#watching = this.locks.watch(this.#stop.signal);
  }

  /** Answers alice with the kind of the outcome. */
  async ask(): Promise<string> {
    const outcome: PreRebootOutcome = await this.locks.preReboot(alice, group);
    return outcome.kind === "refused" ? outcome.refusal.kind : outcome.kind;
  }

  /** Gives the slot to bob, as others do. The watch shows it. */
  giveToBob(): void {
    const { state } = this.backend.groups.get(group)!;
    this.show({ state: { ...state, holders: [{ id: bob, since: 7_000 }] }, version: ++this.backend.version });
  }

  /** Puts a state into the store, and shows it to the watch. */
  show(found: Versioned): void {
    this.backend.groups.set(group, found);
    for (const watcher of this.backend.watchers) watcher.changed(group, found, found.version);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#watching;
  }
}

for (const hasNode of [false, true]) {
  const whose = hasNode ? "with a Node" : "without one";

  Deno.test(`a slot that goes to another host while the last read is under way gives no yes to a host ${whose}`, async () => {
    await using world = new World(hasNode);
    world.late = async (call) => {
      // The write that the yes rests on is slow, so that the hold is read again.
      if (call === "write") await world.clock.advance(201);
      if (call === "read") world.giveToBob();
    };
    equal(await world.ask(), "contended");
    equal(world.backend.groups.get(group)?.state.holders[0]?.id, bob);
  });

  Deno.test(`a watch that shows what a later read contradicts costs a host ${whose} one read`, async () => {
    await using world = new World(hasNode);
    let isShown = false;
    world.late = () => {
      const { length } = world.calls;
      if (isShown || length < (hasNode ? 3 : 2)) return Promise.resolve();
      isShown = true;
      // As a watch may that is ahead of a store which was restored from a backup.
      const { state } = world.backend.groups.get(group)!;
      const shown = { state: { ...state, holders: [] }, version: world.backend.version + 100 };
      for (const watcher of world.backend.watchers) watcher.changed(group, shown, shown.version);
      return Promise.resolve();
    };
    equal(await world.ask(), "granted");
    deepEqual(world.calls, hasNode ? ["write", "drain", "write", "read"] : ["write", "drain", "read"]);
  });
}

Deno.test("a watch that shows another state after each read ends in a refusal", async () => {
  await using world = new World(true);
  world.late = (call) => {
    if (call === "drain") return Promise.resolve();
    const { state, version } = world.backend.groups.get(group)!;
    const shown = { state: { ...state, holders: [] }, version: version + 1_000 + world.calls.length };
    for (const watcher of world.backend.watchers) watcher.changed(group, shown, shown.version);
    return Promise.resolve();
  };
  equal(await world.ask(), "contended");
});

/** How long each call takes, in milliseconds, and what a host without a Node costs and gets. */
const LATENCIES: [ms: number, calls: string[], answer: string][] = [
  [100, ["write", "drain", "read"], "granted"],
  [201, ["write", "drain", "read"], "granted"],
  [350, ["write", "drain", "read"], "granted"],
  [500, ["write", "drain", "read"], "granted"],
  [501, ["write", "drain", "read", "drain", "read"], "granted"],
  [1_000, ["write", "drain", "read", "drain", "read"], "granted"],
];

for (const [ms, calls, answer] of LATENCIES) {
  Deno.test(`where each call takes ${ms} ms, a host without a Node gets its yes by ${calls.length} calls`, async () => {
    await using world = new World(false);
    world.late = () => world.clock.advance(ms);
    equal(await world.ask(), answer);
    deepEqual(world.calls, calls);
  });
}

Deno.test("where each read of a hold takes more than a second, nobody gets a yes", async () => {
  await using world = new World(false);
  world.late = () => world.clock.advance(1_001);
  equal(await world.ask(), "contended");
});
