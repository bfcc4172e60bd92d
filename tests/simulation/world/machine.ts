/**
 * A machine with its kubelet: it registers its Node, renews its Lease, runs the pods that are bound to it and ends
 * those that are deleted, and reboots. While it is down, its Node stays as it is until the node controller notices.
 *
 * @module
 */

import type { Random } from "../../../src/simulator/random.ts";
import { zincatiId } from "../../../src/keeper/nodes/zincati_id.ts";
import type { Scheduler } from "../engine/scheduler.ts";
import type { Stored } from "./objects.ts";
import { ApiStatus } from "./status.ts";
import type { Store } from "./store.ts";

/** How often a kubelet renews its Lease, in milliseconds. */
const RENEWAL_MS = 10_000;

/** What machines share. */
export interface MachineOptions {
  readonly scheduler: Scheduler;
  readonly store: Store;
  readonly random: Random;
  /** Told what happens, for people. */
  note(about: string, text: string): void;
}

/** See the module. */
export class Machine {
  /** The name under which its kubelet registers. */
  name: string;
  /** Its machine-id. */
  machineId: string;
  /** Whether only an annotation on the Node tells its id. */
  readonly isNamed: boolean;
  /** The id that its agent sends. */
  readonly id: string;
  /** The bootID of the running system. */
  bootId: string;
  /** Whether its kubelet runs. */
  isKubeletUp = false;
  /** Whether the whole machine is down. */
  isDown = false;
  /** Whether its kubelet has reported since the machine last came up. */
  isBack = true;
  /** Whether pods take far longer to end. */
  isSlow = false;
  readonly #options: MachineOptions;
  readonly #phaseMs: number;
  #upAt = 0;
  #lastRenewal: number | undefined;
  #epoch = 0;

  /** Makes one whose kubelet does not run yet. */
  constructor(name: string, isNamed: boolean, options: MachineOptions) {
    const { random } = options;
    this.name = name;
    this.isNamed = isNamed;
    this.#options = options;
    this.machineId = random.hex(32);
    this.bootId = random.hex(32);
    this.id = isNamed ? random.hex(32) : zincatiId(this.machineId)!;
    this.#phaseMs = random.between(0, RENEWAL_MS);
  }

  /** When its kubelet last renewed its Lease, in milliseconds since the epoch. */
  get renewal(): number | undefined {
    if (!this.isKubeletUp) return this.#lastRenewal;
    const { now } = this.#options.scheduler;
    const beat = Math.floor((now - this.#phaseMs) / RENEWAL_MS) * RENEWAL_MS + this.#phaseMs;
    return Math.max(this.#upAt, beat);
  }

  /** Its Node; undefined where there is none. */
  get node(): Stored | undefined {
    return this.#options.store.get("nodes", this.name);
  }

  /** Starts its kubelet, which registers the Node or reports on the one that is there. */
  startKubelet(): void {
    if (this.isKubeletUp) return;
    const { scheduler, random } = this.#options;
    this.isKubeletUp = true;
    this.#epoch++;
    this.#upAt = scheduler.now;
    const epoch = this.#epoch;
    scheduler.after(random.between(100, 2_500), () => {
      if (this.#epoch === epoch) this.report();
    });
    for (const pod of this.#pods()) this.podChanged(pod);
  }

  /** Stops its kubelet. The node controller notices after a while. */
  stopKubelet(): void {
    if (!this.isKubeletUp) return;
    const { scheduler, random, store } = this.#options;
    this.#lastRenewal = this.renewal;
    this.isKubeletUp = false;
    const epoch = ++this.#epoch;
    const { name } = this;
    scheduler.after(random.between(40_000, 50_000), () => {
      const isRunningAgain = this.#epoch !== epoch && this.name === name;
      if (isRunningAgain || store.get("nodes", name) === undefined) return;
      this.#options.note(name, "the node controller sets Ready to Unknown");
      store.update("nodes", name, (node) => withReady(node, "Unknown", scheduler.now));
    });
  }

  /** Reports to the API server as a kubelet that starts: the bootID and Ready in one write. */
  report(): void {
    const { store, scheduler } = this.#options;
    this.isBack = true;
    const nodeInfo = { machineID: this.isNamed ? "" : this.machineId, bootID: this.bootId };
    if (this.node === undefined) {
      store.create("nodes", {
        metadata: {
          name: this.name,
          labels: { "kubernetes.io/hostname": this.name },
          ...(this.isNamed && { annotations: { "fleetlock.internal/id": this.id } }),
        },
        spec: {},
        status: { nodeInfo, conditions: [readyCondition("True", scheduler.now)] },
      });
      return;
    }
    store.update("nodes", this.name, (node) => {
      return withReady({ ...node, status: { ...node.status, nodeInfo } }, "True", scheduler.now);
    });
  }

  /** Reports that its Node is as before, as a kubelet that runs does from time to time. */
  beat(): void {
    const { store, scheduler } = this.#options;
    if (!this.isKubeletUp || !this.isBack || this.node === undefined) return;
    const lastHeartbeatTime = new Date(scheduler.now).toISOString();
    store.update("nodes", this.name, (node) => {
      const [ready] = node.status.conditions;
      return { ...node, status: { ...node.status, conditions: [{ ...ready, lastHeartbeatTime }] } };
    });
  }

  /** Goes down, and comes up again with another bootID; its kubelet is started by the caller. */
  goDown(): void {
    this.stopKubelet();
    this.isDown = true;
    this.isBack = false;
  }

  /** Comes up again. */
  comeUp(): void {
    this.isDown = false;
    this.bootId = this.#options.random.hex(32);
  }

  /** Takes a new or changed pod of its Node: starts it, or ends it after a while. */
  podChanged(pod: Stored): void {
    if (!this.isKubeletUp || pod.spec.nodeName !== this.name) return;
    const { scheduler, random } = this.#options;
    const epoch = this.#epoch;
    const { uid } = pod.metadata;
    if (pod.metadata.deletionTimestamp) {
      if (pod.metadata.finalizers?.length > 0) return;
      const stopMs = Number(pod.metadata.annotations?.["sim/stop-ms"] ?? 1_000);
      scheduler.after(this.isSlow ? stopMs * 10 : stopMs, () => {
        if (this.#epoch === epoch) this.#end(pod, uid);
      });
    } else if (pod.status?.phase === "Pending") {
      scheduler.after(random.between(200, 3_000), () => {
        if (this.#epoch === epoch) this.#run(pod, uid);
      });
    }
  }

  #end(pod: Stored, uid: string): void {
    const { store } = this.#options;
    const now = store.get("pods", keyOf(pod));
    if (now?.metadata.uid !== uid || now.metadata.finalizers?.length > 0) return;
    store.delete("pods", keyOf(pod), { uid });
  }

  #run(pod: Stored, uid: string): void {
    const { store } = this.#options;
    const now = store.get("pods", keyOf(pod));
    if (now?.metadata.uid !== uid || now.status.phase !== "Pending" || now.metadata.deletionTimestamp) return;
    store.update("pods", keyOf(pod), (known) => ({ ...known, status: { ...known.status, phase: "Running" } }));
  }

  #pods(): Stored[] {
    return [...this.#options.store.all("pods")].filter((pod) => pod.spec.nodeName === this.name);
  }
}

/** The key of a pod. */
export function keyOf(pod: Stored): string {
  return `${pod.metadata.namespace}/${pod.metadata.name}`;
}

/** Sets the condition Ready of a Node. */
export function withReady(node: Stored, status: string, now: number): Stored {
  return { ...node, status: { ...node.status, conditions: [readyCondition(status, now)] } };
}

function readyCondition(status: string, now: number): Stored {
  const lastTransitionTime = `${new Date(now).toISOString().slice(0, 19)}Z`;
  return {
    type: "Ready",
    status,
    reason: status === "True" ? "KubeletReady" : "NodeStatusUnknown",
    lastTransitionTime,
  };
}

/** Does something that others may have made impossible. */
export function ifPossible<T>(act: () => T): T | undefined {
  try {
    return act();
  } catch (error) {
    if (error instanceof ApiStatus) return undefined;
    throw error;
  }
}
