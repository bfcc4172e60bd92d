/**
 * The calls about Nodes: what exactly is sent, what each expected answer becomes, and which faults get through. How a
 * cordon is lifted is in node_uncordon_test.ts, and which permissions they need in tests/keeper/permissions_test.ts.
 *
 * @module
 */

import { deepEqual, equal } from "node:assert/strict";
import type { V1Node } from "@kubernetes/client-node/dist/gen/models/V1Node.js";
import { NodeCalls } from "../../../src/keeper/nodes/node_calls.ts";
import { type NodeView, viewNode } from "../../../src/keeper/nodes/node.ts";
import { fakeApiServer, json, status } from "../../support/fake_api_server.ts";
import { binaryList, wantsBinaryList } from "../../support/metadata_list.ts";
import { checkRefusal, checkSignal } from "../../support/node_call_checks.ts";

const NODES = "/api/v1/nodes";
const CORDON = "fleetlock.internal/cordoned-for";
const SKIP = "fleetlock.internal/skip";

const node = (name: string, resourceVersion = "3") => ({
  apiVersion: "v1",
  kind: "Node",
  metadata: { name, uid: `uid of ${name}`, resourceVersion, labels: { zone: "1" } },
});
const page = (names: string[], next?: string) =>
  json({
    apiVersion: "v1",
    kind: "NodeList",
    metadata: { resourceVersion: "7", continue: next },
    items: names.map((name) => node(name)),
  });
const metadataPage = (names: string[], next?: string) =>
  binaryList({
    apiVersion: "meta.k8s.io/v1",
    kind: "PartialObjectMetadataList",
    metadata: { resourceVersion: "7", continue: next },
    items: names.map((name) => ({ metadata: node(name).metadata })),
  });
const lease = (renewTime?: string) =>
  json({
    apiVersion: "coordination.k8s.io/v1",
    kind: "Lease",
    metadata: { name: "a", namespace: "kube-node-lease", resourceVersion: "3" },
    spec: { renewTime },
  });
const bareLease = () =>
  json({
    apiVersion: "coordination.k8s.io/v1",
    kind: "Lease",
    metadata: { name: "a", namespace: "kube-node-lease", resourceVersion: "3" },
  });
const code = (code: number) => status(code, { reason: code === 404 ? "NotFound" : "Expired", message: "no" });
const versionOf = (name: string) => ({ name, uid: `uid of ${name}`, resourceVersion: "3" });
const namesOf = (views: readonly { readonly name: string }[]) => views.map(({ name }) => name);

const SEEN: NodeView = viewNode({ metadata: node("a", "2").metadata });
const PATCHED = "PATCH /api/v1/nodes/a?fieldManager=fleetlock objects";
const LEASE = "GET /apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/a objects";
const AT = "GET /api/v1/nodes?fieldSelector=metadata.name%3Da&resourceVersion=5&resourceVersionMatch=Exact&limit=1";

/** The body of a patch, which must not take effect on a Node that has changed since it was seen. */
const patchOf = (annotations?: Record<string, string | null>, unschedulable?: true | null) => ({
  metadata: { uid: "uid of a", resourceVersion: "2", ...(annotations && { annotations }) },
  ...(unschedulable !== undefined && { spec: { unschedulable } }),
});

/**
 * Each call with its requests (and whether they ask for whole objects), the answers to them, and what becomes of these.
 */
const CALLS: [
  what: string,
  call: (calls: NodeCalls, signal?: AbortSignal) => Promise<unknown>,
  requests: string[],
  answers: (() => Response)[],
  expected: unknown,
][] = [
  [
    "one Node",
    async (calls, signal) => (await calls.getNode("a", signal))?.uid,
    [`GET ${NODES}/a objects`],
    [() => json(node("a"))],
    "uid of a",
  ],
  [
    "a Node that does not exist",
    (calls) => calls.getNode("a"),
    [`GET ${NODES}/a objects`],
    [() => code(404)],
    undefined,
  ],
  [
    "those of all Nodes that are chosen, page after page",
    async (calls, signal) => namesOf(await calls.listNodes(({ name }) => name !== "b", signal)),
    [`GET ${NODES}?limit=50 objects`, `GET ${NODES}?limit=50&continue=more objects`],
    [() => page(["a", "b"], "more"), () => page(["c"])],
    ["a", "c"],
  ],
  [
    "which Nodes there are, from their metadata alone, page after page",
    (calls, signal) => calls.listVersions(signal),
    [`GET ${NODES}?limit=500 metadata`, `GET ${NODES}?limit=500&continue=more metadata`],
    [() => metadataPage(["a"], "more"), () => metadataPage(["b"])],
    { items: [versionOf("a"), versionOf("b")], version: "7" },
  ],
  [
    "the version of the Nodes, from one page of one Node's metadata",
    (calls, signal) => calls.currentVersion(signal),
    [`GET ${NODES}?limit=1 metadata`],
    [() => metadataPage(["a"], "more")],
    "7",
  ],
  [
    "a Node at a version",
    async (calls, signal) => (await calls.nodeAt("a", "5", signal))?.uid,
    [`${AT} objects`],
    [() => page(["a"])],
    "uid of a",
  ],
  ["a Node that did not exist at a version", (calls) => calls.nodeAt("a", "5"), [`${AT} objects`], [
    () => page([]),
  ], undefined],
  ["another Node than the one that was asked for", (calls) => calls.nodeAt("a", "5"), [`${AT} objects`], [
    () => page(["b"]),
  ], undefined],
  ["a Node at a version that is forgotten", (calls) => calls.nodeAt("a", "5"), [`${AT} objects`], [
    () => code(410),
  ], undefined],
  [
    "when a kubelet renewed its Lease",
    (calls, signal) => calls.kubeletRenewal("a", signal),
    [LEASE],
    [() => lease("2026-01-01T00:00:01.500000Z")],
    Date.UTC(2026, 0, 1, 0, 0, 1, 500),
  ],
  ["a Lease that was never renewed", (calls) => calls.kubeletRenewal("a"), [LEASE], [() => lease()], undefined],
  ["a Lease without a spec", (calls) => calls.kubeletRenewal("a"), [LEASE], [bareLease], undefined],
  ["a kubelet without a Lease", (calls) => calls.kubeletRenewal("a"), [LEASE], [() => code(404)], undefined],
];

/** Makes a fake that gives these answers in turn, and notes the requests and whether they ask for whole objects. */
async function answering(answers: readonly (() => Response)[]) {
  const asked: string[] = [];
  const bodies: unknown[] = [];
  const fake = await fakeApiServer(async (request, count) => {
    const { pathname, search } = new URL(request.url);
    const accept = request.headers.get("accept");
    asked.push(`${request.method} ${pathname}${search} ${wantsBinaryList(accept) ? "metadata" : "objects"}`);
    const text = await request.text();
    if (text !== "") bodies.push(request.headers.get("content-type"), JSON.parse(text));
    return answers[count - 1]?.() ?? code(500);
  });
  return { fake, asked, bodies };
}

for (const [what, call, requests, answers, expected] of CALLS) {
  Deno.test(`a call about Nodes: ${what}`, async () => {
    const { fake, asked } = await answering(answers);
    await using _ = fake;
    deepEqual(await call(new NodeCalls(fake.client)), expected);
    deepEqual(asked, requests);
  });
}

for (
  const [what, patch, body] of [
    ["cordons", { unschedulable: true, cordon: "x" }, patchOf({ [CORDON]: "x" }, true)],
    ["changes the annotation of a cordon alone", { cordon: "x" }, patchOf({ [CORDON]: "x" })],
    ["removes a skip alone", { skip: null }, patchOf({ [SKIP]: null })],
    ["changes nothing", {}, patchOf()],
  ] as const
) {
  Deno.test(`a patch of a Node as it was seen: ${what}`, async () => {
    const { fake, asked, bodies } = await answering([() => json(node("a", "9"))]);
    await using _ = fake;
    const changed = await new NodeCalls(fake.client).patchNode(SEEN, patch);
    equal((changed as NodeView).resourceVersion, "9");
    deepEqual([asked, bodies], [[PATCHED], ["application/merge-patch+json", body]]);
  });
}

for (const [answer, expected] of [[404, "gone"], [409, "conflict"]] as const) {
  Deno.test(`a patch that is answered with ${answer} is a value: ${expected}`, async () => {
    const { fake } = await answering([() => code(answer)]);
    await using _ = fake;
    equal(await new NodeCalls(fake.client).patchNode(SEEN, { skip: null }), expected);
  });
}

Deno.test("a Node's labels are kept where they are asked for, by every call", async () => {
  for (const keepsLabels of [true, false]) {
    const { fake } = await answering([
      () => json(node("a")),
      () => page(["a"]),
      () => page(["a"]),
      () => json(node("a")),
    ]);
    await using _ = fake;
    const calls = new NodeCalls(fake.client, keepsLabels);
    const labels = keepsLabels ? { zone: "1" } : undefined;
    deepEqual((await calls.getNode("a"))?.labels, labels);
    deepEqual((await calls.listNodes(() => true))[0]?.labels, labels);
    deepEqual((await calls.nodeAt("a", "5"))?.labels, labels);
    deepEqual((await calls.patchNode(SEEN, { skip: null }) as NodeView).labels, labels);
  }
});

/** The first row of each method, which passes its signal. */
const METHODS = ["getNode", "listNodes", "listVersions", "currentVersion", "nodeAt", "kubeletRenewal"];
const callOf = (method: string): (calls: NodeCalls, signal?: AbortSignal) => Promise<unknown> =>
  method === "patchNode"
    ? (calls, signal) => calls.patchNode(SEEN, { skip: null }, signal)
    : CALLS.find(([, call]) => call.toString().includes(`.${method}(`))![1];

for (const method of [...METHODS, "patchNode"]) {
  Deno.test(`a signal ends ${method} with its reason, and it does not begin after that`, () =>
    checkSignal((client, signal) => callOf(method)(new NodeCalls(client), signal)));

  Deno.test(`a refusal of ${method} that nobody expects is a fault that says what was refused`, () =>
    checkRefusal((client) => callOf(method)(new NodeCalls(client))));
}

Deno.test("all Nodes are watched, and what is known of one saves the work of deriving its id again", async () => {
  const machineID = "1c09ca98649c4c7abc779cd04c96812e";
  const object = { ...node("a"), status: { nodeInfo: { machineID } } };
  await using fake = await fakeApiServer((request) => {
    const annotations = { "k8s.io/initial-events-end": "true" };
    const end = { apiVersion: "v1", kind: "Node", metadata: { resourceVersion: "7", annotations } };
    const isFirst = new URL(request.url).searchParams.has("sendInitialEvents");
    const lines = isFirst ? [{ type: "ADDED", object }, { type: "BOOKMARK", object: end }] : [];
    return new Response(
      new ReadableStream({
        start(controller) {
          for (const line of lines) controller.enqueue(new TextEncoder().encode(`${JSON.stringify(line)}\n`));
        },
      }),
    );
  });
  const told: unknown[] = [];
  for (const derivedId of [undefined, "known"]) {
    const stop = new AbortController();
    const seen = new Map([["a", { ...viewNode(object as unknown as V1Node), derivedId }]]);
    await new NodeCalls(fake.client).watchNodes(
      {
        synced(nodes) {
          told.push(nodes.map((one) => one.derivedId));
          stop.abort();
        },
        changed: () => {},
        lost: (error) => told.push(error),
      },
      stop.signal,
      derivedId === undefined ? new Map() : seen,
    );
  }
  deepEqual(told, [["978a225b3d7b40e9acd7ce9b62f68444"], ["known"]]);
  equal(new URL(fake.requests[0]!.slice(4), "http://x").pathname, NODES);
});
