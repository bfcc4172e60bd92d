/**
 * What the node keeper reports about its work: log lines, Kubernetes Events and numbers for metrics. It decides nothing
 * and never throws.
 *
 * @module
 */

import type { Clock } from "../lock/clock.ts";
import type { DrainResult } from "../lock/drain_report.ts";
import type { ClientId, Group } from "../lock/identity.ts";
import type { PodLeft } from "../lock/node_keeper.ts";
import type { StayingPod } from "../lock/yes.ts";
import type { DrainEnd } from "./drain/drain.ts";
import type { DrainListener, DrainTask } from "./drain/drain_task.ts";
import type { ClusterEvents } from "../kubernetes/events.ts";
import type { EvictionAnswer, PodView } from "./drain/pods.ts";
import type { CordonOwner } from "./nodes/cordon.ts";

/** A logger that takes a constant message and fields, such as LogTape's. */
export interface KeeperLog {
  /** Something is as it should be. */
  info(message: string, fields: Record<string, unknown>): void;
  /** An operator may want to look at something. */
  warning(message: string, fields: Record<string, unknown>): void;
  /** An operator must look at something. */
  error(message: string, fields: Record<string, unknown>): void;
}

/** Told numbers for metrics. The methods must not throw. */
export interface KeeperObserver {
  /** A drain ended in this process, after so many seconds. */
  drainEnded?(group: Group, result: DrainResult, seconds: number): void;
  /** The API server answered an eviction or a deletion. */
  eviction?(result: EvictionAnswer["kind"]): void;
  /** How many pods the group's drains here wait for, and how many of those a budget holds back. */
  podsLeft?(group: Group, left: number, blocked: number): void;
  /** How many nodes have a malformed machine-id. */
  malformedNodes?(count: number): void;
  /** Whether the watch of the nodes is in step with the cluster. */
  nodesSynced?(synced: boolean): void;
  /** A stale cordon of ours was lifted. */
  repaired?(): void;
}

/** Where the reports go. Each target is optional. */
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
  /** The last reason logged for each pod that could not be evicted, by UID. A budget is asked every few seconds. */
  readonly #said = new Map<DrainTask, Map<string, string>>();
  readonly #forbidden = new Set<string>();

  /** Makes reports to `targets`. `clock` measures how long drains take. */
  constructor(targets: ReportTargets, clock: Clock) {
    this.#targets = targets;
    this.#clock = clock;
  }

  /** A drain begins. */
  drainBegan(task: DrainTask): void {
    this.#began.set(task, this.#clock.monotonic());
    this.#said.set(task, new Map());
    this.#targets.log?.info("draining the node", fields(task));
  }

  /** A drain ended, by itself or (with `end` undefined) by a fault. */
  drainEnded(task: DrainTask, end: DrainEnd | undefined, error?: unknown): void {
    const seconds = (this.#clock.monotonic() - (this.#began.get(task) ?? this.#clock.monotonic())) / 1000;
    this.#began.delete(task);
    this.#said.delete(task);
    this.#left.delete(task);
    this.#tellLeft(task.owner.group);
    const result = end === undefined ? "error" : RESULTS[end.kind];
    this.#targets.observer?.drainEnded?.(task.owner.group, result, seconds);
    const about = { ...fields(task), seconds };
    const { log } = this.#targets;
    switch (end?.kind) {
      case "emptied":
        log?.info("the node is drained", about);
        if (!task.again) this.#event(task, "Drained", `Drained for the reboot of ${named(task)}`);
        break;
      case "proceed":
        log?.warning("drain timed out: the reboot goes on with pods left", { ...about, pods: end.pods });
        if (!task.again) {
          this.#event(
            task,
            "DrainTimedOut",
            `Not drained in time; the reboot goes on with pods left: ${list(end.pods)}`,
            true,
          );
        }
        break;
      case "failed": {
        const { pods, reason } = end;
        log?.error("drain failed: the client keeps its slot", { ...about, pods, ...(reason && { reason }) });
        const why = [...(reason ? [reason] : []), ...(pods.length > 0 ? [list(pods)] : [])].join("; ");
        this.#event(task, "DrainTimedOut", `Not drained; the reboot is refused: ${why}`, true);
        break;
      }
      case "abandoned":
        log?.warning("drain stopped: its hold has ended", about);
        this.#event(task, "Uncordoned", `Stopped the drain for ${named(task)}, which no longer holds its slot`);
        break;
      case "draining":
        log?.info("drain interrupted: this process ends", about);
        break;
      case undefined:
        log?.error("drain stopped by a fault", { ...about, error });
        break;
    }
  }

  /** See {@link DrainListener.cordoned}. */
  cordoned(task: DrainTask): void {
    this.#targets.log?.info("cordoned the node", fields(task));
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
        this.#targets.log?.info("evicted a pod", { ...about, result: answer.kind });
        break;
      default: {
        const said = this.#said.get(task);
        if (said?.get(pod.uid) === answer.reason) break;
        said?.set(pod.uid, answer.reason);
        const isExpected = answer.kind === "blocked" || answer.kind === "namespace_ending";
        this.#targets.log?.[isExpected ? "info" : "warning"]("cannot evict a pod now", {
          ...about,
          reason: answer.reason,
        });
      }
    }
    if (answer.kind === "blocked" || answer.kind === "several_budgets") {
      // The note names the budget, not its pods, so that they share one series of Events.
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
    this.#targets.log?.warning("drain timed out: deleting the pods that are left", { ...fields(task), pods });
    this.#event(task, "DrainTimedOut", `Not drained in time; deleting the pods that are left: ${list(pods)}`, true);
  }

  /** See {@link DrainListener.stillAttached}. */
  stillAttached(task: DrainTask, volumes: readonly string[]): void {
    this.#targets.log?.warning("volumes stay attached to the drained node", { ...fields(task), volumes });
  }

  /** See {@link DrainListener.staying}. */
  staying(task: DrainTask, staying: readonly StayingPod[]): void {
    const pods = staying.map(({ pod: { namespace, name }, why }) => ({ namespace, name, reason: STAYS[why] }));
    this.#targets.log?.warning("pods are left on the drained node", { ...fields(task), pods });
    this.#event(task, "Drained", `Drained for the reboot of ${named(task)} with pods left: ${list(pods)}`, true);
  }

  /** See {@link DrainListener.uncordonedByOthers}. */
  uncordonedByOthers(task: DrainTask): void {
    this.#targets.log?.warning("somebody uncordoned the node during its drain", fields(task));
    this.#event(task, "DrainBlocked", `Somebody uncordoned it during the drain for ${named(task)}`, true);
  }

  /** See {@link DrainListener.retrying}. */
  retrying(task: DrainTask, error: unknown): void {
    this.#targets.log?.warning("a call of the drain failed and will be repeated", { ...fields(task), error });
  }

  /** We lifted our cordon because its client is back. */
  uncordoned(node: string, { group, id }: CordonOwner): void {
    this.#targets.log?.info("uncordoned the node", { node, group, id });
    this.#uncordonedEvent(node, `${id} in group ${group} is back`);
  }

  /** We lifted a stale cordon of ours, because its client no longer holds a slot. */
  staleCordonLifted(node: string, { group, id }: CordonOwner): void {
    this.#targets.observer?.repaired?.();
    this.#targets.log?.warning("lifted a stale cordon: its client holds no slot", { node, group, id });
    this.#uncordonedEvent(node, `${id} in group ${group} no longer holds its slot`);
  }

  /** We removed our stale annotation from a node that was already uncordoned. */
  annotationRemoved(node: string): void {
    this.#targets.log?.info("removed our stale annotation from a node that was already uncordoned", { node });
  }

  /** A node's cordon could not be checked. It will be checked again. */
  repairFailed(node: string, error: unknown): void {
    this.#targets.log?.warning("cannot check the cordon of a node", { node, error });
  }

  /** Several nodes have a client's id. */
  ambiguous(id: ClientId, nodes: readonly string[]): void {
    this.#targets.log?.error("several nodes have the same id: none of them may reboot", { id, nodes });
  }

  /** A node's machine-id is malformed. `count` is the number of such nodes. */
  malformed(node: string, count: number): void {
    this.#targets.observer?.malformedNodes?.(count);
    this.#targets.log?.warning("the machine-id of a node is malformed: it matches no client", { node });
  }

  /** The watch of the nodes is in step with the cluster. `malformed` is how many nodes have a malformed machine-id. */
  nodesSynced(malformed: number): void {
    this.#targets.observer?.nodesSynced?.(true);
    this.#targets.observer?.malformedNodes?.(malformed);
  }

  /** The watch of the nodes fell behind. */
  nodesLost(malformed: number, error: unknown): void {
    this.#targets.observer?.nodesSynced?.(false);
    this.#targets.observer?.malformedNodes?.(malformed);
    this.#targets.log?.warning("the watch of the nodes is behind", { error });
  }

  /** An optional permission is missing. Logged once for each. */
  forbidden(error: Error): void {
    if (this.#forbidden.has(error.message)) return;
    this.#forbidden.add(error.message);
    this.#targets.log?.warning("an optional permission is missing", { error });
  }

  #tellLeft(group: Group): void {
    let [left, blocked] = [0, 0];
    for (const [task, one] of this.#left) {
      if (task.owner.group !== group) continue;
      left += one.left;
      blocked += one.blocked;
    }
    this.#targets.observer?.podsLeft?.(group, left, blocked);
  }

  #uncordonedEvent(node: string, why: string): void {
    this.#targets.events?.record({ kind: "Node", name: node }, "Uncordoned", `Uncordoned: ${why}`);
  }

  #event(task: DrainTask, reason: Parameters<ClusterEvents["record"]>[1], note: string, warning = false): void {
    this.#targets.events?.record({ kind: "Node", name: task.node }, reason, note, warning);
  }
}

const RESULTS: Readonly<Record<DrainEnd["kind"], DrainResult>> = {
  emptied: "drained",
  proceed: "proceeded",
  failed: "failed",
  abandoned: "abandoned",
  draining: "interrupted",
};

/** Why a pod may be left, for a person. */
const STAYS: Readonly<Record<StayingPod["why"], string>> = {
  tolerates_cordon: "it tolerates the cordon and was created after the grant",
  put_back: "its controller has put it back after each eviction",
  kubelet_dead: "its grace period is over, and the node's kubelet does not answer",
};

function fields(task: DrainTask): Record<string, unknown> {
  return { node: task.node, group: task.owner.group, id: task.owner.id };
}

function named(task: DrainTask): string {
  return `${task.owner.id} in group ${task.owner.group}`;
}

/** Names at most five pods, so that a note stays readable. */
function list(pods: readonly PodLeft[]): string {
  const named = pods.slice(0, 5).map(({ namespace, name, reason }) => `${namespace}/${name}: ${reason}`);
  return [...named, ...(pods.length > 5 ? [`${pods.length - 5} more`] : [])].join("; ");
}
