/**
 * Reads the JSON bodies of requests within bounds of size and time. What becomes
 * of a body that breaks them is the handler's to say.
 *
 * How Deno.serve behaves (2.9.6, found on raw sockets): a reply that is sent
 * while the request's body is incomplete gets `connection: close`; what still
 * arrives of the body is thrown away, nothing on the connection is taken for
 * another request, and the server closes it once the body has ended. A client
 * that neither ends its body nor closes keeps its socket, as one that never
 * sends a request does. A body that is cancelled gets no such header, so bodies
 * are never cancelled here.
 *
 * @module
 */

/** A body, parsed; or why there is none. */
export type BodyResult =
  /** The value, with U+FFFD where the bytes are no UTF-8. */
  | { readonly kind: "json"; readonly value: unknown }
  | { readonly kind: "not_json" }
  /** It is larger than allowed. */
  | { readonly kind: "too_large" }
  /** It was not complete in time. */
  | { readonly kind: "timeout" }
  /** The client closed the connection, or broke the framing, before its end. */
  | { readonly kind: "cut_off" };

/** Limits of {@link BodyReader}. */
export interface BodyLimits {
  /** The largest body, in bytes. @default {16384} */
  readonly maxBodyBytes?: number;
  /** How long a body may take in all, in milliseconds. @default {10000} */
  readonly bodyTimeoutMs?: number;
}

/** One body that is being read. */
interface Pending {
  /** The tick at which it is late. */
  readonly deadline: number;
  readonly resolve: (result: BodyResult) => void;
}

/** How often the bodies are looked at within one time-out. */
const TICKS = 10;

/**
 * Reads bodies. One timer serves them all and runs only while there are any: a
 * timer of its own costs more than the rest of a request does.
 */
export class BodyReader implements Disposable {
  readonly #maxBytes: number;
  readonly #tickMs: number;
  readonly #pending = new Set<Pending>();
  #timer: ReturnType<typeof setInterval> | undefined;
  #tick = 0;

  /**
   * Starts with nothing to read.
   *
   * @param limits A body may take up to a tenth longer than its limit.
   */
  constructor(limits: BodyLimits) {
    this.#maxBytes = limits.maxBodyBytes ?? 16 * 1024;
    this.#tickMs = (limits.bodyTimeoutMs ?? 10_000) / TICKS;
  }

  /** Reads a request's body. Never throws, and never holds more than the limit in memory. */
  read(request: Request): Promise<BodyResult> {
    const length = request.headers.get("content-length");
    if (length !== null && Number(length) > this.#maxBytes) return Promise.resolve({ kind: "too_large" });
    return new Promise((resolve) => {
      // The tick that runs now is already partly over, so it does not count.
      const pending = { deadline: this.#tick + TICKS + 1, resolve };
      this.#pending.add(pending);
      this.#timer ??= setInterval(() => this.#expire(), this.#tickMs);
      if (length === null) {
        // Without a length, the bytes must be counted.
        this.#readChunks(request, pending).then(
          (text) => this.#settle(pending, text === undefined ? { kind: "timeout" } : parse(text)),
          () => this.#settle(pending, { kind: "cut_off" }),
        );
        return;
      }
      // The HTTP layer gives no more than Content-Length says. Of all ways to read,
      // json() alone takes a body that is there already without making a stream.
      request.json().then(
        (value) => this.#settle(pending, { kind: "json", value }),
        (error) => this.#settle(pending, { kind: error instanceof SyntaxError ? "not_json" : "cut_off" }),
      );
    });
  }

  /** Ends the timer. Bodies that are still awaited count as timed out. */
  [Symbol.dispose](): void {
    for (const pending of this.#pending) this.#settle(pending, { kind: "timeout" });
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  #settle(pending: Pending, result: BodyResult): void {
    this.#pending.delete(pending);
    pending.resolve(result);
  }

  /**
   * Reads a body of unknown length. One that is too large is said to be so at
   * once, and then thrown away as it comes, until its end or its deadline: a
   * client that cannot send does not read our answer either.
   *
   * @returns The text, or undefined where its deadline is over.
   */
  async #readChunks(request: Request, pending: Pending): Promise<string | undefined> {
    if (request.body === null) return "";
    const reader = request.body.getReader();
    const decoder = new TextDecoder();
    let text = "";
    let size = 0;
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return text + decoder.decode();
      if (!this.#pending.has(pending)) return undefined;
      size += value.length;
      if (size <= this.#maxBytes) {
        text += decoder.decode(value, { stream: true });
        continue;
      }
      text = "";
      pending.resolve({ kind: "too_large" });
    }
  }

  #expire(): void {
    this.#tick++;
    for (const pending of this.#pending) {
      // All have the same time-out, so they stand in the order of their deadlines.
      if (pending.deadline > this.#tick) break;
      this.#settle(pending, { kind: "timeout" });
    }
    if (this.#pending.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }
}

function parse(text: string): BodyResult {
  try {
    return { kind: "json", value: JSON.parse(text) };
  } catch {
    return { kind: "not_json" };
  }
}
