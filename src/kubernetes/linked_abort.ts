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

  /** Unlinks it from every signal. */
  [Symbol.dispose](): void {
    for (const unlink of this.#unlink.splice(0)) unlink();
  }
}
