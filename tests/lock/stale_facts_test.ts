/**
 * What the two operations answer where something that was read or written before the request began says yes, and the
 * store says no by the time of the request. Nothing of it may be enough: whatever a 2xx says is compared with the store
 * itself. The keeper's facts are in tests/keeper/stale_facts_test.ts.
 *
 * @module
 */

import { deepEqual, equal, ok } from "node:assert/strict";
import { type ClientId, parseClientId, parseGroup } from "../../src/lock/identity.ts";
import { LockService } from "../../src/lock/lock_service.ts";
import { type Ending, MemoryBackend, MemoryLockStore, type Versioned } from "../../src/lock/lock_store.ts";
import type { DrainOutcome, Hold, LookOutcome } from "../../src/lock/node_keeper.ts";
import type { PreRebootOutcome, SteadyStateOutcome } from "../../src/lock/outcomes.ts";
import { HastyClock } from "../support/fake_clock.ts";
import { drained, NO_NODE, noted, ScriptedKeeper } from "../support/scripted_keeper.ts";

const group = parseGroup("default")!;
const alice = parseClientId("alice")!;
const carol = parseClientId("carol")!;
const ENDING: Ending = { object: "Lease default/fleetlock-default", finalizers: [] };

type Operation = "preReboot" | "steadyState";
type Outcome = PreRebootOutcome | SteadyStateOutcome;

/** What the store has of the group: who holds its only slot, and whether its object is being deleted. */
type Truth = "free" | "alice" | "bob" | "alice, ending" | "free, ending";

/** A store whose answers may come late. */
class LateStore extends MemoryLockStore {
  /** What becomes of the next call of a kind, once it has taken effect. */
  readonly late = new Map<"read" | "write", () => Promise<void>>();

  override async read(...args: Parameters<MemoryLockStore["read"]>): Promise<Versioned> {
    const found = await super.read(...args);
    await this.#wait("read");
    return found;
  }

  override async write(...args: Parameters<MemoryLockStore["write"]>): Promise<Versioned | "conflict"> {
    const written = await super.write(...args);
    await this.#wait("write");
    return written;
  }

  async #wait(call: "read" | "write"): Promise<void> {
    const late = this.late.get(call);
    this.late.delete(call);
    await late?.();
  }
}

/** A keeper of hosts without nodes, which does not ask what the store says by now. */
class Keeper extends ScriptedKeeper {
  override async look(): Promise<LookOutcome> {
    return typeof this.looks === "function" ? await this.looks() : this.looks;
  }

  override async drain(hold: Hold, waitMs: number): Promise<DrainOutcome> {
    return typeof this.drains === "function" ? await this.drains(hold, waitMs) : this.drains;
  }
}

class World {
  readonly backend = new MemoryBackend();
  readonly store = new LateStore(this.backend);
  readonly keeper = new Keeper(() => this.#found?.state.holders[0]);
  readonly locks: LockService;
  readonly #stop = new AbortController();
  #watching: Promise<void> | undefined;

  constructor(hasKeeper: boolean) {
    this.keeper.looks = { kind: "clear" };
    this.keeper.drains = NO_NODE;
    const keeper = hasKeeper ? this.keeper : undefined;
    this.locks = new LockService(this.store, { keeper, clock: new HastyClock(), random: () => 0 });
  }

  get #found(): Versioned | undefined {
    return this.backend.groups.get(group);
  }

  /** Makes something true in the store, as others do. No watch tells it. */
  set(truth: Truth): void {
    const [who, isEnding] = truth.split(", ");
    const since = ++this.backend.version * 10_000;
    const holders = who === "free" ? [] : [{ id: who as ClientId, since }];
    const state = { holders, transitions: 1, renewed: since };
    this.backend.groups.set(group, { state, version: this.backend.version, ...(isEnding && { ending: ENDING }) });
  }

  /** Begins the watch, which then goes silent. */
  watchOnce(): void {
    this.#watching = this.locks.watch(this.#stop.signal);
    this.backend.watchers.clear();
  }

  /** Has a request under way whose next call of a kind has taken effect. */
  async underway(call: "read" | "write", request: () => Promise<Outcome>): Promise<{ arrive(): Promise<Outcome> }> {
    const made = Promise.withResolvers<void>();
    const gate = Promise.withResolvers<void>();
    this.store.late.set(call, () => {
      made.resolve();
      return gate.promise;
    });
    const outcome = request();
    await made.promise;
    return {
      arrive: () => {
        gate.resolve();
        return outcome;
      },
    };
  }

  /** Answers alice, and compares a 2xx with the store. */
  async ask(operation: Operation): Promise<string> {
    const outcome = await this.locks[operation](alice, group);
    if (outcome.kind === "refused") return outcome.refusal.kind;
    const { state, ending } = this.#found!;
    const holds = state.holders.some(({ id }) => id === alice);
    equal(holds, operation === "preReboot", `the store has ${JSON.stringify(state)} at "${outcome.kind}"`);
    ok(operation === "steadyState" || ending === undefined, "a yes on what is being deleted");
    return outcome.kind;
  }

  async end(): Promise<void> {
    this.#stop.abort();
    await this.#watching;
  }
}

/** How something that was true before reaches the request. */
const FACTS: Record<string, (world: World, before: Truth, truth: Truth, operation: Operation) => Promise<string>> = {
  "a view in step": async (world, before, truth, operation) => {
    world.set(before);
    world.watchOnce();
    world.set(truth);
    return await world.ask(operation);
  },
  "what a request read that is over": async (world, before, truth, operation) => {
    world.set(before);
    await world.locks.steadyState(carol, group);
    world.set(truth);
    return await world.ask(operation);
  },
  "a read of another client's request": async (world, before, truth, operation) => {
    world.set(before);
    const other = await world.underway("read", () => world.locks.steadyState(carol, group));
    world.set(truth);
    const asked = world.ask(operation);
    equal((await other.arrive()).kind, "not_held");
    return await asked;
  },
  "a read of another client's request, beside a view in step": async (world, before, truth, operation) => {
    world.set(before);
    world.watchOnce();
    const other = await world.underway("read", () => world.locks.steadyState(carol, group));
    world.set(truth);
    const asked = world.ask(operation);
    equal((await other.arrive()).kind, "not_held");
    return await asked;
  },
  "a yes that the client was told before": async (world, before, truth, operation) => {
    world.set(before === "bob" ? "free" : before);
    world.watchOnce();
    await world.ask(operation);
    world.set(truth);
    return await world.ask(operation);
  },
};

/** What was true before, what is true when the request comes, and the request's answer. */
const CASES: [operation: Operation, before: Truth, truth: Truth, answer: string][] = [
  ["preReboot", "free", "bob", "lock_held"],
  ["preReboot", "alice", "bob", "lock_held"],
  ["preReboot", "free", "free, ending", "lock_ending"],
  ["preReboot", "free", "alice, ending", "lock_ending"],
  ["preReboot", "alice", "alice, ending", "lock_ending"],
  ["preReboot", "alice", "free", "granted"],
  ["steadyState", "free", "alice", "released"],
  ["steadyState", "bob", "alice", "released"],
  ["steadyState", "free", "alice, ending", "released"],
];

for (const hasKeeper of [false, true]) {
  const how = hasKeeper ? "with drains" : "without drains";
  for (const [fact, ask] of Object.entries(FACTS)) {
    for (const [operation, before, truth, answer] of CASES) {
      Deno.test(`${fact} says "${before}" and the store "${truth}": ${operation} ${how} answers ${answer}`, async () => {
        const world = new World(hasKeeper);
        equal(await ask(world, before, truth, operation), answer);
        await world.end();
      });
    }
  }

  for (const before of ["free", "alice"] as const) {
    for (const [truth, answer] of [["bob", "lock_held"], ["alice, ending", "lock_ending"]] as const) {
      Deno.test(`a write of the client's earlier request on "${before}" took effect, and then the store says "${truth}": preReboot ${how} answers ${answer}`, async () => {
        const world = new World(hasKeeper);
        world.set(before);
        const earlier = await world.underway("write", () => world.locks.preReboot(alice, group));
        world.set(truth);
        const asked = world.ask("preReboot");
        await earlier.arrive();
        equal(await asked, answer);
      });
    }
  }

  Deno.test(`a write of the client's earlier request freed the slot, and then it got another: steadyState ${how} frees that`, async () => {
    const world = new World(hasKeeper);
    world.set("alice");
    const earlier = await world.underway("write", () => world.locks.steadyState(alice, group));
    world.set("alice");
    const asked = world.ask("steadyState");
    equal((await earlier.arrive()).kind, "released");
    equal(await asked, "released");
  });
}

Deno.test("a slot that seemed free before the look is not granted where another client took it during the look", async () => {
  const world = new World(true);
  world.set("free");
  world.watchOnce();
  world.keeper.looks = () => {
    world.set("bob");
    return Promise.resolve({ kind: "clear" });
  };
  equal(await world.ask("preReboot"), "lock_held");
  await world.end();
});

Deno.test("the keeper's answer to an earlier request of the client is no answer to the next one: pre-reboot", async () => {
  const world = new World(true);
  const node = noted("draining");
  world.backend.groups.set(group, {
    state: { holders: [{ id: alice, since: 1_000, node }], transitions: 1 },
    version: ++world.backend.version,
  });
  const first = Promise.withResolvers<void>();
  let asked = 0;
  world.keeper.drains = async () => {
    if (++asked > 1) return { kind: "draining", node: node.name, pods: [] };
    await first.promise;
    return drained();
  };
  const earlier = world.ask("preReboot");
  while (asked === 0) await Promise.resolve();
  const later = world.ask("preReboot");
  while (asked === 1) await Promise.resolve();
  first.resolve();
  deepEqual([await earlier, await later], ["renewed", "draining"]);
  // That the node was drained stays noted, and is no yes either.
  equal(await world.ask("preReboot"), "draining");
});

Deno.test("the keeper's answer to an earlier request of the client is no answer to the next one: steady-state", async () => {
  const world = new World(true);
  world.set("alice");
  const first = Promise.withResolvers<void>();
  let asked = 0;
  world.keeper.returns = async () => {
    if (++asked > 1) return { kind: "not_ready", node: "a", reason: "its kubelet is silent" };
    await first.promise;
    return { kind: "ready" };
  };
  const earlier = world.ask("steadyState");
  while (asked === 0) await Promise.resolve();
  equal(await world.ask("steadyState"), "node_not_ready");
  first.resolve();
  equal(await earlier, "released");
});
