/**
 * The listening server: Deno.serve on one address, which can be renewed.
 *
 * Deno.serve (2.9.6) keeps a connection open until the body of its request has
 * ended, long after the reply, and offers no way to close one connection. Only a
 * graceful shutdown closes such connections. It also closes the idle ones, and
 * lets running requests finish. So a renewal shuts the server down and lets
 * another Deno.serve take over the address some milliseconds later. A client that
 * connects in between is refused and tries again, as it does while a replica
 * restarts.
 *
 * Deno.serve also stops for good if it cannot accept a connection because the
 * process has run out of file descriptors. A renewal repairs this too.
 *
 * @module
 */

import { type Clock, systemClock } from "../lock/clock.ts";
import type { RequestLogger } from "./handler.ts";

/** Options of {@link Server}. */
export interface ServerOptions {
  /** Where to listen. Port 0 takes a free port, which the server then keeps. */
  readonly address: { readonly hostname: string; readonly port: number };
  /** Answers the requests. */
  readonly handler: Deno.ServeHandler<Deno.NetAddr>;
  /** Gets a record of each renewal, and of each fault that keeps the server from listening. */
  readonly logger: Pick<RequestLogger, "info" | "error">;
  /** The minimum time between two renewals, in milliseconds. @default {10000} */
  readonly renewalIntervalMs?: number;
  /** Measures the time between renewals. @default {systemClock} */
  readonly clock?: Pick<Clock, "monotonic" | "sleep">;
}

/**
 * The longest pause between two attempts to listen again, in milliseconds. It is also the minimum time between two
 * renewals if the server has failed meanwhile.
 */
const LISTEN_RETRY_MS = 1_000;

/** Listens from its construction until {@link Server.shutdown}. */
export class Server {
  /** Where it listens. */
  readonly address: Deno.NetAddr;
  readonly #options: ServerOptions;
  readonly #clock: Pick<Clock, "monotonic" | "sleep">;
  readonly #stopping = new AbortController();
  readonly #shutdowns = new Set<Promise<void>>();
  #serving: Deno.HttpServer<Deno.NetAddr>;
  #renewal: Promise<void> | undefined;
  #renewedAt = -Infinity;
  /** Aborted when the current Deno.serve has failed. */
  #failed = new AbortController();

  /**
   * Starts to listen.
   *
   * @throws {Error} What `Deno.serve` throws, such as `Deno.errors.AddrInUse`.
   */
  constructor(options: ServerOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#serving = this.#serve(options.address);
    this.address = this.#serving.addr;
  }

  /**
   * Closes idle and hanging connections soon. A call while another renewal waits
   * or runs has no effect of its own.
   */
  renew(): void {
    if (this.#stopping.signal.aborted) return;
    this.#renewal ??= this.#renew().finally(() => this.#renewal = undefined);
  }

  /** Stops listening, and waits until every running request has its reply. */
  async shutdown(): Promise<void> {
    this.#stopping.abort();
    await this.#renewal;
    this.#shutDown(this.#serving);
    await Promise.all(this.#shutdowns);
  }

  #serve(address: ServerOptions["address"]): Deno.HttpServer<Deno.NetAddr> {
    const { hostname, port } = address;
    const serving = Deno.serve({ hostname, port, onListen: () => {} }, this.#options.handler);
    serving.finished.catch((error) => {
      if (serving !== this.#serving || this.#stopping.signal.aborted) return;
      this.#options.logger.error("cannot accept connections; listening again", { error });
      this.#failed.abort();
      this.renew();
    });
    return serving;
  }

  #shutDown(server: Deno.HttpServer<Deno.NetAddr>): void {
    const shutdown = server.shutdown().finally(() => this.#shutdowns.delete(shutdown));
    this.#shutdowns.add(shutdown);
  }

  async #renew(): Promise<void> {
    const { logger, renewalIntervalMs = 10_000 } = this.#options;
    const stopping = this.#stopping.signal;
    // Clients whose connections hang must not lock out the others, so renewals are rare. If the server has failed, it
    // accepts nobody, and the renewal is urgent.
    await this.#sleepUntil(this.#renewedAt + renewalIntervalMs, AbortSignal.any([stopping, this.#failed.signal]));
    await this.#sleepUntil(this.#renewedAt + Math.min(LISTEN_RETRY_MS, renewalIntervalMs), stopping);
    if (stopping.aborted) return;
    this.#failed = new AbortController();
    this.#shutDown(this.#serving);
    for (let delay = 1; !stopping.aborted; delay = Math.min(delay * 2, LISTEN_RETRY_MS)) {
      // Deno frees the address only in a later turn of the event loop.
      await this.#sleepUntil(this.#clock.monotonic() + delay, stopping);
      try {
        this.#serving = this.#serve(this.address);
        this.#renewedAt = this.#clock.monotonic();
        logger.info("listening again; idle and hanging connections are closed", {});
        return;
      } catch (error) {
        if (delay === LISTEN_RETRY_MS) logger.error("cannot listen again; retrying", { error });
      }
    }
  }

  /** Sleeps until a time of the clock, or until the signal aborts. */
  async #sleepUntil(time: number, signal: AbortSignal): Promise<void> {
    const ms = time - this.#clock.monotonic();
    if (ms > 0) await this.#clock.sleep(ms, signal).catch(() => {});
  }
}
