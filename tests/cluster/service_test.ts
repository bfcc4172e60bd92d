/**
 * The whole server on a real API server: one that stops and comes back, denies permissions, or has Leases that an
 * administrator edits.
 *
 * @module
 */

import { configure, reset } from "@logtape/logtape";
import { deepEqual, equal, match, ok } from "node:assert/strict";
import { parseConfig } from "../../src/config/config.ts";
import { startService } from "../../src/service/service.ts";
import { until } from "../support/condition.ts";
import { createNode, createPod, podsOn } from "../support/cluster_objects.ts";
import { clusterTest, LEASE_RULES, type Rule, useControlPlane } from "../support/control_plane.ts";
import { FaultProxy } from "../support/fault_proxy.ts";
import { isReady, startReplicas } from "../support/replicas.ts";
import { startProgram } from "../support/program.ts";
import { preReboot, steadyState } from "../support/zincati.ts";

const plane = useControlPlane();
const ALICE = "c988d2509fdf5cdcbed39037c56406fb";
const BOB = "049ad0f57ade4723a48692b7b692c318";
const LOCKS_ONLY = { flags: { drain: "false" } } as const;

clusterTest("kubectl shows the holder, and the server respects an administrator's edit or deletion", async () => {
  await using all = await startReplicas(plane(), LOCKS_ONLY);
  const [url] = all.urls;
  const inNamespace = ["--namespace", all.namespace];
  await preReboot(url, ALICE);
  match(
    await plane().kubectl("get", "leases", ...inNamespace),
    new RegExp(`^fleetlock-default +${ALICE} `, "m"),
  );

  const patch = JSON.stringify({ spec: { holderIdentity: BOB } });
  await plane().kubectl("patch", "lease", "fleetlock-default", ...inNamespace, "--type=merge", "--patch", patch);
  await until(async () => (await preReboot(url, ALICE)).value?.includes(BOB.slice(0, 8)));
  equal((await preReboot(url, BOB)).text, "retained reboot lease");

  await plane().kubectl("delete", "lease", "fleetlock-default", ...inNamespace);
  await until(async () => (await preReboot(url, ALICE)).status === 200);
  equal((await steadyState(url, BOB)).status, 200);
  equal((await all.lease()).spec.holderIdentity, ALICE);
});

clusterTest(
  "at the limit of groups, deleting the Lease of a group that nobody holds makes room for a new one",
  async () => {
    await using all = await startReplicas(plane(), { flags: { ...LOCKS_ONLY.flags, "max-groups": "1" } });
    const [url] = all.urls;
    const inNamespace = ["--namespace", all.namespace];
    equal((await preReboot(url, ALICE, "Web")).status, 200);
    equal((await steadyState(url, ALICE, "Web")).status, 200);
    deepEqual(kindOf(await preReboot(url, BOB, "db")), [429, "too_many_groups"]);
    const [name] = (await plane().kubectl("get", "leases", ...inNamespace, "--output", "name")).trim().split("\n");
    await plane().kubectl("delete", name!, ...inNamespace);
    await until(async () => (await preReboot(url, BOB, "db")).status === 200);
    deepEqual(kindOf(await preReboot(url, ALICE, "Web")), [429, "too_many_groups"]);
  },
);

clusterTest("the server respects a Lease that the Go program wrote, and its holder can release it", async () => {
  await using all = await startReplicas(plane(), LOCKS_ONLY);
  const [url] = all.urls;
  await plane().request("POST", `/apis/coordination.k8s.io/v1/namespaces/${all.namespace}/leases`, {
    metadata: { name: "fleetlock-default" },
    spec: { holderIdentity: ALICE, leaseTransitions: 7 },
  });
  await until(async () => (await preReboot(url, BOB)).kind === "lock_held");
  equal((await preReboot(url, ALICE)).text, "retained reboot lease");
  equal((await steadyState(url, ALICE)).status, 200);
  equal((await preReboot(url, BOB)).status, 200);
  equal((await all.lease()).spec.leaseTransitions, 8);
});

clusterTest(
  "while the API server is silent, requests get 503 and the server is not ready; it recovers by itself",
  async () => {
    await using proxy = new FaultProxy(plane().port);
    const server = `https://127.0.0.1:${proxy.port}`;
    const kubeconfig = await plane().writeKubeconfig({ token: plane().adminToken }, { server });
    await using all = await startReplicas(plane(), { ...LOCKS_ONLY, kubeconfig, connection: { timeoutMs: 500 } });
    const [url] = all.urls;
    equal((await preReboot(url, ALICE)).status, 200);
    proxy.isHole = true;
    proxy.silence();
    const reply = await preReboot(url, ALICE);
    deepEqual([reply.status, reply.kind], [503, "store_unavailable"]);
    equal(await isReady(url), false);
    proxy.isHole = false;
    await until(() => isReady(url));
    equal((await preReboot(url, ALICE)).text, "retained reboot lease");
  },
);

for (const what of ["joined", "rejoined under another name"]) {
  clusterTest(`a node that ${what} while the watch was silent is drained before its host's yes`, async () => {
    await using proxy = new FaultProxy(plane().port);
    const server = `https://127.0.0.1:${proxy.port}`;
    const kubeconfig = await plane().writeKubeconfig({ token: plane().adminToken }, { server });
    const machineId = crypto.randomUUID().replaceAll("-", "");
    const earlier = what === "joined" ? undefined : await createNode(plane(), { machineId });
    await using all = await startReplicas(plane(), { kubeconfig, connection: { timeoutMs: 500 } });
    const [url] = all.urls;
    const isInStep = async () => (await metricsOf(url)).includes("\nfleetlock_nodes_synced 1\n");
    await until(isInStep);
    // Only a watch that is open shows a new Node. A list alone is in step too, and the watch would then open later.
    const malformed = async () => Number(/^fleetlock_nodes_malformed (\d+)$/m.exec(await metricsOf(url))![1]);
    const before = await malformed();
    await createNode(plane(), { machineId: "malformed" });
    await until(async () => await malformed() > before);
    proxy.silence();
    if (earlier !== undefined) await plane().request("DELETE", `/api/v1/nodes/${earlier.name}`);
    const { name, id } = await createNode(plane(), { machineId });
    const namespace = await plane().createNamespace();
    await createPod(plane(), { name: "db", namespace, node: name, graceSeconds: 0 });
    // The first calls learn by their time limit that the connection is silent.
    await until(async () => (await preReboot(url, id)).status === 200);
    equal((await podsOn(plane(), name)).size, 0);
    equal((await plane().request("GET", `/api/v1/nodes/${name}`)).spec.unschedulable, true);
    ok(await isInStep(), "the watch has not noticed");
  });
}

async function metricsOf(url: string): Promise<string> {
  return await fetch(`${url}/metrics`).then((reply) => reply.text());
}

clusterTest("while the API server is down, requests get 503; the server recovers by itself", async () => {
  await using all = await startReplicas(plane(), LOCKS_ONLY);
  const [url] = all.urls;
  await preReboot(url, ALICE);
  await plane().stopApiServer();
  try {
    await until(async () => !(await isReady(url)));
    for (const ask of [preReboot, steadyState]) {
      for (const group of ["default", "other"]) {
        const reply = await ask(url, ALICE, group);
        deepEqual([reply.status, reply.kind], [503, "store_unavailable"]);
      }
    }
    equal((await fetch(`${url}/-/healthy`).then((reply) => reply.text())).trim(), "ok");
    const metrics = await fetch(`${url}/metrics`).then((reply) => reply.text());
    match(metrics, /^fleetlock_watch_synced 0$/m);
  } finally {
    await plane().startApiServer();
  }
  await until(() => isReady(url), { timeoutMs: 60_000 });
  equal((await preReboot(url, ALICE)).text, "retained reboot lease");
  equal((await preReboot(url, BOB)).kind, "lock_held");
}, { restarts: true });

const rights: [string, readonly Rule[], (log: string) => void][] = [
  [
    "all permissions that it uses",
    [{ ...LEASE_RULES[0]!, verbs: ["get", "create", "update", "list", "watch"] }],
    (log) => {
      ok(!log.includes("permission"), log);
    },
  ],
  ["only the permissions of the Go program", LEASE_RULES, (log) => {
    match(log, /"warning".*"optional permission missing: performance is reduced".*"permission":"list leases in/);
    match(log, /"warning".*"optional permission missing: performance is reduced".*"permission":"watch leases in/);
  }],
];
for (const [name, rules, check] of rights) {
  clusterTest(`the program with ${name} grants, refuses and releases`, async () => {
    const namespace = await plane().createNamespace();
    const token = await plane().createUser(namespace, rules);
    await using program = await startProgram(["--drain=false"], {
      KUBECONFIG: await plane().writeKubeconfig({ token }),
      NAMESPACE: namespace,
    });
    await until(() => isReady(program.url));
    equal((await preReboot(program.url, ALICE)).text, "obtained reboot lease");
    equal((await preReboot(program.url, BOB)).kind, "lock_held");
    equal((await steadyState(program.url, ALICE)).status, 200);
    equal((await preReboot(program.url, BOB)).status, 200);
    equal((await program.stop()).code, 0);
    check(program.log());
  }, { restarts: true });
}

clusterTest(
  "if permissions cannot be checked at the start, the server tries again and logs which ones are missing",
  async () => {
    await using proxy = new FaultProxy(plane().port);
    proxy.isHole = true;
    const namespace = await plane().createNamespace();
    const token = await plane().createUser(namespace, [{ ...LEASE_RULES[0]!, verbs: ["get", "list", "watch"] }]);
    const kubeconfig = await plane().writeKubeconfig({ token }, { server: `https://127.0.0.1:${proxy.port}` });
    const records: string[] = [];
    await configure({
      sinks: { test: ({ rawMessage, properties }) => records.push(`${rawMessage} ${properties.permission ?? ""}`) },
      loggers: [{ category: "fleetlock", sinks: ["test"] }, { category: ["logtape", "meta"], lowestLevel: "fatal" }],
    });
    try {
      await using _service = await startService(
        parseConfig({ address: "127.0.0.1:0", drain: "false" }, { KUBECONFIG: kubeconfig, NAMESPACE: namespace }),
        { version: "0.0.0", connection: { timeoutMs: 300 } },
      );
      await until(() => records.some((record) => record.startsWith("cannot check the server's permissions")));
      proxy.isHole = false;
      const named = (verb: string) =>
        records.includes(`required permission missing ${verb} leases in namespace "${namespace}"`);
      await until(() => named("create") && named("update"), { what: () => records.join("\n") });
      ok(!named("get"));
    } finally {
      await reset();
    }
  },
);

clusterTest(
  "a missing permission is named in the log at the start, and in the 503 of a request that needs it",
  async () => {
    const namespace = await plane().createNamespace();
    const rules = [{ ...LEASE_RULES[0]!, verbs: ["get", "list", "watch"] }];
    const token = await plane().createUser(namespace, rules);
    await using program = await startProgram(["--drain=false"], {
      KUBECONFIG: await plane().writeKubeconfig({ token }),
      NAMESPACE: namespace,
    });
    const reply = await preReboot(program.url, ALICE);
    deepEqual([reply.status, reply.kind], [503, "store_unavailable"]);
    match(reply.value!, /create leases/);
    await until(
      () => /"error".*"permission":"create leases in.*\n.*"error".*"permission":"update leases in/.test(program.log()),
      {
        what: `the log names the verbs:\n${program.log()}`,
      },
    );
  },
  { restarts: true },
);

function kindOf({ status, kind }: Awaited<ReturnType<typeof preReboot>>) {
  return [status, kind];
}
