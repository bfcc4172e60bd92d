/**
 * Evictions and the budgets that may refuse them, as the API server decides: pods that run count, an eviction that is
 * allowed takes effect at once.
 *
 * @see https://kubernetes.io/docs/concepts/scheduling-eviction/api-eviction/
 * @module
 */

import { KINDS, type Stored } from "./objects.ts";
import { ApiStatus, conflict, notFound } from "./status.ts";
import type { Store } from "./store.ts";

/** A PodDisruptionBudget over the pods of one workload. */
export interface Budget {
  readonly name: string;
  /** The workload, by the label `app` of its pods. */
  readonly app: string;
  /** How many of its pods must run. */
  readonly minAvailable: number;
  /** Whether its controller is behind, so that it allows nothing. */
  isFrozen?: boolean;
  /** Whether it is deleted and made again all the time, so that evictions find it and then do not. */
  isVanishing?: boolean;
}

/** See the module. */
export class PodDisruptions {
  /** The budgets. */
  readonly budgets: Budget[] = [];
  /** How many evictions budgets have refused. */
  refusals = 0;
  /** How long pods may take to end, in milliseconds, by the label `app`. */
  readonly graceMs: Map<string, number> = new Map();
  readonly #store: Store;

  /** Decides on the pods of a store. */
  constructor(store: Store) {
    this.#store = store;
  }

  /**
   * Evicts a pod.
   *
   * @param isDryRun Whether it only decides.
   * @throws {ApiStatus} It may not go now, or is another one.
   */
  evict(
    key: string,
    { uid, resourceVersion }: { readonly uid?: string; readonly resourceVersion?: string } = {},
    isDryRun = false,
  ): void {
    const pod = this.#store.get("pods", key);
    const kind = KINDS.pods!;
    if (pod === undefined) throw notFound(kind, key);
    if (uid !== undefined && uid !== pod.metadata.uid) {
      const why = `the UID in the precondition (${uid}) does not match the UID in record (${pod.metadata.uid}). ` +
        "The object might have been deleted and then recreated";
      throw conflict({ ...kind, plural: "Pod" }, key, why);
    }
    if (resourceVersion !== undefined && resourceVersion !== pod.metadata.resourceVersion) throw conflict(kind, key);
    // A pod that has not begun to run, or has ended, needs no budget.
    const isRunning = pod.status?.phase === "Running" || pod.status?.phase === "Unknown";
    if (isRunning && !pod.metadata.deletionTimestamp) this.#ask(pod);
    if (isDryRun) return;
    this.#store.delete("pods", key, { uid, graceMs: this.graceMs.get(pod.metadata.labels?.app) ?? 30_000 });
  }

  /** How many more pods of a budget may go. */
  allowed({ app, minAvailable, isFrozen }: Budget): number {
    if (isFrozen) return 0;
    return this.#healthy(app) - minAvailable;
  }

  #ask(pod: Stored): void {
    const app = pod.metadata.labels?.app;
    const budgets = this.budgets.filter((budget) => budget.app === app);
    if (budgets.length > 1) {
      throw new ApiStatus(
        500,
        "",
        "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
      );
    }
    const [budget] = budgets;
    if (budget?.isVanishing) {
      throw new ApiStatus(404, "NotFound", `poddisruptionbudgets.policy "${budget.name}" not found`);
    }
    if (budget === undefined || this.allowed(budget) > 0) return;
    this.refusals++;
    const healthy = this.#healthy(budget.app);
    const what = healthy <= budget.minAvailable
      ? `needs ${budget.minAvailable} healthy pods and has ${healthy} currently`
      : "does not allow evicting pods currently";
    const message = `The disruption budget ${budget.name} ${what}`;
    const text = "Cannot evict pod as it would violate the pod's disruption budget.";
    throw new ApiStatus(429, "TooManyRequests", text, { causes: [{ reason: "DisruptionBudget", message }] });
  }

  #healthy(app: string): number {
    let healthy = 0;
    for (const pod of this.#store.all("pods")) {
      if (pod.metadata.labels?.app !== app || pod.metadata.deletionTimestamp) continue;
      if (pod.status?.phase === "Running") healthy++;
    }
    return healthy;
  }
}
