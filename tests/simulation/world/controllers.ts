/**
 * The controllers and the scheduler: they put pods back, bind them to nodes, detach volumes, finish finalizers, and
 * remove the pods of Nodes that are gone. Each acts a while after what it sees.
 *
 * @module
 */

import type { Random } from "../../../src/simulator/random.ts";
import type { Scheduler } from "../engine/scheduler.ts";
import { ifPossible, keyOf, type Machine } from "./machine.ts";
import type { Stored } from "./objects.ts";
import type { Change, Store } from "./store.ts";

/** A workload: a controller and its pods. */
export interface Workload {
  readonly name: string;
  readonly kind: "ReplicaSet" | "StatefulSet" | "DaemonSet";
  readonly replicas: number;
  /** Whether its pods tolerate a cordon. */
  readonly tolerates: boolean;
  /** The node that its template names, past the scheduler; undefined for none. */
  readonly pinnedTo?: string;
  /** How long its pods take to stop, in milliseconds. */
  readonly stopMs: number;
  /** Whether a finalizer keeps its pods for a while after their deletion. */
  readonly hasFinalizer?: boolean;
  /** Whether its pods use a volume. */
  readonly hasVolume?: boolean;
}

/** What controllers work on. */
export interface ControllersOptions {
  readonly scheduler: Scheduler;
  readonly store: Store;
  readonly random: Random;
  readonly workloads: readonly Workload[];
  /** The machines, whose kubelets are told of pods. */
  readonly machines: readonly Machine[];
  /** Whether some volumes stay attached for good. */
  readonly volumesStay: boolean;
}

const NAMESPACE = "apps";
const CORDON_TOLERATION = { key: "node.kubernetes.io/unschedulable", operator: "Exists", effect: "NoSchedule" };

/** See the module. */
export class Controllers {
  /** How far the scheduler is behind at most, in milliseconds. */
  behindMs = 1_500;
  /** Whether pods are no longer put on a Node by a name that no machine has. */
  givesUpLostPins = false;
  readonly #options: ControllersOptions;
  readonly #due = new Set<string>();
  #serial = 0;

  /** Makes them. The caller tells them of the changes of the store by {@link changed}. */
  constructor(options: ControllersOptions) {
    this.#options = options;
  }

  /** Creates the first pods. */
  begin(): void {
    for (const workload of this.#options.workloads) this.#reconcile(workload);
  }

  /** Takes a change of the store. */
  changed({ type, kind, object, key }: Change): void {
    if (kind.plural === "pods") this.#podChanged(type, object, key);
    if (kind.plural !== "nodes") return;
    if (type === "DELETED") this.#nodeGone(object.metadata.name);
    for (const workload of this.#options.workloads) {
      if (workload.kind === "DaemonSet" && type !== "MODIFIED") this.#reconcileLater(workload);
    }
    for (const pod of this.#options.store.all("pods")) if (!pod.spec.nodeName) this.#schedule(pod);
  }

  #podChanged(type: Change["type"], pod: Stored, key: string): void {
    const { scheduler, random, store, machines, workloads, volumesStay } = this.#options;
    const workload = workloads.find((one) => one.name === pod.metadata.labels?.app);
    const { nodeName } = pod.spec;
    if (type !== "DELETED") {
      if (nodeName === undefined) this.#schedule(pod);
      else {
        machines.find(({ name }) => name === nodeName)?.podChanged(pod);
        if (workload?.hasVolume) this.#attach(pod);
        if (!store.get("nodes", nodeName)) this.#collectLater(pod);
      }
      if (pod.metadata.deletionTimestamp && pod.metadata.finalizers?.length > 0) {
        scheduler.after(random.between(500, 30_000), () =>
          ifPossible(() =>
            store.update("pods", key, (now) => {
              if (now.metadata.uid !== pod.metadata.uid) return now;
              return { ...now, metadata: { ...now.metadata, finalizers: [] } };
            })
          ));
      }
    } else if (workload?.hasVolume && nodeName !== undefined && !(volumesStay && random.chance(0.3))) {
      const name = `${pod.metadata.name}-${pod.metadata.uid.slice(0, 8)}`;
      scheduler.after(random.between(500, 15_000), () => ifPossible(() => store.delete("volumeattachments", name)));
    }
    if (workload !== undefined && (type === "DELETED" || pod.metadata.deletionTimestamp)) {
      this.#reconcileLater(workload);
    }
  }

  #reconcileLater(workload: Workload): void {
    if (this.#due.has(workload.name)) return;
    this.#due.add(workload.name);
    this.#options.scheduler.after(this.#options.random.between(20, 1_500), () => {
      this.#due.delete(workload.name);
      this.#reconcile(workload);
    });
  }

  #reconcile(workload: Workload): void {
    const { store, random, machines } = this.#options;
    const { pinnedTo } = workload;
    if (this.givesUpLostPins && pinnedTo !== undefined && !machines.some(({ name }) => name === pinnedTo)) return;
    const pods = [...store.all("pods")].filter((pod) => pod.metadata.labels?.app === workload.name);
    switch (workload.kind) {
      case "ReplicaSet": {
        const active = pods.filter((pod) => !pod.metadata.deletionTimestamp);
        for (let count = active.length; count < workload.replicas; count++) {
          this.#create(workload, `${workload.name}-${random.hex(5)}`, workload.pinnedTo);
        }
        break;
      }
      case "StatefulSet": {
        const names = new Set(pods.map((pod) => pod.metadata.name));
        for (let ordinal = 0; ordinal < workload.replicas; ordinal++) {
          const name = `${workload.name}-${ordinal}`;
          if (!names.has(name)) this.#create(workload, name, workload.pinnedTo);
        }
        break;
      }
      case "DaemonSet":
        for (const { metadata: { name } } of store.all("nodes")) {
          if (!pods.some((pod) => pod.spec.nodeName === name && !pod.metadata.deletionTimestamp)) {
            this.#create(workload, `${workload.name}-${random.hex(5)}`, name);
          }
        }
    }
  }

  #create(workload: Workload, name: string, nodeName?: string): void {
    const { store } = this.#options;
    const { kind, tolerates, stopMs, hasFinalizer, hasVolume } = workload;
    const owner = {
      apiVersion: "apps/v1",
      kind,
      name: workload.name,
      uid: `uid-of-${workload.name}`,
      controller: true,
    };
    const volumes = hasVolume ? [{ name: "data", persistentVolumeClaim: { claimName: `${name}-data` } }] : [];
    const pod = ifPossible(() =>
      store.create("pods", {
        metadata: {
          namespace: NAMESPACE,
          name,
          labels: { app: workload.name },
          annotations: { "sim/stop-ms": `${stopMs}` },
          ownerReferences: [owner],
          ...(hasFinalizer && { finalizers: ["sim/hold"] }),
        },
        spec: {
          ...(nodeName && { nodeName }),
          ...((tolerates || kind === "DaemonSet") && { tolerations: [CORDON_TOLERATION] }),
          ...(volumes.length > 0 && { volumes }),
          containers: [{ name: "main", image: "sim" }],
        },
        status: { phase: "Pending" },
      })
    );
    if (pod !== undefined) this.#serial++;
  }

  /** Binds a pod to a node that takes it, as the scheduler saw it a while ago. */
  #schedule(pod: Stored): void {
    const { scheduler, random, store } = this.#options;
    const key = keyOf(pod);
    if (this.#due.has(key)) return;
    const tolerates = pod.spec.tolerations !== undefined;
    const fits = [...store.all("nodes")].filter((node) => {
      return node.status?.conditions?.[0]?.status === "True" && (tolerates || !node.spec?.unschedulable);
    }).map((node) => node.metadata.name).sort();
    if (fits.length === 0) return;
    this.#due.add(key);
    const nodeName = random.pick(fits);
    scheduler.after(random.between(20, this.behindMs), () => {
      this.#due.delete(key);
      const now = store.get("pods", key);
      if (now === undefined || now.spec.nodeName || now.metadata.deletionTimestamp) return;
      if (store.get("nodes", nodeName) === undefined || now.metadata.uid !== pod.metadata.uid) {
        this.#schedule(now);
        return;
      }
      const lastTransitionTime = `${new Date(scheduler.now).toISOString().slice(0, 19)}Z`;
      const conditions = [{ type: "PodScheduled", status: "True", lastTransitionTime }];
      store.update("pods", key, (known) => ({
        ...known,
        spec: { ...known.spec, nodeName },
        status: { ...known.status, conditions },
      }));
    });
  }

  #attach(pod: Stored): void {
    const { store } = this.#options;
    const name = `${pod.metadata.name}-${pod.metadata.uid.slice(0, 8)}`;
    const claim = `${pod.metadata.name}-data`;
    if (store.get("volumeattachments", name) !== undefined) return;
    if (store.get("persistentvolumeclaims", `${NAMESPACE}/${claim}`) === undefined) {
      store.create("persistentvolumeclaims", {
        metadata: { namespace: NAMESPACE, name: claim },
        spec: { volumeName: `pv-${claim}` },
      });
    }
    store.create("volumeattachments", {
      metadata: { name },
      spec: { attacher: "sim", nodeName: pod.spec.nodeName, source: { persistentVolumeName: `pv-${claim}` } },
      status: { attached: true },
    });
  }

  #nodeGone(name: string): void {
    for (const pod of this.#options.store.all("pods")) if (pod.spec.nodeName === name) this.#collectLater(pod);
  }

  /** Removes a pod whose Node has been gone for a while. */
  #collectLater(pod: Stored): void {
    const { scheduler, random, store } = this.#options;
    const uid = pod.metadata.uid;
    scheduler.after(random.between(20_000, 90_000), () => {
      if (store.get("nodes", pod.spec.nodeName) !== undefined) return;
      ifPossible(() =>
        store.update("pods", keyOf(pod), (now) => {
          return now.metadata.uid === uid ? { ...now, metadata: { ...now.metadata, finalizers: [] } } : now;
        })
      );
      ifPossible(() => store.delete("pods", keyOf(pod), { uid }));
    });
  }
}
