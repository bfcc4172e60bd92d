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

/**
 * The store or the cluster refuses a call for good, in its own words: an
 * admission policy, for example, or an object that it finds invalid. Repeating
 * the call helps only after somebody has changed something.
 */
export class CallRefusedError extends UnavailableError {
  /**
   * Says what was refused.
   *
   * @param message For the log and the operator.
   * @param sentence The refusal in the words of whoever refused, for the client.
   * @param options `cause` is the fault underneath.
   */
  constructor(message: string, sentence: string, options: { cause?: unknown } = {}) {
    super(message, { ...options, publicMessage: sentence });
  }
}

/**
 * What the store has about one group cannot be understood. The group must not
 * be taken for free; the store itself and its other groups work.
 */
export class MalformedGroupError extends UnavailableError {
  /**
   * Names the group and the fault.
   *
   * @param fault Says what is wrong, without quoting what is in the store.
   */
  constructor(group: string, fault: string, options: { cause?: unknown } = {}) {
    const message = `the record of group "${group}" in the store is damaged: ${fault}`;
    super(message, { ...options, publicMessage: message });
  }
}
