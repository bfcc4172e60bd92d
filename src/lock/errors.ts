/**
 * The faults that the domain knows of. Each is thrown by whatever is behind a
 * port, and caught where a request is answered or a call is tried again.
 *
 * @module
 */

/** The store does not answer or refuses to serve us. Its message is for the log and the operator. */
export class UnavailableError extends Error {
  /** Names the class in logs. */
  override readonly name = "UnavailableError";
  /** When to try again, in milliseconds, where the store said so. */
  readonly retryAfterMs?: number;
  /** What is safe and useful to tell a client; undefined where nothing is. */
  readonly publicMessage?: string;

  /**
   * Says what failed.
   *
   * @param message For the log and the operator.
   * @param options `cause` is the fault underneath; the others are as the properties.
   */
  constructor(
    message: string,
    options: { cause?: unknown; retryAfterMs?: number; publicMessage?: string } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.retryAfterMs = options.retryAfterMs;
    this.publicMessage = options.publicMessage;
  }
}
