import { deepEqual, equal, match, ok } from "node:assert/strict";
import type { ClientId } from "../../src/lock/identity.ts";
import { parseGroup } from "../../src/lock/identity.ts";
import { CallRefusedError, UnavailableError } from "../../src/lock/errors.ts";
import { ABSENT } from "../../src/lock/lock_store.ts";
import { answerKinds } from "../../src/http/fleetlock.ts";
import { createHandler, type HandlerOptions } from "../../src/http/handler.ts";
import { type Endpoint, Metrics } from "../../src/telemetry/metrics.ts";
import { FakeClock, HastyClock } from "../support/fake_clock.ts";
import { UnavailableStore } from "../support/faulty_stores.ts";
import { until } from "../support/condition.ts";
import { preReboot, steadyState } from "../support/zincati.ts";
import { RawConnection } from "./raw_http.ts";
import { startTestServer, type TestServer, type TestServerOptions } from "./test_server.ts";

const GROUP = parseGroup("default")!;

const holders = async (server: TestServer) => (await server.store.read(GROUP)).state.holders.map((holder) => holder.id);

/** Sends a request and reads the whole response. */
async function ask(url: string, init?: RequestInit) {
  const response = await fetch(url, { redirect: "manual", ...init });
  return { status: response.status, headers: response.headers, text: await response.text() };
}

Deno.test("a client takes, keeps and gives back the slot, and reads the Go program's texts", async () => {
  await using server = startTestServer();
  deepEqual(await preReboot(server.url, "a"), { status: 200, text: "obtained reboot lease" });
  deepEqual(await preReboot(server.url, "a"), { status: 200, text: "retained reboot lease" });
  deepEqual(await holders(server), ["a"]);
  deepEqual(await steadyState(server.url, "a"), { status: 200, text: "steady-state confirmed" });
  deepEqual(await holders(server), []);
});

Deno.test("a refused client reads who holds the slot and since when", async () => {
  const clock = new HastyClock(Date.UTC(2026, 10, 22, 22));
  await using server = startTestServer({ clock });
  await preReboot(server.url, "first");
  await clock.advance(12 * 60_000);
  const reply = await preReboot(server.url, "second");
  equal(reply.status, 423);
  equal(reply.kind, "lock_held");
  match(reply.value!, /^reboot slot of group "default" is held by fi… since 2026-11-22T22:00:0\dZ \(12 min\)$/);
  deepEqual(await holders(server), ["first"]);
});

Deno.test("a steady-state of a client that holds nothing gets 200 and leaves the holder alone", async () => {
  await using server = startTestServer();
  await preReboot(server.url, "a");
  equal((await steadyState(server.url, "b")).status, 200);
  deepEqual(await holders(server), ["a"]);
});

Deno.test("a new group beyond the limit gets 429", async () => {
  await using server = startTestServer({ maxGroups: 1 });
  await preReboot(server.url, "a", "one");
  const reply = await preReboot(server.url, "a", "two");
  deepEqual([reply.status, reply.kind], [429, "too_many_groups"]);
});

const PROTOCOL = { "fleet-lock-protocol": "true" };
const BODY = JSON.stringify({ client_params: { id: "a", group: "default" } });

for (
  const [sent, isJson] of [
    ["application/json", true],
    ["Application/JSON; charset=utf-8", true],
    ["application/x-www-form-urlencoded", false],
    ["application/jsonp", false],
    ["x-application/json", false],
    ["text/plain", false],
  ] as const
) {
  Deno.test(`a client that sends ${sent} reads a success as ${isJson ? "JSON" : "plain text"}`, async () => {
    await using server = startTestServer();
    const post = async (path: string) => {
      const headers = { ...PROTOCOL, "content-type": sent };
      const reply = await fetch(`${server.url}${path}`, { method: "POST", headers, body: BODY });
      return [reply.status, reply.headers.get("content-type"), await reply.text()];
    };
    const expected = (kind: string, value: string) =>
      isJson
        ? [200, "application/json", `${JSON.stringify({ kind, value })}\n`]
        : [200, "text/plain; charset=utf-8", `${value}\n`];
    deepEqual(await post("/v1/pre-reboot"), expected("granted", "obtained reboot lease"));
    deepEqual(await post("/v1/pre-reboot"), expected("renewed", "retained reboot lease"));
    deepEqual(await post("/v1/steady-state"), expected("released", "steady-state confirmed"));
    deepEqual(await post("/v1/steady-state"), expected("not_held", "steady-state confirmed"));
  });
}

Deno.test("with a base path, the protocol is served under it alone, and the other paths with and without it", async () => {
  await using server = startTestServer({ basePath: "/a/fleetlock" });
  const statuses = async (paths: string[], init?: RequestInit) =>
    Object.fromEntries(
      await Promise.all(paths.map(async (path) => {
        const reply = await fetch(server.url + path, { ...init, redirect: "manual" });
        await reply.body?.cancel();
        return [path, reply.status];
      })),
    );
  const protocol = ["/a/fleetlock/v1/pre-reboot", "/a/fleetlock//v1/steady-state", "//a//fleetlock/v1/pre-reboot"];
  const outside = ["/v1/pre-reboot", "/v1/steady-state", "/a/v1/pre-reboot", "/a/fleetlockv1/pre-reboot"];
  const pages = ["/metrics", "/-/healthy", "/-/ready", "/a/fleetlock/metrics", "/a/fleetlock/-/ready"];
  const all = (paths: string[], status: number) => Object.fromEntries(paths.map((path) => [path, status]));
  const post = { method: "POST", headers: PROTOCOL, body: BODY };
  deepEqual(await statuses(outside, post), all(outside, 404));
  deepEqual(await holders(server), []);
  // One after the other: a steady-state request beside a pre-reboot of the same client may be refused.
  for (const path of protocol) deepEqual(await statuses([path], post), all([path], 200));
  deepEqual(await statuses(pages), all(pages, 200));
  deepEqual(await statuses(["/a/fleetlock", "/a/fleetlock/", "/a/metrics"]), {
    "/a/fleetlock": 404,
    "/a/fleetlock/": 404,
    "/a/metrics": 404,
  });
});

Deno.test("a query is ignored", async () => {
  await using server = startTestServer();
  const url = `${server.url}/v1/pre-reboot?x=/v1/steady-state`;
  equal((await ask(url, { method: "POST", headers: PROTOCOL, body: BODY })).status, 200);
  deepEqual(await holders(server), ["a"]);
});

const NOWHERE = [
  "/",
  "/v1",
  "/v1/",
  "/v1/pre-reboot/",
  "//v1/pre-reboot//",
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

Deno.test("unknown paths get 404 for every method and do not reach the store", async () => {
  await using server = startTestServer();
  for (const path of NOWHERE) {
    for (const [method, body] of [["POST", BODY], ["GET", undefined]]) {
      const reply = await ask(server.url + path, { method, headers: PROTOCOL, body });
      equal(reply.status, 404, `${method} ${path}`);
      equal(JSON.parse(reply.text).kind, "not_found");
    }
  }
  deepEqual((await server.store.list()).groups.size, 0);
});

Deno.test("other methods get 405 with Allow", async () => {
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
      equal(reply.status, 405, `${method} ${path}`);
      equal(reply.headers.get("allow"), allow);
      if (method !== "HEAD") equal(JSON.parse(reply.text).kind, "method_not_allowed");
    }
  }
  deepEqual(await holders(server), []);
});

Deno.test("a POST without the protocol's header, or with another value of it, gets 400", async () => {
  await using server = startTestServer();
  for (const value of [undefined, "", "false", "True", "1", "true, true"]) {
    for (const path of ["/v1/pre-reboot", "/v1/steady-state"]) {
      const headers: Record<string, string> = value === undefined ? {} : { "fleet-lock-protocol": value };
      const reply = await ask(server.url + path, { method: "POST", headers, body: BODY });
      equal(reply.status, 400, `${path} with ${value}`);
      equal(JSON.parse(reply.text).kind, "missing_header");
    }
  }
  deepEqual(await holders(server), []);
});

Deno.test("a request with the protocol's header, whatever its value, gets 2xx only if it is a POST", async () => {
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

Deno.test("the pages answer GET and HEAD, and every reply has the security headers", async () => {
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
    equal(reply.status, status);
    equal(reply.headers.get("x-content-type-options"), "nosniff");
    equal(reply.headers.get("cache-control"), "no-store");
    match(reply.headers.get("content-security-policy")!, /^default-src 'none'/);
    const head = await ask(server.url + path, { method: "HEAD" });
    deepEqual([head.status, head.text], [status, ""]);
  }
  equal((await ask(`${server.url}/-/healthy`)).text, "ok\n");
  equal((await ask(`${server.url}/-/ready?x=1`)).text, "ok\n");
});

Deno.test("a server that is not ready answers 503 with a reason and Retry-After, also when the check fails", async () => {
  const cases: [TestServerOptions["readiness"], string][] = [
    [() => Promise.resolve({ kind: "not_ready", reason: "the server is stopping" }), "the server is stopping"],
    [() => Promise.reject(new Error("secret")), "the store does not answer"],
    [() => Promise.reject(new UnavailableError("secret")), "the store does not answer"],
    [
      () =>
        Promise.reject(new UnavailableError("secret", { publicMessage: "the file takes no writes:\n\x1b[31mfull" })),
      "the file takes no writes:\ufffd\ufffd[31mfull",
    ],
  ];
  for (const [readiness, value] of cases) {
    await using server = startTestServer({ readiness });
    const reply = await ask(`${server.url}/-/ready`);
    match(await server.metrics.render(), /^fleetlock_ready 0$/m);
    equal(reply.status, 503);
    deepEqual(JSON.parse(reply.text), { kind: "store_unavailable", value });
    equal(reply.headers.get("retry-after"), "5");
    equal((await ask(`${server.url}/-/healthy`)).status, 200);
  }
});

Deno.test("a server that is ready says what is wrong all the same", async () => {
  const readiness = () => Promise.resolve({ kind: "ready", note: "the server may not list pods" } as const);
  await using server = startTestServer({ readiness });
  const reply = await ask(`${server.url}/-/ready`);
  match(await server.metrics.render(), /^fleetlock_ready 1$/m);
  deepEqual([reply.status, reply.text], [200, "ok\nthe server may not list pods\n"]);
});

Deno.test("while the store does not answer, requests get 503 with Retry-After; afterwards they are served", async () => {
  const store = new UnavailableStore();
  await using server = startTestServer({ store });
  await store.setUnavailable(true);
  for (const path of ["/v1/pre-reboot", "/v1/steady-state"]) {
    const reply = await ask(server.url + path, { method: "POST", headers: PROTOCOL, body: BODY });
    equal(reply.status, 503);
    equal(JSON.parse(reply.text).kind, "store_unavailable");
    equal(reply.headers.get("retry-after"), "5");
    ok(!reply.text.includes("by a test"), "the fault's message is for the log");
  }
  await store.setUnavailable(false);
  equal((await preReboot(server.url, "a")).status, 200);
});

Deno.test("a fault's public message reaches the client, and its pause is rounded up to seconds", async () => {
  const fail = () =>
    Promise.reject(new UnavailableError("secret", { retryAfterMs: 1_200, publicMessage: "the role lacks patch" }));
  await using server = startTestServer({ locks: { preReboot: fail, steadyState: fail } });
  const reply = await ask(`${server.url}/v1/pre-reboot`, { method: "POST", headers: PROTOCOL, body: BODY });
  equal(reply.headers.get("retry-after"), "2");
  deepEqual(JSON.parse(reply.text), { kind: "store_unavailable", value: "the role lacks patch" });
});

Deno.test("a call that the API server refuses for good is a 423 with its own sentence, made safe to show", async () => {
  const sentence = `admission webhook "x" denied the request: \x1b[31m\u202eno${"!".repeat(10_000)}`;
  const fail = () => Promise.reject(new CallRefusedError("secret", sentence, { cause: new Error("403") }));
  await using server = startTestServer({ locks: { preReboot: fail, steadyState: fail } });
  for (const path of ["/v1/pre-reboot", "/v1/steady-state"]) {
    const reply = await ask(server.url + path, { method: "POST", headers: PROTOCOL, body: BODY });
    equal(reply.status, 423);
    equal(reply.headers.get("retry-after"), null);
    const { kind, value } = JSON.parse(reply.text);
    equal(kind, "api_refused");
    match(value, /^admission webhook "x" denied the request: \ufffd\[31m\ufffdno!+…$/);
    ok(value.length < 1_000);
    const { level, fields } = server.logged.at(-1)!;
    deepEqual([level, fields.outcome, (fields.error as Error).message], ["warning", "api_refused", "secret"]);
  }
});

Deno.test("a page that needs a refused call is unavailable, since only requests of the protocol can be refused", async () => {
  const fail = () => Promise.reject(new CallRefusedError("secret", "no"));
  const metrics = new Metrics({ version: "0" });
  metrics.render = fail;
  await using server = startTestServer({ metrics });
  const reply = await ask(`${server.url}/metrics`);
  deepEqual([reply.status, JSON.parse(reply.text).kind], [503, "store_unavailable"]);
});

Deno.test("an id that somebody wrote into the store by hand reaches neither reply nor log as it is", async () => {
  await using server = startTestServer();
  const holder = { id: `\x1b[31m\u202e${"x".repeat(10_000)}` as ClientId, since: 1 };
  await server.store.write(GROUP, ABSENT, { holders: [holder], transitions: 1 });
  const reply = await preReboot(server.url, "b");
  const shown = `\ufffd[31m\ufffd${"x".repeat(247)}…`;
  match(reply.value!, /^reboot slot of group "default" is held by \ufffd\[31m\ufffdxx… since /);
  equal(server.logged.at(-1)?.fields.holder, shown);
});

Deno.test("a steady-state whose client hung up before it was read frees no slot", async () => {
  await using server = startTestServer();
  await preReboot(server.url, "a");
  {
    const body = BODY;
    await using connection = await RawConnection.open(server.url);
    await connection.send(
      `POST /v1/steady-state HTTP/1.1\r\nhost: localhost\r\nfleet-lock-protocol: true\r\n` +
        `content-length: ${body.length}\r\n\r\n${body}`,
    );
  }
  await until(() => server.logged.some(({ fields }) => fields.outcome === "contended"));
  deepEqual(await holders(server), ["a"]);
  equal((await steadyState(server.url, "a")).status, 200);
  deepEqual(await holders(server), []);
});

Deno.test("a hold that began in the future by the server's clock has lasted 0 s", async () => {
  const clock = new HastyClock(Date.UTC(2026, 10, 22, 22));
  await using server = startTestServer({ clock });
  const since = clock.now() + 3_600_000;
  await server.store.write(GROUP, ABSENT, { holders: [{ id: "a" as ClientId, since }], transitions: 1 });
  match((await preReboot(server.url, "b")).value!, /since 2026-11-22T23:00:00Z \(0 s\)$/);
  await steadyState(server.url, "a");
  equal(server.logged.at(-1)?.fields.held_seconds, 0);
});

Deno.test("the answer says what is wrong with a body", async () => {
  await using server = startTestServer();
  for (
    const [body, kind, sentence] of [
      ["{", "decode_error", /^the body is not JSON: expected /],
      ["{}", "decode_error", /^the body has no object "client_params": expected /],
      ['{"client_params":{}}', "invalid_id", /^client_params\.id must be /],
      ['{"client_params":{"id":"a"}}', "invalid_group", /^client_params\.group must be /],
    ] as const
  ) {
    const reply = await ask(`${server.url}/v1/pre-reboot`, { method: "POST", headers: PROTOCOL, body });
    const error = JSON.parse(reply.text);
    equal(error.kind, kind);
    match(error.value, sentence);
  }
});

Deno.test("any other fault gets 500, with its details only in the log", async () => {
  const fail = () => Promise.reject(new TypeError("secret"));
  await using server = startTestServer({ locks: { preReboot: fail, steadyState: fail } });
  const reply = await ask(`${server.url}/v1/steady-state`, { method: "POST", headers: PROTOCOL, body: BODY });
  equal(reply.status, 500);
  equal(JSON.parse(reply.text).kind, "internal_error");
  ok(!reply.text.includes("secret"));
  const [record] = server.logged;
  equal(record?.level, "error");
  equal((record?.fields.error as Error).message, "secret");
});

Deno.test("each request makes one log record, at the level of its outcome and without its headers", async () => {
  await using server = startTestServer();
  await preReboot(server.url, "a");
  await preReboot(server.url, "b");
  await steadyState(server.url, "b");
  await steadyState(server.url, "a");
  await ask(`${server.url}/-/healthy`, { headers: { authorization: "Basic c2VjcmV0" } });
  await ask(`${server.url}/v1/pre-reboot`, { method: "POST", headers: { authorization: "Basic c2VjcmV0" }, body: "{" });
  deepEqual(
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
    equal(typeof fields.duration_ms, "number");
    ok(!JSON.stringify(fields).includes("c2VjcmV0"));
  }
});

Deno.test("a level that is off makes no log record", async () => {
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
  equal((await preReboot(server.url, "b")).status, 423);
});

Deno.test("requests are counted by endpoint and kind, and well-formed ones as in the Go program", async () => {
  await using server = startTestServer();
  await preReboot(server.url, "a");
  await preReboot(server.url, "b" as ClientId);
  await preReboot(server.url, "no good");
  await steadyState(server.url, "a");
  await ask(`${server.url}/x`);
  const page = (await ask(`${server.url}/metrics`)).text;
  const value = (series: string) => page.split("\n").find((line) => line.startsWith(series + " "))?.split(" ").at(-1);
  equal(value("fleetlock_lock_request_count"), "2");
  equal(value("fleetlock_unlock_request_count"), "1");
  equal(value('fleetlock_requests_total{endpoint="pre-reboot",kind="granted"}'), "1");
  equal(value('fleetlock_requests_total{endpoint="pre-reboot",kind="lock_held"}'), "1");
  equal(value('fleetlock_requests_total{endpoint="pre-reboot",kind="invalid_id"}'), "1");
  equal(value('fleetlock_requests_total{endpoint="steady-state",kind="released"}'), "1");
  equal(value('fleetlock_requests_total{endpoint="other",kind="not_found"}'), "1");
  equal(value('fleetlock_request_duration_seconds_count{endpoint="pre-reboot"}'), "3");
});

Deno.test("the counters of all answers start at 0, before the first of each", async () => {
  await using server = startTestServer();
  const page = await server.metrics.render();
  for (const [endpoint, kind] of [["pre-reboot", "drain_failed"], ["steady-state", "released"], ["other", "ok"]]) {
    ok(page.includes(`\nfleetlock_requests_total{endpoint="${endpoint}",kind="${kind}"} 0\n`), `${endpoint} ${kind}`);
  }
});

Deno.test("each endpoint expects its own answers and no others", () => {
  const expected = new Map<string, readonly string[]>();
  const metrics = new Metrics({ version: "0" });
  metrics.expectRequests = (endpoint, kinds) => void expected.set(endpoint, [...kinds]);
  using _ = createHandler(optionsWith({ metrics }));
  deepEqual([...expected.keys()], ["pre-reboot", "steady-state", "other"]);
  const kindsOf = (endpoint: Endpoint) => expected.get(endpoint)!;
  for (const endpoint of ["pre-reboot", "steady-state", "other"] as const) {
    deepEqual(kindsOf(endpoint), [...answerKinds(endpoint), ...(endpoint === "other" ? ["ok"] : [])]);
  }
  ok(kindsOf("pre-reboot").includes("granted") && !kindsOf("steady-state").includes("granted"));
  ok(!kindsOf("pre-reboot").includes("ok"));
});

Deno.test("a page is counted once, whatever its answer", async () => {
  const counted: unknown[] = [];
  const metrics = new Metrics({ version: "0" });
  metrics.requestDone = (endpoint, kind) => void counted.push([endpoint, kind]);
  const status = {
    page: () => Promise.resolve(new Response("page")),
    json: () => new Response("{}"),
    events: (method: string) => method === "HEAD" ? new Response(null) : undefined,
  };
  using handler = createHandler(optionsWith({ metrics, status }));
  const answers: [method: string, path: string, status: number, kind: string][] = [
    ["GET", "/", 200, "ok"],
    ["GET", "/status.json", 200, "ok"],
    ["HEAD", "/events", 200, "ok"],
    ["GET", "/events", 503, "too_many_streams"],
    ["GET", "/metrics", 200, "ok"],
    ["GET", "/-/healthy", 200, "ok"],
    ["POST", "/-/healthy", 405, "method_not_allowed"],
    ["GET", "/nothing", 404, "not_found"],
  ];
  for (const [method, path, status, kind] of answers) {
    const reply = await handler(new Request(`http://server${path}`, { method }));
    await reply.body?.cancel();
    equal(reply.status, status, path);
    deepEqual(counted.splice(0), [["other", kind]], path);
  }
  const text = async (path: string) => await (await handler(new Request(`http://server${path}`))).text();
  deepEqual([await text("/"), await text("/status.json")], ["page", "{}"]);
});

Deno.test("a handler that is disposed of waits for no body and no time", async () => {
  const clock = new FakeClock();
  const handler = createHandler(optionsWith({ clock }));
  const never = new ReadableStream({ pull: () => new Promise(() => {}) });
  const request = new Request("http://server/v1/pre-reboot", { method: "POST", headers: PROTOCOL, body: never });
  const answer = handler(request);
  equal(clock.sleepers, 1);
  handler[Symbol.dispose]();
  const reply = await answer;
  await reply.body?.cancel();
  equal(reply.status, 408);
  equal(clock.sleepers, 0);
});

/** Options of a handler without a server. */
function optionsWith(options: Partial<HandlerOptions>): HandlerOptions {
  const none = () => {};
  return {
    locks: { preReboot: () => Promise.reject(), steadyState: () => Promise.reject() },
    metrics: new Metrics({ version: "0" }),
    logger: { isEnabledFor: () => false, trace: none, debug: none, info: none, warning: none, error: none },
    readiness: () => Promise.resolve({ kind: "ready" }),
    ...options,
  };
}
