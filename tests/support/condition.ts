/**
 * Lets tests wait for a condition instead of a time.
 *
 * @module
 */

/** How often {@link until} checks its condition and adds up time, in milliseconds. */
const STEP_MS = 5;

/**
 * Waits until a condition is true. Time in which the whole process stood still,
 * for example on a paused machine, does not count.
 *
 * @param condition Called repeatedly. An error that it throws ends the wait.
 * @param options `timeoutMs` is how long to wait (10,000 by default). `what` is the
 *   condition's name for the error, or a function that returns it.
 * @returns The first truthy result of the condition.
 * @throws {Error} The condition did not become true in time.
 */
export async function until<T>(
  condition: () => T | Promise<T>,
  options: { timeoutMs?: number; what?: string | (() => string) } = {},
): Promise<NonNullable<T>> {
  const { timeoutMs = 10_000, what = condition.toString() } = options;
  let passedMs = 0;
  let last = performance.now();
  const timer = setInterval(() => {
    const now = performance.now();
    passedMs += Math.min(now - last, 20 * STEP_MS);
    last = now;
  }, STEP_MS);
  try {
    for (;;) {
      const late = passedMs >= timeoutMs;
      const result = await condition();
      if (result) return result;
      if (late) throw new Error(`Not true within ${timeoutMs} ms: ${typeof what === "string" ? what : what()}`);
      await new Promise((resolve) => setTimeout(resolve, STEP_MS));
    }
  } finally {
    clearInterval(timer);
  }
}
