import { deepStrictEqual, match, ok, strictEqual } from "node:assert/strict";
import type { ClientId } from "../../src/lock/identity.ts";
import { parseGroup } from "../../src/lock/identity.ts";
import { UnavailableError } from "../../src/lock/errors.ts";
import { FakeClock } from "../support/fake_clock.ts";
import { UnavailableStore } from "../support/faulty_stores.ts";
import { preReboot, steadyState } from "../support/zincati.ts";
import { startTestServer, type TestServer, type TestServerOptions } from "./test_server.ts";

const GROUP = parseGroup("default")!;

const test = (name: string, fn: () => Promise<void>) =>
  Deno.test({ name, fn, sanitizeOps: true, sanitizeResources: true });

const holders = async (server: TestServer) => (await server.store.read(GROUP)).state.holders.map((holder) => holder.id);

/** A request of which only the status, the headers and the body matter. */
async function ask(url: string, init?: RequestInit) {
  const response = await fetch(url, { redirect: "manual", ...init });
  return { status: response.status, headers: response.headers, text: await response.text() };
}

test("a client obtains, keeps and gives back the slot, in plain text as the Go program's", async () => {
  await using server = startTestServer();
  deepStrictEqual(await preReboot(server.url, "a"), { status: 200, text: "obtained reboot lease" });
  deepStrictEqual(await preReboot(server.url, "a"), { status: 200, text: "retained reboot lease" });
  deepStrictEqual(await holders(server), ["a"]);
  deepStrictEqual(await steadyState(server.url, "a"), { status: 200, text: "steady-state confirmed" });
  deepStrictEqual(await holders(server), []);
});

test("a second client is told who holds the slot and since when", async () => {
  const clock = new FakeClock(Date.UTC(2026, 10, 22, 22));
  await using server = startTestServer({ clock });
  await preReboot(server.url, "first");
  await clock.advance(12 * 60_000);
  const reply = await preReboot(server.url, "second");
  strictEqual(reply.status, 423);
  strictEqual(reply.kind, "lock_held");
  strictEqual(reply.value, 'reboot slot of group "default" is held by first since 2026-11-22T22:00:00Z (12 min)');
  deepStrictEqual(await holders(server), ["first"]);
});

test("a client that holds nothing is confirmed, and takes nothing from the holder", async () => {
  await using server = startTestServer();
  await preReboot(server.url, "a");
  strictEqual((await steadyState(server.url, "b")).status, 200);
  deepStrictEqual(await holders(server), ["a"]);
});

test("a group too many is 429", async () => {
  await using server = startTestServer({ maxGroups: 1 });
  await preReboot(server.url, "a", "one");
  const reply = await preReboot(server.url, "a", "two");
  deepStrictEqual([reply.status, reply.kind], [429, "too_many_groups"]);
});

const PROTOCOL = { "fleet-lock-protocol": "true" };
const BODY = JSON.stringify({ client_params: { id: "a", group: "default" } });

test("a query is ignored", async () => {
  await using server = startTestServer();
  const url = `${server.url}/v1/pre-reboot?x=/v1/steady-state`;
  strictEqual((await ask(url, { method: "POST", headers: PROTOCOL, body: BODY })).status, 200);
  deepStrictEqual(await holders(server), ["a"]);
});

const NOWHERE = [
  "/",
  "/v1",
  "/v1/",
  "/v1/pre-reboot/",
  "//v1/pre-reboot",
  "/V1/pre-reboot",
  "/v1/pre-reboot%2f",
  "/v1/pre%2Dreboot",
  "/v1/pre-reboot;x",
  "/metrics/",
  "/-/healthy/",
  "/-/",
  "/favicon.ico",
  "/?/v1/pre-reboot",
];

test("paths that are not ours are 404 for every method, and reach no store", async () => {
  await using server = startTestServer();
  for (const path of NOWHERE) {
    for (const [method, body] of [["POST", BODY], ["GET", undefined]]) {
      const reply = await ask(server.url + path, { method, headers: PROTOCOL, body });
      strictEqual(reply.status, 404, `${method} ${path}`);
      strictEqual(JSON.parse(reply.text).kind, "not_found");
    }
  }
  deepStrictEqual((await server.store.list()).groups.size, 0);
});

test("other methods are 405 with Allow", async () => {
  await using server = startTestServer();
  const cases: [path: string, allow: string, methods: string[]][] = [
    ["/v1/pre-reboot", "POST", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "FOO"]],
    ["/v1/steady-state", "POST", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "FOO"]],
    ["/metrics", "GET, HEAD", ["POST", "PUT", "OPTIONS"]],
    ["/-/healthy", "GET, HEAD", ["POST", "DELETE", "OPTIONS"]],
    ["/-/ready", "GET, HEAD", ["POST", "PATCH", "OPTIONS"]],
  ];
  for (const [path, allow, methods] of cases) {
    for (const method of methods) {
      const headers: Record<string, string> = path.startsWith("/v1") ? PROTOCOL : {};
      const reply = await ask(server.url + path, { method, headers });
      strictEqual(reply.status, 405, `${method} ${path}`);
      strictEqual(reply.headers.get("allow"), allow);
      if (method !== "HEAD") strictEqual(JSON.parse(reply.text).kind, "method_not_allowed");
    }
  }
  deepStrictEqual(await holders(server), []);
});

test("without the protocol's header, or with another value, a POST is 400", async () => {
  await using server = startTestServer();
  for (const value of [undefined, "", "false", "True", "1", "true, true"]) {
    for (const path of ["/v1/pre-reboot", "/v1/steady-state"]) {
      const headers: Record<string, string> = value === undefined ? {} : { "fleet-lock-protocol": value };
      const reply = await ask(server.url + path, { method: "POST", headers, body: BODY });
      strictEqual(reply.status, 400, `${path} with ${value}`);
      strictEqual(JSON.parse(reply.text).kind, "missing_header");
    }
  }
  deepStrictEqual(await holders(server), []);
});

test("a request with the protocol's header, whatever its value, gets 2xx nowhere but by a POST", async () => {
  await using server = startTestServer();
  for (const path of ["/", "/metrics", "/-/healthy", "/-/ready", "/v1/pre-reboot", "/v1/steady-state", "/x"]) {
    for (const method of ["GET", "HEAD", "PUT", "OPTIONS", "DELETE"]) {
      for (const value of ["true", "false", ""]) {
        const { status } = await ask(server.url + path, { method, headers: { "fleet-lock-protocol": value } });
        ok(status >= 400, `${method} ${path}: ${status}`);
      }
    }
  }
});

test("the pages answer GET and HEAD, and every reply has the security headers", async () => {
  await using server = startTestServer();
  const replies: [path: string, status: number][] = [
    ["/-/healthy", 200],
    ["/-/ready", 200],
    ["/metrics", 200],
    ["/nothing", 404],
    ["/v1/pre-reboot", 405],
  ];
  for (const [path, status] of replies) {
    const reply = await ask(server.url + path);
    strictEqual(reply.status, status);
    strictEqual(reply.headers.get("x-content-type-options"), "nosniff");
    strictEqual(reply.headers.get("cache-control"), "no-store");
    match(reply.headers.get("content-security-policy")!, /^default-src 'none'/);
    const head = await ask(server.url + path, { method: "HEAD" });
    deepStrictEqual([head.status, head.text], [status, ""]);
  }
  strictEqual((await ask(`${server.url}/-/healthy`)).text, "ok\n");
  strictEqual((await ask(`${server.url}/-/ready?x=1`)).text, "ok\n");
});

test("not ready is 503 with a reason and Retry-After, also when asking fails", async () => {
  const cases: [TestServerOptions["readiness"], string][] = [
    [() => Promise.resolve("stopping"), "the server is stopping"],
    [() => Promise.resolve("store_unavailable"), "the store does not answer"],
    [() => Promise.reject(new Error("secret")), "the store does not answer"],
  ];
  for (const [readiness, value] of cases) {
    await using server = startTestServer({ readiness });
    const reply = await ask(`${server.url}/-/ready`);
    strictEqual(reply.status, 503);
    deepStrictEqual(JSON.parse(reply.text), { kind: "store_unavailable", value });
    strictEqual(reply.headers.get("retry-after"), "5");
    strictEqual((await ask(`${server.url}/-/healthy`)).status, 200);
  }
});

test("a store that does not answer is 503 with Retry-After, and the server recovers with it", async () => {
  const store = new UnavailableStore();
  await using server = startTestServer({ store });
  await store.setUnavailable(true);
  for (const path of ["/v1/pre-reboot", "/v1/steady-state"]) {
    const reply = await ask(server.url + path, { method: "POST", headers: PROTOCOL, body: BODY });
    strictEqual(reply.status, 503);
    strictEqual(JSON.parse(reply.text).kind, "store_unavailable");
    strictEqual(reply.headers.get("retry-after"), "5");
    ok(!reply.text.includes("by a test"), "the fault's message is for the log");
  }
  await store.setUnavailable(false);
  strictEqual((await preReboot(server.url, "a")).status, 200);
});

test("what a fault says for clients is passed on, and its pause rounded up to seconds", async () => {
  const fail = () =>
    Promise.reject(new UnavailableError("secret", { retryAfterMs: 1_200, publicMessage: "the role lacks patch" }));
  await using server = startTestServer({ locks: { preReboot: fail, steadyState: fail } });
  const reply = await ask(`${server.url}/v1/pre-reboot`, { method: "POST", headers: PROTOCOL, body: BODY });
  strictEqual(reply.headers.get("retry-after"), "2");
  deepStrictEqual(JSON.parse(reply.text), { kind: "store_unavailable", value: "the role lacks patch" });
});

test("a client is told what is wrong with its body", async () => {
  await using server = startTestServer();
  for (
    const [body, kind, sentence] of [
      ["{", "decode_error", /^the body is no JSON: expected /],
      ["{}", "decode_error", /^the body has no object "client_params": expected /],
      ['{"client_params":{}}', "invalid_id", /^client_params\.id must be /],
      ['{"client_params":{"id":"a"}}', "invalid_group", /^client_params\.group must be /],
    ] as const
  ) {
    const reply = await ask(`${server.url}/v1/pre-reboot`, { method: "POST", headers: PROTOCOL, body });
    const error = JSON.parse(reply.text);
    strictEqual(error.kind, kind);
    match(error.value, sentence);
  }
});

test("any other fault is 500, its details only in the log", async () => {
  const fail = () => Promise.reject(new TypeError("secret"));
  await using server = startTestServer({ locks: { preReboot: fail, steadyState: fail } });
  const reply = await ask(`${server.url}/v1/steady-state`, { method: "POST", headers: PROTOCOL, body: BODY });
  strictEqual(reply.status, 500);
  strictEqual(JSON.parse(reply.text).kind, "internal_error");
  ok(!reply.text.includes("secret"));
  const [record] = server.logged;
  strictEqual(record?.level, "error");
  strictEqual((record?.fields.error as Error).message, "secret");
});

test("one record a request, by its outcome, without its headers", async () => {
  await using server = startTestServer();
  await preReboot(server.url, "a");
  await preReboot(server.url, "b");
  await steadyState(server.url, "b");
  await steadyState(server.url, "a");
  await ask(`${server.url}/-/healthy`, { headers: { authorization: "Basic c2VjcmV0" } });
  await ask(`${server.url}/v1/pre-reboot`, { method: "POST", headers: { authorization: "Basic c2VjcmV0" }, body: "{" });
  deepStrictEqual(
    server.logged.map(({ level, message, fields }) => [level, message, fields.id, fields.holder, fields.outcome]),
    [
      ["info", "reboot slot granted", "a", "a", "granted"],
      ["debug", "request refused", "b", "a", "lock_held"],
      ["debug", "no reboot slot to release", "b", undefined, "not_held"],
      ["info", "reboot slot released", "a", undefined, "released"],
      ["trace", "request served", undefined, undefined, "ok"],
      ["debug", "request refused", undefined, undefined, "missing_header"],
    ],
  );
  for (const { fields } of server.logged) {
    strictEqual(typeof fields.duration_ms, "number");
    ok(!JSON.stringify(fields).includes("c2VjcmV0"));
  }
});

test("a level that is off costs no record", async () => {
  const logger = {
    isEnabledFor: (level: string) => level !== "debug" && level !== "trace",
    trace: () => ok(false),
    debug: () => ok(false),
    info: () => {},
    warning: () => {},
    error: () => {},
  };
  await using server = startTestServer({ logger });
  await preReboot(server.url, "a");
  strictEqual((await preReboot(server.url, "b")).status, 423);
});

test("requests are counted by endpoint and outcome, well-formed ones as the Go program did", async () => {
  await using server = startTestServer();
  await preReboot(server.url, "a");
  await preReboot(server.url, "b" as ClientId);
  await preReboot(server.url, "no good");
  await steadyState(server.url, "a");
  await ask(`${server.url}/x`);
  const page = (await ask(`${server.url}/metrics`)).text;
  const value = (series: string) => page.split("\n").find((line) => line.startsWith(series + " "))?.split(" ").at(-1);
  strictEqual(value("fleetlock_lock_request_count"), "2");
  strictEqual(value("fleetlock_unlock_request_count"), "1");
  strictEqual(value('fleetlock_requests_total{endpoint="pre-reboot",kind="granted"}'), "1");
  strictEqual(value('fleetlock_requests_total{endpoint="pre-reboot",kind="lock_held"}'), "1");
  strictEqual(value('fleetlock_requests_total{endpoint="pre-reboot",kind="invalid_id"}'), "1");
  strictEqual(value('fleetlock_requests_total{endpoint="steady-state",kind="released"}'), "1");
  strictEqual(value('fleetlock_requests_total{endpoint="other",kind="not_found"}'), "1");
  strictEqual(value('fleetlock_request_duration_seconds_count{endpoint="pre-reboot"}'), "3");
});
