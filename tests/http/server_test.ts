/**
 * The listening server: where it listens, what a hanging body does to others, and how it listens again after a fault.
 *
 * @module
 */

import { deepEqual, equal, match, notEqual, ok, throws } from "node:assert/strict";
import { type Address, Server, type ServerOptions, type Serving } from "../../src/http/server.ts";
import { until } from "../support/condition.ts";
import { FakeClock } from "../support/fake_clock.ts";
import { preReboot } from "../support/zincati.ts";
import { RawConnection } from "./raw_http.ts";
import { startTestServer } from "./test_server.ts";

const LOCAL = { hostname: "127.0.0.1", port: 0 };
const silent = { info: () => {}, error: () => {} };
const PROTOCOL = "POST /v1/pre-reboot HTTP/1.1\r\nhost: localhost\r\nfleet-lock-protocol: true\r\n";
const BODY = JSON.stringify({ client_params: { id: "a", group: "default" } });

/** Starts a server with the handler of the test. */
function start(options: Partial<ServerOptions> = {}): Server & AsyncDisposable {
  const server = new Server({ address: LOCAL, handler: () => new Response("ok\n"), logger: silent, ...options });
  return Object.assign(server, { [Symbol.asyncDispose]: () => server.shutdown() });
}

for (
  const [what, head, status] of [
    ["stalls", "content-length: 1000\r\n\r\n{", 408],
    ["stalls in chunks", "transfer-encoding: chunked\r\n\r\n1\r\n{\r\n", 408],
    ["is announced as too large and never sent", "content-length: 10000000\r\n\r\n", 413],
  ] as const
) {
  Deno.test(`a client whose body ${what} and that stays connected harms nobody else`, async () => {
    const bodyTimeoutMs = 500;
    await using server = startTestServer({ bodyTimeoutMs });
    await using idle = await RawConnection.open(server.url);
    await idle.send("GET /-/healthy HTTP/1.1\r\nhost: localhost\r\n\r\n");
    await idle.replies(1);
    await using hanging = await RawConnection.open(server.url);
    await hanging.send(PROTOCOL + head);
    match(await hanging.replies(1), new RegExp(`^HTTP/1.1 ${status} .*\r\nconnection: close\r\n`, "s"));

    // A slow body that is on its way when the other has hung for a while longer still counts.
    await using slow = await RawConnection.open(server.url);
    await slow.send(`${PROTOCOL}content-length: ${BODY.length}\r\n\r\n${BODY.slice(0, 1)}`);
    const began = performance.now();
    await until(() => performance.now() - began > bodyTimeoutMs / 2);
    await slow.send(BODY.slice(1));
    match(await slow.replies(1), /^HTTP\/1\.1 200 /);
    await idle.send("GET /-/healthy HTTP/1.1\r\nhost: localhost\r\n\r\n");
    await until(() => idle.statuses.length === 2 || idle.closed);
    deepEqual(idle.statuses, [200, 200]);
    deepEqual(hanging.statuses, [status]);
    equal((await preReboot(server.url, "a")).status, 200);
  });
}

Deno.test("the address 0.0.0.0 answers on IPv4 and IPv6, on one port", async () => {
  await using server = start({ address: { hostname: "0.0.0.0", port: 0 } });
  const { hostname, port } = server.address;
  equal(hostname, "0.0.0.0");
  notEqual(port, 0);
  for (const host of ["127.0.0.1", ...(hasIpv6() ? ["[::1]"] : [])]) {
    const reply = await fetch(`http://${host}:${port}/`, { signal: AbortSignal.timeout(10_000) });
    equal(await reply.text(), "ok\n", host);
  }
});

function hasIpv6(): boolean {
  try {
    Deno.listen({ hostname: "::1", port: 0 }).close();
    return true;
  } catch {
    return false;
  }
}

/** A platform on which a test decides what happens when the server listens. */
class Platform {
  /** What is listened on, in the order of the attempts that succeeded. */
  readonly opened: string[] = [];
  /** Makes the listener of the same number fail, as Deno.serve does without descriptors. */
  readonly fail: (() => void)[] = [];
  /** Which listeners were shut down. */
  readonly shut: number[] = [];
  /** What their shutdown waits for. */
  readonly closing: Promise<void>[] = [];
  /** Throws where the platform refuses an address. */
  refuse: (hostname: string) => void = () => {};

  readonly serve = ({ hostname, port }: Address): Serving => {
    this.refuse(hostname);
    const number = this.opened.length;
    this.opened.push(`${hostname} ${port}`);
    const { promise, reject } = Promise.withResolvers<void>();
    this.fail.push(() => reject(new Error("Too many open files (os error 24)")));
    return {
      addr: { transport: "tcp", hostname, port: port || 8765 },
      finished: promise,
      shutdown: async () => {
        this.shut.push(number);
        await this.closing[number];
      },
    };
  };
}

for (
  const [what, refuse, opened] of [
    ["takes IPv4 and IPv6 on ::", (host: string) => {
      if (host === "0.0.0.0") throw new Deno.errors.AddrInUse("in use");
    }, [":: 0"]],
    ["takes only IPv6 on ::", () => {}, [":: 0", "0.0.0.0 8765"]],
    ["has no IPv6", (host: string) => {
      if (host === "::") throw new Error("Address family not supported by protocol (os error 97)");
    }, ["0.0.0.0 0"]],
  ] as const
) {
  for (const hostname of ["0.0.0.0", "::"]) {
    Deno.test(`${hostname} on a host that ${what} listens on ${opened.join(" and ")}`, async () => {
      const platform = new Platform();
      platform.refuse = refuse;
      {
        await using server = start({ address: { hostname, port: 0 }, serve: platform.serve });
        deepEqual(server.address, { hostname, port: 8765 });
      }
      deepEqual(platform.opened, opened);
      deepEqual(platform.shut, opened.map((_each, number) => number));
    });
  }
}

Deno.test("0.0.0.0 on a host whose :: is in use on that port is in use, although IPv4 alone would be free", () => {
  const platform = new Platform();
  platform.refuse = (host) => {
    if (host === "::") throw new Deno.errors.AddrInUse("in use");
  };
  throws(() => start({ address: { hostname: "0.0.0.0", port: 80 }, serve: platform.serve }), Deno.errors.AddrInUse);
  deepEqual(platform.opened, []);
});

for (const hostname of ["127.0.0.1", "::1"]) {
  Deno.test(`${hostname} is listened on alone`, async () => {
    const platform = new Platform();
    await using server = start({ address: { hostname, port: 0 }, serve: platform.serve });
    deepEqual(server.address, { hostname, port: 8765 });
    deepEqual(platform.opened, [`${hostname} 0`]);
  });
}

/** Starts a server on a platform and a clock of the test, with a record of its log. */
function startFailing() {
  const platform = new Platform();
  const clock = new FakeClock();
  const logged: string[] = [];
  const errors: unknown[] = [];
  const log = (message: string, { error }: { error?: unknown } = {}) => {
    logged.push(message);
    if (error !== undefined) errors.push(error);
  };
  const state = { hasDescriptors: true };
  const server = start({
    serve: platform.serve,
    clock,
    logger: { info: log, error: log },
    hasDescriptors: () => state.hasDescriptors,
  });
  return { platform, clock, logged, errors, state, server, [Symbol.asyncDispose]: () => server.shutdown() };
}

Deno.test("a listener that fails is replaced on its address after a second at most, and its connections are kept", async () => {
  await using test = startFailing();
  const { platform, clock, logged } = test;
  platform.fail[0]!();
  await clock.advance(0);
  equal(platform.opened.length, 1);
  for (let passed = 0; passed < 1_010; passed += 10) await clock.advance(10);
  deepEqual(platform.opened, ["127.0.0.1 0", "127.0.0.1 8765"]);
  deepEqual(logged, ["cannot accept connections; listening again once it is possible", "listening again"]);
  deepEqual(platform.shut, []);
  // Half a minute later, only clients that are idle or hang are left.
  for (let passed = 0; passed < 30; passed++) await clock.advance(1_000);
  deepEqual(platform.shut, [0]);
});

Deno.test("without descriptors the server does not listen in vain, and it listens soon after they are free", async () => {
  await using test = startFailing();
  const { platform, clock, logged, state } = test;
  state.hasDescriptors = false;
  platform.fail[0]!();
  for (let passed = 0; passed < 60; passed++) await clock.advance(1_000);
  equal(platform.opened.length, 1);
  equal(logged.length, 1);
  state.hasDescriptors = true;
  await clock.advance(1_000);
  equal(platform.opened.length, 2);
  equal(logged.length, 2);
});

Deno.test("a listener that fails at once is replaced once a second, not in a tight loop", async () => {
  await using test = startFailing();
  const { platform, clock } = test;
  for (let passed = 0; passed < 10_000; passed += 10) {
    platform.fail.at(-1)!();
    await clock.advance(10);
  }
  ok(platform.opened.length >= 8 && platform.opened.length <= 11, `${platform.opened.length}`);
});

Deno.test("an address that another program has taken meanwhile is tried until it is free, and reported once", async () => {
  await using test = startFailing();
  const { platform, clock, logged } = test;
  platform.refuse = () => {
    throw new Deno.errors.AddrInUse("in use");
  };
  platform.fail[0]!();
  for (let passed = 0; passed < 20; passed++) await clock.advance(1_000);
  deepEqual(logged.slice(1), ["cannot listen again; retrying"]);
  platform.refuse = () => {};
  await clock.advance(1_000);
  equal(platform.opened.length, 2);
});

Deno.test("shutdown ends the wait for descriptors, and shuts down the listener that failed", async () => {
  const { platform, clock, state, server } = startFailing();
  state.hasDescriptors = false;
  platform.fail[0]!();
  await clock.advance(2_000);
  await server.shutdown();
  equal(clock.sleepers, 0);
  equal(platform.opened.length, 1);
  ok(platform.shut.includes(0));
});

Deno.test("shutdown lets a running request finish", async () => {
  const release = Promise.withResolvers<void>();
  const arrived = Promise.withResolvers<void>();
  const server = start({
    handler: async () => {
      arrived.resolve();
      await release.promise;
      return new Response("slow\n");
    },
  });
  await using running = await RawConnection.open(`http://127.0.0.1:${server.address.port}`);
  await running.send("GET / HTTP/1.1\r\nhost: localhost\r\n\r\n");
  await arrived.promise;
  const stopped = server.shutdown();
  release.resolve();
  match(await running.end(), /^HTTP\/1\.1 200 .*slow\n$/s);
  await stopped;
});

Deno.test("an address in use makes the constructor throw, also for 0.0.0.0", async () => {
  await using server = start();
  const { port } = server.address;
  notEqual(port, 0);
  throws(() => start({ address: { hostname: "127.0.0.1", port } }), Deno.errors.AddrInUse);
  throws(() => start({ address: { hostname: "0.0.0.0", port } }), Deno.errors.AddrInUse);
});

Deno.test("an address that is taken for less than a second is not reported, and one that stays taken is with its error", async () => {
  await using test = startFailing();
  const { platform, clock, logged, errors } = test;
  const taken = new Deno.errors.AddrInUse("in use");
  platform.refuse = () => {
    throw taken;
  };
  platform.fail[0]!();
  for (let passed = 0; passed < 1_900; passed += 10) await clock.advance(10);
  equal(logged.length, 1);
  match(`${errors[0]}`, /Too many open files/);
  for (let passed = 0; passed < 2_000; passed += 10) await clock.advance(10);
  deepEqual(errors.slice(1), [taken]);
});

Deno.test("what has failed is shut down once, and a shutdown of the server waits for it", async () => {
  const { platform, clock, server } = startFailing();
  platform.fail[0]!();
  for (let passed = 0; passed < 2_000; passed += 10) await clock.advance(10);
  const closed = Promise.withResolvers<void>();
  platform.closing[0] = closed.promise;
  let isOver = false;
  const over = server.shutdown().then(() => isOver = true);
  await clock.advance(0);
  await clock.advance(0);
  deepEqual([platform.shut.toSorted(), isOver], [[0, 1], false]);
  closed.resolve();
  await over;
});

Deno.test("a listener that ends with an error during the shutdown is not replaced", async () => {
  const { platform, clock, logged, server } = startFailing();
  const over = server.shutdown();
  platform.fail[0]!();
  await over;
  await clock.advance(5_000);
  deepEqual([platform.opened.length, logged, clock.sleepers], [1, [], 0]);
});

for (
  const [what, free, error, listens] of [
    ["four file descriptors are free", 4, "Too many open files (os error 24)", true],
    ["three file descriptors are free", 3, "Too many open files (os error 24)", false],
    ["the host has no file to try it with", 0, "No such file or directory (os error 2)", true],
  ] as const
) {
  Deno.test(`a server whose listener failed ${listens ? "listens again" : "waits"} if ${what}`, async () => {
    const platform = new Platform();
    const clock = new FakeClock();
    const { openSync } = Deno;
    let opened = 0;
    let closed = 0;
    Deno.openSync = (path) => {
      equal(path, "/dev/null");
      if (opened - closed >= free) throw new Error(error);
      opened++;
      return { close: () => void closed++ } as Deno.FsFile;
    };
    try {
      await using _server = start({ serve: platform.serve, clock });
      platform.fail[0]!();
      for (let passed = 0; passed < 3_000; passed += 100) await clock.advance(100);
      equal(platform.opened.length, listens ? 2 : 1);
      equal(opened, closed);
    } finally {
      Deno.openSync = openSync;
    }
  });
}
