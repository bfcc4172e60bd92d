/**
 * What the modelled API server and a real one must answer alike, as sequences of calls. A case returns what it saw, so
 * that both can be compared. It leaves out what may differ: UIDs, times, versions and whole sentences.
 *
 * @module
 */

// deno-lint-ignore no-explicit-any
type Json = any;

/** An answer. */
export interface Answer {
  readonly status: number;
  readonly body: Json;
}

/** An answer that is not about objects. */
export interface PlainAnswer {
  readonly status: number;
  readonly type: string | null;
  readonly text: string;
  readonly retryAfter: string | null;
}

/** A server under test: the model, or a real one. */
export interface Subject {
  /** A namespace that no other case uses. */
  readonly namespace: string;
  /** A prefix for names of objects outside namespaces. */
  readonly prefix: string;
  /** Makes a call. */
  call(method: string, path: string, body?: Json, more?: { type?: string; accept?: string }): Promise<Answer>;
  /** Opens a watch, and returns what collects its lines until there are `count`, or none came for a second. */
  watch(path: string): Promise<(count: number) => Promise<Json[]>>;
  /** Makes etcd forget all versions up to now. */
  compact(): Promise<void>;
  /** Makes the token of a list's next page one of a version that etcd has forgotten. */
  expire(token: string): string;
  /** Calls the server while its protection against overload refuses calls. */
  overload(): Promise<PlainAnswer>;
  /** Makes a backup of etcd. Returns what goes back to it and starts the API server again. */
  backUp(): Promise<() => Promise<void>>;
  /** Makes a budget over pods, or tells it by its name how many run now, as its controller does. */
  budget(budget: CaseBudget): Promise<void>;
  /** Makes the kubelet of a Node renew its Lease, and create it first where there is none. */
  renew(node: string): Promise<void>;
  /** Makes a call as somebody who lacks a right, such as "get leases" or "create pods/eviction". */
  callWithout(right: string, ...call: Parameters<Subject["call"]>): Promise<Answer>;
}

/** A PodDisruptionBudget. */
export interface CaseBudget {
  readonly name: string;
  /** The label `app` of its pods. */
  readonly app: string;
  /** How many of them must run. */
  readonly minAvailable: number;
  /** How many of them run. */
  readonly healthy: number;
}

/** A case. */
export type Case = (subject: Subject) => Promise<Json>;

/** The type of a merge patch. */
export const MERGE = "application/merge-patch+json";
const JSON_PATCH = "application/json-patch+json";
const METADATA = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json";

/** The causes that are compared. */
const COMPARED: readonly string[] = ["DisruptionBudget", "ResourceVersionTooLarge"];

/** What is compared of an answer. */
export function seen({ status, body }: Answer): Json {
  return { status, ...(body.kind === "Status" ? statusOf(body) : objectOf(body)) };
}

function statusOf({ kind, reason, details, status }: Json): Json {
  const causes = details?.causes?.map((cause: Json) => cause.reason).filter((one: Json) => COMPARED.includes(one));
  return { kind, reason, ...(status === "Success" && { success: true }), ...(causes?.length > 0 && { causes }) };
}

function objectOf({ apiVersion, kind, metadata = {}, spec, items }: Json): Json {
  const { name, labels, annotations, finalizers, deletionTimestamp, managedFields } = metadata;
  const owners = (managedFields ?? []).flatMap(({ manager, fieldsV1 }: Json) => [
    ...(fieldsV1?.["f:spec"]?.["f:unschedulable"] ? [`${manager} cordon`] : []),
    ...(fieldsV1?.["f:metadata"]?.["f:annotations"]?.["f:fleetlock.internal/cordoned-for"] ? [`${manager} note`] : []),
  ]);
  return {
    apiVersion,
    kind,
    name: name && name.replace(/^.*--/, ""),
    labels: labels?.app,
    annotations: annotations?.["fleetlock.internal/cordoned-for"],
    finalizers,
    isEnding: deletionTimestamp !== undefined,
    owners: owners.sort(),
    holder: spec?.holderIdentity,
    unschedulable: spec?.unschedulable,
    hasSpec: spec !== undefined,
    items: items?.map((item: Json) => objectOf({ ...item, apiVersion: undefined, kind: undefined })),
    isCut: Boolean(metadata.continue),
    rest: metadata.remainingItemCount,
  };
}

/** What is compared of a line of a watch. */
export function line({ type, object }: Json): Json {
  if (type === "BOOKMARK") {
    return { type, isEndOfList: object.metadata.annotations?.["k8s.io/initial-events-end"] === "true" };
  }
  return { type, ...(object.kind === "Status" ? statusOf(object) : objectOf(object)) };
}

/** The path of the Leases of a namespace. */
export function leasesOf(namespace: string): string {
  return `/apis/coordination.k8s.io/v1/namespaces/${namespace}/leases`;
}

/** A Lease to be created. */
export function lease(name: string, holderIdentity: string, metadata: Json = {}): Json {
  return {
    apiVersion: "coordination.k8s.io/v1",
    kind: "Lease",
    metadata: { name, ...metadata },
    spec: { holderIdentity },
  };
}

/** A pod to be created. */
export function pod(name: string, nodeName?: string): Json {
  const container = { name: "main", image: "none" };
  return {
    metadata: { name, labels: { app: "web" } },
    spec: { ...(nodeName && { nodeName }), containers: [container], terminationGracePeriodSeconds: 30 },
  };
}

/** Tries to evict a pod whose budget allows nothing. */
async function refusedByBudget({ namespace, prefix, call, budget }: Subject, deleteOptions?: Json): Promise<Json> {
  const pods = `/api/v1/namespaces/${namespace}/pods`;
  await call("POST", "/api/v1/nodes", { metadata: { name: `${prefix}--n` } });
  await call("POST", pods, pod("a", `${prefix}--n`));
  const status = { phase: "Running", conditions: [{ type: "Ready", status: "True" }] };
  await call("PATCH", `${pods}/a/status`, { status }, { type: MERGE });
  await budget({ name: "none", app: "web", minAvailable: 1_000, healthy: 1 });
  const body = { apiVersion: "policy/v1", kind: "Eviction", metadata: { name: "a", namespace } };
  const answer = await call("POST", `${pods}/a/eviction`, { ...body, ...(deleteOptions && { deleteOptions }) });
  await call("DELETE", `${pods}/a`, { gracePeriodSeconds: 0 });
  await call("DELETE", `/api/v1/nodes/${prefix}--n`);
  return seen(answer);
}

/** The cases, by name. */
export const CASES: Readonly<Record<string, Case>> = {
  async "a Lease is created once, and replaced only at its version"({ namespace, call }) {
    const path = leasesOf(namespace);
    const answers = [await call("POST", path, lease("a", "x")), await call("POST", path, lease("a", "y"))];
    const first = (await call("GET", `${path}/a`)).body;
    answers.push(await call("PUT", `${path}/a`, { ...first, spec: { holderIdentity: "z" } }));
    answers.push(await call("PUT", `${path}/a`, { ...first, spec: { holderIdentity: "w" } }));
    answers.push(await call("GET", `${path}/a`), await call("GET", `${path}/b`));
    answers.push(await call("PUT", `${path}/b`, { ...first, metadata: { ...first.metadata, name: "b" } }));
    const wrong = { preconditions: { resourceVersion: first.metadata.resourceVersion } };
    answers.push(await call("DELETE", `${path}/a`, wrong), await call("DELETE", `${path}/a`));
    answers.push(await call("DELETE", `${path}/a`));
    return answers.map(seen);
  },
  async "a Lease that is being deleted stays until its finalizer is done"({ namespace, call }) {
    const path = leasesOf(namespace);
    const answers = [await call("POST", path, lease("a", "x", { finalizers: ["example.com/hold"] }))];
    answers.push(await call("DELETE", `${path}/a`));
    const now = (await call("GET", `${path}/a`)).body;
    answers.push(await call("PUT", `${path}/a`, { ...now, spec: { holderIdentity: "z" } }));
    answers.push(await call("PATCH", `${path}/a`, { metadata: { finalizers: [] } }, { type: MERGE }));
    answers.push(await call("GET", `${path}/a`));
    return answers.map(seen);
  },
  async "a Node is patched only as the Node and the version that were seen"({ prefix, call }) {
    const path = `/api/v1/nodes/${prefix}--n`;
    // A real server tells who owns the fields only of an object that had some from the start.
    await call("POST", "/api/v1/nodes", { metadata: { name: `${prefix}--n`, labels: { app: "kubelet" } } });
    const { metadata: { uid, resourceVersion } } = (await call("GET", path)).body;
    const patch = (metadata: Json, spec?: Json, manager = "fleetlock") =>
      call("PATCH", `${path}?fieldManager=${manager}`, { metadata, ...(spec && { spec }) }, { type: MERGE });
    const note = { "fleetlock.internal/cordoned-for": "{}" };
    const answers = [
      await patch({ uid: "00000000-0000-4000-8000-000000000000", resourceVersion }, { unschedulable: true }),
      await patch({ uid, resourceVersion, annotations: note }, { unschedulable: true }),
      await patch({ uid, resourceVersion }, { unschedulable: true }),
      // An administrator uncordons it and cordons it again.
      await patch({}, { unschedulable: null }, "kubectl"),
      await patch({}, { unschedulable: true }, "kubectl"),
      await patch({ annotations: { "fleetlock.internal/cordoned-for": null } }),
      await patch({}, { unschedulable: false }),
    ];
    const before = (await call("GET", path)).body.metadata.resourceVersion;
    await patch({}, { unschedulable: null });
    const isSame = (await call("GET", path)).body.metadata.resourceVersion === before;
    answers.push(await call("DELETE", path), await call("GET", path));
    return [...answers.map(seen), { isSame }];
  },
  async "a JSON patch changes a Node that is as its tests say"({ prefix, call }) {
    const path = `/api/v1/nodes/${prefix}--n`;
    const name = "fleetlock.internal/cordoned-for";
    const annotation = `/metadata/annotations/${name.replace("/", "~1")}`;
    await call("POST", "/api/v1/nodes", {
      metadata: { name: `${prefix}--n`, annotations: { [name]: "us" } },
      spec: { unschedulable: true },
    });
    const { uid, resourceVersion } = (await call("GET", path)).body.metadata;
    const uncordon = (seen: { uid: string; resourceVersion: string; cordon: string }) =>
      call("PATCH", `${path}?fieldManager=fleetlock`, [
        { op: "test", path: "/metadata/uid", value: seen.uid },
        { op: "test", path: "/metadata/resourceVersion", value: seen.resourceVersion },
        { op: "test", path: annotation, value: seen.cordon },
        { op: "remove", path: annotation },
        { op: "remove", path: "/spec/unschedulable" },
      ], { type: JSON_PATCH });
    return [
      await uncordon({ uid: "00000000-0000-4000-8000-000000000000", resourceVersion, cordon: "us" }),
      await uncordon({ uid, resourceVersion: "1", cordon: "us" }),
      await uncordon({ uid, resourceVersion, cordon: "others" }),
      await uncordon({ uid, resourceVersion, cordon: "us" }),
      // The annotation is gone.
      await uncordon({ uid, resourceVersion, cordon: "us" }),
      await call("DELETE", path),
      await uncordon({ uid, resourceVersion, cordon: "us" }),
    ].map(seen);
  },
  async "pods are evicted by UID, and end with their grace"({ namespace, prefix, call }) {
    const pods = `/api/v1/namespaces/${namespace}/pods`;
    await call("POST", "/api/v1/nodes", { metadata: { name: `${prefix}--n` } });
    await call("POST", pods, pod("a", `${prefix}--n`));
    const { uid } = (await call("GET", `${pods}/a`)).body.metadata;
    const evict = (name: string, deleteOptions?: Json) =>
      call("POST", `${pods}/${name}/eviction`, {
        apiVersion: "policy/v1",
        kind: "Eviction",
        metadata: { name, namespace },
        ...(deleteOptions && { deleteOptions }),
      });
    const answers = [
      await evict("b"),
      await evict("a", { preconditions: { uid: "00000000-0000-4000-8000-000000000000" } }),
      await evict("a", { preconditions: { uid } }),
      await call("GET", `${pods}/a`),
      await evict("a", { preconditions: { uid } }),
      await call("DELETE", `${pods}/a`, { gracePeriodSeconds: 0, preconditions: { uid } }),
      await call("GET", `${pods}/a`),
    ];
    await call("DELETE", `/api/v1/nodes/${prefix}--n`);
    return answers.map(seen);
  },
  async "a budget refuses an eviction with its cause"(subject) {
    return await refusedByBudget(subject);
  },
  async "lists come whole, in pages, by selector, and as metadata"({ namespace, prefix, call }) {
    const path = leasesOf(namespace);
    for (const name of ["a", "b", "c"]) await call("POST", path, lease(name, "x"));
    const first = await call("GET", `${path}?limit=2`);
    const next = `${path}?limit=2&continue=${encodeURIComponent(first.body.metadata.continue)}`;
    const second = await call("GET", next);
    const isOneVersion = first.body.metadata.resourceVersion === second.body.metadata.resourceVersion;
    const answers = [
      await call("GET", path),
      first,
      second,
      await call("GET", `${path}?fieldSelector=metadata.name%3Db`),
      await call("GET", `${path}?limit=1`, undefined, { accept: METADATA }),
      await call("GET", path, undefined, { accept: METADATA }),
    ];
    const pods = `/api/v1/namespaces/${namespace}/pods`;
    await call("POST", "/api/v1/nodes", { metadata: { name: `${prefix}--n` } });
    await call("POST", pods, pod("bound", `${prefix}--n`));
    await call("POST", pods, pod("pending"));
    answers.push(await call("GET", `/api/v1/pods?fieldSelector=spec.nodeName%3D${prefix}--n`));
    answers.push(await call("GET", `/api/v1/pods?fieldSelector=spec.nodeName%3D${prefix}--n&limit=1`));
    for (const name of ["bound", "pending"]) await call("DELETE", `${pods}/${name}`, { gracePeriodSeconds: 0 });
    await call("DELETE", `/api/v1/nodes/${prefix}--n`);
    return [...answers.map(seen), { isOneVersion }];
  },
  async "a list at an exact version shows what was there then"({ namespace, call }) {
    const path = leasesOf(namespace);
    for (const name of ["a", "b"]) await call("POST", path, lease(name, "then"));
    const { body: { metadata: { resourceVersion } } } = await call("GET", `${path}?limit=1`, undefined, {
      accept: METADATA,
    });
    await call("PATCH", `${path}/a`, { spec: { holderIdentity: "now" } }, { type: MERGE });
    await call("DELETE", `${path}/b`);
    await call("POST", path, lease("c", "now"));
    const exact = `${path}?resourceVersion=${resourceVersion}&resourceVersionMatch=Exact`;
    const lists = [await call("GET", exact), await call("GET", path)];
    for (const name of ["a", "b", "c"]) {
      lists.push(await call("GET", `${exact}&limit=1&fieldSelector=metadata.name=${name}`));
    }
    return [lists.map(seen), lists.map(({ body }) => body.metadata.resourceVersion === resourceVersion)];
  },
  async "a watch shows what follows its version"({ namespace, call, watch }) {
    const path = leasesOf(namespace);
    await call("POST", path, lease("a", "x"));
    const { resourceVersion } = (await call("GET", path)).body.metadata;
    const lines = await watch(`${path}?watch=1&resourceVersion=${resourceVersion}&timeoutSeconds=20`);
    const now = (await call("GET", `${path}/a`)).body;
    await call("PUT", `${path}/a`, { ...now, spec: { holderIdentity: "y" } });
    await call("POST", path, lease("b", "x"));
    await call("DELETE", `${path}/a`);
    return (await lines(3)).map(line);
  },
  async "a watch by a field shows what comes and goes"({ namespace, prefix, call, watch }) {
    const pods = `/api/v1/namespaces/${namespace}/pods`;
    const { resourceVersion } = (await call("GET", pods)).body.metadata;
    await call("POST", "/api/v1/nodes", { metadata: { name: `${prefix}--n` } });
    const selector = `fieldSelector=spec.nodeName%3D${prefix}--n`;
    const query = `watch=1&resourceVersion=${resourceVersion}&timeoutSeconds=20&${selector}`;
    const lines = await watch(`/api/v1/pods?${query}`);
    await call("POST", pods, pod("a"));
    await call("POST", pods, pod("b", `${prefix}--n`));
    await call("DELETE", `${pods}/b`, { gracePeriodSeconds: 0 });
    await call("DELETE", `${pods}/a`, { gracePeriodSeconds: 0 });
    await call("DELETE", `/api/v1/nodes/${prefix}--n`);
    return (await lines(2)).map(line);
  },
  async "a watch sends the whole list first where it is asked to"({ namespace, call, watch }) {
    const path = leasesOf(namespace);
    for (const name of ["a", "b"]) await call("POST", path, lease(name, "x"));
    const query = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&timeoutSeconds=20";
    const lines = await watch(`${path}?${query}&allowWatchBookmarks=true`);
    const first = (await lines(3)).map(line);
    return first;
  },
  async "a watch list is refused where its parameters do not fit"({ namespace, call }) {
    const path = leasesOf(namespace);
    const answers = [
      await call("GET", `${path}?watch=1&sendInitialEvents=true&allowWatchBookmarks=true&timeoutSeconds=1`),
      await call("GET", `${path}?sendInitialEvents=true&resourceVersionMatch=NotOlderThan`),
    ];
    return answers.map(seen);
  },
  async "a version of the future is refused for a list"({ namespace, call }) {
    return seen(await call("GET", `${leasesOf(namespace)}?resourceVersion=999999999&limit=500`));
  },
  async "a version that is forgotten is refused"({ namespace, call, watch, compact, expire }) {
    // The real server answers for most kinds from what it remembers itself; claims are read from etcd.
    const path = `/api/v1/namespaces/${namespace}/persistentvolumeclaims`;
    const spec = { accessModes: ["ReadWriteOnce"], resources: { requests: { storage: "1Gi" } } };
    for (const name of ["a", "b"]) await call("POST", path, { metadata: { name }, spec });
    const first = await call("GET", `${path}?limit=1`);
    await compact();
    const token = encodeURIComponent(expire(first.body.metadata.continue));
    const lists = [
      await call("GET", `${path}?limit=1&continue=${token}`),
      await call("GET", `${path}?limit=1&resourceVersion=1&resourceVersionMatch=Exact`),
    ];
    // A watch tells it by a line.
    const lines = await watch(`${path}?watch=1&resourceVersion=1&timeoutSeconds=20`);
    return [
      lists.map(seen),
      (await lines(1)).map(({ type, object }) => ({ type, ...statusOf(object), code: object.code })),
    ];
  },
  async "an eviction on trial leaves the pod, and one of another version or UID is refused"(
    { namespace, prefix, call },
  ) {
    const pods = `/api/v1/namespaces/${namespace}/pods`;
    await call("POST", "/api/v1/nodes", { metadata: { name: `${prefix}--n` } });
    await call("POST", pods, pod("a", `${prefix}--n`));
    const { uid, resourceVersion } = (await call("GET", `${pods}/a`)).body.metadata;
    const evict = (deleteOptions: Json) =>
      call("POST", `${pods}/a/eviction`, {
        apiVersion: "policy/v1",
        kind: "Eviction",
        metadata: { name: "a", namespace },
        deleteOptions,
      });
    const answers = [
      await evict({ dryRun: ["All"], preconditions: { uid } }),
      await call("GET", `${pods}/a`),
      await evict({ preconditions: { uid, resourceVersion: "1" } }),
      await evict({ dryRun: ["All"], preconditions: { uid: "00000000-0000-4000-8000-000000000000" } }),
      await call("GET", `${pods}/a`),
      await evict({ preconditions: { uid, resourceVersion } }),
      await call("GET", `${pods}/a`),
    ];
    await call("DELETE", `${pods}/a`, { gracePeriodSeconds: 0 });
    await call("DELETE", `/api/v1/nodes/${prefix}--n`);
    return answers.map(seen);
  },
  async "a budget refuses an eviction on trial, too"(subject) {
    return await refusedByBudget(subject, { dryRun: ["All"] });
  },
  async "patches of what has changed or is not there are refused"({ namespace, prefix, call }) {
    const path = leasesOf(namespace);
    await call("POST", path, lease("a", "x"));
    const { uid, resourceVersion } = (await call("GET", `${path}/a`)).body.metadata;
    const patch = (to: string, metadata: Json) =>
      call("PATCH", to, { metadata, spec: { holderIdentity: "y" } }, { type: MERGE });
    const answers = [
      await patch(`${path}/a`, { uid, resourceVersion }),
      await patch(`${path}/a`, { uid, resourceVersion }),
      await patch(`${path}/b`, { uid, resourceVersion }),
      await call("PATCH", `/api/v1/nodes/${prefix}--none`, { spec: { unschedulable: true } }, { type: MERGE }),
    ];
    return answers.map(seen);
  },
  async "the status is a thing of its own where a kind has one"({ namespace, prefix, call }) {
    const node = `/api/v1/nodes/${prefix}--n`;
    await call("POST", "/api/v1/nodes", { metadata: { name: `${prefix}--n` }, spec: { podCIDR: "10.0.0.0/24" } });
    await call("POST", leasesOf(namespace), lease("a", "x"));
    const status = { nodeInfo: { machineID: "m", bootID: "b" } };
    const patched = await call("PATCH", `${node}/status`, { spec: { unschedulable: true }, status }, { type: MERGE });
    const answers = [
      await call("GET", `${leasesOf(namespace)}/a/status`),
      await call("GET", `/api/v1/nodes/${prefix}--none/status`),
      await call("PATCH", `/api/v1/nodes/${prefix}--none/status`, { status }, { type: MERGE }),
      await call("PATCH", `/api/v1/namespaces/${namespace}/pods/none/status`, { status: {} }, { type: MERGE }),
      await call("GET", `${node}/status`),
    ];
    await call("DELETE", node);
    return [answers.map(seen), patched.status, patched.body.status.nodeInfo.bootID, patched.body.spec?.unschedulable];
  },
  async "a foreground deletion waits for the garbage collector"({ namespace, prefix, call }) {
    const held = `${leasesOf(namespace)}/a`;
    const node = `/api/v1/nodes/${prefix}--n`;
    const foreground = { propagationPolicy: "Foreground" };
    await call("POST", leasesOf(namespace), lease("a", "x"));
    await call("POST", "/api/v1/nodes", { metadata: { name: `${prefix}--n` }, spec: { podCIDR: "10.0.0.0/24" } });
    const answers: Answer[] = [];
    for (const path of [held, node]) {
      answers.push(await call("DELETE", path, foreground), await call("GET", path));
      answers.push(await call("PATCH", path, { metadata: { finalizers: [] } }, { type: MERGE }));
      answers.push(await call("GET", path));
    }
    return answers.map(seen);
  },
  async "a call beyond what the server can do is refused in plain text, with the time to try again"({ overload }) {
    const { status, type, text, retryAfter } = await overload();
    // A real server asks for longer the longer it is overloaded.
    return { status, type, text, isInSeconds: /^[1-9]\d*$/.test(retryAfter ?? "") };
  },
  async "our own permissions can be asked for"({ call }) {
    const resourceAttributes = { verb: "list", group: "", resource: "nodes" };
    const answer = await call("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", {
      apiVersion: "authorization.k8s.io/v1",
      kind: "SelfSubjectAccessReview",
      spec: { resourceAttributes },
    });
    return { status: answer.status, kind: answer.body.kind, allowed: answer.body.status.allowed };
  },
};
