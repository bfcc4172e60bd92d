/**
 * Tells when the calls of replicas reach the limit of those that run at a time. What waits within a replica does not
 * show on its network, so that this watches the program's own limit.
 *
 * @module
 */

import { CallLimit } from "../../../src/kubernetes/call_limit.ts";

/** See the module. Dispose of it to leave the program as it was. */
export class LimitWatch implements Disposable {
  readonly #take = CallLimit.prototype.take;

  /** Begins. `now` gives the time in milliseconds; `reached` is told which limit. */
  constructor(now: () => number, reached: (what: string) => void) {
    const take = this.#take;
    CallLimit.prototype.take = function (this: CallLimit, signal: AbortSignal): Promise<void> {
      const at = now();
      // The caller gets the same promise, so that nothing happens later than otherwise.
      const taken = take.call(this, signal);
      taken.then(
        () => now() > at && reached("a call waits for its turn"),
        () => !signal.aborted && reached("the queue of calls is full"),
      );
      return taken;
    };
  }

  /** Ends it. */
  [Symbol.dispose](): void {
    CallLimit.prototype.take = this.#take;
  }
}
