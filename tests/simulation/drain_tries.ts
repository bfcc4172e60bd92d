/**
 * The part of the observer that knows how long each process has tried to drain each Node of a hold: since its first
 * call about that Node has taken effect. Before a time-out deletes pods or passes over them, the process has tried for
 * a while, whatever the age of the hold.
 *
 * @module
 */

import { recordOf } from "../chaos/nodes/judge.ts";
import type { SimulatedProcess } from "./engine/process.ts";
import type { Scheduler } from "./engine/scheduler.ts";
import type { Observer } from "./observer.ts";
import { drainTimeoutMs, type Plan } from "./plan.ts";
import type { ApiCall } from "./world/api.ts";
import { holdsNoting } from "./yes_check.ts";

/** How long a process tries at least, in milliseconds, where the time limit is not shorter. */
const OWN_MS = 300_000;

/** How much less than that counts as well, in milliseconds. */
const TOLERANCE_MS = 2_000;

/** What it works with. */
export interface DrainTriesOptions {
  readonly scheduler: Scheduler;
  readonly observer: Observer;
  readonly plan: Plan;
}

/** See the module. */
export class DrainTries {
  readonly #options: DrainTriesOptions;
  /** When the first call of a process about a Node of a hold took effect, in milliseconds since the epoch. */
  readonly #began = new WeakMap<SimulatedProcess, Map<string, number>>();
  /** Whether the operator permits more than a drain does once its time is over. */
  readonly #isNeeded: boolean;
  readonly #groups: ReadonlySet<string>;
  /** How long a process must have tried, in milliseconds. */
  readonly #leastMs: number;

  /** Makes one that has seen nothing. */
  constructor(options: DrainTriesOptions) {
    const { plan } = options;
    this.#options = options;
    this.#isNeeded = ["proceed", "delete"].includes(plan.flags["drain-on-timeout"]!);
    this.#groups = new Set(plan.hosts.map(({ group }) => group));
    this.#leastMs = Math.min(drainTimeoutMs(plan), OWN_MS) - TOLERANCE_MS;
  }

  /** A call of a process has taken effect. */
  called(process: SimulatedProcess, call: ApiCall): void {
    const node = this.#isNeeded ? drainedBy(call) : undefined;
    if (node === undefined) return;
    const began = this.#began.get(process) ?? new Map<string, number>();
    this.#began.set(process, began);
    const { now } = this.#options.scheduler;
    for (const hold of this.#holdsOf(node)) if (!began.has(hold)) began.set(hold, now);
  }

  /**
   * Says how long a process has tried to drain a Node, where that is not long enough for what follows a time-out.
   *
   * @param process Undefined where it is gone.
   * @returns In seconds; undefined where it is long enough, or no hold notes the Node.
   */
  tooShort(process: SimulatedProcess | undefined, node: string | undefined): number | undefined {
    if (process === undefined || node === undefined) return undefined;
    const { scheduler: { now }, observer } = this.#options;
    const began = this.#began.get(process);
    const holds = this.#holdsOf(node);
    if (holds.length === 0) return undefined;
    // A drain goes on although a backup or an administrator changes what is noted of its hold.
    const isSure = !observer.wasRestored && !this.#isEdited(node);
    const counted = isSure ? holds : [...began?.keys() ?? []].filter((key) => key.startsWith(`${node} `));
    const triedMs = Math.max(0, ...counted.map((hold) => now - (began?.get(hold) ?? now)));
    return triedMs < this.#leastMs ? Math.floor(triedMs / 1000) : undefined;
  }

  /** Whether somebody has changed by hand what is noted of a hold of the Node. */
  #isEdited(node: string): boolean {
    const { observer } = this.#options;
    return this.#holdersOf(node).some(({ group, id }) => observer.grantOf(group, id)?.isNoteLost !== undefined);
  }

  /**
   * The holds that note a Node, each with the Node's UID, behind its name. What a restore brings back is the same hold.
   */
  #holdsOf(node: string): string[] {
    return this.#holdersOf(node).map(({ group, id, since, uid }) => `${node} ${group} ${id} ${since} ${uid}`);
  }

  /** What the holds that note a Node say. */
  #holdersOf(node: string): { readonly group: string; readonly id: string; since?: number; uid?: string }[] {
    const { observer } = this.#options;
    return holdsNoting(observer, this.#groups, node).map((hold) => {
      return { ...hold, ...recordOf(observer.history, hold, observer.moment) };
    });
  }
}

/** The Node that a call of a drain is about: it sets the cordon, or lists or watches the pods; undefined for others. */
function drainedBy({ method, path }: ApiCall): string | undefined {
  if (method === "PATCH") return /^\/api\/v1\/nodes\/([^/?]+)/.exec(path)?.[1];
  if (method !== "GET" || !path.startsWith("/api/v1/pods?")) return undefined;
  const selector = new URLSearchParams(path.split("?", 2)[1]).get("fieldSelector");
  return selector === null ? undefined : /^spec\.nodeName=(.+)$/.exec(selector)?.[1];
}
