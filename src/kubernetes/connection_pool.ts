/**
 * The pooled connections to the API server: opens a pool for given certificates,
 * counts its users, and replaces it when it is retired. It makes no calls.
 *
 * A pooled HTTP/2 connection may go silent: packets are dropped, and neither FIN
 * nor RST arrives. Every call on it then waits as long as TCP does, although a
 * new connection would work at once. So a call that reaches its deadline retires
 * the pool that it used.
 *
 * @module
 */

import { ConfigError } from "../config/config_error.ts";
import type { ConnectionOptions, ConnectionRequest, Connections } from "./access.ts";
import { innermostMessage } from "./errors.ts";

/** A pool of connections. It closes once it is retired and nobody uses it. */
export class Pool {
  /** What its connections were opened with. */
  readonly tls: ConnectionOptions;
  readonly #connections: Connections;
  #users = 0;
  #isRetired = false;

  /** Takes `connections`, which were opened with `tls`, over. */
  constructor(tls: ConnectionOptions, connections: Connections) {
    this.tls = tls;
    this.#connections = connections;
  }

  /** Whether it takes no more calls. */
  get isRetired(): boolean {
    return this.#isRetired;
  }

  /** Works like the global `fetch`, with a string as body. Call it between {@link enter} and {@link leave}. */
  fetch(url: string, init: ConnectionRequest): Promise<Response> {
    return this.#connections.fetch(url, init);
  }

  /** Adds a user, a call or a stream, for which the pool stays open. */
  enter(): void {
    this.#users++;
  }

  /** Removes a user. */
  leave(): void {
    this.#users--;
    if (this.#isRetired && this.#users === 0) this.#connections.close();
  }

  /** Marks it as not to be used by new calls. */
  retire(): void {
    if (this.#isRetired) return;
    this.#isRetired = true;
    if (this.#users === 0) this.#connections.close();
  }
}

/** Gives out the pool for the certificates that are valid now. There is one at a time. */
export class ConnectionPools {
  #pool: Pool | undefined;

  /**
   * Gets the pool for `tls`. Opens one where the last was retired or had other
   * certificates, and retires that one. Does not connect yet.
   *
   * @throws {ConfigError} The certificates cannot be used.
   */
  async get(tls: ConnectionOptions): Promise<Pool> {
    if (this.#isCurrent(tls)) return this.#pool!;
    const connections = tls.insecure || tls.serverName
      ? (await import("./unchecked_connection.ts")).openUnchecked(tls)
      : openDeno(tls);
    // Another call may have opened one during the import.
    if (this.#isCurrent(tls)) {
      connections.close();
      return this.#pool!;
    }
    this.#pool?.retire();
    return this.#pool = new Pool(tls, connections);
  }

  /** Retires the pool that is in use. */
  retire(): void {
    this.#pool?.retire();
  }

  #isCurrent(tls: ConnectionOptions): boolean {
    return this.#pool !== undefined && this.#pool.tls === tls && !this.#pool.isRetired;
  }
}

function openDeno(tls: ConnectionOptions): Connections {
  let client: Deno.HttpClient;
  try {
    client = createClient(tls);
  } catch (error) {
    if (tls.proxy !== undefined && isUsable({ ...tls, proxy: undefined })) {
      // The error does not quote the proxy's URL, whose user name and password are not in it anyway.
      throw new ConfigError(
        `The proxy-url in ${tls.source} cannot be used: ${innermostMessage(error)}; write it as http://HOST:PORT`,
        { cause: error },
      );
    }
    throw new ConfigError(
      `The certificates for ${tls.source} cannot be used: ${innermostMessage(error)}; ` +
        "check the authority's certificate, the client's certificate and its key",
      { cause: error },
    );
  }
  return { fetch: (url, init) => fetch(url, { ...init, client }), close: () => client.close() };
}

function createClient(tls: ConnectionOptions): Deno.HttpClient {
  // Deno accepts any text, and then trusts nobody.
  if (tls.ca?.includes("BEGIN CERTIFICATE") === false) {
    throw new Error("the authority's certificate is not in PEM format");
  }
  return Deno.createHttpClient({
    caCerts: tls.ca === undefined ? [] : [tls.ca],
    ...(tls.cert !== undefined && tls.key !== undefined ? { cert: tls.cert, key: tls.key } : {}),
    ...(tls.proxy === undefined ? {} : { proxy: { url: tls.proxy, basicAuth: tls.proxyCredentials } }),
  });
}

function isUsable(tls: ConnectionOptions): boolean {
  try {
    createClient(tls).close();
    return true;
  } catch {
    return false;
  }
}
