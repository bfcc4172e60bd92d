/**
 * The part of the benchmark on a real API server. The API server's audit log
 * counts the calls.
 *
 * @module
 */

import { fileURLToPath } from "node:url";
import { connectKubernetes } from "../../src/kubernetes/client.ts";
import { Leases } from "../../src/stores/lease/leases.ts";
import { createNode, createPod, podsOn } from "../support/cluster_objects.ts";
import { until } from "../support/condition.ts";
import { ControlPlane } from "../support/control_plane.ts";
import { PODS_POSSIBLE, startInPod } from "../support/pod.ts";
import { type Program, startProgram } from "../support/program.ts";
import { preReboot, steadyState } from "../support/zincati.ts";
import { benchHostsWithoutNodes } from "./hosts_without_nodes.ts";
import { type Client, connectAll, fleetLockRequest, inTurn, load, residentMegabytes } from "./load.ts";

const MANIFESTS = fileURLToPath(new URL("../../examples/k8s", import.meta.url));
const USER = "system:serviceaccount:default:fleetlock";

/** A control plane that counts the calls of the manifests' service account. */
export class BenchCluster implements AsyncDisposable {
  /** The control plane, for what else a part of the benchmark creates. */
  readonly plane: ControlPlane;
  readonly #audit: string;
  readonly #kubeconfig: string;

  private constructor(plane: ControlPlane, audit: string, kubeconfig: string) {
    this.plane = plane;
    this.#audit = audit;
    this.#kubeconfig = kubeconfig;
  }

  static async start(): Promise<BenchCluster> {
    const folder = await Deno.makeTempDir({ prefix: "fleetlock-bench-" });
    const policy = `${folder}/policy.json`;
    const audit = `${folder}/audit.log`;
    await Deno.writeTextFile(
      policy,
      JSON.stringify({
        apiVersion: "audit.k8s.io/v1",
        kind: "Policy",
        omitStages: ["ResponseStarted"],
        rules: [{ level: "Metadata", users: [USER] }, { level: "None" }],
      }),
    );
    const plane = await ControlPlane.start({
      apiServerFlags: [
        "--service-cluster-ip-range=10.3.0.0/24",
        `--audit-policy-file=${policy}`,
        `--audit-log-path=${audit}`,
        "--audit-log-mode=batch",
        "--audit-log-batch-max-wait=100ms",
      ],
    });
    await plane.kubectl("apply", "-k", MANIFESTS);
    const token = await plane.createToken("default", "fleetlock");
    return new BenchCluster(plane, audit, await plane.writeKubeconfig({ token }));
  }

  /**
   * Starts the program with the manifests' roles and waits until it listens. The program runs as in a pod if this
   * machine supports that, and with a kubeconfig otherwise.
   */
  async startUnsynced(...args: string[]): Promise<Program> {
    return PODS_POSSIBLE
      ? await startInPod(this.plane, { namespace: "default", name: "fleetlock" }, args)
      : await startProgram(args, { KUBECONFIG: this.#kubeconfig });
  }

  /** Starts the program as {@link startUnsynced} does, and waits until its watches are in step. */
  async startServer(...args: string[]): Promise<Program> {
    const program = await this.startUnsynced(...args);
    await until(async () => {
      const metrics = await fetch(`${program.url}/metrics`).then((reply) => reply.text());
      return /^fleetlock_watch_synced 1$/m.test(metrics) && !/^fleetlock_nodes_synced 0$/m.test(metrics);
    }, { timeoutMs: 120_000 });
    return program;
  }

  /** Counts the calls while `run` runs, by `verb resource`. Open watches do not count. */
  async calls(run: () => Promise<unknown>): Promise<Map<string, number>> {
    const settled = async () => {
      let text = await Deno.readTextFile(this.#audit);
      for (;;) {
        // Three times the longest delay of the log's batches.
        await new Promise((resolve) => setTimeout(resolve, 300));
        const now = await Deno.readTextFile(this.#audit);
        if (now === text) return now;
        text = now;
      }
    };
    const before = (await settled()).length;
    await run();
    const counts = new Map<string, number>();
    for (const line of (await settled()).slice(before).trim().split("\n").filter(Boolean)) {
      const { stage, verb, objectRef } = JSON.parse(line);
      if (stage !== (verb === "watch" ? "RequestReceived" : "ResponseComplete")) continue;
      const resource = [objectRef.resource, objectRef.subresource].filter(Boolean).join("/");
      const key = `${verb} ${resource}`;
      counts.set(key, (counts.get(key) ?? 0) + 1);
    }
    return counts;
  }

  /** Measures conditional writes a second to separate Leases, with the server's transport and nothing else. */
  async bareWrites(leases: number, seconds: number): Promise<number> {
    const client = await connectKubernetes({ kubeconfig: this.#kubeconfig });
    try {
      const api = new Leases(client);
      let writes = 0;
      const names = Array.from({ length: leases }, (_, n) => `bare-${n}`);
      const start = performance.now();
      await Promise.all(names.map(async (name) => {
        let lease = await api.create({ metadata: { name }, spec: { holderIdentity: "" } });
        while (performance.now() - start < seconds * 1_000) {
          if (lease === "conflict") throw new Error(`another client wrote ${name}`);
          lease = await api.replace({ ...lease, spec: { ...lease.spec, holderIdentity: `${writes++}` } });
        }
      }));
      const rate = writes / ((performance.now() - start) / 1_000);
      for (const name of names) {
        await this.plane.request("DELETE", `/apis/coordination.k8s.io/v1/namespaces/default/leases/${name}`);
      }
      return rate;
    } finally {
      await client[Symbol.asyncDispose]();
    }
  }

  /** Deletes the Leases of all groups. */
  async clear(): Promise<void> {
    const path = "/apis/coordination.k8s.io/v1/namespaces/default/leases";
    for (const { metadata: { name } } of (await this.plane.request("GET", path)).items) {
      if (name.startsWith("fleetlock-")) await this.plane.request("DELETE", `${path}/${name}`);
    }
  }

  /** Creates a node with pods that end immediately when they are evicted. */
  async fullNode(pods: number): Promise<{ id: string; podsLeft: () => Promise<number> }> {
    const namespace = await this.plane.createNamespace();
    const { name, id } = await createNode(this.plane);
    for (let n = 0; n < pods; n++) {
      await createPod(this.plane, { name: `pod-${n}`, namespace, node: name, graceSeconds: 0 });
    }
    return { id, podsLeft: async () => (await podsOn(this.plane, name)).size };
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.plane.stop();
  }
}

/** Prints a row: a name, a figure, and a remark. */
export type Row = (name: string, figure: string, beside?: string) => void;

/** Measures and prints everything that needs a cluster. */
export async function benchCluster(
  heading: (text: string) => void,
  row: Row,
  cyclesPerSecond: (program: Pick<Program, "url">, groups: number) => Promise<number>,
  options: { seconds: number; polls: number },
  cluster: BenchCluster,
): Promise<void> {
  heading("On a real API server: calls to it, by its audit log");
  {
    await using server = await cluster.startServer("--drain=false");
    const total = (calls: Map<string, number>) =>
      [...calls].map(([call, count]) => `${count} ${call}`).join(", ") || "none";
    const groups = Array.from({ length: 20 }, (_, n) => `calls-${n}`);
    const each = (ask: (group: string) => Promise<unknown>) => async () => {
      for (const group of groups) await ask(group);
    };
    const known = each((group) => preReboot(server.url, "first", group));
    row("20 grants of new groups", "", `${total(await cluster.calls(known))} (aim: 20 writes)`);
    const polls = () =>
      load(server.url, 16, () => fleetLockRequest("/v1/pre-reboot", "other", "calls-0"), { requests: 10_000 });
    row("10,000 refused polls", "", `${total(await cluster.calls(polls))} (aim: none)`);
    const released = each((group) => steadyState(server.url, "first", group));
    row("20 releases", "", `${total(await cluster.calls(released))} (aim: at most 20 reads and 20 writes)`);
    const granted = each((group) => preReboot(server.url, "second", group));
    row("20 grants of known groups", "", `${total(await cluster.calls(granted))} (aim: 20 writes)`);
    const empty = each((group) => steadyState(server.url, "third", group));
    row("20 releases by hosts that hold nothing", "", `${total(await cluster.calls(empty))} (aim: 20 reads)`);
    await cluster.clear();
  }

  heading("On a real API server: lock and unlock, over 16 groups");
  {
    await using server = await cluster.startServer("--drain=false");
    const bareWrites = () => cluster.bareWrites(16, options.seconds);
    const { first, second, ratio } = await inTurn(3, () => cyclesPerSecond(server, 16), bareWrites);
    row("bare conditional writes", `${second.toFixed(0)}/s`);
    row("cycles of two writes", `${first.toFixed(0)}/s`, `${(200 * ratio).toFixed(0)} % of half (aim: 70 %)`);
    await cluster.clear();
  }

  heading("On a real API server: 10,000 clients of one group at once, three replicas");
  {
    const servers: Program[] = [];
    for (let n = 0; n < 3; n++) servers.push(await cluster.startServer("--drain=false"));
    try {
      const clients: Client[] = [];
      for (let n = 0; n < 10; n++) clients.push(...await connectAll(servers[n % 3]!.url, 1_000));
      await preReboot(servers[0]!.url, "holder");
      for (const { url } of servers) await until(async () => (await preReboot(url, "x")).kind === "lock_held");
      let seconds = 0;
      const statuses = new Map<number, number>();
      const calls = await cluster.calls(async () => {
        await steadyState(servers[0]!.url, "holder");
        const start = performance.now();
        await Promise.all(clients.map(async (client, n) => {
          const status = await client.request(fleetLockRequest("/v1/pre-reboot", `client-${n}`));
          statuses.set(status, (statuses.get(status) ?? 0) + 1);
        }));
        seconds = (performance.now() - start) / 1_000;
      });
      for (const client of clients) client[Symbol.dispose]();
      const writes = (calls.get("update leases") ?? 0) - 1;
      const answers = [...statuses].map(([status, count]) => `${count} × ${status}`).join(", ");
      row("all replies after", `${seconds.toFixed(2)} s`, `${answers} (aim: 2 s, one 200)`);
      row("conditional writes attempted", `${writes}`, "(aim: at most 3)");
    } finally {
      for (const server of servers) await server[Symbol.asyncDispose]();
    }
    await cluster.clear();
  }

  heading(`On a real API server: resident memory, ${PODS_POSSIBLE ? "as in a pod" : "with a kubeconfig"}`);
  {
    await using server = await cluster.startServer();
    const { pid } = server.process;
    row("after start, with synced watches", `${residentMegabytes(pid).toFixed(0)} MB`, "(aim: 60, executable 65)");
    await preReboot(server.url, "holder");
    const poll = fleetLockRequest("/v1/pre-reboot", "other");
    await load(server.url, 64, () => poll, { requests: options.polls / 2 });
    const half = residentMegabytes(pid);
    await load(server.url, 64, () => poll, { requests: options.polls / 2 });
    const all = residentMegabytes(pid);
    row(
      `after ${(options.polls / 2).toLocaleString("en")} and ${options.polls.toLocaleString("en")} polls`,
      `${half.toFixed(0)}, ${all.toFixed(0)} MB`,
      "(aim: 90, executable 100; no growth)",
    );
    const clients = await connectAll(server.url, 1_000);
    for (const client of clients) await client.request(poll);
    row("with 1,000 connections", `${residentMegabytes(pid).toFixed(0)} MB`, "(aim: 120, executable 130)");
    const head = new TextEncoder().encode("POST /v1/pre-reboot HTTP/1.1\r\nhost: x\r\nfleet-lock-proto");
    const hanging = await connectAll(server.url, 2_000);
    await Promise.all(hanging.map((client) => client.send(head)));
    const others = await load(server.url, 1, () => poll, { requests: 100 });
    row(
      "with 2,000 more that stop within their headers",
      `${residentMegabytes(pid).toFixed(0)} MB`,
      `slowest reply to others ${others.max.toFixed(1)} ms (aim: 1 s)`,
    );
    for (const client of [...clients, ...hanging]) client[Symbol.dispose]();
    await cluster.clear();
  }

  await benchHostsWithoutNodes(cluster, heading, row, 2 * options.seconds);

  heading("On a real API server: draining a node of 110 pods");
  {
    await using server = await cluster.startServer();
    const node = await cluster.fullNode(110);
    let seconds = 0;
    const calls = await cluster.calls(async () => {
      const start = performance.now();
      const reply = await preReboot(server.url, node.id);
      if (reply.status !== 200) throw new Error(`the drain ended with ${reply.text}`);
      seconds = (performance.now() - start) / 1_000;
      if (await node.podsLeft() !== 0) throw new Error("got a yes with pods left on the node");
    });
    const ours = [...calls].filter(([call]) => !call.includes(" events"));
    const sum = ours.reduce((total, [, count]) => total + count, 0);
    row("time", `${seconds.toFixed(1)} s`);
    row("calls", `${sum}`, ours.map(([call, count]) => `${count} ${call}`).join(", "));
    row(
      "minimum",
      "115",
      "2 writes of the Lease, 1 patch, 1 watch of pods that begins with them, 110 evictions, 1 list of volumes",
    );
  }
}
