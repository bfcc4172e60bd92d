/**
 * One drain: from a granted slot to a node that nothing must leave any more. It cordons the node, evicts the pods,
 * waits until they are gone by UID and their volumes are detached. It proves nothing: whoever says yes reads for itself
 * what is left. What it remembers over several runs only bounds what it tries, so any replica may do the same from the
 * start at any moment.
 *
 * Where the Node of the task is gone, it only waits for the pods that were bound to it.
 *
 * The fewest calls: one patch (the cordon), one list of pods, one watch of them if there are any to evict, one
 * eviction a pod, and one list of VolumeAttachments (and where there are some, one read of each claim of the pods that
 * stay).
 *
 * @module
 */

import { ageWithin } from "../../lock/hold_ages.ts";
import { UnavailableError } from "../../lock/errors.ts";
import type { PodLeft } from "../../lock/node_keeper.ts";
import { listSome } from "../../lock/wording.ts";
import { ForbiddenError } from "../../kubernetes/errors.ts";
import { CallRetry } from "./call_retry.ts";
import { CordonGuard } from "./cordon_guard.ts";
import type { DrainContext, DrainOptions, DrainTask } from "./drain_task.ts";
import { Emptying, type EmptyingEnd } from "./emptying.ts";
import type { Claim } from "./pods.ts";
import { knownTime } from "./proof.ts";
import { awaitDetachment } from "./volumes.ts";

/** How a drain ended. */
export type DrainEnd =
  /**
   * Nothing is left that it knows of: each pod that must go is gone, and the volumes are detached. It proves nothing: a
   * request proves by reads of its own that the node is empty.
   */
  | { readonly kind: "emptied" }
  /** The time-out passed with pods left, and the policy allows the reboot. */
  | { readonly kind: "proceed"; readonly node: string; readonly pods: readonly PodLeft[] }
  /**
   * The drain cannot succeed. `reason` says why, where it is not for what holds the pods back. `yields` is set where
   * the time-out has passed by the API server's clock, and the policy is that the hold yields.
   */
  | {
    readonly kind: "failed";
    readonly node: string;
    readonly pods: readonly PodLeft[];
    readonly reason?: string;
    readonly yields?: true;
  }
  /** The process ends first. */
  | { readonly kind: "draining"; readonly node: string; readonly pods: readonly PodLeft[] }
  /** The hold is gone; our cordon is lifted. */
  | { readonly kind: "abandoned" };

/** Why a drain is stopped: its hold is gone, or the process ends. */
export type StopReason = "hold_gone" | "closing";

/**
 * How long this process tries to drain a Node before a time-out permits more than a drain does, in milliseconds, where
 * the time-out is not shorter. It counts from when the drain first sees the pods: without the right to set the cordon,
 * or with the API server away, nothing is tried. The hold may be as old as that although nobody has drained the Node:
 * no replica ran, or the host has moved to it.
 */
const OWN_MS = 300_000;

/** Why a drain failed that others disturb. */
const INSISTED_REASON = "others uncordon the node again and again";

/** A drain that runs. */
export class Drain {
  /** What is drained. */
  readonly task: DrainTask;
  readonly #options: Required<DrainOptions>;
  readonly #context: DrainContext;
  readonly #stop = new AbortController();
  /** When the time-out passes, by the clock's monotonic time. */
  readonly #deadline: number;
  /** How long this process must have seen the pods before the time-out passes, in milliseconds. */
  readonly #ownMs: number;
  readonly #retry: CallRetry;
  readonly #guard: CordonGuard;
  #emptying: Emptying | undefined;
  /** The VolumeAttachments that it waits for, by name. */
  #attached: readonly string[] = [];

  /** How it ended. Rejects with an UnavailableError where the cluster denies it or is away past the time-out. */
  readonly end: Promise<DrainEnd>;

  /** Begins. The time-out counts from the grant, but is never longer than from now. See {@link OWN_MS}, too. */
  constructor(task: DrainTask, options: DrainOptions, context: DrainContext) {
    this.task = task;
    this.#options = {
      concurrency: options.concurrency ?? 10,
      timeoutMs: options.timeoutMs ?? 900_000,
      onTimeout: options.onTimeout ?? "refuse",
      pods: options.pods ?? {},
      detachMs: options.detachMs ?? 120_000,
      deniedMs: options.deniedMs ?? 10_000,
    };
    this.#context = context;
    const { clock } = context;
    const now = knownTime(clock);
    // Without the API server's time, only the time counts that this process sees passing.
    const passedMs = ageWithin(now === undefined ? 0 : now - task.owner.since, task.age);
    const { timeoutMs, onTimeout } = this.#options;
    const began = task.memory.beganAt ?? clock.monotonic();
    this.#ownMs = onTimeout === "proceed" || onTimeout === "delete" ? Math.min(timeoutMs, OWN_MS) : 0;
    this.#deadline = Math.max(clock.monotonic() + timeoutMs - passedMs, began + this.#ownMs);
    this.#retry = new CallRetry({
      clock,
      deadline: this.#deadline,
      deniedMs: this.#options.deniedMs,
      signal: this.#stop.signal,
      retrying: (error) => context.listener.retrying(task, error),
    });
    this.#guard = new CordonGuard({ task, context, retry: this.#retry, signal: this.#stop.signal });
    this.end = this.#run();
    this.end.catch(() => {});
  }

  /** The pods that are left now, and why. */
  get left(): PodLeft[] {
    return this.#emptying?.left ?? [];
  }

  /** What it waits for besides pods, as a sentence for a person; undefined where nothing. */
  get reason(): string | undefined {
    if (this.#attached.length === 0) return undefined;
    const count = this.#attached.length === 1 ? "1 volume is" : `${this.#attached.length} volumes are`;
    return `${count} still attached to it (VolumeAttachment ${listSome(this.#attached)})`;
  }

  /** Stops it. The end follows soon: "abandoned" with our cordon lifted, or "draining". */
  stop(reason: StopReason): void {
    this.#stop.abort(reason);
  }

  async #run(): Promise<DrainEnd> {
    let end: DrainEnd | undefined;
    try {
      end = await this.#drain();
    } catch (error) {
      if (!this.#stop.signal.aborted) {
        // While the API server was away, nobody tried: the next drain has time of its own again.
        if (error instanceof UnavailableError && !(error instanceof ForbiddenError)) {
          this.task.memory.beganAt = undefined;
        }
        throw error;
      }
    }
    return end ?? await this.#giveUp();
  }

  /** @returns Undefined where the hold is gone. */
  async #drain(): Promise<DrainEnd | undefined> {
    const { node, again, memory } = this.task;
    const state = await this.#guard.begin();
    if (state === "not_held") return undefined;
    if (this.#guard.isRegisteredAgain) return { kind: "emptied" };
    const emptied: EmptyingEnd = state === "insisted" ? { kind: state, pods: [] } : await this.#empty();
    switch (emptied.kind) {
      case "not_held":
        return undefined;
      case "insisted":
        return { kind: "failed", node, pods: emptied.pods, reason: INSISTED_REASON, ...this.#ifYields() };
      case "proceed":
        return { ...emptied, node };
      case "failed":
        return { ...emptied, node, ...this.#ifYields() };
      case "empty":
        if (!again && !this.#guard.isGone) await this.#awaitDetachment(emptied.claims);
        memory.wasEmptied = true;
        return { kind: "emptied" };
    }
  }

  /** Whatever a drain failed for: once its time-out has passed, the others need not wait for it. */
  #ifYields(): { readonly yields?: true } {
    const { clock } = this.#context;
    const isLate = clock.monotonic() >= this.#deadline && knownTime(clock) !== undefined;
    return this.#options.onTimeout === "yield" && isLate ? { yields: true } : {};
  }

  /** Ends before the node is empty: because the process ends, or for good. */
  async #giveUp(): Promise<DrainEnd> {
    const { node, owner } = this.task;
    if (this.#stop.signal.reason === "closing") return { kind: "draining", node, pods: this.left };
    await this.#context.cordon.lift(node, owner, true);
    return { kind: "abandoned" };
  }

  async #empty(): Promise<EmptyingEnd> {
    this.#emptying = new Emptying({
      task: this.task,
      options: this.#options,
      context: this.#context,
      guard: this.#guard,
      deadline: this.#deadline,
      ownMs: this.#ownMs,
      retry: this.#retry,
      signal: this.#stop.signal,
    });
    return await this.#emptying.run();
  }

  async #awaitDetachment(claims: readonly Claim[]): Promise<void> {
    const { pods, clock, listener } = this.#context;
    const { node, memory } = this.task;
    const left = await awaitDetachment(node, claims, {
      calls: pods,
      retry: this.#retry,
      clock,
      waitMs: this.#options.detachMs,
      givenUp: memory.stillAttached,
      waiting: (names) => void (this.#attached = names),
      signal: this.#stop.signal,
    });
    for (const name of left) memory.stillAttached.add(name);
    if (left.length > 0) listener.stillAttached(this.task, left);
  }
}
