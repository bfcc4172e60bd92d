/** Abort signals that depend on others for a limited time. @module */

import { equal, throws } from "node:assert/strict";
import { LinkedAbort } from "../../src/kubernetes/linked_abort.ts";

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
