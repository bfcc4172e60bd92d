/** Pools of connections: when they close, when they are replaced, and which call retires one. @module */

import { equal, notEqual, ok, rejects } from "node:assert/strict";
import { CallDeadline } from "../../src/kubernetes/call_deadline.ts";
import { ConnectionPools, Pool } from "../../src/kubernetes/connection_pool.ts";
import { UnavailableError } from "../../src/lock/errors.ts";
import { FakeClock } from "../support/fake_clock.ts";

/** A pool, and how often it was closed. */
function fakePool(): { pool: Pool; closed: () => number } {
  let closed = 0;
  const connections = { fetch: () => Promise.reject(new Error("not used")), close: () => void closed++ };
  return { pool: new Pool({ source: "a test" }, connections), closed: () => closed };
}

Deno.test("a retired pool closes once, when its last user leaves", () => {
  const { pool, closed } = fakePool();
  pool.enter();
  pool.enter();
  pool.leave();
  pool.retire();
  pool.retire();
  equal(pool.isRetired, true);
  equal(closed(), 0);
  pool.leave();
  equal(closed(), 1);
});

Deno.test("a pool without users closes when it is retired, and not before", () => {
  const { pool, closed } = fakePool();
  pool.enter();
  pool.leave();
  equal(closed(), 0);
  pool.retire();
  equal(closed(), 1);
});

Deno.test("a pool is shared until it is retired or the certificates change", async () => {
  const pools = new ConnectionPools();
  const tls = { source: "a test" };
  const first = await pools.get(tls);
  equal(await pools.get(tls), first);
  first.retire();
  const second = await pools.get(tls);
  notEqual(second, first);
  const third = await pools.get({ source: "a test" });
  notEqual(third, second);
  ok(second.isRetired, "the pool for the old certificates");
  pools.retire();
  ok(third.isRetired);
});

Deno.test("calls that begin side by side share a pool whose module is still being loaded", async () => {
  const pools = new ConnectionPools();
  const tls = { source: "a test", insecure: true };
  const [one, other] = await Promise.all([pools.get(tls), pools.get(tls)]);
  equal(one, other);
  ok(!one.isRetired);
  pools.retire();
});

const FAULTS = [
  ["a proxy's URL that cannot be used", { proxy: "http://a b" }, /The proxy-url in a test cannot be used: /],
  ["an authority that is not PEM", { ca: "x" }, /The certificates for a test cannot be used: /],
  ["both", { ca: "x", proxy: "http://a b" }, /The certificates for a test cannot be used: /],
] as const;
for (const [name, tls, says] of FAULTS) {
  Deno.test(`the error about ${name} names what to correct`, async () => {
    await rejects(new ConnectionPools().get({ source: "a test", ...tls }), says);
  });
}

for (const [waitedMs, isBlamed] of [[0, true], [500, true], [501, false]] as const) {
  const does = isBlamed ? "retires" : "keeps";
  Deno.test(`a call that waited ${waitedMs} of 1000 ms for its turn ${does} its pool at the deadline`, async () => {
    const clock = new FakeClock();
    const { pool } = fakePool();
    using deadline = new CallDeadline({ clock, timeoutMs: 1_000, server: "https://a", signals: [] });
    await clock.advance(waitedMs);
    deadline.blame(pool);
    await clock.advance(1_000 - waitedMs);
    const error = deadline.errorOf(deadline.signal.reason);
    ok(error instanceof UnavailableError);
    equal(error.message, "the API server at https://a did not answer within 1000 ms");
    equal(pool.isRetired, isBlamed);
  });
}

Deno.test("a call that fails before its deadline, or that its caller ends, keeps its pool", () => {
  const { pool } = fakePool();
  const caller = new AbortController();
  const clock = new FakeClock();
  using deadline = new CallDeadline({ clock, timeoutMs: 1_000, server: "https://a", signals: [caller.signal] });
  deadline.blame(pool);
  const fault = new Error("refused");
  equal(deadline.errorOf(fault), fault);
  const reason = new Error("no longer wanted");
  caller.abort(reason);
  equal(deadline.errorOf(fault), reason);
  equal(pool.isRetired, false);
});
