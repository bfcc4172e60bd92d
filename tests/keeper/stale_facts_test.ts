/**
 * What a keeper answers where something that was read before the request began says yes, and the cluster says no by the
 * time of the request: what a watch has shown, what another request was answered, and a kubelet's Lease. None of them
 * may be enough. On a cluster in memory.
 *
 * @module
 */

import { deepEqual, equal, ok } from "node:assert/strict";
import { KubernetesNodeKeeper } from "../../src/keeper/node_keeper.ts";
import { parseClientId, parseGroup } from "../../src/lock/identity.ts";
import type { Hold } from "../../src/lock/node_keeper.ts";
import type { HeldNode } from "../../src/lock/semaphore.ts";
import { IdleClock } from "../support/fake_clock.ts";
import { FakeCluster, type FakeNode } from "./fake_cluster.ts";

const ID = parseClientId("978a225b3d7b40e9acd7ce9b62f68444")!;
const A: FakeNode = { name: "a", uid: "uid-a", machineID: "1c09ca98649c4c7abc779cd04c96812e" };
const never = new AbortController().signal;

/** A cluster with a node, its keeper, and requests to it. */
class World {
  readonly clock = new IdleClock();
  readonly cluster = new FakeCluster(this.clock);
  readonly since = this.clock.now();
  readonly keeper = new KubernetesNodeKeeper(this.cluster.client, {
    readHolder: () => Promise.resolve({ since: this.since }),
    random: () => 0.5,
    log: { info() {}, warning() {}, error() {} },
  });

  async begin(node?: FakeNode): Promise<void> {
    if (node !== undefined) this.cluster.put(node);
    this.keeper.run();
    await this.clock.pass(1);
    ok(this.keeper.isSynced);
  }

  #hold(phase?: HeldNode["phase"]): Hold {
    const node = phase && { name: A.name, uid: A.uid, bootId: "boot-1", phase };
    return { group: parseGroup("default")!, id: ID, since: this.since, node };
  }

  /** Loses the watch of the Nodes for good. */
  async loseWatch(): Promise<void> {
    this.cluster.denied.add("watch nodes").add("list nodes");
    this.cluster.breakWatches();
    await this.clock.pass(1_000);
    ok(!this.keeper.isSynced);
    this.cluster.denied.delete("list nodes");
  }

  /** Asks for a proof that the host may reboot. */
  async drain(phase?: HeldNode["phase"]): Promise<string> {
    return (await this.keeper.drain(this.#hold(phase), 20_000, never)).kind;
  }

  /** Asks what is known before a grant. */
  async look(): Promise<string> {
    const outcome = await this.keeper.look(ID);
    return outcome.kind === "clear" ? `${outcome.kind} ${outcome.node?.name}` : outcome.kind;
  }

  /** Asks whether the host is back, with a reply that is due after a time. A host without a Node is back only then. */
  async back(waitMs = 20_000): Promise<string> {
    return (await this.keeper.awaitReturn(this.#hold("drained"), waitMs, never)).kind;
  }

  /** Starts a pod that a budget protects. */
  startPod(): void {
    this.cluster.start({ name: "web", node: "a", createdAt: new Date(this.since - 60_000) });
  }

  /**
   * Has a request of another client or an earlier one under way: the call is answered by what is true now, and the
   * answer arrives when the returned function is called.
   */
  async underway(call: string, request: () => Promise<string>): Promise<{ arrive(): Promise<string> }> {
    const answered = Promise.withResolvers<void>();
    const gate = Promise.withResolvers<void>();
    this.cluster.hook = (made, when) => {
      if (made !== call || when !== "after") return;
      this.cluster.hook = () => {};
      answered.resolve();
      return gate.promise;
    };
    const outcome = request();
    await this.clock.until(answered.promise);
    return {
      arrive: () => {
        gate.resolve();
        return this.clock.until(outcome);
      },
    };
  }
}

interface Row {
  /** What was read before the request began, and what is true when it begins. */
  readonly fact: string;
  /** The node at the start. */
  readonly node?: FakeNode;
  /** Makes both so, and the request. Returns its answer. */
  ask(world: World): Promise<string>;
  readonly answer: string;
}

/** A request that shares nothing with an earlier one whose call is answered late. */
async function beside(
  world: World,
  call: string,
  earlier: [request: () => Promise<string>, answer: string],
  change: () => void,
  request: () => Promise<string>,
): Promise<string> {
  const [first, answer] = earlier;
  const other = await world.underway(call, first);
  change();
  const asked = request();
  await world.clock.pass(1);
  equal(await other.arrive(), answer, "the earlier request saw what was true before");
  return await world.clock.until(asked);
}

const drained = { ...A, unschedulable: true, cordonedBy: "kubectl" };
const rebooted = { ...A, bootID: "boot-2" };

const ROWS: Row[] = [
  {
    fact: "the watch is lost and has shown no Node with the id, and one has joined: a look before the grant",
    answer: "clear a",
    async ask(world) {
      await world.loseWatch();
      world.cluster.put(A);
      return await world.look();
    },
  },
  {
    fact: "the watch shows no Node with the id, and one has joined: a hold without a node",
    answer: "moved",
    ask(world) {
      world.cluster.holdBack();
      world.cluster.put(A);
      return world.drain();
    },
  },
  {
    fact: "a listing for another request shows no Node with the id, and one has joined: a look before the grant",
    answer: "clear a",
    async ask(world) {
      await world.loseWatch();
      return await beside(
        world,
        "list nodes",
        [() => world.look(), "clear undefined"],
        () => world.cluster.put(A),
        () => world.look(),
      );
    },
  },
  {
    fact: "a listing for another request shows no Node with the id, and one has joined: a hold without a node",
    answer: "moved",
    ask: (world) =>
      beside(world, "list nodes", [() => world.drain(), "drained"], () => {
        world.cluster.holdBack();
        world.cluster.put(A);
      }, () => world.drain()),
  },
  {
    fact: "a listing for another request shows no other Node of the host, whose own is gone, and one has joined",
    answer: "moved",
    ask: (world) =>
      beside(world, "list nodes", [() => world.drain("drained"), "drained"], () => {
        world.cluster.holdBack();
        world.cluster.put({ ...A, name: "b", uid: "uid-b" });
      }, () => world.drain("drained")),
  },
  {
    fact: "the watch shows the noted Node alone, which is empty and ready, and the host has joined as another one",
    node: drained,
    answer: "ambiguous",
    ask(world) {
      world.cluster.holdBack();
      world.cluster.put({ ...A, name: "b", uid: "uid-b" });
      return world.drain("drained");
    },
  },
  {
    fact: "a listing for another request shows the noted Node alone, and the host has joined as another one",
    node: drained,
    answer: "ambiguous",
    ask: (world) =>
      beside(world, "list nodes", [() => world.drain("drained"), "drained"], () => {
        world.cluster.holdBack();
        world.cluster.put({ ...A, name: "b", uid: "uid-b" });
      }, () => world.drain("drained")),
  },
  {
    fact: "the watch shows the node cordoned and its pods gone, and it is uncordoned and a pod runs",
    node: drained,
    answer: "draining",
    ask(world) {
      world.cluster.holdBack();
      world.cluster.kubectl("uncordon", "a");
      world.startPod();
      return world.drain("drained");
    },
  },
  {
    fact: "the proof for another request has read the node cordoned, and it is uncordoned and a pod runs",
    node: drained,
    answer: "draining",
    ask: (world) =>
      // The pods are listed after the node is read, so the earlier request sees the pod too.
      beside(world, "get nodes", [() => world.drain("drained"), "draining"], () => {
        world.cluster.holdBack();
        world.cluster.kubectl("uncordon", "a");
        world.startPod();
      }, () => world.drain("drained")),
  },
  {
    fact: "the proof for another request has listed no pod, and one runs",
    node: drained,
    answer: "draining",
    ask: (world) =>
      beside(
        world,
        "list pods",
        [() => world.drain("drained"), "drained"],
        () => world.startPod(),
        () => world.drain("drained"),
      ),
  },
  {
    fact: "the drain that an earlier request began is about to end with an empty node, and a pod runs",
    node: drained,
    answer: "draining",
    ask: (world) =>
      beside(
        world,
        "list attachments",
        [() => world.drain("draining"), "draining"],
        () => world.startPod(),
        () => world.drain("draining"),
      ),
  },
  {
    fact: "an earlier request was told that the node is drained, and a pod runs",
    node: drained,
    answer: "draining",
    async ask(world) {
      equal(await world.clock.until(world.drain("draining")), "drained");
      world.startPod();
      return await world.drain("drained");
    },
  },
  {
    fact: "an earlier request was told that the node is drained, and the Node is being deleted",
    node: drained,
    answer: "draining",
    async ask(world) {
      equal(await world.clock.until(world.drain("draining")), "drained");
      world.cluster.holdBack();
      world.cluster.change("a", { deletedAt: new Date(world.clock.now()) });
      return await world.drain("drained");
    },
  },
  {
    fact: "the watch shows the Node ready after the reboot, and it is not ready",
    node: rebooted,
    answer: "not_ready",
    ask(world) {
      world.cluster.holdBack();
      world.cluster.change("a", { ready: "False" });
      return world.back();
    },
  },
  {
    fact:
      "the watch shows the Node ready after the reboot, and it is back in the boot from before, with a silent kubelet",
    node: rebooted,
    answer: "not_ready",
    ask(world) {
      world.cluster.holdBack();
      world.cluster.change("a", { bootID: "boot-1" });
      world.cluster.renewals.set("a", new Date(world.clock.now()));
      return world.back();
    },
  },
  {
    fact: "the read for another request has seen the Node ready after the reboot, and it is not ready",
    node: rebooted,
    answer: "not_ready",
    ask: (world) =>
      beside(world, "get nodes", [() => world.back(), "ready"], () => {
        world.cluster.holdBack();
        world.cluster.change("a", { ready: "Unknown" });
      }, () => world.back()),
  },
  {
    fact: "the kubelet has renewed its Lease just before the request, and is silent since",
    node: A,
    answer: "not_ready",
    ask(world) {
      world.cluster.renewals.set("a", new Date(world.clock.now()));
      return world.back();
    },
  },
  {
    fact: "the kubelet has renewed its Lease while another request waited for it, and is silent since",
    node: A,
    answer: "not_ready",
    async ask(world) {
      world.cluster.renewals.set("a", new Date(world.clock.now()));
      const earlier = world.back();
      await world.clock.pass(5_000);
      world.cluster.renewals.set("a", new Date(world.clock.now()));
      const later = world.back();
      equal(await world.clock.until(earlier), "ready");
      return await later;
    },
  },
  {
    fact: "the watch shows no Node of the host, and one is there that is not ready",
    answer: "not_ready",
    ask(world) {
      world.cluster.holdBack();
      world.cluster.put({ ...A, name: "b", uid: "uid-b", ready: "False" });
      return world.back();
    },
  },
  {
    fact: "a listing for another request shows no Node of the host, and one is there that is not ready",
    answer: "not_ready",
    ask: (world) =>
      beside(world, "list nodes", [() => world.back(0), "ready"], () => {
        world.cluster.holdBack();
        world.cluster.put({ ...A, name: "b", uid: "uid-b", ready: "False" });
      }, () => world.back(0)),
  },
];

for (const { fact, node, ask, answer } of ROWS) {
  Deno.test(`${fact}: the answer is "${answer}"`, async () => {
    const world = new World();
    await world.begin(node);
    equal(await world.clock.until(ask(world)), answer);
    await world.clock.until(world.keeper[Symbol.asyncDispose]());
  });
}

Deno.test("the node is uncordoned while an answer that shows it cordoned is under way: the drain sets the cordon before it evicts", async () => {
  const world = new World();
  const { cluster } = world;
  await world.begin({ ...drained });
  cluster.start({ name: "web", node: "a", createdAt: new Date(world.since - 60_000), stopsInMs: 1_000 });
  const drain = await world.underway("get nodes", () => world.drain("draining"));
  cluster.kubectl("uncordon", "a");
  await world.clock.pass(1);
  equal(await drain.arrive(), "drained");
  deepEqual(cluster.faults, []);
  ok(cluster.calls.indexOf("patch nodes") < cluster.calls.indexOf("evict web"));
  await world.clock.until(world.keeper[Symbol.asyncDispose]());
});
