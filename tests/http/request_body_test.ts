/**
 * The reader of request bodies and its time limit.
 *
 * @module
 */

import { deepEqual, equal } from "node:assert/strict";
import { BodyReader, type BodyResult } from "../../src/http/request_body.ts";
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
function startReader() {
  const clock = new FakeClock();
  const reader = new BodyReader({ bodyTimeoutMs: TIMEOUT_MS }, clock);
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
