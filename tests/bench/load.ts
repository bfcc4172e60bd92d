/**
 * A load generator for loopback with persistent connections, each of which sends
 * one request at a time. It implements only as much of HTTP/1.1 as it needs, to
 * use little time itself.
 *
 * @module
 */

/** The results of a load run. */
export interface LoadResult {
  readonly requests: number;
  readonly seconds: number;
  readonly perSecond: number;
  /** Latencies in milliseconds. */
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
  /** The number of replies by status. */
  readonly statuses: ReadonlyMap<number, number>;
}

/** Encodes a FleetLock request. */
export function fleetLockRequest(path: string, id: string, group = "default"): Uint8Array {
  const body = JSON.stringify({ client_params: { id, group } }, null, 2);
  return new TextEncoder().encode(
    `POST ${path} HTTP/1.1\r\nhost: localhost\r\nfleet-lock-protocol: true\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
  );
}

/** One connection of the generator. */
export class Client implements Disposable {
  readonly #connection: Deno.Conn;
  readonly #buffer = new Uint8Array(16_384);
  /** One character a byte, since the length of a body is in bytes. */
  readonly #decoder = new TextDecoder("latin1");

  private constructor(connection: Deno.TcpConn) {
    connection.setNoDelay(true);
    this.#connection = connection;
  }

  static async connect(url: string): Promise<Client> {
    const { hostname, port } = new URL(url);
    return new Client(await Deno.connect({ hostname, port: Number(port) }));
  }

  /** Sends bytes without waiting for a reply. */
  async send(bytes: Uint8Array): Promise<void> {
    await this.#connection.write(bytes);
  }

  /** Sends one request, waits for the whole reply, and returns its status. */
  async request(bytes: Uint8Array): Promise<number> {
    await this.#connection.write(bytes);
    let text = "";
    for (;;) {
      const read = await this.#connection.read(this.#buffer);
      if (read === null) throw new Error("the server closed the connection");
      text += this.#decoder.decode(this.#buffer.subarray(0, read));
      const end = text.indexOf("\r\n\r\n");
      if (end < 0) continue;
      const length = Number(/content-length: (\d+)/i.exec(text)?.[1] ?? 0);
      if (text.length >= end + 4 + length) return Number(text.slice(9, 12));
    }
  }

  [Symbol.dispose](): void {
    this.#connection.close();
  }
}

/** Opens connections, at most 100 at the same time. */
export async function connectAll(url: string, count: number): Promise<Client[]> {
  const clients: Client[] = [];
  while (clients.length < count) {
    const some = Math.min(100, count - clients.length);
    clients.push(...await Promise.all(Array.from({ length: some }, () => Client.connect(url))));
  }
  return clients;
}

/** Sends requests on every connection until a time has passed or a number of requests is sent. */
export async function load(
  url: string,
  connections: number,
  request: (connection: number, n: number) => Uint8Array,
  until: { seconds: number } | { requests: number },
): Promise<LoadResult> {
  const clients = await connectAll(url, connections);
  const latencies: number[] = [];
  const statuses = new Map<number, number>();
  const start = performance.now();
  let sent = 0;
  const goesOn = "seconds" in until
    ? () => performance.now() - start < until.seconds * 1_000
    : () => sent < until.requests;
  await Promise.all(clients.map(async (client, connection) => {
    for (let n = 0; goesOn(); n++) {
      sent++;
      const began = performance.now();
      const status = await client.request(request(connection, n));
      latencies.push(performance.now() - began);
      statuses.set(status, (statuses.get(status) ?? 0) + 1);
    }
  }));
  const seconds = (performance.now() - start) / 1_000;
  for (const client of clients) client[Symbol.dispose]();
  latencies.sort((a, b) => a - b);
  const at = (q: number) => latencies[Math.min(latencies.length - 1, Math.floor(q * latencies.length))] ?? 0;
  return {
    requests: latencies.length,
    seconds,
    perSecond: latencies.length / seconds,
    p50: at(0.5),
    p99: at(0.99),
    max: at(1),
    statuses,
  };
}

/** Reads the resident memory of a process, in megabytes. */
export function residentMegabytes(pid: number): number {
  return statusMegabytes(pid, "VmRSS");
}

/** Reads the highest resident memory that a process ever had, in megabytes. */
export function peakMegabytes(pid: number): number {
  return statusMegabytes(pid, "VmHWM");
}

/** Reads the processor time that a process has used, in seconds. */
export function cpuSeconds(pid: number): number {
  // The name of the program, in brackets, may contain spaces. Field 14 is the user time and 15 the system's, in 1/100
  // s.
  const fields = readProcess(pid, "stat").replace(/^.*\) /s, "").split(" ");
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

function statusMegabytes(pid: number, field: string): number {
  const kilobytes = new RegExp(`^${field}:\\s+(\\d+) kB$`, "m").exec(readProcess(pid, "status"))?.[1];
  return Number(kilobytes) / 1_024;
}

function readProcess(pid: number, file: string): string {
  // Deno reads /proc only with all permissions.
  const { stdout } = new Deno.Command("cat", { args: [`/proc/${pid}/${file}`] }).outputSync();
  return new TextDecoder().decode(stdout);
}

/**
 * Measures two rates in turn, since the machine's own speed changes within seconds.
 *
 * @param rounds How often.
 * @returns The medians of the rates and of their ratio, the first rate divided by the second.
 */
export async function inTurn(
  rounds: number,
  first: () => Promise<number>,
  second: () => Promise<number>,
): Promise<{ first: number; second: number; ratio: number }> {
  const rates: { first: number; second: number; ratio: number }[] = [];
  for (let round = 0; round < rounds; round++) {
    const base = await second();
    const rate = await first();
    rates.push({ first: rate, second: base, ratio: rate / base });
  }
  const medianOf = (name: keyof (typeof rates)[number]) => median(rates.map((rate) => rate[name]));
  return { first: medianOf("first"), second: medianOf("second"), ratio: medianOf("ratio") };
}

/** Returns the median of some figures. */
export function median(figures: readonly number[]): number {
  return [...figures].sort((a, b) => a - b)[Math.floor(figures.length / 2)] ?? NaN;
}
