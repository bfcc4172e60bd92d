/** One drain on a scripted cluster, for what a real one rarely does. The rest is in tests/cluster. @module */

import { deepEqual, equal, match, ok, rejects } from "node:assert/strict";
import fc from "fast-check";
import { Drain } from "../../../src/keeper/drain/drain.ts";
import { DrainMemory } from "../../../src/keeper/drain/drain_memory.ts";
import type { DrainContext, DrainListener, DrainOptions, DrainTask } from "../../../src/keeper/drain/drain_task.ts";
import { ForbiddenError } from "../../../src/kubernetes/errors.ts";
import type { PodCalls } from "../../../src/keeper/drain/pod_calls.ts";
import { type NodeView, viewNode } from "../../../src/keeper/nodes/node.ts";
import { type EvictionAnswer, type PodView, viewPod } from "../../../src/keeper/drain/pods.ts";
import type { ResourceWatcher } from "../../../src/kubernetes/watch.ts";
import { CallRefusedError, UnavailableError } from "../../../src/lock/errors.ts";
import type { StayingPod } from "../../../src/lock/yes.ts";
import { parseClientId, parseGroup } from "../../../src/lock/identity.ts";
import { pod } from "../../support/cluster_objects.ts";
import { until } from "../../support/condition.ts";
import { FakeClock, HastyClock } from "../../support/fake_clock.ts";

const owner = {
  namespace: "ops",
  group: parseGroup("default")!,
  id: parseClientId("a")!,
  since: Date.UTC(2026, 0, 1),
};
const denied = (verb: string, resource: string) => new ForbiddenError("no", { verb, group: "", resource });

/** A clock that shows the API server's time as long as a test does not say otherwise. */
class TestClock extends HastyClock {
  isTimeKnown = true;
  /** Whether sleeps end at once. If not, they end when the test moves the time on. */
  isHasty = true;
  /** How far its wall clock is ahead, in milliseconds. */
  skewMs = 0;

  override now(): number {
    return super.now() + this.skewMs;
  }

  override async sleep(ms: number, signal?: AbortSignal): Promise<void> {
    if (this.isHasty) await super.sleep(ms);
    else await FakeClock.prototype.sleep.call(this, ms, signal);
  }

  isFresh(_ms: number): boolean {
    return this.isTimeKnown;
  }
}

/** A node at some version of it, cordoned unless the test says otherwise. */
function nodeView(change: Partial<NodeView> = {}): NodeView {
  return { ...viewNode({ metadata: { name: "n", uid: "n1" } }), unschedulable: true, ...change };
}

/** What the watch of the nodes shows. */
class SeenNodes {
  readonly #cluster: Pick<Cluster, "isSynced" | "peek">;

  constructor(cluster: Pick<Cluster, "isSynced" | "peek">) {
    this.#cluster = cluster;
  }

  get isSynced(): boolean {
    return this.#cluster.isSynced;
  }

  peek(name: string): NodeView | undefined {
    equal(name, "n");
    return this.#cluster.peek();
  }
}

/** A cluster of one node whose pods are gone once they are evicted, unless the test says otherwise. */
class Cluster {
  readonly pods: Map<string, PodView>;
  readonly clock = new TestClock(owner.since);
  readonly memory = new DrainMemory();
  watcher?: ResourceWatcher<PodView>;
  evicting = 0;
  mostEvicting = 0;
  /** Waits until an eviction or a deletion has its turn. */
  turn: () => Promise<void> = () => Promise.resolve();
  /** Answers an eviction; it may wait. */
  answer: (pod: PodView) => Promise<EvictionAnswer> = () => Promise.resolve({ kind: "accepted" });
  getNode: () => Promise<unknown> = () => Promise.resolve();
  /** The Node; undefined where there is none. */
  node: NodeView | undefined = nodeView({ unschedulable: false });
  /** What the watch of the nodes shows: the Node as it is, unless the test says otherwise. */
  peek: () => NodeView | undefined = () => this.node;
  /** Whether that watch says that it is in step. */
  isSynced = true;
  /** Whether the hold exists. */
  isHeld = true;
  /** Until when an eviction may rest on a cordon that is no longer there, by the time that has passed on the clock. */
  mayEvictUntil = -Infinity;
  /** How often the node was cordoned and read, and the cordon lifted. */
  readonly calls = { cordoned: 0, lifted: 0, read: 0 };
  /** The pods that were evicted, in order. */
  readonly evicted: PodView[] = [];
  /** How the drains went. */
  readonly told: string[] = [];
  /** When pods were deleted. */
  readonly deleted: number[] = [];
  /** Which pods were left in the end, and why. */
  staying: string[] = [];
  /** Whether a volume is attached, at each look at it. */
  attached: (look: number) => boolean = () => false;
  readonly #looks = { count: 0 };
  /** What was told of the pods that were left and blocked, and of those that were deleted. */
  readonly progress: string[] = [];
  readonly deleting: unknown[] = [];
  /** Which volumes were still attached when the drain no longer waited for them. */
  stillAttached: unknown[] = [];
  /** Whether the node was to be read before each cordoning. */
  readonly readFirst: boolean[] = [];
  /** Whether a patch does not find the Node, whatever reads show. */
  isUnpatchable = false;
  /** Why the node cannot be cordoned. */
  cordonFault?: Error;
  /** Why the pods cannot be watched. */
  unwatchable?: Error;

  constructor(count: number) {
    const names = Array.from({ length: count }, (_, n) => `pod-${n}`);
    this.pods = new Map(names.map((name) => [name, { ...viewPod(pod({ name, namespace: "shop" })), uid: name }]));
  }

  drain(options: DrainOptions = {}, change: Partial<DrainTask> = {}): Drain {
    const pods: Partial<PodCalls> = {
      watchPods: (node, watcher, signal) => {
        equal(node, "n");
        this.watcher = watcher;
        if (this.unwatchable !== undefined) watcher.lost(this.unwatchable);
        else watcher.synced([...this.pods.values()], "1");
        return new Promise((resolve) => {
          if (signal.aborted) resolve();
          signal.addEventListener("abort", () => resolve(), { once: true });
        });
      },
      evict: async (pod, _, mayLeave) => {
        await this.turn();
        if (mayLeave?.() === false) return { kind: "failed", reason: "withdrawn" };
        ok(this.node?.unschedulable || this.clock.passed <= this.mayEvictUntil, "evicted from an uncordoned node");
        this.mostEvicting = Math.max(this.mostEvicting, ++this.evicting);
        const answer = await this.answer(pod);
        this.evicting--;
        if (answer.kind === "accepted") this.end(pod);
        if (answer.kind === "accepted") this.evicted.push(pod);
        return answer;
      },
      deletePod: async (pod, _, mayLeave) => {
        await this.turn();
        if (mayLeave?.() === false) return { kind: "failed", reason: "withdrawn" };
        ok(this.node?.unschedulable, "deleted from an uncordoned node");
        this.deleted.push(this.clock.passed);
        this.end(pod);
        return { kind: "accepted" };
      },
      listAttachments: (node) => {
        equal(node, "n");
        return Promise.resolve(this.attached(0) ? [{ name: "volume" }] : []);
      },
      hasAttachment: (name) => {
        equal(name, "volume");
        return Promise.resolve(this.attached(++this.#looks.count));
      },
    };
    const nodes: DrainContext["nodes"] = {
      getNode: async (name) => {
        equal(name, "n");
        this.calls.read++;
        await this.getNode();
        return this.node;
      },
    };
    const cordon: DrainContext["cordon"] = {
      set: async ({ name, uid }, by, holdExists, readFirst) => {
        deepEqual([name, by], ["n", change.owner ?? owner]);
        this.readFirst.push(readFirst);
        if (this.isUnpatchable) return "gone";
        if (this.cordonFault !== undefined) throw this.cordonFault;
        if (this.node?.uid !== uid) return "gone";
        if (this.node.unschedulable) return "already";
        if (!(await holdExists())) return "not_held";
        this.calls.cordoned++;
        this.node = { ...this.node, unschedulable: true };
        return "cordoned";
      },
      lift: (name, by, readFirst) => {
        // What the watch shows may be from before the cordon.
        deepEqual([name, by, readFirst], ["n", owner, true]);
        this.calls.lifted++;
        return Promise.resolve(true);
      },
    };
    const listener = new Proxy({}, {
      get: (_, event: string) => (_task: DrainTask, pods: unknown, blocked: unknown) => {
        this.told.push(event);
        if (event === "progress") this.progress.push(`${pods} left, ${blocked} blocked`);
        if (event === "deleting") this.deleting.push(pods);
        if (event === "stillAttached") this.stillAttached.push(pods);
        if (event === "staying") this.staying = (pods as StayingPod[]).map(({ pod, why }) => `${pod.name}: ${why}`);
      },
    }) as DrainListener;
    const context: DrainContext = {
      pods: pods as PodCalls,
      nodes,
      cordon,
      clock: this.clock,
      listener,
      view: new SeenNodes(this),
      holdExists: () => Promise.resolve(this.isHeld),
      random: () => 1,
    };
    return new Drain(
      { node: "n", uid: "n1", machineId: "m1", memory: this.memory, owner, again: false, ...change },
      options,
      context,
    );
  }

  /** Puts a pod on the node. */
  start(pod: PodView): void {
    this.pods.set(pod.uid, pod);
    this.watcher?.changed("ADDED", pod);
  }

  /** Removes a pod from the node. */
  end(pod: PodView): void {
    this.pods.delete(pod.uid);
    this.watcher?.changed("DELETED", pod);
  }
}

for (const concurrency of [1, 3, 100]) {
  Deno.test(`as many evictions are under way at a time as --drain-concurrency allows, and not more: ${concurrency}`, async () => {
    const cluster = new Cluster(10);
    const gate = Promise.withResolvers<void>();
    cluster.answer = async () => {
      await gate.promise;
      return { kind: "accepted" };
    };
    const drain = cluster.drain({ concurrency });
    await until(() => cluster.evicting === Math.min(concurrency, 10));
    gate.resolve();
    deepEqual(await drain.end, { kind: "emptied" });
    equal(cluster.mostEvicting, Math.min(concurrency, 10));
  });
}

Deno.test("a denied call is repeated for a while, because an API server that has just started denies everything", async () => {
  const cluster = new Cluster(0);
  cluster.peek = () => undefined;
  cluster.memory.wasCordoned = true;
  let denials = 3;
  cluster.getNode = () => denials-- > 0 ? Promise.reject(denied("get", "nodes")) : Promise.resolve();
  deepEqual(await cluster.drain().end, { kind: "emptied" });
});

Deno.test("a call that stays denied ends the drain with the missing permission, long before its time-out", async () => {
  const cluster = new Cluster(0);
  cluster.peek = () => undefined;
  cluster.memory.wasCordoned = true;
  cluster.getNode = () => Promise.reject(denied("get", "nodes"));
  await rejects(cluster.drain({ timeoutMs: 3_600_000 }).end, ForbiddenError);
  ok(cluster.clock.passed < 60_000);
});

Deno.test("a call that the API server refuses for good ends the drain at once, with its sentence", async () => {
  const cluster = new Cluster(1);
  cluster.cordonFault = new CallRefusedError("the API server refused it", "policy 'no-cordons' denied request");
  await rejects(cluster.drain().end, { publicMessage: "policy 'no-cordons' denied request" });
  equal(cluster.clock.passed, 0);
});

Deno.test("a drain repeats its calls until the time-out while the cluster does not answer", async () => {
  const cluster = new Cluster(0);
  cluster.peek = () => undefined;
  cluster.memory.wasCordoned = true;
  cluster.getNode = () => Promise.reject(new UnavailableError("away"));
  await rejects(cluster.drain({ timeoutMs: 600_000 }).end, /away/);
  ok(cluster.clock.passed >= 600_000);
});

Deno.test("an eviction that is answered with 'gone' does not end the drain while the watch still shows the pod", async () => {
  const cluster = new Cluster(1);
  let answers = 0;
  cluster.answer = () => Promise.resolve({ kind: ++answers < 4 ? "gone" : "accepted" });
  deepEqual(await cluster.drain().end, { kind: "emptied" });
  equal(answers, 4);
});

Deno.test("a drain without a watch of the pods fails at its time-out, not before", async () => {
  const cluster = new Cluster(1);
  cluster.unwatchable = new UnavailableError("away");
  await rejects(cluster.drain({ timeoutMs: 600_000 }).end, /the pods of the node cannot be watched/);
  ok(cluster.clock.passed >= 600_000);
});

Deno.test("a drain does not end while its watch is behind, even if no pod is left in view", async () => {
  const cluster = new Cluster(1);
  cluster.answer = (pod) => {
    cluster.watcher!.lost(new UnavailableError("away"));
    cluster.watcher!.changed("DELETED", pod);
    return Promise.resolve({ kind: "failed", reason: "away" });
  };
  const drain = cluster.drain({ timeoutMs: 3_600_000_000 });
  await until(() => drain.left.length === 0);
  const { clock } = cluster;
  const later = clock.passed + 600_000;
  equal(await Promise.race([drain.end, until(() => clock.passed > later)]), true);
  cluster.watcher!.synced([], "2");
  deepEqual(await drain.end, { kind: "emptied" });
});

Deno.test("a watch of the pods that stays denied ends the drain with the missing permission", async () => {
  const cluster = new Cluster(1);
  cluster.unwatchable = denied("watch", "pods");
  await rejects(cluster.drain({ deniedMs: 0 }).end, ForbiddenError);
});

Deno.test("an eviction that stays denied ends the drain with the missing permission", async () => {
  const cluster = new Cluster(1);
  cluster.answer = () => Promise.reject(denied("create", "pods"));
  await rejects(cluster.drain({ deniedMs: 0 }).end, ForbiddenError);
});

/** A pod that was created so many seconds after the grant. */
const created = (name: string, seconds: number, change: Partial<PodView> = {}): PodView => {
  const base = viewPod(pod({ name, namespace: "shop" }));
  return { ...base, uid: name, createdAt: owner.since + seconds * 1_000, controllerUid: "c", ...change };
};

for (const when of ["before it is cordoned", "during the evictions"]) {
  for (const later of [true, false]) {
    const what = later ? "another Node has its name" : "no Node has its name";
    Deno.test(`a drain whose Node is gone only waits for the Node's pods: ${when}, ${what}`, async () => {
      const cluster = new Cluster(0);
      cluster.start(created("old", 0));
      const vanish = () => cluster.node = later ? nodeView({ uid: "n2", createdAt: owner.since + 10_000 }) : undefined;
      if (when === "before it is cordoned") vanish();
      const answer = Promise.withResolvers<EvictionAnswer>();
      cluster.answer = () => answer.promise;
      const drain = cluster.drain();
      if (when === "during the evictions") {
        await until(() => cluster.evicting === 1);
        vanish();
        answer.resolve({ kind: "failed", reason: "no" });
      }
      await until(() => drain.left[0]?.reason.includes("its Node no longer exists"));
      if (later) cluster.start(created("of the later Node", 11));
      // The pod stays for as long as the cluster does not remove it, and nothing is evicted.
      const later_ = cluster.clock.passed + 60_000;
      await until(() => cluster.clock.passed > later_);
      deepEqual(drain.left.map(({ name }) => name), ["old"]);
      cluster.end(cluster.pods.get("old")!);
      deepEqual(await drain.end, { kind: "emptied" });
      deepEqual([cluster.evicted, cluster.pods.size], [[], later ? 1 : 0]);
      equal(cluster.node?.unschedulable, later ? true : undefined);
    });
  }
}

Deno.test("a drain whose Node is gone does not wait for a pod that was pending and is bound to the later Node", async () => {
  const cluster = new Cluster(0);
  cluster.node = nodeView({ uid: "n2", createdAt: owner.since + 10_000 });
  cluster.start(created("old", 0, { boundAt: owner.since }));
  cluster.start(created("was pending", 0, { boundAt: owner.since + 11_000 }));
  const drain = cluster.drain();
  await until(() => drain.left.length > 0);
  deepEqual(drain.left.map(({ name }) => name), ["old"]);
  cluster.end(cluster.pods.get("old")!);
  deepEqual(await drain.end, { kind: "emptied" });
  deepEqual([cluster.evicted, cluster.pods.size], [[], 1]);
});

for (
  const [whose, machineId, isWaiting] of [["the same machine's", "m1", false], [
    "another machine's",
    "m2",
    true,
  ]] as const
) {
  Deno.test(`a drain whose Node is gone ${isWaiting ? "waits" : "does not wait"} where the next one of the name is ${whose}`, async () => {
    const cluster = new Cluster(1);
    cluster.node = nodeView({ uid: "n2", ids: [], machineId });
    const drain = cluster.drain();
    if (isWaiting) {
      await until(() => drain.left.length === 1);
      cluster.end(cluster.pods.get("pod-0")!);
    }
    deepEqual(await drain.end, { kind: "emptied" });
    deepEqual([cluster.evicted.length, cluster.pods.size], [0, isWaiting ? 0 : 1]);
  });
}

Deno.test("nothing is evicted from a node that others have uncordoned: it is cordoned again first, after a pause", async () => {
  const cluster = new Cluster(5);
  cluster.answer = () => {
    if (cluster.evicted.length === 1) cluster.node = nodeView({ unschedulable: false });
    return Promise.resolve({ kind: "accepted" });
  };
  deepEqual(await cluster.drain({ concurrency: 1 }).end, { kind: "emptied" });
  equal(cluster.calls.cordoned, 2);
  equal(cluster.evicted.length, 5);
  equal(cluster.clock.passed, 5_000);
  ok(cluster.told.includes("uncordonedByOthers"));
});

Deno.test("against somebody who insists, the first drain of a hold sets the cordon again three times, each further one once", async () => {
  const cluster = new Cluster(9);
  cluster.answer = () => {
    cluster.node = nodeView({ unschedulable: false });
    return Promise.resolve({ kind: "failed", reason: "no" });
  };
  const first = await cluster.drain({ concurrency: 1 }).end;
  ok(first.kind === "failed");
  match(first.reason!, /others uncordon the node/);
  equal(first.pods.length, 9);
  equal(cluster.calls.cordoned, 4);
  ok(cluster.clock.passed >= 35_000);
  for (const cordoned of [5, 6]) {
    const before = cluster.clock.passed;
    const further = await cluster.drain({ concurrency: 1 }).end;
    ok(further.kind === "failed");
    equal(cluster.calls.cordoned, cordoned);
    ok(cluster.clock.passed - before >= 20_000);
  }
  // Once they let it be cordoned, a drain goes on.
  cluster.node = nodeView();
  cluster.answer = () => Promise.resolve({ kind: "accepted" });
  deepEqual(await cluster.drain().end, { kind: "emptied" });
});

Deno.test("a watch of the nodes that is behind costs one read, and does not stop the evictions", async () => {
  const cluster = new Cluster(5);
  const stale = nodeView({ unschedulable: false });
  cluster.peek = () => stale;
  cluster.memory.wasCordoned = true;
  cluster.node = nodeView();
  deepEqual(await cluster.drain().end, { kind: "emptied" });
  deepEqual([cluster.calls.read, cluster.calls.cordoned, cluster.evicted.length], [1, 0, 5]);
});

Deno.test("a node that nobody touches any more is drained, after others have uncordoned it too often", async () => {
  const cluster = new Cluster(0);
  cluster.memory.wasCordoned = true;
  cluster.memory.cordonedAgain = 3;
  deepEqual(await cluster.drain().end, { kind: "emptied" });
  deepEqual([cluster.calls.cordoned, cluster.node?.unschedulable], [1, true]);
});

for (
  const [what, isSynced, afterMs] of [
    ["is not in step with the cluster", false, 1_500],
    ["has gone silent", true, 10_500],
  ] as const
) {
  Deno.test(`nothing is evicted from a node that others uncordon while the watch of the nodes ${what}`, async () => {
    const cluster = new Cluster(1);
    cluster.answer = () => Promise.resolve({ kind: "blocked", budget: "web", reason: "its budget" });
    const drain = cluster.drain();
    await until(() => cluster.evicting === 0 && drain.left[0]?.reason === "its budget");
    const seen = cluster.node;
    cluster.peek = () => seen;
    cluster.isSynced = isSynced;
    cluster.node = nodeView({ unschedulable: false });
    // The evictions until then rest on what was known before.
    const known = cluster.clock.passed + afterMs;
    cluster.mayEvictUntil = known;
    await Promise.race([until(() => cluster.calls.cordoned === 2), drain.end]);
    cluster.answer = () => Promise.resolve({ kind: "accepted" });
    deepEqual(await drain.end, { kind: "emptied" });
    equal(cluster.evicted.length, 1);
  });
}

for (
  const [isSynced, pods, ms, reads] of [
    // A drain of a few seconds costs no further call.
    [true, 110, 80, 0],
    [true, 110, 400, 4],
    [false, 110, 5, 0],
    [false, 110, 80, 8],
  ] as const
) {
  const what = isSynced ? "in step" : "behind";
  Deno.test(`${pods} evictions, one each ${ms} ms, with the watch of the nodes ${what}, cost ${reads} reads of the node`, async () => {
    const cluster = new Cluster(pods);
    cluster.isSynced = isSynced;
    const moved: Promise<void>[] = [];
    cluster.answer = () => {
      moved.push(cluster.clock.advance(ms));
      return Promise.resolve({ kind: "accepted" });
    };
    deepEqual(await cluster.drain({ concurrency: pods }).end, { kind: "emptied" });
    await Promise.all(moved);
    deepEqual([cluster.evicted.length, cluster.calls.read], [pods, reads]);
  });
}

Deno.test("a drain whose hold is gone when it finds its node uncordoned by a read is abandoned", async () => {
  const cluster = new Cluster(1);
  cluster.isSynced = false;
  cluster.answer = () => Promise.resolve({ kind: "blocked", budget: "web", reason: "its budget" });
  const drain = cluster.drain();
  await until(() => drain.left[0]?.reason === "its budget");
  const seen = cluster.node;
  cluster.peek = () => seen;
  cluster.mayEvictUntil = cluster.clock.passed + 1_500;
  cluster.isHeld = false;
  cluster.node = nodeView({ unschedulable: false });
  deepEqual(await drain.end, { kind: "abandoned" });
});

Deno.test("a drain after one that found the node empty does not trust the watch of the nodes", async () => {
  const cluster = new Cluster(0);
  deepEqual(await cluster.drain().end, { kind: "emptied" });
  cluster.peek = () => nodeView();
  cluster.node = nodeView({ unschedulable: false });
  deepEqual(await cluster.drain().end, { kind: "emptied" });
  equal(cluster.calls.cordoned, 2);
});

Deno.test("a drain awaits the volumes before it ends", async () => {
  const cluster = new Cluster(1);
  cluster.attached = (look) => look < 5;
  deepEqual(await cluster.drain().end, { kind: "emptied" });
  equal(cluster.clock.passed, 5 * 2_000);
});

Deno.test("a drain asks for the time where a dead kubelet holds a pod, and does not wait for the pod", async () => {
  const cluster = new Cluster(0);
  cluster.node = nodeView({ ready: "Unknown" });
  cluster.start(created("web", 0, { terminating: true, graceEndsAt: owner.since + 30_000 }));
  cluster.clock.isTimeKnown = false;
  cluster.getNode = () => {
    cluster.clock.isTimeKnown = true;
    return Promise.resolve();
  };
  deepEqual(await cluster.drain().end, { kind: "emptied" });
  deepEqual(cluster.staying, ["web: kubelet_dead"]);
  ok(cluster.clock.passed >= 41_000 && cluster.clock.passed <= 47_000);
});

for (
  const [what, skewMs, knownAt] of [
    ["an hour slow, as the API server's is", -3_600_000, 0],
    ["an hour fast until the API server has told its time", 3_600_000, 60_000],
    ["an hour fast, and which hears nothing until after the time-out", 3_600_000, 660_000],
  ] as const
) {
  for (const onTimeout of ["proceed", "delete"] as const) {
    Deno.test(`a replica whose clock is ${what} does not ${onTimeout} before the time-out`, async () => {
      const cluster = new Cluster(1);
      cluster.clock.skewMs = skewMs;
      cluster.clock.isTimeKnown = knownAt === 0;
      cluster.answer = () => Promise.resolve({ kind: "blocked", budget: "web", reason: "its budget" });
      const drain = cluster.drain({ timeoutMs: 600_000, onTimeout });
      if (knownAt > 0) {
        await until(() => cluster.clock.passed > knownAt);
        deepEqual([cluster.deleted, drain.left.length], [[], 1]);
        Object.assign(cluster.clock, { isTimeKnown: true, skewMs: 0 });
      }
      equal((await drain.end).kind, onTimeout === "proceed" ? "proceed" : "emptied");
      ok(cluster.clock.passed >= Math.max(600_000, knownAt));
      if (onTimeout === "delete") ok(cluster.deleted[0]! >= 600_000);
      else deepEqual(cluster.deleted, []);
    });
  }
}

/** A controller that puts each pod back at once. */
const CONTROLLER = fc.record({
  count: fc.integer({ min: 1, max: 4 }),
  toleratesCordon: fc.boolean(),
  keepsNames: fc.boolean(),
});

for (const onTimeout of ["refuse", "proceed"] as const) {
  Deno.test(`a drain that begins after its time-out evicts each pod once before it follows the policy to ${onTimeout}`, async () => {
    const cluster = new Cluster(3);
    await cluster.clock.advance(700_000);
    let tries = 0;
    cluster.answer = (pod) => {
      tries++;
      const isFree = pod.name === "pod-0";
      return Promise.resolve(isFree ? { kind: "accepted" } : { kind: "blocked", budget: "web", reason: "its budget" });
    };
    // An earlier drain here began long ago.
    const memory = Object.assign(new DrainMemory(), { beganAt: cluster.clock.monotonic() - 300_000 });
    const end = await cluster.drain({ timeoutMs: 600_000, onTimeout, concurrency: 2 }, { memory }).end;
    equal(end.kind, onTimeout === "refuse" ? "failed" : "proceed");
    deepEqual("pods" in end && end.pods.map(({ name }) => name), ["pod-1", "pod-2"]);
    equal(tries, 3);
  });

  Deno.test(`bare pods that others start again and again do not hold back the policy to ${onTimeout} at the time-out`, async () => {
    const cluster = new Cluster(0);
    let started = 0;
    const start = () => cluster.start(created("bare", 10, { uid: `${++started}`, controllerUid: undefined }));
    start();
    cluster.answer = () => {
      start();
      return Promise.resolve({ kind: "accepted" });
    };
    const end = await cluster.drain({ timeoutMs: 100_000, onTimeout }).end;
    equal(end.kind, onTimeout === "refuse" ? "failed" : "proceed");
    ok(cluster.clock.passed >= 100_000 && cluster.clock.passed < 120_000);
    ok(started > 20 && started < 32, `${started} pods`);
  });
}

Deno.test("whatever the controllers put back, the evictions are bounded by what was there and what others start, and the drain ends", async () => {
  const run = async (
    controllers: { count: number; toleratesCordon: boolean; keepsNames: boolean }[],
    bare: { there: number; later: number },
  ) => {
    const cluster = new Cluster(0);
    let started = 0;
    let later = bare.later;
    // A person or a tool, which is not a controller, starts each such pod again, but not for ever.
    const startBare = () => {
      const createdAt = Math.floor(cluster.clock.now() / 1_000) * 1_000;
      cluster.start(created("bare", 0, { uid: `${++started}`, createdAt, controllerUid: undefined }));
    };
    const start = (controller: number, name: string) => {
      const { toleratesCordon } = controllers[controller]!;
      const createdAt = Math.floor(cluster.clock.now() / 1_000) * 1_000;
      const uid = `${++started}`;
      cluster.start(created(name, 0, { uid, createdAt, toleratesCordon, controllerUid: `${controller}` }));
    };
    controllers.forEach(({ count }, n) => {
      for (let k = 0; k < count; k++) start(n, `${n}-${k}`);
    });
    for (let n = 0; n < bare.there; n++) startBare();
    const there = started;
    cluster.answer = (pod) => {
      if (pod.controllerUid === undefined) {
        if (later-- > 0) startBare();
        return Promise.resolve({ kind: "accepted" });
      }
      // The new pod is there before the old one is gone.
      const controller = Number(pod.controllerUid);
      start(controller, controllers[controller]!.keepsNames ? pod.name : `${controller}-${started}`);
      return Promise.resolve({ kind: "accepted" });
    };
    deepEqual(await cluster.drain({ timeoutMs: 600_000 }).end, { kind: "emptied" });
    // A controller of one pod has it evicted three more times; each further pod of it once more.
    const most = there + bare.later + controllers.reduce((sum, { count }) => sum + 2 + count, 0);
    ok(cluster.evicted.length <= most, `${cluster.evicted.length} evictions, at most ${most}`);
    ok(cluster.clock.passed < 60_000 + bare.later * 5_000);
    equal(cluster.staying.length, cluster.pods.size);
    ok([...cluster.pods.values()].every(({ controllerUid }) => controllerUid !== undefined));
  };
  const bare = fc.record({ there: fc.integer({ min: 0, max: 3 }), later: fc.integer({ min: 0, max: 8 }) })
    // Where none was there, nobody starts one again.
    .map(({ there, later }) => ({ there, later: there === 0 ? 0 : later }));
  await fc.assert(fc.asyncProperty(fc.array(CONTROLLER, { minLength: 1, maxLength: 4 }), bare, run), { numRuns: 50 });
});

Deno.test("a drain whose hold is gone before it cordons the node is abandoned", async () => {
  const cluster = new Cluster(1);
  cluster.isHeld = false;
  deepEqual(await cluster.drain().end, { kind: "abandoned" });
  deepEqual([cluster.calls.cordoned, cluster.calls.lifted], [0, 1]);
  deepEqual([cluster.pods.size, cluster.clock.passed], [1, 0]);
  equal(cluster.memory.wasCordoned, false);
});

for (const [reason, kind, lifted] of [["hold_gone", "abandoned", 1], ["closing", "draining", 0]] as const) {
  Deno.test(`a drain that is stopped because of '${reason}' ends as '${kind}'`, async () => {
    const cluster = new Cluster(1);
    const gate = Promise.withResolvers<EvictionAnswer>();
    cluster.answer = () => gate.promise;
    const drain = cluster.drain();
    await until(() => cluster.evicting === 1);
    drain.stop(reason);
    gate.resolve({ kind: "accepted" });
    equal((await drain.end).kind, kind);
    equal(cluster.calls.lifted, lifted);
  });
}

Deno.test("unless told otherwise, a drain has 15 minutes from the grant, and ten evictions under way at a time", async () => {
  const cluster = new Cluster(30);
  cluster.answer = async () => {
    await cluster.clock.advance(0);
    return { kind: "blocked", budget: "web", reason: "its budget" };
  };
  await cluster.clock.advance(100_000);
  equal((await cluster.drain().end).kind, "failed");
  ok(cluster.clock.passed >= 900_000 && cluster.clock.passed < 906_000, `${cluster.clock.passed}`);
  equal(cluster.mostEvicting, 10);
});

Deno.test("unless told otherwise, a call that is denied is repeated for ten seconds", async () => {
  const cluster = new Cluster(1);
  cluster.cordonFault = denied("patch", "nodes");
  await rejects(cluster.drain().end, ForbiddenError);
  ok(cluster.clock.passed >= 10_000 && cluster.clock.passed <= 15_000, `${cluster.clock.passed}`);
  ok(cluster.told.includes("retrying"));
});

Deno.test("unless told otherwise, a drain waits two minutes for volumes, tells which are still attached, and ends", async () => {
  const cluster = new Cluster(1);
  cluster.attached = () => true;
  deepEqual(await cluster.drain().end, { kind: "emptied" });
  ok(cluster.clock.passed >= 120_000 && cluster.clock.passed <= 122_000, `${cluster.clock.passed}`);
  deepEqual(cluster.stillAttached, [["volume"]]);
  const detached = new Cluster(1);
  deepEqual(await detached.drain().end, { kind: "emptied" });
  deepEqual(detached.stillAttached, []);
});

Deno.test("volumes that were waited for in vain hold up no further drain of the hold, whoever heard of the end", async () => {
  const cluster = new Cluster(1);
  const reasons = new Set<string | undefined>();
  cluster.attached = (look) => {
    if (look > 0) reasons.add(first.reason);
    return true;
  };
  const first = cluster.drain();
  equal(first.reason, undefined);
  await first.end;
  deepEqual([...reasons], ["1 volume is still attached to it (VolumeAttachment volume)"]);
  const passed = cluster.clock.passed;
  deepEqual(await cluster.drain().end, { kind: "emptied" });
  ok(cluster.clock.passed - passed < 1_000, `${cluster.clock.passed - passed}`);
  deepEqual(cluster.stillAttached, [["volume"]]);
});

Deno.test("a drain that only proves the node empty again does not look at volumes, nor one whose Node is gone", async () => {
  const again = new Cluster(1);
  const gone = new Cluster(0);
  again.attached = gone.attached = () => true;
  deepEqual(await again.drain({}, { again: true }).end, { kind: "emptied" });
  gone.node = undefined;
  deepEqual(await gone.drain().end, { kind: "emptied" });
  deepEqual([again.clock.passed, again.stillAttached, gone.stillAttached], [0, [], []]);
});

Deno.test("a drain whose patches do not find the Node that reads show fails as one that others disturb", async () => {
  const cluster = new Cluster(1);
  cluster.isUnpatchable = true;
  deepEqual(await cluster.drain().end, {
    kind: "failed",
    node: "n",
    pods: [],
    reason: "others uncordon the node again and again",
  });
  equal(cluster.pods.size, 1);
});

Deno.test("a drain that fails before anybody awaits its end is not an unhandled rejection", async () => {
  const cluster = new Cluster(1);
  cluster.cordonFault = new CallRefusedError("refused", "no");
  const { end } = cluster.drain();
  await new Promise((resolve) => setTimeout(resolve, 0));
  await rejects(end, CallRefusedError);
});

Deno.test("a pod that its budget holds back is neither deleted nor left before the time-out, and then at once", async () => {
  for (const onTimeout of ["refuse", "proceed", "delete"] as const) {
    const cluster = new Cluster(2);
    cluster.answer = (pod) =>
      Promise.resolve(
        pod.name === "pod-0" ? { kind: "accepted" } : { kind: "blocked", budget: "web", reason: "its budget" },
      );
    const { kind } = await cluster.drain({ timeoutMs: 300_000, onTimeout }).end;
    equal(kind, { refuse: "failed", proceed: "proceed", delete: "emptied" }[onTimeout]);
    ok(cluster.clock.passed >= 300_000 && cluster.clock.passed < 306_000, `${cluster.clock.passed}`);
    equal(cluster.deleted.length, onTimeout === "delete" ? 1 : 0);
    equal(cluster.told.includes("deleting"), onTimeout === "delete");
  }
});

Deno.test("a drain tells each answer to an eviction, how many pods are left, and which stay only where some do", async () => {
  const cluster = new Cluster(2);
  let refusals = 1;
  cluster.answer = ({ name }) => {
    const isBlocked = name === "pod-1" && refusals-- > 0;
    return Promise.resolve(isBlocked ? { kind: "blocked", budget: "web", reason: "its budget" } : { kind: "accepted" });
  };
  await cluster.drain().end;
  equal(cluster.told.filter((event) => event === "evicted").length, 3);
  const { progress } = cluster;
  deepEqual([progress[0], progress.at(-1)], ["2 left, 0 blocked", "0 left, 0 blocked"]);
  ok(progress.includes("1 left, 1 blocked"));
  equal(cluster.told.includes("staying"), false);
});

Deno.test("a drain that ends otherwise tells what is left at the end too", async () => {
  const cluster = new Cluster(1);
  cluster.answer = () => {
    cluster.start(created("late", -5));
    return Promise.reject(new CallRefusedError("refused", "no"));
  };
  await rejects(cluster.drain().end, CallRefusedError);
  equal(cluster.progress.at(-1), "2 left, 0 blocked");
});

for (
  const [what, onTimeout, expected] of [
    ["yields where that is the policy", "yield", { yields: true }],
    ["does not yield under another policy", "refuse", {}],
  ] as const
) {
  Deno.test(`a hold whose drain has failed at its time-out ${what}`, async () => {
    const cluster = new Cluster(0);
    cluster.start(created("going", -5, { terminating: true }));
    const drain = cluster.drain({ timeoutMs: 300_000, onTimeout });
    const { pods, ...end } = await drain.end as Extract<Awaited<Drain["end"]>, { kind: "failed" }>;
    deepEqual(end, { kind: "failed", node: "n", ...expected });
    deepEqual(pods.map(({ name }) => name), ["going"]);
    equal(cluster.clock.passed, 300_000);
  });
}

for (const onTimeout of ["refuse", "delete"] as const) {
  const what = onTimeout === "delete" ? "a deletion" : "an eviction";
  Deno.test(`${what} that waits for its turn while others uncordon the node is not made, until it is cordoned again`, async () => {
    const cluster = new Cluster(1);
    if (onTimeout === "delete") cluster.answer = () => Promise.resolve({ kind: "blocked", budget: "web", reason: "b" });
    let turns = 0;
    cluster.turn = () => {
      const isFirst = onTimeout === "refuse"
        ? turns === 0
        : cluster.deleting.length > 0 && cluster.calls.cordoned === 1;
      turns++;
      if (isFirst) cluster.node = { ...cluster.node!, unschedulable: false };
      return Promise.resolve();
    };
    deepEqual(await cluster.drain({ timeoutMs: 60_000, onTimeout }).end, { kind: "emptied" });
    deepEqual([cluster.calls.cordoned, cluster.evicted.length + cluster.deleted.length], [2, 1]);
    ok(turns > 1);
  });
}

Deno.test("the time-out counts from the grant, within what this process has seen of the hold's age", async () => {
  for (
    const [sinceMs, age, expected] of [
      [-100_000, undefined, 200_000],
      [-100_000, { atLeastMs: 0, atMostMs: Infinity }, 200_000],
      // The clock of the grant was behind, or that of this API server is ahead.
      [-7_200_000, { atLeastMs: 1_000, atMostMs: 121_000 }, 179_000],
      // The other way round.
      [7_200_000, { atLeastMs: 60_000, atMostMs: Infinity }, 240_000],
      [7_200_000, { atLeastMs: 300_000, atMostMs: Infinity }, 0],
    ] as const
  ) {
    const cluster = new Cluster(1);
    cluster.answer = () => Promise.resolve({ kind: "blocked", budget: "web", reason: "its budget" });
    const since = cluster.clock.now() + sinceMs;
    const change = { owner: { ...owner, since }, ...(age && { age }) };
    const { kind } = await cluster.drain({ timeoutMs: 300_000 }, change).end;
    equal(kind, "failed");
    equal(cluster.clock.passed, expected);
  }
});

for (const onTimeout of ["refuse", "yield", "proceed", "delete"] as const) {
  Deno.test(`a drain that begins late for its hold is given time to ${onTimeout} only where that permits more`, async () => {
    for (
      const [heldMs, timeoutMs, drainedMs, expected] of [
        [100_000, 600_000, undefined, 500_000],
        [700_000, 600_000, undefined, 300_000],
        [700_000, 200_000, undefined, 200_000],
        [700_000, 600_000, 120_000, 180_000],
        [700_000, 600_000, 300_000, 0],
      ] as const
    ) {
      const cluster = new Cluster(1);
      cluster.answer = () => Promise.resolve({ kind: "blocked", budget: "web", reason: "its budget" });
      const { clock } = cluster;
      const memory = new DrainMemory();
      if (drainedMs !== undefined) memory.beganAt = clock.monotonic() - drainedMs;
      const change = { memory, owner: { ...owner, since: clock.now() - heldMs } };
      await cluster.drain({ timeoutMs, onTimeout }, change).end;
      const permitsMore = onTimeout === "proceed" || onTimeout === "delete";
      const expectedMs = permitsMore ? expected : Math.max(timeoutMs - heldMs, 0);
      const passed = cluster.deleted[0] ?? clock.passed;
      ok(passed >= expectedMs && passed <= expectedMs + 6_000, `${heldMs} ${timeoutMs} ${drainedMs}: ${passed}`);
    }
  });
}

for (const onTimeout of ["proceed", "delete"] as const) {
  Deno.test(`what a time-out permits (${onTimeout}) needs time of its own from when the drain first sees the pods`, async () => {
    const cluster = new Cluster(1);
    cluster.answer = () => Promise.resolve({ kind: "blocked", budget: "web", reason: "its budget" });
    const { clock, memory } = cluster;
    const change = { memory, owner: { ...owner, since: clock.now() - 700_000 } };
    const options = { timeoutMs: 600_000, onTimeout };
    cluster.cordonFault = denied("patch", "nodes");
    await rejects(cluster.drain(options, change).end, ForbiddenError);
    await clock.sleep(400_000);
    cluster.cordonFault = undefined;
    const began = clock.passed;
    await cluster.drain(options, change).end;
    const ended = cluster.deleted[0] ?? clock.passed;
    ok(ended >= began + 300_000 && ended <= began + 306_000, `${ended - began}`);
  });

  Deno.test(`what a time-out permits (${onTimeout}) needs time of its own after the API server was away until then`, async () => {
    const cluster = new Cluster(1);
    let isAway = true;
    cluster.answer = () => {
      if (isAway) cluster.watcher!.lost(new UnavailableError("away"));
      return Promise.resolve({ kind: "blocked", budget: "web", reason: "its budget" });
    };
    const { clock, memory } = cluster;
    const change = { memory, owner: { ...owner, since: clock.now() - 700_000 } };
    const options = { timeoutMs: 600_000, onTimeout };
    await rejects(cluster.drain(options, change).end, UnavailableError);
    isAway = false;
    const began = clock.passed;
    await cluster.drain(options, change).end;
    const ended = cluster.deleted[0] ?? clock.passed;
    ok(ended >= began + 300_000 && ended <= began + 306_000, `${ended - began}`);
  });
}

Deno.test("nothing is deleted at a time-out once the hold is over, whatever the process has heard of that", async () => {
  const cluster = new Cluster(1);
  cluster.answer = () => {
    cluster.isHeld = false;
    return Promise.resolve({ kind: "blocked", budget: "web", reason: "its budget" });
  };
  deepEqual(await cluster.drain({ timeoutMs: 60_000, onTimeout: "delete" }).end, { kind: "abandoned" });
  deepEqual([cluster.deleted, cluster.calls.lifted], [[], 1]);
});

Deno.test("a hold whose node others uncordon again and again yields once the time-out has passed by the API server's time", async () => {
  for (
    const [timeoutMs, isTimeKnown, expected] of [
      [35_000, true, { yields: true }],
      [35_001, true, {}],
      [35_000, false, {}],
    ] as const
  ) {
    const cluster = new Cluster(1);
    cluster.isUnpatchable = true;
    cluster.clock.isTimeKnown = isTimeKnown;
    deepEqual(await cluster.drain({ timeoutMs, onTimeout: "yield" }).end, {
      kind: "failed",
      node: "n",
      pods: [],
      reason: "others uncordon the node again and again",
      ...expected,
    });
    equal(cluster.clock.passed, 35_000);
  }
});

Deno.test("a drain that goes on at its time-out names the pods that are left", async () => {
  const cluster = new Cluster(0);
  cluster.start(created("going", -5, { terminating: true }));
  const end = await cluster.drain({ timeoutMs: 300_000, onTimeout: "proceed" }).end;
  ok(end.kind === "proceed");
  deepEqual([end.node, end.pods.map(({ name }) => name)], ["n", ["going"]]);
});

Deno.test("the pods that the operator exempts are not evicted", async () => {
  const cluster = new Cluster(2);
  const skip = () => true;
  deepEqual(await cluster.drain({ pods: { skip } }).end, { kind: "emptied" });
  deepEqual([cluster.evicted, cluster.pods.size], [[], 2]);
});

Deno.test("a drain whose hold ends during the evictions is abandoned", async () => {
  const cluster = new Cluster(1);
  cluster.answer = () => {
    cluster.isHeld = false;
    cluster.node = nodeView({ unschedulable: false });
    return Promise.resolve({ kind: "blocked", budget: "web", reason: "its budget" });
  };
  deepEqual(await cluster.drain().end, { kind: "abandoned" });
  deepEqual([cluster.calls.lifted, cluster.pods.size], [1, 1]);
});

Deno.test("an eviction that the cluster does not answer is repeated like one that failed", async () => {
  const cluster = new Cluster(1);
  let tries = 0;
  cluster.answer = () =>
    ++tries < 3 ? Promise.reject(new UnavailableError("away")) : Promise.resolve({ kind: "accepted" });
  deepEqual(await cluster.drain().end, { kind: "emptied" });
  deepEqual([tries, cluster.clock.passed >= 2_250], [3, true]);
});

Deno.test("the wait for pods that are going costs no reads of the node while its watch is in step", async () => {
  const cluster = new Cluster(0);
  const going = created("going", -5, { terminating: true });
  cluster.start(going);
  const drain = cluster.drain({ timeoutMs: 600_000 });
  await until(() => cluster.clock.passed > 120_000);
  cluster.end(going);
  deepEqual(await drain.end, { kind: "emptied" });
  equal(cluster.calls.read, 0);
});

Deno.test("a drain that cannot see the pods tells each loss, and why in the end", async () => {
  const cluster = new Cluster(1);
  cluster.unwatchable = new UnavailableError("away");
  await rejects(cluster.drain({ timeoutMs: 60_000 }).end, { cause: cluster.unwatchable });
  ok(cluster.told.includes("retrying"));
});

Deno.test("the API server is asked for its time once a second until it tells it, and the drain goes on at once", async () => {
  const cluster = new Cluster(1);
  const { clock } = cluster;
  clock.isTimeKnown = false;
  clock.isHasty = false;
  cluster.answer = () => Promise.resolve({ kind: "blocked", budget: "web", reason: "its budget" });
  const drain = cluster.drain({ timeoutMs: 30_000, onTimeout: "proceed" });
  while (clock.passed < 30_000) await clock.advance(1_000);
  const asked: number[] = [];
  cluster.getNode = () => {
    asked.push(clock.passed);
    if (asked.length === 1) return Promise.reject(new UnavailableError("away"));
    clock.isTimeKnown = asked.length === 3;
    return Promise.resolve();
  };
  while (asked.length < 3) {
    ok(clock.passed < 40_000);
    await clock.advance(500);
  }
  equal((await drain.end).kind, "proceed");
  const [first, ...more] = asked;
  deepEqual(more, [first! + 1_000, first! + 2_000]);
  ok(cluster.told.includes("retrying"));
  equal(clock.passed, asked[2]);
});

Deno.test("a drain whose time-out needs a time that the API server never tells ends with that, after five minutes of asking", async () => {
  for (const onTimeout of ["proceed", "delete", "yield"] as const) {
    const cluster = new Cluster(1);
    cluster.clock.isTimeKnown = false;
    cluster.answer = () => Promise.resolve({ kind: "blocked", budget: "web", reason: "its budget" });
    const drain = cluster.drain({ timeoutMs: 30_000, onTimeout });
    await rejects(drain.end, { name: "UnavailableError", message: "the API server does not tell its time" });
    ok(cluster.clock.passed >= 330_000 && cluster.clock.passed < 335_000, `${cluster.clock.passed}`);
  }
});

Deno.test("a drain whose question for the time is denied for good ends with that", async () => {
  const cluster = new Cluster(1);
  cluster.clock.isTimeKnown = false;
  cluster.answer = () => Promise.resolve({ kind: "blocked", budget: "web", reason: "its budget" });
  const drain = cluster.drain({ timeoutMs: 30_000, onTimeout: "proceed", deniedMs: 0 });
  await until(() => cluster.clock.passed >= 25_000);
  cluster.getNode = () => Promise.reject(denied("get", "nodes"));
  await rejects(drain.end, ForbiddenError);
});

Deno.test("at the time-out, pods are deleted at once, whatever pause their budget asks for, and named", async () => {
  const cluster = new Cluster(2);
  cluster.answer = () =>
    Promise.resolve({ kind: "blocked", budget: "web", reason: "its budget", retryAfterMs: 3_600_000 });
  deepEqual(await cluster.drain({ timeoutMs: 300_000, onTimeout: "delete" }).end, { kind: "emptied" });
  deepEqual(cluster.deleted, [300_000, 300_000]);
  const reason = "its eviction has not begun";
  ok((cluster.deleting[0] as { name: string; reason: string }[]).every((one) => one.reason !== reason));
  equal(cluster.deleting.length, 1);
});

Deno.test("the next eviction begins as soon as one has been answered, and a drain ends as soon as the last pod is gone", async () => {
  const cluster = new Cluster(2);
  cluster.clock.isHasty = false;
  const answers: PromiseWithResolvers<EvictionAnswer>[] = [];
  cluster.answer = () => {
    answers.push(Promise.withResolvers());
    return answers.at(-1)!.promise;
  };
  const drain = cluster.drain({ concurrency: 1 });
  await cluster.clock.advance(0);
  equal(answers.length, 1);
  answers[0]!.resolve({ kind: "accepted" });
  await cluster.clock.advance(0);
  equal(answers.length, 2);
  answers[1]!.resolve({ kind: "accepted" });
  deepEqual(await drain.end, { kind: "emptied" });
  deepEqual([cluster.clock.passed, cluster.clock.sleepers], [0, 0]);
});

Deno.test("an eviction that fails frees its place at once", async () => {
  const cluster = new Cluster(2);
  cluster.clock.isHasty = false;
  const tried: string[] = [];
  cluster.answer = async ({ name }) => {
    tried.push(name);
    await new Promise((resolve) => setTimeout(resolve, 0));
    return { kind: "failed", reason: "busy" };
  };
  const drain = cluster.drain({ concurrency: 1 });
  for (let turns = 0; turns < 5; turns++) await cluster.clock.advance(0);
  deepEqual(tried, ["pod-0", "pod-1"]);
  drain.stop("closing");
  equal((await drain.end).kind, "draining");
});

Deno.test("a drain that is stopped says so of the pods whose evictions it has broken off", async () => {
  const cluster = new Cluster(1);
  const gate = Promise.withResolvers<EvictionAnswer>();
  cluster.answer = () => gate.promise;
  const drain = cluster.drain();
  await until(() => cluster.evicting === 1);
  drain.stop("closing");
  // The call rejects with what its signal was aborted with, which is no error.
  gate.reject("closing");
  const pods = [{ namespace: "shop", name: "pod-0", reason: "its drain was stopped" }];
  deepEqual(await drain.end, { kind: "draining", node: "n", pods });
  deepEqual(drain.left, pods);
});

Deno.test("a drain that is stopped ends when the evictions under way have ended, not before", async () => {
  const cluster = new Cluster(1);
  const gate = Promise.withResolvers<EvictionAnswer>();
  cluster.answer = () => gate.promise;
  const drain = cluster.drain();
  await until(() => cluster.evicting === 1);
  drain.stop("closing");
  let isOver = false;
  drain.end.then(() => isOver = true);
  for (let turns = 0; turns < 5; turns++) await new Promise((resolve) => setTimeout(resolve, 0));
  equal(isOver, false);
  gate.resolve({ kind: "accepted" });
  equal((await drain.end).kind, "draining");
  // What they have changed is told too.
  equal(cluster.progress.at(-1), "0 left, 0 blocked");
});

for (
  const [what, seen, readFirst] of [
    ["that the watch shows is cordoned on what it shows", nodeView({ unschedulable: false }), false],
    ["that the watch does not show is read first", undefined, true],
    ["whose name the watch shows for another Node is read first", nodeView({ uid: "earlier" }), true],
  ] as const
) {
  Deno.test(`a node ${what}, and the cordoning is told once`, async () => {
    const cluster = new Cluster(1);
    cluster.peek = () => seen;
    deepEqual(await cluster.drain().end, { kind: "emptied" });
    deepEqual(cluster.readFirst, [readFirst]);
    equal(cluster.told.filter((event) => event === "cordoned").length, 1);
    equal(cluster.memory.wasCordoned, true);
  });
}

Deno.test("a later drain of the hold reads the node before its first eviction, and cordons it again after a read", async () => {
  const cluster = new Cluster(1);
  cluster.memory.wasCordoned = true;
  // The watch has not shown yet that others have lifted the cordon.
  cluster.peek = () => nodeView({ unschedulable: true });
  deepEqual(await cluster.drain().end, { kind: "emptied" });
  deepEqual([cluster.readFirst, cluster.calls.read, cluster.clock.passed], [[true], 1, 5_000]);
});

Deno.test("changes of a cordoned node that the watch shows cost no reads", async () => {
  const cluster = new Cluster(0);
  cluster.peek = () => cluster.node && { ...cluster.node };
  const going = created("going", -5, { terminating: true });
  cluster.start(going);
  const drain = cluster.drain({ timeoutMs: 600_000 });
  await until(() => cluster.clock.passed > 120_000);
  cluster.end(going);
  deepEqual(await drain.end, { kind: "emptied" });
  equal(cluster.calls.read, 0);
});

Deno.test("the node is read again before an eviction ten seconds after a read has shown the cordon, not earlier", async () => {
  const cluster = new Cluster(1);
  const { clock } = cluster;
  clock.isHasty = false;
  const tried: number[] = [];
  cluster.answer = () => {
    tried.push(clock.passed);
    const retryAfterMs = tried.length === 1 ? 9_999 : 10_000;
    return Promise.resolve(tried.length < 3 ? { kind: "failed", reason: "busy", retryAfterMs } : { kind: "accepted" });
  };
  const drain = cluster.drain();
  while (tried.length < 2) await clock.advance(clock.nextIn ?? 0);
  deepEqual([tried, cluster.calls.read], [[0, 9_999], 0]);
  while (tried.length < 3) await clock.advance(clock.nextIn ?? 0);
  deepEqual([tried, cluster.calls.read], [[0, 9_999, 19_999], 1]);
  deepEqual(await drain.end, { kind: "emptied" });
});
