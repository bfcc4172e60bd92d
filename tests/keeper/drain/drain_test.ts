/** One drain on a scripted cluster, for what a real one rarely does. The rest is in tests/cluster. @module */

import { deepEqual, equal, ok, rejects } from "node:assert/strict";
import { Drain } from "../../../src/keeper/drain/drain.ts";
import type { DrainContext, DrainListener, DrainOptions } from "../../../src/keeper/drain/drain_task.ts";
import { ForbiddenError } from "../../../src/kubernetes/errors.ts";
import type { PodCalls } from "../../../src/keeper/drain/pod_calls.ts";
import { type NodeView, viewNode } from "../../../src/keeper/nodes/node.ts";
import { type EvictionAnswer, type PodView, viewPod } from "../../../src/keeper/drain/pods.ts";
import type { ResourceWatcher } from "../../../src/kubernetes/watch.ts";
import { UnavailableError } from "../../../src/lock/errors.ts";
import { parseClientId, parseGroup } from "../../../src/lock/identity.ts";
import { pod } from "../../support/cluster_objects.ts";
import { until } from "../../support/condition.ts";
import { HastyClock } from "../../support/fake_clock.ts";

const owner = {
  namespace: "ops",
  group: parseGroup("default")!,
  id: parseClientId("a")!,
  since: Date.UTC(2026, 0, 1),
};
const denied = (verb: string, resource: string) => new ForbiddenError("no", { verb, group: "", resource });

/** A cluster of one node whose pods are gone once they are evicted, unless the test says otherwise. */
class Cluster {
  readonly pods: Map<string, PodView>;
  readonly clock = new HastyClock(owner.since);
  watcher?: ResourceWatcher<PodView>;
  evicting = 0;
  mostEvicting = 0;
  /** Answers an eviction; it may wait. */
  answer: (pod: PodView) => Promise<EvictionAnswer> = () => Promise.resolve({ kind: "accepted" });
  getNode: () => Promise<unknown> = () => Promise.resolve();
  /** What is read of the node in the end; undefined where it does not exist. */
  node: NodeView | undefined = { ...viewNode({ metadata: { name: "n" } }), unschedulable: true };
  /** The result of cordoning the node. */
  cordoned: Awaited<ReturnType<DrainContext["cordon"]["set"]>> = "cordoned";
  /** How often the node was cordoned, and the cordon lifted. */
  readonly cordons = { set: 0, lifted: 0 };
  /** Why the pods cannot be watched. */
  unwatchable?: Error;

  constructor(count: number) {
    const names = Array.from({ length: count }, (_, n) => `pod-${n}`);
    this.pods = new Map(names.map((name) => [name, { ...viewPod(pod({ name, namespace: "shop" })), uid: name }]));
  }

  drain(options: DrainOptions = {}): Drain {
    const pods: Partial<PodCalls> = {
      watchPods: (_node, watcher, signal) => {
        this.watcher = watcher;
        if (this.unwatchable !== undefined) watcher.lost(this.unwatchable);
        else watcher.synced([...this.pods.values()], "1");
        return new Promise((resolve) => {
          if (signal.aborted) resolve();
          signal.addEventListener("abort", () => resolve(), { once: true });
        });
      },
      evict: async (pod) => {
        this.mostEvicting = Math.max(this.mostEvicting, ++this.evicting);
        const answer = await this.answer(pod);
        this.evicting--;
        if (answer.kind === "accepted") {
          this.pods.delete(pod.uid);
          this.watcher!.changed("DELETED", pod);
        }
        return answer;
      },
      listAttachments: () => Promise.resolve([]),
    };
    const nodes: DrainContext["nodes"] = {
      getNode: async () => {
        await this.getNode();
        return this.node;
      },
    };
    const cordon: DrainContext["cordon"] = {
      set: () => {
        this.cordons.set++;
        return Promise.resolve(this.cordoned);
      },
      lift: () => {
        this.cordons.lifted++;
        return Promise.resolve(true);
      },
    };
    const listener = new Proxy({}, { get: () => () => {} }) as DrainListener;
    const context: DrainContext = {
      pods: pods as PodCalls,
      nodes,
      cordon,
      clock: this.clock,
      listener,
      holdExists: () => Promise.resolve(true),
      random: () => 1,
    };
    return new Drain({ node: "n", owner, again: false }, options, context);
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
    deepEqual(await drain.end, { kind: "drained" });
    equal(cluster.mostEvicting, Math.min(concurrency, 10));
  });
}

Deno.test("a denied call is repeated for a while, because an API server that has just started denies everything", async () => {
  const cluster = new Cluster(0);
  let denials = 3;
  cluster.getNode = () => denials-- > 0 ? Promise.reject(denied("get", "nodes")) : Promise.resolve();
  deepEqual(await cluster.drain().end, { kind: "drained" });
});

Deno.test("a call that stays denied ends the drain with the missing permission, long before its time-out", async () => {
  const cluster = new Cluster(0);
  cluster.getNode = () => Promise.reject(denied("get", "nodes"));
  await rejects(cluster.drain({ timeoutMs: 3_600_000 }).end, ForbiddenError);
  ok(cluster.clock.monotonic() < 60_000);
});

Deno.test("a drain repeats its calls until the time-out while the cluster does not answer", async () => {
  const cluster = new Cluster(0);
  cluster.getNode = () => Promise.reject(new UnavailableError("away"));
  await rejects(cluster.drain({ timeoutMs: 600_000 }).end, /away/);
  ok(cluster.clock.monotonic() >= 600_000);
});

Deno.test("an eviction that is answered with 'gone' does not end the drain while the watch still shows the pod", async () => {
  const cluster = new Cluster(1);
  let answers = 0;
  cluster.answer = () => Promise.resolve({ kind: ++answers < 4 ? "gone" : "accepted" });
  deepEqual(await cluster.drain().end, { kind: "drained" });
  equal(answers, 4);
});

Deno.test("a drain without a watch of the pods fails at its time-out, not before", async () => {
  const cluster = new Cluster(1);
  cluster.unwatchable = new UnavailableError("away");
  await rejects(cluster.drain({ timeoutMs: 600_000 }).end, /the pods of the node cannot be watched/);
  ok(cluster.clock.monotonic() >= 600_000);
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
  const later = clock.monotonic() + 600_000;
  equal(await Promise.race([drain.end, until(() => clock.monotonic() > later)]), true);
  cluster.watcher!.synced([], "2");
  deepEqual(await drain.end, { kind: "drained" });
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

for (const when of ["before it is cordoned", "after its pods are gone"]) {
  Deno.test(`a drain says that its node no longer exists: ${when}`, async () => {
    const cluster = new Cluster(0);
    if (when === "before it is cordoned") cluster.cordoned = "gone";
    else cluster.node = undefined;
    deepEqual(await cluster.drain().end, { kind: "node_gone" });
  });
}

for (const [onTimeout, kind] of [["refuse", "failed"], ["proceed", "proceed"]] as const) {
  Deno.test(`a node that stays uncordoned is cordoned again until the time-out: ${onTimeout}`, async () => {
    const cluster = new Cluster(0);
    cluster.node = viewNode({ metadata: { name: "n" } });
    deepEqual(await cluster.drain({ timeoutMs: 10_000, onTimeout }).end, { kind, node: "n", pods: [] });
    ok(cluster.cordons.set > 3 && cluster.clock.monotonic() >= 10_000);
  });
}

Deno.test("a drain whose hold is gone before it cordons the node is abandoned", async () => {
  const cluster = new Cluster(1);
  cluster.cordoned = "not_held";
  deepEqual(await cluster.drain().end, { kind: "abandoned" });
  deepEqual(cluster.cordons, { set: 1, lifted: 1 });
  equal(cluster.pods.size, 1);
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
    equal(cluster.cordons.lifted, lifted);
  });
}
