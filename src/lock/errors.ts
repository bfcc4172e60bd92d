/**
 * The faults that the domain distinguishes. The implementation of a port throws
 * them; whoever answers a request or retries a call catches them.
 *
 * @module
 */

/** The store or the cluster does not answer, or refuses to serve us. The message is for the log and the operator. */
export class UnavailableError extends Error {
  /** Names the class in logs. */
  override readonly name = "UnavailableError";
  /** How long to wait before another try, in milliseconds, if the store said so. */
  readonly retryAfterMs?: number;
  /** What is safe and useful to tell a client, if anything is. */
  readonly publicMessage?: string;

  /**
   * Creates the error.
   *
   * @param message For the log and the operator.
   * @param options `cause` is the underlying fault. The others set the properties of the same names.
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
