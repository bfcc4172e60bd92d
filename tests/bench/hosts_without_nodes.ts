/**
 * The part of the benchmark about hosts that have no Node: what their locks and releases take. Those beside many Nodes
 * are measured with big clusters.
 *
 * @module
 */

import type { Program } from "../support/program.ts";
import { preReboot, steadyState } from "../support/zincati.ts";
import { fleetLockRequest, inTurn, load, median, residentMegabytes } from "./load.ts";

/** What the rows below need of the benchmark's cluster. */
export interface NodesCluster {
  startServer(...args: string[]): Promise<Program>;
  bareWrites(leases: number, seconds: number): Promise<number>;
  clear(): Promise<void>;
}

/** How many hosts lock and unlock at the same time. */
const HOSTS = 16;

/** How often cycles and bare writes are measured in turn. */
const ROUNDS = 5;

/** Measures and prints the rows. */
export async function benchHostsWithoutNodes(
  cluster: NodesCluster,
  heading: (text: string) => void,
  row: (name: string, figure: string, beside?: string) => void,
  seconds: number,
): Promise<void> {
  heading("On a real API server: hosts without a Node, in a cluster that has none");
  await using server = await cluster.startServer();
  const { lock, release } = await oneByOne(server);
  row("lock (median of 10)", `${lock.toFixed(0)} ms`, `release ${release.toFixed(0)} ms`);
  row(...await cyclesRow(cluster, server, seconds, "cycles"));
  row("resident memory at the end", `${residentMegabytes(server.process.pid).toFixed(0)} MB`);
  await cluster.clear();
}

/** Measures cycles of such hosts beside bare writes, and makes a row of it. */
export async function cyclesRow(
  cluster: Pick<NodesCluster, "bareWrites">,
  server: Pick<Program, "url">,
  seconds: number,
  name: string,
): Promise<[string, string, string]> {
  const bareWrites = () => cluster.bareWrites(HOSTS, seconds / ROUNDS);
  const { first: rate, second: bare, ratio } = await inTurn(ROUNDS, () => cycles(server, seconds / ROUNDS), bareWrites);
  const share = `${ratio.toFixed(2)} of ${bare.toFixed(0)} bare writes/s (aim: 0.15)`;
  return [`${name} at ${HOSTS} connections`, `${rate.toFixed(0)}/s`, share];
}

/** Measures locks and releases of one host after another, in milliseconds. */
async function oneByOne({ url }: Program): Promise<{ lock: number; release: number }> {
  const locks: number[] = [];
  const releases: number[] = [];
  for (let n = 0; n < 10; n++) {
    const began = performance.now();
    const { status, text } = await preReboot(url, `host-${n}`);
    if (status !== 200) throw new Error(`a host without a Node got ${status}: ${text}`);
    const locked = performance.now();
    await steadyState(url, `host-${n}`);
    locks.push(locked - began);
    releases.push(performance.now() - locked);
    // Not in step with what the API server does from time to time.
    await new Promise((resolve) => setTimeout(resolve, 200 + 37 * n));
  }
  return { lock: median(locks), release: median(releases) };
}

/** Measures cycles of lock and unlock a second, each host in a group of its own. */
async function cycles({ url }: Pick<Program, "url">, seconds: number): Promise<number> {
  const requests = Array.from({ length: HOSTS }, (_, n) => [
    fleetLockRequest("/v1/pre-reboot", `host-${n}`, `group-${n}`),
    fleetLockRequest("/v1/steady-state", `host-${n}`, `group-${n}`),
  ]);
  const ask = (connection: number, n: number) => requests[connection]![n % 2]!;
  await load(url, HOSTS, ask, { seconds: 0.5 });
  const result = await load(url, HOSTS, ask, { seconds });
  for (const [status, count] of result.statuses) {
    if (status !== 200) throw new Error(`${count} replies had status ${status}`);
  }
  return result.perSecond / 2;
}
