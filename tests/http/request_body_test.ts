import { deepEqual, equal } from "node:assert/strict";
import { type BodyLimits, BodyReader } from "../../src/http/request_body.ts";
import { until } from "../support/condition.ts";

function test(name: string, fn: () => Promise<void>): void {
  Deno.test({ name, fn, sanitizeOps: true, sanitizeResources: true });
}

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

function countingReader(limits: BodyLimits = {}): { reader: BodyReader; hanging: () => number } {
  let hanging = 0;
  const reader = new BodyReader({ bodyTimeoutMs: 50, onHangingBody: () => hanging++, ...limits });
  return { reader, hanging: () => hanging };
}

test("a body that never ends is given up, and said to hang once", async () => {
  const { reader, hanging } = countingReader();
  using _ = reader;
  const [first, second] = [slowRequest(), slowRequest()];
  deepEqual(await reader.read(first.request), { kind: "timeout" });
  await until(() => hanging() === 1);
  // Time enough for the first to be told of again.
  deepEqual(await reader.read(second.request), { kind: "timeout" });
  equal(hanging(), 1);
  first.fail();
  second.fail();
});

for (const [what, leave] of [["leaves", "fail"], ["ends its body late", "end"]] as const) {
  test(`a client that ${what} after it was given up does not hang`, async () => {
    const { reader, hanging } = countingReader();
    using _ = reader;
    const left = slowRequest();
    deepEqual(await reader.read(left.request), { kind: "timeout" });
    left[leave]("{}");
    const stays = slowRequest();
    deepEqual(await reader.read(stays.request), { kind: "timeout" });
    await until(() => hanging() > 0);
    equal(hanging(), 1);
    stays.fail();
  });
}

test("when it is disposed of, bodies that are awaited are given up, and none hangs", async () => {
  const { reader, hanging } = countingReader();
  const slow = slowRequest();
  const result = reader.read(slow.request);
  reader[Symbol.dispose]();
  deepEqual(await result, { kind: "timeout" });
  slow.fail();
  equal(hanging(), 0);
});
