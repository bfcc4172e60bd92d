/**
 * The metrics page, and the store that counts its calls.
 *
 * @module
 */

import { deepEqual, equal, match, ok } from "node:assert/strict";
import { type ClientId, parseClientId, parseGroup } from "../../src/lock/identity.ts";
import { LockService } from "../../src/lock/lock_service.ts";
import { slotsOnly } from "../../src/lock/policy.ts";
import { UnavailableError } from "../../src/lock/errors.ts";
import { ABSENT, MemoryLockStore } from "../../src/lock/lock_store.ts";
import { FREE } from "../../src/lock/semaphore.ts";
import { MeteredLockStore } from "../../src/telemetry/metered_store.ts";
import { Metrics } from "../../src/telemetry/metrics.ts";
import { FakeClock } from "../support/fake_clock.ts";
import { ConflictingStore, UnavailableStore } from "../support/faulty_stores.ts";

const GROUP = parseGroup("default")!;
const id = (raw: string) => raw as ClientId;

/** A page as series to value, each line checked. */
async function scrape(metrics: Metrics): Promise<Map<string, number>> {
  const series = new Map<string, number>();
  const types = new Map<string, string>();
  let helped = "";
  for (const line of (await metrics.render()).split("\n")) {
    if (line === "") continue;
    const comment = /^# (HELP|TYPE) ([a-z_]+) (.+)$/.exec(line);
    if (comment !== null) {
      const [, what, name, text] = comment as unknown as [string, string, string, string];
      if (what === "HELP") helped = name;
      else {
        equal(name, helped, "TYPE follows HELP");
        match(text, /^(gauge|counter|histogram)$/);
        ok(!types.has(name), `${name} is described once`);
        types.set(name, text);
      }
      continue;
    }
    const sample = /^([a-z_0-9]+)(\{[a-z_]+="[^"\\\n]*"(?:,[a-z_]+="[^"\\\n]*")*\})? (\S+)$/.exec(line);
    ok(sample !== null, `not a sample: ${line}`);
    const [, name, labels = "", value] = sample as unknown as [string, string, string | undefined, string];
    ok(types.has(name) || types.get(name.replace(/_(bucket|sum|count)$/, "")) === "histogram", `${name} has a type`);
    match(value, /^-?\d+(\.\d+)?(e[+-]\d+)?$/, `${line} is a finite number`);
    ok(!series.has(name + labels), `${name}${labels} stands there once`);
    series.set(name + labels, Number(value));
  }
  return series;
}

Deno.test("the page is well-formed from the start, with no value missing", async () => {
  const series = await scrape(new Metrics({ version: "1.2.3" }));
  equal(series.get("fleetlock_lock_request_count"), 0);
  equal(series.get("fleetlock_unlock_request_count"), 0);
  equal(series.get("fleetlock_watch_synced"), 0);
  equal(series.get("fleetlock_grants_without_node_total"), 0);
  equal(series.get(`fleetlock_build_info{version="1.2.3",deno="${Deno.version.deno}"}`), 1);
  equal(series.get('fleetlock_store_operations_total{operation="write",result="conflict"}'), 0);
  ok(series.get("process_resident_memory_bytes")! > 1e6);
  ok(series.get("process_cpu_seconds_total")! > 0);
  ok(Math.abs(series.get("process_start_time_seconds")! - (Date.now() - performance.now()) / 1000) < 60);
});

Deno.test("open files are counted if Deno has all permissions, and left out otherwise", async () => {
  ok(!(await scrape(new Metrics({ version: "1" }))).has("process_open_fds"));
  const program = `
    import { Metrics } from "${new URL("../../src/telemetry/metrics.ts", import.meta.url)}";
    const metrics = new Metrics({ version: "1" });
    const count = async () => Number(/^process_open_fds (\\S+)$/m.exec(await metrics.render())[1]);
    const before = await count();
    const files = Array.from({ length: 7 }, () => Deno.openSync(".", { read: true }));
    console.log(before > 2, await count() - before);
    for (const file of files) file.close();
    console.log(await count() - before);
  `;
  // An evaluated program has all permissions.
  const { stdout, stderr } = await new Deno.Command(Deno.execPath(), { args: ["eval", "--quiet", program] }).output();
  const text = new TextDecoder();
  equal(text.decode(stdout), "true 7\n0\n", text.decode(stderr));
});

Deno.test("the Go program's metrics keep their names, types and labels", async () => {
  const metrics = new Metrics({ version: "1" });
  const locks = new LockService(new MemoryLockStore());
  metrics.collectLocks(locks);
  await locks.preReboot(id("a"), GROUP);
  const page = await metrics.render();
  for (
    const [name, type, labels] of [
      ["fleetlock_lock_state", "gauge", '{group="default"}'],
      ["fleetlock_lock_transition_count", "gauge", '{group="default"}'],
      ["fleetlock_lock_request_count", "counter", ""],
      ["fleetlock_unlock_request_count", "counter", ""],
    ] as const
  ) {
    ok(page.includes(`\n# TYPE ${name} ${type}\n${name}${labels} `), name);
  }
});

Deno.test("a grant to a client without a Node is counted", async () => {
  const metrics = new Metrics({ version: "1" });
  metrics.grantedWithoutNode();
  equal((await scrape(metrics)).get("fleetlock_grants_without_node_total"), 1);
});

Deno.test("the lock gauges show the current state of the store", async () => {
  const clock = new FakeClock();
  const store = new MemoryLockStore();
  const locks = new LockService(store, { clock, policy: slotsOnly(() => 2) });
  const metrics = new Metrics({ version: "1", clock });
  metrics.collectLocks(locks);
  const gauges = async () => {
    const series = await scrape(metrics);
    return ["lock_state", "lock_transition_count", "lock_holders", "lock_slots", "lock_held_seconds"]
      .map((name) => series.get(`fleetlock_${name}{group="default"}`));
  };
  deepEqual(await gauges(), [undefined, undefined, undefined, undefined, undefined]);
  await locks.preReboot(id("a"), GROUP);
  await clock.advance(90_000);
  await locks.preReboot(id("b"), GROUP);
  deepEqual(await gauges(), [1, 2, 2, 2, 90]);
  await locks.steadyState(id("a"), GROUP);
  deepEqual(await gauges(), [1, 2, 1, 2, 0]);
  await locks.steadyState(id("b"), GROUP);
  deepEqual(await gauges(), [0, 2, 0, 2, 0]);
});

Deno.test("the page shows which groups are paused and how many hosts wait, as of now, and counts what policies did", async () => {
  const clock = new FakeClock();
  const until = clock.now() + 60_000;
  const deferral = { id: parseClientId("a")!, node: "a", until, count: 1, pods: [] };
  const deferred = [deferral, { ...deferral, id: parseClientId("b")!, until: clock.now() }];
  const state = { holders: [], transitions: 0, notes: { pause: { until }, deferred } };
  const metrics = new Metrics({ version: "0.0.0", clock });
  const groups = new Map([[parseGroup("default")!, { state, version: 1 }]]);
  metrics.collectLocks({ slotsOf: () => 1, groups: () => Promise.resolve(groups) });
  const shown = async (name: string) => (await scrape(metrics)).get(name);
  equal(await shown('fleetlock_lock_paused{group="default"}'), 1);
  equal(await shown('fleetlock_lock_deferred{group="default"}'), 1);
  await clock.advance(60_000);
  equal(await shown('fleetlock_lock_paused{group="default"}'), 0);
  equal(await shown('fleetlock_lock_deferred{group="default"}'), 0);
  equal(await shown('fleetlock_policy_refusals_total{kind="frozen"}'), 0);
  metrics.policyRefused("frozen");
  metrics.policyIgnored("frozen", "skip");
  metrics.monitorFailed("prometheus", "allow");
  metrics.yielded("timed_out");
  equal(await shown("fleetlock_node_gone_releases_total"), 0);
  metrics.releasedGone();
  equal(await shown("fleetlock_node_gone_releases_total"), 1);
  equal(await shown('fleetlock_policy_refusals_total{kind="frozen"}'), 1);
  equal(await shown('fleetlock_policy_ignored_total{kind="frozen",because="skip"}'), 1);
  equal(await shown('fleetlock_policy_monitor_failures_total{monitor="prometheus",on_error="allow"}'), 1);
  equal(await shown('fleetlock_yields_total{cause="timed_out"}'), 1);
});

Deno.test("a group that was deleted from the store disappears from the page", async () => {
  const metrics = new Metrics({ version: "1" });
  const groups = new Map([[GROUP, { state: { holders: [], transitions: 3 }, version: 1 }]]);
  metrics.collectLocks({ slotsOf: () => 1, groups: () => Promise.resolve(groups) });
  equal((await scrape(metrics)).get('fleetlock_lock_transition_count{group="default"}'), 3);
  groups.clear();
  ok(!(await metrics.render()).includes('group="default"'));
});

Deno.test("the pods that a drain waits for are on the page as long as the store has the group", async () => {
  const clock = new FakeClock();
  const metrics = new Metrics({ version: "1", clock, groupsTimeoutMs: 20 });
  const drains = metrics.addDrains();
  const groups = new Map();
  const group = { state: { holders: [], transitions: 3 }, version: 1 };
  let listed = Promise.resolve(groups);
  metrics.collectLocks({ slotsOf: () => 1, groups: () => listed });
  const waits = async () => {
    const series = await scrape(metrics);
    return ["left", "blocked"].map((name) => series.get(`fleetlock_drain_pods_${name}{group="default"}`));
  };
  groups.set(GROUP, group);
  deepEqual(await waits(), [0, 0]);
  drains.podsLeft(GROUP, 5, 2);
  deepEqual(await waits(), [5, 2]);
  groups.clear();
  deepEqual(await waits(), [undefined, undefined]);
  groups.set(GROUP, group);
  deepEqual(await waits(), [5, 2], "the drain still runs");
  groups.clear();
  drains.podsLeft(GROUP, 0, 0);
  deepEqual(await waits(), [undefined, undefined]);
  ok(!(await metrics.render()).includes('group="default"'), "no other series of the group is left either");
  groups.set(GROUP, group);
  deepEqual(await waits(), [0, 0]);
  drains.podsLeft(GROUP, 1, 0);
  listed = Promise.withResolvers<never>().promise;
  const late = waits();
  await clock.advance(20);
  deepEqual(await late, [1, 0], "a drain of this process is known without the store");
});

Deno.test("a value written by hand, or by a clock ahead of this one, does not make the page invalid", async () => {
  const metrics = new Metrics({ version: "1", clock: new FakeClock(1_000) });
  const state = (since: number, transitions: number) => ({
    state: { holders: [{ id: id("a"), since }], transitions },
    version: 1,
  });
  metrics.collectLocks({
    slotsOf: () => 1,
    groups: () =>
      Promise.resolve(new Map([[parseGroup("nan")!, state(NaN, NaN)], [parseGroup("ahead")!, state(9e12, 1)]])),
  });
  const series = await scrape(metrics);
  equal(series.get('fleetlock_lock_held_seconds{group="nan"}'), 0);
  equal(series.get('fleetlock_lock_transition_count{group="nan"}'), 0);
  equal(series.get('fleetlock_lock_held_seconds{group="ahead"}'), 0);
  metrics.collectLocks({
    slotsOf: () => 1,
    groups: () => Promise.resolve(new Map([[parseGroup("ahead")!, state(9e12, 1)]])),
    seenForMs: (group, { since }) => (deepEqual([group, since], ["ahead", 9e12]), 7_000),
  });
  equal((await scrape(metrics)).get('fleetlock_lock_held_seconds{group="ahead"}'), 7);
});

Deno.test("a store that is slow to list its groups does not delay the page", async () => {
  const clock = new FakeClock();
  const metrics = new Metrics({ version: "1", clock, groupsTimeoutMs: 20 });
  const never = Promise.withResolvers<never>();
  metrics.collectLocks({ slotsOf: () => 1, groups: () => never.promise });
  const rendered = metrics.render();
  await clock.advance(20);
  const page = await rendered;
  ok(page.includes("fleetlock_build_info") && !page.includes("fleetlock_lock_state{"));
});

Deno.test("requests add to the existing series and create no new ones", async () => {
  const metrics = new Metrics({ version: "1" });
  metrics.expectRequests("pre-reboot", ["granted", "lock_held"]);
  const before = await scrape(metrics);
  equal(before.get('fleetlock_requests_total{endpoint="pre-reboot",kind="granted"}'), 0);
  for (let n = 0; n < 100; n++) metrics.requestDone("pre-reboot", "lock_held", 0.002);
  metrics.requestDone("pre-reboot", "granted", 200);
  const after = await scrape(metrics);
  deepEqual([...after.keys()], [...before.keys()]);
  const again = await scrape(metrics);
  equal(again.get('fleetlock_requests_total{endpoint="pre-reboot",kind="lock_held"}'), 100, "not counted twice");
  equal(after.get('fleetlock_requests_total{endpoint="pre-reboot",kind="lock_held"}'), 100);
  equal(after.get('fleetlock_request_duration_seconds_bucket{le="0.005",endpoint="pre-reboot"}'), 100);
  equal(after.get('fleetlock_request_duration_seconds_bucket{le="240",endpoint="pre-reboot"}'), 101);
});

Deno.test("calls to a store are counted by result, and their results and errors are passed on", async () => {
  const metrics = new Metrics({ version: "1" });
  const count = async (operation: string, result: string) =>
    (await scrape(metrics)).get(`fleetlock_store_operations_total{operation="${operation}",result="${result}"}`);
  const conflicting = new MeteredLockStore(new ConflictingStore(1), metrics);
  equal(await conflicting.write(GROUP, ABSENT, FREE), "conflict");
  const read = await conflicting.read(GROUP);
  ok(await conflicting.write(GROUP, read, FREE) !== "conflict");
  equal((await conflicting.list()).groups.size, 1);
  const inner = new UnavailableStore();
  await inner.setUnavailable(true);
  const unavailable = new MeteredLockStore(inner, metrics);
  const fault = await unavailable.read(GROUP).catch((error) => error);
  ok(fault instanceof UnavailableError);
  await unavailable.list({ signal: AbortSignal.abort() }).catch(() => {});
  const aborted = new MeteredLockStore(new MemoryLockStore(), metrics);
  await aborted.read(GROUP, { signal: AbortSignal.abort("enough") }).catch(() => {});
  equal(await count("write", "conflict"), 1);
  equal(await count("write", "ok"), 1);
  equal(await count("read", "ok"), 1);
  equal(await count("list", "ok"), 1);
  equal(await count("read", "unavailable"), 1);
  equal(await count("list", "unavailable"), 1);
  equal(await count("read", "aborted"), 1);
  equal((await scrape(metrics)).get('fleetlock_store_operation_duration_seconds_count{operation="write"}'), 2);
});

Deno.test("a metered store watches and closes the wrapped store", async () => {
  const closed: string[] = [];
  class Closing extends MemoryLockStore {
    override [Symbol.asyncDispose](): Promise<void> {
      closed.push("closed");
      return Promise.resolve();
    }
  }
  const seen: string[] = [];
  const stop = new AbortController();
  {
    await using store = new MeteredLockStore(new Closing(), new Metrics({ version: "1" }));
    const watch = store.watch({
      synced: () => seen.push("synced"),
      changed: (group) => seen.push(group),
      lost: () => seen.push("lost"),
    }, stop.signal);
    await store.write(GROUP, ABSENT, FREE);
    stop.abort();
    await watch;
  }
  deepEqual(seen, ["synced", "default"]);
  deepEqual(closed, ["closed"]);
});

Deno.test("the clock's skew and the missing permissions are on the page once they are known", async () => {
  const metrics = new Metrics({ version: "0.0.0" });
  const clock: { skewMs: number | undefined } = { skewMs: undefined };
  const permissions = { isAnswered: false, missing: { required: [1, 2], optional: [] } };
  metrics.addCluster({ clock, permissions });
  const lines = async () => (await metrics.render()).split("\n").filter((line) => /^fleetlock_(clock|perm)/.test(line));
  deepEqual(await lines(), []);
  clock.skewMs = -1_500;
  permissions.isAnswered = true;
  deepEqual(await lines(), [
    "fleetlock_clock_skew_seconds -1.5",
    'fleetlock_permissions_missing{requirement="required"} 2',
    'fleetlock_permissions_missing{requirement="optional"} 0',
  ]);
  clock.skewMs = undefined;
  equal((await lines()).length, 2);
});

Deno.test("stuck holds are counted by group and state, and those that are over have no series", async () => {
  const metrics = new Metrics({ version: "1" });
  metrics.addDrains().unheldReboot();
  const hold = (stage: string, isStuck: boolean) => ({ group: parseGroup("a")!, holder: { stage, isStuck } });
  let holds = [hold("blocked", true), hold("blocked", true), hold("rebooting", false), hold("unknown", false)];
  metrics.collectHolds(() => holds);
  const stuck = async () => [...await scrape(metrics)].filter(([name]) => name.startsWith("fleetlock_lock_stuck"));
  deepEqual(await stuck(), [
    ['fleetlock_lock_stuck{group="a",state="blocked"}', 2],
    ['fleetlock_lock_stuck{group="a",state="rebooting"}', 0],
  ]);
  holds = [];
  deepEqual(await stuck(), []);
  equal((await scrape(metrics)).get("fleetlock_unheld_reboots_total"), 1);
});

Deno.test("readiness has no value until somebody has asked for it", async () => {
  const metrics = new Metrics({ version: "0.0.0" });
  const ready = async () => (await scrape(metrics)).get("fleetlock_ready");
  equal(await ready(), undefined);
  metrics.readinessTold(false);
  equal(await ready(), 0);
  metrics.readinessTold(true);
  equal(await ready(), 1);
});

Deno.test("groups show how many clients wait and when they open, also those that are not in the store", async () => {
  const store = new MemoryLockStore();
  const metrics = new Metrics({ version: "0.0.0" });
  const [never, invented] = [parseGroup("never")!, parseGroup("invented")!];
  for (const group of [GROUP, never]) await store.write(group, ABSENT, FREE);
  metrics.collectLocks({
    groups: async () => (await store.list()).groups,
    slotsOf: () => 1,
    nextOpeningOf: (group) => group === GROUP ? 5_500 : group === invented ? 6_500 : undefined,
  });
  const shown = async () =>
    [...await scrape(metrics)].filter(([name]) => /_waiting|_next_opening/.test(name)).map((each) => each.join(" "))
      .sort();
  const opening = 'fleetlock_next_opening_timestamp_seconds{group="default"} 5.5';
  deepEqual(await shown(), [opening]);
  const waiting = new Map([[GROUP, 2], [invented, 3]]);
  metrics.collectWaiting((stored) => new Map([...[...stored].map((group) => [group, 0] as const), ...waiting]));
  deepEqual(await shown(), [
    'fleetlock_lock_waiting{group="default"} 2',
    'fleetlock_lock_waiting{group="invented"} 3',
    'fleetlock_lock_waiting{group="never"} 0',
    opening,
    'fleetlock_next_opening_timestamp_seconds{group="invented"} 6.5',
  ]);
  waiting.delete(invented);
  equal((await shown()).some((line) => line.includes("invented")), false, "nobody waits for it any more");
});
