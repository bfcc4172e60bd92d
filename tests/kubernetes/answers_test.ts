/** Every answer of an API server, or of what stands before it, to every call. @module */

import { deepEqual, equal, match, ok } from "node:assert/strict";
import { callOptions, MERGE_PATCH, valueOfStatus } from "../../src/kubernetes/calls.ts";
import type { KubernetesClient } from "../../src/kubernetes/client.ts";
import { ForbiddenError, KubernetesError } from "../../src/kubernetes/errors.ts";
import { watchResource } from "../../src/kubernetes/watch.ts";
import { CallRefusedError, UnavailableError } from "../../src/lock/errors.ts";
import { fakeApiServer, json, status } from "../support/fake_api_server.ts";

const LEASE = { apiVersion: "coordination.k8s.io/v1", kind: "Lease" };
const NODE = { apiVersion: "v1", kind: "Node" };
const POD = { apiVersion: "v1", kind: "Pod" };
const meta = (fields: Record<string, unknown> = {}) => ({ name: "a", resourceVersion: "7", ...fields });
const inNs = (fields: Record<string, unknown> = {}) => meta({ namespace: "ns", ...fields });
const asIs = (object: unknown) => object;
const listOf = (of: { apiVersion: string; kind: string }, fields: Record<string, unknown> = {}) => ({
  ...of,
  kind: `${of.kind}List`,
  metadata: { resourceVersion: "7" },
  items: [{ metadata: inNs() }],
  ...fields,
});
const SUCCESS = { apiVersion: "v1", kind: "Status", status: "Success" };

/** A call, the answer that it expects, and JSON that it must not take for that. */
interface Row {
  readonly call: (client: KubernetesClient) => Promise<unknown>;
  readonly expected: unknown;
  readonly others: unknown[];
}

const expectLease = {
  expected: { ...LEASE, metadata: inNs() },
  others: [
    { ...LEASE, metadata: inNs({ name: "b" }) },
    { ...LEASE, metadata: inNs({ namespace: "other" }) },
    { ...LEASE, metadata: inNs({ resourceVersion: undefined }) },
    { ...LEASE, apiVersion: "coordination.k8s.io/v1beta1", metadata: inNs() },
    { ...POD, metadata: inNs() },
    { metadata: inNs() },
    { ...LEASE },
    SUCCESS,
  ],
};
const lease = { namespace: "ns", name: "a", body: { metadata: { name: "a" } } };

const CALLS: Record<string, Row> = {
  read: { call: ({ apis }) => apis.coordination.readNamespacedLease(lease), ...expectLease },
  create: { call: ({ apis }) => apis.coordination.createNamespacedLease(lease), ...expectLease },
  replace: { call: ({ apis }) => apis.coordination.replaceNamespacedLease(lease), ...expectLease },
  patch: {
    call: ({ apis }) => apis.core.patchNode({ name: "a", body: {} }, callOptions(undefined, MERGE_PATCH)),
    expected: { ...NODE, metadata: meta() },
    others: [{ ...NODE, metadata: meta({ name: "b" }) }, { ...POD, metadata: meta() }, listOf(NODE)],
  },
  list: {
    call: ({ apis }) => apis.core.listPodForAllNamespaces(),
    expected: listOf(POD),
    others: [
      listOf(NODE),
      { ...listOf(POD), kind: "Pod" },
      listOf(POD, { items: undefined }),
      listOf(POD, { items: null }),
      listOf(POD, { items: [null] }),
      listOf(POD, { items: [{ metadata: { name: "a" } }] }),
      listOf(POD, { metadata: {} }),
      listOf(POD, { metadata: { resourceVersion: "7", continue: "more" } }),
      { ...POD, metadata: inNs() },
    ],
  },
  delete: {
    call: ({ apis }) => apis.core.deleteNamespacedPod({ namespace: "ns", name: "a" }),
    expected: { ...POD, metadata: inNs() },
    others: [{ ...POD, metadata: inNs({ name: "b" }) }, { ...SUCCESS, status: "Failure" }],
  },
  eviction: {
    call: ({ apis }) => apis.core.createNamespacedPodEviction({ namespace: "ns", name: "a", body: {} }),
    expected: SUCCESS,
    others: [{ ...SUCCESS, status: "Failure" }, { ...POD, metadata: inNs() }],
  },
  review: {
    call: ({ apis }) => apis.authorization.createSelfSubjectAccessReview({ body: { spec: {} } }),
    expected: { apiVersion: "authorization.k8s.io/v1", kind: "SelfSubjectAccessReview", status: { allowed: true } },
    others: [
      { apiVersion: "authorization.k8s.io/v1", kind: "SelfSubjectAccessReview", status: {} },
      { apiVersion: "v1", kind: "SelfSubjectAccessReview", status: { allowed: true } },
    ],
  },
  watch: {
    call: async (real) => {
      const stop = new AbortController();
      let failure: unknown;
      // Only the pages are answers of this table. The lines of a watch are below.
      const stream = () => Promise.reject(new KubernetesError("not enabled", 422, "Invalid"));
      const client = { ...real, stream };
      await watchResource(client, { path: "/api/v1/nodes", view: asIs }, {
        synced: () => stop.abort(),
        changed: () => {},
        lost(error) {
          failure = error;
          stop.abort();
        },
      }, stop.signal);
      if (failure !== undefined) throw failure;
    },
    expected: listOf(NODE),
    others: [listOf(POD), { ...NODE, metadata: meta() }, listOf(NODE, { items: [{}] })],
  },
};

const page = (code: number, type: string, text = "default backend - 404") => () =>
  new Response(code === 204 ? null : text, { status: code, headers: { "content-type": type } });

/** Answers that are not the API server's, or with which it does not serve. */
const NOT_BELIEVED: Record<string, () => Response> = {
  ...Object.fromEntries(
    [200, 204, 302, 400, 403, 404, 405, 409, 410, 422, 429, 500, 502, 503, 504].flatMap((code) => [
      [`${code} with text`, page(code, "text/plain")],
      [`${code} with HTML`, page(code, "text/html", "<html><h1>Not Found</h1></html>")],
      [`${code} with text that claims to be JSON`, page(code, "application/json")],
      [
        `${code} with JSON that is not a Status`,
        code === 204 ? page(204, "x/y") : () => json({ reason: "NotFound" }, code),
      ],
      [`${code} with JSON null`, code === 204 ? page(204, "x/y") : () => json(null, code)],
    ]),
  ),
  "404 with a Status of another version": () => json({ kind: "Status", apiVersion: "v2", reason: "NotFound" }, 404),
  "404 with a Status of another reason": () => status(404, { reason: "" }),
  "500 with a Status": () => status(500, { message: "etcd" }),
  "503 with a Status": () => status(503, {}),
  "429 with a Status": () => status(429, {}),
  "401 with a Status": () => status(401, {}),
};

/** Refusals that callers handle, or tell in the API server's own words. */
const REFUSALS: Record<number, string> = {
  400: "BadRequest",
  403: "Forbidden",
  404: "NotFound",
  405: "MethodNotAllowed",
  409: "Conflict",
  410: "Expired",
  413: "RequestEntityTooLarge",
  422: "Invalid",
};

/** Makes a call and returns what it throws, if anything. */
async function errorOf(call: Promise<unknown>): Promise<unknown> {
  try {
    await call;
    return undefined;
  } catch (error) {
    return error;
  }
}

for (const [name, { call, expected, others }] of Object.entries(CALLS)) {
  Deno.test(`${name}: what was asked for is believed, and everything else is a fault`, async () => {
    let answer = () => json(expected);
    await using fake = await fakeApiServer(() => answer());
    equal(await errorOf(call(fake.client)), undefined);
    for (const other of others) {
      answer = () => json(other);
      const error = await errorOf(call(fake.client));
      ok(error instanceof UnavailableError, `${JSON.stringify(other)}: ${error}`);
      match(error.message, /is the address that of the API server/);
    }
    for (const [what, make] of Object.entries(NOT_BELIEVED)) {
      answer = make;
      const error = await errorOf(call(fake.client));
      ok(error instanceof UnavailableError, `${what}: ${error}`);
      ok(!(error instanceof CallRefusedError), what);
      ok(!/default backend|html/.test(error.message), "the page is not repeated");
    }
  });

  Deno.test(`${name}: a refusal is a value for who expects it, and else told in the API server's words`, async () => {
    let answer = () => status(404, { reason: "NotFound" });
    await using fake = await fakeApiServer(() => answer());
    for (const [code, reason] of Object.entries(REFUSALS)) {
      answer = () =>
        status(Number(code), { reason, message: `admission webhook "w" denied it:\n\x1b[31m\u202e${code}` });
      const raw = await errorOf(call(fake.client));
      ok(raw instanceof KubernetesError && raw.status === Number(code) && raw.reason === reason, `${code}: ${raw}`);
      equal(await valueOfStatus(call(fake.client), { [code]: "value" }, { subject: "it" }), "value");
      const error = await errorOf(valueOfStatus(call(fake.client), {}, { subject: "it" }));
      ok(error instanceof CallRefusedError);
      equal(error.publicMessage, `admission webhook "w" denied it: [31m ${code}`);
    }
  });
}

Deno.test("the API server's sentence is at most 500 characters long", async () => {
  await using fake = await fakeApiServer(() => status(422, { reason: "Invalid", message: "x".repeat(10_000) }));
  const error = await errorOf(valueOfStatus(CALLS.read!.call(fake.client), {}, { subject: "it" }));
  ok(error instanceof CallRefusedError);
  equal(error.publicMessage?.length, 500);
});

const CAUSES: [string[], number][] = [
  [["metadata.uid"], 409],
  [["metadata.resourceVersion"], 409],
  [["metadata.uid", "metadata.resourceVersion"], 409],
  [["spec.unschedulable"], 422],
  [["metadata.uid", "spec.unschedulable"], 422],
  [[], 422],
];
for (const [fields, expected] of CAUSES) {
  Deno.test(`a 422 about ${fields.join(" and ") || "nothing"} counts as ${expected}`, async () => {
    const causes = fields.map((field) => ({ field, reason: "FieldValueInvalid" }));
    await using fake = await fakeApiServer(() => status(422, { reason: "Invalid", details: { causes } }));
    const error = await errorOf(CALLS.patch!.call(fake.client));
    ok(error instanceof KubernetesError);
    equal(error.status, expected);
  });
}

const ROLES: [string, string][] = [
  ['create resource "leases" in API group "coordination.k8s.io" in the namespace "ops"', 'the Role of namespace "ops"'],
  [
    'create resource "events" in API group "events.k8s.io" in the namespace "default"',
    'the Role of namespace "default"',
  ],
  ['get resource "pods/proxy" in API group "" in the namespace "ops"', 'the Role of namespace "ops"'],
  ['list resource "services" in API group "" in the namespace "ops"', 'the Role of namespace "ops"'],
  ['get resource "leases" in API group "coordination.k8s.io" in the namespace "kube-node-lease"', "the ClusterRole"],
  ['create resource "pods/eviction" in API group "" in the namespace "web"', "the ClusterRole"],
  ['delete resource "pods" in API group "" in the namespace "web"', "the ClusterRole"],
  ['get resource "persistentvolumeclaims" in API group "" in the namespace "web"', "the ClusterRole"],
  ['list resource "volumeattachments" in API group "storage.k8s.io" at the cluster scope', "the ClusterRole"],
  ['patch resource "nodes" in API group "" at the cluster scope', "the ClusterRole"],
];
for (const [what, role] of ROLES) {
  Deno.test(`whoever cannot ${what} is told to grant it in ${role}`, async () => {
    await using fake = await fakeApiServer(() =>
      status(403, { reason: "Forbidden", message: `User "u" cannot ${what}` })
    );
    const error = await errorOf(valueOfStatus(CALLS.read!.call(fake.client), { 403: "value" }, { subject: "it" }));
    ok(error instanceof ForbiddenError);
    ok(error.message.includes(`grant it in ${role} (`), error.message);
  });
}

const node = (fields: Record<string, unknown> = {}) => ({
  ...NODE,
  metadata: meta({ resourceVersion: "8", ...fields }),
});
const LINES: [string, unknown][] = [
  ["an object without a name", { type: "ADDED", object: node({ name: undefined }) }],
  ["an object without a version", { type: "MODIFIED", object: node({ resourceVersion: undefined }) }],
  ["an object of another kind", { type: "DELETED", object: { ...node(), kind: "Pod" } }],
  ["an object without a kind", { type: "ADDED", object: { metadata: meta() } }],
  ["no object", { type: "ADDED" }],
  ["a bookmark without a version", { type: "BOOKMARK", object: { metadata: {} } }],
  ["an unknown type", { type: "MOVED", object: node() }],
  ["no type", node()],
  ["null", null],
  ["an error that is not a Status", { type: "ERROR", object: { code: 410 } }],
];
const INITIAL_END = {
  type: "BOOKMARK",
  object: { metadata: { resourceVersion: "7", annotations: { "k8s.io/initial-events-end": "true" } } },
};
for (const [name, line] of LINES) {
  for (
    const [when, before, expected] of [["initial", [], ["lost"]], ["later", [INITIAL_END], ["synced", "lost"]]] as const
  ) {
    Deno.test(`a line of a watch with ${name} among its ${when} events breaks the watch`, async () => {
      const text = [...before, line].map((one) => `${JSON.stringify(one)}\n`).join("");
      await using fake = await fakeApiServer(() => new Response(text));
      const stop = new AbortController();
      const told: unknown[] = [];
      await watchResource(fake.client, { path: "/api/v1/nodes", view: asIs }, {
        synced: () => told.push("synced"),
        changed: () => told.push("changed"),
        lost(error) {
          told.push(error instanceof UnavailableError ? "lost" : error);
          match(String(error), /not (a Node|the API server's)|failed/);
          stop.abort();
        },
      }, stop.signal);
      deepEqual(told, expected);
    });
  }
}

Deno.test("the client's clock follows the answers of the API server, and not those of a proxy", async () => {
  const date = new Date(Date.now() - 3_600_000).toUTCString();
  let answer = () => new Response("<html>", { headers: { date, "content-type": "text/html" } });
  await using fake = await fakeApiServer(() => answer());
  await fake.client.get("/x");
  equal(fake.client.clock.skewMs, undefined);
  const answers = [json({}, 200, { date }), status(404, {}, { date }), status(500, {}, { date })];
  for (const one of answers) {
    await using each = await fakeApiServer(() => one.clone());
    await errorOf(each.client.get("/x"));
    ok(Math.abs(each.client.clock.skewMs! - 3_600_000) < 2_000, `${one.status}`);
    ok(each.client.clock.isFresh(60_000));
  }
  answer = () => new Response("", { headers: { date, "content-type": "application/json;stream=watch" } });
  await (await fake.client.stream("/x"))[Symbol.asyncDispose]();
  ok(fake.client.clock.skewMs! > 3_500_000);
});
