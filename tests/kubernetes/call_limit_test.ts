import { deepEqual, equal, ok, rejects } from "node:assert/strict";
import fc from "fast-check";
import { CallLimit } from "../../src/kubernetes/call_limit.ts";
import { UnavailableError } from "../../src/lock/errors.ts";

const never = new AbortController().signal;

/** Lets everything happen that needs no time. */
const settle = () => new Promise((resolve) => setTimeout(resolve, 0));

Deno.test("turns go first come, first served, as many at a time as may be, whoever gives up the wait", async () => {
  const steps = fc.array(fc.constantFrom("take", "give", "abort"), { maxLength: 40 });
  await fc.assert(
    fc.asyncProperty(
      steps,
      fc.integer({ min: 1, max: 3 }),
      fc.integer({ min: 0, max: 3 }),
      async (steps, most, queue) => {
        const limit = new CallLimit(most, queue);
        const seen: string[] = [];
        const expected: string[] = [];
        // The model: who has a turn, and who waits for one.
        let running = 0;
        const waiting: { id: number; stop: AbortController }[] = [];
        for (const [id, step] of steps.entries()) {
          if (step === "take") {
            const stop = new AbortController();
            limit.take(stop.signal).then(
              () => seen.push(`${id} runs`),
              (error) => seen.push(`${id} ${error instanceof UnavailableError ? "is too many" : error.message}`),
            );
            if (running < most) {
              running++;
              expected.push(`${id} runs`);
            } else if (waiting.length < queue) waiting.push({ id, stop });
            else expected.push(`${id} is too many`);
          } else if (step === "give" && running > 0) {
            limit.give();
            const next = waiting.shift();
            if (next === undefined) running--;
            else {
              expected.push(`${next.id} runs`);
              // A turn that was given is not lost by an abort that comes later.
              next.stop.abort(new Error("late"));
            }
          } else if (step === "abort" && waiting.length > 0) {
            const [gone] = waiting.splice(Math.floor(waiting.length / 2), 1);
            gone!.stop.abort(new Error("gone"));
            expected.push(`${gone!.id} gone`);
          }
          await settle();
          deepEqual(seen, expected);
        }
      },
    ),
    { numRuns: 40 },
  );
});

Deno.test("a call that was ended before does not take a turn, and the refusal says how many wait", async () => {
  const limit = new CallLimit(1, 1);
  await rejects(limit.take(AbortSignal.abort(new Error("stop"))), /^Error: stop$/);
  await limit.take(never);
  const waiting = limit.take(never);
  await rejects(limit.take(never), (error) => {
    ok(error instanceof UnavailableError);
    equal(error.message, "1 calls to the API server are waiting already");
    return true;
  });
  limit.give();
  await waiting;
});
