/** The transport against a fake API server: deadlines, limits, and faults. @module */

import { deepEqual, equal, match, ok, rejects } from "node:assert/strict";
import { callOptions } from "../../src/kubernetes/calls.ts";
import { missingPermissions } from "../../src/kubernetes/client.ts";
import { ForbiddenError, KubernetesError, WithdrawnError } from "../../src/kubernetes/errors.ts";
import { UnavailableError } from "../../src/lock/errors.ts";
import { until } from "../support/condition.ts";
import { fakeApiServer, json, status } from "../support/fake_api_server.ts";
import { FakeClock } from "../support/fake_clock.ts";

Deno.test("a typed call carries the token and its body, and reads the answer", async () => {
  const seen: unknown[] = [];
  await using fake = await fakeApiServer(async (request) => {
    seen.push(request.headers.get("authorization"), await request.json());
    return json({
      apiVersion: "coordination.k8s.io/v1",
      kind: "Lease",
      metadata: { name: "a", namespace: "ns", resourceVersion: "1" },
    }, 201);
  });
  const lease = await fake.client.apis.coordination.createNamespacedLease({
    namespace: "ns",
    body: { metadata: { name: "a" } },
  });
  equal(lease.metadata?.resourceVersion, "1");
  deepEqual(seen, ["Bearer t", { metadata: { name: "a" } }]);
  deepEqual(fake.requests, ["POST /apis/coordination.k8s.io/v1/namespaces/ns/leases"]);
});

const FAULTS: { name: string; answer: () => Response; check: (error: unknown) => void }[] = [
  {
    name: "404",
    answer: () => status(404, { reason: "NotFound", message: 'leases "a" not found' }),
    check(error) {
      ok(error instanceof KubernetesError);
      deepEqual([error.status, error.reason, error.message], [404, "NotFound", 'leases "a" not found']);
    },
  },
  {
    name: "409",
    answer: () => status(409, { reason: "AlreadyExists" }),
    check: (error) => ok(error instanceof KubernetesError && error.reason === "AlreadyExists"),
  },
  {
    name: "429 of a disruption budget",
    answer: () => status(429, { details: { retryAfterSeconds: 10, causes: [{ reason: "DisruptionBudget" }] } }),
    check(error) {
      ok(error instanceof KubernetesError);
      deepEqual([error.status, error.causes, error.retryAfterMs], [429, ["DisruptionBudget"], 10_000]);
    },
  },
  {
    name: "429 of the server",
    answer: () => status(429, {}, { "retry-after": "2" }),
    check: (error) => ok(error instanceof UnavailableError && error.retryAfterMs === 2_000),
  },
  {
    name: "403 of the authorizer",
    answer: () =>
      status(403, {
        message: 'pods "a" is forbidden: User "u" cannot create resource "pods/eviction" in API group "" ' +
          'in the namespace "ns": no rule',
      }),
    check(error) {
      ok(error instanceof ForbiddenError);
      deepEqual({ ...error.permission }, {
        verb: "create",
        group: "",
        resource: "pods",
        subresource: "eviction",
        namespace: "ns",
      });
      equal(error.publicMessage, 'the server may not create pods/eviction in namespace "ns"');
    },
  },
  {
    name: "403 cluster-wide",
    answer: () =>
      status(403, { message: 'User "u" cannot list resource "nodes" in API group "" at the cluster scope' }),
    check: (error) => equal((error as ForbiddenError).publicMessage, "the server may not list nodes"),
  },
  {
    name: "403 for another reason",
    answer: () => status(403, { message: "unable to create new content: the namespace is being terminated" }),
    check: (error) => ok(error instanceof KubernetesError && error.status === 403),
  },
  {
    name: "500",
    answer: () => status(500, { message: "etcdserver: request timed out" }),
    check(error) {
      ok(error instanceof UnavailableError && error.cause instanceof KubernetesError);
      match(error.message, /etcdserver: request timed out/);
    },
  },
  {
    name: "502 with a page of a proxy",
    answer: () => new Response("<html>Bad gateway", { status: 502 }),
    check: (error) =>
      ok(error instanceof UnavailableError && /something before it answered with status 502/.test(error.message)),
  },
  {
    name: "302, which is not followed",
    answer: () => new Response(null, { status: 302, headers: { location: "/login" } }),
    check: (error) =>
      ok(error instanceof UnavailableError && /is not the API server's: is the address right/.test(error.message)),
  },
];
for (const { name, answer, check } of FAULTS) {
  Deno.test(`an answer of ${name} becomes the project's own error`, async () => {
    await using fake = await fakeApiServer(answer);
    await rejects(fake.client.apis.core.listPodForAllNamespaces(), (error) => {
      check(error);
      return true;
    });
    equal(fake.requests.length, 1);
  });
}

Deno.test("a 2xx answer that is not JSON is a fault", async () => {
  await using fake = await fakeApiServer(() =>
    new Response("<html>Log in", { headers: { "content-type": "text/html" } })
  );
  await rejects(fake.client.apis.core.listPodForAllNamespaces(), (error) => {
    ok(error instanceof UnavailableError);
    match(error.message, /is not a list of Pod objects: is the address that of the API server/);
    return true;
  });
});

Deno.test("a call that is refused with 401 is tried once more, and not again", async () => {
  await using fake = await fakeApiServer(() => status(401, { message: "Unauthorized" }));
  await rejects(fake.client.get("/x"), /does not accept our credentials/);
  equal(fake.requests.length, 2);
});

Deno.test("the number of calls that run and that wait is limited", async () => {
  const open = Promise.withResolvers<void>();
  let running = 0;
  let most = 0;
  await using fake = await fakeApiServer(async () => {
    most = Math.max(most, ++running);
    await open.promise;
    running--;
    return json({});
  }, { concurrency: 3, maxWaiting: 5 });
  const calls = Array.from({ length: 12 }, () => fake.client.get("/x"));
  const refused = calls.slice(8).map((call) => rejects(call, /5 calls to the API server are waiting already/));
  await Promise.all(refused);
  await until(() => running === 3);
  open.resolve();
  await Promise.all(calls.slice(0, 8));
  equal(most, 3);
  equal(fake.requests.length, 8);
});

Deno.test("a call in the queue fails at its deadline, and the next one gets its turn", async () => {
  const open = Promise.withResolvers<void>();
  await using fake = await fakeApiServer(async (request) => {
    if (request.url.endsWith("/slow")) await open.promise;
    return json({});
  }, { concurrency: 1, timeoutMs: 300 });
  const slow = rejects(fake.client.get("/slow"), /did not answer within 300 ms/);
  await rejects(fake.client.get("/queued"), /did not answer within 300 ms/);
  await slow;
  await fake.client.get("/next");
  deepEqual(fake.requests, ["GET /slow", "GET /next"]);
  open.resolve();
});

Deno.test("a call whose reason has gone when its turn comes is not made, and the next one gets its turn", async () => {
  const open = Promise.withResolvers<void>();
  await using fake = await fakeApiServer(async (request) => {
    if (request.url.endsWith("/slow")) await open.promise;
    return json({ apiVersion: "v1", kind: "Status", status: "Success" });
  }, { concurrency: 1 });
  let mayEvict = true;
  const evict = (name: string) => {
    const body = { metadata: { name, namespace: "x" } };
    const options = callOptions(undefined, undefined, () => mayEvict);
    return fake.client.apis.core.createNamespacedPodEviction({ name, namespace: "x", body }, options);
  };
  await evict("first");
  const slow = fake.client.get("/slow");
  await until(() => fake.requests.length === 2);
  const second = rejects(evict("second"), WithdrawnError);
  mayEvict = false;
  open.resolve();
  await Promise.all([slow, second]);
  await fake.client.get("/next");
  deepEqual(fake.requests, ["POST /api/v1/namespaces/x/pods/first/eviction", "GET /slow", "GET /next"]);
});

Deno.test("a call fails at its deadline by the clock, not before, and leaves no timer", async () => {
  const clock = new FakeClock();
  const never = Promise.withResolvers<Response>();
  await using fake = await fakeApiServer(() => never.promise, { clock });
  // The fake's disposal waits for its answer.
  using _answer = { [Symbol.dispose]: () => never.resolve(json({})) };
  let ended = false;
  const call = rejects(fake.client.get("/x"), /did not answer within 10000 ms/).finally(() => ended = true);
  await until(() => fake.requests.length === 1);
  await clock.advance(9_999);
  equal(ended, false);
  await clock.advance(1);
  await call;
  equal(clock.sleepers, 0);
});

Deno.test("the deadline applies to the body of an answer too", async () => {
  await using fake = await fakeApiServer(() => new Response(new ReadableStream({ start() {} })), { timeoutMs: 200 });
  await rejects(fake.client.get("/x"), /did not answer within 200 ms/);
});

Deno.test("a caller's signal ends a call with its reason, whether it runs or waits", async () => {
  const open = Promise.withResolvers<Response>();
  await using fake = await fakeApiServer(() => open.promise, { concurrency: 1 });
  const reason = new Error("no longer wanted");
  const abort = new AbortController();
  const running = rejects(fake.client.get("/x", abort.signal), reason);
  const waiting = rejects(fake.client.get("/y", abort.signal), reason);
  await until(() => fake.requests.length === 1);
  abort.abort(reason);
  await Promise.all([running, waiting]);
  open.resolve(json({}));
});

Deno.test("the query of missing permissions ends with its signal, even if the server does not answer", async () => {
  const never = Promise.withResolvers<Response>();
  await using fake = await fakeApiServer(() => never.promise, { timeoutMs: 3_600_000 });
  const stop = new AbortController();
  const asking = missingPermissions(fake.client, [{ verb: "get", group: "", resource: "nodes" }], stop.signal);
  await until(() => fake.requests.length === 1);
  stop.abort(new Error("stop"));
  await rejects(asking, /^Error: stop$/);
  never.resolve(json({}));
});

Deno.test("calls wait while the server asks for a pause, and fail at once if it is longer than their deadline", async () => {
  const clock = new FakeClock();
  await using fake = await fakeApiServer((_request, count) => {
    if (count === 1) return status(429, {}, { "retry-after": "1" });
    return count === 3 ? status(429, {}, { "retry-after": "60" }) : json({});
  }, { timeoutMs: 5_000, clock });
  await rejects(fake.client.get("/1"), UnavailableError);
  const held = fake.client.get("/2");
  await until(() => clock.sleepers === 2, { what: "the deadline and the pause" });
  await clock.advance(999);
  equal(clock.sleepers, 2, "held back for the second that the server asked for");
  equal(fake.requests.length, 1);
  await clock.advance(1);
  await held;
  await rejects(fake.client.get("/api/v1/pods?limit=1"), UnavailableError);
  await rejects(fake.client.get("/api/v1/namespaces/a/pods"), (error) => {
    ok(error instanceof UnavailableError);
    ok(error.retryAfterMs! > 25_000 && error.retryAfterMs! <= 30_000, "bounded");
    match(error.message, /asked for a pause before it is asked again to list Pods$/);
    equal(error.publicMessage, `the Kubernetes ${error.message.slice(4)}`);
    return true;
  });
  equal(fake.requests.length, 3);
});

Deno.test("a 429 with a long pause holds back calls of its kind; all others wait for a second at most", async () => {
  for (
    const [what, path, isKind] of [
      ["a list of the same, elsewhere", "/api/v1/namespaces/a/pods", true],
      ["a read of one object", "/api/v1/namespaces/a/pods/b", false],
      ["a watch", "/api/v1/pods?watch=true", false],
      ["a list of others", "/api/v1/nodes", false],
      ["a read of a lock", "/apis/coordination.k8s.io/v1/namespaces/a/leases/fleetlock-x", false],
    ] as const
  ) {
    const clock = new FakeClock();
    await using fake = await fakeApiServer(
      (_request, count) =>
        count === 1 ? new Response("Too many requests", { status: 429, headers: { "retry-after": "60" } }) : json({}),
      { clock },
    );
    await rejects(fake.client.get("/api/v1/pods?fieldSelector=spec.nodeName%3Dn"), UnavailableError);
    const call = fake.client.get(path);
    if (isKind) {
      await rejects(call, /to list Pods$/, what);
      await clock.advance(29_999);
    } else {
      await until(() => clock.sleepers === 2, { what: `the deadline and the pause of ${what}` });
      await clock.advance(999);
      equal(fake.requests.length, 1, what);
      await clock.advance(1);
      await call;
    }
    equal(fake.requests.length, isKind ? 1 : 2, what);
    if (!isKind) continue;
    await clock.advance(1);
    await fake.client.get(path);
  }
});

Deno.test("a 5xx with a long pause holds back all calls", async () => {
  const clock = new FakeClock();
  await using fake = await fakeApiServer(
    (_request, count) => count === 1 ? status(503, {}, { "retry-after": "20" }) : json({}),
    { clock },
  );
  await rejects(fake.client.get("/api/v1/pods"), UnavailableError);
  await rejects(
    fake.client.get("/api/v1/nodes"),
    /^UnavailableError: the API server is overloaded and asked for a pause$/,
  );
  await clock.advance(20_000);
  await fake.client.get("/api/v1/nodes");
  equal(fake.requests.length, 2);
});

Deno.test("a stream that the server refuses for a while holds back other calls for a second, and further such streams until then", async () => {
  const clock = new FakeClock();
  await using fake = await fakeApiServer((request, count) => {
    if (count === 1) return status(429, {}, { "retry-after": "3" });
    return request.url.endsWith("/other") ? json({}) : new Response(new ReadableStream({ start() {} }));
  }, { timeoutMs: 5_000, clock });
  await rejects(fake.client.stream("/1"), (error) => error instanceof UnavailableError && error.retryAfterMs === 3_000);
  const call = fake.client.get("/other");
  await until(() => clock.sleepers === 2, { what: "the call's deadline and pause" });
  await clock.advance(999);
  equal(fake.requests.length, 1);
  await clock.advance(1);
  await call;
  const stream = fake.client.stream("/1");
  await until(() => clock.sleepers === 2, { what: "the stream's deadline and pause" });
  await clock.advance(1_999);
  equal(fake.requests.length, 2);
  await clock.advance(1);
  await (await stream)[Symbol.asyncDispose]();
  equal(fake.requests.length, 3);
});

Deno.test("a refused write, which may be about one object only, does not hold back other calls", async () => {
  await using fake = await fakeApiServer((request) =>
    request.method === "GET" ? json({}) : status(429, {}, { "retry-after": "60" })
  );
  const evicting = fake.client.apis.core.createNamespacedPodEviction({ namespace: "ns", name: "p", body: {} });
  await rejects(evicting, (error) => error instanceof UnavailableError && error.retryAfterMs === 60_000);
  await fake.client.get("/x");
});

Deno.test("a stream whose headers arrive after its connection was retired ends normally", async () => {
  const headers = Promise.withResolvers<Response>();
  const endless = () => new Response(new ReadableStream({ start() {} }));
  await using fake = await fakeApiServer((request) => request.url.endsWith("/late") ? headers.promise : endless());
  const first = await fake.client.stream("/first");
  const late = fake.client.stream("/late");
  await until(() => fake.requests.length === 2);
  first.retire();
  await first[Symbol.asyncDispose]();
  headers.resolve(endless());
  await (await late)[Symbol.asyncDispose]();
});

for (const [method, tries] of [["GET", 2], ["POST", 1]] as const) {
  Deno.test(`a ${method} whose connection breaks before the answer is tried ${tries === 1 ? "once" : "twice"}`, async () => {
    const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    let accepted = 0;
    const serving = (async () => {
      for await (const connection of listener) {
        accepted++;
        await connection.read(new Uint8Array(1024));
        connection.close();
      }
    })();
    await using fake = await fakeApiServer(() => json({}), {}, `http://127.0.0.1:${listener.addr.port}`);
    const { client } = fake;
    const call = method === "GET"
      ? client.get("/x")
      : client.apis.coordination.createNamespacedLease({ namespace: "ns", body: {} });
    await rejects(call, UnavailableError);
    equal(accepted, tries);
    listener.close();
    await serving;
  });
}

Deno.test("disposing of a client ends its calls and streams, and later ones fail", async () => {
  const open = Promise.withResolvers<Response>();
  await using fake = await fakeApiServer((request) =>
    request.url.endsWith("/stream") ? new Response(new ReadableStream({ start() {} })) : open.promise
  );
  const running = rejects(fake.client.get("/x"), /closed/);
  await using stream = await fake.client.stream("/stream");
  const reading = rejects(async () => {
    for await (const _ of stream.body);
  });
  await until(() => fake.requests.length === 2);
  await fake.client[Symbol.asyncDispose]();
  await Promise.all([running, reading]);
  await rejects(fake.client.get("/y"), /closed/);
  open.resolve(json({}));
});

Deno.test("an unreachable server is a fault that names its address", async () => {
  const gone = await fakeApiServer(() => json({}));
  await gone[Symbol.asyncDispose]();
  await using fake = await fakeApiServer(() => json({}), {}, gone.client.server);
  await rejects(fake.client.get("/x"), (error) => {
    ok(error instanceof UnavailableError);
    ok(error.message.startsWith(`cannot connect to the API server at ${gone.client.server}: `), error.message);
    return true;
  });
});
