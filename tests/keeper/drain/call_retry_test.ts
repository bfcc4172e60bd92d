/** Which calls of a drain are repeated, for how long, and with which pauses. @module */

import { deepEqual, equal, rejects } from "node:assert/strict";
import { CallRetry } from "../../../src/keeper/drain/call_retry.ts";
import { ForbiddenError, KubernetesError } from "../../../src/kubernetes/errors.ts";
import { CallRefusedError, UnavailableError } from "../../../src/lock/errors.ts";
import { FakeClock } from "../../support/fake_clock.ts";

const denied = new ForbiddenError("no", { verb: "get", group: "", resource: "nodes" });
const away = new UnavailableError("away");

/** Repeats a call on a clock of the test, for a minute unless said otherwise. */
function setUp(options: { forMs?: number; deniedMs?: number } = {}) {
  const clock = new FakeClock();
  const stop = new AbortController();
  const told: unknown[] = [];
  const retry = new CallRetry({
    clock,
    deadline: clock.monotonic() + (options.forMs ?? 60_000),
    deniedMs: options.deniedMs ?? 10_000,
    signal: stop.signal,
    retrying: (error) => told.push(error),
  });
  /** Makes a call that fails so each time until `failures` are over, and tells when it was made. */
  const persist = (failures: unknown[]) => {
    const calls: number[] = [];
    const end = retry.persist(() => {
      calls.push(clock.passed);
      return calls.length <= failures.length ? Promise.reject(failures[calls.length - 1]) : Promise.resolve("done");
    });
    end.catch(() => {});
    return { calls, end };
  };
  /** Lets the time pass, one millisecond before and at the end of each sleep. */
  const pass = async (ms: number) => {
    for (let left = ms; left > 0;) {
      await clock.advance(0);
      const step = Math.min(left, Math.max((clock.nextIn ?? left) - 1, 1));
      await clock.advance(step);
      left -= step;
    }
  };
  return { clock, stop, told, retry, persist, pass };
}

Deno.test("a call that fails is repeated after 1, 2, 4 and then each 5 s, and each failure is told", async () => {
  const { told, persist, pass } = setUp();
  const { calls, end } = persist(Array(6).fill(away));
  await pass(22_000);
  equal(await end, "done");
  deepEqual(calls, [0, 1_000, 3_000, 7_000, 12_000, 17_000, 22_000]);
  deepEqual(told, Array(6).fill(away));
});

Deno.test("a pause that the API server asks for is kept if it is the longer one, up to 30 s", async () => {
  const asked = (retryAfterMs: number) => new UnavailableError("busy", { retryAfterMs });
  const { persist, pass } = setUp();
  const { calls, end } = persist([asked(500), asked(10_000), asked(3_600_000)]);
  await pass(41_000);
  equal(await end, "done");
  deepEqual(calls, [0, 1_000, 11_000, 41_000]);
});

Deno.test("a call is repeated until the first failure at or past the deadline", async () => {
  const { persist, pass } = setUp({ forMs: 7_000 });
  const { calls, end } = persist(Array(9).fill(away));
  await pass(20_000);
  await rejects(end, away);
  deepEqual(calls, [0, 1_000, 3_000, 7_000]);
});

for (
  const [what, error] of [
    ["that the API server refuses for good", new CallRefusedError("no", "a policy")],
    ["whose error does not come from the cluster", new TypeError("a fault of the program")],
    ["whose answer a drain does not expect", new KubernetesError("what?", 418, "Teapot", [])],
  ] as const
) {
  Deno.test(`a call ${what} is not repeated`, async () => {
    const { told, persist } = setUp();
    const { calls, end } = persist([error]);
    await rejects(end, error);
    deepEqual([calls, told], [[0], []]);
  });
}

Deno.test("a call that is denied is repeated until it has been denied for a while", async () => {
  const { persist, pass } = setUp({ deniedMs: 10_000 });
  const { calls, end } = persist(Array(9).fill(denied));
  await pass(30_000);
  await rejects(end, denied);
  deepEqual(calls, [0, 1_000, 3_000, 7_000, 12_000]);
});

Deno.test("which failures are final: those that another try cannot help", () => {
  const { retry } = setUp();
  equal(retry.isFinal(away), false);
  equal(retry.isFinal(new KubernetesError("what?", 500, "", [])), false);
  equal(retry.isFinal(new CallRefusedError("no", "a policy")), true);
  equal(retry.isFinal(new TypeError("a fault of the program")), true);
});

Deno.test("denials are one series unless a minute lies between them", async () => {
  const { clock, retry } = setUp({ deniedMs: 10_000 });
  equal(retry.isFinal(denied), false);
  await clock.advance(9_999);
  equal(retry.isFinal(denied), false);
  await clock.advance(1);
  equal(retry.isFinal(denied), true);
  await clock.advance(50_000);
  equal(retry.isFinal(denied), true);
  await clock.advance(1);
  equal(retry.isFinal(denied), false);
  await clock.advance(10_000);
  equal(retry.isFinal(denied), true);
});

Deno.test("a stop ends the pause with its reason, and a call that fails then", async () => {
  const { stop, told, persist, pass } = setUp();
  const { calls, end } = persist([away]);
  await pass(500);
  stop.abort(new Error("stop"));
  await rejects(end, /^Error: stop$/);
  await rejects(persist([away]).end, /^Error: stop$/);
  // What the failed call says no longer matters then.
  await rejects(persist([new TypeError("cut short")]).end, /^Error: stop$/);
  deepEqual([calls, told], [[0], [away]]);
});
