/**
 * Workloads of real controllers, for tests on a cluster with kwok in place of kubelets.
 *
 * @module
 */

import { pod } from "./cluster_objects.ts";
import { until } from "./condition.ts";
import type { ControlPlane } from "./control_plane.ts";

/** Waits until all nodes accept pods. A new node is tainted until the controllers have processed it. */
export async function awaitUntainted(plane: ControlPlane): Promise<void> {
  await until(async () => {
    const { items } = await plane.request("GET", "/api/v1/nodes");
    return items.every(({ spec }: { spec: { taints?: unknown[] } }) => !spec.taints?.length);
  }, { timeoutMs: 60_000, what: "the nodes take pods" });
}

/** Makes a Deployment, StatefulSet or DaemonSet of pods with the label `app`. */
export async function createWorkload(
  plane: ControlPlane,
  namespace: string,
  kind: "deployments" | "statefulsets" | "daemonsets",
  app: string,
  spec: object,
): Promise<void> {
  const template = pod({ name: app, namespace: "" });
  await plane.request("POST", `/apis/apps/v1/namespaces/${namespace}/${kind}`, {
    metadata: { name: app },
    spec: {
      selector: { matchLabels: { app } },
      // The pods must not tolerate everything, so that a cordoned node gets no new pod.
      template: { metadata: { labels: { app } }, spec: { ...template.spec, tolerations: undefined } },
      ...spec,
    },
  });
}

/** The pods with the label `app`. */
// deno-lint-ignore no-explicit-any
export async function podsOf(plane: ControlPlane, namespace: string, app: string): Promise<any[]> {
  const { items } = await plane.request("GET", `/api/v1/namespaces/${namespace}/pods?labelSelector=app=${app}`);
  return items;
}

/** How many pods with the label `app` are ready and not terminating. */
export async function readyOf(plane: ControlPlane, namespace: string, app: string): Promise<number> {
  // deno-lint-ignore no-explicit-any
  const isReady = (one: any) =>
    !one.metadata.deletionTimestamp &&
    // deno-lint-ignore no-explicit-any
    one.status.conditions?.some((each: any) => each.type === "Ready" && each.status === "True");
  return (await podsOf(plane, namespace, app)).filter(isReady).length;
}

/** Waits until so many pods of each app are ready. */
export async function awaitReady(plane: ControlPlane, namespace: string, apps: Record<string, number>): Promise<void> {
  await until(async () => {
    for (const [app, count] of Object.entries(apps)) {
      if (await readyOf(plane, namespace, app) !== count) return false;
    }
    return true;
  }, { timeoutMs: 120_000, what: `ready: ${JSON.stringify(apps)}` });
}
