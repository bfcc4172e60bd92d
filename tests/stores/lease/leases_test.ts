/**
 * The calls about Leases: what is asked of the API server, and what each of its expected answers is taken for. How the
 * store uses them is in store_test.ts and being_deleted_test.ts.
 *
 * @module
 */

import { deepEqual, equal, rejects } from "node:assert/strict";
import { UnavailableError } from "../../../src/lock/errors.ts";
import { Leases, requiredPermissions, watchPermissions } from "../../../src/stores/lease/leases.ts";
import { fakeApiServer, json, status } from "../../support/fake_api_server.ts";

const LEASE = {
  apiVersion: "coordination.k8s.io/v1",
  kind: "Lease",
  metadata: { name: "fleetlock-default", namespace: "default", resourceVersion: "7", uid: "u" },
  spec: { holderIdentity: "a" },
};
const LIST = { apiVersion: "coordination.k8s.io/v1", kind: "LeaseList", items: [LEASE] };
const NAME = "fleetlock-default";
const PATH = "/apis/coordination.k8s.io/v1/namespaces/default/leases";

const notFound = () =>
  status(404, { reason: "NotFound", message: "not found", details: { name: NAME, kind: "leases" } });

Deno.test("Leases: the permissions are those of the calls, in the one namespace", () => {
  const permission = (verb: string) => ({ verb, group: "coordination.k8s.io", resource: "leases", namespace: "ns" });
  deepEqual(requiredPermissions("ns"), ["get", "create", "update"].map(permission));
  deepEqual(watchPermissions("ns"), ["list", "watch"].map(permission));
});

/** What a call asks, and what it makes of an answer. "throws" stands for a fault. */
const CALLS: [
  what: string,
  call: (leases: Leases, signal?: AbortSignal) => Promise<unknown>,
  asked: string,
  answer: () => Response,
  result: (result: unknown) => unknown,
  expected: unknown,
][] = [
  [
    "get",
    (leases, signal) => leases.get(NAME, signal),
    `GET ${PATH}/${NAME}`,
    () => json(LEASE),
    nameOf,
    "fleetlock-default",
  ],
  ["get of nothing", (leases) => leases.get(NAME), `GET ${PATH}/${NAME}`, notFound, same, undefined],
  [
    "create",
    (leases, signal) => leases.create(LEASE as never, signal),
    `POST ${PATH}`,
    () => json(LEASE),
    nameOf,
    "fleetlock-default",
  ],
  [
    "create of one that exists",
    (leases) => leases.create(LEASE as never),
    `POST ${PATH}`,
    () => status(409),
    same,
    "conflict",
  ],
  [
    "create without a namespace",
    (leases) => leases.create(LEASE as never),
    `POST ${PATH}`,
    notFound,
    same,
    "throws",
  ],
  [
    "replace",
    (leases, signal) => leases.replace(LEASE as never, signal),
    `PUT ${PATH}/fleetlock-default`,
    () => json(LEASE),
    nameOf,
    "fleetlock-default",
  ],
  ...[409, 404].map((code): typeof CALLS[number] => [
    `replace, answered with ${code}`,
    (leases) => leases.replace(LEASE as never),
    `PUT ${PATH}/fleetlock-default`,
    code === 404 ? notFound : () => status(code),
    same,
    "conflict",
  ]),
  [
    "list",
    (leases, signal) => leases.list(signal),
    `GET ${PATH}`,
    () => json({ ...LIST, metadata: { resourceVersion: "9" } }),
    (list) => [(list as { items: unknown[] }).items.length, (list as { resourceVersion: string }).resourceVersion],
    [1, "9"],
  ],
  ["list, answered with 404", (leases) => leases.list(), `GET ${PATH}`, notFound, same, "throws"],
];

function nameOf(lease: unknown): unknown {
  return (lease as typeof LEASE).metadata.name;
}

function same(result: unknown): unknown {
  return result;
}

for (const [what, call, asked, answer, result, expected] of CALLS) {
  Deno.test(`Leases: ${what}`, async () => {
    const requests: string[] = [];
    await using fake = await fakeApiServer((request) => {
      requests.push(`${request.method} ${new URL(request.url).pathname}`);
      return answer();
    });
    const leases = new Leases(fake.client);
    equal(leases.namespace, "default");
    if (expected === "throws") await rejects(call(leases), UnavailableError);
    else deepEqual(result(await call(leases, new AbortController().signal)), expected);
    deepEqual(requests, [asked]);
    const reason = new Error("gone");
    if (call.length > 1) await rejects(call(leases, AbortSignal.abort(reason)), reason);
    equal(requests.length, 1);
  });
}
