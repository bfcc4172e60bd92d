import { deepEqual, equal, match, ok } from "node:assert/strict";
import { StatusRoutes } from "../../src/http/status_routes.ts";
import { type StatusChange, StatusStreams } from "../../src/http/status_streams.ts";
import { type ClientId, parseGroup } from "../../src/lock/identity.ts";
import type { Account } from "../../src/status/account.ts";
import { StatusMemory } from "../../src/status/memory.ts";
import { until } from "../support/condition.ts";
import { demoAccount, demoGroup } from "../support/demo_account.ts";
import { FakeClock } from "../support/fake_clock.ts";
import { startTestServer } from "./test_server.ts";

const NOW = Date.parse("2026-11-26T12:00:00Z");

/** Streams over an account that a test changes, and a clock that it moves. */
function setUp(options: { maxStreams?: number; maxQueued?: number } = {}) {
  const clock = new FakeClock(NOW);
  const world = { groups: [demoGroup("a"), demoGroup("b")], isInStep: true, made: 0 };
  const account = (): Account => {
    world.made++;
    return demoAccount(clock.now(), world.groups, { isInStep: world.isInStep, started: "2026-11-26T11:00:00Z" });
  };
  const stopping = new AbortController();
  const logger = { error: (_message: string, fields: Record<string, unknown>) => void errors.push(fields) };
  const errors: Record<string, unknown>[] = [];
  const all = { account, clock, stopping: stopping.signal, logger, ...options };
  return { clock, world, stopping, errors, options: all };
}

/** Reads events from a stream. */
class Events {
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>;

  constructor(stream: ReadableStream<Uint8Array>) {
    this.#reader = stream.getReader();
  }

  /** The next event; undefined at the end. */
  async next(): Promise<{ event: string; data: unknown } | undefined> {
    const { value, done } = await this.#reader.read();
    if (done) return undefined;
    const [, event, data] = /^event: (\w+)\ndata: (.*)\n\n$/.exec(new TextDecoder().decode(value))!;
    return { event: event!, data: JSON.parse(data!) };
  }

  async close(): Promise<void> {
    await this.#reader.cancel();
  }
}

Deno.test("a stream begins with the whole account, and then tells what has changed, once a second at most", async () => {
  const { clock, world, options } = setUp();
  const streams = new StatusStreams(options);
  const events = new Events(streams.connect()!);
  const first = await events.next();
  deepEqual([first?.event, (first?.data as Account).groups.map(({ name }) => name)], ["snapshot", ["a", "b"]]);
  world.groups = [demoGroup("a", { transitions: 1, pause: { reason: "x" } }), demoGroup("c")];
  world.isInStep = false;
  await clock.advance(1_000);
  const { c, ...change } = { c: demoGroup("c"), at: new Date(NOW + 1_000).toISOString() };
  deepEqual(await events.next(), {
    event: "change",
    data: {
      ...change,
      account: { isInStep: false },
      groups: [{ name: "a", transitions: 1, pause: { reason: "x" } }, c],
      gone: ["b"],
    },
  });
  world.groups = [demoGroup("a", { transitions: 1 }), demoGroup("c")];
  await clock.advance(1_000);
  // A field that is gone is null.
  deepEqual(((await events.next())?.data as StatusChange).groups, [{ name: "a", pause: null }]);
  await events.close();
});

Deno.test("a group whose window is open does not change with each second", async () => {
  const { clock, world, options } = setUp();
  const streams = new StatusStreams(options);
  const open = () => [demoGroup("a", { nextOpening: new Date(clock.now()).toISOString() })];
  world.groups = open();
  const events = new Events(streams.connect()!);
  await events.next();
  for (let second = 1; second <= 15; second++) {
    world.groups = open();
    await clock.advance(1_000);
  }
  deepEqual(await events.next(), { event: "alive", data: { at: new Date(NOW + 15_000).toISOString() } });
  const later = new Date(NOW + 60_000).toISOString();
  world.groups = [demoGroup("a", { nextOpening: later })];
  await clock.advance(1_000);
  deepEqual(((await events.next())?.data as StatusChange).groups, [{ name: "a", nextOpening: later }]);
  await events.close();
});

Deno.test("without streams nothing runs, and all streams share one timer and one account", async () => {
  const { clock, world, options } = setUp();
  const streams = new StatusStreams(options);
  deepEqual([streams.isTicking, clock.sleepers, world.made], [false, 0, 0]);
  const all = Array.from({ length: 3 }, () => new Events(streams.connect()!));
  deepEqual([streams.open, streams.isTicking, clock.sleepers, world.made], [3, true, 1, 1]);
  await clock.advance(1_000);
  equal(world.made, 2);
  for (const events of all) await events.close();
  deepEqual([streams.open, streams.isTicking, clock.sleepers], [0, false, 0]);
  const again = new Events(streams.connect()!);
  deepEqual([streams.isTicking, clock.sleepers], [true, 1]);
  await again.close();
});

Deno.test("a stream that joins later gets changes that fit what it was told", async () => {
  const { clock, world, options } = setUp();
  const streams = new StatusStreams(options);
  const first = new Events(streams.connect()!);
  await first.next();
  world.groups = [demoGroup("a", { transitions: 5 }), demoGroup("b")];
  const second = new Events(streams.connect()!);
  equal(((await second.next())?.data as Account).groups[0]!.transitions, 0);
  await clock.advance(1_000);
  for (const events of [first, second]) {
    deepEqual(((await events.next())?.data as StatusChange).groups, [{ name: "a", transitions: 5 }]);
    await events.close();
  }
});

Deno.test("a client that does not read is dropped, and the others are not", async () => {
  const { clock, world, options } = setUp({ maxQueued: 2_000 });
  const streams = new StatusStreams(options);
  const stalled = streams.connect()!;
  const reading = new Events(streams.connect()!);
  await reading.next();
  for (let round = 0; streams.open === 2; round++) {
    ok(round < 20, "the stalled stream is still open");
    world.groups = [demoGroup("a", { pause: { reason: `${round}`.padEnd(500, "x") } }), demoGroup("b")];
    await clock.advance(1_000);
    equal((await reading.next())?.event, "change");
  }
  const error = await stalled.getReader().read().catch((error) => error);
  match(`${error}`, /does not read/);
  await reading.close();
});

Deno.test("the limit of streams is kept, and a place is free again when one ends", async () => {
  const { options } = setUp({ maxStreams: 2 });
  const streams = new StatusStreams(options);
  const [one, other] = [streams.connect()!, streams.connect()!];
  equal(streams.connect(), undefined);
  await one.cancel();
  const third = streams.connect();
  ok(third !== undefined);
  for (const stream of [other, third]) await stream.cancel();
});

Deno.test("the stop of the server ends all streams, and no more are opened", async () => {
  const { clock, stopping, options } = setUp();
  const streams = new StatusStreams(options);
  const events = new Events(streams.connect()!);
  await events.next();
  stopping.abort();
  equal(await events.next(), undefined);
  deepEqual([streams.open, clock.sleepers, streams.connect()], [0, 0, undefined]);
});

Deno.test("an account that cannot be made ends the streams and is logged", async () => {
  const { clock, world, errors, options } = setUp();
  const streams = new StatusStreams(options);
  const events = new Events(streams.connect()!);
  await events.next();
  world.groups = undefined as unknown as typeof world.groups;
  await clock.advance(1_000);
  equal(await events.next(), undefined);
  equal(errors.length, 1);
});

Deno.test("page, JSON and events have their types and forbid the browser everything else", async () => {
  const { options, stopping } = setUp();
  await using server = startTestServer({ status: new StatusRoutes(options), basePath: "/lock" });
  const types = { "/": "text/html", "/status.json": "application/json", "/events": "text/event-stream" };
  for (const [path, type] of Object.entries(types)) {
    for (const [method, base] of [["GET", ""], ["HEAD", ""], ["GET", "/lock"]] as const) {
      const reply = await fetch(`${server.url}${base}${path}`, { method });
      equal(reply.status, 200, `${method} ${base}${path}`);
      ok(reply.headers.get("content-type")?.startsWith(type));
      match(reply.headers.get("cache-control")!, /no-store/);
      equal(reply.headers.get("x-content-type-options"), "nosniff");
      equal(reply.headers.get("referrer-policy"), "no-referrer");
      equal(reply.headers.get("cross-origin-resource-policy"), "same-origin");
      const policy = reply.headers.get("content-security-policy")!;
      match(policy, /default-src 'none'.*frame-ancestors 'none'/);
      ok(!/unsafe|\*/.test(policy), policy);
      await reply.body?.cancel();
    }
  }
  for (const method of ["POST", "DELETE"]) {
    const reply = await fetch(`${server.url}/status.json`, { method });
    deepEqual([reply.status, reply.headers.get("allow")], [405, "GET, HEAD"]);
    await reply.body?.cancel();
  }
  stopping.abort();
});

Deno.test("the page's policy names the hashes of its style and script, and it loads nothing from elsewhere", async () => {
  const { options } = setUp();
  await using server = startTestServer({ status: new StatusRoutes(options) });
  const reply = await fetch(server.url);
  const body = await reply.text();
  const policy = reply.headers.get("content-security-policy")!;
  for (const element of ["script", "style"]) {
    const text = body.slice(body.indexOf(">", body.indexOf(`<${element}`)) + 1, body.indexOf(`</${element}>`));
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text)));
    ok(policy.includes(`${element}-src 'sha256-${digest.toBase64()}'`));
  }
  ok(!/^(import|export)\b/m.test(body), "the script is not in one part");
  deepEqual(body.match(/(src|href)="(?!#|data:|status\.json|metrics)[^"]*"|https?:\/\/(?!www\.w3\.org)/g), null);
  ok(body.length < 60_000, `the page has ${body.length} bytes`);
});

Deno.test("the page has its whole style, and its script in one part, in the order in which the parts use each other", async () => {
  const { options } = setUp();
  const body = await (await new StatusRoutes(options).page()).text();
  const source = (name: string) => Deno.readTextFileSync(new URL(`../../src/http/page/${name}`, import.meta.url));
  ok(body.includes(source("page.css")));
  const parts = ["elements.js", "times.js", "group.js", "page.js"].map((name) =>
    source(name).split("\n").filter((line) => line !== "" && !/^(import|export)\b/.test(line))
  );
  let place = 0;
  for (const line of parts.flat()) {
    // A list of imports may have several lines.
    if (/^ {2}\w+,$|^\} from /.test(line)) continue;
    const found = body.indexOf(line, place);
    ok(found >= place, `"${line}" is missing, or not where it belongs`);
    place = found;
  }
  ok(!body.includes("/* style */") && !body.includes("/* script */"));
});

Deno.test("who asks for the headers of the events alone takes no place", () => {
  const { options } = setUp({ maxStreams: 1 });
  const routes = new StatusRoutes(options);
  for (let times = 0; times < 3; times++) {
    const reply = routes.events("HEAD")!;
    deepEqual([reply.status, reply.body], [200, null]);
    equal(reply.headers.get("content-type"), "text/event-stream; charset=utf-8");
  }
});

Deno.test("a request of the protocol gets nothing from the page", async () => {
  const { options } = setUp();
  await using server = startTestServer({ status: new StatusRoutes(options) });
  for (const path of ["/", "/status.json", "/events"]) {
    for (const method of ["GET", "HEAD", "POST"]) {
      const reply = await fetch(`${server.url}${path}`, { method, headers: { "fleet-lock-protocol": "true" } });
      equal(reply.status, 404);
      await reply.body?.cancel();
    }
  }
});

Deno.test("where too many streams are open, the reply is a 503 that says what to do", async () => {
  const { options, stopping } = setUp({ maxStreams: 1 });
  await using server = startTestServer({ status: new StatusRoutes(options) });
  const open = await fetch(`${server.url}/events`);
  const reply = await fetch(`${server.url}/events`);
  deepEqual([reply.status, reply.headers.get("retry-after")], [503, "60"]);
  match(await reply.text(), /"kind":"too_many_streams".*status\.json/);
  stopping.abort();
  await open.text();
});

Deno.test("a client that leaves frees its place", async () => {
  const { options } = setUp();
  const routes = new StatusRoutes(options);
  await using server = startTestServer({ status: routes });
  const leaving = new AbortController();
  const open = await fetch(`${server.url}/events`, { signal: leaving.signal });
  equal(options.clock.sleepers, 1);
  leaving.abort();
  await open.text().catch(() => {});
  await until(() => options.clock.sleepers === 0);
});

Deno.test("requests are remembered with their answers", async () => {
  const memory = new StatusMemory();
  await using server = startTestServer({ memory });
  const ask = async (endpoint: string, id: string) => {
    const body = JSON.stringify({ client_params: { id, group: "g" } });
    const reply = await fetch(`${server.url}/v1/${endpoint}`, {
      method: "POST",
      headers: { "fleet-lock-protocol": "true" },
      body,
    });
    await reply.body?.cancel();
  };
  const group = parseGroup("g")!;
  const waiting = () => memory.waiting(group, Date.now()).map(({ id, refusal }) => [id, refusal.kind]);
  await ask("pre-reboot", "one");
  await ask("pre-reboot", "two");
  deepEqual(waiting(), [["two", "lock_held"]]);
  ok(memory.lastPoll(group, "one" as ClientId) !== undefined);
  await ask("steady-state", "one");
  await ask("pre-reboot", "two");
  deepEqual(waiting(), []);
});
