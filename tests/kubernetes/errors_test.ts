/** What each answer of the API server that is not a success means. @module */

import { deepEqual, equal, ok } from "node:assert/strict";
import {
  describePermission,
  errorOf,
  errorOfStatus,
  ForbiddenError,
  innermostMessage,
  KubernetesError,
  oneLine,
  type Permission,
  roleFor,
} from "../../src/kubernetes/errors.ts";
import { UnavailableError } from "../../src/lock/errors.ts";

const said = (fields: Record<string, unknown> = {}) =>
  JSON.stringify({ kind: "Status", apiVersion: "v1", status: "Failure", ...fields });
const precondition = (...fields: string[]) => said({ details: { causes: fields.map((field) => ({ field })) } });

/** What matters of an error, in one line: its class, its status and pause, and what it says. */
function lineOf(error: unknown): string {
  if (error instanceof KubernetesError) {
    return `status ${error.status} ${error.reason || "-"} ${error.retryAfterMs ?? "-"}: ${error.message}`;
  }
  ok(error instanceof UnavailableError);
  const cause = error.cause instanceof KubernetesError ? ` of ${error.cause.status}` : "";
  return `fault${cause} ${error.retryAfterMs ?? "-"}: ${error.message}`;
}

const CASES: [status: number, retryAfter: string | null, body: string, expected: string][] = [
  [404, null, said({ reason: "NotFound", message: "no such pod" }), "status 404 NotFound -: no such pod"],
  [
    404,
    null,
    said({ message: "no path" }),
    "fault of 404 -: the API server does not know the path of the call: no path",
  ],
  [404, null, "nginx", "fault -: the answer with status 404 is not the API server's: is the address right?"],
  [409, null, said({ reason: "Conflict", message: "later" }), "status 409 Conflict -: later"],
  [410, null, said({ reason: "Expired" }), "status 410 Expired -: HTTP status 410"],
  [422, null, said({ message: "invalid" }), "status 422 - -: invalid"],
  [422, null, precondition("metadata.uid"), "status 409 - -: HTTP status 422"],
  [422, null, precondition("metadata.resourceVersion", "metadata.uid"), "status 409 - -: HTTP status 422"],
  [422, null, precondition("metadata.uid", "spec"), "status 422 - -: HTTP status 422"],
  [422, null, precondition(), "status 422 - -: HTTP status 422"],
  [409, null, precondition("metadata.uid"), "status 409 - -: HTTP status 409"],
  [400, null, precondition("metadata.uid"), "status 400 - -: HTTP status 400"],
  [403, null, said({ message: "denied by a webhook" }), "status 403 - -: denied by a webhook"],
  [
    401,
    null,
    said({ message: "Unauthorized" }),
    "fault of 401 -: the API server does not accept our credentials: check the service account's token or the " +
    "kubeconfig's user (it said: Unauthorized)",
  ],
  [429, "2", said({ message: "busy" }), "fault of 429 2000: the API server is overloaded: busy"],
  [
    429,
    null,
    said({ message: "budget", details: { retryAfterSeconds: 10, causes: [{ reason: "DisruptionBudget" }] } }),
    "status 429 - 10000: budget",
  ],
  [429, "2", "slow down", "fault 2000: the API server is overloaded, or a proxy before it"],
  [500, "0", said({ message: "oh" }), "fault of 500 0: the API server failed: oh"],
  [503, "-1", said({ message: "oh" }), "fault of 503 -: the API server failed: oh"],
  [503, "soon", said({ details: { retryAfterSeconds: 3 } }), "fault of 503 -: the API server failed: HTTP status 503"],
  [503, "", said({ details: { retryAfterSeconds: 3 } }), "fault of 503 3000: the API server failed: HTTP status 503"],
  [502, "7", "bad gateway", "fault 7000: the API server does not answer: something before it answered with status 502"],
  [500, null, "", "fault -: the API server does not answer: something before it answered with status 500"],
  [302, null, said(), "fault of 302 -: the API server answered with status 302: is its address right?"],
  [399, null, said(), "fault of 399 -: the API server answered with status 399: is its address right?"],
  [400, null, said({ message: "bad" }), "status 400 - -: bad"],
  ...["null", "7", "[]", said({ kind: "Pod" }), said({ apiVersion: "v2" })].map((
    body,
  ): [number, null, string, string] => [
    409,
    null,
    body,
    "fault -: the answer with status 409 is not the API server's: is the address right?",
  ]),
];

for (const [status, retryAfter, body, expected] of CASES) {
  Deno.test(`an answer of ${status} with Retry-After ${retryAfter} and the body ${body}: ${expected.slice(0, 60)}`, () => {
    equal(lineOf(errorOf(status, retryAfter, body)), expected);
  });
}

Deno.test("an error of a watch has the status of its object, and is a failure of the server where it has none", () => {
  const status = (fields: object) => ({ kind: "Status", apiVersion: "v1", ...fields });
  equal(lineOf(errorOfStatus(status({ code: 410, message: "too old" }))), "status 410 - -: too old");
  equal(lineOf(errorOfStatus(status({}))), "fault of 500 -: the API server failed: HTTP status 500");
  equal(lineOf(errorOfStatus({})), "fault -: the answer is not the API server's: is the address right?");
});

Deno.test("the causes are kept with their reasons and messages, whatever is missing", () => {
  const causes = [{ reason: "DisruptionBudget", message: "the budget web" }, {}, { message: "more" }];
  const error = errorOf(429, null, said({ details: { causes } }));
  ok(error instanceof KubernetesError);
  deepEqual([error.causes, error.causeMessages], [["DisruptionBudget", "", ""], ["the budget web", "", "more"]]);
  for (const details of [{ causes: "?" }, {}, null]) {
    const other = errorOf(409, null, said({ details }));
    deepEqual([(other as KubernetesError).causes, (other as KubernetesError).causeMessages], [[], []]);
  }
});

Deno.test("only what concerns the client is told to it of credentials that are not accepted", () => {
  const error = errorOf(401, null, said({ message: "secret" }));
  equal(
    (error as UnavailableError).publicMessage,
    "the Kubernetes API server does not accept the server's credentials",
  );
});

const lease: Permission = { verb: "update", group: "coordination.k8s.io", resource: "leases", namespace: "ops" };
const eviction: Permission = {
  verb: "create",
  group: "",
  resource: "pods",
  subresource: "eviction",
  namespace: "shop",
};
const node: Permission = { verb: "get", group: "", resource: "nodes" };

for (
  const [permission, about, described, role] of [
    [
      lease,
      'resource "leases" in API group "coordination.k8s.io" in the namespace "ops"',
      'update leases in namespace "ops"',
      'the Role of namespace "ops"',
    ],
    [
      eviction,
      'resource "pods/eviction" in API group "" in the namespace "shop"',
      'create pods/eviction in namespace "shop"',
      "the ClusterRole",
    ],
    [node, 'resource "nodes" in API group "" at the cluster scope', "get nodes", "the ClusterRole"],
    [
      { ...lease, resource: "events", group: "" },
      'resource "events" in API group "" in the namespace "ops"',
      'update events in namespace "ops"',
      'the Role of namespace "ops"',
    ],
    [{ ...lease, namespace: undefined }, undefined, "update leases", "the ClusterRole"],
  ] as const
) {
  Deno.test(`the permission to ${described} is granted in ${role}`, () => {
    deepEqual([describePermission(permission), roleFor(permission)], [described, role]);
    if (about === undefined) return;
    const message = `it is forbidden: User "u" cannot ${permission.verb} ${about}: no rule`;
    const error = errorOf(403, null, said({ message }));
    ok(error instanceof ForbiddenError);
    deepEqual(
      { subresource: undefined, namespace: undefined, ...error.permission },
      { subresource: undefined, namespace: undefined, ...permission },
    );
    equal(error.publicMessage, `the server may not ${described}`);
    equal(
      error.message,
      `the permission to ${described} is missing: grant it in ${role} (the API server said: ${message})`,
    );
    // Another refusal than the authorizer's, whatever it quotes.
    ok(errorOf(409, null, said({ message })) instanceof KubernetesError);
  });
}

Deno.test("the text of others becomes one line of at most 500 characters", () => {
  equal(oneLine("  a\r\n\tb\u0000\u200b c\u2028d\u202ee  "), "a b c d e");
  equal(oneLine("x".repeat(500)), "x".repeat(500));
  equal(oneLine("x".repeat(501)), `${"x".repeat(499)}…`);
  equal(oneLine(`${"x".repeat(490)} ${"\n".repeat(9)}${"y".repeat(20)}`), `${"x".repeat(490)} ${"y".repeat(8)}…`);
  equal(oneLine(`${"x".repeat(498)} ${"y".repeat(20)}`), `${"x".repeat(498)}…`);
  // Only so much is looked at.
  equal(oneLine(`a${" ".repeat(1_998)}bc`), "a b");
});

Deno.test("the innermost cause of an error has its message", () => {
  equal(innermostMessage(new Error("a", { cause: new Error("b", { cause: new Error("c") }) })), "c");
  equal(innermostMessage(new Error("a", { cause: "text" })), "text");
  equal(innermostMessage("text"), "text");
});

Deno.test("who is refused because of a 429 hears of the overload, not of a store that does not answer", () => {
  for (const body of [said({ message: "busy" }), "slow down"]) {
    const error = errorOf(429, "2", body);
    ok(error instanceof UnavailableError);
    equal(error.publicMessage, "the Kubernetes API server is overloaded: try again");
  }
});
