/**
 * A limit on the time that one waits for an operation.
 *
 * @module
 */

import type { Clock } from "./clock.ts";

/**
 * Waits for an operation, but not longer than a time limit. The operation itself
 * goes on; what it does after the limit is ignored.
 *
 * @param ms The time limit, in milliseconds.
 * @param clock The clock that measures it.
 * @returns What the operation returns, or "late" if the limit was reached first.
 * @throws What the operation throws before the limit is reached.
 */
export async function within<T>(
  ms: number,
  operation: Promise<T>,
  clock: Pick<Clock, "sleep">,
): Promise<T | "late"> {
  const done = new AbortController();
  try {
    return await Promise.race([operation, clock.sleep(ms, done.signal).then(() => "late" as const)]);
  } finally {
    // Nobody sees the reason. Without one, the runtime makes an exception with its stack at each call.
    done.abort("done");
  }
}
