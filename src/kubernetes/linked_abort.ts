/**
 * Abort signals that depend on other signals for a limited time.
 *
 * `AbortSignal.any` is not used on signals that live as long as the process: a
 * listener that stays on its result keeps the result alive for ever (1.2 kB a
 * call on Deno 2.9), and without one it is freed only by the garbage collector.
 *
 * @module
 */

/**
 * An AbortController that other signals abort too, with their reasons. Dispose
 * of it to unlink it from them; that does not abort it.
 */
export class LinkedAbort extends AbortController implements Disposable {
  readonly #unlink: (() => void)[] = [];

  /** Links it to `signals`. It is aborted from the start if one of them is. */
  constructor(...signals: (AbortSignal | undefined)[]) {
    super();
    for (const signal of signals) if (signal !== undefined) this.link(signal);
  }

  /** Links it to one more signal. */
  link(signal: AbortSignal): void {
    if (signal.aborted) this.abort(signal.reason);
    const abort = () => this.abort(signal.reason);
    signal.addEventListener("abort", abort, { once: true });
    this.#unlink.push(() => signal.removeEventListener("abort", abort));
  }

  [Symbol.dispose](): void {
    for (const unlink of this.#unlink.splice(0)) unlink();
  }
}

/**
 * Waits for an operation, but not longer than until the signal aborts. The
 * operation itself goes on then, and its outcome is ignored.
 *
 * @throws The signal's reason, or what the operation throws.
 */
export function abortable<T>(operation: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const stop = () => reject(signal.reason);
    operation.then(resolve, reject).finally(() => signal.removeEventListener("abort", stop));
    if (signal.aborted) stop();
    else signal.addEventListener("abort", stop, { once: true });
  });
}
