/**
 * What this process remembers of one hold's drain of one Node, over several runs of it. The host of a hold may move to
 * another Node, where nobody has put a pod back yet. Nothing that a yes rests on depends on what another replica
 * remembers: whatever is forgotten only makes a drain evict once more.
 *
 * @module
 */

import { isAfter, MAX_EVICTIONS } from "../../lock/yes.ts";
import { paceOf, type PodView } from "./pods.ts";

/**
 * The first and the longest pause before a pod is evicted that its controller put back, in milliseconds. It doubles.
 */
const PAUSE_MS = 1_000;
const MAX_PAUSE_MS = 4_000;

/**
 * How much earlier than by our clock an eviction may have been accepted by the API server's, in milliseconds: our clock
 * is ahead by less than a second, and the times of pods are whole seconds.
 */
const CLOCK_ERROR_MS = 2_000;

/** The evictions of the pods of one controller, or of those in one namespace that have none. */
interface Pace {
  /** Those of pods that came late, in their order, as far as it cannot be excluded that they were accepted. */
  readonly late: LateEviction[];
  /** The earliest time of the next one, on the scale that the drains use. */
  notBefore: number;
}

/** The eviction of a pod that came late. */
interface LateEviction {
  /** The pod's UID. */
  readonly uid: string;
  /**
   * The earliest time at which it may have been accepted, in milliseconds since the epoch; undefined where nobody knows.
   */
  readonly at: number | undefined;
}

/** An eviction that was accepted, or of which nobody knows. */
export interface Eviction {
  /** Whether it is known that it was accepted. */
  readonly isSure: boolean;
  /** Whether the pod came late. */
  readonly isLate: boolean;
  /** When the call began, on the scale that the drains use. */
  readonly beganAt: number;
  /** When it was answered, on the same scale. */
  readonly answeredAt: number;
  /** The API server's time at the answer, in milliseconds since the epoch; undefined where it is not known. */
  readonly time?: number;
}

/** See the module. */
export class DrainMemory {
  /**
   * When a drain here first saw its pods, by the clock's monotonic time; undefined where none has, or where the last
   * one ended because the API server was away.
   */
  beganAt: number | undefined;
  /** Whether it was cordoned for the hold. */
  wasCordoned = false;
  /** How often its cordon was set again after others had lifted it. */
  cordonedAgain = 0;
  /** Whether a drain found it empty. If there is another drain, what that one saw has changed. */
  wasEmptied = false;
  /**
   * The names of the VolumeAttachments that a drain has waited for in vain. The next drain does not wait for them again:
   * nobody may have waited for the end of this one, so that its host would never get its yes.
   */
  readonly stillAttached: Set<string> = new Set();
  /** See {@link "../../lock/yes.ts".NodeEvidence.exhausted}. */
  readonly exhausted: Map<string, number> = new Map();
  /** The UIDs of the pods that the first list showed. */
  #first: ReadonlySet<string> | undefined;
  readonly #paces = new Map<string, Pace>();
  /** The UIDs of the pods whose eviction was counted, and whether one of them is known to have been accepted. */
  readonly #counted = new Map<string, boolean>();

  /** Notes a list of the pods on the Node. The first one tells what was there. */
  listed(pods: readonly PodView[]): void {
    this.#first ??= new Set(pods.map(({ uid }) => uid));
  }

  /**
   * Whether a pod came after the grant, so that its controller may put back pods without end.
   *
   * @param grantedAt When the slot was granted, in milliseconds since the epoch by the API server's clock.
   */
  isLate({ uid, createdAt }: PodView, grantedAt: number): boolean {
    return isAfter(createdAt, grantedAt) || (this.#first !== undefined && !this.#first.has(uid));
  }

  /** The earliest time of the next eviction of a pod that came late, for what paces it ({@link paceOf}). */
  notBefore(pace: string): number {
    return this.#paces.get(pace)?.notBefore ?? -Infinity;
  }

  /** Whether pods that one thing paces ({@link paceOf}) came late so often that waiting for the next one has no end. */
  isEndless(pace: string): boolean {
    return (this.#paces.get(pace)?.late.length ?? 0) >= MAX_EVICTIONS;
  }

  /**
   * Notes that a pod's eviction was accepted, or may have been: an answer may be lost although its call took effect,
   * and what a hold evicts must stay bounded. Another eviction of the same pod is not a further one.
   */
  evicted(pod: PodView, { isLate, isSure, beganAt, answeredAt, time }: Eviction): void {
    const wasSure = this.#counted.get(pod.uid);
    if (wasSure || (wasSure === false && !isSure)) return;
    this.#counted.set(pod.uid, isSure);
    const key = paceOf(pod);
    const pace = this.#paces.get(key) ?? { late: [], notBefore: -Infinity };
    this.#paces.set(key, pace);
    if (isLate) {
      // A try that turns out to have had no effect gives way to the one that had, which comes after all others.
      const tried = pace.late.findIndex(({ uid }) => uid === pod.uid);
      if (tried >= 0) pace.late.splice(tried, 1);
      const at = time === undefined ? undefined : time - (answeredAt - beganAt) - CLOCK_ERROR_MS;
      pace.late.push({ uid: pod.uid, at });
    }
    pace.notBefore = answeredAt + Math.min(PAUSE_MS * 2 ** pace.late.length, MAX_PAUSE_MS);
    // A pod without a controller is put back by nobody, so the next one is not like it: it must go too.
    const { controllerUid: controller } = pod;
    const last = pace.late.slice(MAX_EVICTIONS - 1).find(({ at }) => at !== undefined);
    if (controller !== undefined && last?.at !== undefined) this.exhausted.set(controller, last.at);
  }
}
