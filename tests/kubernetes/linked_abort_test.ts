/** Abort signals that depend on others for a limited time. @module */

import { equal, rejects, throws } from "node:assert/strict";
import { abortable, LinkedAbort } from "../../src/kubernetes/linked_abort.ts";

/** A controller that counts the listeners on its signal. */
class CountingController extends AbortController {
  listeners = 0;

  constructor() {
    super();
    const { signal } = this;
    const [add, remove] = [signal.addEventListener.bind(signal), signal.removeEventListener.bind(signal)];
    signal.addEventListener = (...args: Parameters<typeof add>) => {
      this.listeners++;
      add(...args);
    };
    signal.removeEventListener = (...args: Parameters<typeof remove>) => {
      this.listeners--;
      remove(...args);
    };
  }
}

Deno.test("each linked signal aborts it with its reason, also one that was already aborted", () => {
  const reason = new Error("stop");
  for (const aborted of [true, false]) {
    const [one, other] = [new AbortController(), new AbortController()];
    if (aborted) other.abort(reason);
    using linked = new LinkedAbort(one.signal, undefined, other.signal);
    equal(linked.signal.aborted, aborted);
    other.abort(reason);
    one.abort(new Error("too late"));
    throws(() => linked.signal.throwIfAborted(), reason);
  }
});

Deno.test("it aborts by itself without aborting the signals that it is linked to", () => {
  const one = new AbortController();
  using linked = new LinkedAbort(one.signal);
  linked.abort();
  equal(linked.signal.aborted, true);
  equal(one.signal.aborted, false);
});

Deno.test("once disposed of, it leaves no listener and is not aborted any more", () => {
  const long = new CountingController();
  const linked = new LinkedAbort(long.signal);
  linked.link(long.signal);
  equal(long.listeners, 2);
  linked[Symbol.dispose]();
  equal(long.listeners, 0);
  long.abort();
  equal(linked.signal.aborted, false);
});

Deno.test("a wait ends with the result, the error, or the signal's reason, and leaves no listener", async () => {
  const long = new CountingController();
  equal(await abortable(Promise.resolve(1), long.signal), 1);
  await rejects(abortable(Promise.reject(new Error("failed")), long.signal), /failed/);
  equal(long.listeners, 0);
  const reason = new Error("stop");
  const late = Promise.withResolvers<void>();
  const waiting = rejects(abortable(late.promise, long.signal), reason);
  long.abort(reason);
  await waiting;
  await rejects(abortable(late.promise, long.signal), reason);
  // Nobody waits for it any more, so its failure must not end the process.
  late.reject(new Error("too late"));
});
