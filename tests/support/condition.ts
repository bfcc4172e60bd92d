/**
 * Waiting in tests: for a condition, never for a time.
 *
 * @module
 */

/**
 * Waits until a condition is true.
 *
 * @param condition Asked again and again; what it throws ends the wait.
 * @param options `timeoutMs` is how long to wait (10,000 by default), `what` the condition's name in the error.
 * @returns The condition's first truthy result.
 * @throws {Error} The condition did not become true in time.
 */
export async function until<T>(
  condition: () => T | Promise<T>,
  options: { timeoutMs?: number; what?: string } = {},
): Promise<NonNullable<T>> {
  const { timeoutMs = 10_000, what = condition.toString() } = options;
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    const result = await condition();
    if (result) return result;
    if (performance.now() >= deadline) throw new Error(`Not true within ${timeoutMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
