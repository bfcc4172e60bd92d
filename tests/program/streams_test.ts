/** Streams of events beside the clients of the protocol, on the whole program. @module */

import { equal, ok } from "node:assert/strict";
import { fleetLockRequest, load, residentMegabytes } from "../bench/load.ts";
import { startProgram } from "../support/program.ts";

const STATUS_LINE = "HTTP/1.1 200 OK";

/** Opens a stream on a connection of its own, and reads no more than that it is open. */
async function stream(url: string): Promise<Deno.TcpConn> {
  const { hostname, port } = new URL(url);
  const connection = await Deno.connect({ hostname, port: Number(port) });
  await connection.write(new TextEncoder().encode("GET /events HTTP/1.1\r\nhost: localhost\r\n\r\n"));
  const start = new Uint8Array(STATUS_LINE.length);
  for (let at = 0; at < start.length;) at += await connection.read(start.subarray(at)) ?? start.length;
  equal(new TextDecoder().decode(start), STATUS_LINE);
  return connection;
}

/** Reads until the end, and counts the bytes. */
async function drain(connection: Deno.TcpConn, count: (bytes: Uint8Array) => void): Promise<void> {
  const buffer = new Uint8Array(65_536);
  for (let read; (read = await connection.read(buffer).catch(() => null)) !== null;) count(buffer.subarray(0, read));
}

Deno.test("256 streams, of which 100 stall, cost bounded memory, and polls and the stop do not wait for them", async () => {
  await using program = await startProgram(["--store=memory"]);
  const poll = (n: number) => fleetLockRequest("/v1/pre-reboot", `client-${n % 1_000}`, `group-${n % 20}`);
  let n = 0;
  await load(program.url, 8, () => poll(n++), { requests: 4_000 });
  const before = residentMegabytes(program.process.pid);
  let received = 0;
  const connections: Deno.TcpConn[] = [];
  const reading: Promise<void>[] = [];
  for (let nth = 0; nth < 256; nth++) {
    const connection = await stream(program.url);
    connections.push(connection);
    if (nth >= 100) reading.push(drain(connection, (bytes) => received += bytes.length));
  }
  // Each of them is open by now. A further one that got in before them would have taken the place of one for ever.
  const further = await fetch(`${program.url}/events`);
  await further.body?.cancel();
  equal(further.status, 503);
  const { statuses, p99 } = await load(program.url, 8, () => poll(n++), { seconds: 5 });
  equal([...statuses.keys()].filter((status) => status !== 423 && status !== 200).length, 0);
  ok(p99 < 1_000, `the slowest polls took ${p99} ms`);
  const used = residentMegabytes(program.process.pid) - before;
  ok(used < 150, `the streams took ${used} MB`);
  const began = performance.now();
  await program.stop();
  const took = performance.now() - began;
  ok(took < 15_000, `the stop took ${took} ms`);
  await Promise.all(reading);
  for (const connection of connections) connection.close();
});
