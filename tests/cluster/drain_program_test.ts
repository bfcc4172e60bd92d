/** Drains by whole servers, as a client sees them: with servers that are killed after each step or stopped. @module */

import { deepEqual, doesNotMatch, equal, match, notEqual } from "node:assert/strict";
import {
  allowDisruptions,
  createBudget,
  createNode,
  createPod,
  podsOn,
  setNodeStatus,
} from "../support/cluster_objects.ts";
import { setTimeout as delay } from "node:timers/promises";
import { until } from "../support/condition.ts";
import { clusterTest, useControlPlane } from "../support/control_plane.ts";
import { type Program, startProgram } from "../support/program.ts";
import { preReboot, type Reply, steadyState } from "../support/zincati.ts";

const plane = useControlPlane();

/** A node with four pods, two of them behind a budget that allows nothing until the test says so. */
async function setUp(...flags: string[]) {
  const namespace = await plane().createNamespace();
  const node = await createNode(plane());
  const labels = { app: "guarded" };
  const at = { namespace, node: node.name, graceSeconds: 0 };
  await createBudget(plane(), namespace, "guarded", labels, 0);
  for (const n of [1, 2]) {
    await createPod(plane(), { ...at, name: `free-${n}` });
    await createPod(plane(), { ...at, name: `guarded-${n}`, labels });
  }
  const environment = { KUBECONFIG: plane().kubeconfig, NAMESPACE: namespace };
  await using stack = new AsyncDisposableStack();
  const first = stack.use(await startProgram(flags, environment));
  const second = stack.use(await startProgram(flags, environment));
  const resources = stack.move();
  const leases = `/apis/coordination.k8s.io/v1/namespaces/${namespace}/leases`;
  return {
    node,
    first,
    second,
    allow: () => allowDisruptions(plane(), namespace, "guarded"),
    pods: async () => [...(await podsOn(plane(), node.name)).keys()].sort(),
    spec: async () => (await plane().request("GET", `/api/v1/nodes/${node.name}`)).spec,
    holder: async () => {
      const { items } = await plane().request("GET", leases);
      return items[0]?.spec.holderIdentity ?? "";
    },
    [Symbol.asyncDispose]: () => resources.disposeAsync(),
  };
}

type Test = Awaited<ReturnType<typeof setUp>>;

/** Repeats a request until it is a yes, as Zincati does. */
async function untilYes(ask: () => Promise<Reply>): Promise<void> {
  let last: Reply | undefined;
  await until(async () => (last = await ask()).status === 200, {
    timeoutMs: 60_000,
    what: () => `a yes; the last answer was ${last?.status} ${last?.text}`,
  });
}

async function kill(program: Program, request: Promise<Reply>): Promise<void> {
  await program.stop("SIGKILL");
  // The server may have answered just before.
  await request.catch(() => {});
}

const steps: [string, (test: Test) => Promise<unknown>, "pre-reboot" | "steady-state"][] = [
  ["the grant", (test) => until(async () => await test.holder() === test.node.id), "pre-reboot"],
  ["the cordon", (test) => until(async () => (await test.spec()).unschedulable), "pre-reboot"],
  ["half the evictions", (test) => until(async () => (await test.pods()).length === 2), "pre-reboot"],
  ["the last eviction", async (test) => {
    await test.allow();
    await until(async () => (await test.pods()).length === 0, { timeoutMs: 30_000 });
  }, "pre-reboot"],
  ["the uncordon", (test) => until(async () => !(await test.spec()).unschedulable), "steady-state"],
];

for (const [step, reached, during] of steps) {
  clusterTest(`another server finishes what a server killed after ${step} began, with the same result`, async () => {
    await using test = await setUp();
    const { node, first, second } = test;
    if (during === "pre-reboot") {
      const request = preReboot(first.url, node.id);
      request.catch(() => {});
      await reached(test);
      await kill(first, request);
    }
    await test.allow();
    await untilYes(() => preReboot(second.url, node.id));
    deepEqual(await test.pods(), []);
    equal((await test.spec()).unschedulable, true);
    equal(await test.holder(), node.id);

    if (during === "steady-state") {
      const request = steadyState(first.url, node.id);
      request.catch(() => {});
      await reached(test);
      await kill(first, request);
    }
    await untilYes(() => steadyState(second.url, node.id));
    equal((await test.spec()).unschedulable, undefined);
    equal(await test.holder(), "");
  }, { restarts: true });
}

clusterTest(
  "after the reply wait, a request gets 423 with the pods that are left, and the next one joins the drain",
  async () => {
    await using test = await setUp("--reply-wait=1s");
    const { node, first, second } = test;
    const early = await preReboot(first.url, node.id);
    deepEqual([early.status, early.kind], [423, "draining"]);
    match(early.value!, new RegExp(`${node.name}.*guarded-\\d.*PodDisruptionBudget`));
    doesNotMatch(early.value!, /free-/);
    equal((await preReboot(second.url, node.id)).kind, "draining");
    equal((await preReboot(second.url, "another")).kind, "lock_held");
    deepEqual(await test.pods(), ["guarded-1", "guarded-2"]);
    await test.allow();
    await untilYes(() => preReboot(second.url, node.id));
    deepEqual(await test.pods(), []);
  },
  { restarts: true },
);

clusterTest("SIGTERM answers a waiting request 423 draining at once, and another server goes on", async () => {
  await using test = await setUp();
  const { node, first, second } = test;
  const waiting = preReboot(first.url, node.id);
  await until(async () => (await test.pods()).length === 2);
  const ended = first.stop("SIGTERM");
  equal((await waiting).kind, "draining");
  equal((await ended).code, 0);
  await test.allow();
  await untilYes(() => preReboot(second.url, node.id));
  deepEqual(await test.pods(), []);
}, { restarts: true });

clusterTest("a drain that times out is reported, and keeps the lock and the cordon", async () => {
  await using test = await setUp("--drain-timeout=2s");
  const { node, first, second } = test;
  await until(async () => (await preReboot(first.url, node.id)).kind === "drain_failed", { timeoutMs: 30_000 });
  equal(await test.holder(), node.id);
  equal((await test.spec()).unschedulable, true);
  equal((await preReboot(second.url, "another")).kind, "lock_held");
  const metrics = await fetch(`${first.url}/metrics`).then((reply) => reply.text());
  match(metrics, /^fleetlock_drain_phase\{group="default",phase="failed"\} 1$/m);
  match(metrics, /^fleetlock_drain_duration_seconds_count\{result="failed"\} [1-9]/m);
  // The operator corrects the budget, and the next request succeeds.
  await test.allow();
  await untilYes(() => preReboot(second.url, node.id));
  deepEqual(await test.pods(), []);
}, { restarts: true });

clusterTest("a drain whose lock is deleted by hand ends, and the cordon is lifted", async () => {
  await using test = await setUp();
  const { node, first } = test;
  const waiting = preReboot(first.url, node.id);
  await until(async () => (await test.pods()).length === 2);
  const { items: [lease] } = await plane().request("GET", "/apis/coordination.k8s.io/v1/leases?limit=500")
    // deno-lint-ignore no-explicit-any
    .then(({ items }) => ({ items: items.filter((each: any) => each.spec.holderIdentity === node.id) }));
  await plane().request(
    "DELETE",
    `/apis/coordination.k8s.io/v1/namespaces/${lease.metadata.namespace}/leases/${lease.metadata.name}`,
  );
  notEqual((await waiting).status, 200);
  await until(async () => !(await test.spec()).unschedulable, { timeoutMs: 30_000 });
  equal(await test.holder(), "");
}, { restarts: true });

/** Sends a request, and hangs up. */
async function sendAndLeave(url: string, endpoint: string, id: string): Promise<void> {
  const { hostname, port } = new URL(url);
  using connection = await Deno.connect({ hostname, port: Number(port) });
  const body = JSON.stringify({ client_params: { id, group: "default" } });
  const head = `POST /v1/${endpoint} HTTP/1.1\r\nhost: localhost\r\nfleet-lock-protocol: true\r\n`;
  await connection.write(new TextEncoder().encode(`${head}content-length: ${body.length}\r\n\r\n${body}`));
}

/** Longer than what a server notices as a stop, in milliseconds. */
const STOP_MS = 2_000;

clusterTest("a server that was stopped acts on no request of a client that has gone on meanwhile", async () => {
  await using test = await setUp("--log-level=debug");
  const { node, first, second } = test;
  await test.allow();
  const refused = (endpoint: string) =>
    first.records().some((record) => record.endpoint === endpoint && record.outcome === "contended");

  // The host is about to reboot by a later yes.
  first.process.kill("SIGSTOP");
  await sendAndLeave(first.url, "steady-state", node.id);
  await untilYes(() => preReboot(second.url, node.id));
  await delay(STOP_MS);
  first.process.kill("SIGCONT");
  await until(() => refused("steady-state"));
  deepEqual([await test.holder(), (await test.spec()).unschedulable], [node.id, true]);

  // The host has rebooted, and asks for nothing any more.
  first.process.kill("SIGSTOP");
  await sendAndLeave(first.url, "pre-reboot", node.id);
  await setNodeStatus(plane(), node.name, { bootId: "boot-2", ready: "True" });
  equal((await steadyState(second.url, node.id)).status, 200);
  await delay(STOP_MS);
  first.process.kill("SIGCONT");
  await until(() => refused("pre-reboot"));
  deepEqual([await test.holder(), (await test.spec()).unschedulable], ["", undefined]);
});
