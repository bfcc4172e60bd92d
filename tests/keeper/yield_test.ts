/**
 * Drains that yield, with the real locks and the real keeper on a cluster in memory: the group's own rule, the order of
 * the two steps, and a replica that is killed between them or before anybody has noticed the time-out.
 *
 * @module
 */

import { deepEqual, equal, match, ok } from "node:assert/strict";
import { KubernetesNodeKeeper } from "../../src/keeper/node_keeper.ts";
import { CORDON_ANNOTATION } from "../../src/keeper/nodes/cordon.ts";
import { type ClientId, parseClientId, parseGroup } from "../../src/lock/identity.ts";
import { LockService } from "../../src/lock/lock_service.ts";
import { MemoryBackend, MemoryLockStore, readHolder } from "../../src/lock/lock_store.ts";
import { describeRefusal } from "../../src/lock/outcomes.ts";
import { IdleClock } from "../support/fake_clock.ts";
import { rulesOfNotes, ScriptedPolicy } from "../support/scripted_policy.ts";
import { FakeCluster } from "./fake_cluster.ts";

const ID = parseClientId("978a225b3d7b40e9acd7ce9b62f68444")!;
const GROUP = parseGroup("default")!;
const MACHINE = "1c09ca98649c4c7abc779cd04c96812e";
const TIMEOUT_MS = 300_000;

/** A cluster with a node whose pod a budget protects, and the locks in one store. */
class World {
  readonly clock = new IdleClock();
  readonly cluster = new FakeCluster(this.clock);
  readonly backend = new MemoryBackend();
  readonly log: string[] = [];

  constructor() {
    this.cluster.put({ name: "a", uid: "uid-a", machineID: MACHINE });
    this.cluster.start({ name: "db", node: "a", createdAt: new Date(this.clock.now() - 60_000) });
  }

  get holders(): ClientId[] {
    return (this.backend.groups.get(GROUP)?.state.holders ?? []).map(({ id }) => id);
  }

  get isCordoned(): boolean {
    const { unschedulable, annotations } = this.cluster.nodes.get("a")!;
    equal(
      unschedulable === true,
      annotations?.[CORDON_ANNOTATION] !== undefined,
      "the cordon and its mark go together",
    );
    return unschedulable === true;
  }

  /** Starts a replica. `kill` ends it as SIGKILL does, as far as others see. */
  async replica(keeperTimeoutMs = 3_600_000) {
    const { clock, cluster, backend } = this;
    const store = new MemoryLockStore(backend);
    const write = (message: string, { error }: Record<string, unknown>) => this.log.push(`${message} ${error ?? ""}`);
    const keeper = new KubernetesNodeKeeper(cluster.client, {
      drainOptions: { timeoutMs: keeperTimeoutMs, onTimeout: "refuse" },
      readHolder: (id, group) => readHolder(store, id, group),
      random: () => 0.5,
      log: { info: write, warning: write, error: write },
    });
    keeper.run();
    const policy = new ScriptedPolicy();
    policy.rule = { timeoutMs: TIMEOUT_MS, onTimeout: "yield" };
    policy.peeks = (question) => rulesOfNotes(question, clock.now());
    const locks = new LockService(store, { keeper, policy, clock, random: () => 0.5, replyWaitMs: 10_000 });
    const watching = new AbortController();
    const watched = locks.watch(watching.signal);
    await clock.pass(1);
    ok(keeper.isSynced);
    return {
      keeper,
      policy,
      locks,
      ask: async () => {
        const outcome = await clock.until(locks.preReboot(ID, GROUP));
        return outcome.kind === "refused" ? outcome.refusal : outcome;
      },
      kill: async () => {
        watching.abort();
        await clock.until(keeper[Symbol.asyncDispose]());
        await clock.until(watched);
      },
    };
  }
}

Deno.test("the group's own time-out and rule reach its drain, whose hold yields while its client waits", async () => {
  const world = new World();
  const { clock } = world;
  const { ask, policy, kill } = await world.replica();
  policy.rule = { timeoutMs: 5_000, onTimeout: "yield" };
  const refusal = await ask();
  equal(refusal.kind, "deferred");
  ok(refusal.kind === "deferred");
  match(
    describeRefusal(refusal, GROUP, clock.now()),
    /^node "a" could not be drained in time, because of apps\/db: .*: others come first until 2026-01-01T00:30:0\dZ$/,
  );
  deepEqual(world.holders, []);
  equal(world.isCordoned, false);
  await clock.pass(120_000);
  equal(world.isCordoned, false, "and it stays so");
  equal((await ask()).kind, "deferred");
  await kill();
});

Deno.test("the hold of a client that stopped asking yields when its drain times out", async () => {
  const world = new World();
  const { ask, kill } = await world.replica();
  equal((await ask()).kind, "draining");
  await world.clock.pass(TIMEOUT_MS - 12_000);
  deepEqual([world.holders, world.isCordoned], [[ID], true]);
  await world.clock.pass(12_000);
  deepEqual([world.holders, world.isCordoned], [[], false]);
  await kill();
});

Deno.test("a replica that was killed during the drain leaves a hold that another one yields, with the pods named", async () => {
  const world = new World();
  const { ask, kill } = await world.replica();
  equal((await ask()).kind, "draining");
  await kill();
  await world.clock.pass(TIMEOUT_MS);
  deepEqual([world.holders, world.isCordoned], [[ID], true]);
  const second = await world.replica();
  await world.clock.pass(60_000);
  deepEqual([world.holders, world.isCordoned], [[], false]);
  match(world.backend.groups.get(GROUP)!.state.notes!.deferred![0]!.pods[0]!, /^apps\/db: /);
  await second.kill();
});

for (const [where, ms, early] of [["behind", -86_400_000, 120_000], ["ahead", 86_400_000, 0]] as const) {
  Deno.test(`a hold that another replica took yields in its time, although the clock of its API server was a day ${where}`, async () => {
    const world = new World();
    const { ask, kill } = await world.replica();
    const store = new MemoryLockStore(world.backend);
    const since = world.clock.now() + ms;
    const node = { name: "a", uid: "uid-a", machineId: MACHINE, phase: "draining" as const };
    const holders = [{ id: ID, since, renewed: since, slots: 1, node }];
    await store.write(GROUP, await store.read(GROUP), { holders, transitions: 1, renewed: since });
    equal((await ask()).kind, "draining");
    await world.clock.pass(TIMEOUT_MS - early - 12_000);
    deepEqual([world.holders, world.isCordoned], [[ID], true]);
    await world.clock.pass(12_000);
    deepEqual([world.holders, world.isCordoned], [[], false]);
    await kill();
  });
}

Deno.test("where a node has become empty since its client stopped asking, the hold stays, and its next request is a yes", async () => {
  const world = new World();
  const { ask, kill } = await world.replica();
  equal((await ask()).kind, "draining");
  await kill();
  world.cluster.end(world.cluster.pods[0]!);
  await world.clock.pass(TIMEOUT_MS);
  const second = await world.replica();
  await world.clock.pass(120_000);
  deepEqual([world.holders, world.isCordoned], [[ID], true]);
  equal((await second.ask()).kind, "renewed");
  await second.kill();
});

Deno.test("a kill between the write that frees the slot and the end of the cordon leaves a cordon that the repair lifts", async () => {
  const world = new World();
  const first = await world.replica();
  equal((await first.ask()).kind, "draining");
  // Its process ends right after the write: no call of it reaches the cluster any more.
  let isKilled = false;
  first.keeper.uncordon = () => {
    isKilled = true;
    return Promise.resolve();
  };
  first.keeper.holdEnded = () => {};
  world.cluster.hook = (call) => {
    if (isKilled && call.startsWith("patch")) throw new TypeError("the process has ended");
  };
  await world.clock.pass(TIMEOUT_MS);
  deepEqual([isKilled, world.holders, world.isCordoned], [true, [], true]);
  await first.kill();
  world.cluster.hook = () => {};
  const second = await world.replica();
  await world.clock.pass(60_000);
  equal(world.isCordoned, false);
  ok(world.log.some((line) => line.startsWith("lifted a stale cordon")), world.log.join("\n"));
  await second.kill();
});

Deno.test("a pause with its drains stops them and lifts their cordons at once", async () => {
  const world = new World();
  const { ask, kill } = await world.replica();
  equal((await ask()).kind, "draining");
  const store = new MemoryLockStore(world.backend);
  const found = await store.read(GROUP);
  await store.write(GROUP, found, { ...found.state, notes: { pause: { drains: true } } });
  await world.clock.pass(10_000);
  deepEqual([world.holders, world.isCordoned], [[], false]);
  ok(world.log.some((line) => line.startsWith("drain stopped: its hold has ended")), world.log.join("\n"));
  equal((await ask()).kind, "paused");
  await kill();
});

Deno.test("the flags' rule holds where the group has none", async () => {
  const world = new World();
  const { ask, policy, kill } = await world.replica(5_000);
  policy.rule = {};
  equal((await ask()).kind, "drain_failed");
  deepEqual([world.holders, world.isCordoned], [[ID], true]);
  await kill();
});
