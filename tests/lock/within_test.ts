/**
 * The limit on waiting.
 *
 * @module
 */

import { equal, rejects } from "node:assert/strict";
import { systemClock } from "../../src/lock/clock.ts";
import { within } from "../../src/lock/within.ts";
import { FakeClock } from "../support/fake_clock.ts";

const test = (name: string, fn: () => Promise<void>) =>
  Deno.test({ name, fn, sanitizeOps: true, sanitizeResources: true });

test("an operation that ends in time gives its result and leaves no timer", async () => {
  equal(await within(3_600_000, Promise.resolve(7), systemClock), 7);
  const clock = new FakeClock();
  equal(await within(1_000, Promise.resolve("done"), clock), "done");
  equal(clock.sleepers, 0);
});

test("an operation that fails in time fails the wait and leaves no timer", async () => {
  await rejects(within(3_600_000, Promise.reject(new Error("broken")), systemClock), /broken/);
});

test("the wait ends at the limit, and a later failure is ignored", async () => {
  const clock = new FakeClock();
  const operation = Promise.withResolvers<void>();
  let result: unknown;
  const waiting = within(1_000, operation.promise, clock).then((value) => result = value);
  await clock.advance(999);
  equal(result, undefined);
  await clock.advance(1);
  equal(result, "late");
  operation.reject(new Error("too late to matter"));
  await waiting;
});
