/**
 * Each policy end to end: whole servers with a configuration file on a real API server, asked over HTTP. Each rule is
 * shown to refuse, with its kind and sentence, and to let the same host through once its cause is over.
 *
 * @module
 */

import { deepEqual, equal, match, ok } from "node:assert/strict";
import {
  allowDisruptions,
  createBudget,
  createNode,
  createPod,
  setNodeStatus,
  type TestNode,
} from "../support/cluster_objects.ts";
import { until } from "../support/condition.ts";
import { clusterTest, LEASE_RULES, useControlPlane } from "../support/control_plane.ts";
import { keeperPermissions } from "../../src/keeper/permissions.ts";
import type { LockStore } from "../../src/lock/lock_store.ts";
import { type ReplicaOptions, startReplicas } from "../support/replicas.ts";
import { preReboot, type Reply, steadyState } from "../support/zincati.ts";

const plane = useControlPlane();
const HOUR_MS = 3_600_000;

/** Some servers with a configuration file, and nodes with the label `of` that no other test's nodes have. */
async function setUp(
  nodes: number,
  say: (selector: string) => Record<string, unknown>,
  options: Pick<ReplicaOptions, "count" | "flags" | "wrapStore"> = {},
) {
  const namespace = await plane().createNamespace();
  const hosts: TestNode[] = [];
  for (let n = 0; n < nodes; n++) hosts.push(await createNode(plane(), { labels: { of: namespace } }));
  const selector = `of=${namespace}`;
  const path = `${plane().folder}/${namespace}.yaml`;
  await Deno.writeTextFile(path, JSON.stringify(say(selector)));
  const all = await startReplicas(plane(), { namespace, ...options, flags: { config: path, ...options.flags } });
  const node = (name: string) => plane().request("GET", `/api/v1/nodes/${name}`);
  return {
    all,
    namespace,
    hosts,
    selector,
    url: all.urls[0],
    node,
    /** Puts other contents into the file, and waits until every server has read them. */
    async say(file: Record<string, unknown>) {
      const text = JSON.stringify(file);
      await Deno.writeTextFile(path, text);
      const bytes = new TextEncoder().encode(text);
      const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)).toHex().slice(0, 16);
      for (const [at, service] of all.services.entries()) {
        service.reload();
        await until(async () => (await metrics(all.urls[at]!)).includes(hash));
      }
    },
    annotateNode: (name: string, annotation: string) => plane().kubectl("annotate", "node", name, annotation),
    annotateLease: (group: string, annotation: string) =>
      plane().kubectl("annotate", "lease", `fleetlock-${group}`, "--namespace", namespace, "--overwrite", annotation),
    /** A node's host reboots, and reports when it is back. */
    async reboot({ name, id }: TestNode, group: string) {
      await setNodeStatus(plane(), name, { bootId: crypto.randomUUID(), ready: "True" });
      await untilReply(() => steadyState(all.urls[0], id, group), { status: 200 });
    },
    async [Symbol.asyncDispose]() {
      await all[Symbol.asyncDispose]();
      for (const { name } of hosts) await plane().request("DELETE", `/api/v1/nodes/${name}`);
    },
  };
}

async function metrics(url: string): Promise<string> {
  return await (await fetch(`${url}/metrics`)).text();
}

/** Repeats a request until its reply is as wanted. */
async function untilReply(ask: () => Promise<Reply>, wanted: Partial<Reply>): Promise<Reply> {
  let last: Reply | undefined;
  return await until(async () => {
    last = await ask();
    return Object.entries(wanted).every(([key, value]) => last![key as keyof Reply] === value) ? last : undefined;
  }, { timeoutMs: 30_000, what: () => `${JSON.stringify(wanted)}; the last reply was ${JSON.stringify(last)}` });
}

/**
 * Waits until a server shows that something speaks against grants of the group `workers`: a host that asks before that
 * gets its yes, and keeps it.
 */
async function untilBlocked(url: string, kind: string): Promise<void> {
  let text = "";
  await until(async () => {
    text = await (await fetch(`${url}/status.json`)).text();
    const groups: { name: string; blocks: { kind: string }[] }[] = JSON.parse(text).groups;
    return groups.some(({ name, blocks }) => name === "workers" && blocks.some((block) => block.kind === kind));
  }, { timeoutMs: 30_000, what: () => `${kind} in ${text}` });
}

/** The time of day in UTC, so many hours from now by the API server's clock, which is this machine's. */
function timeIn(hours: number): string {
  return new Date(Date.now() + hours * HOUR_MS).toISOString().slice(11, 16);
}

clusterTest("a group has as many slots as the file says, and a third host hears who holds both", async () => {
  await using test = await setUp(3, () => ({ groups: { workers: { slots: 2 } } }), { count: 2 });
  const [one, two, three] = test.hosts as [TestNode, TestNode, TestNode];
  equal((await preReboot(test.url, one.id, "workers")).status, 200);
  equal((await untilReply(() => preReboot(test.all.urls[1]!, two.id, "workers"), { status: 200 })).status, 200);
  const refused = await untilReply(() => preReboot(test.url, three.id, "workers"), { kind: "lock_held" });
  match(refused.value!, /slots/);
  await test.reboot(one, "workers");
  await untilReply(() => preReboot(test.url, three.id, "workers"), { status: 200 });
  match(await metrics(test.url), /^fleetlock_lock_slots\{group="workers"\} 2$/m);
});

clusterTest("a share of the nodes that a selector matches is rounded down, and is 1 at least", async () => {
  await using test = await setUp(5, (nodes) => ({ groups: { workers: { nodes, slots: "40%" } } }));
  const [one, two, three] = test.hosts as [TestNode, TestNode, TestNode];
  equal((await preReboot(test.url, one.id, "workers")).status, 200);
  equal((await preReboot(test.url, two.id, "workers")).status, 200);
  equal((await preReboot(test.url, three.id, "workers")).kind, "lock_held");
  match(await metrics(test.url), /^fleetlock_lock_slots\{group="workers"\} 2$/m);
  await test.say({ groups: { workers: { nodes: test.selector, slots: "10%" } } });
  match(await metrics(test.url), /^fleetlock_lock_slots\{group="workers"\} 1$/m);
});

clusterTest("nodes that others cordoned or that are not ready take a slot, until they are well again", async () => {
  await using test = await setUp(4, (nodes) => ({ groups: { workers: { nodes, slots: 2, unavailable: "count" } } }));
  const [asking, cordoned, sick] = test.hosts as [TestNode, TestNode, TestNode];
  await plane().kubectl("cordon", cordoned.name);
  await setNodeStatus(plane(), sick.name, { ready: "False" });
  await untilBlocked(test.url, "fleet_unhealthy");
  const refused = await untilReply(() => preReboot(test.url, asking.id, "workers"), { kind: "fleet_unhealthy" });
  equal(refused.status, 423);
  for (const { name } of [cordoned, sick]) ok(refused.value!.includes(name), refused.value!);
  match(refused.value!, /take 2 of the 2 reboot slots/);
  // The sick node itself is not counted against its own update.
  await plane().kubectl("uncordon", cordoned.name);
  await untilReply(() => preReboot(test.url, sick.id, "workers"), { status: 200 });
});

clusterTest("too many nodes that are not ready speak against a reboot", async () => {
  await using test = await setUp(4, (nodes) => ({ groups: { workers: { nodes, health: { notReady: "25%" } } } }));
  const [asking, first, second] = test.hosts as [TestNode, TestNode, TestNode];
  await setNodeStatus(plane(), first.name, { ready: "False" });
  await setNodeStatus(plane(), second.name, { ready: "Unknown" });
  await untilBlocked(test.url, "fleet_unhealthy");
  const refused = await untilReply(() => preReboot(test.url, asking.id, "workers"), { kind: "fleet_unhealthy" });
  match(refused.value!, /2 nodes of group "workers" are not ready and at most 1 may be/);
  await setNodeStatus(plane(), first.name, { ready: "True" });
  await untilReply(() => preReboot(test.url, asking.id, "workers"), { status: 200 });
});

clusterTest("outside its window a group refuses and names the next opening; inside it grants", async () => {
  const shut = { allow: [{ at: timeIn(3), for: "2h" }] };
  const open = { allow: [{ at: timeIn(-1), for: "3h" }] };
  await using test = await setUp(1, () => ({ groups: { workers: shut } }));
  const [host] = test.hosts as [TestNode];
  const refused = await preReboot(test.url, host.id, "workers");
  deepEqual([refused.status, refused.kind], [423, "outside_window"]);
  match(refused.value!, new RegExp(`opens at .* ${shut.allow[0]!.at}`));
  // A host that holds nothing is answered whatever the window says.
  equal((await steadyState(test.url, host.id, "workers")).status, 200);
  await test.say({ groups: { workers: open } });
  equal((await preReboot(test.url, host.id, "workers")).status, 200);
  await test.say({ groups: { workers: shut } });
  equal((await preReboot(test.url, host.id, "workers")).status, 200, "a window never speaks against a holder");
  const opening = /^fleetlock_next_opening_timestamp_seconds\{group="workers"\} (\S+)$/m.exec(await metrics(test.url));
  const inHours = (Number(opening?.[1]) * 1000 - Date.now()) / HOUR_MS;
  ok(inHours > 2.9 && inHours <= 3, `${inHours}`);
});

clusterTest("a freeze refuses inside every window, with its reason and its end", async () => {
  const day = (days: number) => new Date(Date.now() + days * 24 * HOUR_MS).toISOString().slice(0, 10);
  const freeze = [{ from: day(-1), to: day(1), reason: "end of the year" }];
  await using test = await setUp(1, () => ({ groups: { workers: { freeze } } }));
  const [host] = test.hosts as [TestNode];
  const refused = await preReboot(test.url, host.id, "workers");
  deepEqual([refused.status, refused.kind], [423, "frozen"]);
  match(refused.value!, new RegExp(`until .* ${day(2)} 00:00 .*\\(end of the year\\)`));
  await test.say({ groups: { workers: { freeze: [] } } });
  equal((await preReboot(test.url, host.id, "workers")).status, 200);
});

clusterTest(
  "a freeze that begins while a grant is being written takes the slot back before anything is cordoned",
  async () => {
    const day = (days: number) => new Date(Date.now() + days * 24 * HOUR_MS).toISOString().slice(0, 10);
    const freeze = [{ from: day(-1), to: day(1) }];
    let beforeGrant: (() => Promise<void>) | undefined;
    const wrapStore = (store: LockStore): LockStore => ({
      read: store.read.bind(store),
      list: store.list.bind(store),
      watch: store.watch.bind(store),
      async write(group, expected, next) {
        const before = next.holders.length > 0 ? beforeGrant : undefined;
        beforeGrant = undefined;
        await before?.();
        return await store.write(group, expected, next);
      },
      [Symbol.asyncDispose]: () => store[Symbol.asyncDispose](),
    });
    await using test = await setUp(1, () => ({ groups: { workers: {} } }), { wrapStore });
    const [host] = test.hosts as [TestNode];
    beforeGrant = async () => {
      const began = performance.now();
      await test.say({ groups: { workers: { freeze } } });
      await until(() => performance.now() - began > 1_000);
    };
    const refused = await preReboot(test.url, host.id, "workers");
    deepEqual([refused.status, refused.kind], [423, "frozen"]);
    const { spec } = await test.all.lease("workers");
    // The slot was granted, and is free again.
    deepEqual([spec.holderIdentity ?? "", spec.leaseTransitions], ["", 1]);
    equal((await test.node(host.name)).spec.unschedulable, undefined);
    await test.say({ groups: { workers: {} } });
    equal((await preReboot(test.url, host.id, "workers")).status, 200);
  },
);

clusterTest("a Node that is not ready counts again once its slot is freed by hand, whatever its cordon", async () => {
  const health = { notReady: 0 };
  await using test = await setUp(2, (nodes) => ({ groups: { workers: { nodes, slots: 2, health } } }));
  const [sick, next] = test.hosts as [TestNode, TestNode];
  equal((await preReboot(test.url, sick.id, "workers")).status, 200);
  await setNodeStatus(plane(), sick.name, { ready: "False" });
  const lease = `/apis/coordination.k8s.io/v1/namespaces/${test.namespace}/leases/fleetlock-workers`;
  const patch = { metadata: { annotations: { "fleetlock.internal/hand": "1" } }, spec: { holderIdentity: "" } };
  await plane().request("PATCH", lease, patch, "application/merge-patch+json");
  await untilBlocked(test.url, "fleet_unhealthy");
  const refused = await untilReply(() => preReboot(test.url, next.id, "workers"), { kind: "fleet_unhealthy" });
  match(refused.value!, new RegExp(`at most 0 may be: ${sick.name} \\(not ready\\)`));
  await setNodeStatus(plane(), sick.name, { ready: "True" });
  await untilReply(() => preReboot(test.url, next.id, "workers"), { status: 200 });
});

clusterTest("after a reboot the group settles, and a release without one does not count", async () => {
  await using test = await setUp(3, () => ({ groups: { workers: { settle: "1h" } } }), { count: 2 });
  const [one, two, three] = test.hosts as [TestNode, TestNode, TestNode];
  equal((await preReboot(test.url, one.id, "workers")).status, 200);
  // The same boot: a host that gave its slot back without having rebooted.
  const leases = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
  const spec = () => ({ renewTime: new Date().toISOString().replace("Z", "000Z") });
  await plane().request("POST", leases, {
    metadata: { name: one.name },
    spec: { holderIdentity: one.name, ...spec() },
  });
  const back = steadyState(test.url, one.id, "workers");
  let isBack = false;
  back.then(() => isBack = true, () => {});
  const patch = "application/merge-patch+json";
  await until(async () => {
    await plane().request("PATCH", `${leases}/${one.name}`, { spec: spec() }, patch);
    return isBack;
  }, { timeoutMs: 60_000 });
  equal((await back).status, 200);
  equal((await preReboot(test.url, two.id, "workers")).status, 200);
  await test.reboot(two, "workers");
  await untilBlocked(test.all.urls[1]!, "settling");
  const refused = await untilReply(() => preReboot(test.all.urls[1]!, three.id, "workers"), { kind: "settling" });
  match(refused.value!, /settles after the reboot of a host until /);
  await test.say({ groups: { workers: { settle: "1s" } } });
  await untilReply(() => preReboot(test.url, three.id, "workers"), { status: 200 });
});

clusterTest("a pause that kubectl sets on the Lease refuses with its reason until kubectl removes it", async () => {
  await using test = await setUp(2, () => ({}), { count: 2 });
  const [one, two] = test.hosts as [TestNode, TestNode];
  equal((await preReboot(test.url, one.id, "workers")).status, 200);
  await test.annotateLease("workers", 'fleetlock.internal/paused={"reason":"a storage upgrade","by":"ops"}');
  await test.reboot(one, "workers");
  await untilBlocked(test.all.urls[1]!, "paused");
  const refused = await untilReply(() => preReboot(test.all.urls[1]!, two.id, "workers"), { kind: "paused" });
  match(refused.value!, /ops.*a storage upgrade|a storage upgrade.*ops/);
  await test.annotateLease("workers", "fleetlock.internal/paused=soon");
  await untilReply(() => preReboot(test.url, two.id, "workers"), { kind: "paused" });
  await test.annotateLease("workers", "fleetlock.internal/paused-");
  await untilReply(() => preReboot(test.url, two.id, "workers"), { status: 200 });
});

clusterTest("a node on hold is refused with the reason, and the others of its group are not", async () => {
  await using test = await setUp(2, () => ({ groups: { workers: { allow: [{ at: timeIn(3), for: "2h" }] } } }));
  const [held, free] = test.hosts as [TestNode, TestNode];
  await test.annotateNode(held.name, "fleetlock.internal/hold=firmware is being flashed");
  // A group whose window is closed grants nothing, however late the watch shows the annotation.
  await untilReply(() => preReboot(test.url, held.id, "workers"), { kind: "node_on_hold" });
  const refused = await preReboot(test.url, held.id);
  equal(refused.kind, "node_on_hold");
  match(refused.value!, /is on hold: firmware is being flashed/);
  equal((await preReboot(test.url, free.id)).status, 200);
  await test.reboot(free, "default");
  await test.annotateNode(held.name, "fleetlock.internal/hold-");
  await untilReply(() => preReboot(test.url, held.id), { status: 200 });
});

clusterTest("a skip lets a node pass the rules once, is used up by that, and Events tell of it", async () => {
  await using test = await setUp(2, () => ({ groups: { workers: { allow: [{ at: timeIn(3), for: "2h" }] } } }));
  const [host, other] = test.hosts as [TestNode, TestNode];
  equal((await preReboot(test.url, host.id, "workers")).kind, "outside_window");
  await test.annotateNode(host.name, "fleetlock.internal/skip=freeze");
  await until(async () => (await test.node(host.name)).metadata.annotations["fleetlock.internal/skip"]);
  equal((await preReboot(test.url, host.id, "workers")).kind, "outside_window", "another rule's skip does not count");
  await plane().kubectl("annotate", "node", host.name, "--overwrite", "fleetlock.internal/skip=allow");
  await untilReply(() => preReboot(test.url, host.id, "workers"), { status: 200 });
  await until(async () => !(await test.node(host.name)).metadata.annotations?.["fleetlock.internal/skip"]);
  equal((await preReboot(test.url, other.id, "workers")).kind, "lock_held");
  await test.reboot(host, "workers");
  equal((await preReboot(test.url, host.id, "workers")).kind, "outside_window");
  const events = () => plane().kubectl("get", "events", "--namespace", "default");
  await until(async () => /SkipUsed/.test(await events()) && /PolicyIgnored/.test(await events()));
  match(await metrics(test.url), /^fleetlock_policy_ignored_total\{kind="outside_window",because="skip"\} 1$/m);
});

clusterTest("two replicas and two groups get one grant out of one skip", async () => {
  const allow = [{ at: timeIn(3), for: "2h" }];
  await using test = await setUp(1, () => ({ groups: { workers: { allow }, others: { allow } } }), { count: 2 });
  const [host] = test.hosts as [TestNode];
  const ask = (replica: number, group: string) => preReboot(test.all.urls[replica]!, host.id, group);
  for (let round = 1; round <= 5; round++) {
    await test.annotateNode(host.name, "fleetlock.internal/skip=all");
    // The watches show the annotation to each replica at its own time. A replica that sees none refuses.
    const granted = await until(async () => {
      const replies = await Promise.all([ask(0, "workers"), ask(1, "others")]);
      for (const { status, kind } of replies) ok(status === 200 || kind === "outside_window", `${kind}`);
      const yes = replies.map(({ status }) => status).indexOf(200);
      return yes < 0 ? undefined : { yes, count: replies.filter(({ status }) => status === 200).length };
    });
    equal(granted.count, 1);
    equal((await test.node(host.name)).metadata.annotations["fleetlock.internal/skip"], undefined);
    const [one, other] = granted.yes === 0 ? ["workers", "others"] : ["others", "workers"];
    equal((await ask(granted.yes === 0 ? 1 : 0, other)).kind, "outside_window");
    await test.reboot(host, one);
  }
});

clusterTest("while its skip cannot be removed, a node gets no slot by it", async () => {
  const allow = [{ at: timeIn(3), for: "2h" }];
  await using test = await setUp(1, () => ({ groups: { workers: { allow } } }));
  const [host] = test.hosts as [TestNode];
  await test.annotateNode(host.name, "fleetlock.internal/skip=all");
  const admission = "/apis/admissionregistration.k8s.io/v1";
  const name = `keep-skip-${host.name}`;
  await plane().request("POST", `${admission}/validatingadmissionpolicies`, {
    metadata: { name },
    spec: {
      failurePolicy: "Fail",
      matchConstraints: {
        resourceRules: [{ apiGroups: [""], apiVersions: ["v1"], operations: ["UPDATE"], resources: ["nodes"] }],
      },
      validations: [{
        expression: `object.metadata.name != "${host.name}" || has(object.metadata.annotations) && ` +
          '"fleetlock.internal/skip" in object.metadata.annotations',
        message: "the skip of this node stays",
      }],
    },
  });
  await plane().request("POST", `${admission}/validatingadmissionpolicybindings`, {
    metadata: { name },
    spec: { policyName: name, validationActions: ["Deny"] },
  });
  const dryRun = `/api/v1/nodes/${host.name}?dryRun=All`;
  const patch = { metadata: { annotations: { "fleetlock.internal/skip": null } } };
  const isDenied = () =>
    plane().request("PATCH", dryRun, patch, "application/merge-patch+json").then(() => false, () => true);
  await until(isDenied, { timeoutMs: 30_000, what: "the admission policy is in force" });
  const refused = await until(async () => {
    const reply = await preReboot(test.url, host.id, "workers");
    return reply.kind === "outside_window" ? undefined : reply;
  });
  equal(refused.status, 423);
  match(refused.value!, /the skip of this node stays/);
  const leases = await plane().request("GET", `/apis/coordination.k8s.io/v1/namespaces/${test.namespace}/leases`);
  deepEqual(leases.items.filter(({ spec }: { spec: { holderIdentity?: string } }) => spec.holderIdentity), []);
  await plane().request("DELETE", `${admission}/validatingadmissionpolicybindings/${name}`);
  await plane().request("DELETE", `${admission}/validatingadmissionpolicies/${name}`);
  await untilReply(() => preReboot(test.url, host.id, "workers"), { status: 200 });
  equal((await test.node(host.name)).metadata.annotations["fleetlock.internal/skip"], undefined);
});

clusterTest("a node whose budget blocks its drain yields, and the next host gets the slot", async () => {
  const drain = { timeout: "2s", onTimeout: "yield" };
  await using test = await setUp(2, () => ({ groups: { workers: { drain } } }));
  const [stuck, next] = test.hosts as [TestNode, TestNode];
  await guard(test.namespace, stuck, 0);
  const refused = await untilReply(() => preReboot(test.url, stuck.id, "workers"), { kind: "deferred" });
  match(refused.value!, /PodDisruptionBudget/);
  await untilReply(() => preReboot(test.url, next.id, "workers"), { status: 200 });
});

for (const [before, after] of [["proceed", "yield"], ["yield", "proceed"]] as const) {
  clusterTest(
    `a file that says ${after} instead of ${before} during a drain ends it in a yes or a yield, never in both`,
    async () => {
      const say = (onTimeout: string) => ({ groups: { workers: { drain: { timeout: "4s", onTimeout } } } });
      await using test = await setUp(1, () => say(before), { count: 2 });
      const [host] = test.hosts as [TestNode];
      await guard(test.namespace, host, 0);
      const ask = (replica: number) => preReboot(test.all.urls[replica]!, host.id, "workers");
      // The drain of one replica began by the old rule, and that of the other by the new one. Both end at the same
      // time.
      const first = ask(0);
      await until(() => test.all.lease("workers").then(({ spec }) => spec.holderIdentity === host.id, () => false));
      await test.say(say(after));
      const replies = await Promise.all([first, ask(1)]);
      const isYes = replies.some(({ status }) => status === 200);
      ok(isYes || replies.some(({ kind }) => kind === "deferred"), JSON.stringify(replies));
      const { spec, metadata } = await test.all.lease("workers");
      equal(spec.holderIdentity ?? "", isYes ? host.id : "", JSON.stringify(replies));
      equal(/"deferred"/.test(metadata.annotations["fleetlock.internal/notes"] ?? ""), !isYes);
      if (!isYes) return;
      // Nobody takes the slot of a host that may be rebooting, although the drain that is asked for again fails.
      ok((await ask(1)).kind !== "deferred");
      equal((await test.all.lease("workers")).spec.holderIdentity, host.id);
    },
  );
}

clusterTest("a running pod that the file names speaks against a reboot of its node alone", async () => {
  await using test = await setUp(
    2,
    () => ({ groups: { workers: { slots: 2, health: { blockingPods: "job=long" } } } }),
  );
  const [busy, idle] = test.hosts as [TestNode, TestNode];
  const at = { namespace: test.namespace, node: busy.name, graceSeconds: 0 };
  await createPod(plane(), { ...at, name: "backup", labels: { job: "long" } });
  await createPod(plane(), { ...at, name: "done", labels: { job: "long" } }, "Succeeded");
  const refused = await preReboot(test.url, busy.id, "workers");
  deepEqual([refused.status, refused.kind], [423, "pods_blocking"]);
  ok(refused.value!.endsWith(`run on the node: ${test.namespace}/backup`), refused.value!);
  equal((await preReboot(test.url, idle.id, "workers")).status, 200);
  await plane().request("DELETE", `/api/v1/namespaces/${test.namespace}/pods/backup`);
  await untilReply(() => preReboot(test.url, busy.id, "workers"), { status: 200 });
});

clusterTest("a budget that allows no eviction refuses before anything is cordoned or evicted", async () => {
  await using test = await setUp(1, () => ({ groups: { workers: { health: { budgets: "refuse" } } } }));
  const [host] = test.hosts as [TestNode];
  await guard(test.namespace, host, 0);
  const refused = await preReboot(test.url, host.id, "workers");
  deepEqual([refused.status, refused.kind], [423, "budget_exhausted"]);
  match(refused.value!, /\/guarded: its PodDisruptionBudget "guarded" allows no disruption now/);
  const { spec } = await test.node(host.name);
  equal(spec.unschedulable, undefined);
  await allowDisruptions(plane(), test.namespace, "guarded", 1);
  // The dry run must not use up the one disruption that the budget allows.
  await untilReply(() => preReboot(test.url, host.id, "workers"), { status: 200 });
});

clusterTest("in warn mode the group's rules grant and tell, and a person's order still refuses", async () => {
  const allow = [{ at: timeIn(3), for: "2h" }];
  await using test = await setUp(2, () => ({ groups: { workers: { mode: "warn", slots: 2, allow } } }));
  const [host, held] = test.hosts as [TestNode, TestNode];
  equal((await preReboot(test.url, host.id, "workers")).status, 200);
  match(await metrics(test.url), /^fleetlock_policy_ignored_total\{kind="outside_window",because="warn"\} 1$/m);
  await test.annotateNode(held.name, "fleetlock.internal/hold=");
  await untilReply(() => preReboot(test.url, held.id, "workers"), { kind: "node_on_hold" });
});

clusterTest(
  "a group that the file does not name is refused, and its hosts still report that they are back",
  async () => {
    await using test = await setUp(1, () => ({ allowUnknownGroups: true, groups: { workers: {} } }));
    const [host] = test.hosts as [TestNode];
    equal((await preReboot(test.url, host.id, "wrokers")).status, 200);
    await test.say({ allowUnknownGroups: false, groups: { workers: {} } });
    await test.reboot(host, "wrokers");
    const refused = await untilReply(() => preReboot(test.url, host.id, "wrokers"), { kind: "unknown_group" });
    match(refused.value!, /does not name the group "wrokers"/);
    equal((await preReboot(test.url, host.id, "workers")).status, 200);
  },
);

clusterTest("a new file that needs another permission has it checked at once, and readiness names it", async () => {
  const namespace = await plane().createNamespace();
  const name = `keeper-${namespace}`;
  const token = await plane().createUser(namespace, LEASE_RULES, name);
  const rbac = "/apis/rbac.authorization.k8s.io/v1";
  const rules = keeperPermissions({ deletePods: false }).map(({ verb, group, resource, subresource }) => ({
    verbs: [verb],
    apiGroups: [group],
    resources: [subresource === undefined ? resource : `${resource}/${subresource}`],
  }));
  await plane().request("POST", `${rbac}/clusterroles`, { metadata: { name }, rules });
  await plane().request("POST", `${rbac}/clusterrolebindings`, {
    metadata: { name },
    roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "ClusterRole", name },
    subjects: [{ kind: "ServiceAccount", name, namespace }],
  });
  const config = `${plane().folder}/${namespace}.yaml`;
  await Deno.writeTextFile(config, "{}");
  const kubeconfig = await plane().writeKubeconfig({ token });
  await using all = await startReplicas(plane(), { namespace, kubeconfig, flags: { config } });
  const ready = async () => {
    const reply = await fetch(`${all.urls[0]}/-/ready`);
    return { status: reply.status, text: await reply.text() };
  };
  ok(!/delete pods/.test((await ready()).text));
  await Deno.writeTextFile(config, "groups: {workers: {drain: {onTimeout: delete}}}");
  all.services[0]!.reload();
  const { status } = await until(async () => {
    const said = await ready();
    return /the server may not delete pods: grant it in the ClusterRole/.test(said.text) ? said : undefined;
  });
  equal(status, 200, "a server that was ready stays ready");
});

clusterTest("without draining, rules that count nodes refuse with a sentence, and the others work", async () => {
  const groups = { counted: { health: { notReady: 1 } }, plain: { slots: 2 } };
  await using test = await setUp(0, () => ({ groups }), { flags: { drain: "false" } });
  const refused = await preReboot(test.url, "host", "counted");
  deepEqual([refused.status, refused.kind], [423, "policy_undecided"]);
  match(refused.value!, /cannot be counted: .*draining is off/);
  equal((await preReboot(test.url, "host", "plain")).status, 200);
});

clusterTest(
  "a file that is replaced again and again under load loses no request, and a bad one changes nothing",
  async () => {
    const allow = [{ at: timeIn(3), for: "2h" }];
    await using test = await setUp(1, () => ({ groups: { workers: { allow } } }));
    const [host] = test.hosts as [TestNode];
    const over = new AbortController();
    const kinds = new Map<string, number>();
    const load = Array.from({ length: 8 }, async () => {
      while (!over.signal.aborted) {
        const { status, kind } = await preReboot(test.url, host.id, "workers");
        const key = `${status} ${kind}`;
        kinds.set(key, (kinds.get(key) ?? 0) + 1);
      }
    });
    try {
      for (let n = 1; n <= 10; n++) await test.say({ groups: { workers: { allow, slots: n, settle: `${n}m` } } });
      await Deno.writeTextFile(`${plane().folder}/${test.namespace}.yaml`, "groups: {workers: {slots: 0, alow: []}}");
      test.all.services[0]!.reload();
      await until(async () => /^fleetlock_config_stale 1$/m.test(await metrics(test.url)));
      const ready = await fetch(`${test.url}/-/ready`);
      deepEqual([ready.status, /:1:\d+: groups\.workers\./.test(await ready.text())], [200, true]);
    } finally {
      over.abort();
      await Promise.all(load);
    }
    deepEqual([...kinds.keys()], ["423 outside_window"]);
  },
);

/** Puts a pod on a node, and a budget over it that allows so many disruptions. */
async function guard(namespace: string, node: TestNode, allowed: number): Promise<void> {
  const labels = { app: "guarded" };
  await createBudget(plane(), namespace, "guarded", labels, allowed);
  await createPod(plane(), { namespace, node: node.name, graceSeconds: 0, name: "guarded", labels });
}
