/**
 * Carries calls to the API server over Deno's `fetch`: pooled connections, a
 * deadline on each call, a bound on how many run, fresh credentials, and errors
 * turned into the project's own. It knows no resources.
 *
 * A pooled HTTP/2 connection may go silent (packets dropped, no FIN, no RST) and
 * then lets every call on it wait as long as TCP does, although a new one would
 * work at once. So a call that reaches its deadline retires the pool that it
 * used.
 *
 * @module
 */

import { UnavailableError } from "../lock/errors.ts";
import type { Access, ConnectionOptions } from "./access.ts";
import { ConfigError } from "../config/config_error.ts";
import { errorOf, KubernetesError } from "./errors.ts";
import { CallLimit } from "./call_limit.ts";

/** Options of {@link Transport}. */
export interface TransportOptions {
  /** The deadline of a call, waiting for a turn included, in milliseconds. @default {10_000} */
  readonly timeoutMs?: number;
  /** How many calls may run at a time; streams do not count. @default {32} */
  readonly concurrency?: number;
  /** How many more may wait for their turn. @default {1_000} */
  readonly maxWaiting?: number;
}

/** A call. */
export interface Call {
  /** Such as "GET". */
  readonly method: string;
  /** The whole URL. */
  readonly url: string;
  /** Headers beside those that every call has. */
  readonly headers?: Readonly<Record<string, string>>;
  /** As a rule JSON. */
  readonly body?: string;
  /** Ends the call early, which then throws the signal's reason. */
  readonly signal?: AbortSignal;
}

/** An answer with a 2xx status. */
export interface Answer {
  /** 200 to 299. */
  readonly status: number;
  /** By lower-case name. */
  readonly headers: Record<string, string>;
  /** The body, as a rule JSON. */
  readonly text: string;
}

/** An answer whose body comes in over time. */
export interface Stream extends AsyncDisposable {
  /** The body. */
  readonly body: ReadableStream<Uint8Array>;
  /** Says that the connection has gone silent: later calls take a new one. */
  retire(): void;
}

/** The longest time that the API server's Retry-After holds calls back, in milliseconds. */
const MAX_HOLD_MS = 30_000;

/** A pool of connections, for calls of {@link Transport} only; a new one takes its place when it is retired. */
export interface Pool {
  /** What its connections were opened with. */
  readonly tls: ConnectionOptions;
  /** As the function of that name. */
  fetch(url: string, init: RequestInit): Promise<Response>;
  /** Closes its connections. */
  close(): void;
  /** How many calls and streams use it. */
  running: number;
  /** Whether it is to be closed when nothing uses it any more. */
  retired: boolean;
}

/** The reason of a call's abort at its deadline. */
const DEADLINE = Symbol("deadline");

/** See the module. */
export class Transport implements AsyncDisposable {
  readonly #access: Access;
  readonly #timeoutMs: number;
  readonly #callLimit: CallLimit;
  readonly #closing = new AbortController();
  readonly #running = new Set<Promise<unknown>>();
  #pool: Pool | undefined;
  #heldUntil = 0;

  /** Makes one that goes where `access` says, with its credentials. It connects at the first call. */
  constructor(access: Access, options: TransportOptions = {}) {
    this.#access = access;
    this.#timeoutMs = options.timeoutMs ?? 10_000;
    this.#callLimit = new CallLimit(options.concurrency ?? 32, options.maxWaiting ?? 1_000);
  }

  /**
   * Gets what a call needs, without connecting: credentials, and a pool of connections for them.
   *
   * @param refused Whether the credentials had before were refused.
   * @throws {ConfigError} They cannot be had, or not be used.
   */
  async connect(refused = false): Promise<{ headers: Readonly<Record<string, string>>; pool: Pool }> {
    const { headers, tls } = await this.#access.credentials(refused);
    return { headers, pool: this.#pool?.tls === tls ? this.#pool : await this.#open(tls) };
  }

  /**
   * Makes a call and reads its whole answer.
   *
   * @returns An answer with a 2xx status.
   * @throws {UnavailableError} No connection, no answer within the deadline, too many calls, or 401, 403, 429, 5xx.
   * @throws {KubernetesError} Any other status. See {@link errorOf}.
   */
  send(call: Call): Promise<Answer> {
    return this.#track(this.#withDeadline(call.signal, async (signal, blame) => {
      await this.#callLimit.take(signal);
      try {
        await this.#waitForHold(signal);
        return await this.#attempt(call, signal, blame, async (response) => ({
          status: response.status,
          headers: Object.fromEntries(response.headers),
          text: await response.text(),
        }));
      } finally {
        this.#callLimit.give();
      }
    }));
  }

  /**
   * Makes a call whose answer comes in over time. The deadline holds until its
   * headers are there. Dispose of it to end it.
   *
   * @param call Its signal ends the stream too.
   * @throws As {@link send}.
   */
  async stream(call: Call): Promise<Stream> {
    const end = new AbortController();
    const stop = () => end.abort(call.signal?.reason);
    const unlink = () => call.signal?.removeEventListener("abort", stop);
    call.signal?.throwIfAborted();
    call.signal?.addEventListener("abort", stop, { once: true });
    try {
      return await this.#track(this.#withDeadline(end.signal, async (signal, blame) => {
        await this.#waitForHold(signal);
        // The fetch lives as long as the stream, so it hangs on a signal of its own, not on the deadline's.
        const abort = () => end.abort(signal.reason);
        signal.addEventListener("abort", abort, { once: true });
        // From its headers on, the stream itself uses the pool.
        const { response, used } = await this.#attempt(call, end.signal, blame, (response, used) => {
          used.running++;
          return Promise.resolve({ response, used });
        });
        signal.removeEventListener("abort", abort);
        this.#closing.signal.addEventListener("abort", abort, { once: true });
        let ended = false;
        return {
          body: response.body ?? new Response("").body!,
          retire: () => this.#retire(used),
          [Symbol.asyncDispose]: async () => {
            if (ended) return;
            ended = true;
            end.abort();
            unlink();
            this.#closing.signal.removeEventListener("abort", abort);
            await response.body?.cancel().catch(() => {});
            this.#leave(used);
          },
        };
      }));
    } catch (error) {
      unlink();
      throw error;
    }
  }

  /** Ends all calls and closes all connections. Later calls fail. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort();
    await Promise.allSettled(this.#running);
    if (this.#pool !== undefined) this.#retire(this.#pool);
  }

  /** Runs an operation with a signal that the deadline, the caller and the disposal abort. */
  async #withDeadline<T>(
    caller: AbortSignal | undefined,
    operation: (signal: AbortSignal, blame: (pool: Pool) => void) => Promise<T>,
  ): Promise<T> {
    const abort = new AbortController();
    const onCaller = () => abort.abort(caller?.reason);
    const onClosing = () => abort.abort(new UnavailableError("the connection to the API server is closed"));
    if (caller?.aborted) onCaller();
    if (this.#closing.signal.aborted) onClosing();
    caller?.addEventListener("abort", onCaller, { once: true });
    this.#closing.signal.addEventListener("abort", onClosing, { once: true });
    const timer = setTimeout(() => abort.abort(DEADLINE), this.#timeoutMs);
    let blamed: { pool: Pool; since: number } | undefined;
    try {
      return await operation(abort.signal, (pool) => blamed = { pool, since: performance.now() });
    } catch (error) {
      if (!abort.signal.aborted) throw error;
      if (abort.signal.reason !== DEADLINE) throw abort.signal.reason;
      // A call that spent its time in the queue says nothing about the connection it had at last.
      if (blamed && performance.now() - blamed.since >= this.#timeoutMs / 2) this.#retire(blamed.pool);
      throw new UnavailableError(
        `the API server at ${this.#access.server} did not answer within ${this.#timeoutMs} ms`,
      );
    } finally {
      clearTimeout(timer);
      caller?.removeEventListener("abort", onCaller);
      this.#closing.signal.removeEventListener("abort", onClosing);
    }
  }

  /** Tries a call; once more with fresh credentials after a 401, and a GET once more after a failed connection. */
  async #attempt<T>(
    call: Call,
    signal: AbortSignal,
    blame: (pool: Pool) => void,
    take: (response: Response, used: Pool) => Promise<T>,
  ): Promise<T> {
    let refused = false;
    let failed = false;
    while (true) {
      const { headers, pool } = await race(this.connect(refused), signal).catch(configurationFault);
      // Between there and here another call may have retired it.
      if (pool.retired) continue;
      blame(pool);
      pool.running++;
      try {
        const response = await pool.fetch(call.url, {
          method: call.method,
          headers: { accept: "application/json", "user-agent": "fleetlock", ...call.headers, ...headers },
          body: call.body,
          redirect: "manual",
          signal,
        });
        if (response.ok) return await take(response, pool);
        const text = await response.text();
        if (response.status === 401 && !refused) {
          refused = true;
          continue;
        }
        const error = errorOf(response.status, response.headers.get("retry-after"), text);
        // A write may have been refused by an admission webhook, which speaks of its object only.
        if (error instanceof UnavailableError && call.method === "GET") this.#hold(error.retryAfterMs);
        throw error;
      } catch (error) {
        // What is thrown by errorOf is no failure of the connection, which fetch reports as TypeError and other kinds.
        signal.throwIfAborted();
        if (error instanceof UnavailableError || error instanceof KubernetesError) throw error;
        if (call.method === "GET" && !failed) {
          failed = true;
          continue;
        }
        throw new UnavailableError(`no connection to the API server at ${this.#access.server}: ${reason(error)}`, {
          cause: error,
        });
      } finally {
        this.#leave(pool);
      }
    }
  }

  async #open(tls: ConnectionOptions): Promise<Pool> {
    const { fetch, close } = tls.insecure || tls.serverName
      ? (await import("./unchecked_connection.ts")).openUnchecked(tls)
      : openDeno(tls);
    // While the import went on, another call may have opened one.
    if (this.#pool?.tls === tls) {
      close();
      return this.#pool;
    }
    if (this.#pool !== undefined) this.#retire(this.#pool);
    return this.#pool = { tls, fetch, close, running: 0, retired: false };
  }

  #leave(pool: Pool): void {
    pool.running--;
    if (pool.retired && pool.running === 0) pool.close();
  }

  #retire(pool: Pool): void {
    if (pool.retired) return;
    pool.retired = true;
    if (this.#pool === pool) this.#pool = undefined;
    if (pool.running === 0) pool.close();
  }

  #hold(retryAfterMs: number | undefined): void {
    if (retryAfterMs === undefined) return;
    this.#heldUntil = Math.max(this.#heldUntil, performance.now() + Math.min(retryAfterMs, MAX_HOLD_MS));
  }

  /** Waits while the API server wants no calls; throws at once where that is longer than a call may take. */
  async #waitForHold(signal: AbortSignal): Promise<void> {
    for (let left = this.#heldUntil - performance.now(); left > 0; left = this.#heldUntil - performance.now()) {
      if (left >= this.#timeoutMs) {
        throw new UnavailableError("the API server is overloaded and wants no calls now", { retryAfterMs: left });
      }
      let timer: ReturnType<typeof setTimeout> | undefined;
      try {
        await race(new Promise((resolve) => timer = setTimeout(resolve, left)), signal);
      } finally {
        clearTimeout(timer);
      }
    }
  }

  #track<T>(operation: Promise<T>): Promise<T> {
    this.#running.add(operation);
    operation.catch(() => {}).finally(() => this.#running.delete(operation));
    return operation;
  }
}

function openDeno(tls: ConnectionOptions): Pick<Pool, "fetch" | "close"> {
  let client: Deno.HttpClient;
  try {
    // Deno takes anything, and trusts nothing then.
    if (tls.ca?.includes("BEGIN CERTIFICATE") === false) throw new Error("the authority's is no PEM");
    client = Deno.createHttpClient({
      caCerts: tls.ca === undefined ? [] : [tls.ca],
      ...(tls.cert !== undefined && tls.key !== undefined ? { cert: tls.cert, key: tls.key } : {}),
      ...(tls.proxy === undefined ? {} : { proxy: { url: tls.proxy } }),
    });
  } catch (error) {
    throw new ConfigError(
      `The certificates for the API server cannot be used: ${reason(error)}; ` +
        "check the authority's certificate, the client's certificate and its key",
      { cause: error },
    );
  }
  return { fetch: (url, init) => fetch(url, { ...init, client }), close: () => client.close() };
}

/** What could be had at the start and cannot now is a fault that may pass. */
function configurationFault(error: unknown): never {
  if (error instanceof ConfigError) throw new UnavailableError(error.message, { cause: error });
  throw error;
}

function race<T>(operation: Promise<T>, signal: AbortSignal): Promise<T> {
  if (signal.aborted) {
    operation.catch(() => {});
    return Promise.reject(signal.reason);
  }
  return new Promise((resolve, reject) => {
    const stop = () => reject(signal.reason);
    signal.addEventListener("abort", stop, { once: true });
    operation.then(resolve, reject).finally(() => signal.removeEventListener("abort", stop));
  });
}

/** The innermost message of an error, since that of `fetch` itself says nothing. */
function reason(error: unknown): string {
  let innermost = error;
  while (innermost instanceof Error && innermost.cause !== undefined) innermost = innermost.cause;
  return innermost instanceof Error ? innermost.message : String(innermost);
}
