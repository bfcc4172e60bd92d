/**
 * HTTP as bytes on a socket, for requests that `fetch` refuses to send.
 *
 * @module
 */

import { until } from "../support/condition.ts";

/** A connection on which the test writes every byte. */
export class RawConnection implements AsyncDisposable {
  /** Everything that the server has sent so far. */
  received = "";
  /** Whether the server has closed the connection. */
  closed = false;
  readonly #connection: Deno.Conn;
  readonly #reading: Promise<void>;

  private constructor(connection: Deno.Conn) {
    this.#connection = connection;
    this.#reading = this.#read();
  }

  /** Connects to a server on this machine. */
  static async open(url: string): Promise<RawConnection> {
    return new RawConnection(await Deno.connect({ hostname: "127.0.0.1", port: Number(new URL(url).port) }));
  }

  /** Sends text or bytes. It is not an error if the server has closed the connection. */
  async send(data: string | Uint8Array): Promise<void> {
    let rest = typeof data === "string" ? new TextEncoder().encode(data) : data;
    try {
      while (rest.length > 0) rest = rest.subarray(await this.#connection.write(rest));
    } catch (error) {
      if (!(error instanceof Deno.errors.BrokenPipe || error instanceof Deno.errors.ConnectionReset)) throw error;
    }
  }

  /** The statuses of the replies so far. */
  get statuses(): number[] {
    return [...this.received.matchAll(/HTTP\/1\.[01] (\d{3}) /g)].map((match) => Number(match[1]));
  }

  /** Waits for a number of complete replies. */
  async replies(count: number): Promise<string> {
    await until(() => this.closed || this.statuses.length >= count && /\r\n\r\n.*\n$/s.test(this.received), {
      what: `${count} replies, where there is ${JSON.stringify(this.received)}`,
    });
    return this.received;
  }

  /** Waits until the server has closed the connection. */
  async end(): Promise<string> {
    await until(() => this.closed, { what: "the server closes the connection" });
    return this.received;
  }

  /** Closes the sending side. */
  async closeWrite(): Promise<void> {
    await (this.#connection as Deno.TcpConn).closeWrite();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      this.#connection.close();
    } catch {
      // It was closed already.
    }
    await this.#reading;
  }

  async #read(): Promise<void> {
    const buffer = new Uint8Array(16_384);
    const decoder = new TextDecoder();
    try {
      for (;;) {
        const read = await this.#connection.read(buffer);
        if (read === null) break;
        this.received += decoder.decode(buffer.subarray(0, read), { stream: true });
      }
    } catch {
      // The server reset the connection, or the test closed it.
    }
    this.closed = true;
  }
}
