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
 * @module
 */

import type { PodLeft } from "../../lock/node_keeper.ts";
import { type EvictionAnswer, judge, type PodPolicy, type PodView, type Verdict } from "./pods.ts";

/** The first pause after a refusal, in milliseconds. It doubles with each further one up to {@link MAX_PAUSE_MS}. */
const PAUSE_MS = 1_000;

/** The longest pause before a budget is asked again, in milliseconds. */
const MAX_PAUSE_MS = 5_000;

/** The longest pause after a refusal that is not likely to pass, in milliseconds. */
const MAX_FAILURE_PAUSE_MS = 30_000;

/** How long a pod may stay unchanged after its eviction was accepted, in milliseconds, before it is evicted again. */
const ACCEPTED_MS = 10_000;

interface Entry {
  pod: PodView;
  verdict: Verdict;
  /** How often its eviction was answered. */
  tries: number;
  /** Whether a call about it is under way. */
  trying: boolean;
  /** Whether the last eviction was accepted. */
  accepted: boolean;
  /** The earliest time of the next try. */
  notBefore: number;
  /** What holds it back, for a person. */
  reason: string;
  /** The key of the budget that refused it last. */
  budget?: string;
}

interface Budget {
  notBefore: number;
  pauseMs: number;
  /** Whether one of its pods is being tried. */
  trying: boolean;
}

/** The pods of one drain. Times are milliseconds on any one scale that does not jump. */
export class EvictionQueue {
  readonly #policy: PodPolicy;
  readonly #entries = new Map<string, Entry>();
  readonly #budgets = new Map<string, Budget>();
  /** The budget of each pod that is being tried, by UID: a pod may be gone before its eviction is answered. */
  readonly #asked = new Map<string, Budget>();
  readonly #random: () => number;
  #unbound = false;

  /** Makes an empty one. `random` gives numbers from 0 (inclusive) to 1 (exclusive), for jitter. */
  constructor(policy: PodPolicy, random: () => number) {
    this.#policy = policy;
    this.#random = random;
  }

  /** Notes all pods that are on the node now. */
  listed(pods: readonly PodView[]): void {
    const uids = new Set(pods.map((pod) => pod.uid));
    for (const uid of this.#entries.keys()) if (!uids.has(uid)) this.#entries.delete(uid);
    for (const pod of pods) this.seen(pod);
  }

  /** Notes a pod that is new or has changed. */
  seen(pod: PodView): void {
    const verdict = judge(pod, this.#policy);
    if (verdict.kind === "skip") {
      this.#entries.delete(pod.uid);
      return;
    }
    const entry = this.#entries.get(pod.uid);
    if (entry !== undefined) {
      entry.pod = pod;
      entry.verdict = verdict;
    } else {
      const fresh = {
        tries: 0,
        trying: false,
        accepted: false,
        notBefore: -Infinity,
        reason: "its eviction has not begun",
      };
      this.#entries.set(pod.uid, { pod, verdict, ...fresh });
    }
  }

  /** Notes that a pod, named by its UID, is gone. */
  gone(uid: string): void {
    this.#entries.delete(uid);
  }

  /** How many pods are left to wait for. */
  get size(): number {
    return this.#entries.size;
  }

  /** How many of them a budget holds back. */
  get blocked(): number {
    return [...this.#entries.values()].filter((entry) => entry.budget !== undefined && !isGoing(entry)).length;
  }

  /** The pods that the operator does not want evicted. */
  get refused(): PodLeft[] {
    return [...this.#entries.values()].flatMap(({ pod, verdict }) => {
      return verdict.kind === "refuse" ? [{ namespace: pod.namespace, name: pod.name, reason: verdict.reason }] : [];
    });
  }

  /** Whether each pod is terminating or was tried at least once, and no call is under way. */
  get allTried(): boolean {
    const last = this.#onlyLastLeft();
    return [...this.#entries.values()].every((entry) => {
      return !entry.trying && (isGoing(entry) || entry.tries > 0 || (entry.verdict.kind === "last" && !last));
    });
  }

  /** The pods that are left and why: first those that something holds back, then those that are terminating. */
  left(): PodLeft[] {
    const entries = [...this.#entries.values()];
    return [...entries.filter((entry) => !isGoing(entry)), ...entries.filter(isGoing)].map((entry) => ({
      namespace: entry.pod.namespace,
      name: entry.pod.name,
      reason: this.#reason(entry),
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
  began({ uid }: PodView): void {
    const entry = this.#entries.get(uid);
    if (entry === undefined) return;
    entry.trying = true;
    const budget = this.#budgetOf(entry);
    if (budget === undefined) return;
    budget.trying = true;
    this.#asked.set(uid, budget);
  }

  /** When a pod may be {@link due} next; undefined where only an answer or an event can change that. */
  nextAt(): number | undefined {
    const times = [...this.#candidates()].map((entry) => this.#due(entry)).filter(Number.isFinite);
    return times.length === 0 ? undefined : Math.min(...times);
  }

  /** Notes the answer to a pod's eviction or deletion. */
  answered(pod: PodView, answer: EvictionAnswer, now: number): void {
    const asked = this.#asked.get(pod.uid);
    this.#asked.delete(pod.uid);
    if (asked !== undefined) {
      asked.trying = false;
      // The budget may allow another one.
      if (answer.kind === "accepted") Object.assign(asked, { notBefore: now, pauseMs: 0 });
    }
    const entry = this.#entries.get(pod.uid);
    if (entry === undefined) return;
    entry.trying = false;
    entry.accepted = answer.kind === "accepted";
    entry.tries++;
    switch (answer.kind) {
      case "accepted":
        entry.notBefore = now + ACCEPTED_MS;
        entry.budget = undefined;
        break;
      case "blocked": {
        entry.reason = answer.reason;
        const key = `${pod.namespace}/${answer.budget ?? `of ${pod.uid}`}`;
        entry.budget = key;
        const budget = this.#budgets.get(key) ?? { notBefore: 0, pauseMs: 0, trying: false };
        // Refusals of simultaneous calls count once.
        if (budget.notBefore <= now) {
          budget.pauseMs = Math.min(Math.max(budget.pauseMs * 2, PAUSE_MS), MAX_PAUSE_MS);
          budget.notBefore = now + Math.max(answer.retryAfterMs ?? 0, budget.pauseMs * (0.75 + 0.25 * this.#random()));
        }
        this.#budgets.set(key, budget);
        break;
      }
      case "gone":
      case "replaced":
      case "several_budgets":
      case "namespace_ending":
      case "failed": {
        entry.reason = "reason" in answer ? answer.reason : "the API server did not find it";
        entry.budget = undefined;
        const pauseMs = Math.min(PAUSE_MS * 2 ** Math.min(entry.tries - 1, 5), MAX_FAILURE_PAUSE_MS);
        const askedMs = answer.kind === "failed" ? answer.retryAfterMs ?? 0 : 0;
        entry.notBefore = now + Math.max(askedMs, pauseMs * (0.75 + 0.25 * this.#random()));
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

  /** The pods that may be tried, now or later. */
  *#candidates(): Generator<Entry> {
    const last = this.#onlyLastLeft();
    for (const entry of this.#entries.values()) {
      if (entry.trying || entry.verdict.kind === "wait" || entry.verdict.kind === "refuse") continue;
      if (entry.verdict.kind === "last" && !last) continue;
      yield entry;
    }
  }

  #onlyLastLeft(): boolean {
    return [...this.#entries.values()].every(({ verdict }) => verdict.kind === "last");
  }

  #due(entry: Entry): number {
    const budget = this.#budgetOf(entry);
    return budget === undefined ? entry.notBefore : budget.trying ? Infinity : budget.notBefore;
  }

  #budgetOf(entry: Entry): Budget | undefined {
    return entry.budget === undefined || this.#unbound ? undefined : this.#budgets.get(entry.budget);
  }

  #reason(entry: Entry): string {
    const { pod, verdict } = entry;
    if (verdict.kind === "refuse") return verdict.reason;
    if (pod.terminating) {
      const kept = pod.finalizers.join(", ");
      return kept === "" ? "it is being stopped" : `it is being deleted, and its finalizers are not done: ${kept}`;
    }
    if (entry.accepted) return "it is being stopped";
    if (verdict.kind === "last" && !this.#onlyLastLeft()) return "this server runs in it, so it goes last";
    return entry.reason;
  }
}

function isGoing(entry: Entry): boolean {
  return entry.pod.terminating || entry.accepted;
}
