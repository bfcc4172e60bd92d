/**
 * Builders of Kubernetes objects for tests. A test sets only the fields that it is about.
 *
 * @module
 */

import { zincatiId } from "../../src/keeper/nodes/zincati_id.ts";
import type { ControlPlane } from "./control_plane.ts";

/** What a test may say about a pod. */
export interface PodSpec {
  readonly name: string;
  readonly namespace: string;
  readonly node?: string;
  readonly labels?: Record<string, string>;
  readonly annotations?: Record<string, string>;
  /** The kind and name of its controller, and the controller's UID. */
  readonly owner?: { readonly apiVersion: string; readonly kind: string; readonly name: string; readonly uid: string };
  readonly finalizers?: string[];
  readonly emptyDir?: boolean;
  /** The PersistentVolumeClaim of its volume. */
  readonly claim?: string;
  readonly graceSeconds?: number;
  /** Whether it tolerates every taint, that of a cordon included. @default {false} */
  readonly toleratesAll?: boolean;
}

/** Builds a pod that no taint drives away and that requests no resources. */
// deno-lint-ignore no-explicit-any
export function pod(spec: PodSpec): any {
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: {
      name: spec.name,
      namespace: spec.namespace,
      labels: spec.labels,
      annotations: spec.annotations,
      finalizers: spec.finalizers,
      ...(spec.owner && { ownerReferences: [{ ...spec.owner, controller: true }] }),
    },
    spec: {
      ...(spec.node && { nodeName: spec.node }),
      containers: [{ name: "main", image: "none" }],
      terminationGracePeriodSeconds: spec.graceSeconds ?? 1,
      tolerations: [{ operator: "Exists", ...(!spec.toleratesAll && { effect: "NoExecute" }) }],
      volumes: [
        ...(spec.emptyDir ? [{ name: "scratch", emptyDir: {} }] : []),
        ...(spec.claim ? [{ name: "data", persistentVolumeClaim: { claimName: spec.claim } }] : []),
      ],
    },
  };
}

/** A node with its client. */
export interface TestNode {
  readonly name: string;
  readonly uid: string;
  /** The id that its update agent sends. */
  readonly id: string;
  readonly machineId: string;
}

/** Makes a ready Node with a machine-id of its own. */
export async function createNode(
  plane: ControlPlane,
  options: {
    name?: string;
    machineId?: string;
    bootId?: string;
    osImage?: string;
    annotations?: Record<string, string>;
    labels?: Record<string, string>;
    ready?: string;
  } = {},
): Promise<TestNode> {
  const machineId = options.machineId ?? crypto.randomUUID().replaceAll("-", "");
  const name = options.name ?? `node-${crypto.randomUUID().slice(0, 8)}`;
  // In one call with the status, as a kubelet registers, so that kwok does not fill in a status of its own.
  const { metadata } = await plane.request("POST", "/api/v1/nodes", {
    metadata: { name, annotations: options.annotations, labels: { "kubernetes.io/hostname": name, ...options.labels } },
    status: nodeStatus({
      machineId,
      bootId: options.bootId ?? "boot-1",
      osImage: options.osImage,
      ready: options.ready ?? "True",
    }),
  });
  return { name, uid: metadata.uid, id: zincatiId(machineId) ?? "", machineId };
}

/** Changes a node's status, as its kubelet would. */
export async function setNodeStatus(
  plane: ControlPlane,
  name: string,
  status: KubeletStatus,
): Promise<void> {
  const path = `/api/v1/nodes/${name}/status`;
  await plane.request("PATCH", path, { status: nodeStatus(status) }, "application/strategic-merge-patch+json");
}

/** What a kubelet reports. */
interface KubeletStatus {
  readonly machineId?: string;
  readonly bootId?: string;
  readonly osImage?: string;
  readonly ready?: string;
}

function nodeStatus(status: KubeletStatus): unknown {
  const now = new Date().toISOString();
  const ready = {
    type: "Ready",
    reason: "Test",
    message: "said the test",
    lastHeartbeatTime: now,
    lastTransitionTime: now,
  };
  return {
    nodeInfo: {
      ...(status.machineId !== undefined && { machineID: status.machineId }),
      ...(status.bootId !== undefined && { bootID: status.bootId }),
      ...(status.osImage !== undefined && { osImage: status.osImage }),
    },
    ...(status.ready !== undefined && { conditions: [{ ...ready, status: status.ready }] }),
    allocatable: { cpu: "32", memory: "64Gi", pods: "200" },
    capacity: { cpu: "32", memory: "64Gi", pods: "200" },
  };
}

/** Makes a pod with a status as its kubelet would report it: running and ready, unless `phase` says otherwise. */
// deno-lint-ignore no-explicit-any
export async function createPod(plane: ControlPlane, spec: PodSpec, phase = "Running"): Promise<any> {
  await plane.request("POST", `/api/v1/namespaces/${spec.namespace}/pods`, pod(spec));
  return await plane.request("PATCH", `/api/v1/namespaces/${spec.namespace}/pods/${spec.name}/status`, {
    status: { phase, conditions: [{ type: "Ready", status: phase === "Running" ? "True" : "False" }] },
  }, "application/strategic-merge-patch+json");
}

/** Makes a disruption budget. Without the controller of budgets, it allows as many disruptions as the test says. */
export async function createBudget(
  plane: ControlPlane,
  namespace: string,
  name: string,
  labels: Record<string, string>,
  allowed: number,
): Promise<void> {
  const path = `/apis/policy/v1/namespaces/${namespace}/poddisruptionbudgets`;
  await plane.request("POST", path, {
    metadata: { name },
    spec: { maxUnavailable: 1, selector: { matchLabels: labels } },
  });
  await allowDisruptions(plane, namespace, name, allowed);
}

/**
 * Sets how many disruptions a budget allows now; by default more than a test has pods. An eviction whose caller goes
 * away or times out may use up one and leave its pod, and no controller gives it back here.
 */
export async function allowDisruptions(
  plane: ControlPlane,
  namespace: string,
  name: string,
  allowed = 100,
): Promise<void> {
  const path = `/apis/policy/v1/namespaces/${namespace}/poddisruptionbudgets/${name}`;
  const budget = await plane.request("GET", path);
  budget.status = {
    observedGeneration: budget.metadata.generation,
    disruptionsAllowed: allowed,
    currentHealthy: 2,
    desiredHealthy: 2 - Math.min(allowed, 1),
    expectedPods: 2,
  };
  await plane.request("PUT", `${path}/status`, budget);
}

/** Ends a pod at once, as its kubelet does when its containers have terminated. */
export async function endPod(plane: ControlPlane, namespace: string, name: string): Promise<void> {
  await plane.request("DELETE", `/api/v1/namespaces/${namespace}/pods/${name}`, { gracePeriodSeconds: 0 });
}

/** The pods on a node, by name. */
// deno-lint-ignore no-explicit-any
export async function podsOn(plane: ControlPlane, node: string): Promise<Map<string, any>> {
  const list = await plane.request("GET", `/api/v1/pods?fieldSelector=spec.nodeName=${node}`);
  // deno-lint-ignore no-explicit-any
  return new Map(list.items.map((one: any) => [one.metadata.name, one]));
}
