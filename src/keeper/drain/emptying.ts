/**
 * Empties a node of its pods, once: follows them, takes the steps that {@link nextStep} decides, and makes the calls.
 * It neither cordons the node nor proves that it is still cordoned.
 *
 * @module
 */

import { UnavailableError } from "../../lock/errors.ts";
import type { PodLeft } from "../../lock/node_keeper.ts";
import { WakeableSleep } from "../../lock/wakeable_sleep.ts";
import type { CallRetry } from "./call_retry.ts";
import type { DrainContext, DrainOptions, DrainTask } from "./drain_task.ts";
import { EvictionQueue } from "./eviction_queue.ts";
import { type NextStep, nextStep } from "./next_step.ts";
import { PodsOnNode } from "./pods_on_node.ts";
import type { Claim, PodView } from "./pods.ts";

/** How it ended. */
export type EmptyingEnd =
  /** Every pod that must go is gone. `claims` are those of the pods that stay. */
  | { readonly kind: "empty"; readonly claims: readonly Claim[] }
  /** The time-out passed with pods left, and the policy is to go on. */
  | { readonly kind: "proceed"; readonly pods: readonly PodLeft[] }
  /** The time-out passed with pods left, or a pod may not be evicted. */
  | { readonly kind: "failed"; readonly pods: readonly PodLeft[] };

/** What an {@link Emptying} works with. */
export interface EmptyingOptions {
  /** What is drained. */
  readonly task: DrainTask;
  /** How. */
  readonly options: Required<DrainOptions>;
  /** With what. */
  readonly context: DrainContext;
  /** When the time-out passes, by the clock's monotonic time. */
  readonly deadline: number;
  /** Says which failures are final. */
  readonly retry: CallRetry;
  /** Stops it where it is, with the signal's reason. */
  readonly signal: AbortSignal;
}

/** See the module. Call {@link run} once. */
export class Emptying {
  readonly #with: EmptyingOptions;
  readonly #queue: EvictionQueue;
  readonly #sleep: WakeableSleep;
  /** The evictions and deletions under way. */
  readonly #calling = new Set<Promise<void>>();
  /** Undefined while pods are evicted; once they are deleted, until when they may take to go. */
  #deleteBy: number | undefined;
  /** What ends it, since no further try can help. */
  #fault: unknown;

  /** Makes one that has seen nothing yet. */
  constructor(options: EmptyingOptions) {
    this.#with = options;
    this.#queue = new EvictionQueue(options.options.pods, options.context.random);
    this.#sleep = new WakeableSleep(options.context.clock);
  }

  /** The pods that are left now, and why. */
  get left(): PodLeft[] {
    return this.#queue.left();
  }

  /**
   * Empties the node.
   *
   * @throws {UnavailableError} The cluster denies a call, or the pods cannot be watched past the time-out.
   * @throws The signal's reason.
   */
  async run(): Promise<EmptyingEnd> {
    const { task, options, context, retry, signal } = this.#with;
    const pods = new PodsOnNode({
      node: task.node,
      calls: context.pods,
      queue: this.#queue,
      policy: options.pods,
      signal,
      changed: () => this.#sleep.wake(),
      lost: (error) => {
        if (retry.isFinal(error)) this.#fault = error;
        else context.listener.retrying(task, error);
      },
    });
    try {
      return await this.#loop(pods);
    } finally {
      await pods[Symbol.asyncDispose]();
      await Promise.allSettled(this.#calling);
      this.#tellProgress();
    }
  }

  async #loop(pods: PodsOnNode): Promise<EmptyingEnd> {
    const { context: { clock }, signal } = this.#with;
    while (true) {
      signal.throwIfAborted();
      if (this.#fault !== undefined) throw this.#fault;
      this.#tellProgress();
      const step = this.#nextStep(pods);
      switch (step.kind) {
        case "empty":
          return { kind: "empty", claims: pods.claims };
        case "proceed":
          return { kind: "proceed", pods: step.pods };
        case "fail":
          return { kind: "failed", pods: step.pods };
        case "blind":
          throw new UnavailableError("the pods of the node cannot be watched", { cause: pods.lostBy });
        case "start_deleting":
          this.#startDeleting();
          break;
        case "evict":
          this.#evict(step.pod);
          break;
        case "wait":
          await this.#sleep.sleep(step.until - clock.monotonic(), signal);
          break;
      }
    }
  }

  #nextStep(pods: PodsOnNode): NextStep {
    const { options, context, deadline } = this.#with;
    return nextStep({
      queue: this.#queue,
      visibility: pods.visibility,
      calling: this.#calling.size,
      now: context.clock.monotonic(),
      deadline,
      deleteBy: this.#deleteBy,
    }, options);
  }

  #startDeleting(): void {
    const { task, options, context: { clock, listener } } = this.#with;
    // Deletions may take as long as everything before them.
    this.#deleteBy = clock.monotonic() + options.timeoutMs;
    this.#queue.unbind();
    listener.deleting(task, this.#queue.left());
  }

  /** Begins a pod's eviction or deletion. */
  #evict(pod: PodView): void {
    this.#queue.began(pod);
    const call: Promise<void> = this.#call(pod).finally(() => {
      this.#calling.delete(call);
      this.#sleep.wake();
    });
    this.#calling.add(call);
  }

  async #call(pod: PodView): Promise<void> {
    const { task, context: { pods, clock, listener }, retry, signal } = this.#with;
    try {
      const answer = await (this.#deleteBy === undefined ? pods.evict(pod, signal) : pods.deletePod(pod, signal));
      this.#queue.answered(pod, answer, clock.monotonic());
      listener.evicted(task, pod, answer);
    } catch (error) {
      if (signal.aborted || retry.isFinal(error)) this.#fault ??= error;
      else this.#queue.answered(pod, { kind: "failed", reason: (error as Error).message }, clock.monotonic());
    }
  }

  #tellProgress(): void {
    const { task, context: { listener } } = this.#with;
    listener.progress(task, this.#queue.size, this.#queue.blocked);
  }
}
