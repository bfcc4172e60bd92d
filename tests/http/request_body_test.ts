/**
 * The reader of request bodies and its time limit.
 *
 * @module
 */

import { deepEqual, equal } from "node:assert/strict";
import { type BodyLimits, BodyReader, type BodyResult } from "../../src/http/request_body.ts";
import { until } from "../support/condition.ts";
import { FakeClock } from "../support/fake_clock.ts";

/** A request whose body ends when the test says so, with what the test says. */
function slowRequest(): { request: Request; end: (body: string) => void; fail: () => void } {
  const body = Promise.withResolvers<unknown>();
  const request = new Request("http://localhost/", { method: "POST", headers: { "content-length": "2" } });
  return {
    request: Object.assign(request, { json: () => body.promise }),
    end: (text) => body.resolve(JSON.parse(text)),
    fail: () => body.reject(new Deno.errors.BadResource("the client left")),
  };
}

/** The time limit of the reader, and how often it looks at the bodies. */
const TIMEOUT_MS = 50;
const TICK_MS = 5;

/** A reader on a clock of the test. */
function startReader(limits: BodyLimits = { bodyTimeoutMs: TIMEOUT_MS }) {
  const clock = new FakeClock();
  const reader = new BodyReader(limits, clock);
  return {
    clock,
    read(request: Request): () => BodyResult | undefined {
      let result: BodyResult | undefined;
      reader.read(request).then((value) => result = value);
      return () => result;
    },
    async pass(ms: number): Promise<void> {
      for (let passed = 0; passed < ms; passed += TICK_MS) await clock.advance(TICK_MS);
    },
    [Symbol.dispose]: () => reader[Symbol.dispose](),
  };
}

Deno.test("a body that does not end times out, each by its own time", async () => {
  using reader = startReader();
  const [first, second] = [slowRequest(), slowRequest()];
  const firstResult = reader.read(first.request);
  await reader.pass(TICK_MS);
  const secondResult = reader.read(second.request);
  await reader.pass(TIMEOUT_MS - TICK_MS);
  equal(firstResult(), undefined, "the current tick does not count");
  await reader.pass(TICK_MS);
  deepEqual(firstResult(), { kind: "timeout" });
  equal(secondResult(), undefined);
  await reader.pass(TICK_MS);
  deepEqual(secondResult(), { kind: "timeout" });
  first.fail();
  second.fail();
});

for (const [what, leave] of [["leaves", "fail"], ["ends its body late", "end"], ["stays", undefined]] as const) {
  Deno.test(`a client that ${what} after the timeout costs no timer`, async () => {
    using reader = startReader();
    const late = slowRequest();
    const result = reader.read(late.request);
    await reader.pass(TIMEOUT_MS + TICK_MS);
    deepEqual(result(), { kind: "timeout" });
    equal(reader.clock.sleepers, 0);
    if (leave !== undefined) late[leave]("{}");
    await reader.pass(TICK_MS);
    deepEqual(result(), { kind: "timeout" });
  });
}

Deno.test("the timer ends when no body is awaited, and starts again with the next one", async () => {
  using reader = startReader();
  for (let round = 0; round < 2; round++) {
    const { request, end } = slowRequest();
    const result = reader.read(request);
    equal(reader.clock.sleepers, 1);
    end("{}");
    await reader.pass(TICK_MS);
    deepEqual(result(), { kind: "json", value: {} });
    equal(reader.clock.sleepers, 0);
  }
});

Deno.test("disposal times out the bodies that are awaited", async () => {
  const reader = startReader();
  const slow = slowRequest();
  const result = reader.read(slow.request);
  reader[Symbol.dispose]();
  await reader.clock.advance(0);
  equal(reader.clock.sleepers, 0);
  await reader.pass(TIMEOUT_MS);
  deepEqual(result(), { kind: "timeout" });
  slow.fail();
});

/** A request with a body of so many bytes, which is a JSON string. */
function sized(bytes: number, announced: boolean): Request {
  const text = JSON.stringify("x".repeat(bytes - 2));
  const chunks = new ReadableStream({
    start(controller) {
      for (let at = 0; at < bytes; at += 1_000) {
        controller.enqueue(new TextEncoder().encode(text.slice(at, at + 1_000)));
      }
      controller.close();
    },
  });
  const headers = new Headers(announced ? { "content-length": `${bytes}` } : {});
  return new Request("http://localhost/", { method: "POST", headers, body: announced ? text : chunks });
}

for (const announced of [true, false]) {
  const how = announced ? "that is announced" : "that comes in chunks";
  Deno.test(`unless told otherwise, a body ${how} may have 16 KiB and not one byte more`, async () => {
    using reader = new BodyReader({}, new FakeClock());
    equal((await reader.read(sized(16_384, announced))).kind, "json");
    deepEqual(await reader.read(sized(16_385, announced)), { kind: "too_large" });
  });
}

Deno.test("a body that is too large is refused at once, and then read to its end and thrown away", async () => {
  using reader = new BodyReader({ maxBodyBytes: 100 }, new FakeClock());
  let left = 50;
  const endless = new ReadableStream({
    pull(controller) {
      if (left-- > 0) controller.enqueue(new Uint8Array(60));
      else controller.close();
    },
  });
  const request = new Request("http://localhost/", { method: "POST", body: endless });
  deepEqual(await reader.read(request), { kind: "too_large" });
  await until(() => left < 0);
});

Deno.test("unless told otherwise, a client may take ten seconds to send its body, and at most eleven", async () => {
  using reader = startReader({});
  const slow = slowRequest();
  const result = reader.read(slow.request);
  for (let passed = 0; passed < 10; passed++) await reader.clock.advance(1_000);
  equal(result(), undefined);
  await reader.clock.advance(1_000);
  deepEqual(result(), { kind: "timeout" });
  slow.fail();
});

Deno.test("a request without a body, a body that is not JSON and one with a byte order mark are told apart", async () => {
  using reader = new BodyReader({}, new FakeClock());
  const post = (body?: BodyInit, announced = true) =>
    new Request("http://localhost/", {
      method: "POST",
      body,
      headers: announced ? { "content-length": `${body?.toString().length ?? 0}` } : {},
    });
  for (const announced of [true, false]) {
    equal((await reader.read(post(undefined, announced))).kind, "not_json");
    equal((await reader.read(post("{", announced))).kind, "not_json");
    equal((await reader.read(post("\ufeff{}", announced))).kind, "byte_order_mark");
    deepEqual(await reader.read(post('{"a":1}', announced)), { kind: "json", value: { a: 1 } });
  }
});

Deno.test("a character whose bytes come in two chunks is read whole, and bytes that are not UTF-8 are replaced", async () => {
  using reader = new BodyReader({}, new FakeClock());
  const inChunks = (...chunks: number[][]) => ReadableStream.from(chunks.map((bytes) => new Uint8Array(bytes)));
  const post = (body: ReadableStream<Uint8Array>) => new Request("http://localhost/", { method: "POST", body });
  const whole = await reader.read(post(inChunks([0x22, 0xc3], [0xa4, 0x22])));
  deepEqual(whole, { kind: "json", value: "\u00e4" });
  const broken = await reader.read(post(inChunks([0x22, 0xc3], [0x22])));
  deepEqual(broken, { kind: "json", value: "\ufffd" });
});

Deno.test("a client that leaves in the middle of its body is cut off, announced or not", async () => {
  using reader = new BodyReader({}, new FakeClock());
  const broken = () => new ReadableStream({ start: (controller) => controller.error(new Error("the client left")) });
  for (const headers of [{ "content-length": "5" }, {}]) {
    const request = new Request("http://localhost/", {
      method: "POST",
      headers: headers as HeadersInit,
      body: broken(),
    });
    deepEqual(await reader.read(request), { kind: "cut_off" });
  }
});
