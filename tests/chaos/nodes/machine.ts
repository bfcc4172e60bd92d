/**
 * A machine with its kubelet: it registers its Node, renews its Lease, runs and
 * ends the pods that are bound to it, and reboots. Time is scaled: what takes a
 * real machine minutes takes it seconds.
 *
 * As a kubelet does, it keeps its Node as it is while it is down, and reports
 * the new bootID and Ready in one patch when it is back.
 *
 * @module
 */

import { systemClock } from "../../../src/lock/clock.ts";
import type { Random } from "../../../src/simulator/random.ts";
import type { ControlPlane } from "../../support/control_plane.ts";
import type { History } from "./history.ts";

/** How long a pod takes to stop, in milliseconds, as an annotation of the pod. */
export const STOP_ANNOTATION = "chaos/stop-ms";

/** How often a kubelet renews its Lease, in milliseconds; a real one does every 10 s. */
const HEARTBEAT_MS = 2_000;

/** How often a kubelet looks at its pods, in milliseconds. */
const SYNC_MS = 150;

const MERGE = "application/merge-patch+json";
const STRATEGIC = "application/strategic-merge-patch+json";

/** How a machine is identified. */
export interface MachineIdentity {
  readonly name: string;
  readonly machineId: string;
  /** The id that its agent sends. */
  readonly id: string;
  /** Whether only an annotation on the Node tells the id. */
  readonly isNamed: boolean;
}

/** See the module. */
export class Machine {
  readonly identity: MachineIdentity;
  /** The bootID of the running system. */
  bootId: string;
  /** Whether the kubelet runs. */
  isUp = false;
  /** Whether the whole machine is down for a reboot. */
  isDown = false;
  /** Whether its Node says the machine-id. An administrator may have broken it. */
  reportsMachineId = true;
  readonly #plane: ControlPlane;
  readonly #history: History;
  readonly #random: Random;
  readonly #stopping = new Map<string, number>();
  readonly #started = new Set<string>();
  readonly #stopMs = new Map<string, number>();

  constructor(plane: ControlPlane, history: History, random: Random, identity: MachineIdentity) {
    this.#plane = plane;
    this.#history = history;
    this.#random = random;
    this.identity = identity;
    this.bootId = random.hex(32);
  }

  get #path(): string {
    return `/api/v1/nodes/${this.identity.name}`;
  }

  /** Runs the kubelet until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    let beat = 0;
    while (!signal.aborted) {
      if (this.isUp) {
        if (Date.now() - beat >= HEARTBEAT_MS) {
          beat = Date.now();
          await this.renewLease();
        }
        await this.#syncPods();
      }
      await systemClock.sleep(SYNC_MS, signal).catch(() => {});
    }
  }

  /** Registers the Node, or reports on the one that is there, as a kubelet that starts. */
  async register(): Promise<void> {
    const { name, id, isNamed } = this.identity;
    this.isUp = true;
    for (;;) {
      const known = await this.#plane.request("PATCH", `${this.#path}/status`, { status: this.#status() }, STRATEGIC)
        .then(() => true, presence);
      if (known === true) return;
      const metadata = {
        name,
        labels: { "kubernetes.io/hostname": name },
        ...(isNamed && { annotations: { "fleetlock.internal/id": id } }),
      };
      const made = await this.#plane.request("POST", "/api/v1/nodes", { metadata, status: this.#status() })
        .then(() => true, () => false);
      if (made) return;
    }
  }

  /** Sets the condition Ready as the node controller or the kubelet does. */
  async setReady(status: "True" | "Unknown"): Promise<void> {
    await this.#plane.request("PATCH", `${this.#path}/status`, { status: this.#status(status) }, STRATEGIC)
      .catch(presence);
  }

  /**
   * Goes down.
   *
   * @param downMs How long, in milliseconds.
   */
  async goDown(downMs: number): Promise<void> {
    this.isUp = false;
    this.isDown = true;
    await systemClock.sleep(downMs);
    this.isDown = false;
    this.bootId = this.#random.hex(32);
    this.#stopping.clear();
  }

  /** Renews the kubelet's Lease, if the API server answers. */
  async renewLease(): Promise<void> {
    const { name } = this.identity;
    const leases = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
    const renewTime = new Date().toISOString().replace("Z", "000Z");
    const spec = { holderIdentity: name, leaseDurationSeconds: 40, renewTime };
    const known = await this.#plane.request("PATCH", `${leases}/${name}`, { spec }, MERGE).then(() => true, presence);
    if (known !== true) await this.#plane.request("POST", leases, { metadata: { name }, spec }).catch(() => {});
  }

  #status(ready = "True"): unknown {
    const { machineId, isNamed } = this.identity;
    const now = new Date().toISOString();
    const condition = {
      type: "Ready",
      status: ready,
      reason: "Chaos",
      lastHeartbeatTime: now,
      lastTransitionTime: now,
    };
    return {
      nodeInfo: { machineID: this.reportsMachineId && !isNamed ? machineId : "", bootID: this.bootId },
      conditions: [condition],
      allocatable: { cpu: "32", memory: "64Gi", pods: "200" },
      capacity: { cpu: "32", memory: "64Gi", pods: "200" },
    };
  }

  /** Starts pods that are new and ends those that have stopped. */
  async #syncPods(): Promise<void> {
    const calls: Promise<unknown>[] = [];
    for (const uid of this.#history.boundTo(this.identity.name)) {
      const pod = this.#history.pods.now(uid);
      if (pod === undefined || pod.isMirror) continue;
      const path = `/api/v1/namespaces/${pod.namespace}/pods/${pod.name}`;
      if (pod.deletionAt !== undefined) {
        const until = this.#stopping.get(uid) ?? Date.now() + (this.#stopMs.get(uid) ?? 300);
        this.#stopping.set(uid, until);
        if (Date.now() < until || !this.isUp) continue;
        const options = { gracePeriodSeconds: 0, preconditions: { uid } };
        calls.push(this.#plane.request("DELETE", path, options).catch(() => {}));
      } else if (!this.#started.has(uid) && !pod.isFinished) {
        this.#started.add(uid);
        calls.push(this.#startPod(path, uid));
      }
    }
    await Promise.all(calls);
  }

  async #startPod(path: string, uid: string): Promise<void> {
    const status = { phase: "Running", conditions: [{ type: "Ready", status: "True" }] };
    try {
      const pod = await this.#plane.request("PATCH", `${path}/status`, { metadata: { uid }, status }, STRATEGIC);
      this.#stopMs.set(uid, Number(pod.metadata.annotations?.[STOP_ANNOTATION] ?? 300));
    } catch (error) {
      if (presence(error) !== false) this.#started.delete(uid);
    }
  }
}

/** What a failed call says of its object: false if it is absent or another one, undefined if that is not known. */
function presence(error: unknown): false | undefined {
  return /: (404|409) /.test(String(error)) ? false : undefined;
}
