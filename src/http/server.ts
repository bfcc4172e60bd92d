/**
 * The listening server: it listens where it is told, and listens again after a
 * fault. It does not know what requests mean.
 *
 * What Deno.serve (2.9.6) does, found on raw sockets:
 *
 * - It keeps a connection open until the body of its request has ended, long
 *   after the reply, and offers no way to close one connection. A `connection:
 *   close` header, a cancelled body, a handler that throws and a reply whose
 *   stream fails all leave it open. So a client that never ends its body keeps its
 *   connection until it leaves or the process ends. A graceful shutdown does not
 *   close that connection either, and it makes every body that is on its way to
 *   another client's request fail. So the server never shuts down for the sake of
 *   one connection.
 * - It stops accepting for good when the process has run out of file descriptors:
 *   `finished` rejects and the address is free again. The connections that it has
 *   accepted are served as before.
 *
 * @module
 */

import { type Clock, systemClock } from "../lock/clock.ts";
import type { RequestLogger } from "./exchange.ts";

/** Where to listen. */
export interface Address {
  /** A host name or an IP address. `0.0.0.0` stands for every address, of IPv4 and of IPv6. */
  readonly hostname: string;
  /** The port. Port 0 takes a free one, which the server then keeps. */
  readonly port: number;
}

/** The part of `Deno.HttpServer` that the server uses. */
export type Serving = Pick<Deno.HttpServer<Deno.NetAddr>, "addr" | "finished" | "shutdown">;

/** Options of {@link Server}. */
export interface ServerOptions {
  /** Where to listen. */
  readonly address: Address;
  /** Answers the requests. */
  readonly handler: Deno.ServeHandler<Deno.NetAddr>;
  /** Gets a record of each fault that keeps the server from listening, and of its end. */
  readonly logger: Pick<RequestLogger, "info" | "error">;
  /** Measures the pauses between attempts to listen again. @default {systemClock} */
  readonly clock?: Pick<Clock, "monotonic" | "sleep">;
  /** Serves one address. @default {Deno.serve} */
  readonly serve?: (address: Address, handler: Deno.ServeHandler<Deno.NetAddr>) => Serving;
  /** Returns whether enough file descriptors are free to accept connections. The default opens and closes some. */
  readonly hasDescriptors?: () => boolean;
}

/** The minimum time between two listeners, and the longest pause between attempts to listen, in milliseconds. */
const LISTEN_RETRY_MS = 1_000;

/** How long the connections of a failed Deno.serve are kept before the idle ones are closed, in milliseconds. */
const RETIRE_MS = 30_000;

/** How many file descriptors must be free before the server listens again: for its listener and three connections. */
const DESCRIPTORS_NEEDED = 4;

/** Listens from its construction until {@link Server.shutdown}. */
export class Server {
  /** Where it listens. The host is the one that was asked for if that stands for every address. */
  readonly address: Address;
  readonly #stopping = new AbortController();
  readonly #listeners: readonly Listener[];

  /**
   * Starts to listen. Each of the wildcards `0.0.0.0` and `::` listens on IPv4 and IPv6 where the host has them, as in
   * Go.
   *
   * @throws {Error} What `Deno.serve` throws, such as `Deno.errors.AddrInUse`.
   */
  constructor(options: ServerOptions) {
    const { address } = options;
    const open = (each: Address) => new Listener(each, options, this.#stopping.signal);
    const wildcard = address.hostname === "0.0.0.0" || address.hostname === "::";
    this.#listeners = wildcard ? listenEverywhere(address.port, open) : [open(address)];
    const { hostname, port } = this.#listeners[0]!.address;
    this.address = { hostname: wildcard ? address.hostname : hostname, port };
  }

  /**
   * Stops listening, and waits until every running request has its reply and every connection is closed. Clients whose
   * bodies hang can delay that without limit, so the caller limits the wait.
   */
  async shutdown(): Promise<void> {
    this.#stopping.abort();
    await Promise.all(this.#listeners.map((listener) => listener.shutdown()));
  }
}

/**
 * Listens on every address of IPv4 and IPv6. One listener is enough on most hosts, because `::` takes connections of
 * both. It takes those of IPv6 alone where the kernel is configured so (`net.ipv6.bindv6only`), and then a second
 * listener succeeds.
 */
function listenEverywhere(port: number, open: (address: Address) => Listener): Listener[] {
  let both: Listener;
  try {
    both = open({ hostname: "::", port });
  } catch (error) {
    if (error instanceof Deno.errors.AddrInUse) throw error;
    // The host has no IPv6.
    return [open({ hostname: "0.0.0.0", port })];
  }
  try {
    return [both, open({ hostname: "0.0.0.0", port: both.address.port })];
  } catch {
    return [both];
  }
}

/** Listens on one address, again and again if Deno.serve fails. */
class Listener {
  /** Where it listens. */
  readonly address: Address;
  readonly #options: ServerOptions;
  readonly #clock: Pick<Clock, "monotonic" | "sleep">;
  readonly #stopping: AbortSignal;
  /** The ends of those that have failed. */
  readonly #retired = new Set<Promise<void>>();
  #serving: Serving;
  #listeningSince: number;
  #recovery: Promise<void> | undefined;

  /** Starts to listen. @throws {Error} What `Deno.serve` throws. */
  constructor(address: Address, options: ServerOptions, stopping: AbortSignal) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#stopping = stopping;
    this.#serving = this.#serve(address);
    this.#listeningSince = this.#clock.monotonic();
    this.address = this.#serving.addr;
  }

  /** Stops after the signal has aborted. */
  async shutdown(): Promise<void> {
    await this.#recovery;
    await Promise.all([this.#serving.shutdown(), ...this.#retired]);
  }

  #serve({ hostname, port }: Address): Serving {
    const { serve = denoServe, handler } = this.#options;
    const serving = serve({ hostname, port }, handler);
    serving.finished.catch((error) => {
      if (this.#stopping.aborted) return;
      this.#options.logger.error("cannot accept connections; listening again once it is possible", { error });
      this.#retire(serving);
      this.#recovery = this.#recover();
    });
    return serving;
  }

  /** Closes the idle connections of one that has failed, after its clients have had time to end their requests. */
  #retire(serving: Serving): void {
    const end = this.#pause(RETIRE_MS).then(() => serving.shutdown()).finally(() => this.#retired.delete(end));
    this.#retired.add(end);
  }

  /** Listens again as soon as the address and some file descriptors are free. */
  async #recover(): Promise<void> {
    const { logger, hasDescriptors = opensDescriptors } = this.#options;
    await this.#pause(this.#listeningSince + LISTEN_RETRY_MS - this.#clock.monotonic());
    let reported = false;
    for (let delay = 1; !this.#stopping.aborted; delay = Math.min(delay * 2, LISTEN_RETRY_MS)) {
      // Deno frees the address only in a later turn of the event loop.
      await this.#pause(delay);
      // With too few descriptors, the first connection would end it again, together with the request that it carries.
      if (this.#stopping.aborted || !hasDescriptors()) continue;
      try {
        this.#serving = this.#serve(this.address);
        this.#listeningSince = this.#clock.monotonic();
        logger.info("listening again", {});
        return;
      } catch (error) {
        if (!reported && delay === LISTEN_RETRY_MS) {
          reported = true;
          logger.error("cannot listen again; retrying", { error });
        }
      }
    }
  }

  /** Sleeps, or returns early when the server stops. */
  async #pause(ms: number): Promise<void> {
    if (ms > 0) await this.#clock.sleep(ms, this.#stopping).catch(() => {});
  }
}

function denoServe({ hostname, port }: Address, handler: Deno.ServeHandler<Deno.NetAddr>): Serving {
  return Deno.serve({ hostname, port, onListen: () => {} }, handler);
}

/** Opens as many files as there must be free descriptors, and closes them. */
function opensDescriptors(): boolean {
  const opened: Deno.FsFile[] = [];
  try {
    while (opened.length < DESCRIPTORS_NEEDED) opened.push(Deno.openSync("/dev/null"));
    return true;
  } catch (error) {
    // Another fault, such as a host without this file, says nothing about descriptors.
    return !/too many open files/i.test(`${error}`);
  } finally {
    for (const file of opened) file.close();
  }
}
