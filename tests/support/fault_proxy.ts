/**
 * A TCP proxy on loopback that makes connections fail as networks do. Its
 * traffic is encrypted, so it sees bytes and not requests.
 *
 * @module
 */

/** What happens to the bytes of one direction. Swallowed ones vanish, and neither side is told. */
type Carriage = "carried" | "swallowed";

/** One connection through the proxy. */
class Link {
  requests: Carriage = "carried";
  answers: Carriage = "carried";
  readonly #open: Set<Deno.Conn>;

  constructor(readonly client: Deno.Conn, readonly server: Deno.Conn) {
    this.#open = new Set([client, server]);
  }

  get isSilent(): boolean {
    return this.requests === "swallowed" && this.answers === "swallowed";
  }

  close(...sides: Deno.Conn[]): void {
    for (const side of sides.length === 0 ? [...this.#open] : sides) {
      if (this.#open.delete(side)) side.close();
    }
  }
}

/** A proxy in front of one port. Faults may be caused at any time; they add up. */
export class FaultProxy implements AsyncDisposable {
  /** How long each chunk is delayed, in milliseconds. */
  delayMs = 0;
  /** Whether new connections go silent at once. */
  isHole = false;
  /** The number of connections so far. */
  accepted = 0;
  readonly #target: number;
  readonly #listener: Deno.TcpListener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  readonly #links = new Set<Link>();
  readonly #tasks = new Set<Promise<void>>();
  readonly #accepting: Promise<void>;

  /** Starts a proxy in front of a port of 127.0.0.1. */
  constructor(target: number) {
    this.#target = target;
    this.#accepting = this.#accept();
  }

  /** The proxy's own port on 127.0.0.1. */
  get port(): number {
    return this.#listener.addr.port;
  }

  /** Closes every connection that is open now. */
  reset(): void {
    for (const link of this.#links) link.close();
  }

  /** Makes every connection that is open now silent for good: nothing arrives, not even its end. */
  silence(): void {
    for (const link of this.#links) link.requests = link.answers = "swallowed";
  }

  /**
   * Lets the requests of every connection that is open now through, but not the
   * answers. So the requests take effect, and their clients do not learn of it.
   *
   * @returns A function that closes those connections.
   */
  dropAnswers(): () => void {
    const links = [...this.#links];
    for (const link of links) link.answers = "swallowed";
    return () => links.forEach((link) => link.close());
  }

  /** Closes the proxy and its connections. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#listener.close();
    await this.#accepting;
    this.reset();
    await Promise.all(this.#tasks);
  }

  async #accept(): Promise<void> {
    for await (const client of this.#listener) {
      this.accepted++;
      const task = this.#serve(client).finally(() => this.#tasks.delete(task));
      this.#tasks.add(task);
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
    const link = new Link(client, server);
    if (this.isHole) link.requests = link.answers = "swallowed";
    this.#links.add(link);
    await Promise.all([this.#carry(link, "requests"), this.#carry(link, "answers")]);
    this.#links.delete(link);
  }

  async #carry(link: Link, direction: "requests" | "answers"): Promise<void> {
    const [from, to] = direction === "requests" ? [link.client, link.server] : [link.server, link.client];
    const buffer = new Uint8Array(64 * 1024);
    try {
      for (let count = await from.read(buffer); count !== null; count = await from.read(buffer)) {
        if (this.delayMs > 0) await new Promise((resolve) => setTimeout(resolve, this.delayMs));
        if (link[direction] === "swallowed") continue;
        for (let sent = 0; sent < count;) sent += await to.write(buffer.subarray(sent, count));
      }
    } catch {
      // One side closed it, or we did.
    }
    if (link.isSilent) link.close(from);
    else link.close();
  }
}
