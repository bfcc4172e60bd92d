/**
 * Puts right what was left behind: a cordon of ours whose lock nobody holds is
 * lifted, and the mark of a cordon that another lifted is removed. Every replica
 * does this; the patches' preconditions keep them out of each other's way.
 *
 * @module
 */

import type { Clock } from "../lock/clock.ts";
import { type CordonOwner, cordonOwners } from "./nodes/cordon.ts";
import type { KeeperReports } from "./reports.ts";
import type { NodeCordon } from "./nodes/node_cordon.ts";
import type { NodeWatch } from "./nodes/node_watch.ts";
import type { NodeView } from "./nodes/node.ts";

/** What a {@link CordonRepair} works with. */
export interface RepairContext {
  /** The namespace of our locks: a cordon for another's is none of our business. */
  readonly namespace: string;
  /** Where the cordons are seen. */
  readonly nodes: NodeWatch;
  /** Changes them. */
  readonly cordon: NodeCordon;
  /** Told what was done. */
  readonly reports: KeeperReports;
  /** Time. */
  readonly clock: Clock;
  /** Whether a client still holds a slot of its group, by a read of its lock that begins after the call. May throw. */
  isHeld(owner: CordonOwner): Promise<boolean>;
  /** Whether a drain of this process is at work on the node, which then sees to its cordon itself. */
  isBusy(node: string): boolean;
}

/** How long after a failed look at a node's cordon the next is, in milliseconds. */
const RETRY_MS = 10_000;

/** How long to sleep when there is nothing to do, in milliseconds: a new suspect ends it. */
const IDLE_MS = 3_600_000;

/** See the module. */
export class CordonRepair {
  readonly #context: RepairContext;
  readonly #suspects = new Set<string>();
  /** The cordon of a node that was last found right, so that each is looked at once. */
  readonly #checked = new Map<string, string>();
  #alarm = new AbortController();

  /** Makes one that does nothing before {@link run}. */
  constructor(context: RepairContext) {
    this.#context = context;
  }

  /**
   * Has a node looked at, unless it has no cordon of ours or was found right as it is.
   *
   * @param again Whether to look even then, because its lock may have changed.
   */
  suspect(node: NodeView, again = false): void {
    if (node.cordon === undefined || (!again && this.#checked.get(node.name) === stateOf(node))) return;
    this.#checked.delete(node.name);
    this.#suspects.add(node.name);
    this.#alarm.abort();
  }

  /** Has all nodes looked at. */
  suspectAll(): void {
    this.#checked.clear();
    for (const node of this.#context.nodes.nodes) this.suspect(node);
  }

  /** Looks at each suspect until the signal aborts. Does not throw. */
  async run(signal: AbortSignal): Promise<void> {
    signal.addEventListener("abort", () => this.#alarm.abort(), { once: true });
    while (!signal.aborted) {
      this.#alarm = new AbortController();
      const failed: string[] = [];
      for (const name of [...this.#suspects]) {
        this.#suspects.delete(name);
        if (signal.aborted) return;
        try {
          await this.#look(name, signal);
        } catch (error) {
          if (signal.aborted) return;
          this.#context.reports.repairFailed(name, error);
          failed.push(name);
        }
      }
      for (const name of failed) this.#suspects.add(name);
      const idle = this.#suspects.size === 0;
      await this.#context.clock.sleep(idle ? IDLE_MS : RETRY_MS, this.#alarm.signal).catch(() => {});
    }
  }

  async #look(name: string, signal: AbortSignal): Promise<void> {
    const { namespace, nodes, cordon, reports, isBusy, isHeld } = this.#context;
    // The node first, its locks after it: a hold that begins in between changes the node before it relies on it.
    const node = nodes.peek(name);
    if (node?.cordon === undefined || isBusy(name)) return;
    const ours = cordonOwners(node.cordon).filter((owner) => owner.namespace === namespace);
    const gone = new Set<string>();
    for (const owner of ours) if (!(await isHeld(owner))) gone.add(owner.group);
    const isGone = (owner: CordonOwner) => owner.namespace === namespace && gone.has(owner.group);
    switch (await cordon.repair(node, (owner) => !isGone(owner), signal)) {
      case "repaired": {
        const lifted = ours.filter(isGone);
        for (const owner of lifted) reports.uncordoned(name, owner.group, owner.id, true);
        if (lifted.length === 0) reports.annotationRemoved(name);
        break;
      }
      case "right":
        this.#checked.set(name, stateOf(node));
        break;
      case "conflict":
        // Its kubelet, another replica or a new hold was quicker; what it is now the watch will show.
        this.#suspects.add(name);
        break;
      case "gone":
        break;
    }
  }
}

function stateOf(node: NodeView): string {
  return `${node.uid} ${node.unschedulable} ${node.cordon}`;
}
