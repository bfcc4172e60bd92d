/**
 * The part of the benchmark on big clusters: a real API server with thousands of Nodes as big as kubelets report them,
 * with and without the kubelets' heartbeats.
 *
 * @module
 */

import { zincatiId } from "../../src/keeper/nodes/zincati_id.ts";
import { startHeartbeats } from "./heartbeats.ts";
import type { BenchCluster, Row } from "./cluster.ts";
import { cpuSeconds, fleetLockRequest, load, median, peakMegabytes, residentMegabytes } from "./load.ts";
import { cyclesRow } from "./hosts_without_nodes.ts";
import { preReboot, steadyState } from "../support/zincati.ts";

/** How many Nodes are created at a time. */
const CREATORS = 8;

/** How many images a kubelet reports at most. */
const IMAGES = 50;

/** How many heartbeats 5,000 kubelets send in a second: one each every five minutes. */
const HEARTBEATS_PER_SECOND = 17;

/** How often a host without a Node locks and unlocks. */
const CYCLES = 5;

const machineId = (n: number) => `${n}`.padStart(32, "0");
const nodeName = (n: number) => `worker-${`${n}`.padStart(5, "0")}.example.internal`;

/** Builds a Node as its kubelet reports it: about 12.6 kB of JSON. */
function bigNode(n: number): unknown {
  const now = new Date().toISOString();
  const condition = (type: string, status: string, reason: string) => ({
    type,
    status,
    reason,
    message: `kubelet reports ${reason} for this node`,
    lastHeartbeatTime: now,
    lastTransitionTime: now,
  });
  const digest = (image: number) => `${image * 7919 + 13}`.padStart(64, "a0b1c2d3e4f5");
  return {
    metadata: {
      name: nodeName(n),
      labels: {
        "kubernetes.io/hostname": nodeName(n),
        "kubernetes.io/arch": "amd64",
        "kubernetes.io/os": "linux",
        "node.kubernetes.io/instance-type": "m5.2xlarge",
        "topology.kubernetes.io/region": "eu-central-1",
        "topology.kubernetes.io/zone": "eu-central-1a",
      },
      annotations: { "volumes.kubernetes.io/controller-managed-attach-detach": "true" },
    },
    spec: { podCIDR: `10.${n >> 8 & 255}.${n & 255}.0/24`, providerID: `aws:///eu-central-1a/i-${machineId(n)}` },
    status: {
      addresses: [{ type: "InternalIP", address: "10.0.0.1" }, { type: "Hostname", address: nodeName(n) }],
      capacity: { cpu: "8", memory: "32Gi", pods: "110", "ephemeral-storage": "100Gi" },
      allocatable: { cpu: "7800m", memory: "30Gi", pods: "110", "ephemeral-storage": "90Gi" },
      conditions: [
        condition("MemoryPressure", "False", "KubeletHasSufficientMemory"),
        condition("DiskPressure", "False", "KubeletHasNoDiskPressure"),
        condition("PIDPressure", "False", "KubeletHasSufficientPID"),
        condition("Ready", "True", "KubeletReady"),
      ],
      nodeInfo: {
        machineID: machineId(n),
        systemUUID: machineId(n),
        bootID: `boot-${n}`,
        kernelVersion: "6.12.0",
        osImage: "Fedora CoreOS",
        containerRuntimeVersion: "containerd://2.1.0",
        kubeletVersion: "v1.36.0",
        kubeProxyVersion: "",
        operatingSystem: "linux",
        architecture: "amd64",
      },
      images: Array.from({ length: IMAGES }, (_, image) => ({
        names: [
          `registry.example.internal/team/service-${image}@sha256:${digest(image)}`,
          `registry.example.internal/team/service-${image}:v1.${image}.${n % 10}`,
        ],
        sizeBytes: 100_000_000 + image,
      })),
    },
  };
}

/** Creates the Nodes from one number to another. */
async function createNodes(cluster: BenchCluster, from: number, to: number): Promise<void> {
  let next = from;
  await Promise.all(Array.from({ length: CREATORS }, async () => {
    while (next < to) await cluster.plane.request("POST", "/api/v1/nodes", bigNode(next++));
  }));
}

/** Measures the locks of hosts without a Node, one after another: the median, in seconds. */
async function lockWithoutNode(url: string): Promise<number> {
  const times: number[] = [];
  for (let n = 0; n < CYCLES; n++) {
    const began = performance.now();
    const reply = await preReboot(url, "without-a-node", "strangers");
    if (reply.status !== 200) throw new Error(`the lock of a host without a Node ended with ${reply.text}`);
    times.push((performance.now() - began) / 1_000);
    await steadyState(url, "without-a-node", "strangers");
  }
  return median(times);
}

/** Measures the time from the start of the process to the first yes, in seconds. The host has no Node. */
async function firstYes(cluster: BenchCluster): Promise<number> {
  const began = performance.now();
  await using server = await cluster.startUnsynced();
  while ((await preReboot(server.url, "first", "first")).status !== 200) {
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  const seconds = (performance.now() - began) / 1_000;
  await cluster.clear();
  return seconds;
}

/** What the rows of one size aim at. */
const AIMS: Readonly<Record<number, { peak: number; firstYes: number }>> = {
  1_000: { peak: 90, firstYes: 1.5 },
  5_000: { peak: 100, firstYes: 4 },
  15_000: { peak: 115, firstYes: 7 },
};

/**
 * Measures and prints the rows of big clusters.
 *
 * @param sizes Numbers of Nodes, in ascending order. The cluster keeps them.
 * @param options How long to watch heartbeats, in seconds, and how many refused polls to send.
 */
export async function benchBigClusters(
  cluster: BenchCluster,
  heading: (text: string) => void,
  row: Row,
  sizes: readonly number[],
  options: { watchSeconds: number; polls: number },
): Promise<void> {
  let created = 0;
  for (const size of sizes) {
    const aim = AIMS[size];
    heading(`On a real API server with ${size.toLocaleString("en")} Nodes of ${IMAGES} images`);
    await createNodes(cluster, created, size);
    created = size;
    const { metadata } = await cluster.plane.request("GET", `/api/v1/nodes/${nodeName(0)}`);
    const bytes = JSON.stringify(await cluster.plane.request("GET", `/api/v1/nodes/${metadata.name}`)).length;
    row("JSON of one Node", `${(bytes / 1_000).toFixed(1)} kB`);
    row("first yes of a new server", `${(await firstYes(cluster)).toFixed(1)} s`, aim && `(aim: ${aim.firstYes} s)`);

    {
      await using _beats = startHeartbeats(cluster.plane, (n) => nodeName(n % size), HEARTBEATS_PER_SECOND);
      row("first yes of a new server, with heartbeats", `${(await firstYes(cluster)).toFixed(1)} s`);
    }

    await using server = await cluster.startServer();
    const { url, process: { pid } } = server;
    const peak = () => `${peakMegabytes(pid).toFixed(0)} MB`;
    row("after start, with synced watches", `${residentMegabytes(pid).toFixed(0)} MB`, `peak ${peak()}`);
    const holder = zincatiId(machineId(0))!;
    if ((await preReboot(url, holder)).status !== 200) throw new Error("the host with a Node got no yes");
    const polls = { requests: options.polls };
    const { perSecond } = await load(url, 64, () => fleetLockRequest("/v1/pre-reboot", "other"), polls);
    row(`peak after ${options.polls.toLocaleString("en")} polls`, peak(), `${perSecond.toFixed(0)}/s`);
    {
      await using _beats = startHeartbeats(cluster.plane, (n) => nodeName(n % size), HEARTBEATS_PER_SECOND);
      const before = cpuSeconds(pid);
      await new Promise((resolve) => setTimeout(resolve, options.watchSeconds * 1_000));
      const used = (cpuSeconds(pid) - before) * 3_600 / options.watchSeconds;
      row("processor time to watch heartbeats for an hour", `${used.toFixed(0)} s`, "(aim: 60 s)");
      row("peak after the heartbeats", peak());
      row(
        "lock of a host without a Node, with heartbeats",
        `${(await lockWithoutNode(url)).toFixed(2)} s`,
        "(aim: 0.1 s)",
      );
      row(...await cyclesRow(cluster, server, 10, "cycles of such hosts, with heartbeats,"));
    }
    row("lock of a host without a Node, quiet", `${(await lockWithoutNode(url)).toFixed(2)} s`, "(aim: 0.5 s)");
    row(...await cyclesRow(cluster, server, 10, "cycles of such hosts, quiet,"));
    await load(url, 64, () => fleetLockRequest("/v1/pre-reboot", "other"), polls);
    row("peak in the end, hosts without a Node included", peak(), aim && `(aim of the executable: ${aim.peak} MB)`);
    await steadyState(url, holder);
    await cluster.clear();
  }
}
