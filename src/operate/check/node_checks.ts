/**
 * Checks of what a drain meets: the ids of the Nodes, the disruption budgets, and
 * the pods. They change nothing.
 *
 * @module
 */

import { type PodPolicy, type PodView, refusedPods, viewPod } from "../../keeper/drain/pods.ts";
import { NodeCalls } from "../../keeper/nodes/node_calls.ts";
import type { NodeView } from "../../keeper/nodes/node.ts";
import type { KubernetesClient } from "../../kubernetes/client.ts";
import { ForbiddenError } from "../../kubernetes/errors.ts";
import { readPages } from "../../kubernetes/list_pages.ts";
import { type CheckPart, type CheckResult as Result, countOf, someOf } from "./check.ts";

/** Makes the checks. @param policy What a drain does about pods that some operators are careful with. */
export function nodeChecks(client: KubernetesClient, policy: PodPolicy, signal?: AbortSignal): CheckPart[] {
  return [
    {
      category: "nodes",
      name: "each node tells which host it is",
      hint: "grant get and list nodes",
      run: async () => checkNodes(await new NodeCalls(client).listNodes(() => true, signal)),
    },
    {
      category: "workloads",
      name: "no budget blocks every drain",
      hint: "grant list poddisruptionbudgets",
      run: () =>
        orSkipped("no budget blocks every drain", async () => {
          const path = "/apis/policy/v1/poddisruptionbudgets";
          return checkBudgets((await readPages(client, { path, limit: 250 }, (one) => one as Budget, signal)).items);
        }),
    },
    {
      category: "workloads",
      name: "a drain may evict every pod",
      hint: "grant list pods",
      run: async () => {
        const view = (object: unknown) => careful(viewPod(object as Parameters<typeof viewPod>[0]));
        const { items } = await readPages(client, { path: "/api/v1/pods", limit: 250 }, view, signal);
        return checkPods(items, policy);
      },
    },
  ];
}

async function orSkipped(name: string, run: () => Promise<Result[]>): Promise<Result[]> {
  try {
    return await run();
  } catch (error) {
    if (!(error instanceof ForbiddenError)) throw error;
    return [{ name, status: "skipped", detail: error.message, hint: "run the check with your own kubeconfig" }];
  }
}

/** Checks that each Node has an id of its own. Pure. */
export function checkNodes(nodes: readonly NodeView[]): Result[] {
  const name = "each node tells which host it is";
  const results: Result[] = [];
  const malformed = nodes.filter((node) => node.malformed).map((node) => node.name);
  if (malformed.length > 0) {
    results.push({
      name: "machine-ids are well formed",
      status: "failed",
      detail: someOf(malformed),
      hint: "their hosts reboot without a drain: write a machine-id of 32 hexadecimal digits, or annotate the node " +
        "with fleetlock.internal/id",
    });
  }
  const missing = nodes.filter((node) => node.ids.length === 0).map((node) => node.name);
  if (missing.length > 0) {
    const hint = "their hosts reboot without a drain: see whether their kubelets run";
    results.push({ name: "nodes have machine-ids", status: "warning", detail: someOf(missing), hint });
  }
  results.push(...sharedIds(nodes));
  return results.length > 0 ? results : [{ name, status: "ok", detail: countOf(nodes.length, "node") }];
}

function sharedIds(nodes: readonly NodeView[]): Result[] {
  const byId = Map.groupBy(nodes.flatMap((node) => node.ids.map((id) => ({ id, node }))), ({ id }) => id);
  const sets = new Map<string, readonly NodeView[]>();
  for (const shared of byId.values()) {
    const all = shared.map(({ node }) => node);
    if (all.length > 1) sets.set(all.map((node) => node.name).sort().join(", "), all);
  }
  return [...sets].map(([names, all]) => {
    // Beside a node that is ready, one that is not counts as left behind.
    const isAmbiguous = all.filter((node) => node.ready === "True").length !== 1;
    return {
      name: "no two nodes have the same id",
      status: isAmbiguous ? "failed" : "warning",
      detail: names,
      hint: isAmbiguous
        ? "their hosts get no slot: give each host a machine-id of its own (rm /etc/machine-id and reboot)"
        : "delete the node that is no longer there with kubectl delete node",
    };
  });
}

/** The part of a PodDisruptionBudget that the check is about. */
export interface Budget {
  /** Its name. */
  readonly metadata?: { readonly namespace?: string; readonly name?: string };
  /** What it asks for. */
  readonly spec?: {
    readonly maxUnavailable?: number | string;
    readonly minAvailable?: number | string;
    readonly unhealthyPodEvictionPolicy?: string;
  };
  /** What it covers. */
  readonly status?: { readonly expectedPods?: number; readonly desiredHealthy?: number };
}

/** Checks that no budget keeps its pods for ever. Pure. */
export function checkBudgets(budgets: readonly Budget[]): Result[] {
  const nameOf = ({ metadata }: Budget) => `${metadata?.namespace}/${metadata?.name}`;
  const never = budgets.filter(canNeverPass).map(nameOf);
  const strict = budgets.filter((one) => !canNeverPass(one) && one.spec?.unhealthyPodEvictionPolicy !== "AlwaysAllow");
  const results: Result[] = [];
  if (never.length > 0) {
    results.push({
      name: "no budget blocks every drain",
      status: "failed",
      detail: someOf(never),
      hint: "they allow no disruption at any time: raise maxUnavailable, lower minAvailable, or add a replica",
    });
  }
  if (strict.length > 0) {
    results.push({
      name: "budgets let pods go that are not ready",
      status: "warning",
      detail: someOf(strict.map(nameOf)),
      hint: "set unhealthyPodEvictionPolicy: AlwaysAllow, so that a pod that never gets ready does not block a drain",
    });
  }
  if (results.length > 0) return results;
  return [{ name: "no budget blocks every drain", status: "ok", detail: countOf(budgets.length, "budget") }];
}

function canNeverPass({ spec, status }: Budget): boolean {
  const { expectedPods = 0, desiredHealthy = 0 } = status ?? {};
  if (expectedPods > 0) return desiredHealthy >= expectedPods;
  const isZero = spec?.maxUnavailable === 0 || spec?.maxUnavailable === "0%" || spec?.maxUnavailable === "0";
  return isZero || spec?.minAvailable === "100%";
}

/** Keeps the pods about which an operator may be careful. */
function careful(pod: PodView): PodView | undefined {
  return pod.controller === undefined || pod.emptyDir ? pod : undefined;
}

/** Checks that a drain is allowed to evict the pods. Pure. */
export function checkPods(pods: readonly PodView[], policy: PodPolicy): Result[] {
  const name = "a drain may evict every pod";
  const refused = refusedPods(pods, policy);
  if (refused.length > 0) {
    const detail = someOf(refused.map((pod) => `${pod.namespace}/${pod.name}: ${pod.reason}`), 3);
    return [{ name, status: "failed", detail, hint: "their nodes get no slot: move the pods, or change the flag" }];
  }
  const lost = pods.filter((pod) => pod.controller === undefined && !pod.mirror && !pod.finished);
  if (lost.length === 0) return [{ name, status: "ok" }];
  return [{
    name,
    status: "warning",
    detail: `nothing starts these again: ${someOf(lost.map((pod) => `${pod.namespace}/${pod.name}`))}`,
    hint: "give them a controller, such as a Deployment",
  }];
}
