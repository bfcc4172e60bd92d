/** The Lease store on a real API server: the contract of all stores, and what only Leases do. @module */

import { deepEqual, equal, fail, match, ok, rejects } from "node:assert/strict";
import { connectKubernetes, type KubernetesClient } from "../../src/kubernetes/client.ts";
import { ForbiddenError } from "../../src/kubernetes/errors.ts";
import { Leases } from "../../src/stores/lease/leases.ts";
import type { WatchTiming } from "../../src/kubernetes/watch.ts";
import { GroupView } from "../../src/lock/group_view.ts";
import { type ClientId, type Group, parseGroup } from "../../src/lock/identity.ts";
import { CallRefusedError, UnavailableError } from "../../src/lock/errors.ts";
import { ABSENT, type LockStore, type Versioned } from "../../src/lock/lock_store.ts";
import type { GroupState } from "../../src/lock/semaphore.ts";
import { LeaseLockStore } from "../../src/stores/lease/store.ts";
import { leaseName, NOTES_ANNOTATION, PAUSED_ANNOTATION } from "../../src/stores/lease/codec.ts";
import { lockStoreContract } from "../contracts/lock_store_contract.ts";
import { until } from "../support/condition.ts";
import { clusterTest, LEASE_RULES, useControlPlane } from "../support/control_plane.ts";
import { FaultProxy } from "../support/fault_proxy.ts";

const plane = useControlPlane({
  apiServerFlags: [
    "--feature-gates=MutatingAdmissionPolicy=true",
    "--runtime-config=admissionregistration.k8s.io/v1beta1=true",
  ],
});
const MERGE_PATCH = "application/merge-patch+json";
const NOW = Date.UTC(2026, 0, 2, 3, 4, 5, 678);
const DEFAULT = parseGroup("default")!;

lockStoreContract({
  name: "Lease",
  ignore: !Deno.env.get("KUBEBUILDER_ASSETS"),
  async open() {
    const namespace = await plane().createNamespace();
    const clients = await Promise.all([connect({ namespace }), connect({ namespace })]);
    const [first, second] = clients.map((client) => new LeaseLockStore(new Leases(client)));
    return {
      first: first!,
      second: second!,
      deleteGroup: (group: Group) => plane().request("DELETE", leasePath(namespace, leaseName(group))),
      async editNotes(group: Group, { notes, paused }: { notes?: string; paused?: string }) {
        const annotations = { [NOTES_ANNOTATION]: notes, [PAUSED_ANNOTATION]: paused };
        const path = leasePath(namespace, leaseName(group));
        const lease = await plane().request("GET", path);
        lease.metadata.annotations = { ...lease.metadata.annotations, ...JSON.parse(JSON.stringify(annotations)) };
        await plane().request("PUT", path, lease);
      },
      async [Symbol.asyncDispose]() {
        for (const client of clients) await client[Symbol.asyncDispose]();
      },
    };
  },
});

clusterTest("the Lease of a held group names its holders, and that of a free group names none", async () => {
  await using opened = await open();
  const { store, namespace } = opened;
  const held = await write(store, ABSENT, state("a", "b"));
  const lease = await plane().request("GET", leasePath(namespace));
  equal(lease.spec.holderIdentity, "a,b");
  equal(lease.spec.leaseTransitions, 2);
  equal(lease.spec.acquireTime, "2026-01-02T03:04:05.678000Z");
  equal(lease.metadata.managedFields[0].manager, "fleetlock");
  await write(store, held, { holders: [], transitions: 2 });
  const freed = await plane().request("GET", leasePath(namespace));
  equal(freed.spec.holderIdentity, "");
  equal(freed.spec.acquireTime, undefined);
});

clusterTest(
  "a Lease that the Go program holds is respected, and released so that the Go program understands it",
  async () => {
    await using opened = await open();
    const { store, namespace } = opened;
    // Everything that the Go program writes.
    await plane().request("POST", leasePath(namespace, ""), {
      metadata: { name: "fleetlock-default" },
      spec: { holderIdentity: "go", leaseTransitions: 5 },
    });
    const found = await store.read(DEFAULT);
    deepEqual(found.state.holders.map((holder) => holder.id), ["go"]);
    equal(found.state.transitions, 5);
    ok(Math.abs(found.state.holders[0]!.since - Date.now()) < 60_000, "since the Lease's last change");
    await write(store, found, { holders: [], transitions: 5 });
    equal((await plane().request("GET", leasePath(namespace))).spec.holderIdentity, "");
  },
);

clusterTest(
  "an administrator's edit with kubectl takes effect, and a write keeps fields that are not ours",
  async () => {
    await using opened = await open();
    const { store, namespace } = opened;
    const base = await write(store, ABSENT, state("a"));
    const patch = {
      metadata: { labels: { team: "ops" }, annotations: { note: "by hand" }, finalizers: ["example.com/keep"] },
      spec: { holderIdentity: "maintenance window" },
    };
    await plane().request("PATCH", leasePath(namespace), patch, MERGE_PATCH);
    equal(await store.write(DEFAULT, base, state("b")), "conflict");
    const edited = await store.read(DEFAULT);
    deepEqual(edited.state.holders.map((holder) => holder.id), ["maintenance window"]);
    await write(store, edited, state("c"));
    const lease = await plane().request("GET", leasePath(namespace));
    equal(lease.spec.holderIdentity, "c");
    equal(lease.metadata.labels.team, "ops");
    equal(lease.metadata.annotations.note, "by hand");
    deepEqual(lease.metadata.finalizers, ["example.com/keep"]);
    await plane().request(
      "PATCH",
      leasePath(namespace),
      { metadata: { finalizers: null } },
      MERGE_PATCH,
    );
  },
);

clusterTest("a Lease that is being deleted says so with its finalizers, and a release on it works", async () => {
  await using opened = await open();
  const { store, namespace } = opened;
  const base = await write(store, ABSENT, state("a"));
  equal(base.ending, undefined);
  const keep = { metadata: { finalizers: ["example.com/keep"] } };
  await plane().request("PATCH", leasePath(namespace), keep, MERGE_PATCH);
  await plane().request("DELETE", leasePath(namespace));
  const ending = { object: `Lease ${namespace}/fleetlock-default`, finalizers: ["example.com/keep"] };
  const found = await store.read(DEFAULT);
  deepEqual(found.ending, ending);
  deepEqual((await store.list()).groups.get(DEFAULT)?.ending, ending);
  const view = new GroupView();
  await watching(store, view, async () => {
    await until(() => view.isSynced);
    deepEqual(view.get(DEFAULT)?.ending, ending);
    const freed = await write(store, found, state());
    deepEqual(freed.ending, ending);
    await until(() => view.get(DEFAULT)?.version === freed.version);
    deepEqual(view.get(DEFAULT)?.ending, ending);
    await plane().request("PATCH", leasePath(namespace), { metadata: { finalizers: null } }, MERGE_PATCH);
    await until(() => view.get(DEFAULT)?.version === 0, { what: "the deletion" });
    equal(await store.write(DEFAULT, freed, state("b")), "conflict");
  });
  equal((await write(store, ABSENT, state("b"))).ending, undefined);
});

clusterTest("a Lease that is deleted in the foreground waits for the garbage collector, and says so", async () => {
  await using opened = await open();
  const { store, namespace } = opened;
  await write(store, ABSENT, state());
  await plane().request("DELETE", leasePath(namespace), {
    kind: "DeleteOptions",
    apiVersion: "v1",
    propagationPolicy: "Foreground",
  });
  deepEqual((await store.read(DEFAULT)).ending?.finalizers, ["foregroundDeletion"]);
});

clusterTest("a create in a namespace that is being deleted is refused in the API server's words", async () => {
  await using opened = await open();
  const { store, namespace } = opened;
  const keep = { metadata: { name: "keep", finalizers: ["example.com/keep"] } };
  await plane().request("POST", `/api/v1/namespaces/${namespace}/configmaps`, keep);
  await plane().request("DELETE", `/api/v1/namespaces/${namespace}`);
  await rejects(store.write(DEFAULT, ABSENT, state("a")), (error) => {
    ok(error instanceof CallRefusedError);
    match(error.publicMessage!, /namespace \S+ because it is being terminated/);
    return true;
  });
});

clusterTest(
  "a write that an admission policy denies, or whose Lease is invalid, is refused in the API server's words",
  async () => {
    await using opened = await open();
    const { store, namespace } = opened;
    const base = await write(store, ABSENT, state());
    const name = `deny-${namespace}`;
    const match_ = { resourceRules: [leaseRule(["UPDATE"])], namespaceSelector: only(namespace) };
    await plane().request("POST", admission("validatingadmissionpolicies"), {
      metadata: { name },
      spec: {
        matchConstraints: match_,
        validations: [{ expression: "object.spec.holderIdentity != 'a'", message: "nobody reboots on Fridays" }],
      },
    });
    await plane().request("POST", admission("validatingadmissionpolicybindings"), {
      metadata: { name },
      spec: { policyName: name, validationActions: ["Deny"] },
    });
    let latest = base;
    await until(async () => {
      try {
        latest = await write(store, latest, { ...state("a"), renewed: NOW + latest.version });
        return false;
      } catch (error) {
        ok(error instanceof CallRefusedError);
        match(error.publicMessage!, /nobody reboots on Fridays/);
        return true;
      }
    }, { what: "the policy takes effect" });

    const invalid = { ...(latest as unknown as { lease: Record<string, unknown> }) };
    await rejects(
      store.write(
        DEFAULT,
        { ...invalid, lease: { ...invalid.lease, spec: { leaseDurationSeconds: -1 } } } as unknown as Versioned,
        state("b"),
      ),
      (error) => {
        ok(error instanceof CallRefusedError);
        match(error.publicMessage!, /leaseDurationSeconds/);
        return true;
      },
    );
  },
);

clusterTest("a write returns what the API server stored, not what was sent", async () => {
  await using opened = await open();
  const { store, namespace } = opened;
  const name = `empty-${namespace}`;
  await plane().request("POST", admission("mutatingadmissionpolicies", "v1beta1"), {
    metadata: { name },
    spec: {
      matchConstraints: { resourceRules: [leaseRule(["CREATE", "UPDATE"])], namespaceSelector: only(namespace) },
      failurePolicy: "Fail",
      reinvocationPolicy: "Never",
      mutations: [{
        patchType: "ApplyConfiguration",
        applyConfiguration: { expression: "Object{spec: Object.spec{holderIdentity: 'other'}}" },
      }],
    },
  });
  await plane().request("POST", admission("mutatingadmissionpolicybindings", "v1beta1"), {
    metadata: { name },
    spec: { policyName: name },
  });
  let written = await write(store, ABSENT, state("a"));
  await until(async () => {
    if (written.state.holders[0]?.id !== "a") return true;
    written = await write(store, written, { ...state("a"), renewed: NOW + written.version });
    return false;
  }, { what: "the policy takes effect" });
  deepEqual(written.state.holders.map((holder) => holder.id), ["other"]);
  deepEqual((await store.read(DEFAULT)).state, written.state);
});

clusterTest(
  "another fleetlock's record of a drain is left out of lists and watches, and read by its name",
  async () => {
    await using opened = await open();
    const { store, namespace } = opened;
    const group = parseGroup("drain-node-1")!;
    await plane().request("POST", leasePath(namespace, ""), {
      metadata: { name: "fleetlock-drain-node-1" },
      spec: { holderIdentity: "draining" },
    });
    const view = new GroupView();
    await watching(store, view, async () => {
      await until(() => view.isSynced);
      ok(view.groups.has(group), "a Lease that is held counts");
      const done = { spec: { holderIdentity: "done" } };
      await plane().request("PATCH", leasePath(namespace, "fleetlock-drain-node-1"), done, MERGE_PATCH);
      await until(() => !view.groups.has(group), { what: "the record is left out" });
      ok(view.isSynced);
    });
    equal((await store.list()).groups.size, 0);
    const found = await store.read(group);
    deepEqual(found.state.holders.map((holder) => holder.id), ["done"]);
    equal(await store.write(group, ABSENT, state("a")), "conflict");
    // A group of that very name that this program has written to is an ordinary one.
    const taken = await store.write(group, found, { holders: found.state.holders, transitions: 1 });
    ok(taken !== "conflict");
    deepEqual([...(await store.list()).groups.keys()], [group]);
  },
);

clusterTest("a Lease with the most transitions that are possible can still be written", async () => {
  await using opened = await open();
  const { store, namespace } = opened;
  await write(store, ABSENT, state());
  const most = { spec: { leaseTransitions: 2_147_483_647 } };
  await plane().request("PATCH", leasePath(namespace), most, MERGE_PATCH);
  const found = await store.read(DEFAULT);
  const written = await write(store, found, { ...state("a"), transitions: found.state.transitions + 1 });
  equal(written.state.transitions, 2_147_483_647);
});

clusterTest("a missing namespace is a fault that says so", async () => {
  await using client = await connect({ namespace: "nowhere" });
  const store = new LeaseLockStore(new Leases(client));
  await rejects(store.write(DEFAULT, ABSENT, state("a")), (error) => {
    ok(error instanceof UnavailableError);
    match(error.message, /"nowhere" not found: does the namespace exist/);
    return true;
  });
});

clusterTest("reading and writing need only get, create and update", async () => {
  const namespace = await plane().createNamespace();
  const token = await plane().createUser(namespace, LEASE_RULES);
  await using client = await connect({ namespace, token });
  const store = new LeaseLockStore(new Leases(client));
  equal((await store.read(DEFAULT)).version, 0);
  const base = await write(store, ABSENT, state("a"));
  await write(store, base, state());
  equal(await store.write(DEFAULT, base, state("b")), "conflict");

  const denied = (verb: string) => (error: unknown) =>
    error instanceof ForbiddenError && error.permission.verb === verb;
  await rejects(store.list(), denied("list"));
  const lost = Promise.withResolvers<unknown>();
  const stop = new AbortController();
  const watching = store.watch(
    new GroupView({ lost: (reason) => lost.resolve(reason) }),
    stop.signal,
  );
  ok(denied("watch")(await lost.promise), "the watch says that it may not watch");
  stop.abort();
  await watching;
});

for (const verb of ["get", "create", "update"]) {
  clusterTest(`a fault names the missing permission to ${verb} leases`, async () => {
    const namespace = await plane().createNamespace();
    await using admin = await connect({ namespace });
    const base = await write(new LeaseLockStore(new Leases(admin)), ABSENT, state("a"));
    const verbs = ["get", "create", "update"].filter((each) => each !== verb);
    const token = await plane().createUser(namespace, [{ ...LEASE_RULES[0]!, verbs }]);
    await using client = await connect({ namespace, token });
    const store = new LeaseLockStore(new Leases(client));
    const call = {
      get: () => store.read(DEFAULT),
      create: () => store.write(parseGroup("other")!, ABSENT, state("a")),
      update: () => store.write(DEFAULT, base, state()),
    }[verb]!;
    await rejects(call, (error) => {
      ok(error instanceof UnavailableError);
      equal(error.publicMessage, `the server may not ${verb} leases in namespace "${namespace}"`);
      ok(
        error.message.startsWith(
          `the permission to ${verb} leases in namespace "${namespace}" is missing: grant it in `,
        ),
      );
      return true;
    });
  });
}

clusterTest("where its window has ended, a watch begins anew with all locks, and misses nothing", async () => {
  const namespace = await plane().createNamespace();
  await using client = await connect({ namespace });
  let windows = 0;
  let listings = 0;
  const counting: KubernetesClient = {
    ...client,
    stream(path, signal) {
      windows++;
      return client.stream(path, signal);
    },
  };
  const store = new LeaseLockStore(new Leases(counting, { windowMs: 900, random: () => 0 }));
  const view = new GroupView({ synced: () => listings++, lost: (lost) => fail(String(lost)) });
  await watching(store, view, async () => {
    await until(() => view.isSynced);
    for (let base: Versioned = ABSENT; listings < 3;) {
      const { version } = base = await write(store, base, { ...state("a"), renewed: NOW + base.version });
      await until(() => view.get(DEFAULT)?.version === version, { what: "the change" });
    }
  });
  ok(windows >= 3);
});

clusterTest(
  "calls fail at once while the API server is down, and calls and the watch recover when it is back",
  async () => {
    await using opened = await open({ maxPauseMs: 500 });
    const { store } = opened;
    const base = await write(store, ABSENT, state("a"));
    const lost: unknown[] = [];
    const view = new GroupView({ lost: (reason) => lost.push(reason) });
    await watching(store, view, async () => {
      await until(() => view.isSynced);
      await plane().stopApiServer();
      await until(() => !view.isSynced, { what: "the watch knows" });
      await rejects(store.read(DEFAULT), UnavailableError);
      await rejects(store.write(DEFAULT, base, state()), UnavailableError);
      await plane().startApiServer();
      const written = await write(store, base, state("b"));
      await until(() => view.isSynced && view.get(DEFAULT)?.version === written.version, { timeoutMs: 30_000 });
    });
    ok(lost.every((error) => error instanceof UnavailableError));
  },
  { restarts: true },
);

clusterTest("a call to an API server that hangs fails at its deadline, and calls recover when it goes on", async () => {
  await using opened = await open({}, { timeoutMs: 500 });
  const { store } = opened;
  await write(store, ABSENT, state("a"));
  plane().pause("kube-apiserver");
  try {
    await rejects(store.read(DEFAULT), (error) => {
      ok(error instanceof UnavailableError);
      match(error.message, /did not answer within 500 ms/);
      return true;
    });
  } finally {
    plane().resume("kube-apiserver");
  }
  await until(() => store.read(DEFAULT).catch(() => undefined), { what: "a read" });
});

clusterTest("concurrent calls share one HTTP/2 connection", async () => {
  await using proxy = new FaultProxy(plane().port);
  await using opened = await open({}, { server: `https://127.0.0.1:${proxy.port}` });
  const { store } = opened;
  await store.read(DEFAULT);
  await Promise.all(Array.from({ length: 20 }, () => store.read(DEFAULT)));
  equal(proxy.accepted, 1);
});

clusterTest("one call on a silent connection fails at its deadline, and the next uses a new connection", async () => {
  await using proxy = new FaultProxy(plane().port);
  await using opened = await open({}, { timeoutMs: 1_000, server: `https://127.0.0.1:${proxy.port}` });
  const { store } = opened;
  const base = await write(store, ABSENT, state("a"));
  equal(proxy.accepted, 1);
  proxy.silence();
  await rejects(store.write(DEFAULT, base, state()), UnavailableError);
  deepEqual((await store.read(DEFAULT)).state, state("a"));
  equal(proxy.accepted, 2);
});

clusterTest("a watch with a silent connection opens a new one and shows what it missed", async () => {
  await using proxy = new FaultProxy(plane().port);
  const timing = { silenceMs: 1_500, initialSilenceMs: 1_500, pauseMs: 10 };
  await using opened = await open(timing, { server: `https://127.0.0.1:${proxy.port}` });
  const { store, namespace } = opened;
  await using other = await connect({ namespace });
  const otherStore = new LeaseLockStore(new Leases(other));
  const lost: string[] = [];
  const view = new GroupView({ lost: (reason) => lost.push(String(reason)) });
  await watching(store, view, async () => {
    // A change after the list shows that the watch has started.
    await until(() => view.isSynced);
    const first = await write(otherStore, ABSENT, state());
    await until(() => view.get(DEFAULT)?.version === first.version, { what: "the first change" });
    proxy.silence();
    const written = await write(otherStore, first, state("a"));
    await until(() => view.get(DEFAULT)?.version === written.version, { what: "the missed change" });
  });
  // A watch that never had a bookmark cannot tell silence from quiet, so it lists again without a fault.
  deepEqual(lost, []);
});

clusterTest("reads do not fail when their connection is reset", async () => {
  await using proxy = new FaultProxy(plane().port);
  await using opened = await open({}, { server: `https://127.0.0.1:${proxy.port}` });
  const { store } = opened;
  await write(store, ABSENT, state("a"));
  for (let i = 0; i < 5; i++) {
    proxy.reset();
    deepEqual((await store.read(DEFAULT)).state, state("a"));
  }
});

interface ConnectTo {
  namespace: string;
  token?: string;
  server?: string;
  timeoutMs?: number;
}

async function connect({ namespace, token, server, timeoutMs }: ConnectTo): Promise<KubernetesClient> {
  const kubeconfig = await plane().writeKubeconfig({ token: token ?? plane().adminToken }, server ? { server } : {});
  return await connectKubernetes({ kubeconfig, namespace, timeoutMs });
}

async function open(
  watchTiming: WatchTiming = {},
  options: Omit<ConnectTo, "namespace"> = {},
): Promise<{ store: LockStore; namespace: string } & AsyncDisposable> {
  const namespace = await plane().createNamespace();
  const client = await connect({ ...options, namespace });
  return {
    store: new LeaseLockStore(new Leases(client, watchTiming)),
    namespace,
    [Symbol.asyncDispose]: () => client[Symbol.asyncDispose](),
  };
}

async function watching(store: LockStore, view: GroupView, act: () => Promise<void>): Promise<void> {
  const stop = new AbortController();
  const ended = store.watch(view, stop.signal);
  try {
    await act();
  } finally {
    stop.abort();
    await ended;
  }
}

async function write(store: LockStore, base: Versioned, next: GroupState): Promise<Versioned> {
  const written = await store.write(DEFAULT, base, next);
  ok(written !== "conflict");
  return written;
}

function state(...ids: string[]): GroupState {
  return {
    holders: ids.map((id, index) => ({ id: id as ClientId, since: NOW + index })),
    transitions: ids.length,
    renewed: NOW,
  };
}

function leasePath(namespace: string, name = "fleetlock-default"): string {
  return `/apis/coordination.k8s.io/v1/namespaces/${namespace}/leases${name && `/${name}`}`;
}

/** Selects one namespace, which the API server labels with its name. */
function only(namespace: string): unknown {
  return { matchLabels: { "kubernetes.io/metadata.name": namespace } };
}

function leaseRule(operations: string[]): unknown {
  return { apiGroups: ["coordination.k8s.io"], apiVersions: ["v1"], operations, resources: ["leases"] };
}

function admission(resource: string, version = "v1"): string {
  return `/apis/admissionregistration.k8s.io/${version}/${resource}`;
}
