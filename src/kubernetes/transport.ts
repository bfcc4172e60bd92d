/**
 * Carries calls to the API server over Deno's `fetch`: with fresh credentials, a
 * deadline on each call, a limit on how many run, a retry where it is safe, and
 * errors turned into the project's own. It knows no resources, and leaves
 * connections to connection_pool.ts.
 *
 * @module
 */

import { ConfigError } from "../config/config_error.ts";
import { type Clock, systemClock } from "../lock/clock.ts";
import { UnavailableError } from "../lock/errors.ts";
import type { Access, ConnectionRequest, Credentials } from "./access.ts";
import { CallDeadline } from "./call_deadline.ts";
import { CallLimit } from "./call_limit.ts";
import { CallPauses } from "./call_pauses.ts";
import { ConnectionPools, type OpenConnections, type Pool } from "./connection_pool.ts";
import { errorOf, innermostMessage, KubernetesError, WithdrawnError } from "./errors.ts";
import { abortable } from "../lock/abort.ts";
import { LinkedAbort } from "./linked_abort.ts";
import type { ServerClock } from "./server_clock.ts";

/** Options of {@link Transport}. */
export interface TransportOptions {
  /** The deadline of a call, in milliseconds. It includes the wait for a turn. @default {10_000} */
  readonly timeoutMs?: number;
  /** How many calls may run at a time. Streams do not count. @default {32} */
  readonly concurrency?: number;
  /** How many more calls may wait for their turn. @default {1_000} */
  readonly maxWaiting?: number;
  /** Measures deadlines and pauses. @default {systemClock} */
  readonly clock?: Clock;
  /** Opens the connections. @default over Deno's `fetch` */
  readonly open?: OpenConnections;
}

/** A call. */
export interface Call {
  /** The HTTP method, such as "GET". */
  readonly method: string;
  /** The whole URL. */
  readonly url: string;
  /** Headers in addition to those that every call has. */
  readonly headers?: Readonly<Record<string, string>>;
  /** The body, usually JSON. */
  readonly body?: string;
  /** Ends the call early, which then throws the signal's reason. */
  readonly signal?: AbortSignal;
  /**
   * Is asked right before the request is sent, which may be long after the call: whether what the caller decided by
   * still holds. If not, the call throws {@link WithdrawnError}.
   */
  readonly mayLeave?: () => boolean;
}

/** An answer with a 2xx status. */
export interface Answer {
  /** The status, 200 to 299. */
  readonly status: number;
  /** The headers, by lower-case name. */
  readonly headers: Record<string, string>;
  /** The body, usually JSON. */
  readonly text: string;
}

/** An answer with a 2xx status whose body is not text. */
export interface BinaryAnswer extends Pick<Answer, "headers"> {
  /** The body. */
  readonly bytes: Uint8Array;
}

/** An answer whose body arrives over time. Dispose of it to end it. */
export interface Stream extends AsyncDisposable {
  /** The body. */
  readonly body: ReadableStream<Uint8Array>;
  /** Reports that the connection has gone silent. Later calls use a new one. */
  retire(): void;
}

/** Makes calls to one API server. Dispose of it to end them. */
export class Transport implements AsyncDisposable {
  readonly #access: Access;
  readonly #clock: Clock;
  readonly #timeoutMs: number;
  readonly #callLimit: CallLimit;
  readonly #pools: ConnectionPools;
  readonly #closing = new AbortController();
  readonly #running = new Set<Promise<unknown>>();
  readonly #serverClock: Pick<ServerClock, "observe">;
  readonly #pauses: CallPauses;

  /**
   * Makes calls to the server that `access` names, with its credentials. Connects at the first call.
   *
   * @param serverClock Is told the time of each answer that may be the API server's.
   */
  constructor(access: Access, options: TransportOptions, serverClock: Pick<ServerClock, "observe">) {
    this.#access = access;
    this.#serverClock = serverClock;
    this.#clock = options.clock ?? systemClock;
    this.#timeoutMs = options.timeoutMs ?? 10_000;
    this.#pauses = new CallPauses(this.#clock, this.#timeoutMs);
    this.#pools = new ConnectionPools(options.open);
    this.#callLimit = new CallLimit(options.concurrency ?? 32, options.maxWaiting ?? 1_000);
  }

  /**
   * Gets what a call needs: credentials, and a pool of connections for them. Does not connect yet.
   *
   * @param refused Whether the API server refused the credentials of the last try.
   * @throws {ConfigError} The credentials cannot be read or used.
   */
  async connect(refused = false): Promise<{ headers: Credentials["headers"]; pool: Pool }> {
    const { headers, tls } = await this.#access.credentials(refused);
    return { headers, pool: await this.#pools.get(tls) };
  }

  /**
   * Makes a call and reads its whole answer.
   *
   * @returns An answer with a 2xx status.
   * @throws {UnavailableError} The connection failed, the deadline passed, too
   * many calls wait, or the status is 401, 403, 429 or 5xx.
   * @throws {KubernetesError} The status is any other. See {@link errorOf}.
   */
  send(call: Call): Promise<Answer> {
    return this.#send(call, async (response) => ({
      status: response.status,
      headers: Object.fromEntries(response.headers),
      text: await response.text(),
    }));
  }

  /** Makes a call and reads its whole answer, which is not text. See {@link send}. */
  sendBinary(call: Call): Promise<BinaryAnswer> {
    return this.#send(call, async (response) => ({
      headers: Object.fromEntries(response.headers),
      bytes: new Uint8Array(await response.arrayBuffer()),
    }));
  }

  #send<T>(call: Call, read: (response: Response) => Promise<T>): Promise<T> {
    return this.#track(this.#withDeadline([call.signal, this.#closing.signal], async (deadline) => {
      await this.#callLimit.take(deadline.signal);
      try {
        await this.#pauses.wait(call, deadline.signal);
        return await this.#attempt(call, deadline.signal, deadline, read);
      } finally {
        this.#callLimit.give();
      }
    }));
  }

  /**
   * Makes a call whose answer arrives over time. The deadline applies until its
   * headers are there.
   *
   * @param call Its signal ends the stream too.
   * @throws What {@link send} throws.
   */
  async stream(call: Call): Promise<Stream> {
    call.signal?.throwIfAborted();
    // The fetch lives as long as the stream, so it has a signal of its own instead of the deadline's.
    const end = new LinkedAbort(call.signal, this.#closing.signal);
    try {
      return await this.#track(this.#withDeadline([end.signal], async (deadline) => {
        end.link(deadline.signal);
        await this.#pauses.wait(call, deadline.signal);
        return await this.#attempt(call, end.signal, deadline, (response, pool) => {
          // The stream itself uses the pool from now on.
          pool.enter();
          return Promise.resolve(makeStream(response, pool, end));
        });
      }));
    } catch (error) {
      end[Symbol.dispose]();
      throw error;
    }
  }

  /** Ends all calls and closes all connections. Later calls fail. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort(new UnavailableError("the connection to the API server is closed"));
    await Promise.allSettled(this.#running);
    this.#pools.retire();
  }

  async #withDeadline<T>(
    signals: (AbortSignal | undefined)[],
    operation: (deadline: CallDeadline) => Promise<T>,
  ): Promise<T> {
    const { server } = this.#access;
    using deadline = new CallDeadline({ clock: this.#clock, timeoutMs: this.#timeoutMs, server, signals });
    try {
      return await operation(deadline);
    } catch (error) {
      throw deadline.errorOf(error);
    }
  }

  /** Tries a call. Tries again once with fresh credentials after a 401, and a GET once after a failed connection. */
  async #attempt<T>(
    call: Call,
    signal: AbortSignal,
    deadline: CallDeadline,
    take: (response: Response, pool: Pool) => Promise<T>,
  ): Promise<T> {
    let refused = false;
    let failed = false;
    while (true) {
      const { headers, pool } = await abortable(this.connect(refused), signal).catch(throwUnavailable);
      // Another call may have retired it in the meantime.
      if (pool.isRetired) continue;
      const init: ConnectionRequest = {
        method: call.method,
        headers: makeHeaders({ accept: "application/json", "user-agent": "fleetlock", ...call.headers, ...headers }),
        body: call.body,
        redirect: "manual",
        signal,
      };
      deadline.blame(pool);
      pool.enter();
      try {
        if (call.mayLeave?.() === false) throw new WithdrawnError();
        const sentAt = this.#clock.monotonic();
        const response = await pool.fetch(call.url, init);
        this.#observe(response, sentAt);
        if (response.ok) return await take(response, pool);
        const text = await response.text();
        if (response.status === 401 && !refused) {
          refused = true;
          continue;
        }
        const error = errorOf(response.status, response.headers.get("retry-after"), text);
        if (error instanceof UnavailableError) this.#pauses.refused(call, response.status, error.retryAfterMs);
        throw error;
      } catch (error) {
        signal.throwIfAborted();
        // These come from errorOf. A failed connection is a TypeError or another error of fetch.
        if (error instanceof UnavailableError || error instanceof KubernetesError) throw error;
        if (call.method === "GET" && !failed) {
          failed = true;
          continue;
        }
        throw new UnavailableError(
          `cannot connect to the API server at ${this.#access.server}: ${innermostMessage(error)}`,
          { cause: error },
        );
      } finally {
        pool.leave();
      }
    }
  }

  /** Notes the API server's time. A page of another type is not the API server's. */
  #observe({ headers }: Response, sentAt: number): void {
    if (!/^application\/(json|vnd\.kubernetes\.protobuf)\b/i.test(headers.get("content-type") ?? "")) return;
    this.#serverClock.observe(headers.get("date"), sentAt, this.#clock.monotonic());
  }

  #track<T>(operation: Promise<T>): Promise<T> {
    this.#running.add(operation);
    operation.catch(() => {}).finally(() => this.#running.delete(operation));
    return operation;
  }
}

/**
 * Makes the headers of a call, one pair a value.
 *
 * @throws {UnavailableError} One cannot be sent. The runtime's own error would quote it, and it may be a secret.
 */
function makeHeaders(headers: Credentials["headers"]): [string, string][] {
  const pairs = Object.entries(headers).flatMap(([name, values]) =>
    [values].flat().map((value): [string, string] => [name.toLowerCase(), value])
  );
  try {
    new Headers(pairs);
  } catch {
    throw new UnavailableError("a header of the calls to the API server is not valid: check the credentials");
  }
  return pairs;
}

/** Makes the stream of a response. It uses `pool` and ends with `end` until it is disposed of. */
function makeStream(response: Response, pool: Pool, end: LinkedAbort): Stream {
  let ended = false;
  return {
    body: response.body ?? new Response("").body!,
    retire: () => pool.retire(),
    async [Symbol.asyncDispose]() {
      if (ended) return;
      ended = true;
      end.abort();
      end[Symbol.dispose]();
      await response.body?.cancel().catch(() => {});
      pool.leave();
    },
  };
}

/** Turns a fault of the configuration into one that may pass, since the configuration was right at the start. */
function throwUnavailable(error: unknown): never {
  if (error instanceof ConfigError) throw new UnavailableError(error.message, { cause: error });
  throw error;
}
