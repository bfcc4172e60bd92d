/**
 * The pods of a fault run: under a budget, slow to stop, put back at once on a
 * cordoned node, without a controller, of a DaemonSet, finished, and mirror pods.
 *
 * @module
 */

import { pod } from "../../support/cluster_objects.ts";
import { systemClock } from "../../../src/lock/clock.ts";
import type { ControlPlane } from "../../support/control_plane.ts";
import { createWorkload } from "../../support/workloads.ts";
import type { History } from "./history.ts";
import { STOP_ANNOTATION } from "./machine.ts";

/** Pods that a controller puts back on a cordoned node at once, which a run can leave out. */
export const PUT_BACK: readonly string[] = ["pinned pods", "custom daemon"];

const SLOW_STOP_MS = 3_000;
const GRACE_S = 4;
const EVERYTHING = [{ operator: "Exists" }];
const MERGE = "application/merge-patch+json";

/** The workloads of a run. */
export class Workloads {
  readonly namespace: string;
  readonly #plane: ControlPlane;
  readonly #history: History;
  readonly #nodes: readonly string[];
  readonly #without: readonly string[];
  #serial = 0;

  /**
   * Creates nothing yet.
   *
   * @param without {@link PUT_BACK} pods that are left out.
   */
  constructor(
    plane: ControlPlane,
    history: History,
    namespace: string,
    nodes: readonly string[],
    without: readonly string[],
  ) {
    this.#without = without;
    this.#plane = plane;
    this.#history = history;
    this.namespace = namespace;
    this.#nodes = nodes;
  }

  /** Creates everything that controllers run. */
  async create(): Promise<void> {
    const { length } = this.#nodes;
    await this.#deployment("web", { replicas: length });
    await this.#deployment("slow", { replicas: Math.ceil(length / 3) }, SLOW_STOP_MS);
    await this.#deployment("tolerant", { replicas: Math.ceil(length / 4) }, 300, { tolerations: EVERYTHING });
    // Its pods can run on this node alone, cordoned or not.
    const isPinned = !this.#without.includes("pinned pods");
    const nodeSelector = { "kubernetes.io/hostname": this.#nodes[0] };
    if (isPinned) await this.#deployment("pinned", { replicas: 1 }, 300, { tolerations: EVERYTHING, nodeSelector });
    await createWorkload(this.#plane, this.namespace, "daemonsets", "agent", {});
    await this.#plane.request("POST", `/apis/policy/v1/namespaces/${this.namespace}/poddisruptionbudgets`, {
      metadata: { name: "web" },
      spec: { maxUnavailable: 2, selector: { matchLabels: { app: "web" } } },
    });
    for (const node of this.#nodes.slice(0, 3)) {
      await this.#pod("mirror", node, { annotations: { "kubernetes.io/config.mirror": "x" } });
    }
    const finished = await this.#pod("finished", this.#nodes[1]!, {});
    await this.#plane.request("PATCH", `${this.#pods}/${finished}/status`, { status: { phase: "Succeeded" } }, MERGE);
  }

  /** Runs what is in the place of custom controllers until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    const owner = await this.#plane.request("POST", `/api/v1/namespaces/${this.namespace}/configmaps`, {
      metadata: { name: "custom-daemon" },
    });
    const { name, uid } = owner.metadata;
    const ownerReferences = [{ apiVersion: "v1", kind: "ConfigMap", name, uid, controller: true }];
    while (!signal.aborted) {
      // A daemon controller of its own kind binds pods past the scheduler, whatever the cordon says.
      for (const node of this.#without.includes("custom daemon") ? [] : this.#nodes.slice(1, 3)) {
        if (!this.#has("custom", node)) await this.#pod("custom", node, { ownerReferences }).catch(() => {});
      }
      // A person starts a bare pod again where the node takes pods.
      const bare = this.#nodes[3 % this.#nodes.length]!;
      if (!this.#has("bare", bare) && this.#history.nodes.now(bare)?.unschedulable === false) {
        await this.#pod("bare", bare, {}).catch(() => {});
      }
      await systemClock.sleep(100, signal).catch(() => {});
    }
  }

  /** Sets how many pods the budget lets be unavailable. */
  async setBudget(maxUnavailable: number): Promise<void> {
    const path = `/apis/policy/v1/namespaces/${this.namespace}/poddisruptionbudgets/web`;
    await this.#plane.request("PATCH", path, { spec: { maxUnavailable } }, MERGE);
  }

  get #pods(): string {
    return `/api/v1/namespaces/${this.namespace}/pods`;
  }

  #has(prefix: string, node: string): boolean {
    return [...this.#history.boundTo(node)].some((uid) => {
      const fact = this.#history.pods.now(uid);
      return fact?.name.startsWith(`${prefix}-`) && fact.deletionAt === undefined;
    });
  }

  async #deployment(app: string, spec: object, stopMs = 300, podSpec: object = {}): Promise<void> {
    const base = pod({ name: app, namespace: "" });
    const template = {
      metadata: { labels: { app }, annotations: { [STOP_ANNOTATION]: String(stopMs) } },
      spec: { ...base.spec, tolerations: undefined, terminationGracePeriodSeconds: GRACE_S, ...podSpec },
    };
    await createWorkload(this.#plane, this.namespace, "deployments", app, { ...spec, template });
  }

  /** Makes a pod on a node. It returns its name. */
  async #pod(prefix: string, node: string, metadata: object): Promise<string> {
    const name = `${prefix}-${node}-${this.#serial++}`;
    const base = pod({ name, namespace: this.namespace, node });
    await this.#plane.request("POST", this.#pods, {
      ...base,
      metadata: { ...base.metadata, ...metadata },
      spec: { ...base.spec, tolerations: undefined, terminationGracePeriodSeconds: GRACE_S },
    });
    return name;
  }
}
