/**
 * The part of the benchmark about hosts that have no Node, in clusters that have many: what their locks and releases
 * take, with and without heartbeats of the Nodes.
 *
 * @module
 */

import type { ControlPlane } from "../support/control_plane.ts";
import type { Program } from "../support/program.ts";
import { preReboot, steadyState } from "../support/zincati.ts";
import { fleetLockRequest, load, median, residentMegabytes } from "./load.ts";

/** What the rows below need of the benchmark's cluster. */
export interface NodesCluster {
  readonly plane: ControlPlane;
  startServer(...args: string[]): Promise<Program>;
  bareWrites(leases: number, seconds: number): Promise<number>;
  clear(): Promise<void>;
}

/** How many images a Node has, as many as kubelets report. */
const IMAGES = 50;

/** How many Nodes are created or changed at the same time. */
const AT_A_TIME = 8;

/** How many kubelets of 5,000 report in a second: each does every five minutes. */
const HEARTBEATS = 17;

/** How many hosts lock and unlock at the same time. */
const HOSTS = 16;

/** Measures and prints the rows, in an empty cluster and in one of `nodes` Nodes. */
export async function benchHostsWithoutNodes(
  cluster: NodesCluster,
  heading: (text: string) => void,
  row: (name: string, figure: string, beside?: string) => void,
  options: { seconds: number; nodes: number },
): Promise<void> {
  for (const nodes of [0, options.nodes]) {
    heading(`On a real API server: hosts without a Node, beside ${nodes.toLocaleString("en")} Nodes`);
    await createNodes(cluster.plane, nodes);
    const bare = await cluster.bareWrites(HOSTS, options.seconds);
    row("bare conditional writes", `${bare.toFixed(0)}/s`);
    await using server = await cluster.startServer();
    const measure = async (state: string, aim: string) => {
      const { lock, release } = await oneByOne(server);
      row(`${state}: lock (median of 10)`, `${lock.toFixed(0)} ms`, `release ${release.toFixed(0)} ms ${aim}`);
      const rate = await cycles(server, options.seconds);
      row(
        `${state}: cycles at ${HOSTS} connections`,
        `${rate.toFixed(0)}/s`,
        `${(rate / bare).toFixed(2)} of bare writes`,
      );
    };
    await measure("quiet", "(aim: lock 500 ms)");
    if (nodes > 0) {
      await using _beats = heartbeats(cluster.plane, nodes);
      await new Promise((resolve) => setTimeout(resolve, 3_000));
      await measure("heartbeats", "(aim: lock 100 ms; cycles 0.15)");
    }
    row("resident memory at the end", `${residentMegabytes(server.process.pid).toFixed(0)} MB`);
    await cluster.clear();
  }
}

async function createNodes(plane: ControlPlane, count: number): Promise<void> {
  let next = 0;
  await Promise.all(Array.from({ length: AT_A_TIME }, async () => {
    while (next < count) await plane.request("POST", "/api/v1/nodes", node(next++));
  }));
}

/** A Node as kubelets report it, 12 to 13 kB of JSON. */
function node(n: number): unknown {
  const hex = (value: number, digits: number) => value.toString(16).padStart(digits, "0");
  const images = Array.from({ length: IMAGES }, (_, image) => ({
    names: [
      `registry.example.com/team/service-${image}@sha256:${hex(image * 7_919 + 1, 64)}`,
      `registry.example.com/team/service-${image}:v1.${image}`,
    ],
    sizeBytes: 100_000_000 + image,
  }));
  return {
    metadata: { name: `worker-${n}`, labels: { "kubernetes.io/hostname": `worker-${n}` } },
    status: {
      nodeInfo: { machineID: hex(n + 1, 32), bootID: crypto.randomUUID() },
      conditions: [{ type: "Ready", status: "True", reason: "KubeletReady" }],
      images,
    },
  };
}

/** Changes a Node's status again and again, as the kubelets together do. */
function heartbeats(plane: ControlPlane, nodes: number): AsyncDisposable {
  const calls = new Set<Promise<unknown>>();
  let n = 0;
  const timer = setInterval(() => {
    const body = { status: { conditions: [{ type: "Ready", status: "True", lastHeartbeatTime: new Date() }] } };
    const path = `/api/v1/nodes/worker-${n++ % nodes}/status`;
    const call = plane.request("PATCH", path, body, "application/strategic-merge-patch+json").finally(() => {
      calls.delete(call);
    });
    calls.add(call);
  }, 1_000 / HEARTBEATS);
  return {
    async [Symbol.asyncDispose]() {
      clearInterval(timer);
      await Promise.all(calls);
    },
  };
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
async function cycles({ url }: Program, seconds: number): Promise<number> {
  const requests = Array.from({ length: HOSTS }, (_, n) => [
    fleetLockRequest("/v1/pre-reboot", `host-${n}`, `group-${n}`),
    fleetLockRequest("/v1/steady-state", `host-${n}`, `group-${n}`),
  ]);
  const ask = (connection: number, n: number) => requests[connection]![n % 2]!;
  await load(url, HOSTS, ask, { seconds: 1 });
  const result = await load(url, HOSTS, ask, { seconds });
  for (const [status, count] of result.statuses) {
    if (status !== 200) throw new Error(`${count} replies had status ${status}`);
  }
  return result.perSecond / 2;
}
