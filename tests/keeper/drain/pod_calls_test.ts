/**
 * The calls of a drain: what exactly is sent, what each expected answer becomes, and which faults get through. Which
 * permissions they need is in tests/keeper/permissions_test.ts.
 *
 * @module
 */

import { deepEqual, equal } from "node:assert/strict";
import { PodCalls } from "../../../src/keeper/drain/pod_calls.ts";
import { type PodView, viewPod } from "../../../src/keeper/drain/pods.ts";
import { pod } from "../../support/cluster_objects.ts";
import { fakeApiServer, json, status } from "../../support/fake_api_server.ts";
import { checkRefusal, checkSignal } from "../../support/node_call_checks.ts";

const POD: PodView = { ...viewPod(pod({ name: "web", namespace: "shop" })), uid: "u1" };
const CLAIM = { namespace: "shop", name: "data" };
const PODS_OF_N = "/api/v1/pods?fieldSelector=spec.nodeName%3Dn";
const ATTACHMENTS = "/apis/storage.k8s.io/v1/volumeattachments";
const EVICTION = "POST /api/v1/namespaces/shop/pods/web/eviction";

const listOf = (kind: string, apiVersion: string, ...items: unknown[]) =>
  json({ kind, apiVersion, metadata: { resourceVersion: "7" }, items });
/** A pod as the API server answers it. */
const stored = (name: string, namespace: string) => {
  const object = pod({ name, namespace });
  return { ...object, metadata: { ...object.metadata, resourceVersion: "3" } };
};
const attachment = (name: string, nodeName: string, volume?: string) => ({
  metadata: { name, resourceVersion: "3" },
  spec: { attacher: "csi", nodeName, source: { persistentVolumeName: volume } },
  status: { attached: true },
});
const claim = (volumeName?: string) =>
  json({
    apiVersion: "v1",
    kind: "PersistentVolumeClaim",
    metadata: { ...CLAIM, resourceVersion: "3" },
    spec: { volumeName },
  });
const eviction = (dryRun?: string[]) => ({
  apiVersion: "policy/v1",
  kind: "Eviction",
  metadata: { name: "web", namespace: "shop" },
  deleteOptions: { preconditions: { uid: "u1" }, ...(dryRun && { dryRun }) },
});
const notFound = () => status(404, { reason: "NotFound", message: "not found" });

/** Each call with its request, its body, an answer, and what becomes of that. */
const CALLS: [
  what: string,
  call: (calls: PodCalls, signal?: AbortSignal) => Promise<unknown>,
  request: string,
  body: unknown,
  answer: () => Response,
  expected: unknown,
][] = [
  [
    "the pods of a node",
    async (calls, signal) => (await calls.listPods("n", signal)).map(({ name, namespace }) => `${namespace}/${name}`),
    `GET ${PODS_OF_N}`,
    undefined,
    () => listOf("PodList", "v1", stored("a", "x"), stored("b", "y")),
    ["x/a", "y/b"],
  ],
  [
    "an eviction",
    (calls, signal) => calls.evict(POD, signal),
    EVICTION,
    eviction(),
    () => status(201, { status: "Success" }),
    { kind: "accepted" },
  ],
  ["an eviction of a pod that is gone", (calls) => calls.evict(POD), EVICTION, eviction(), notFound, { kind: "gone" }],
  [
    "an eviction of a later pod of the name",
    (calls) => calls.evict(POD),
    EVICTION,
    eviction(),
    () => status(409, { reason: "Conflict", message: "the UID in the precondition (u1) does not match" }),
    { kind: "replaced" },
  ],
  [
    "a trial of an eviction, which has no effect",
    (calls, signal) => calls.tryEviction(POD, signal),
    EVICTION,
    eviction(["All"]),
    () => status(201, { status: "Success" }),
    { kind: "accepted" },
  ],
  [
    "a deletion",
    (calls, signal) => calls.deletePod(POD, signal),
    "DELETE /api/v1/namespaces/shop/pods/web",
    { preconditions: { uid: "u1" } },
    () => json(stored("web", "shop")),
    { kind: "accepted" },
  ],
  [
    "a deletion of a pod that is gone",
    (calls) => calls.deletePod(POD),
    "DELETE /api/v1/namespaces/shop/pods/web",
    { preconditions: { uid: "u1" } },
    notFound,
    { kind: "gone" },
  ],
  [
    "the volumes that are attached to a node, not those of others",
    (calls, signal) => calls.listAttachments("n", signal),
    `GET ${ATTACHMENTS}`,
    undefined,
    () =>
      listOf(
        "VolumeAttachmentList",
        "storage.k8s.io/v1",
        attachment("1", "n", "pv"),
        attachment("2", "m", "pv"),
        attachment("3", "n"),
      ),
    [{ name: "1", volume: "pv" }, { name: "3", volume: undefined }],
  ],
  [
    "an attachment that exists",
    (calls, signal) => calls.hasAttachment("1", signal),
    `GET ${ATTACHMENTS}/1`,
    undefined,
    () => json({ apiVersion: "storage.k8s.io/v1", kind: "VolumeAttachment", ...attachment("1", "n", "pv") }),
    true,
  ],
  [
    "an attachment that is gone",
    (calls) => calls.hasAttachment("1"),
    `GET ${ATTACHMENTS}/1`,
    undefined,
    notFound,
    false,
  ],
  [
    "the volume of a claim",
    (calls, signal) => calls.volumeOf(CLAIM, signal),
    "GET /api/v1/namespaces/shop/persistentvolumeclaims/data",
    undefined,
    () => claim("pv"),
    "pv",
  ],
  [
    "the volume of a claim that has none yet",
    (calls) => calls.volumeOf(CLAIM),
    "GET /api/v1/namespaces/shop/persistentvolumeclaims/data",
    undefined,
    () => claim(),
    undefined,
  ],
  [
    "the volume of a claim that is gone",
    (calls) => calls.volumeOf(CLAIM),
    "GET /api/v1/namespaces/shop/persistentvolumeclaims/data",
    undefined,
    notFound,
    undefined,
  ],
];

for (const [what, call, request, body, answer, expected] of CALLS) {
  Deno.test(`a call about the pods of a node: ${what}`, async () => {
    const bodies: unknown[] = [];
    await using fake = await fakeApiServer(async (request) => {
      const text = await request.text();
      bodies.push(text === "" ? undefined : JSON.parse(text));
      return answer();
    });
    deepEqual(await call(new PodCalls(fake.client)), expected);
    deepEqual([fake.requests, bodies], [[request], [body]]);
  });
}

for (const method of ["evict", "deletePod"] as const) {
  Deno.test(`${method} does nothing where the pod is no longer to be evicted when its turn comes`, async () => {
    await using fake = await fakeApiServer(() => status(201, { status: "Success" }));
    const answer = await new PodCalls(fake.client)[method](POD, undefined, () => false);
    deepEqual(answer, { kind: "failed", reason: "its eviction has not begun" });
    deepEqual(fake.requests, []);
  });
}

/** The first row of each method, which passes its signal. */
const METHODS = ["listPods", "evict", "tryEviction", "deletePod", "listAttachments", "hasAttachment", "volumeOf"];
const callOf = (method: string) => CALLS.find(([, call]) => call.toString().includes(`.${method}(`))![1];

for (const method of METHODS) {
  Deno.test(`a signal ends ${method} with its reason, and it does not begin after that`, () =>
    checkSignal((client, signal) => callOf(method)(new PodCalls(client), signal)));
}

for (const method of ["listPods", "listAttachments", "hasAttachment", "volumeOf"]) {
  Deno.test(`a refusal of ${method} that nobody expects is a fault that says what was refused`, () =>
    checkRefusal((client) => callOf(method)(new PodCalls(client))));
}

Deno.test("the pods of one node are listed and watched by its name, as views", async () => {
  await using fake = await fakeApiServer((request) => {
    const asksForAll = new URL(request.url).searchParams.has("sendInitialEvents");
    const object = { apiVersion: "v1", kind: "Pod", ...pod({ name: "a", namespace: "x", node: "n" }) };
    object.metadata.resourceVersion = "3";
    const annotations = { "k8s.io/initial-events-end": "true" };
    const lines = asksForAll
      ? [{ type: "ADDED", object }, {
        type: "BOOKMARK",
        object: { apiVersion: "v1", kind: "Pod", metadata: { resourceVersion: "7", annotations } },
      }]
      : [];
    return new Response(
      new ReadableStream({
        start(controller) {
          for (const line of lines) controller.enqueue(new TextEncoder().encode(`${JSON.stringify(line)}\n`));
        },
      }),
    );
  });
  const stop = new AbortController();
  const told: unknown[] = [];
  const ended = new PodCalls(fake.client).watchPods("n", {
    synced(pods, version) {
      told.push(version, ...pods.map(({ name, toleratesCordon }) => [name, toleratesCordon]));
      stop.abort();
    },
    changed: () => {},
    lost: (error) => told.push(error),
  }, stop.signal);
  await ended;
  deepEqual(told, ["7", ["a", false]]);
  equal(new URL(fake.requests[0]!.slice(4), "http://x").pathname, "/api/v1/pods");
  equal(new URL(fake.requests[0]!.slice(4), "http://x").searchParams.get("fieldSelector"), "spec.nodeName=n");
});
