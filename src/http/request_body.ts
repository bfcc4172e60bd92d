/**
 * Reads the JSON bodies of requests within limits of size and time. What reply a
 * body beyond the limits gets is up to the handler.
 *
 * How Deno.serve behaves (2.9.6, found on raw sockets): a reply that is sent
 * before the request's body is complete gets `connection: close`. The rest of the
 * body is thrown away, and nothing more on the connection is taken for a request.
 * The server closes the connection when the body has ended, and not before: a
 * client that neither ends its body nor leaves keeps its connection. The reply to
 * a body that is cancelled does not get that header, so bodies are never cancelled
 * here.
 *
 * @module
 */

import { type Clock, systemClock } from "../lock/clock.ts";

/** A parsed body, or why there is none. */
export type BodyResult =
  /** The value. Bytes that are not UTF-8 become U+FFFD. */
  | { readonly kind: "json"; readonly value: unknown }
  | { readonly kind: "not_json" }
  /** JSON in UTF-8 does not start with a byte order mark (RFC 8259, section 8.1), and Go's decoder refuses it too. */
  | { readonly kind: "byte_order_mark" }
  /** The body is larger than allowed. */
  | { readonly kind: "too_large" }
  /** The body was not complete in time. */
  | { readonly kind: "timeout" }
  /** The client closed the connection, or broke the framing, before the end of the body. */
  | { readonly kind: "cut_off" };

/** The largest body that is read unless {@link BodyLimits} say otherwise, in bytes. */
const MAX_BODY_BYTES = 16 * 1024;

/** Limits of {@link BodyReader}. */
export interface BodyLimits {
  /** The largest body, in bytes. @default {16384} */
  readonly maxBodyBytes?: number;
  /** How long a client may take to send a whole body, in milliseconds. @default {10000} */
  readonly bodyTimeoutMs?: number;
}

/** One body that is awaited. */
interface Pending {
  /** The tick at which it times out. */
  readonly deadline: number;
  /** Hands the result to the handler. Only the first call has an effect. */
  readonly resolve: (result: BodyResult) => void;
}

/** How many ticks there are in one time limit. */
const TICKS = 10;

/**
 * Reads bodies. One timer serves them all and runs only while a body is awaited:
 * a timer for each body would cost more than the rest of its request.
 */
export class BodyReader implements Disposable {
  /** The largest body, in bytes. */
  readonly maxBytes: number;
  readonly #tickMs: number;
  readonly #clock: Pick<Clock, "sleep">;
  /** In the order of their deadlines, since all have the same time limit. */
  readonly #pending = new Set<Pending>();
  /** Aborting it ends the timer; undefined while no timer runs. */
  #timer: AbortController | undefined;
  #tick = 0;

  /**
   * Creates a reader.
   *
   * @param limits A body may take up to a tenth longer than its time limit.
   * @param clock The clock that measures it.
   */
  constructor(limits: BodyLimits, clock: Pick<Clock, "sleep"> = systemClock) {
    this.maxBytes = limits.maxBodyBytes ?? MAX_BODY_BYTES;
    this.#tickMs = (limits.bodyTimeoutMs ?? 10_000) / TICKS;
    this.#clock = clock;
  }

  /** Reads a request's body. Never throws, and never holds more than the limit in memory. */
  read(request: Request): Promise<BodyResult> {
    const length = request.headers.get("content-length");
    return new Promise((resolve) => {
      // The current tick is already partly over, so it does not count.
      const pending = { deadline: this.#tick + TICKS + 1, resolve };
      this.#pending.add(pending);
      this.#timer ??= this.#startTimer();
      const announced = length === null ? 0 : Number(length);
      if (length === null || announced > this.maxBytes) {
        this.#readChunks(request, announced, resolve).then(
          (text) => this.#end(pending, parse(text)),
          () => this.#end(pending, { kind: "cut_off" }),
        );
        return;
      }
      // The HTTP layer delivers at most Content-Length bytes. Of all ways to read, only
      // json() takes a body that has already arrived without creating a stream.
      request.json().then(
        (value) => this.#end(pending, { kind: "json", value }),
        (error) => this.#end(pending, error instanceof SyntaxError ? notJson(error) : { kind: "cut_off" }),
      );
    });
  }

  /** Stops the timer. Bodies that are still awaited count as timed out. */
  [Symbol.dispose](): void {
    for (const pending of this.#pending) this.#end(pending, { kind: "timeout" });
    this.#timer?.abort();
    this.#timer = undefined;
  }

  #end(pending: Pending, result: BodyResult): void {
    this.#pending.delete(pending);
    pending.resolve(result);
  }

  /**
   * Reads a body that may be too large. A body that is too large gets its result
   * at once, and is then read to its end and thrown away: a client that cannot
   * send its body would not read the reply.
   *
   * @param size The announced size in bytes, or 0 if the client did not announce it.
   * @returns The text, unless the body was too large.
   */
  async #readChunks(request: Request, size: number, resolve: Pending["resolve"]): Promise<string> {
    if (request.body === null) return "";
    const reader = request.body.getReader();
    // Like json(), this keeps a byte order mark.
    const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
    let text = "";
    for (;;) {
      if (size > this.maxBytes) {
        text = "";
        resolve({ kind: "too_large" });
      }
      const { done, value } = await reader.read();
      if (done) return text + decoder.decode();
      size += value.length;
      if (size <= this.maxBytes) text += decoder.decode(value, { stream: true });
    }
  }

  #startTimer(): AbortController {
    const timer = new AbortController();
    this.#runTimer(timer);
    return timer;
  }

  /** Ticks until no body is awaited, or the timer is aborted. */
  async #runTimer(timer: AbortController): Promise<void> {
    while (await this.#clock.sleep(this.#tickMs, timer.signal).then(() => true, () => false)) {
      if (timer.signal.aborted) return;
      this.#onTick();
      if (this.#pending.size > 0) continue;
      this.#timer = undefined;
      return;
    }
  }

  #onTick(): void {
    this.#tick++;
    for (const pending of this.#pending) {
      if (pending.deadline > this.#tick) break;
      this.#end(pending, { kind: "timeout" });
    }
  }
}

function parse(text: string): BodyResult {
  try {
    return { kind: "json", value: JSON.parse(text) };
  } catch (error) {
    return notJson(error as SyntaxError);
  }
}

/** Says what is wrong with a body by V8's message, because json() does not give the text. */
function notJson({ message }: SyntaxError): BodyResult {
  return { kind: message.startsWith("Unexpected token '\ufeff'") ? "byte_order_mark" : "not_json" };
}
