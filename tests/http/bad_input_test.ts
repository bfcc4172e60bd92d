import { deepEqual, equal, match, ok } from "node:assert/strict";
import { until } from "../support/condition.ts";
import { preReboot, steadyState } from "../support/zincati.ts";
import { RawConnection } from "./raw_http.ts";
import { startTestServer, type TestServer } from "./test_server.ts";

const BODY = JSON.stringify({ client_params: { id: "a", group: "default" } });
const HEAD = "POST /v1/pre-reboot HTTP/1.1\r\nhost: localhost\r\nfleet-lock-protocol: true\r\n";
const request = (body: string) => `${HEAD}content-length: ${new TextEncoder().encode(body).length}\r\n\r\n${body}`;
const chunked = (...chunks: string[]) =>
  `${HEAD}transfer-encoding: chunked\r\n\r\n` +
  [...chunks, ""].map((chunk) => `${chunk.length.toString(16)}\r\n${chunk}\r\n`).join("");
/** A whole request, which takes the slot if the server parses it as one. */
const SMUGGLED = request(BODY.replace('"a"', '"smuggler"'));

/** Asserts that bad input did no harm: nothing was written, and the next client is served. */
async function assertUnharmed(server: TestServer): Promise<void> {
  deepEqual((await server.store.list()).groups.size, 0, "the store is untouched");
  equal((await preReboot(server.url, "next")).status, 200);
  equal((await steadyState(server.url, "next")).status, 200);
}

const bytes = (prefix: string, middle: number[], suffix: string) =>
  new Uint8Array([...new TextEncoder().encode(prefix), ...middle, ...new TextEncoder().encode(suffix)]);
/** A body with bytes that are not UTF-8 inside a string. */
const notUtf8 = bytes(
  `${HEAD}content-length: ${BODY.length + 2 + 7}\r\n\r\n{"x":"`,
  [0xff, 0xfe],
  `",${BODY.slice(1)}`,
);

/** A body that starts with a byte order mark, in one chunk. */
const withMark = `${HEAD}transfer-encoding: chunked\r\n\r\n${
  (BODY.length + 3).toString(16)
}\r\n\ufeff${BODY}\r\n0\r\n\r\n`;

/** A status of undefined: the HTTP layer closes the connection without a response. */
const BAD: [name: string, send: string | Uint8Array, status: number | undefined][] = [
  ["an empty body", request(""), 400],
  ["no length and no body", `${HEAD}\r\n`, 400],
  ["a truncated JSON", request(BODY.slice(0, -3)), 400],
  ["white space", request(" \n"), 400],
  ["a second object", request(BODY.repeat(2)), 400],
  ["a NUL at the end", request(BODY + "\0"), 400],
  ["an array", request("[]"), 400],
  ["deep nesting", request("[".repeat(8_000) + "]".repeat(8_000)), 400],
  ["deep nesting, open", request('{"a":'.repeat(3_000)), 400],
  ["bytes that are not UTF-8", notUtf8, 400],
  ["a byte order mark", request(`\ufeff${BODY}`), 400],
  ["a byte order mark in chunks", withMark, 400],
  ["trailing bytes", request(BODY + "x"), 400],
  ["prototype keys", request(`{"__proto__":${BODY}}`), 400],
  ["a control character in the id", request(BODY.replace('"a"', '"a\\u0000"')), 400],
  ["an id of 300 characters", request(BODY.replace('"a"', `"${"a".repeat(300)}"`)), 400],
  ["a group outside the pattern", request(BODY.replace("default", "a/b")), 400],
  ["a body one byte too large", request(BODY + " ".repeat(16_385 - BODY.length)), 413],
  ["a chunked body too large", chunked(BODY, " ".repeat(10_000), " ".repeat(10_000)), 413],
  ["chunked, not JSON", chunked("{", "x}"), 400],
  ["chunks of bad framing", `${HEAD}transfer-encoding: chunked\r\n\r\nxyz\r\n${BODY}\r\n0\r\n\r\n`, undefined],
  [
    "both lengths",
    `${HEAD}content-length: ${BODY.length}\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n${SMUGGLED}`,
    400,
  ],
  ["two lengths", `${HEAD}content-length: 5\r\ncontent-length: 6\r\n\r\nhello`, 400],
  ["a length that is not a number", `${HEAD}content-length: +5\r\n\r\nhello`, 400],
  ["a negative length", `${HEAD}content-length: -1\r\n\r\n`, 400],
  ["text that is not HTTP", "hello\r\n\r\n", 400],
  ["a path with dots", request(BODY).replace("/v1/pre-reboot", "/x/../v1/pre-reboot"), 404],
  ["a host with a path", request(BODY).replace("/v1/pre-reboot", "/x").replace("localhost", "a/v1/pre-reboot?"), 400],
  ["a host with a query", request(BODY).replace("localhost", "a?b"), 400],
  ["an asterisk", "OPTIONS * HTTP/1.1\r\nhost: localhost\r\n\r\n", 404],
  ["CONNECT", "CONNECT localhost:80 HTTP/1.1\r\nhost: localhost\r\nfleet-lock-protocol: true\r\n\r\n", 404],
  ["HTTP/1.0, empty", HEAD.replace("1.1", "1.0") + "\r\n", 400],
];

for (const [name, send, status] of BAD) {
  Deno.test(`bad input is refused with ${status ?? "a closed connection"} and does not reach the store: ${name}`, async () => {
    await using server = startTestServer();
    {
      await using connection = await RawConnection.open(server.url);
      await connection.send(send);
      await until(() => connection.statuses.length > 0 || connection.closed);
      if (status === undefined) await connection.end();
      else equal(connection.statuses[0], status, connection.received);
      ok(connection.statuses.every((each) => each >= 400), connection.received);
    }
    await assertUnharmed(server);
  });
}

for (const [framing, send] of [["content-length", request(`\ufeff${BODY}`)], ["chunked", withMark]] as const) {
  Deno.test(`a byte order mark is named in the answer (${framing})`, async () => {
    await using server = startTestServer();
    await using connection = await RawConnection.open(server.url);
    await connection.send(send);
    match(await connection.replies(1), /"decode_error","value":"the body has a byte order mark: expected /);
  });
}

Deno.test("repeated slashes in a path are one, without a redirect", async () => {
  await using server = startTestServer();
  for (const path of ["//v1/pre-reboot", "/v1//pre-reboot", "///v1///pre-reboot?x=//"]) {
    await using connection = await RawConnection.open(server.url);
    await connection.send(request(BODY).replace("/v1/pre-reboot", path));
    await connection.replies(1);
    deepEqual(connection.statuses, [200], path);
  }
  await using connection = await RawConnection.open(server.url);
  await connection.send(request(BODY).replace("/v1/pre-reboot", "/v1/pre-reboot//"));
  await connection.replies(1);
  deepEqual(connection.statuses, [404]);
});

Deno.test("an upgrade to HTTP/2 with a body is refused by Deno.serve, which does not ask the handler", async () => {
  // README names this limit. If Deno serves such requests one day, the line there can go.
  await using server = startTestServer();
  await using connection = await RawConnection.open(server.url);
  const upgrade = "connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n";
  await connection.send(request(BODY).replace("content-length", `${upgrade}content-length`));
  match(await connection.end(), /^HTTP\/1\.1 400 .*content-length: 0\r\n/s);
  deepEqual(server.logged, []);
});

Deno.test("a request is served in any packets and chunks, and over HTTP/1.0", async () => {
  await using server = startTestServer();
  {
    await using connection = await RawConnection.open(server.url);
    for (const character of request(BODY)) await connection.send(character);
    match(await connection.replies(1), /^HTTP\/1\.1 200 .*obtained reboot lease\n$/s);
  }
  {
    await using connection = await RawConnection.open(server.url);
    await connection.send(chunked(...BODY));
    match(await connection.replies(1), /^HTTP\/1\.1 200 .*retained reboot lease\n$/s);
  }
  {
    await using connection = await RawConnection.open(server.url);
    await connection.send(request(BODY).replace("HTTP/1.1", "HTTP/1.0"));
    match(await connection.end(), /^HTTP\/1\.0 200 .*retained reboot lease\n$/s);
  }
});

Deno.test("a body of exactly the largest size is served", async () => {
  await using server = startTestServer();
  for (
    const send of [request(BODY + " ".repeat(16_384 - BODY.length)), chunked(BODY, " ".repeat(16_384 - BODY.length))]
  ) {
    await using connection = await RawConnection.open(server.url);
    await connection.send(send);
    match(await connection.replies(1), /^HTTP\/1\.1 200 /);
  }
});

Deno.test("pipelined requests are answered one by one, in order", async () => {
  await using server = startTestServer();
  await using connection = await RawConnection.open(server.url);
  await connection.send(request(BODY) + request("{") + SMUGGLED + request(BODY));
  await connection.replies(4);
  deepEqual(connection.statuses, [200, 400, 423, 200]);
});

Deno.test("a content-length of 10 MB is refused at once, and nothing in the body is parsed as a request", async () => {
  await using server = startTestServer();
  {
    await using connection = await RawConnection.open(server.url);
    await connection.send(`${HEAD}content-length: 10000000\r\n\r\n`);
    const reply = await connection.replies(1);
    match(reply, /^HTTP\/1\.1 413 .*\r\nconnection: close\r\n.*"body_too_large".*the limit is 16384 bytes/s);
    const filler = SMUGGLED.repeat(Math.ceil(10_000_000 / SMUGGLED.length)).slice(0, 10_000_000);
    await connection.send(filler + SMUGGLED);
    await connection.end();
    deepEqual(connection.statuses, [413]);
  }
  await assertUnharmed(server);
});

Deno.test("a chunked body of 10 MB is refused when it exceeds the limit, and the rest is dropped", async () => {
  await using server = startTestServer();
  {
    await using connection = await RawConnection.open(server.url);
    await connection.send(`${HEAD}transfer-encoding: chunked\r\n\r\n`);
    const chunk = `10000\r\n${"x".repeat(65_536)}\r\n`;
    await connection.send(chunk);
    match(await connection.replies(1), /^HTTP\/1\.1 413 .*\r\nconnection: close\r\n.*"body_too_large"/s);
    for (let sent = 0; sent < 10_000_000; sent += 65_536) await connection.send(chunk);
    await connection.send(`0\r\n\r\n${SMUGGLED}`);
    await connection.end();
    deepEqual(connection.statuses, [413]);
  }
  await assertUnharmed(server);
});

for (const kind of ["content-length: 1000", "transfer-encoding: chunked"]) {
  Deno.test(`a body that stalls gets 408, and what arrives late is not parsed as a request (${kind})`, async () => {
    await using server = startTestServer({ bodyTimeoutMs: 200 });
    {
      await using connection = await RawConnection.open(server.url);
      const start = kind.startsWith("content") ? "ab" : "2\r\nab\r\n";
      await connection.send(`${HEAD}${kind}\r\n\r\n${start}`);
      match(await connection.replies(1), /^HTTP\/1\.1 408 .*\r\nconnection: close\r\n.*"request_timeout"/s);
      // The rest of the body, and then what would be the next request.
      await connection.send((kind.startsWith("content") ? "x".repeat(998) : "0\r\n\r\n") + SMUGGLED);
      await connection.end();
      deepEqual(connection.statuses, [408]);
    }
    await assertUnharmed(server);
  });
}

Deno.test("the time limit of a body holds for the whole body, not for each byte", async () => {
  await using server = startTestServer({ bodyTimeoutMs: 300 });
  await using connection = await RawConnection.open(server.url);
  await connection.send(`${HEAD}content-length: 10000\r\n\r\n`);
  await until(async () => {
    await connection.send("x");
    return connection.statuses.length > 0;
  });
  deepEqual(connection.statuses, [408]);
  ok(connection.received.includes("request_timeout"));
});

Deno.test("a client that disconnects in the middle of its body does no harm", async () => {
  await using server = startTestServer();
  for (const kind of ["content-length: 1000", "transfer-encoding: chunked"]) {
    await using connection = await RawConnection.open(server.url);
    await connection.send(`${HEAD}${kind}\r\n\r\n`);
  }
  await until(() => server.logged.filter(({ fields }) => fields.outcome === "decode_error").length === 2);
  await assertUnharmed(server);
});

Deno.test("a client that closes its half of the connection in the middle of its body gets 400", async () => {
  await using server = startTestServer();
  {
    await using connection = await RawConnection.open(server.url);
    await connection.send(`${HEAD}content-length: 1000\r\n\r\n${BODY}`);
    await connection.closeWrite();
    await until(() => server.logged.some(({ fields }) => fields.outcome === "decode_error"));
  }
  await assertUnharmed(server);
});
