/**
 * Reads the JSON bodies of requests within bounds of size and time. What becomes
 * of a body that breaks them is the handler's to say.
 *
 * How Deno.serve behaves (2.9.6, found on raw sockets): a reply that is sent
 * while the request's body is incomplete gets `connection: close`; what still
 * arrives of the body is thrown away, and nothing on the connection is taken for
 * another request. The server closes the connection when the body has ended, and
 * not before: of a client that neither ends its body nor leaves, the reader only
 * tells. A body that is cancelled gets no such header, so bodies are never
 * cancelled here.
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
  /**
   * Told of each body that has still not ended, nor its connection, a tenth of
   * the time-out after it was given up.
   */
  readonly onHangingBody?: () => void;
}

/** One body that has not ended yet. */
interface Pending {
  /** The tick at which it is late. */
  readonly deadline: number;
  /** Answers the handler, the first time. */
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
  readonly #onHanging: (() => void) | undefined;
  /** In the order of their deadlines, since all have the same time-out. */
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
    this.#onHanging = limits.onHangingBody;
  }

  /** Reads a request's body. Never throws, and never holds more than the limit in memory. */
  read(request: Request): Promise<BodyResult> {
    const length = request.headers.get("content-length");
    return new Promise((resolve) => {
      // The tick that runs now is already partly over, so it does not count.
      const pending = { deadline: this.#tick + TICKS + 1, resolve };
      this.#pending.add(pending);
      this.#timer ??= setInterval(() => this.#onTick(), this.#tickMs);
      const announced = length === null ? 0 : Number(length);
      if (length === null || announced > this.#maxBytes) {
        this.#readChunks(request, announced, resolve).then(
          (text) => this.#end(pending, parse(text)),
          () => this.#end(pending, { kind: "cut_off" }),
        );
        return;
      }
      // The HTTP layer gives no more than Content-Length says. Of all ways to read,
      // json() alone takes a body that is there already without making a stream.
      request.json().then(
        (value) => this.#end(pending, { kind: "json", value }),
        (error) => this.#end(pending, { kind: error instanceof SyntaxError ? "not_json" : "cut_off" }),
      );
    });
  }

  /** Ends the timer. Bodies that are still awaited count as timed out. */
  [Symbol.dispose](): void {
    for (const pending of this.#pending) this.#end(pending, { kind: "timeout" });
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  #end(pending: Pending, result: BodyResult): void {
    this.#pending.delete(pending);
    pending.resolve(result);
  }

  /**
   * Reads a body that may be too large. One that is gets its answer at once and
   * is then thrown away as it comes, to its end: a client that cannot send does
   * not read our answer either.
   *
   * @param size What is known to come before any of it is read, in bytes.
   * @returns The text, if it was not too large.
   */
  async #readChunks(request: Request, size: number, resolve: Pending["resolve"]): Promise<string> {
    if (request.body === null) return "";
    const reader = request.body.getReader();
    const decoder = new TextDecoder();
    let text = "";
    for (;;) {
      if (size > this.#maxBytes) {
        text = "";
        resolve({ kind: "too_large" });
      }
      const { done, value } = await reader.read();
      if (done) return text + decoder.decode();
      size += value.length;
      if (size <= this.#maxBytes) text += decoder.decode(value, { stream: true });
    }
  }

  #onTick(): void {
    this.#tick++;
    for (const { deadline, resolve } of this.#pending) {
      if (deadline > this.#tick) break;
      if (deadline === this.#tick) resolve({ kind: "timeout" });
      if (deadline + 1 === this.#tick) this.#onHanging?.();
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
