import { deepEqual, equal, ok, rejects } from "node:assert/strict";
import { abortable, untilAborted } from "../../src/lock/abort.ts";
import { systemClock } from "../../src/lock/clock.ts";

/** A signal that counts the listeners on it. */
class CountedSignal extends EventTarget {
  aborted = false;
  reason: unknown = "stop";
  listeners = 0;

  override addEventListener(...args: Parameters<EventTarget["addEventListener"]>): void {
    this.listeners++;
    super.addEventListener(...args);
  }

  override removeEventListener(...args: Parameters<EventTarget["removeEventListener"]>): void {
    this.listeners--;
    super.removeEventListener(...args);
  }

  abort(): void {
    this.aborted = true;
    this.dispatchEvent(new Event("abort"));
  }

  get signal(): AbortSignal {
    return this as unknown as AbortSignal;
  }
}

Deno.test("abortable passes on what the operation returns or throws, and leaves no listener", async () => {
  const counted = new CountedSignal();
  equal(await abortable(Promise.resolve(1), counted.signal), 1);
  equal(await abortable(Promise.resolve(2), undefined), 2);
  await rejects(abortable(Promise.reject(new Error("no")), counted.signal), /^Error: no$/);
  equal(counted.listeners, 0);
});

Deno.test("abortable throws the signal's reason when the signal aborts first, and leaves no listener", async () => {
  const counted = new CountedSignal();
  const operation = Promise.withResolvers<void>();
  const waiting = abortable(operation.promise, counted.signal);
  equal(counted.listeners, 1);
  counted.abort();
  await rejects(waiting, (reason) => reason === "stop");
  equal(counted.listeners, 0);
  // The operation goes on, and its failure after the wait is not an unhandled one.
  operation.reject(new Error("late"));
});

Deno.test("abortable throws at once for a signal that has aborted, even if the operation is done", async () => {
  await rejects(abortable(Promise.resolve(), AbortSignal.abort("stop")), (reason) => reason === "stop");
  await rejects(abortable(Promise.reject(new Error("x")), AbortSignal.abort("stop")), (reason) => reason === "stop");
});

Deno.test("untilAborted ends when the signal aborts, or at once if it has", async () => {
  await untilAborted(AbortSignal.abort());
  const stop = new AbortController();
  const order: string[] = [];
  const waiting = untilAborted(stop.signal).then(() => order.push("ended"));
  await new Promise((resolve) => setTimeout(resolve, 0));
  order.push("aborting");
  stop.abort();
  await waiting;
  deepEqual(order, ["aborting", "ended"]);
});

// Deno's sanitizers fail a test that leaves a timer.
Deno.test("a sleep of the system's clock ends after its time, or with the signal's reason and without its timer", async () => {
  const began = systemClock.monotonic();
  await systemClock.sleep(5, new AbortController().signal);
  ok(systemClock.monotonic() - began >= 4);
  await rejects(systemClock.sleep(60_000, AbortSignal.abort("stop")), (reason) => reason === "stop");
  const stop = new AbortController();
  const sleeping = systemClock.sleep(60_000, stop.signal);
  stop.abort("stop");
  await rejects(sleeping, (reason) => reason === "stop");
});

Deno.test("a sleep needs no signal", async () => {
  await systemClock.sleep(1);
});
