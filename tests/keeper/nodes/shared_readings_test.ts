/**
 * Which readings of the Nodes may serve a request that arrived before they began. On a cluster in memory. How requests
 * share one that has not begun is in node_watch_test.ts.
 *
 * @module
 */

import { deepEqual, equal, ok, rejects } from "node:assert/strict";
import { NodeCalls } from "../../../src/keeper/nodes/node_calls.ts";
import { NodeWatch } from "../../../src/keeper/nodes/node_watch.ts";
import { ForbiddenError } from "../../../src/kubernetes/errors.ts";
import { parseClientId } from "../../../src/lock/identity.ts";
import { IdleClock } from "../../support/fake_clock.ts";
import { FakeCluster } from "../fake_cluster.ts";

const ALICE = parseClientId("978a225b3d7b40e9acd7ce9b62f68444")!;
const MACHINE = "1c09ca98649c4c7abc779cd04c96812e";
const BOB = parseClientId("bob")!;

/** A watch in step with a cluster without the clients' Nodes. */
class World implements AsyncDisposable {
  readonly clock = new IdleClock();
  readonly cluster = new FakeCluster(this.clock);
  readonly watch = new NodeWatch(new NodeCalls(this.cluster.client), {}, { clock: this.clock });
  readonly #stop = new AbortController();
  #running: Promise<void> | undefined;

  static async begin(): Promise<World> {
    const world = new World();
    world.cluster.put({ name: "n1", uid: "uid-n1" });
    world.#running = world.watch.run(world.#stop.signal);
    await world.clock.pass(1);
    ok(world.watch.isSynced);
    return world;
  }

  /** How many lists of all Nodes were made. */
  get lists(): number {
    return this.cluster.pages.filter(({ fieldSelector }) => fieldSelector === undefined).length;
  }

  /** Finds the Nodes of a client, as of a moment after another one. */
  async find(id = ALICE, since?: number): Promise<string[]> {
    const { nodes } = await this.clock.until(this.watch.search(id, since));
    return nodes.map(({ name }) => name);
  }

  /** Holds back the answers of lists until the returned function is called. */
  holdLists(): () => void {
    const gate = Promise.withResolvers<void>();
    this.cluster.hook = (call, when) => call === "list nodes" && when === "after" ? gate.promise : undefined;
    return () => gate.resolve();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.clock.until(this.#running!);
  }
}

Deno.test("a request that arrived before a reading began shares it while it runs, however long", async () => {
  await using world = await World.begin();
  const askedAt = world.clock.monotonic();
  await world.clock.pass(1);
  const answer = world.holdLists();
  const first = world.watch.search(ALICE);
  await world.clock.pass(10_000);
  const second = world.watch.search(ALICE, askedAt);
  await world.clock.pass(1);
  equal(world.lists, 1);
  answer();
  const [one, other] = await world.clock.until(Promise.all([first, second]));
  deepEqual(one, { nodes: [], readAt: askedAt + 1, endedAt: world.clock.monotonic() });
  deepEqual(other, one, "it is as old as the reading");
  equal(world.lists, 1);
});

for (const [ms, lists] of [[1_000, 1], [1_001, 2]] as const) {
  Deno.test(`${ms} ms after a reading has begun, a request from before it makes ${lists - 1} more`, async () => {
    await using world = await World.begin();
    const askedAt = world.clock.monotonic();
    await world.clock.pass(1);
    deepEqual(await world.find(), []);
    await world.clock.pass(askedAt + 1 + ms - world.clock.monotonic());
    world.cluster.holdBack();
    world.cluster.put({ name: "a", uid: "uid-a", machineID: MACHINE });
    deepEqual(await world.find(ALICE, askedAt), lists === 1 ? [] : ["a"]);
    equal(world.lists, lists);
  });
}

Deno.test("what a shared reading finds is found by all who share it", async () => {
  await using world = await World.begin();
  const askedAt = world.clock.monotonic();
  await world.clock.pass(1);
  world.cluster.holdBack();
  world.cluster.put({ name: "a", uid: "uid-a", machineID: MACHINE });
  deepEqual(await world.find(), ["a"]);
  deepEqual(await world.find(ALICE, askedAt), ["a"]);
  equal(world.lists, 1);
});

/** Who may not share a reading for alice that began at a moment, and has ended. */
const OTHERS: [who: string, id: typeof ALICE, since: (began: number) => number | undefined][] = [
  ["without a time", ALICE, () => undefined],
  ["that arrived as it began", ALICE, (began) => began],
  ["that arrived later", ALICE, (began) => began + 1],
  ["of another client", BOB, () => 0],
];

for (const [who, id, since] of OTHERS) {
  for (const state of ["running", "over"]) {
    Deno.test(`a request ${who} does not share a reading that is ${state}`, async () => {
      await using world = await World.begin();
      const began = world.clock.monotonic();
      const answer = state === "running" ? world.holdLists() : undefined;
      const reading = world.watch.search(ALICE);
      await world.clock.pass(1);
      equal(world.lists, 1);
      const found = world.watch.search(id, since(began));
      await world.clock.pass(30);
      equal(world.lists, 2);
      answer?.();
      await world.clock.until(Promise.all([reading, found]));
      ok((await found).readAt > began);
    });
  }
}

Deno.test("nobody shares a reading that has failed", async () => {
  await using world = await World.begin();
  const askedAt = world.clock.monotonic();
  await world.clock.pass(1);
  world.cluster.denied.add("list nodes");
  await rejects(world.find(), ForbiddenError);
  world.cluster.denied.clear();
  deepEqual(await world.find(ALICE, askedAt), []);
});
