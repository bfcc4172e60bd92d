/**
 * Empties a node of its pods, once: follows them, takes the steps that {@link nextStep} decides, and makes the calls.
 * Before each step it has the {@link CordonGuard} look after the node. It proves nothing.
 *
 * @module
 */

import { UnavailableError } from "../../lock/errors.ts";
import type { PodLeft } from "../../lock/node_keeper.ts";
import { WakeableSleep } from "../../lock/wakeable_sleep.ts";
import type { CordonGuard } from "./cordon_guard.ts";
import type { CallRetry } from "./call_retry.ts";
import type { DrainContext, DrainOptions, DrainTask } from "./drain_task.ts";
import { EvictionQueue } from "./eviction_queue.ts";
import { type NextStep, nextStep } from "./next_step.ts";
import { knownTime } from "./proof.ts";
import { PodsOnNode } from "./pods_on_node.ts";
import type { Claim, PodView } from "./pods.ts";

/** How it ended. */
export type EmptyingEnd =
  /** Every pod that must go is gone, as far as it sees. `claims` are those of the pods that stay. */
  | { readonly kind: "empty"; readonly claims: readonly Claim[] }
  /** The time-out passed with pods left, and the policy is to go on. */
  | { readonly kind: "proceed"; readonly pods: readonly PodLeft[] }
  /** The time-out passed with pods left, or a pod may not be evicted. */
  | { readonly kind: "failed"; readonly pods: readonly PodLeft[] }
  /** Others lift the cordon again and again. */
  | { readonly kind: "insisted"; readonly pods: readonly PodLeft[] }
  /** The hold is gone. */
  | { readonly kind: "not_held" };

/** What an {@link Emptying} works with. */
export interface EmptyingOptions {
  /** What is drained. */
  readonly task: DrainTask;
  /** How. */
  readonly options: Required<DrainOptions>;
  /** With what. */
  readonly context: DrainContext;
  /** Looks after the node. */
  readonly guard: CordonGuard;
  /** When the time-out passes, by the clock's monotonic time. */
  readonly deadline: number;
  /** How long this process must have seen the pods before the time-out passes, in milliseconds. */
  readonly ownMs: number;
  /** Says which failures are final. */
  readonly retry: CallRetry;
  /** Stops it where it is, with the signal's reason. */
  readonly signal: AbortSignal;
}

/** Why a pod is left whose Node is gone. */
const GONE_REASON = "its Node no longer exists, and the cluster has not removed it yet";

/** How long to wait before the API server is asked for its time again, in milliseconds. */
const ASK_PAUSE_MS = 1_000;

/**
 * How long the API server is asked for its time, in milliseconds. A proxy in between may drop what tells it, for ever.
 */
const ASK_MS = 300_000;

/** See the module. Call {@link run} once. */
export class Emptying {
  readonly #with: EmptyingOptions;
  readonly #queue: EvictionQueue;
  readonly #sleep: WakeableSleep;
  /** The evictions and deletions under way. */
  readonly #calling = new Set<Promise<void>>();
  /** Undefined while pods are evicted; once they are deleted, until when they may take to go. */
  #deleteBy: number | undefined;
  /** Since when the API server is asked for its time; undefined while it is known and before it is asked for. */
  #askingSince: number | undefined;
  /** What ends it, since no further try can help. */
  #fault: unknown;

  /** Makes one that has seen nothing yet. */
  constructor(options: EmptyingOptions) {
    this.#with = options;
    const { task: { node: name, uid, owner, memory }, options: { pods: policy }, context, guard } = options;
    this.#queue = new EvictionQueue({
      policy,
      memory,
      random: context.random,
      facts: () => ({
        noted: { name, uid },
        node: guard.node,
        grantedAt: owner.since,
        now: knownTime(context.clock),
      }),
    });
    this.#sleep = new WakeableSleep(options.context.clock);
  }

  /** The pods that are left now, and why. */
  get left(): PodLeft[] {
    return this.#named(this.#queue.left());
  }

  /**
   * Empties the node.
   *
   * @throws {UnavailableError} The cluster denies a call, or the pods cannot be watched past the time-out, or the API
   * server does not tell the time that what follows the time-out needs.
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
    const { task, context: { clock, listener, holdExists }, guard, retry, signal } = this.#with;
    let isToConfirm = false;
    while (true) {
      signal.throwIfAborted();
      if (this.#fault !== undefined) throw this.#fault;
      const state = await (isToConfirm ? guard.confirm() : guard.check());
      isToConfirm = false;
      if (state === "not_held") return { kind: state };
      if (state === "insisted") return { kind: state, pods: this.left };
      this.#tellProgress();
      const step = this.#nextStep(pods);
      switch (step.kind) {
        case "empty": {
          const { staying } = this.#queue;
          if (staying.length > 0) listener.staying(task, staying);
          return { kind: "empty", claims: pods.claims };
        }
        case "proceed":
          return { kind: "proceed", pods: this.#named(step.pods) };
        case "fail":
          return { kind: "failed", pods: this.#named(step.pods) };
        case "blind":
          throw new UnavailableError("the pods of the node cannot be watched", { cause: pods.lostBy });
        case "timeless":
          throw new UnavailableError("the API server does not tell its time", {
            publicMessage:
              "the API server does not tell its time, so that nobody knows whether the drain's time is over",
          });
        case "ask_time":
          await this.#askTime();
          break;
        case "start_deleting":
          // A process that was stopped for a while has not heard of the end of the hold.
          if (!(await retry.persist(() => holdExists(task.owner)))) return { kind: "not_held" };
          this.#startDeleting();
          break;
        case "evict":
          // The pod's turn comes again once the node is known to be cordoned.
          isToConfirm = !guard.isConfirmed;
          if (!isToConfirm) this.#evict(step.pod);
          break;
        case "wait":
          await this.#sleep.sleep(step.until - clock.monotonic(), signal);
          break;
      }
    }
  }

  #nextStep(pods: PodsOnNode): NextStep {
    const { task: { memory }, options, context: { clock }, guard, deadline, ownMs } = this.#with;
    const now = clock.monotonic();
    if (pods.visibility === "synced") memory.beganAt ??= now;
    const isTimeKnown = knownTime(clock) !== undefined;
    if (isTimeKnown) this.#askingSince = undefined;
    return nextStep({
      queue: this.#queue,
      visibility: pods.visibility,
      isGone: guard.isGone,
      isTimeKnown,
      isTimeWithheld: this.#askingSince !== undefined && now - this.#askingSince >= ASK_MS,
      calling: this.#calling.size,
      now,
      deadline: memory.beganAt === undefined ? deadline : Math.max(deadline, memory.beganAt + ownMs),
      deleteBy: this.#deleteBy,
    }, options);
  }

  /** Makes a cheap call, whose answer tells the API server's time. */
  async #askTime(): Promise<void> {
    const { task, context: { clock, listener }, guard, retry, signal } = this.#with;
    this.#askingSince ??= clock.monotonic();
    try {
      await guard.read();
      if (knownTime(clock) !== undefined) return;
    } catch (error) {
      signal.throwIfAborted();
      if (retry.isFinal(error)) throw error;
      listener.retrying(task, error);
    }
    await this.#sleep.sleep(ASK_PAUSE_MS, signal);
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
    this.#queue.began(pod, this.#with.context.clock.monotonic());
    const call: Promise<void> = this.#call(pod).finally(() => {
      this.#calling.delete(call);
      this.#sleep.wake();
    });
    this.#calling.add(call);
  }

  async #call(pod: PodView): Promise<void> {
    const { task, context: { pods, clock, listener }, guard, retry, signal } = this.#with;
    const mayLeave = () => guard.isUnchanged;
    try {
      const answer = this.#deleteBy === undefined
        ? await pods.evict(pod, signal, mayLeave)
        : await pods.deletePod(pod, signal, mayLeave);
      this.#queue.answered(pod, answer, clock.monotonic());
      listener.evicted(task, pod, answer);
    } catch (error) {
      if (signal.aborted || retry.isFinal(error)) this.#fault ??= error;
      // A drain is stopped with a word, which is no error. Its call may take effect, and the memory of the hold outlives
      // this drain.
      const reason = error instanceof Error ? error.message : "its drain was stopped";
      const answer = { kind: "failed", reason, isUnsure: signal.aborted } as const;
      this.#queue.answered(pod, answer, clock.monotonic());
    }
  }

  #named(left: readonly PodLeft[]): PodLeft[] {
    return left.map((pod) => this.#with.guard.isGone ? { ...pod, reason: GONE_REASON } : pod);
  }

  #tellProgress(): void {
    const { task, context: { listener } } = this.#with;
    listener.progress(task, this.#queue.size, this.#queue.blocked);
  }
}
