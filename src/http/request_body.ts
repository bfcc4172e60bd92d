/**
 * Reads the bodies of requests within bounds of size and time. What becomes of
 * a body that breaks them is the handler's to say.
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

import type { Clock } from "../lock/clock.ts";

/** A body, or why there is none. */
export type BodyResult =
  | Uint8Array
  /** It is larger than allowed. */
  | "too_large"
  /** It was not complete in time. */
  | "timeout"
  /** The client closed the connection, or broke the framing, before its end. */
  | "cut_off";

/** Limits of {@link BodyReader}. */
export interface BodyLimits {
  /** The largest body, in bytes. @default {16384} */
  readonly maxBodyBytes?: number;
  /** How long a body may take in all, in milliseconds. @default {10000} */
  readonly bodyTimeoutMs?: number;
}

/** One body that is being read. */
interface Pending {
  readonly deadline: number;
  readonly expire: () => void;
}

/**
 * Reads bodies. One timer serves them all and runs only while there are any: a
 * timer of its own costs more than the rest of a request does.
 */
export class BodyReader implements Disposable {
  readonly #maxBytes: number;
  readonly #timeoutMs: number;
  readonly #clock: Pick<Clock, "monotonic">;
  readonly #pending = new Set<Pending>();
  #timer: ReturnType<typeof setInterval> | undefined;

  /**
   * Starts with nothing to read.
   *
   * @param clock What the time-out goes by; it is looked at ten times within one, so a body may take a tenth longer.
   */
  constructor(limits: BodyLimits, clock: Pick<Clock, "monotonic">) {
    this.#maxBytes = limits.maxBodyBytes ?? 16 * 1024;
    this.#timeoutMs = limits.bodyTimeoutMs ?? 10_000;
    this.#clock = clock;
  }

  /** Reads a request's body. Never throws, and never holds more than the limit in memory. */
  read(request: Request): Promise<BodyResult> {
    const length = request.headers.get("content-length");
    if (length !== null && Number(length) > this.#maxBytes) return Promise.resolve("too_large");
    return new Promise((resolve) => {
      const pending = {
        deadline: this.#clock.monotonic() + this.#timeoutMs,
        expire: () => {
          this.#pending.delete(pending);
          resolve("timeout");
        },
      };
      this.#pending.add(pending);
      this.#timer ??= setInterval(() => this.#expire(), this.#timeoutMs / 10);
      const settle = (result: BodyResult) => {
        this.#pending.delete(pending);
        resolve(result);
      };
      // The HTTP layer gives no more than Content-Length says; without one, the bytes must be counted.
      const body = length === null ? this.#readChunks(request, resolve, pending) : request.bytes();
      body.then(settle, () => settle("cut_off"));
    });
  }

  /** Ends the timer. Bodies that are still awaited count as timed out. */
  [Symbol.dispose](): void {
    for (const { expire } of this.#pending) expire();
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  /**
   * Reads a body of unknown length. One that is too large is said to be so at
   * once, and then thrown away as it comes, until its end or its deadline: a
   * client that cannot send does not read our answer either.
   */
  async #readChunks(request: Request, resolve: (result: BodyResult) => void, pending: Pending): Promise<BodyResult> {
    if (request.body === null) return new Uint8Array();
    const reader = request.body.getReader();
    const chunks: Uint8Array[] = [];
    let size = 0;
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      if (!this.#pending.has(pending)) return "timeout";
      size += value.length;
      if (size <= this.#maxBytes) {
        chunks.push(value);
        continue;
      }
      chunks.length = 0;
      resolve("too_large");
    }
    const body = new Uint8Array(size <= this.#maxBytes ? size : 0);
    let offset = 0;
    for (const chunk of chunks) {
      body.set(chunk, offset);
      offset += chunk.length;
    }
    return body;
  }

  #expire(): void {
    const now = this.#clock.monotonic();
    for (const { deadline, expire } of this.#pending) {
      // All have the same time-out, so they stand in the order of their deadlines.
      if (deadline > now) break;
      expire();
    }
    if (this.#pending.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }
}
