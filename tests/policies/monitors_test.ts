import { deepEqual, equal, ok } from "node:assert/strict";
import { type MonitorFailure, Monitors } from "../../src/policies/monitors.ts";
import type { AlertmanagerHealth, PrometheusHealth } from "../../src/policies/options.ts";
import { FakeClock } from "../support/fake_clock.ts";

/** A monitor that answers as a test says. */
async function serving(
  answer: (request: Request) => Response | Promise<Response>,
  body: (url: string) => Promise<void>,
): Promise<void> {
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, answer);
  try {
    await body(`http://127.0.0.1:${server.addr.port}/monitor`);
  } finally {
    await server.shutdown();
  }
}

function prometheus(url: string, more: Partial<PrometheusHealth> = {}): PrometheusHealth {
  return { url, queries: [{ name: "lag", expr: "lag > 5" }], onError: "refuse", ...more };
}

function alertmanager(url: string, more: Partial<AlertmanagerHealth> = {}): AlertmanagerHealth {
  return { url, alerts: "^Ceph", onError: "refuse", ...more };
}

const vector = (...result: unknown[]) => Response.json({ status: "success", data: { resultType: "vector", result } });
const series = { metric: { __name__: "lag", pod: "db-0" }, value: [1, "7"] };

Deno.test("each series of a query's vector is an alarm with its labels and value", () =>
  serving((request) => {
    const { pathname, searchParams } = new URL(request.url);
    equal(pathname, "/monitor/api/v1/query");
    equal(request.headers.get("authorization"), null);
    equal(request.headers.get("accept"), "application/json");
    return searchParams.get("query") === "lag > 5" ? vector(series) : vector();
  }, async (url) => {
    const monitors = new Monitors({ clock: new FakeClock() });
    const queries = [{ name: "lag", expr: "lag > 5" }, { name: "quiet", expr: "up == 0" }];
    deepEqual(await monitors.ask(prometheus(url, { queries })), {
      kind: "known",
      value: [{ name: "lag", detail: "__name__=lag,pod=db-0 7" }],
    });
  }));

Deno.test("each active alert whose name Alertmanager matches is an alarm with its labels", () =>
  serving((request) => {
    const { pathname, searchParams } = new URL(request.url);
    equal(pathname, "/monitor/api/v2/alerts");
    deepEqual(Object.fromEntries(searchParams), {
      active: "true",
      silenced: "false",
      inhibited: "false",
      unprocessed: "false",
      filter: String.raw`alertname=~"^Ceph\\w+\"?"`,
    });
    return Response.json([
      { labels: { alertname: "CephDown", osd: "3" }, status: { state: "active" } },
      { labels: { alertname: "CephSlow" }, status: { state: "suppressed" } },
      { labels: { alertname: "CephFull" }, status: { state: "active" } },
    ]);
  }, async (url) => {
    // A trailing slash of the URL does not matter.
    const monitor = alertmanager(`${url}/`, { alerts: String.raw`^Ceph\w+"?` });
    deepEqual(await new Monitors({ clock: new FakeClock() }).ask(monitor), {
      kind: "known",
      value: [{ name: "CephDown", detail: "osd=3" }, { name: "CephFull", detail: "active" }],
    });
  }));

Deno.test("questions that come together are one, and an answer serves for some seconds", async () => {
  let asked = 0;
  await serving(() => (asked++, vector()), async (url) => {
    const clock = new FakeClock();
    const monitors = new Monitors({ clock });
    const monitor = prometheus(url);
    deepEqual(monitors.known(monitor), { kind: "not_asked" });
    await Promise.all([monitors.ask(monitor), monitors.ask(monitor)]);
    equal(asked, 1);
    await clock.advance(9_999);
    deepEqual(monitors.known(monitor), { kind: "known", value: [] });
    await monitors.ask(monitor);
    equal(asked, 1);
    await clock.advance(1);
    deepEqual(monitors.known(monitor), { kind: "not_asked" });
    await monitors.ask(monitor);
    equal(asked, 2);
    await monitors.ask({ ...monitor });
    equal(asked, 3, "the monitor of another file is another one");
  });
});

const faults: readonly [string, (url: string) => Response | Promise<Response>, string, "both" | "prometheus"][] = [
  ["an error status", () => new Response("{}", { status: 503 }), "it answered with status 503", "both"],
  ["a redirect", (url) => Response.redirect(`${url}/x`), "it answered with status 302", "both"],
  ["garbage", () => new Response("<html>"), "its answer is not JSON", "both"],
  ["nothing", () => new Response(""), "its answer is not JSON", "both"],
  [
    "endless text",
    () => new Response("x".repeat(4 * 1024 * 1024 + 1)),
    "its answer is longer than 4194304 bytes",
    "both",
  ],
  ["as much text as is read", () => new Response("x".repeat(4 * 1024 * 1024)), "its answer is not JSON", "both"],
  ["no body", () => new Response(null, { status: 204 }), "its answer is not JSON", "both"],
  [
    "an alert without labels",
    () => Response.json([{ status: { state: "active" } }]),
    "its answer is not that of a ",
    "both",
  ],
  [
    "another status",
    () => Response.json({ status: "partial", data: { resultType: "vector", result: [] } }),
    "its answer is not that of a Prometheus",
    "prometheus",
  ],
  [
    "a result that is not a list",
    () => Response.json({ status: "success", data: { resultType: "vector", result: 7 } }),
    "its answer is not that of a Prometheus",
    "prometheus",
  ],
  [
    "an error of the query, with its status",
    () => Response.json({ status: "error", error: "parse error" }, { status: 400 }),
    "it did not answer the query lag",
    "prometheus",
  ],
  ["null", () => Response.json(null), "its answer is not that of a ", "both"],
  ["another program's JSON", () => Response.json({ items: [] }), "its answer is not that of a ", "both"],
  ["a list of nothing", () => Response.json([null]), "its answer is not that of a ", "both"],
  [
    "an error of the query",
    () => Response.json({ status: "error", error: "parse error" }, { status: 200 }),
    "it did not answer the query lag",
    "prometheus",
  ],
  [
    "a scalar",
    () => Response.json({ status: "success", data: { resultType: "scalar", result: [1, "1"] } }),
    'the query lag must give a vector, such as "x > 5": it gives a scalar',
    "prometheus",
  ],
];

for (const [name, answer, reason, of] of faults) {
  Deno.test(`an answer that is not one is a failure with a sentence: ${name}`, () =>
    serving((request) => answer(request.url), async (url) => {
      const monitors = new Monitors({ clock: new FakeClock() });
      for (const monitor of of === "both" ? [prometheus(url), alertmanager(url)] : [prometheus(url)]) {
        const known = await monitors.ask(monitor);
        ok(known.kind === "failed" && known.reason.startsWith(reason.replace(/ $/, "")), JSON.stringify(known));
        deepEqual(monitors.known(monitor), known);
      }
    }));
}

Deno.test("a monitor that hangs or cannot be reached is a failure that does not show its address", async () => {
  const hanging = Promise.withResolvers<Response>();
  await serving(() => hanging.promise, async (url) => {
    const monitors = new Monitors({ clock: new FakeClock(), timeoutMs: 50 });
    deepEqual(await monitors.ask(prometheus(url)), { kind: "failed", reason: "it did not answer in time" });
    hanging.resolve(vector());
  });
  const closed = "http://user:secret@127.0.0.1:1/";
  const monitors = new Monitors({ clock: new FakeClock() });
  deepEqual(await monitors.ask(alertmanager(closed)), { kind: "failed", reason: "it cannot be reached" });
});

/** Answers of which somebody says that data may be missing, and what they come to. */
const warned: readonly [string, unknown, string | undefined][] = [
  ["a store that did not answer", { warnings: ["No StoreAPIs matched: dial tcp 10.0.0.7:10901"] }, "incomplete"],
  ["a warning about the data", { warnings: ["PromQL warning: mix of histograms and floats"] }, "incomplete"],
  ["warnings of another form", { warnings: "partial" }, "incomplete"],
  ["a note of Prometheus 3", { infos: ["PromQL info: metric might not be a counter"] }, undefined],
  ["a note of Prometheus 2.48", { warnings: ["PromQL info: metric might not be a counter"] }, undefined],
  ["nothing", { warnings: [], infos: null }, undefined],
];

for (const [name, more, expected] of warned) {
  Deno.test(`an empty result with warnings is not a clear sky: ${name}`, () =>
    serving(
      () => Response.json({ status: "success", data: { resultType: "vector", result: [] }, ...more as object }),
      async (url) => {
        const failures: MonitorFailure[] = [];
        const monitors = new Monitors({ clock: new FakeClock(), onFailure: (failure) => failures.push(failure) });
        const reason = `its answer to the query lag is ${expected}`;
        const known = await monitors.ask(prometheus(url));
        deepEqual(known, expected === undefined ? { kind: "known", value: [] } : { kind: "failed", reason });
        const detail = [(more as { warnings?: unknown }).warnings].flat().join("; ");
        deepEqual(failures, expected === undefined ? [] : [{ monitor: "Prometheus", reason, detail }]);
      },
    ));
}

Deno.test("an alarm counts although its answer has warnings and another query fails", () =>
  serving((request) => {
    if (new URL(request.url).searchParams.get("query") === "broken") return Response.json({ status: "error" });
    return Response.json({
      status: "success",
      data: { resultType: "vector", result: [series] },
      warnings: ["partial"],
    });
  }, async (url) => {
    const failures: string[] = [];
    const onFailure = ({ reason }: MonitorFailure) => failures.push(reason);
    const queries = [{ name: "broken", expr: "broken" }, { name: "lag", expr: "lag" }];
    const known = await new Monitors({ clock: new FakeClock(), onFailure }).ask(prometheus(url, { queries }));
    deepEqual(known, { kind: "known", value: [{ name: "lag", detail: "__name__=lag,pod=db-0 7" }] });
    deepEqual(failures, ["it did not answer the query broken"]);
  }));

Deno.test("hosts are told one sentence, and the operator once the monitor's own words", async () => {
  let error = 'parse error in "secret_query": see http://me:word@db';
  const folder = await Deno.makeTempDir();
  const tokenFile = `${folder}/token`;
  await Deno.writeTextFile(tokenFile, "abc123");
  await serving((request) => {
    return Response.json({ status: "error", error: error + request.headers.get("authorization") }, { status: 400 });
  }, async (url) => {
    const failures: MonitorFailure[] = [];
    const clock = new FakeClock();
    const monitors = new Monitors({ clock, onFailure: (failure) => failures.push(failure) });
    const monitor = prometheus(url, { tokenFile });
    for (const next of [error, error, "x".repeat(10_000)]) {
      error = next;
      deepEqual(await monitors.ask(monitor), { kind: "failed", reason: "it did not answer the query lag" });
      await clock.advance(10_000);
    }
    deepEqual(failures.map(({ detail }) => detail), [
      'parse error in "secret_query": see http://dbBearer TOKEN',
      "x".repeat(1_000),
    ]);
  });
  await Deno.remove(folder, { recursive: true });
});

Deno.test("a CA file that is not one is a failure of this monitor alone", async () => {
  const caFile = await Deno.makeTempFile();
  await Deno.writeTextFile(caFile, "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n");
  const monitor = prometheus("https://127.0.0.1:1", { caFile });
  const reason = "the server cannot use its CA file";
  deepEqual(await new Monitors({ clock: new FakeClock() }).ask(monitor), { kind: "failed", reason });
  await Deno.remove(caFile);
});

Deno.test("the token is read for each question, and its absence is a failure", async () => {
  const tokens: (string | null)[] = [];
  const folder = await Deno.makeTempDir();
  const tokenFile = `${folder}/token`;
  await serving((request) => (tokens.push(request.headers.get("authorization")), vector()), async (url) => {
    const clock = new FakeClock();
    const monitors = new Monitors({ clock });
    const monitor = prometheus(url, { tokenFile });
    deepEqual(await monitors.ask(monitor), { kind: "failed", reason: "the server cannot read its token file" });
    for (const token of ["one", "two"]) {
      await Deno.writeTextFile(tokenFile, ` ${token}\n`);
      await clock.advance(10_000);
      equal((await monitors.ask(monitor)).kind, "known");
    }
  });
  deepEqual(tokens, ["Bearer one", "Bearer two"]);
  await Deno.remove(folder, { recursive: true });
});

Deno.test("an answer keeps a bounded number of alarms", () =>
  serving(() => vector(...Array.from({ length: 1_000 }, () => series)), async (url) => {
    const known = await new Monitors({ clock: new FakeClock() }).ask(prometheus(url));
    equal(known.kind === "known" && known.value.length, 20);
  }));

Deno.test("a question may take five seconds, or what the options say", () =>
  serving(() => vector(), async (url) => {
    const { timeout } = AbortSignal;
    const limits: number[] = [];
    AbortSignal.timeout = (ms) => {
      limits.push(ms);
      return new AbortController().signal;
    };
    try {
      for (const timeoutMs of [undefined, 70]) {
        await new Monitors({ clock: new FakeClock(), ...(timeoutMs !== undefined && { timeoutMs }) }).ask(
          prometheus(url),
        );
      }
    } finally {
      AbortSignal.timeout = timeout;
    }
    deepEqual(limits, [5_000, 70]);
  }));

/** Series of a vector, and what is told of them. */
const SERIES: [series: unknown, detail: string][] = [
  [series, "__name__=lag,pod=db-0 7"],
  [{ metric: {}, value: [1, "7"] }, "7"],
  [{ value: [1, "7"] }, "7"],
  [{ metric: null, value: [1, "7"] }, "7"],
  [{ metric: "lag", value: [1, "7"] }, "7"],
  [{ metric: { pod: "a" } }, "pod=a ?"],
  [{ metric: { pod: "a" }, value: "7" }, "pod=a ?"],
  [null, "?"],
  [{ metric: { pod: "größer" }, value: [1, "7"] }, "pod=größer 7"],
];

for (const [each, detail] of SERIES) {
  Deno.test(`a series is an alarm whatever it lacks: ${JSON.stringify(each)}`, () =>
    serving(() => {
      // Byte by byte, so that a letter comes in parts.
      const bytes = new TextEncoder().encode(
        JSON.stringify({ status: "success", data: { resultType: "vector", result: [each] } }),
      );
      return new Response(ReadableStream.from([...bytes].map((byte) => Uint8Array.of(byte))));
    }, async (url) => {
      deepEqual(await new Monitors({ clock: new FakeClock() }).ask(prometheus(url)), {
        kind: "known",
        value: [{ name: "lag", detail }],
      });
    }));
}

Deno.test("an alert that does not say that it is active is not an alarm", () =>
  serving(() => Response.json([{ labels: { alertname: "CephDown" } }]), async (url) => {
    const known = await new Monitors({ clock: new FakeClock() }).ask(alertmanager(url));
    deepEqual(known, { kind: "known", value: [] });
  }));

Deno.test("a certificate that cannot be read is a failure", () =>
  serving(() => vector(), async (url) => {
    const monitor = prometheus(url, { caFile: "/nowhere/ca.crt" });
    deepEqual(await new Monitors({ clock: new FakeClock() }).ask(monitor), {
      kind: "failed",
      reason: "the server cannot read its CA file",
    });
  }));

Deno.test("each question that failed is counted, and its failure is known until an answer comes without one", async () => {
  let isAway = true;
  await serving(() => isAway ? new Response("", { status: 503 }) : vector(), async (url) => {
    const clock = new FakeClock();
    const failed: string[] = [];
    const monitors = new Monitors({ clock, onFailedQuestion: (...of) => failed.push(of.join(" ")) });
    const [queries, alerts] = [prometheus(url, { onError: "allow" }), alertmanager(url)];
    equal(monitors.failureOf(queries), undefined);
    for (let times = 0; times < 2; times++) {
      await monitors.ask(queries);
      await clock.advance(10_000);
    }
    await monitors.ask(alerts);
    deepEqual(failed, ["Prometheus allow", "Prometheus allow", "Alertmanager refuse"]);
    equal(monitors.failureOf(queries), "it answered with status 503");
    isAway = false;
    await monitors.ask(queries);
    equal(monitors.failureOf(queries), undefined);
    equal(failed.length, 3);
  });
});
