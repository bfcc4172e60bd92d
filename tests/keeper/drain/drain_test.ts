/** One drain on a scripted cluster, for what a real one rarely does. The rest is in tests/cluster. @module */

import { deepEqual, equal, ok, rejects } from "node:assert/strict";
import { Drain } from "../../../src/keeper/drain/drain.ts";
import type { DrainContext, DrainListener, DrainOptions } from "../../../src/keeper/drain/drain_task.ts";
import { ForbiddenError } from "../../../src/kubernetes/errors.ts";
import type { PodCalls } from "../../../src/keeper/drain/pod_calls.ts";
import { viewNode } from "../../../src/keeper/nodes/node.ts";
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

  constructor(count: number) {
    const names = Array.from({ length: count }, (_, n) => `pod-${n}`);
    this.pods = new Map(names.map((name) => [name, { ...viewPod(pod({ name, namespace: "shop" })), uid: name }]));
  }

  drain(options: DrainOptions = {}): Drain {
    const pods: Partial<PodCalls> = {
      watchPods: (_node, watcher, signal) => {
        this.watcher = watcher;
        watcher.synced([...this.pods.values()], "1");
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
        return { ...viewNode({ metadata: { name: "n" } }), unschedulable: true };
      },
    };
    const cordon: DrainContext["cordon"] = {
      set: () => Promise.resolve("cordoned"),
      lift: () => Promise.resolve(true),
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
