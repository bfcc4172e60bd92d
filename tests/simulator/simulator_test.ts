/**
 * The simulator against servers that are right and servers that are wrong.
 *
 * @module
 */

import { deepEqual, equal, match, ok, rejects } from "node:assert/strict";
import { parseHistory } from "../../src/simulator/history.ts";
import { parseSimulationOptions, type SimulationOptions } from "../../src/simulator/options.ts";
import { formatSummary, type Summary } from "../../src/simulator/report.ts";
import { runSimulation } from "../../src/simulator/simulator.ts";
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

Deno.test("every host has its turn on a server that is right", async () => {
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
  equal(summary.releases, 24);
  ok(summary.latencyMs!.p50 <= summary.latencyMs!.max);
  ok(summary.longestWaitMs > 0);
});

Deno.test("where nobody answers, it says so instead of asking for ever", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const target = `http://127.0.0.1:${listener.addr.port}`;
  listener.close();
  const options = parseSimulationOptions({ ...FAST, target: `${target},http://localhost:${listener.addr.port}` });
  await rejects(runSimulation(options, { write: () => {}, startMs: 300 }), {
    name: "SimulationOptionsError",
    message: `nobody answers at ${target} and http://localhost:${listener.addr.port}: ` +
      'start a server there, such as with "deno task dev"',
  });
});

Deno.test("a server that grants everybody is found out", async () => {
  await using server = new ProtocolServer(1, { grantsAll: true });
  const { summary, written } = await simulate(server);
  ok(summary.violationCount > 0);
  equal(summary.violations[0]!.kind, "exclusion");
  match(written, /violations +[1-9]\d*\n +exclusion in sim-\d: 2 clients held a slot at once and there are 1: /);
});

Deno.test("a server with a slot too many is found out", async () => {
  await using server = new ProtocolServer(3);
  const { summary } = await simulate(server, { slots: 2, groups: 1 });
  ok(summary.violations.some((each) => each.kind === "exclusion"));
});

Deno.test("a server that forgets releases is found out by those who wait in vain", async () => {
  await using server = new ProtocolServer(1, { keepsAll: true });
  const { summary } = await simulate(server, { durationMs: 500 });
  equal(summary.ended, "duration");
  equal(summary.withoutTurn.length, 10);
  ok(summary.turns.total <= 2);
});

Deno.test("requests are those of Zincati", async () => {
  await using server = new ProtocolServer(1);
  const target = new URL(server.url);
  target.username = "user";
  target.password = "p:ä";
  await simulate(server, { targets: [target], clients: 1, groups: 1 });
  const [first, second] = server.seen;
  equal(first!.path, "/base/v1/steady-state");
  equal(second!.path, "/base/v1/pre-reboot");
  equal(second!.headers.get("fleet-lock-protocol"), "true");
  equal(second!.headers.get("content-type"), null);
  equal(second!.headers.get("authorization"), "Basic dXNlcjpwOsOk");
  match(
    second!.body,
    /^\{\n {2}"client_params": \{\n {4}"id": "[0-9a-f]{32}",\n {4}"group": "sim-1"\n {2}\}\n\}$/,
  );
});

Deno.test("hosts go on after faults of the service", async () => {
  await using server = new ProtocolServer(1);
  server.unavailable = 15;
  const { summary } = await simulate(server);
  equal(summary.turns.least, 1);
  deepEqual(summary.errors, { store_unavailable: 15 });
  equal(summary.violationCount, 0);
});

Deno.test("a service that is not there is told from one that gives no answer", async () => {
  const server = new ProtocolServer(1);
  await server[Symbol.asyncDispose]();
  const { summary } = await simulate(server, { durationMs: 300 });
  deepEqual(Object.keys(summary.errors).filter((kind) => kind !== "ended"), ["unreachable"]);
  equal(summary.turns.total, 0);
  equal(summary.latencyMs !== undefined, true);
});

Deno.test("a request that was heard before the service ended is not called unheard", async () => {
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
  deepEqual(heard, ["steady-state", "pre-reboot"]);
  equal(summary.errors.connection, 1);
});

Deno.test("the same seed gives the same hosts", async () => {
  await using server = new ProtocolServer(1);
  const idsOf = (from: number) => new Set(server.seen.slice(from).map((each) => each.body));
  await simulate(server);
  const first = idsOf(0);
  const after = server.seen.length;
  await simulate(server);
  deepEqual(idsOf(after), first);
  equal(first.size, 12);
});

Deno.test("a signal ends a run, which is checked all the same", async () => {
  await using server = new ProtocolServer(1, { grantsAll: true });
  const stop = new AbortController();
  const running = simulate(server, { rounds: Infinity }, stop.signal);
  while (server.seen.length < 200) await new Promise((resolve) => setTimeout(resolve, 5));
  stop.abort();
  const { summary } = await running;
  equal(summary.ended, "interrupted");
  ok(summary.violationCount > 0);
});

Deno.test("the history is written as lines that can be read back", async () => {
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

Deno.test("a history that cannot be written is said so before anything is sent", async () => {
  await using server = new ProtocolServer(1);
  await rejects(
    simulate(server, { history: "/nowhere/history.jsonl" }),
    /^SimulationOptionsError: --history cannot be written: .*\/nowhere\/history.jsonl/,
  );
  equal(server.seen.length, 0);
});

Deno.test("the summary is one JSON object where that is asked for", async () => {
  await using server = new ProtocolServer(1);
  const { summary, written } = await simulate(server, { format: "json" });
  deepEqual(JSON.parse(written), JSON.parse(JSON.stringify(summary)));
  match(formatSummary(summary), /^simulated {5}12 hosts, 2 groups, 1 at a time, speed 6000$/m);
});

for (const isTerminal of [true, false]) {
  Deno.test(`progress is shown ${isTerminal ? "in place on a terminal" : "line by line elsewhere"}`, async () => {
    await using server = new ProtocolServer(1);
    let shown = "";
    const options = parseSimulationOptions({ ...FAST, target: server.url.href });
    await runSimulation(options, { write: () => {}, progress: { write: (text) => shown += text, isTerminal } });
    if (isTerminal) {
      match(shown, /sim-1 +6\/6 +0 +6/);
      match(shown, /turns 12\/12/);
      ok(shown.includes("\x1b[4A"));
    } else {
      ok(!shown.includes("\x1b"));
      match(shown, /^ +\d+ s {2}turns 12\/12 .*\n$/m);
    }
  });
}
