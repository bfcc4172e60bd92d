/**
 * The simulator against correct and faulty servers.
 *
 * @module
 */

import { deepEqual, equal, match, ok, rejects } from "node:assert/strict";
import { systemClock } from "../../src/lock/clock.ts";
import { parseClientId, parseGroup } from "../../src/lock/identity.ts";
import { parseHistory } from "../../src/simulator/history.ts";
import { parseSimulationOptions, type SimulationOptions } from "../../src/simulator/options.ts";
import { formatSummary, type Summary } from "../../src/simulator/report.ts";
import { runSimulation } from "../../src/simulator/simulator.ts";
import { until } from "../support/condition.ts";
import { ProtocolServer } from "./protocol_server.ts";

const FAST = { clients: "12", groups: "2", speed: "6000", seed: "1" };

async function simulate(
  server: ProtocolServer,
  changes: Partial<SimulationOptions> = {},
  signal?: AbortSignal,
): Promise<{ summary: Summary; written: string }> {
  let written = "";
  const options = { ...parseSimulationOptions({ ...FAST, target: server.url.href }), ...changes };
  const summary = await runSimulation(options, { write: (text) => written += text }, signal);
  return { summary, written };
}

Deno.test("every host reboots once on a correct server", async () => {
  await using server = new ProtocolServer(1);
  const { summary } = await simulate(server);
  equal(summary.ended, "done");
  deepEqual(summary.turns, { least: 1, most: 1, total: 12 });
  equal(summary.violationCount, 0);
  deepEqual(summary.withoutTurn, []);
  deepEqual(Object.keys(summary.refusals), ["lock_held"]);
  deepEqual(summary.errors, {});
  equal(summary.operations, server.seen.length);
  equal(summary.checked, summary.operations);
  // Each group is asked for its slot once before the hosts run.
  equal(summary.releases, 26);
  ok(summary.latencyMs!.p50 <= summary.latencyMs!.max);
  ok(summary.longestWaitMs > 0);
});

Deno.test("a run ends with an error when no server listens", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const target = `http://127.0.0.1:${listener.addr.port}`;
  listener.close();
  const options = parseSimulationOptions({ ...FAST, target: `${target},http://localhost:${listener.addr.port}` });
  await rejects(runSimulation(options, { write: () => {}, startMs: 300 }), {
    name: "SimulationOptionsError",
    message: `Cannot connect to ${target} and http://localhost:${listener.addr.port}: ` +
      'start a server there, for example with "deno task dev"',
  });
});

Deno.test("a server that grants every request violates exclusion", async () => {
  await using server = new ProtocolServer(1, { grantsAll: true });
  const { summary, written } = await simulate(server);
  ok(summary.violationCount > 0);
  equal(summary.violations[0]!.kind, "exclusion");
  match(
    written,
    /violations +[1-9]\d*\n +exclusion in sim-\d: 2 clients held a slot at the same time, and the limit is 1: /,
  );
});

Deno.test("a server with one slot too many violates exclusion", async () => {
  await using server = new ProtocolServer(3);
  const { summary } = await simulate(server, { slots: 2, groups: 1 });
  ok(summary.violations.some((each) => each.kind === "exclusion"));
});

Deno.test("the summary lists the hosts that never got a yes from a server that ignores releases", async () => {
  await using server = new ProtocolServer(1, { keepsAll: true });
  const stop = new AbortController();
  const running = simulate(server, { groups: 1, durationMs: 60_000 }, stop.signal);
  const waiting = () =>
    new Set(server.seen.filter((each) => each.path.endsWith("pre-reboot")).map((each) => each.body));
  // The client that asks before the run keeps the slot, and every host asks.
  await until(() => waiting().size === 13);
  stop.abort();
  const { summary } = await running;
  equal(summary.withoutTurn.length, 12);
  equal(summary.turns.total, 0);
});

Deno.test("hosts send the requests that Zincati sends", async () => {
  await using server = new ProtocolServer(1);
  const target = new URL(server.url);
  target.username = "user";
  target.password = "p:ä";
  await simulate(server, { targets: [target], clients: 1, groups: 1 });
  const [first, second] = server.seen.slice(2);
  equal(first!.path, "/base/v1/steady-state");
  equal(second!.path, "/base/v1/pre-reboot");
  equal(second!.headers.get("fleet-lock-protocol"), "true");
  equal(second!.headers.get("content-type"), null);
  equal(second!.headers.get("authorization"), "Basic dXNlcjpwOsOk");
  match(
    second!.body,
    /^\{\n {2}"client_params": \{\n {4}"id": "sim1-simulated",\n {4}"group": "sim-1"\n {2}\}\n\}$/,
  );
});

Deno.test("hosts continue after errors of the service", async () => {
  await using server = new ProtocolServer(1);
  const running = simulate(server);
  await until(() => server.seen.length >= 8);
  server.unavailable = 15;
  const { summary } = await running;
  equal(summary.turns.least, 1);
  deepEqual(summary.errors, { store_unavailable: 15 });
  equal(summary.violationCount, 0);
});

Deno.test("a request to a port where no server listens is unreachable", async () => {
  const server = new ProtocolServer(1);
  await server[Symbol.asyncDispose]();
  const { summary } = await simulate(server, { durationMs: 300 });
  deepEqual(Object.keys(summary.errors).filter((kind) => kind !== "ended"), ["unreachable"]);
  equal(summary.turns.total, 0);
  equal(summary.latencyMs !== undefined, true);
});

Deno.test("a request that the service received before it ended is not unreachable", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const heard: string[] = [];
  const serving = (async () => {
    for await (const connection of listener) {
      while (heard.at(-1) !== "pre-reboot") {
        const buffer = new Uint8Array(4096);
        const count = await connection.read(buffer).catch(() => null);
        if (count === null) break;
        const path = /^POST \/v1\/(\S+)/.exec(new TextDecoder().decode(buffer.subarray(0, count)))?.[1];
        if (path !== undefined) heard.push(path);
        if (path === "pre-reboot") listener.close();
        else await connection.write(new TextEncoder().encode("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"));
      }
      connection.close();
    }
  })();
  const target = `http://127.0.0.1:${listener.addr.port}`;
  const options = parseSimulationOptions({ ...FAST, target, clients: "1", groups: "1", duration: "300ms" });
  const summary = await runSimulation(options, { write: () => {} });
  await serving;
  deepEqual(heard, ["pre-reboot"]);
  equal(summary.errors.connection, 1);
});

Deno.test("the hosts have the same ids in every run", async () => {
  await using server = new ProtocolServer(1);
  const idsOf = (from: number) => new Set(server.seen.slice(from).map((each) => each.body));
  await simulate(server);
  const first = idsOf(0);
  const after = server.seen.length;
  await simulate(server, { seed: 2 });
  deepEqual(idsOf(after), first);
  equal(first.size, 14);
});

Deno.test("a run that a signal ends is checked", async () => {
  await using server = new ProtocolServer(1, { grantsAll: true });
  const stop = new AbortController();
  const running = simulate(server, { rounds: Infinity }, stop.signal);
  await until(() => server.seen.length >= 200);
  stop.abort();
  const { summary } = await running;
  equal(summary.ended, "interrupted");
  ok(summary.violationCount > 0);
});

Deno.test("parseHistory reads the history that a run writes", async () => {
  await using server = new ProtocolServer(1);
  const path = await Deno.makeTempFile();
  try {
    const { summary } = await simulate(server, { history: path });
    const history = parseHistory(await Deno.readTextFile(path));
    equal(history.length, summary.operations);
    equal(history.filter((each) => each.outcome === "granted").length, summary.grants);
  } finally {
    await Deno.remove(path);
  }
});

Deno.test("a run fails before its first request when it cannot write the history", async () => {
  await using server = new ProtocolServer(1);
  await rejects(
    simulate(server, { history: "/nowhere/history.jsonl" }),
    /^SimulationOptionsError: Cannot write the file of --history: .*\/nowhere\/history.jsonl/,
  );
  equal(server.seen.length, 0);
});

Deno.test("the summary is one JSON object with --format json", async () => {
  await using server = new ProtocolServer(1);
  const { summary, written } = await simulate(server, { format: "json" });
  deepEqual(JSON.parse(written), JSON.parse(JSON.stringify(summary)));
  match(
    formatSummary(summary),
    /^No two hosts of a group rebooted at once: 12 turns, 0 violations\nsimulated {5}12 hosts, 2 groups, slots per group: 1, speed 6000$/m,
  );
});

/** The rows of the groups that a table on a terminal showed last. */
function lastRows(shown: string): { group: string; refused: number; unreachable: number }[] {
  const table = shown.slice(shown.lastIndexOf("unreachable  rebooting"));
  // deno-lint-ignore no-control-regex
  return [...table.matchAll(/^\x1b\[2K(sim-\d+) +\S+ +\d+ +\d+ +(\d+) +(\d+) /gm)]
    .map(([, group, refused, unreachable]) => ({
      group: group!,
      refused: Number(refused),
      unreachable: Number(unreachable),
    }));
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, each) => total + each, 0);
}

for (const isTerminal of [true, false]) {
  Deno.test(`progress ${isTerminal ? "stays in place on a terminal" : "is one line after another elsewhere"}`, async () => {
    await using server = new ProtocolServer(1);
    let shown = "";
    const options = parseSimulationOptions({ ...FAST, target: server.url.href });
    const progress = { write: (text: string) => void (shown += text), isTerminal };
    const { refusals } = await runSimulation(options, { write: () => {}, progress });
    const refused = refusals.lock_held!;
    if (isTerminal) {
      match(shown, /sim-1 +6\/6 +0 +6 +\d+ +0/);
      match(shown, /turns 12\/12/);
      ok(shown.includes("\x1b[4A"));
      const rows = lastRows(shown);
      deepEqual(rows.map((each) => [each.group, each.unreachable]), [["sim-1", 0], ["sim-2", 0]]);
      equal(sum(rows.map((each) => each.refused)), refused);
    } else {
      ok(!shown.includes("\x1b"));
      match(shown, new RegExp(`^ +\\d+ s {2}turns 12/12 .* refused ${refused}\n$`, "m"));
    }
    ok(refused > 0);
    ok(!shown.includes("Checking"), shown);
  });
}

Deno.test("where the server goes away, the table counts the requests without a reply, and the summary who may hold a slot", async () => {
  const server = new ProtocolServer(1);
  let [shown, written] = ["", ""];
  // At this speed a host that got its yes reboots for a second or more.
  const changes = { target: server.url.href, groups: "1", speed: "60", "give-up-after": "300ms" };
  const running = runSimulation(parseSimulationOptions({ ...FAST, ...changes }), {
    write: (text) => written += text,
    progress: { write: (text) => shown += text, isTerminal: true },
  });
  const asked = () => server.seen.filter((each) => each.path.endsWith("pre-reboot"));
  // The first one to ask is the client that looks at the server before the run. The next one is granted the slot.
  const { body } = await until(() => asked()[1], { timeoutMs: 30_000 });
  await server[Symbol.asyncDispose]();
  const { left, errors, ended } = await running;
  equal(ended, "unreachable");
  const { id } = JSON.parse(body).client_params;
  ok(left.some((each) => each.client === id && each.group === "sim-1"), JSON.stringify(left));
  match(written, new RegExp(`^left +${left.length} slots? possibly; the next run releases them with --clear$`, "m"));
  ok(errors.unreachable! > 0);
  const [row] = lastRows(shown);
  // The table ends with the run. The hosts try once more to release their slots.
  const lost = errors.unreachable! + (errors.connection ?? 0);
  ok(row!.unreachable > 0 && row!.unreachable <= lost, `${row!.unreachable} of ${lost}`);
});

Deno.test("the summary says how many slots of an earlier run were released, and names no slots that are left", async () => {
  await using server = new ProtocolServer(1);
  await server.locks.preReboot(parseClientId("sim7-simulated")!, parseGroup("sim-1")!);
  const { written } = await simulate(server, { clear: true });
  match(written, /^cleared +1 slot of an earlier run at the start$/m);
  ok(!/^left /m.test(written), written);
  const { written: next } = await simulate(server);
  ok(!/^(cleared|left) /m.test(next), next);
});

Deno.test("a check that takes long says how far it is", async () => {
  await using server = new ProtocolServer(1);
  let shown = "";
  let jumpedMs = 0;
  // From the end of the run on, each look at the clock comes more than a second after the one before.
  const clock = {
    ...systemClock,
    monotonic: () => systemClock.monotonic() + (shown.includes("turns 12/12") ? jumpedMs += 1_000 : 0),
  };
  const progress = { write: (text: string) => void (shown += text), isTerminal: false };
  await runSimulation(parseSimulationOptions({ ...FAST, target: server.url.href }), {
    write: () => {},
    progress,
    clock,
  });
  match(shown, /\nChecking the history: 0 of 2 groups\nChecking the history: 1 of 2 groups\n$/);
});
