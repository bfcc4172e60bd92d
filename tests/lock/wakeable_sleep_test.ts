import { equal } from "node:assert/strict";
import { WakeableSleep } from "../../src/lock/wakeable_sleep.ts";
import { FakeClock } from "../support/fake_clock.ts";

const never = new AbortController().signal;

/** Whether a promise is settled after the others have run. */
async function isOver(promise: Promise<void>): Promise<boolean> {
  let over = false;
  promise.then(() => over = true);
  await new Promise((resolve) => setTimeout(resolve, 0));
  return over;
}

Deno.test("a sleep ends when its time is over, not before", async () => {
  const clock = new FakeClock();
  const sleep = new WakeableSleep(clock).sleep(1_000, never);
  await clock.advance(999);
  equal(await isOver(sleep), false);
  await clock.advance(1);
  equal(await isOver(sleep), true);
});

Deno.test("waking ends the sleep, or the next one, and only that one", async () => {
  const clock = new FakeClock();
  const sleep = new WakeableSleep(clock);
  const first = sleep.sleep(1_000, never);
  sleep.wake();
  equal(await isOver(first), true);
  equal(await isOver(sleep.sleep(1_000, never)), false);
  await clock.advance(1_000);
  sleep.wake();
  sleep.wake();
  equal(await isOver(sleep.sleep(1_000, never)), true);
  equal(await isOver(sleep.sleep(1_000, never)), false);
  equal(clock.sleepers, 1);
});

Deno.test("the signal ends a sleep, at once where it has aborted before", async () => {
  const sleep = new WakeableSleep(new FakeClock());
  const stop = new AbortController();
  const first = sleep.sleep(1_000, stop.signal);
  stop.abort("over");
  equal(await isOver(first), true);
  equal(await isOver(sleep.sleep(1_000, stop.signal)), true);
});
