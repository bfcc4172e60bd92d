/**
 * Waiting for something that an abort signal can end. The one place that adds
 * and removes the signal's listener.
 *
 * @module
 */

/**
 * Waits for an operation or for a signal, whichever comes first. The operation
 * itself goes on; what it does after an abort is ignored. No listener stays on
 * the signal, so it may outlive any number of waits.
 *
 * @param signal Ends the wait. Without one, this is the operation itself.
 * @returns What the operation returns.
 * @throws The signal's reason where the signal aborted first, else whatever the operation throws.
 */
export async function abortable<T>(operation: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return await operation;
  const aborted = Promise.withResolvers<never>();
  const abort = () => aborted.reject(signal.reason);
  if (signal.aborted) abort();
  signal.addEventListener("abort", abort, { once: true });
  try {
    return await Promise.race([aborted.promise, operation]);
  } finally {
    signal.removeEventListener("abort", abort);
  }
}

/** Waits until a signal aborts. Does not throw. */
export async function untilAborted(signal: AbortSignal): Promise<void> {
  await abortable(new Promise<never>(() => {}), signal).catch(() => {});
}
