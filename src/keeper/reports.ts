/**
 * What the node keeper says about its work: log lines, Kubernetes Events and
 * numbers for metrics. It decides nothing and never throws.
 *
 * @module
 */

import type { Clock } from "../lock/clock.ts";
import type { DrainOutcome, PodLeft } from "../lock/node_keeper.ts";
import type { DrainListener, DrainTask } from "./drain/drain.ts";
import type { ClusterEvents } from "../kubernetes/events.ts";
import type { EvictionAnswer, PodView } from "./drain/pods.ts";

/** A logger: a constant message and fields. LogTape's is one. */
export interface KeeperLog {
  /** Something that is as it should be. */
  info(message: string, fields: Record<string, unknown>): void;
  /** Something that an operator may want to look at. */
  warning(message: string, fields: Record<string, unknown>): void;
  /** Something that an operator must look at. */
  error(message: string, fields: Record<string, unknown>): void;
}

/** How a drain ended, as a metric's label. */
export type DrainResult = "drained" | "proceeded" | "failed" | "abandoned" | "interrupted" | "error";

/** Told numbers for metrics. */
export interface KeeperObserver {
  /** A drain begins in this process. */
  drainBegan?(group: string): void;
  /** It ended. */
  drainEnded?(group: string, result: DrainResult, seconds: number): void;
  /** An eviction or deletion was answered. */
  eviction?(result: EvictionAnswer["kind"]): void;
  /** How many pods the group's drains here wait for, and how many of those a budget holds back. */
  podsLeft?(group: string, left: number, blocked: number): void;
  /** How many nodes have a machine-id that is none. */
  malformedNodes?(count: number): void;
  /** Whether the view of the nodes is in step with the cluster. */
  nodesSynced?(synced: boolean): void;
  /** A cordon of ours that outlived its lock was lifted. */
  repaired?(): void;
}

/** Where the reports go. Each may be left out. */
export interface ReportTargets {
  /** Log lines. */
  readonly log?: KeeperLog;
  /** Kubernetes Events. */
  readonly events?: Pick<ClusterEvents, "record">;
  /** Numbers. */
  readonly observer?: KeeperObserver;
}

/** See the module. */
export class KeeperReports implements DrainListener {
  readonly #targets: ReportTargets;
  readonly #clock: Clock;
  readonly #began = new Map<DrainTask, number>();
  readonly #left = new Map<DrainTask, { left: number; blocked: number }>();
  /** What was said last of each pod that could not be evicted, by UID: a budget is asked every few seconds. */
  readonly #said = new Map<DrainTask, Map<string, string>>();
  readonly #forbidden = new Set<string>();

  /** Reports to `targets`; `clock` measures how long drains take. */
  constructor(targets: ReportTargets, clock: Clock) {
    this.#targets = targets;
    this.#clock = clock;
  }

  /** A drain begins. */
  drainBegan(task: DrainTask): void {
    this.#began.set(task, this.#clock.monotonic());
    this.#said.set(task, new Map());
    this.#targets.observer?.drainBegan?.(task.owner.group);
    this.#targets.log?.info("drain begins", fields(task));
  }

  /** A drain ended: with an outcome, or with a fault. */
  drainEnded(task: DrainTask, outcome: DrainOutcome | undefined, error?: unknown): void {
    const seconds = (this.#clock.monotonic() - (this.#began.get(task) ?? this.#clock.monotonic())) / 1000;
    this.#began.delete(task);
    this.#said.delete(task);
    this.#left.delete(task);
    this.#tellLeft(task.owner.group);
    const result = outcome === undefined ? "error" : RESULTS[outcome.kind];
    this.#targets.observer?.drainEnded?.(task.owner.group, result, seconds);
    const about = { ...fields(task), seconds };
    const { log } = this.#targets;
    switch (outcome?.kind) {
      case "drained":
        log?.info("node is drained", about);
        if (!task.again) this.#event(task, "Drained", `Drained for the reboot of ${named(task)}`);
        break;
      case "proceed":
        log?.warning("drain time-out: the reboot goes on with pods left", { ...about, pods: outcome.pods });
        if (!task.again) {
          this.#event(task, "DrainTimedOut", `Not drained in time; the reboot goes on: ${list(outcome.pods)}`, true);
        }
        break;
      case "failed":
        log?.error("drain failed: the node stays cordoned and the lock held", { ...about, pods: outcome.pods });
        this.#event(task, "DrainTimedOut", `Not drained; no reboot: ${list(outcome.pods)}`, true);
        break;
      case "abandoned":
        log?.warning("drain stopped: its hold has ended", about);
        this.#event(task, "Uncordoned", `The drain for ${named(task)} was stopped: it holds its lock no more`);
        break;
      case "draining":
        log?.info("drain interrupted: the process ends", about);
        break;
      case undefined:
        log?.error("drain broke off", { ...about, error });
        break;
    }
  }

  /** See {@link DrainListener.cordoned}. */
  cordoned(task: DrainTask): void {
    this.#targets.log?.info("node is cordoned", fields(task));
    this.#event(task, "Cordoned", `Cordoned for the reboot of ${named(task)}`);
  }

  /** See {@link DrainListener.evicted}. */
  evicted(task: DrainTask, pod: PodView, answer: EvictionAnswer): void {
    this.#targets.observer?.eviction?.(answer.kind);
    const about = { ...fields(task), namespace: pod.namespace, pod: pod.name };
    switch (answer.kind) {
      case "accepted":
      case "gone":
      case "replaced":
        this.#targets.log?.info("pod is evicted", { ...about, result: answer.kind });
        break;
      default: {
        const said = this.#said.get(task);
        if (said?.get(pod.uid) === answer.reason) break;
        said?.set(pod.uid, answer.reason);
        const passing = answer.kind === "blocked" || answer.kind === "namespace_ending";
        this.#targets.log?.[passing ? "info" : "warning"]("pod cannot be evicted now", {
          ...about,
          reason: answer.reason,
        });
      }
    }
    if (answer.kind === "blocked" || answer.kind === "several_budgets") {
      // One note a budget, however many pods it holds back: they are one series.
      const what = answer.kind === "blocked" && answer.budget !== undefined
        ? `PodDisruptionBudget ${pod.namespace}/${answer.budget} allows no disruption now`
        : `Pod ${pod.namespace}/${pod.name}: ${answer.reason}`;
      this.#event(task, "DrainBlocked", `${what}; the reboot of ${named(task)} waits`, true);
    }
  }

  /** See {@link DrainListener.progress}. */
  progress(task: DrainTask, left: number, blocked: number): void {
    const known = this.#left.get(task);
    if (known?.left === left && known.blocked === blocked) return;
    this.#left.set(task, { left, blocked });
    this.#tellLeft(task.owner.group);
  }

  /** See {@link DrainListener.deleting}. */
  deleting(task: DrainTask, pods: readonly PodLeft[]): void {
    this.#targets.log?.warning("drain time-out: the pods left are deleted", { ...fields(task), pods });
    this.#event(task, "DrainTimedOut", `Not drained in time; deleting: ${list(pods)}`, true);
  }

  /** See {@link DrainListener.stillAttached}. */
  stillAttached(task: DrainTask, volumes: readonly string[]): void {
    this.#targets.log?.warning("volumes stay attached to the drained node", { ...fields(task), volumes });
  }

  /** See {@link DrainListener.retrying}. */
  retrying(task: DrainTask, error: unknown): void {
    this.#targets.log?.warning("a call of the drain failed and is repeated", { ...fields(task), error });
  }

  /** Our cordon is lifted; `repaired` where nobody held its lock any more. */
  uncordoned(node: string, group: string, id: string, repaired: boolean): void {
    if (repaired) {
      this.#targets.observer?.repaired?.();
      this.#targets.log?.warning("a cordon that outlived its lock is lifted", { node, group, id });
    } else {
      this.#targets.log?.info("node is uncordoned", { node, group, id });
    }
    const why = repaired ? `the lock of ${id} in group ${group} is gone` : `${id} in group ${group} is back`;
    this.#targets.events?.record({ kind: "Node", name: node }, "Uncordoned", `Uncordoned: ${why}`);
  }

  /** A node that an administrator uncordoned carried our annotation no longer for a reason. */
  annotationRemoved(node: string): void {
    this.#targets.log?.info("a node was uncordoned by another: it is ours no more", { node });
  }

  /** A cordon could not be looked at, and will be again. */
  repairFailed(node: string, error: unknown): void {
    this.#targets.log?.warning("the cordon of a node could not be checked", { node, error });
  }

  /** Several nodes have a client's id. */
  ambiguous(id: string, nodes: readonly string[]): void {
    this.#targets.log?.error("several nodes have one id: none of them may reboot", { id, nodes });
  }

  /** A node's machine-id is none. */
  malformed(node: string, count: number): void {
    this.#targets.observer?.malformedNodes?.(count);
    this.#targets.log?.warning("the machine-id of a node is malformed: it matches no client", { node });
  }

  /** The watch of the nodes is in step, or, with a reason, is not. */
  watch(malformed: number, lost?: unknown): void {
    this.#targets.observer?.nodesSynced?.(lost === undefined);
    this.#targets.observer?.malformedNodes?.(malformed);
    if (lost !== undefined) this.#targets.log?.warning("the watch of the nodes is behind", { error: lost });
  }

  /** Something useful but not needed may not be done. Said once. */
  forbidden(error: Error): void {
    if (this.#forbidden.has(error.message)) return;
    this.#forbidden.add(error.message);
    this.#targets.log?.warning("a permission is missing", { error });
  }

  #tellLeft(group: string): void {
    let [left, blocked] = [0, 0];
    for (const [task, one] of this.#left) {
      if (task.owner.group !== group) continue;
      left += one.left;
      blocked += one.blocked;
    }
    this.#targets.observer?.podsLeft?.(group, left, blocked);
  }

  #event(task: DrainTask, reason: Parameters<ClusterEvents["record"]>[1], note: string, warning = false): void {
    this.#targets.events?.record({ kind: "Node", name: task.node }, reason, note, warning);
  }
}

const RESULTS: Readonly<Record<DrainOutcome["kind"], DrainResult>> = {
  drained: "drained",
  proceed: "proceeded",
  failed: "failed",
  abandoned: "abandoned",
  draining: "interrupted",
};

function fields(task: DrainTask): Record<string, unknown> {
  return { node: task.node, group: task.owner.group, id: task.owner.id };
}

function named(task: DrainTask): string {
  return `${task.owner.id} in group ${task.owner.group}`;
}

/** At most five pods, so that a note stays one. */
function list(pods: readonly PodLeft[]): string {
  const named = pods.slice(0, 5).map(({ namespace, name, reason }) => `${namespace}/${name}: ${reason}`);
  return [...named, ...(pods.length > 5 ? [`${pods.length - 5} more`] : [])].join("; ");
}
