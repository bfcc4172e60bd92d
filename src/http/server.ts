/**
 * The listening server: Deno.serve on one address, which can be renewed.
 *
 * Deno.serve (2.9.6) holds a connection until the body of its request has ended,
 * long after the reply, and gives no handle to close one. The one thing that
 * closes such connections is a graceful shutdown, which also closes the idle ones
 * and lets running requests finish. So that is done, and another Deno.serve takes
 * over the address, some milliseconds later. A client that connects in between is
 * refused and asks again, as it does while a replica restarts.
 *
 * Deno.serve also gives up, for good, when it cannot take a connection: when the
 * process has run out of file descriptors. The same is done then.
 *
 * @module
 */

import { systemClock } from "../lock/clock.ts";
import type { RequestLogger } from "./handler.ts";

/** What {@link Server} works with. */
export interface ServerOptions {
  /** Where to listen; port 0 takes a free one, which is kept. */
  readonly address: { readonly hostname: string; readonly port: number };
  /** Answers the requests. */
  readonly handler: Deno.ServeHandler<Deno.NetAddr>;
  /** Told of renewals, and of what keeps the server from listening. */
  readonly logger: Pick<RequestLogger, "info" | "error">;
  /** The least time between two renewals, in milliseconds. @default {10000} */
  readonly renewalIntervalMs?: number;
}

/** The longest time between two attempts to listen again, and the least after one that failed later, in milliseconds. */
const LISTEN_RETRY_MS = 1_000;

/** Listens from its construction on, until {@link Server.shutdown}. */
export class Server {
  /** Where it listens. */
  readonly address: Deno.NetAddr;
  readonly #options: ServerOptions;
  readonly #stopping = new AbortController();
  readonly #shutdowns = new Set<Promise<void>>();
  #serving: Deno.HttpServer<Deno.NetAddr>;
  #renewal: Promise<void> | undefined;
  #renewedAt = -Infinity;
  /** Aborted when what listens has failed. */
  #failed = new AbortController();

  /**
   * Begins to listen.
   *
   * @throws {Error} As `Deno.serve` does, such as `Deno.errors.AddrInUse`.
   */
  constructor(options: ServerOptions) {
    this.#options = options;
    this.#serving = this.#serve(options.address);
    this.address = this.#serving.addr;
  }

  /**
   * Closes the connections that are idle or hang, soon. What is asked while a
   * renewal waits or runs is part of that one.
   */
  renew(): void {
    if (this.#stopping.signal.aborted) return;
    this.#renewal ??= this.#renew().finally(() => this.#renewal = undefined);
  }

  /** Listens no more; ends when every running request has been answered. */
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
      this.#options.logger.error("cannot take connections; listening anew", { error });
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
    // Whoever makes connections hang must not keep the others out. Where nobody gets in anyway, it is urgent.
    await sleep(this.#renewedAt + renewalIntervalMs - performance.now(), stopping, this.#failed.signal);
    await sleep(this.#renewedAt + Math.min(LISTEN_RETRY_MS, renewalIntervalMs) - performance.now(), stopping);
    if (stopping.aborted) return;
    this.#failed = new AbortController();
    this.#shutDown(this.#serving);
    for (let delay = 1; !stopping.aborted; delay = Math.min(delay * 2, LISTEN_RETRY_MS)) {
      // Deno gives the address back only in a later turn.
      await sleep(delay, stopping);
      try {
        this.#serving = this.#serve(this.address);
        this.#renewedAt = performance.now();
        logger.info("listening anew; connections that were idle or whose requests did not end are closed", {});
        return;
      } catch (error) {
        if (delay === LISTEN_RETRY_MS) logger.error("cannot listen anew; trying again", { error });
      }
    }
  }
}

/** Waits; ends early when one of the signals aborts. */
async function sleep(ms: number, ...signals: AbortSignal[]): Promise<void> {
  if (ms > 0) await systemClock.sleep(ms, AbortSignal.any(signals)).catch(() => {});
}
