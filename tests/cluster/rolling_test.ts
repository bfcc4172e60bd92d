/**
 * A fleet reboots host by host, by real requests to real servers, with the real controllers and scheduler, and kwok in
 * place of kubelets. In one test, servers are killed at random moments.
 *
 * @module
 */

import type { V1Pod } from "@kubernetes/client-node";
import { deepEqual, equal, notEqual, ok } from "node:assert/strict";
import { connectKubernetes } from "../../src/kubernetes/client.ts";
import { watchResource } from "../../src/kubernetes/watch.ts";
import { Random } from "../../src/simulator/random.ts";
import { createNode, createPod, podsOn, setNodeStatus, type TestNode } from "../support/cluster_objects.ts";
import { until } from "../support/condition.ts";
import { clusterTest, useControlPlane } from "../support/control_plane.ts";
import { type Program, startProgram } from "../support/program.ts";
import { awaitReady, awaitUntainted, createWorkload } from "../support/workloads.ts";
import { preReboot, type Reply, steadyState } from "../support/zincati.ts";

const plane = useControlPlane({ controllers: true, scheduler: true, kwok: true });

/** How many servers are killed. */
const ROUNDS = Number(Deno.env.get("FLEETLOCK_TEST_ROUNDS") ?? 50);
const SEED = Number(Deno.env.get("FLEETLOCK_TEST_SEED") ?? 1);

/** A fleet of five nodes under load. */
async function createFleet(replicas: number) {
  const namespace = await plane().createNamespace();
  const nodes: TestNode[] = [];
  for (let n = 0; n < 5; n++) nodes.push(await createNode(plane()));
  await awaitUntainted(plane());
  await createWorkload(plane(), namespace, "deployments", "web", { replicas });
  await createWorkload(plane(), namespace, "statefulsets", "db", { replicas: 3, serviceName: "db" });
  await createWorkload(plane(), namespace, "daemonsets", "agent", {});
  const budget = `/apis/policy/v1/namespaces/${namespace}/poddisruptionbudgets`;
  await plane().request("POST", budget, {
    metadata: { name: "web" },
    spec: { maxUnavailable: 1, selector: { matchLabels: { app: "web" } } },
  });
  for (const { name } of nodes) {
    await createPod(plane(), {
      name: `static-${name}`,
      namespace,
      node: name,
      annotations: { "kubernetes.io/config.mirror": "x" },
    });
  }
  await awaitReady(plane(), namespace, { web: replicas, db: 3, agent: 5 });
  await until(async () => (await plane().request("GET", `${budget}/web`)).status?.disruptionsAllowed === 1);
  return {
    namespace,
    nodes,
    replicas,
    /** Removes what would slow down the next test. */
    async [Symbol.asyncDispose]() {
      await plane().request("DELETE", `/api/v1/namespaces/${namespace}`);
      for (const { name } of nodes) await plane().request("DELETE", `/api/v1/nodes/${name}`);
    },
  };
}

type Fleet = Awaited<ReturnType<typeof createFleet>>;

function startServer(namespace: string): Promise<Program> {
  return startProgram([], { KUBECONFIG: plane().kubeconfig, NAMESPACE: namespace });
}

/** Asks one server after another until the answer is a yes, as Zincati does, but with shorter pauses. */
async function untilYes(urls: () => string[], ask: (url: string) => Promise<Reply>): Promise<void> {
  const answers: string[] = [];
  const deadline = performance.now() + 480_000;
  for (let attempt = 0; performance.now() < deadline; attempt++) {
    const all = urls();
    const url = all[attempt % all.length]!;
    const reply = await ask(url).catch((error) => ({ status: 0, text: String(error) }));
    if (reply.status === 200) return;
    answers.push(`${reply.status} ${reply.text}`);
    // Zincati would wait 5 minutes.
    await new Promise((resolve) => setTimeout(resolve, 250));
  }
  throw new Error(`no yes:\n${answers.slice(-10).join("\n")}`);
}

async function node(name: string) {
  return await plane().request("GET", `/api/v1/nodes/${name}`);
}

function leaseOf(fleet: Fleet) {
  return plane().request("GET", `/apis/coordination.k8s.io/v1/namespaces/${fleet.namespace}/leases/fleetlock-default`);
}

/** One host's whole cycle, with checks of every promise that the server makes. */
async function cycle(fleet: Fleet, host: TestNode, boot: string, urls: () => string[]): Promise<void> {
  await untilYes(urls, (url) => preReboot(url, host.id));
  const left = [...(await podsOn(plane(), host.name)).values()];
  const evictable = left.filter(({ metadata }) =>
    metadata.labels?.app !== "agent" && !metadata.name.startsWith("static-")
  );
  deepEqual(evictable.map((each) => each.metadata.name), [], "a yes means that the node is empty");
  equal(left.length, 2, "the DaemonSet's pod and the mirror pod stay");
  const drained = await node(host.name);
  equal(drained.spec.unschedulable, true);
  const owners = JSON.parse(drained.metadata.annotations["fleetlock.internal/cordoned-for"]);
  deepEqual(Object.values<{ id: string }>(owners).map((owner) => owner.id), [host.id]);
  equal((await leaseOf(fleet)).spec.holderIdentity, host.id);
  const [holder] = JSON.parse((await leaseOf(fleet)).metadata.annotations["fleetlock.internal/holders"]);
  equal(holder.node, host.name);
  equal(holder.phase, "drained");

  // The host reboots, and its agent reports before its kubelet is ready.
  await setNodeStatus(plane(), host.name, { bootId: boot, ready: "False" });
  const back = untilYes(urls, (url) => steadyState(url, host.id));
  await setNodeStatus(plane(), host.name, { ready: "True" });
  await back;
  const after = await node(host.name);
  equal(after.spec.unschedulable, undefined);
  equal(after.metadata.annotations?.["fleetlock.internal/cordoned-for"], undefined);
  // Another host may hold the slot already.
  notEqual((await leaseOf(fleet)).spec.holderIdentity, host.id);
}

/** Watches the pods while `run` runs, and checks that never fewer are ready than the budget allows. */
async function withinBudget(fleet: Fleet, run: () => Promise<void>): Promise<void> {
  const ready = new Set<string>();
  let fewest = fleet.replicas;
  const note = (type: string, one: V1Pod) => {
    const isReady = type !== "DELETED" && !one.metadata?.deletionTimestamp &&
      one.status?.conditions?.some((each) => each.type === "Ready" && each.status === "True");
    if (isReady) ready.add(one.metadata!.uid!);
    else ready.delete(one.metadata!.uid!);
  };
  const listed = Promise.withResolvers<void>();
  const over = new AbortController();
  await using client = await connectKubernetes({ kubeconfig: plane().kubeconfig });
  const path = `/api/v1/namespaces/${fleet.namespace}/pods`;
  const watching = watchResource(client, { path, view: (pod: V1Pod) => pod, labelSelector: "app=web" }, {
    synced(items) {
      for (const one of items) note("ADDED", one);
      listed.resolve();
    },
    changed(type, one) {
      note(type, one);
      fewest = Math.min(fewest, ready.size);
    },
    lost() {},
  }, over.signal);
  await listed.promise;
  try {
    await run();
  } finally {
    over.abort();
    await watching;
  }
  ok(fewest >= fleet.replicas - 1, `at one time only ${fewest} of ${fleet.replicas} pods were ready`);
}

clusterTest("five nodes with 30 replicas under a budget reboot one by one", async () => {
  await using fleet = await createFleet(30);
  await using first = await startServer(fleet.namespace);
  await using second = await startServer(fleet.namespace);
  await withinBudget(fleet, async () => {
    // All hosts ask at once, and all but the holder have to wait.
    await Promise.all(
      fleet.nodes.map((host) => cycle(fleet, host, crypto.randomUUID(), () => [first.url, second.url])),
    );
  });
  equal((await leaseOf(fleet)).spec.leaseTransitions, 5);
}, { restarts: true, whole: true });

clusterTest(`servers killed at random moments, ${ROUNDS} times, do not change the result (seed ${SEED})`, async () => {
  await using fleet = await createFleet(5);
  const random = new Random(SEED);
  const servers = [await startServer(fleet.namespace), await startServer(fleet.namespace)];
  try {
    for (let round = 0; round < ROUNDS; round++) {
      const host = fleet.nodes[round % fleet.nodes.length]!;
      const victim = round % 2;
      // A cycle takes about 5 s here. Later moments fall into the host's return.
      const delay = random.between(0, 6_000);
      let over = false;
      const killing = (async () => {
        await new Promise((resolve) => setTimeout(resolve, delay));
        if (over) return;
        await servers[victim]!.stop("SIGKILL");
        servers[victim] = await startServer(fleet.namespace);
      })();
      // The victim is asked first.
      const urls = () => victim === 0 ? servers.map((each) => each.url) : servers.map((each) => each.url).reverse();
      await withinBudget(fleet, () => cycle(fleet, host, `boot-${round}`, urls));
      over = true;
      await killing;
      await awaitReady(plane(), fleet.namespace, { web: fleet.replicas, db: 3 });
    }
  } finally {
    for (const server of servers) await server[Symbol.asyncDispose]();
  }
  equal((await leaseOf(fleet)).spec.leaseTransitions, ROUNDS);
}, { restarts: true, whole: true });
