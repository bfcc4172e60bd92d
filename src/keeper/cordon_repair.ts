/**
 * Cleans up stale cordons: it lifts a cordon of ours whose client no longer holds a slot, and removes our annotation
 * from a node that somebody else uncordoned. Every replica does this; the patches' preconditions keep replicas from
 * disturbing each other.
 *
 * @module
 */

import type { Clock } from "../lock/clock.ts";
import { WakeableSleep } from "../lock/wakeable_sleep.ts";
import { type CordonOwner, cordonOwners, isUnreadable } from "./nodes/cordon.ts";
import type { NodeReports } from "./node_reports.ts";
import type { NodeCordon } from "./nodes/node_cordon.ts";
import type { NodeWatch } from "./nodes/node_watch.ts";
import type { NodeView } from "./nodes/node.ts";
import type { Group } from "../lock/identity.ts";

/** What a {@link CordonRepair} works with. */
export interface RepairContext {
  /** The namespace of our locks. Cordons for locks in other namespaces belong to other installations. */
  readonly namespace: string;
  /** Shows the cordons. */
  readonly nodes: NodeWatch;
  /** Lifts them. */
  readonly cordon: NodeCordon;
  /** Told what was done. */
  readonly reports: NodeReports;
  /** Time. */
  readonly clock: Clock;
  /**
   * Reads whether the client of a cordon still holds a slot of its group, for this hold or a later one. The read begins
   * after the call. May throw.
   */
  clientHolds(owner: CordonOwner): Promise<boolean>;
  /** Whether this process drains the node. The drain then takes care of the cordon, as long as it is ours. */
  isBusy(node: string): boolean;
}

/** The pause before a node is checked again after a failure, in milliseconds. */
const RETRY_MS = 10_000;

/** How long to sleep when there is nothing to do, in milliseconds. A new suspect ends the sleep. */
const IDLE_MS = 3_600_000;

/** See the module. */
export class CordonRepair {
  readonly #context: RepairContext;
  /** The names of the nodes to check. */
  readonly #suspects = new Set<string>();
  /** The state in which each node was last found right, so that a state is checked once. */
  readonly #checked = new Map<string, string>();
  /** The nodes and groups of the holds whose end was shown since all nodes were checked last. */
  readonly #ended = new Set<string>();
  readonly #sleep: WakeableSleep;

  /** Makes one that does nothing before {@link run}. */
  constructor(context: RepairContext) {
    this.#context = context;
    this.#sleep = new WakeableSleep(context.clock);
  }

  /** Asks for a check of a node, because it may have changed. Does nothing where its state was found right before. */
  nodeChanged(node: NodeView): void {
    if (this.#checked.get(node.name) !== stateOf(node)) this.suspect(node);
  }

  /**
   * Asks for a check of a node whatever was found before, because its lock may have changed.
   *
   * @param ended The group of a hold that the node is cordoned for, where the watch of the locks has just shown its
   * end. That the cordon is still there then is normal.
   */
  suspect(node: NodeView, ended?: Group): void {
    if (node.cordon === undefined) return;
    if (ended !== undefined) this.#ended.add(`${node.name} ${ended}`);
    this.#tellOthers(node);
    this.#checked.delete(node.name);
    this.#suspects.add(node.name);
    this.#sleep.wake();
  }

  /** Asks for a check of all nodes. */
  suspectAll(): void {
    this.#checked.clear();
    this.#ended.clear();
    for (const node of this.#context.nodes.marked) this.suspect(node);
  }

  /** Checks each suspect until the signal aborts. Does not throw. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const failed: string[] = [];
      for (const name of [...this.#suspects]) {
        this.#suspects.delete(name);
        if (signal.aborted) return;
        try {
          await this.#check(name, signal);
        } catch (error) {
          if (signal.aborted) return;
          this.#context.reports.repairFailed(name, error);
          failed.push(name);
        }
      }
      for (const name of failed) this.#suspects.add(name);
      const idle = this.#suspects.size === 0;
      await this.#sleep.sleep(idle ? IDLE_MS : RETRY_MS, signal);
    }
  }

  /** Tells of what nobody here cleans up. */
  #tellOthers({ name, cordon }: NodeView): void {
    const { namespace, reports } = this.#context;
    if (cordon !== undefined && isUnreadable(cordon)) reports.unreadableCordon(name, cordon);
    for (const owner of cordonOwners(cordon)) {
      if (owner.namespace !== namespace) reports.cordonOfOtherNamespace(name, owner.namespace, namespace);
    }
  }

  #tellLifted(name: string, owner: CordonOwner): void {
    const { reports } = this.#context;
    // A check often comes before the replica that released the hold lifts the cordon.
    if (this.#ended.delete(`${name} ${owner.group}`)) reports.endedCordonLifted(name, owner);
    else reports.staleCordonLifted(name, owner);
  }

  async #check(name: string, signal: AbortSignal): Promise<void> {
    const { namespace, nodes, cordon, reports, isBusy, clientHolds } = this.#context;
    // The node is read before its locks, because a hold that begins in between changes the node before relying on it.
    const node = nodes.peek(name);
    if (node?.cordon === undefined) return;
    // Our annotation does not outlive our cordon, so that a cordon that somebody sets next is not taken for ours.
    const isOurs = node.unschedulable && !node.isCordonForeign;
    if (isOurs && isBusy(name)) return;
    const ours = isOurs ? cordonOwners(node.cordon).filter((owner) => owner.namespace === namespace) : [];
    const gone = new Set<Group>();
    for (const owner of ours) if (!(await clientHolds(owner))) gone.add(owner.group);
    const isGone = (owner: CordonOwner) => owner.namespace === namespace && gone.has(owner.group);
    switch (await cordon.repair(node, (owner) => !isGone(owner), signal)) {
      case "repaired": {
        if (!isOurs) reports.annotationRemoved(name, node.unschedulable);
        else for (const owner of ours.filter(isGone)) this.#tellLifted(name, owner);
        break;
      }
      case "right":
        this.#checked.set(name, stateOf(node));
        break;
      case "conflict":
        // Its kubelet, another replica or a new hold changed it first. The watch will show its new state.
        this.#suspects.add(name);
        break;
      case "gone":
        break;
    }
  }
}

function stateOf(node: NodeView): string {
  return `${node.uid} ${node.unschedulable} ${node.isCordonForeign} ${node.cordon}`;
}
