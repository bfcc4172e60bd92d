/**
 * The whole program beside a real Prometheus and a real Alertmanager: a query, an alert and a silence decide over a
 * slot, and a monitor that answers wrongly or not at all does what the file says.
 *
 * @module
 */

import { deepEqual, equal, match } from "node:assert/strict";
import { until } from "../support/condition.ts";
import { MONITORS_LACK, serveGauge, startAlertmanager, startPrometheus } from "../support/monitors.ts";
import { PROGRAM, startProgram } from "../support/program.ts";
import { preReboot, type Reply, steadyState } from "../support/zincati.ts";

const HOST = "c988d2509fdf5cdcbed39037c56406fb";

function test(name: string, lack: string | undefined, fn: (folder: string) => Promise<void>): void {
  const title = `${PROGRAM}: ${name}${lack === undefined ? "" : ` (skipped: ${lack})`}`;
  Deno.test({ name: title, ignore: lack !== undefined, fn: inFolder });
  async function inFolder() {
    const folder = await Deno.makeTempDir({ prefix: "fleetlock-test-" });
    try {
      await fn(folder);
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  }
}

/** Starts the program with a group `workers` whose health is as given. */
async function startWith(folder: string, health: Record<string, unknown>) {
  const path = `${folder}/policies.yaml`;
  await Deno.writeTextFile(path, JSON.stringify({ groups: { workers: { health } } }));
  return await startProgram([`--store=sqlite:${folder}/locks.db`, `--config=${path}`]);
}

/** Asks until the reply is of a kind; undefined for a yes. What a monitor says is kept for ten seconds. */
async function untilKind(url: string, kind: string | undefined): Promise<Reply> {
  let last: Reply | undefined;
  await until(async () => {
    last = await preReboot(url, HOST, "workers");
    return last.kind === kind;
  }, { timeoutMs: 60_000, what: () => `${kind}; the last reply was ${JSON.stringify(last)}` });
  return last!;
}

test("a query of a Prometheus refuses while its result is not empty", MONITORS_LACK, async (folder) => {
  await using lag = serveGauge("replication_lag");
  lag.value = 7;
  await using prometheus = await startPrometheus(folder, lag.target);
  const queries = [{ name: "replication", expr: "replication_lag > 5 or absent(replication_lag)" }];
  await using program = await startWith(folder, { prometheus: { url: prometheus.url, queries } });
  const refused = await untilKind(program.url, "fleet_unhealthy");
  equal(refused.status, 423);
  match(refused.value!, /queries speak against a reboot: replication \(/);
  await until(async () => / 7\)/.test((await preReboot(program.url, HOST, "workers")).value ?? ""), {
    timeoutMs: 60_000,
  });
  lag.value = 0;
  await untilKind(program.url, undefined);
});

test("a query that Prometheus cannot read refuses, and the log says why", MONITORS_LACK, async (folder) => {
  await using lag = serveGauge("replication_lag");
  await using prometheus = await startPrometheus(folder, lag.target);
  for (
    const [expr, why] of [
      ["replication_lag >", /Prometheus cannot be asked: it did not answer the query replication$/],
      ["1 + 1", /must give a vector/],
    ] as const
  ) {
    const queries = [{ name: "replication", expr }];
    await using program = await startWith(folder, { prometheus: { url: prometheus.url, queries } });
    const refused = await untilKind(program.url, "policy_undecided");
    match(refused.value!, why);
    await program.stop();
    const told = program.records().filter(({ message }) => message === "a monitor cannot be relied on");
    equal(told.length, 1, program.log());
    if (expr.endsWith(">")) match(String(told[0]!.detail), /parse error/);
  }
});

test("an empty result of a Prometheus that lacks a remote one refuses", MONITORS_LACK, async (folder) => {
  await using lag = serveGauge("replication_lag");
  await using prometheus = await startPrometheus(folder, lag.target, {
    remote_read: [{ url: "http://127.0.0.1:1/read", read_recent: true }],
  });
  const queries = [{ name: "replication", expr: "replication_lag > 5" }];
  await using program = await startWith(folder, { prometheus: { url: prometheus.url, queries } });
  const refused = await untilKind(program.url, "policy_undecided");
  match(refused.value!, /Prometheus cannot be asked: its answer to the query replication is incomplete$/);
  // An alarm that this Prometheus has itself counts all the same.
  lag.value = 7;
  await untilKind(program.url, "fleet_unhealthy");
  await program.stop();
  match(program.log(), /remote_read/);
});

test("an alert of an Alertmanager refuses until somebody silences it", MONITORS_LACK, async (folder) => {
  await using alertmanager = await startAlertmanager(folder);
  const post = async (path: string, body: unknown) => {
    const headers = { "content-type": "application/json" };
    const reply = await fetch(`${alertmanager.url}/api/v2/${path}`, {
      method: "POST",
      headers,
      body: JSON.stringify(body),
    });
    equal(reply.status, 200, await reply.text());
  };
  await post("alerts", [
    { labels: { alertname: "CephOSDDown", osd: "3" } },
    { labels: { alertname: "Watchdog" } },
  ]);
  const alerts = "^Ceph.*";
  await using program = await startWith(folder, { alertmanager: { url: alertmanager.url, alerts } });
  const refused = await untilKind(program.url, "fleet_unhealthy");
  match(refused.value!, /alerts speak against a reboot: CephOSDDown \(osd=3\)$/);
  const now = Date.now();
  await post("silences", {
    matchers: [{ name: "alertname", value: "CephOSDDown", isRegex: false, isEqual: true }],
    startsAt: new Date(now).toISOString(),
    endsAt: new Date(now + 3_600_000).toISOString(),
    createdBy: "ops",
    comment: "the disk is on order",
  });
  await untilKind(program.url, undefined);
});

type Answer = (over: Promise<Response>) => Response | Promise<Response>;

const FAULTS: readonly (readonly [name: string, answer: Answer, why: RegExp])[] = [
  ["answers garbage", () => new Response("<html>"), /its answer is not JSON$/],
  ["answers JSON of another program", () => Response.json({ hello: 1 }), /its answer is not that of a/],
  ["fails", () => new Response("out of memory", { status: 500 }), /it answered with status 500$/],
  ["does not answer", (over) => over, /it did not answer in time$/],
];
for (const [name, answer, why] of FAULTS) {
  test(`a monitor that ${name} refuses, or is left out where the file says so`, undefined, async (folder) => {
    const over = Promise.withResolvers<Response>();
    await using server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, () => answer(over.promise));
    const url = `http://127.0.0.1:${server.addr.port}`;
    const health = (onError: string) => ({
      prometheus: { url, queries: [{ name: "lag", expr: "lag > 5" }], onError },
      alertmanager: { url, alerts: "Ceph", onError },
    });
    {
      await using strict = await startWith(folder, health("refuse"));
      const { status, kind, value } = await preReboot(strict.url, HOST, "workers");
      deepEqual([status, kind], [423, "policy_undecided"]);
      match(value!, why);
      equal((await steadyState(strict.url, HOST, "workers")).status, 200);
    }
    await using lenient = await startWith(folder, health("allow"));
    equal((await preReboot(lenient.url, HOST, "workers")).status, 200);
    over.resolve(new Response());
  });
}
