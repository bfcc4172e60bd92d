/**
 * What the node keeper reports about its drains: log lines, Kubernetes Events and numbers for metrics. It decides
 * nothing and never throws. What it reports about nodes and cordons is in `node_reports.ts`.
 *
 * @module
 */

import type { Clock } from "../lock/clock.ts";
import type { DrainResult } from "../lock/drain_report.ts";
import type { Group } from "../lock/identity.ts";
import type { Hold, NodeIdentity, PodLeft } from "../lock/node_keeper.ts";
import type { HeldNode } from "../lock/semaphore.ts";
import { listSome } from "../lock/wording.ts";
import type { StayingPod } from "../lock/yes.ts";
import type { DrainEnd } from "./drain/drain.ts";
import type { DrainListener, DrainTask } from "./drain/drain_task.ts";
import type { ClusterEvents } from "../kubernetes/events.ts";
import type { EvictionAnswer, PodView } from "./drain/pods.ts";

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
export class DrainReports implements DrainListener {
  readonly #targets: ReportTargets;
  readonly #clock: Clock;
  readonly #began = new Map<DrainTask, number>();
  readonly #left = new Map<DrainTask, { left: number; blocked: number }>();
  /** The last reason logged for each pod that could not be evicted, by UID. A budget is asked every few seconds. */
  readonly #said = new Map<DrainTask, Map<string, string>>();

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
        log?.info("the node is empty", about);
        break;
      case "proceed":
        log?.warning("drain timed out: the reboot goes on with pods left", { ...about, pods: end.pods });
        if (!task.again) {
          this.#event(
            task,
            "DrainTimedOut",
            `Not drained in time; the reboot goes on with pods left: ${listPods(end.pods)}`,
            true,
          );
        }
        break;
      case "failed": {
        const { pods, reason, yields } = end;
        const message = yields
          ? "drain timed out: the client is to yield its slot"
          : "drain failed: the client keeps its slot";
        log?.[yields ? "warning" : "error"](message, { ...about, pods, ...(reason && { reason }) });
        const why = [...(reason ? [reason] : []), ...(pods.length > 0 ? [listPods(pods)] : [])].join("; ");
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

  /** A host was found ready to reboot on its node, for one request. `staying` are pods that a person should know of. */
  proven({ group, id }: Hold, { name, phase }: HeldNode, staying: readonly StayingPod[]): void {
    if (phase === "drained" && staying.length === 0) return;
    const pods = staying.map(podLeft);
    const about = { node: name, group, id };
    if (pods.length === 0) this.#targets.log?.info("the node is drained", about);
    else this.#targets.log?.warning("the node is drained, and some pods stay", { ...about, pods });
    const rest = pods.length === 0 ? "" : `; these pods stay: ${listPods(pods)}`;
    const note = `Drained for the reboot of ${id} in group ${group}${rest}`;
    this.#targets.events?.record({ kind: "Node", name }, "Drained", note);
  }

  /** A hold is about another node from now on. */
  moved({ group, id }: Hold, { name }: HeldNode, node: NodeIdentity): void {
    this.#targets.log?.warning("the client runs on another node than the one that its hold notes: draining that too", {
      node: node.name,
      noted: name,
      group,
      id,
    });
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

  /** How many of the pods that a drain waits for a budget holds back. */
  blockedOf(task: DrainTask): number {
    return this.#left.get(task)?.blocked ?? 0;
  }

  /** See {@link DrainListener.deleting}. */
  deleting(task: DrainTask, pods: readonly PodLeft[]): void {
    this.#targets.log?.warning("drain timed out: deleting the pods that are left", { ...fields(task), pods });
    this.#event(task, "DrainTimedOut", `Not drained in time; deleting the pods that are left: ${listPods(pods)}`, true);
  }

  /** See {@link DrainListener.stillAttached}. */
  stillAttached(task: DrainTask, volumes: readonly string[]): void {
    this.#targets.log?.warning("volumes stay attached to the drained node", { ...fields(task), volumes });
  }

  /** See {@link DrainListener.staying}. The yes names them to everybody: {@link proven}. */
  staying(task: DrainTask, staying: readonly StayingPod[]): void {
    this.#targets.log?.info("pods are left on the emptied node", { ...fields(task), pods: staying.map(podLeft) });
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

  #tellLeft(group: Group): void {
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

/** Why a pod stays, for a person. */
const STAYS: Readonly<Record<StayingPod["why"], string>> = {
  tolerates_cordon: "it tolerates the cordon and was created after the grant",
  put_back: "its controller puts it back after each eviction",
  timed_out: "its drain has timed out",
  kubelet_dead: "its grace period is over, and the kubelet that would confirm its end does not answer",
};

const RESULTS: Readonly<Record<DrainEnd["kind"], DrainResult>> = {
  emptied: "drained",
  proceed: "proceeded",
  failed: "failed",
  abandoned: "abandoned",
  draining: "interrupted",
};

function podLeft({ pod: { namespace, name }, why }: StayingPod): PodLeft {
  return { namespace, name, reason: STAYS[why] };
}

function fields(task: DrainTask): Record<string, unknown> {
  return { node: task.node, group: task.owner.group, id: task.owner.id };
}

function named(task: DrainTask): string {
  return `${task.owner.id} in group ${task.owner.group}`;
}

/** Names a few pods, so that a note stays readable. */
function listPods(pods: readonly PodLeft[]): string {
  return listSome(pods.map(({ namespace, name, reason }) => `${namespace}/${name}: ${reason}`));
}
