/**
 * The listening server and its renewals.
 *
 * @module
 */

import { deepEqual, equal, match, notEqual, ok, rejects, throws } from "node:assert/strict";
import { setImmediate } from "node:timers";
import { Server, type ServerOptions } from "../../src/http/server.ts";
import { until } from "../support/condition.ts";
import { FakeClock } from "../support/fake_clock.ts";
import { RawConnection } from "./raw_http.ts";
import { startTestServer } from "./test_server.ts";

function test(name: string, fn: () => Promise<void>): void {
  Deno.test({ name, fn, sanitizeOps: true, sanitizeResources: true });
}

const LOCAL = { hostname: "127.0.0.1", port: 0 };
const silent = { info: () => {}, error: () => {} };
const PROTOCOL = "POST /v1/pre-reboot HTTP/1.1\r\nhost: localhost\r\nfleet-lock-protocol: true\r\n";

/** Starts a server with the handler of the test. */
function start(options: Partial<ServerOptions> = {}): Server & AsyncDisposable {
  const server = new Server({
    address: LOCAL,
    handler: () => new Response("ok\n"),
    logger: silent,
    renewalIntervalMs: 0,
    ...options,
  });
  return Object.assign(server, { [Symbol.asyncDispose]: () => server.shutdown() });
}

function urlOf(server: Server): string {
  return `http://127.0.0.1:${server.address.port}`;
}

/** Renews a server until the test manages to take its address. */
async function listenDuringRenewal(server: Server): Promise<Deno.Listener> {
  for (;;) {
    server.renew();
    await new Promise((resolve) => setImmediate(resolve));
    try {
      return Deno.listen({ ...LOCAL, port: server.address.port });
    } catch (error) {
      // The server still listens, or listens again.
      if (!(error instanceof Deno.errors.AddrInUse)) throw error;
    }
  }
}

/** Sends a request on its own connection, and again if a renewal interrupted it. */
async function ask(server: Server): Promise<string> {
  for (;;) {
    try {
      await using connection = await RawConnection.open(urlOf(server));
      await connection.send("GET / HTTP/1.1\r\nhost: localhost\r\n\r\n");
      return await connection.replies(1);
    } catch (error) {
      const { ConnectionRefused, ConnectionReset } = Deno.errors;
      if (!(error instanceof ConnectionRefused || error instanceof ConnectionReset)) throw error;
    }
  }
}

for (
  const [what, head, status] of [
    ["stalls", "content-length: 1000\r\n\r\n{", 408],
    ["stalls in chunks", "transfer-encoding: chunked\r\n\r\n1\r\n{\r\n", 408],
    ["is announced as too large and never sent", "content-length: 10000000\r\n\r\n", 413],
  ] as const
) {
  test(`a client whose body ${what} and that stays connected is disconnected`, async () => {
    await using server = startTestServer({ bodyTimeoutMs: 100, renewalIntervalMs: 0 });
    await using connection = await RawConnection.open(server.url);
    await connection.send(PROTOCOL + head);
    match(await connection.replies(1), new RegExp(`^HTTP/1.1 ${status} .*\r\nconnection: close\r\n`, "s"));
    await connection.end();
    deepEqual(connection.statuses, [status]);
    const reply = await until(() => fetch(`${server.url}/-/healthy`).catch(() => undefined));
    equal(await reply.text(), "ok\n");
  });
}

test("a renewal closes idle connections, lets running requests finish and keeps the address", async () => {
  const release = Promise.withResolvers<void>();
  const arrived = Promise.withResolvers<void>();
  let slow = true;
  await using server = start({
    handler: async () => {
      if (slow) {
        slow = false;
        arrived.resolve();
        await release.promise;
        return new Response("slow\n");
      }
      return new Response("ok\n");
    },
  });
  const { port } = server.address;
  await using running = await RawConnection.open(urlOf(server));
  await running.send("GET / HTTP/1.1\r\nhost: localhost\r\n\r\n");
  await arrived.promise;
  await using idle = await RawConnection.open(urlOf(server));
  await idle.send("GET / HTTP/1.1\r\nhost: localhost\r\n\r\n");
  await idle.replies(1);

  server.renew();
  await idle.end();
  equal(server.address.port, port);
  match(await ask(server), /ok\n$/);
  equal(running.received, "");
  release.resolve();
  match(await running.end(), /^HTTP\/1\.1 200 .*slow\n$/s);
});

test("calls to renew during a renewal have no effect, and the next renewal waits for the interval", async () => {
  const clock = new FakeClock();
  let renewed = 0;
  await using server = start({
    clock,
    renewalIntervalMs: 3_000,
    logger: { ...silent, info: () => void renewed++ },
  });
  for (let i = 0; i < 5; i++) server.renew();
  await until(() => clock.advance(1).then(() => renewed === 1));
  for (let i = 0; i < 5; i++) server.renew();
  for (let passed = 0; passed < 2_990; passed += 10) await clock.advance(10);
  equal(renewed, 1);
  await until(() => clock.advance(1).then(() => renewed === 2));
});

test("if another program takes the address during a renewal, the server tries until it is free", async () => {
  const errors: unknown[] = [];
  await using server = start({ logger: { ...silent, error: (_message, { error }) => void errors.push(error) } });
  const other = await listenDuringRenewal(server);
  await until(() => errors.length > 0);
  ok(errors[0] instanceof Deno.errors.AddrInUse);
  other.close();
  match(await ask(server), /ok\n$/);
});

test("shutdown ends a renewal that is waiting", async () => {
  let renewed = 0;
  const server = start({ renewalIntervalMs: 3_600_000, logger: { ...silent, info: () => void renewed++ } });
  server.renew();
  await until(() => renewed === 1);
  server.renew();
  await server.shutdown();
  await rejects(fetch(urlOf(server)), TypeError);
  server.renew();
  await server.shutdown();
  equal(renewed, 1);
});

test("an address in use makes the constructor throw", async () => {
  await using server = start();
  notEqual(server.address.port, 0);
  throws(() => start({ address: { ...LOCAL, port: server.address.port } }), Deno.errors.AddrInUse);
});
