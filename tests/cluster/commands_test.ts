/** The operators' commands on a real API server. @module */

import { deepEqual, equal, match, ok } from "node:assert/strict";
import { planCordon } from "../../src/keeper/nodes/cordon.ts";
import { NodeCalls } from "../../src/keeper/nodes/node_calls.ts";
import { connectKubernetes, type KubernetesClient } from "../../src/kubernetes/client.ts";
import { type ClientId, parseClientId, parseGroup } from "../../src/lock/identity.ts";
import { acquire, amend, type GroupState, release } from "../../src/lock/semaphore.ts";
import { Leases } from "../../src/stores/lease/leases.ts";
import { LeaseLockStore } from "../../src/stores/lease/store.ts";
import { account, group, holder } from "../support/accounts.ts";
import { createBudget, createNode, createPod, type TestNode } from "../support/cluster_objects.ts";
import { runCommand } from "../support/command_line.ts";
import { clusterTest, useControlPlane } from "../support/control_plane.ts";

const plane = useControlPlane();
const GROUP = parseGroup("workers")!;
const OTHER = parseClientId("another-host")!;

/** A namespace of its own with a store, and the environment of an operator's commands. */
async function fleet() {
  const namespace = await plane().createNamespace();
  const client = await connectKubernetes({ kubeconfig: plane().kubeconfig, namespace });
  const store = new LeaseLockStore(new Leases(client));
  const environment = { KUBECONFIG: plane().kubeconfig, NAMESPACE: namespace };
  const run = (...args: string[]) => runCommand(args, { environment });
  return { namespace, client, store, run, [Symbol.asyncDispose]: () => client[Symbol.asyncDispose]() };
}

async function write(store: LeaseLockStore, next: (state: GroupState) => GroupState): Promise<"written" | "conflict"> {
  const found = await store.read(GROUP);
  return await store.write(GROUP, found, next(found.state)) === "conflict" ? "conflict" : "written";
}

/** Grants slots to the host of a node, which is drained and cordoned by us, and to another host. */
async function hold(store: LeaseLockStore, client: KubernetesClient, node: TestNode): Promise<void> {
  const id = node.id as ClientId;
  const held = { name: node.name, uid: node.uid, bootId: "boot-1", phase: "draining" } as const;
  await write(store, (state) => (acquire(state, id, 2, Date.now(), held) as { next: GroupState }).next);
  await write(store, (state) => amend(state, state.holders[0]!, Date.now(), { ...held, phase: "drained" })!);
  await write(store, (state) => (acquire(state, OTHER, 2, Date.now()) as { next: GroupState }).next);
  const { state } = await store.read(GROUP);
  const calls = new NodeCalls(client);
  const seen = (await calls.getNode(node.name))!;
  const owner = { namespace: client.namespace, group: GROUP, id, since: state.holders[0]!.since };
  await calls.patchNode(seen, planCordon(seen, owner)!);
}

async function isCordoned(name: string): Promise<boolean> {
  return (await plane().request("GET", `/api/v1/nodes/${name}`)).spec.unschedulable === true;
}

clusterTest(
  "two operators and the host release one hold at a time: it ends once, and the other host keeps its own",
  async () => {
    await using one = await fleet();
    const node = await createNode(plane());
    await hold(one.store, one.client, node);
    const args = ["release", "workers", node.name, "--uncordon", "--yes"];
    const host = async () => {
      while (
        await write(one.store, (state) => {
          const freed = release(state, node.id as ClientId, Date.now());
          return freed.kind === "free" ? freed.next : state;
        }) === "conflict"
      );
    };
    const [first, second] = await Promise.all([
      one.run(...args, "--by", "ada"),
      one.run(...args, "--by", "bea"),
      host(),
    ]);
    const { state } = await one.store.read(GROUP);
    deepEqual(state.holders.map(({ id }) => id), [OTHER]);
    // Whoever came late either saw no hold at all, or found that it had ended.
    for (const { code, stdout, stderr } of [first, second]) {
      ok(code === 0 || /holds no slot of group/.test(stderr), `${code} ${stdout} ${stderr}`);
    }
  },
);

clusterTest("a release lifts our cordon, says who did it in Events, and leaves an administrator's cordon", async () => {
  await using one = await fleet();
  const ours = await createNode(plane());
  await hold(one.store, one.client, ours);
  const released = await one.run("release", "workers", ours.name, "--uncordon", "--yes");
  equal(released.code, 0, released.stderr);
  match(released.stderr, /WARNING: .* may have had its yes/);
  match(released.stdout, /Released: .*\nUncordoned /);
  equal(await isCordoned(ours.name), false);
  const { items } = await plane().request("GET", "/apis/events.k8s.io/v1/namespaces/default/events");
  // deno-lint-ignore no-explicit-any
  const notes = items.filter((item: any) => item.regarding.name === ours.name).map((item: any) => item.note);
  match(notes.join(), /^admin released the slot of group workers .* and lifted the cordon$/);

  const theirs = await createNode(plane());
  await write(one.store, () => ({ holders: [], transitions: 2 }));
  const held = { name: theirs.name, uid: theirs.uid, phase: "draining" } as const;
  await write(
    one.store,
    (state) => (acquire(state, theirs.id as ClientId, 2, Date.now(), held) as { next: GroupState }).next,
  );
  await plane().kubectl("cordon", theirs.name);
  const kept = await one.run("release", "workers", theirs.name, "--uncordon", "--yes");
  match(kept.stderr, /somebody else's and stays/);
  match(kept.stdout, /No cordon was lifted/);
  equal(await isCordoned(theirs.name), true);
});

clusterTest("a release without --yes asks, and changes nothing without a terminal or a yes", async () => {
  await using one = await fleet();
  const node = await createNode(plane());
  await hold(one.store, one.client, node);
  const environment = { KUBECONFIG: plane().kubeconfig, NAMESPACE: one.namespace };
  for (const answer of [undefined, "y", ""]) {
    const { code, stderr } = await runCommand(["release", "workers", node.name], { environment, answer });
    equal(code, 1);
    match(stderr, /nothing was changed/);
  }
  equal((await one.store.read(GROUP)).state.holders.length, 2);
  equal((await runCommand(["release", "workers", node.name], { environment, answer: "yes" })).code, 0);
});

clusterTest("a pause is in the Lease for every replica to obey, and a resume removes it", async () => {
  await using one = await fleet();
  const paused = await one.run("pause", "workers", "--reason", "INC-42", "--until", "2h");
  equal(paused.code, 0, paused.stderr);
  const { state } = await one.store.read(GROUP);
  deepEqual([state.notes?.pause?.reason, state.notes?.pause?.by], ["INC-42", "admin"]);
  const lease = await plane().request(
    "GET",
    `/apis/coordination.k8s.io/v1/namespaces/${one.namespace}/leases/fleetlock-workers`,
  );
  equal(JSON.parse(lease.metadata.annotations["fleetlock.internal/paused"]).reason, "INC-42");
  const explained = await one.run("explain", "workers", "node-x");
  match(explained.stdout, /paused: .*INC-42[^]*Next: fleetlock resume workers/);
  equal((await one.run("resume", "workers")).code, 0);
  equal((await one.store.read(GROUP)).state.notes?.pause, undefined);
});

clusterTest("a node is held back with a reason, explained, and let go", async () => {
  await using one = await fleet();
  const node = await createNode(plane());
  equal((await one.run("hold", node.name, "--reason", "disk")).code, 0);
  const { metadata } = await plane().request("GET", `/api/v1/nodes/${node.name}`);
  equal(metadata.annotations["fleetlock.internal/hold"], "disk");
  for (const name of [node.name, node.id, node.id.slice(0, 12)]) {
    const { stdout } = await one.run("explain", "workers", name);
    match(stdout, new RegExp(`node_on_hold: .* on hold: disk[^]*Next: fleetlock unhold ${node.name}`));
  }
  equal((await one.run("unhold", node.name)).code, 0);
  const after = await plane().request("GET", `/api/v1/nodes/${node.name}`);
  equal(after.metadata.annotations?.["fleetlock.internal/hold"], undefined);
  const missing = await one.run("hold", "no-such-node", "--reason", "x");
  equal(missing.code, 1);
  match(missing.stderr, /there is no node "no-such-node"/);
});

clusterTest("a resume asks before it deletes notes that cannot be read", async () => {
  await using one = await fleet();
  await write(one.store, (state) => ({ ...state, notes: { returned: Date.now() } }));
  const path = `/apis/coordination.k8s.io/v1/namespaces/${one.namespace}/leases/fleetlock-workers`;
  const patch = { metadata: { annotations: { "fleetlock.internal/notes": "what?" } } };
  await plane().request("PATCH", path, patch, "application/merge-patch+json");
  const noted = async () => (await plane().request("GET", path)).metadata.annotations["fleetlock.internal/notes"];
  const environment = { KUBECONFIG: plane().kubeconfig, NAMESPACE: one.namespace };
  for (const answer of [undefined, "y"]) {
    const { code, stderr } = await runCommand(["resume", "workers"], { environment, answer });
    equal(code, 1);
    match(stderr, /cannot be read[^]*deletes what cannot be read[^]*have yielded[^]*nothing was changed/);
    equal(await noted(), "what?");
  }
  equal((await runCommand(["resume", "workers"], { environment, answer: "yes" })).code, 0);
  equal(await noted(), undefined);
  await plane().request("PATCH", path, patch, "application/merge-patch+json");
  equal((await one.run("resume", "workers", "--yes")).code, 0);
  equal(await noted(), undefined);
});

clusterTest("status asks replicas through the pod proxy, and falls back to the Leases and the nodes", async () => {
  await using one = await fleet();
  const node = await createNode(plane());
  await hold(one.store, one.client, node);
  const fallback = await one.run("status");
  equal(fallback.code, 0, fallback.stderr);
  match(fallback.stdout, new RegExp(`${node.name}  granted-not-rebooting`));
  match(fallback.stdout, /Unknown: only servers know .*no pod with the label name=fleetlock runs/);
  await plane().request("DELETE", `/api/v1/nodes/${node.name}`);
  match((await one.run("status")).stdout, /node-gone/);

  const address = Deno.networkInterfaces().find(({ family, address: ip }) =>
    family === "IPv4" && !ip.startsWith("127.")
  );
  if (address === undefined) return console.error("skipped: this machine has only loopback addresses");
  let seen = account([group({ holders: [holder({ stage: "blocked", isStuck: true })] })]);
  const replica = Deno.serve(
    { hostname: address.address, port: 0, onListen() {} },
    ({ url }) => new URL(url).pathname === "/status.json" ? Response.json(seen) : new Response("", { status: 404 }),
  );
  try {
    const { namespace } = one;
    await createPod(plane(), { name: "fleetlock-0", namespace, node: "node-z", labels: { name: "fleetlock" } });
    const path = `/api/v1/namespaces/${namespace}/pods/fleetlock-0/status`;
    const ips = { podIP: address.address, podIPs: [{ ip: address.address }] };
    await plane().request("PATCH", path, { status: ips }, "application/strategic-merge-patch+json");
    const port = `${replica.addr.port}`;
    const asked = await one.run("status", "--port", port, "-o", "json");
    equal(asked.code, 2, asked.stderr + asked.stdout);
    const other = await createNode(plane());
    const holdAndAsk = async () => (await one.run("hold", other.name, "--reason", "x", "--port", port)).stderr;
    equal(await holdAndAsk(), "");
    const { areNodesInStep: _, ...blind } = seen;
    seen = blind;
    match(await holdAndAsk(), /run with --drain=false, see no nodes, and grant slots all the same: fleetlock-0;/);
    const { source, groups } = JSON.parse(asked.stdout);
    equal(source, "fleetlock-0 (fleetlock 1.2.3)");
    deepEqual(groups[0].holders, seen.groups[0]!.holders);
  } finally {
    await replica.shutdown();
  }
});

clusterTest("check finds missing permissions, shared machine-ids, and budgets that never pass", async () => {
  await using one = await fleet();
  const machineId = crypto.randomUUID().replaceAll("-", "");
  const [first, second] = [await createNode(plane(), { machineId }), await createNode(plane(), { machineId })];
  await createBudget(plane(), one.namespace, "never", { app: "never" }, 0);
  await plane().request(
    "PATCH",
    `/apis/policy/v1/namespaces/${one.namespace}/poddisruptionbudgets/never`,
    { spec: { maxUnavailable: 0 } },
    "application/merge-patch+json",
  );
  const budget = await plane().request("GET", `/apis/policy/v1/namespaces/${one.namespace}/poddisruptionbudgets/never`);
  budget.status = { ...budget.status, desiredHealthy: 2, expectedPods: 2 };
  await plane().request("PUT", `/apis/policy/v1/namespaces/${one.namespace}/poddisruptionbudgets/never/status`, budget);
  const { code, stdout } = await one.run("check", "-o", "json");
  equal(code, 1);
  const { checks } = JSON.parse(stdout) as { checks: { name: string; status: string; detail?: string }[] };
  const failed = checks.filter(({ status }) => status === "failed").map(({ name, detail }) => `${name}: ${detail}`)
    .join("\n");
  match(failed, /the server may get leases in namespace/);
  match(failed, new RegExp(`no two nodes have the same id: ${[first.name, second.name].sort().join(", ")}`));
  match(failed, new RegExp(`no budget blocks every drain: .*${one.namespace}/never`));
  equal(checks.find(({ name }) => name.startsWith("the API server's version"))!.status, "ok");
  equal((await one.run("check", "--pre", "-o", "json")).stdout.includes("you may install the server"), true);
  await plane().request("DELETE", `/api/v1/nodes/${first.name}`);
});

clusterTest(
  "check asks for what the configuration file makes the server do, and for nothing of drains without them",
  async () => {
    await using one = await fleet();
    const path = await Deno.makeTempFile({ suffix: ".yaml" });
    await Deno.writeTextFile(path, "groups: {workers: {drain: {onTimeout: delete}}}\n");
    const missing = async (...args: string[]) => {
      const { checks } = JSON.parse((await one.run("check", ...args, "-o", "json")).stdout);
      // deno-lint-ignore no-explicit-any
      return checks.filter(({ status }: any) => status === "failed").map(({ name }: any) => name) as string[];
    };
    const deletes = "the server may delete pods";
    equal((await missing()).includes(deletes), false);
    ok((await missing("--config", path)).includes(deletes));
    ok((await missing("--drain-on-timeout", "delete")).includes(deletes));
    const plain = await missing("--drain=false");
    ok(plain.length > 0 && plain.every((name) => !/pods|nodes/.test(name)), plain.join());
    await Deno.remove(path);
  },
);

clusterTest("an API server that does not answer is one sentence with the next step", async () => {
  const { code, stderr } = await runCommand(["status", "--api-server", "http://127.0.0.1:2"]);
  equal(code, 1);
  match(stderr, /^fleetlock: .*; run fleetlock check to find out what is wrong\n$/);
});

clusterTest("the rights of examples/operators are enough for every command", async () => {
  await plane().kubectl("apply", "-f", new URL("../../examples/operators", import.meta.url).pathname);
  await plane().kubectl("create", "serviceaccount", "operator", "-n", "default");
  const subject = "--serviceaccount=default:operator";
  await plane().kubectl("create", "rolebinding", "operator", "--role=fleetlock-operator", subject, "-n", "default");
  await plane().kubectl("create", "clusterrolebinding", "operator", "--clusterrole=fleetlock-operator", subject);
  const token = await plane().createToken("default", "operator");
  const environment = { KUBECONFIG: await plane().writeKubeconfig({ token }), NAMESPACE: "default" };
  await using client = await connectKubernetes({ kubeconfig: plane().kubeconfig, namespace: "default" });
  const node = await createNode(plane());
  await hold(new LeaseLockStore(new Leases(client)), client, node);
  for (
    const args of [
      ["status"],
      ["explain", "workers", node.name],
      ["pause", "workers", "--reason", "x"],
      ["resume", "workers"],
      ["hold", node.name, "--reason", "x"],
      ["unhold", node.name],
      ["release", "workers", node.name, "--uncordon", "--yes"],
    ]
  ) {
    const { code, stdout, stderr } = await runCommand(args, { environment });
    equal(code, 0, `${args.join(" ")}: ${stderr}`);
    ok(!/is missing|may not|cannot be|could not/.test(stdout + stderr), `${args.join(" ")}: ${stdout}${stderr}`);
  }
  equal(await isCordoned(node.name), false);
  const { checks } = JSON.parse((await runCommand(["check", "-o", "json"], { environment })).stdout);
  // deno-lint-ignore no-explicit-any
  const skipped = checks.filter(({ status }: any) => status === "skipped").map(({ category }: any) => category);
  deepEqual(skipped, ["configuration"], "only the file that nobody has named is not checked");
});
