/** What is asked about permissions, when, and what is told of the answers. @module */

import { deepEqual, equal } from "node:assert/strict";
import { PermissionMonitor } from "../../src/kubernetes/permission_monitor.ts";
import { warnOfSkew } from "../../src/kubernetes/skew_warning.ts";
import { PermissionGate } from "../../src/service/permissions.ts";
import { until } from "../support/condition.ts";
import { fakeApiServer, json, status } from "../support/fake_api_server.ts";
import { FakeClock } from "../support/fake_clock.ts";

const permission = (verb: string, resource: string) => ({ verb, group: "", resource });
const [create, evict, list] = [permission("create", "leases"), permission("patch", "nodes"), permission("list", "x")];
const USED = { required: [create, evict], forDrain: [evict], optional: [list] };

/** A log that keeps what it is told, as "level message permission". */
function notingLog(told: string[]) {
  const note = (level: string) => (message: string, { permission = "" }: Record<string, unknown>) => {
    told.push(`${level} ${message} ${permission}`.trim());
  };
  return { error: note("error"), warning: note("warning"), info: note("info") };
}

const review = (allowed: boolean) =>
  json({ apiVersion: "authorization.k8s.io/v1", kind: "SelfSubjectAccessReview", status: { allowed } }, 201);

Deno.test("missing permissions are told when they go missing and when they come back", async () => {
  let denied = ["list", "patch"];
  await using fake = await fakeApiServer(async (request) => {
    const { spec } = await request.json();
    return review(!denied.includes(spec.resourceAttributes.verb));
  });
  const [clock, told, stop] = [new FakeClock(), [] as string[], new AbortController()];
  const monitor = new PermissionMonitor(fake.client, () => USED, { log: notingLog(told), clock });
  equal(monitor.isAnswered, false);
  const running = monitor.run(stop.signal);
  await until(() => clock.sleepers === 1);
  deepEqual(told.splice(0), [
    "error required permission missing patch nodes",
    "warning optional permission missing: performance is reduced list x",
  ]);
  deepEqual(monitor.missing, { required: [evict], optional: [list] });
  equal(monitor.missingForDrain(), evict);
  // Nothing new is nothing to tell.
  await clock.advance(30_000);
  await until(() => fake.requests.length === 6 && clock.sleepers === 1);
  deepEqual(told, []);
  denied = ["create"];
  await clock.advance(30_000);
  await until(() => fake.requests.length === 9 && clock.sleepers === 1);
  deepEqual(told.splice(0).sort(), [
    "error required permission missing create leases",
    "info permission no longer missing list x",
    "info permission no longer missing patch nodes",
  ]);
  equal(monitor.missingForDrain(), undefined, "a lock's permission is not one of a drain");
  denied = [];
  await clock.advance(30_000);
  await until(() => fake.requests.length === 12 && clock.sleepers === 1);
  await clock.advance(299_999);
  equal(fake.requests.length, 12);
  await clock.advance(1);
  await until(() => fake.requests.length === 15);
  stop.abort();
  await running;
});

Deno.test("while nobody answers, the monitor asks again after 5 s, then 10 s; what it knows stays", async () => {
  let answer = () => status(503);
  await using fake = await fakeApiServer(() => answer());
  const [clock, told, stop] = [new FakeClock(), [] as string[], new AbortController()];
  const monitor = new PermissionMonitor(fake.client, () => ({ ...USED, optional: [] }), {
    log: notingLog(told),
    clock,
  });
  const running = monitor.run(stop.signal);
  for (const pauseMs of [5_000, 10_000]) {
    await until(() => clock.sleepers === 1);
    equal(monitor.isAnswered, false);
    const before = fake.requests.length;
    await clock.advance(pauseMs - 1);
    equal(fake.requests.length, before);
    answer = pauseMs === 10_000 ? () => review(false) : answer;
    await clock.advance(1);
    await until(() => fake.requests.length === before + 2);
  }
  await until(() => monitor.isAnswered);
  deepEqual(monitor.missing.required, [create, evict]);
  answer = () => status(503);
  await until(() => clock.sleepers === 1);
  await clock.advance(30_000);
  await until(() => told.filter((one) => one.startsWith("warning cannot check")).length === 3);
  deepEqual(monitor.missing.required, [create, evict]);
  stop.abort();
  await running;
});

Deno.test("a cluster that does not let clients ask counts as answered, and is told once", async () => {
  await using fake = await fakeApiServer(() =>
    status(403, { message: 'User "u" cannot create resource "selfsubjectaccessreviews" in API group "a"' })
  );
  const [clock, told, stop] = [new FakeClock(), [] as string[], new AbortController()];
  const monitor = new PermissionMonitor(fake.client, () => USED, { log: notingLog(told), clock });
  const running = monitor.run(stop.signal);
  await until(() => clock.sleepers === 1);
  equal(monitor.isAnswered, true);
  await clock.advance(300_000);
  await until(() => fake.requests.length === 6 && clock.sleepers === 1);
  deepEqual(told, ["warning cannot check the server's permissions"]);
  stop.abort();
  await running;
});

Deno.test("permissions that come to be used are asked about at once", async () => {
  await using fake = await fakeApiServer(async (request) => {
    const { spec } = await request.json();
    return review(spec.resourceAttributes.verb !== "patch");
  });
  const [clock, told, stop] = [new FakeClock(), [] as string[], new AbortController()];
  let used = { required: [create], forDrain: [] as typeof create[], optional: [] as typeof create[] };
  const monitor = new PermissionMonitor(fake.client, () => used, { log: notingLog(told), clock });
  const running = monitor.run(stop.signal);
  await until(() => clock.sleepers === 1);
  deepEqual(told, []);
  used = { required: [create, evict], forDrain: [evict], optional: [] };
  monitor.askNow();
  await until(() => told.length > 0 && clock.sleepers === 1);
  deepEqual(told, ["error required permission missing patch nodes"]);
  equal(monitor.missingForDrain(), evict);
  stop.abort();
  await running;
});

Deno.test("a missing permission keeps a replica from becoming ready, and does not make a ready one unready", () => {
  const monitor = { isAnswered: false, missing: { required: [create], optional: [] as typeof create[] } };
  const gate = new PermissionGate(monitor);
  equal(gate.judge().kind, "not_ready", "not asked yet");
  monitor.isAnswered = true;
  const note = "the server may not create leases: grant it in the ClusterRole";
  deepEqual(gate.judge(), { kind: "not_ready", reason: note });
  monitor.missing = { required: [], optional: [list] };
  deepEqual(gate.judge(), { kind: "ready", note: undefined });
  monitor.missing = { required: [create], optional: [] };
  deepEqual(gate.judge(), { kind: "ready", note });
});

Deno.test("a clock that is off is told once, again when it is off by far more, and when it agrees", async () => {
  const [local, told, stop] = [new FakeClock(), [] as string[], new AbortController()];
  let skewMs: number | undefined;
  const clock = {
    get skewMs() {
      return skewMs;
    },
    sleep: local.sleep.bind(local),
  };
  const log = (level: string) => (_message: string, { skew_seconds }: Record<string, unknown>) => {
    told.push(`${level} ${skew_seconds}`);
  };
  const running = warnOfSkew(clock, { warning: log("warning"), info: log("info") }, stop.signal);
  for (const next of [undefined, 5_000, -5_001, -9_000, -20_000, -21_000, 3_600_000, 3_700_000, 0, 0]) {
    skewMs = next;
    await local.advance(10_000);
  }
  stop.abort();
  await running;
  deepEqual(told, ["warning -5", "warning -20", "warning 3600", "info 0"]);
});
