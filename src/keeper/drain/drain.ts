/**
 * One drain: from a granted slot to an empty node. Cordon, evict, wait until the
 * pods are gone by UID and their volumes are detached, and look once more
 * whether the node is still cordoned. It keeps nothing but what it can see
 * again, so any replica may do the same from the start at any moment.
 *
 * The least calls: one patch (the cordon), one list of pods, one watch of them
 * if there are any to evict, one eviction a pod, one list of VolumeAttachments
 * (and where there are some, one read of each claim of the pods that stay), and
 * one read of the node, which proves the yes.
 *
 * @module
 */

import type { Clock } from "../../lock/clock.ts";
import { UnavailableError } from "../../lock/errors.ts";
import type { DrainOutcome, PodLeft } from "../../lock/node_keeper.ts";
import type { CordonOwner } from "../nodes/cordon.ts";
import { ForbiddenError, KubernetesError } from "../../kubernetes/errors.ts";
import { EvictionQueue } from "./eviction_queue.ts";
import type { NodeCalls } from "../nodes/node_calls.ts";
import type { NodeCordon } from "../nodes/node_cordon.ts";
import { type Claim, type EvictionAnswer, judge, type PodPolicy, type PodView } from "./pods.ts";

/** How nodes are drained. */
export interface DrainOptions {
  /** How many evictions of one node may be under way at a time. @default {10} */
  readonly concurrency?: number;
  /** How long a drain may take, from the grant of the slot, in milliseconds. @default {900_000} */
  readonly timeoutMs?: number;
  /** What happens then: nothing more, or the reboot goes on, or the pods are deleted past their budgets. @default {"refuse"} */
  readonly onTimeout?: "refuse" | "proceed" | "delete";
  /** Which pods are evicted. */
  readonly pods?: PodPolicy;
  /** How long to wait for volumes to be detached when the pods are gone, in milliseconds. @default {120_000} */
  readonly detachMs?: number;
  /**
   * How long a call that is denied is repeated, in milliseconds: an API server
   * that has just started denies everything until it knows the roles. @default {10_000}
   */
  readonly deniedMs?: number;
}

/** What to drain, and for whom. */
export interface DrainTask {
  /** The node's name. */
  readonly node: string;
  /** The hold. */
  readonly owner: CordonOwner;
  /** Whether it was drained before, and is only to be proven empty again. */
  readonly again: boolean;
}

/** Told how a drain goes. The methods must not throw. */
export interface DrainListener {
  /** The node has been cordoned, which it was not before. */
  cordoned(task: DrainTask): void;
  /** An eviction (or deletion) was answered. */
  evicted(task: DrainTask, pod: PodView, answer: EvictionAnswer): void;
  /** How many pods are left, and how many of them a budget holds back. */
  progress(task: DrainTask, left: number, blocked: number): void;
  /** The time-out has passed with pods left, which are deleted now. */
  deleting(task: DrainTask, pods: readonly PodLeft[]): void;
  /** The pods are gone, but volumes stay attached, and are waited for no longer. */
  stillAttached(task: DrainTask, volumes: readonly string[]): void;
  /** A call failed and will be repeated. */
  retrying(task: DrainTask, error: unknown): void;
}

/** What a drain works with. */
export interface DrainContext {
  /** The calls to the cluster. */
  readonly calls: NodeCalls;
  /** Cordons. */
  readonly cordon: NodeCordon;
  /** Time. */
  readonly clock: Clock;
  /** Told how it goes. */
  readonly listener: DrainListener;
  /** Whether the hold still is, by a fresh read of its lock. */
  isHeld(owner: CordonOwner): Promise<boolean>;
  /** A number from 0 (inclusive) to 1. */
  readonly random: () => number;
}

/** Why a drain is stopped: its hold is gone, or the process ends. */
export type StopReason = "hold_gone" | "closing";

/** How often a volume's detachment is looked for, in milliseconds. */
const DETACH_POLL_MS = 2_000;

/** How often a node that others uncordon is emptied at least, before that counts as not drained in time. */
const MIN_ROUNDS = 3;

/** The first and the longest pause before a failed call is repeated, in milliseconds. */
const RETRY_MS = [1_000, 5_000] as const;

/** A drain that runs. */
export class Drain {
  /** What is drained. */
  readonly task: DrainTask;
  readonly #options: Required<DrainOptions>;
  readonly #context: DrainContext;
  readonly #stop = new AbortController();
  readonly #deadline: number;
  #queue: EvictionQueue;
  #wake = new AbortController();
  #deniedAt = -Infinity;
  /** The claims of the pods that stay, as far as the last list had them. */
  #claims: readonly Claim[] = [];

  /** How it ended. Rejects with {@link UnavailableError} where the cluster denies it or is away past the time-out. */
  readonly outcome: Promise<DrainOutcome>;

  /** Whether it ended because there is no such node any more. */
  isNodeGone = false;

  /** Begins. The time-out counts from the grant, but is never longer than from now. */
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
    const passedMs = Math.max(clock.now() - task.owner.since, 0);
    this.#deadline = clock.monotonic() + this.#options.timeoutMs - passedMs;
    this.#queue = this.#newQueue();
    this.#stop.signal.addEventListener("abort", () => this.#wake.abort(), { once: true });
    this.outcome = this.#run();
    this.outcome.catch(() => {});
  }

  /** The pods that are left now, and why. */
  get left(): PodLeft[] {
    return this.#queue.left();
  }

  /** Stops it; the outcome follows soon: "abandoned", our cordon lifted, or "draining". */
  stop(reason: StopReason): void {
    this.#stop.abort(reason);
  }

  async #run(): Promise<DrainOutcome> {
    const { node, owner } = this.task;
    try {
      return await this.#toTheEnd();
    } catch (error) {
      if (!this.#stop.signal.aborted && !(error instanceof HoldGone)) throw error;
      if (this.#stop.signal.reason === "closing") return { kind: "draining", node, pods: this.left };
      await this.#context.cordon.lift(node, owner, true);
      return { kind: "abandoned" };
    }
  }

  async #toTheEnd(): Promise<DrainOutcome> {
    const { calls, clock } = this.#context;
    const signal = this.#stop.signal;
    for (let rounds = 1;; rounds++) {
      if (!(await this.#cordon(rounds > 1))) return this.#gone();
      const end = await this.#empty();
      if (end !== undefined) return end;
      if (!this.task.again) await this.#detached();
      const node = await this.#persist(() => calls.getNode(this.task.node, signal));
      if (node === undefined) return this.#gone();
      if (node.unschedulable) return { kind: "drained" };
      // Somebody has uncordoned it meanwhile; then pods may have come. Whoever always does will not be outdone.
      const late = clock.monotonic() >= this.#deadline && rounds >= MIN_ROUNDS;
      if (late) {
        return { kind: this.#options.onTimeout === "proceed" ? "proceed" : "failed", node: node.name, pods: [] };
      }
      await clock.sleep(RETRY_MS[0], signal);
    }
  }

  #gone(): DrainOutcome {
    this.isNodeGone = true;
    return { kind: "drained" };
  }

  /** @returns Whether there is such a node. */
  async #cordon(again: boolean): Promise<boolean> {
    const { cordon, listener, isHeld } = this.#context;
    const { node, owner } = this.task;
    const result = await this.#persist(() => cordon.set(node, owner, () => isHeld(owner), again, this.#stop.signal));
    if (result === "not_held") throw new HoldGone();
    if (result === "cordoned") listener.cordoned(this.task);
    return result !== "gone";
  }

  /** Evicts the pods. Undefined when all of them are gone. */
  async #empty(): Promise<DrainOutcome | undefined> {
    const { calls, clock, listener } = this.#context;
    const { node } = this.task;
    const signal = this.#stop.signal;
    const queue = this.#queue = this.#newQueue();
    const watching = new AbortController();
    const stopWatching = () => watching.abort();
    signal.addEventListener("abort", stopWatching, { once: true });
    let synced = false;
    let lost: unknown;
    let fault: unknown;
    const watch = calls.watchPods(node, {
      synced: (pods) => {
        queue.listed(pods);
        this.#claims = pods.filter((pod) => staysInUse(pod, this.#options.pods)).flatMap((pod) => pod.claims);
        synced = true;
        // Nothing to wait for: no need to begin the watch.
        if (queue.size === 0) watching.abort();
        this.#wake.abort();
      },
      changed: (type, pod) => {
        if (type === "DELETED") queue.gone(pod.uid);
        else queue.seen(pod);
        this.#wake.abort();
      },
      lost: (error) => {
        synced = false;
        lost = error;
        if (this.#isFinal(error)) fault = error;
        else listener.retrying(this.task, error);
        this.#wake.abort();
      },
    }, watching.signal);

    const calling = new Set<Promise<void>>();
    let deleting = false;
    // What is deleted may take as long as all the rest did.
    let deletedBy = Infinity;
    const evict = async (pod: PodView) => {
      try {
        const answer = await (deleting ? calls.deletePod(pod, signal) : calls.evict(pod, signal));
        queue.answered(pod, answer, clock.monotonic());
        listener.evicted(this.task, pod, answer);
      } catch (error) {
        if (signal.aborted || this.#isFinal(error)) fault ??= error;
        else queue.answered(pod, { kind: "failed", reason: (error as Error).message }, clock.monotonic());
      }
    };

    try {
      while (true) {
        this.#wake = new AbortController();
        signal.throwIfAborted();
        if (fault !== undefined) throw fault;
        const now = clock.monotonic();
        const late = now >= this.#deadline;
        listener.progress(this.task, queue.size, queue.blocked);
        if (synced) {
          if (queue.size === 0) return undefined;
          const { refused } = queue;
          if (refused.length > 0) return { kind: "failed", node, pods: refused };
          if (late && this.#options.onTimeout === "proceed") return { kind: "proceed", node, pods: queue.left() };
          // A drain taken up after its time-out tries each pod once, so that it succeeds when its obstacle is gone.
          if (late && this.#options.onTimeout === "refuse" && queue.allTried) {
            return { kind: "failed", node, pods: queue.left() };
          }
          if (late && this.#options.onTimeout === "delete" && !deleting && calling.size === 0) {
            deleting = true;
            deletedBy = now + this.#options.timeoutMs;
            queue.unbind();
            listener.deleting(this.task, queue.left());
          }
          if (now >= deletedBy) return { kind: "failed", node, pods: queue.left() };
        } else if (late && lost !== undefined) {
          throw new UnavailableError("the pods of the node cannot be watched", { cause: lost });
        }
        const holdBack = late && this.#options.onTimeout === "delete" && !deleting;
        while (!holdBack && calling.size < this.#options.concurrency) {
          const pod = queue.next(now);
          if (pod === undefined) break;
          const call: Promise<void> = evict(pod).finally(() => {
            calling.delete(call);
            this.#wake.abort();
          });
          calling.add(call);
        }
        const full = calling.size >= this.#options.concurrency;
        const times = [late ? deletedBy : this.#deadline, full ? Infinity : queue.nextAt() ?? Infinity];
        await clock.sleep(Math.min(Math.max(Math.min(...times) - now, 1), 60_000), this.#wake.signal).catch(() => {});
      }
    } finally {
      watching.abort();
      signal.removeEventListener("abort", stopWatching);
      await Promise.allSettled([watch, ...calling]);
      listener.progress(this.task, queue.size, queue.blocked);
    }
  }

  /** Waits until no volume is attached to the node but those of pods that stay, within bounds. */
  async #detached(): Promise<void> {
    const { calls, clock, listener } = this.#context;
    const signal = this.#stop.signal;
    const deadline = clock.monotonic() + this.#options.detachMs;
    const attached = await this.#persist(() => calls.listAttachments(this.task.node, signal));
    const staying = attached.length === 0 ? new Set() : await this.#stayingVolumes();
    let volumes = attached.filter((one) => !staying.has(one.volume)).map((one) => one.name);
    while (volumes.length > 0) {
      if (clock.monotonic() >= deadline) return listener.stillAttached(this.task, volumes);
      await clock.sleep(DETACH_POLL_MS, signal);
      const names = volumes;
      volumes = await this.#persist(async () => {
        const there = await Promise.all(names.map((name) => calls.hasAttachment(name, signal)));
        return names.filter((_, index) => there[index]);
      });
    }
  }

  /** The volumes of the pods that stay. */
  async #stayingVolumes(): Promise<Set<string>> {
    const { calls } = this.#context;
    const signal = this.#stop.signal;
    const volumes = new Set<string>();
    for (const { namespace, name } of this.#claims) {
      const volume = await this.#persist(async () => {
        try {
          return await calls.volumeOf(namespace, name, signal);
        } catch (error) {
          // Without this right, the drain only waits for longer.
          if (error instanceof ForbiddenError) return undefined;
          throw error;
        }
      });
      if (volume !== undefined) volumes.add(volume);
    }
    return volumes;
  }

  /** Repeats a call while the cluster does not answer, until the time-out. */
  async #persist<T>(call: () => Promise<T>): Promise<T> {
    const { clock, listener } = this.#context;
    const [first, longest] = RETRY_MS;
    for (let pauseMs = first as number;; pauseMs = Math.min(pauseMs * 2, longest)) {
      try {
        return await call();
      } catch (error) {
        this.#stop.signal.throwIfAborted();
        if (!(error instanceof UnavailableError) || this.#isFinal(error)) throw error;
        if (clock.monotonic() >= this.#deadline) throw error;
        listener.retrying(this.task, error);
        await clock.sleep(Math.max(pauseMs, Math.min(error.retryAfterMs ?? 0, 30_000)), this.#stop.signal);
      }
    }
  }

  /** Whether an error will not pass: it is none of the cluster's, or we have been denied something for a while. */
  #isFinal(error: unknown): boolean {
    if (!(error instanceof ForbiddenError)) {
      return !(error instanceof UnavailableError || error instanceof KubernetesError);
    }
    const now = this.#context.clock.monotonic();
    if (now - this.#deniedAt > 6 * this.#options.deniedMs) this.#deniedAt = now;
    return now - this.#deniedAt >= this.#options.deniedMs;
  }

  #newQueue(): EvictionQueue {
    return new EvictionQueue(this.#options.pods, this.#context.random);
  }
}

/** Whether a pod goes on using its volumes when all that are to be evicted are gone. */
function staysInUse(pod: PodView, policy: PodPolicy): boolean {
  const verdict = judge(pod, policy);
  return verdict.kind === "skip" && verdict.why !== "finished";
}

/** The drain found its hold gone. */
class HoldGone extends Error {}
