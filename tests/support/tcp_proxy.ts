/**
 * A TCP proxy on loopback that misbehaves on command.
 *
 * @module
 */

/**
 * What the proxy does with bytes of connections, old and new:
 * `pass` them on; be `silent`, swallowing them without FIN or RST, while new
 * connections pass (`silent-all`: also theirs are swallowed); `refuse` new
 * connections by closing them at once.
 */
export type ProxyMode = "pass" | "silent" | "silent-all" | "refuse";

/** A running proxy. */
export class TcpProxy implements AsyncDisposable {
  /** What is done with new connections and, but for those gone silent, with all bytes. */
  mode: ProxyMode = "pass";
  /** How long each piece is held back, in milliseconds. */
  delayMs = 0;
  /** How many connections have been accepted. */
  accepted = 0;
  readonly #listener: Deno.TcpListener;
  readonly #target: number;
  readonly #connections = new Set<Connection>();
  readonly #running = new Set<Promise<void>>();
  readonly #accepting: Promise<void>;

  /** Starts a proxy before a port of 127.0.0.1. */
  constructor(target: number) {
    this.#target = target;
    this.#listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    this.#accepting = this.#accept();
  }

  /** The proxy's port on 127.0.0.1. */
  get port(): number {
    return this.#listener.addr.port;
  }

  /** How many connections are open. */
  get open(): number {
    return this.#connections.size;
  }

  /** Makes every connection that is open now silent for good; new ones follow {@link mode}. */
  silence(): void {
    for (const connection of this.#connections) connection.silent = true;
  }

  /** Ends every connection that is open now. */
  reset(): void {
    for (const connection of this.#connections) connection.close();
  }

  /** Ends everything. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#listener.close();
    this.reset();
    await this.#accepting;
    await Promise.all(this.#running);
  }

  async #accept(): Promise<void> {
    for await (const client of this.#listener) {
      this.accepted++;
      if (this.mode === "refuse") {
        client.close();
        continue;
      }
      const running = this.#serve(client).finally(() => this.#running.delete(running));
      this.#running.add(running);
    }
  }

  async #serve(client: Deno.Conn): Promise<void> {
    let server: Deno.Conn;
    try {
      server = await Deno.connect({ hostname: "127.0.0.1", port: this.#target });
    } catch {
      client.close();
      return;
    }
    const connection = new Connection(client, server);
    connection.silent = this.mode === "silent-all";
    this.#connections.add(connection);
    await Promise.all([this.#pump(connection, client, server), this.#pump(connection, server, client)]);
    this.#connections.delete(connection);
  }

  async #pump(connection: Connection, from: Deno.Conn, to: Deno.Conn): Promise<void> {
    const buffer = new Uint8Array(64 * 1024);
    try {
      for (let count = await from.read(buffer); count !== null; count = await from.read(buffer)) {
        if (connection.silent || this.mode === "silent-all") continue;
        if (this.delayMs > 0) await new Promise((resolve) => setTimeout(resolve, this.delayMs));
        for (let sent = 0; sent < count;) sent += await to.write(buffer.subarray(sent, count));
      }
    } catch {
      // Reset by one side or by us; the other side is told below.
    }
    // A silent connection does not pass the end of one side on to the other while that one lives.
    if (!connection.silent) connection.close();
    else connection.closeSide(from);
  }
}

/** The two sides of one connection. */
class Connection {
  silent = false;
  readonly #sides: Set<Deno.Conn>;

  constructor(client: Deno.Conn, server: Deno.Conn) {
    this.#sides = new Set([client, server]);
  }

  close(): void {
    for (const side of [...this.#sides]) this.closeSide(side);
  }

  closeSide(side: Deno.Conn): void {
    if (this.#sides.delete(side)) side.close();
  }
}
