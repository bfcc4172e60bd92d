/**
 * A watch of the pods on one node that keeps an eviction queue up to date. It knows how well the queue shows what is
 * on the node, and decides nothing.
 *
 * @module
 */

import type { EvictionQueue } from "./eviction_queue.ts";
import type { Visibility } from "./next_step.ts";
import type { PodCalls } from "./pod_calls.ts";
import { type Claim, type PodPolicy, type PodView, staysInUse } from "./pods.ts";

/** What a {@link PodsOnNode} works with. */
export interface PodsOnNodeOptions {
  /** The node's name. */
  readonly node: string;
  /** The calls. */
  readonly calls: Pick<PodCalls, "watchPods">;
  /** Is told of every pod. */
  readonly queue: EvictionQueue;
  /** Which pods stay. */
  readonly policy: PodPolicy;
  /** Ends the watch. */
  readonly signal: AbortSignal;
  /** Called whenever something has changed, a loss included. Must not throw. */
  changed(): void;
  /** Called when the watch falls behind, before `changed`. Must not throw. */
  lost(error: unknown): void;
}

/** See the module. Begins at once; dispose of it to end the watch. */
export class PodsOnNode implements AsyncDisposable {
  readonly #options: PodsOnNodeOptions;
  readonly #ended = new AbortController();
  readonly #watch: Promise<void>;
  #visibility: Visibility = "listing";
  #lostBy: unknown;
  #claims: readonly Claim[] = [];

  /** Begins (list and watch pods). */
  constructor(options: PodsOnNodeOptions) {
    this.#options = options;
    this.#watch = options.calls.watchPods(options.node, {
      synced: (pods) => this.#listed(pods),
      changed: (type, pod) => {
        if (type === "DELETED") options.queue.gone(pod.uid);
        else options.queue.seen(pod);
        options.changed();
      },
      lost: (error) => {
        this.#visibility = "lost";
        this.#lostBy = error;
        options.lost(error);
        options.changed();
      },
    }, AbortSignal.any([options.signal, this.#ended.signal]));
  }

  /** How well the queue shows what is on the node. */
  get visibility(): Visibility {
    return this.#visibility;
  }

  /** Why the watch fell behind last. */
  get lostBy(): unknown {
    return this.#lostBy;
  }

  /**
   * The claims of the pods that stay and keep using their volumes; those that a drain never evicts as of the last list.
   */
  get claims(): readonly Claim[] {
    return [...this.#claims, ...this.#options.queue.claims];
  }

  /** Ends the watch. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#ended.abort();
    await this.#watch;
  }

  #listed(pods: readonly PodView[]): void {
    const { queue, policy, changed } = this.#options;
    queue.listed(pods);
    this.#claims = pods.filter((pod) => staysInUse(pod, policy)).flatMap((pod) => pod.claims);
    this.#visibility = "synced";
    // There is nothing to wait for, so the watch need not begin.
    if (queue.size === 0) this.#ended.abort();
    changed();
  }
}
