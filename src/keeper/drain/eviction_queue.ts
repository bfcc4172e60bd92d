/**
 * The state of one drain's pods: which pod to evict next and when, which pods to wait for, and why each one is still
 * there. It makes no calls and has no clock; the drain tells it what it sees and does.
 *
 * Only the list and the watch of pods say that a pod is gone. A 404 to an eviction does not say it, because the API
 * server may have failed to find the pod's budget instead.
 *
 * Pods that one budget protects share a pause: when it is over, one of them is tried, the next time another one. Once
 * the budget lets a pod go, the next pod is tried at once. So a budget costs one call for each pause, however many
 * pods it protects.
 *
 * Which pods may be left is decided by {@link judgeNode}, as at a yes. Such pods stay in the queue, because what is
 * known of the node may change, but nothing is done about them and nobody waits for them. Pods that came after the
 * grant are evicted one at a time for each controller (those without one, for each namespace), as {@link DrainMemory}
 * paces them.
 *
 * @module
 */

import type { PodLeft } from "../../lock/node_keeper.ts";
import { judgeNode, type NodeEvidence, type SeenPod, type StayingPod } from "../../lock/yes.ts";
import { Budget } from "./budget.ts";
import type { DrainMemory } from "./drain_memory.ts";
import { type Claim, type EvictionAnswer, judge, paceOf, type PodPolicy, type PodView, type Verdict } from "./pods.ts";
import { seenPod } from "./proof.ts";

/** The first and the longest pause after an answer that no budget made, in milliseconds. It doubles with each. */
const PAUSE_MS = 1_000;
const MAX_FAILURE_PAUSE_MS = 30_000;

/** How long a pod may stay unchanged after its eviction was accepted, in milliseconds, before it is evicted again. */
const ACCEPTED_MS = 10_000;

/** What is known beside the pods. Times are milliseconds since the epoch by the API server's clock. */
export type QueueFacts = Omit<NodeEvidence, "pods" | "exhausted">;

/** What an {@link EvictionQueue} works with. */
export interface EvictionQueueOptions {
  /** Which pods are evicted. */
  readonly policy: PodPolicy;
  /** What is remembered of the hold's drains of the node. */
  readonly memory: DrainMemory;
  /** Gives a number from 0 (inclusive) to 1 (exclusive), for jitter. */
  random(): number;
  /** Tells what is known now. Whether the node is cordoned plays no part. */
  facts(): QueueFacts;
}

interface Entry {
  pod: PodView;
  /** The pod as the definition of a yes sees it. */
  seen: SeenPod;
  verdict: Verdict;
  /** Whether it came after the grant. */
  readonly isLate: boolean;
  /** How often its eviction was answered. */
  tries: number;
  /** Since when a call about it is under way. */
  beganAt?: number;
  /** The budget that is asked by that call. */
  asked?: Budget;
  /** Whether the last eviction was accepted. */
  accepted: boolean;
  /** The earliest time of the next try. */
  notBefore: number;
  /** What holds it back, for a person. */
  reason: string;
  /** The key of the budget that refused it last. */
  budget?: string;
}

/** The pods of one drain. Times are milliseconds on any one scale that does not jump. */
export class EvictionQueue {
  readonly #options: EvictionQueueOptions;
  readonly #entries = new Map<string, Entry>();
  readonly #budgets = new Map<string, Budget>();
  /** The pods that are being tried, by UID. A pod may be gone before its eviction is answered. */
  readonly #trying = new Map<string, Entry>();
  #unbound = false;

  /** Makes an empty one. */
  constructor(options: EvictionQueueOptions) {
    this.#options = options;
  }

  /** Notes all pods that are on the node now. */
  listed(pods: readonly PodView[]): void {
    this.#options.memory.listed(pods);
    const uids = new Set(pods.map((pod) => pod.uid));
    for (const uid of this.#entries.keys()) if (!uids.has(uid)) this.#entries.delete(uid);
    for (const pod of pods) this.seen(pod);
  }

  /** Notes a pod that is new or has changed. */
  seen(pod: PodView): void {
    const { policy, memory, facts } = this.#options;
    const verdict = judge(pod, policy);
    if (verdict.kind === "skip") {
      this.#entries.delete(pod.uid);
      return;
    }
    const now = { pod, seen: seenPod(pod, policy), verdict };
    const entry = this.#entries.get(pod.uid);
    if (entry !== undefined) {
      Object.assign(entry, now);
    } else {
      const isLate = memory.isLate(pod, facts().grantedAt);
      const reason = "its eviction has not begun";
      this.#entries.set(pod.uid, { ...now, isLate, tries: 0, accepted: false, notBefore: -Infinity, reason });
    }
  }

  /** Notes that a pod, named by its UID, is gone. */
  gone(uid: string): void {
    this.#entries.delete(uid);
  }

  /** How many pods are left to wait for. */
  get size(): number {
    return this.#left().length;
  }

  /** How many of them a budget holds back. */
  get blocked(): number {
    return this.#left().filter((entry) => entry.budget !== undefined && !isGoing(entry)).length;
  }

  /** The pods that the operator does not want evicted. */
  get refused(): PodLeft[] {
    return this.#left().flatMap(({ pod, verdict }) => {
      return verdict.kind === "refuse" ? [{ namespace: pod.namespace, name: pod.name, reason: verdict.reason }] : [];
    });
  }

  /**
   * Whether each pod is terminating or was tried at least once, and no call is under way. Pods that come again and
   * again are not waited for.
   */
  get allTried(): boolean {
    const { memory } = this.#options;
    return this.#left().every((entry) => {
      if (entry.beganAt !== undefined) return false;
      return isGoing(entry) || entry.tries > 0 || (entry.isLate && memory.isEndless(paceOf(entry.pod)));
    });
  }

  /** Whether the API server's time decides if a pod is left: the kubelet that would end it does not answer. */
  get needsTime(): boolean {
    return this.#options.facts().node?.ready === "Unknown" && this.#left().some(({ pod }) => pod.terminating);
  }

  /** The pods that may be left although they are not exempt, and why, once no other one is. */
  get staying(): readonly StayingPod[] {
    const verdict = this.#judge();
    return verdict.kind === "empty" ? verdict.staying : [];
  }

  /** The claims of the pods that may be left. */
  get claims(): Claim[] {
    const left = new Set(this.#left());
    return [...this.#entries.values()].filter((entry) => !left.has(entry)).flatMap(({ pod }) => pod.claims);
  }

  /** The pods that are left and why: first those that something holds back, then those that are terminating. */
  left(): PodLeft[] {
    const entries = this.#left();
    return [...entries.filter((entry) => !isGoing(entry)), ...entries.filter(isGoing)].map((entry) => ({
      namespace: entry.pod.namespace,
      name: entry.pod.name,
      reason: reasonOf(entry),
    }));
  }

  /** The pod whose turn it is; undefined where none may be tried now. Changes nothing. */
  due(now: number): PodView | undefined {
    let best: Entry | undefined;
    for (const entry of this.#candidates()) {
      if (this.#due(entry) > now) continue;
      // Pods that one budget holds back take turns.
      if (best === undefined || entry.tries < best.tries) best = entry;
    }
    return best?.pod;
  }

  /** Notes that the pod that was {@link due} is being tried. {@link answered} must follow. */
  began({ uid }: PodView, now: number): void {
    const entry = this.#entries.get(uid);
    if (entry === undefined) return;
    entry.beganAt = now;
    this.#trying.set(uid, entry);
    entry.asked = this.#budgetOf(entry);
    if (entry.asked !== undefined) entry.asked.trying = true;
  }

  /** When a pod may be {@link due} next; undefined where only an answer or an event can change that. */
  nextAt(): number | undefined {
    const times = this.#candidates().map((entry) => this.#due(entry)).filter(Number.isFinite);
    return times.length === 0 ? undefined : Math.min(...times);
  }

  /** Notes the answer to a pod's eviction or deletion. */
  answered({ uid }: PodView, answer: EvictionAnswer, now: number): void {
    const entry = this.#trying.get(uid);
    if (entry === undefined) return;
    this.#trying.delete(uid);
    const { pod, isLate, beganAt = now, asked } = entry;
    Object.assign(entry, { beganAt: undefined, asked: undefined, accepted: answer.kind === "accepted" });
    entry.tries++;
    if (asked !== undefined) asked.trying = false;
    const { memory, facts } = this.#options;
    const evicted = (isSure: boolean) =>
      memory.evicted(pod, { isLate, isSure, beganAt, answeredAt: now, time: facts().now });
    switch (answer.kind) {
      case "accepted": {
        evicted(true);
        // The budget may allow another one.
        asked?.allowed(now);
        entry.notBefore = now + ACCEPTED_MS;
        entry.budget = undefined;
        break;
      }
      case "blocked": {
        entry.reason = answer.reason;
        entry.budget = `${pod.namespace}/${answer.budget ?? `of ${uid}`}`;
        const budget = this.#budgets.get(entry.budget) ?? new Budget();
        this.#budgets.set(entry.budget, budget);
        budget.refused(now, answer.retryAfterMs ?? 0, this.#jitter());
        break;
      }
      case "gone":
      case "replaced":
      case "several_budgets":
      case "namespace_ending":
      case "failed": {
        if (answer.kind === "failed" && answer.isUnsure) evicted(false);
        entry.reason = "reason" in answer ? answer.reason : "the API server did not find it";
        entry.budget = undefined;
        const pauseMs = Math.min(PAUSE_MS * 2 ** Math.min(entry.tries - 1, 5), MAX_FAILURE_PAUSE_MS);
        const askedMs = answer.kind === "failed" ? answer.retryAfterMs ?? 0 : 0;
        entry.notBefore = now + Math.max(askedMs, pauseMs * this.#jitter());
        break;
      }
    }
  }

  /** Forgets what budgets and earlier answers said, because the pods are deleted from now on. */
  unbind(): void {
    this.#unbound = true;
    for (const entry of this.#entries.values()) {
      entry.accepted = false;
      entry.budget = undefined;
      entry.notBefore = -Infinity;
    }
  }

  #jitter(): number {
    return 0.75 + 0.25 * this.#options.random();
  }

  #judge(): ReturnType<typeof judgeNode> {
    const { facts, memory: { exhausted } } = this.#options;
    const { node, ...more } = facts();
    const pods = [...this.#entries.values()].map(({ seen }) => seen);
    return judgeNode({
      ...more,
      // Whoever evicts the pods sees to the cordon.
      ...(node && { node: { ...node, unschedulable: true, deleting: false } }),
      pods,
      exhausted,
    });
  }

  /** The pods that must go. */
  #left(): Entry[] {
    const verdict = this.#judge();
    if (verdict.kind !== "pods_left") return [];
    const left = new Set(verdict.pods);
    return [...this.#entries.values()].filter(({ seen }) => left.has(seen));
  }

  /** The pods that may be tried, now or later. */
  #candidates(): Entry[] {
    return this.#left().filter(({ beganAt, verdict }) => beganAt === undefined && verdict.kind === "evict");
  }

  #due(entry: Entry): number {
    const budget = this.#budgetOf(entry);
    const at = budget === undefined ? entry.notBefore : budget.notBefore;
    return entry.isLate ? Math.max(at, this.#turnOf(paceOf(entry.pod))) : at;
  }

  /** When the next pod that came late and is paced by the same may be tried. */
  #turnOf(pace: string): number {
    const isTried = [...this.#trying.values()].some(({ pod, isLate }) => isLate && paceOf(pod) === pace);
    return isTried ? Infinity : this.#options.memory.notBefore(pace);
  }

  #budgetOf(entry: Entry): Budget | undefined {
    return entry.budget === undefined || this.#unbound ? undefined : this.#budgets.get(entry.budget);
  }
}

function reasonOf(entry: Entry): string {
  const { pod, verdict } = entry;
  if (verdict.kind === "refuse") return verdict.reason;
  if (pod.terminating) {
    const kept = pod.finalizers.join(", ");
    return kept === "" ? "it is being stopped" : `it is being deleted, and its finalizers are not done: ${kept}`;
  }
  return entry.accepted ? "it is being stopped" : entry.reason;
}

function isGoing(entry: Entry): boolean {
  return entry.pod.terminating || entry.accepted;
}
