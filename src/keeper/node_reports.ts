/**
 * What the node keeper reports about nodes and cordons, apart from its drains: log lines, Kubernetes Events and numbers
 * for metrics. It decides nothing and never throws.
 *
 * @module
 */

import type { ClientId } from "../lock/identity.ts";
import type { Hold } from "../lock/node_keeper.ts";
import type { CordonOwner } from "./nodes/cordon.ts";
import type { NodeView } from "./nodes/node.ts";
import type { NodeListener } from "./nodes/node_listener.ts";
import type { ReportTargets } from "./reports.ts";

/** How many things that are told once are remembered. Beyond that, one may be told again. */
const MAX_TOLD = 1_000;

/** See the module. */
export class NodeReports {
  readonly #targets: ReportTargets;
  /** What was told and is told only once. */
  readonly #told = new Set<string>();

  /** Makes reports to `targets`. */
  constructor(targets: ReportTargets) {
    this.#targets = targets;
  }

  /** We lifted our cordon because its client is back. */
  uncordoned(node: string, { group, id }: CordonOwner): void {
    this.#targets.log?.info("uncordoned the node", { node, group, id });
    this.#uncordonedEvent(node, `${id} in group ${group} is back`);
  }

  /** We lifted a stale cordon of ours, because its client no longer holds a slot. */
  staleCordonLifted(node: string, owner: CordonOwner): void {
    this.#repaired(node, owner, "warning", "lifted a stale cordon: its client holds no slot");
  }

  /** We lifted a cordon of ours whose hold has just ended, before the replica that ended the hold did so. */
  endedCordonLifted(node: string, owner: CordonOwner): void {
    this.#repaired(node, owner, "info", "uncordoned the node: its hold has just ended");
  }

  /** We removed our stale annotation from a node that others uncordoned, and cordoned again or not. */
  annotationRemoved(node: string, isCordoned: boolean): void {
    this.#targets.log?.info(
      isCordoned
        ? "removed our stale annotation from a node: others uncordoned it and cordoned it again"
        : "removed our stale annotation from a node that was already uncordoned",
      { node },
    );
  }

  /** A node's cordon could not be checked. It will be checked again. */
  repairFailed(node: string, error: unknown): void {
    this.#targets.log?.warning("cannot check the cordon of a node", { node, error });
  }

  /** A cordon's annotation cannot be read. Told once for each of its values. */
  unreadableCordon(node: string, annotation: string): void {
    this.#once(["unreadable", node, annotation], "the annotation of a cordon cannot be read, so the cordon stays", {
      node,
      annotation: annotation.slice(0, 200),
      hint: "if nobody needs the cordon, uncordon the node and remove the annotation fleetlock.internal/cordoned-for",
    });
  }

  /** A node is cordoned for locks in a namespace that is not ours. Told once for each. */
  cordonOfOtherNamespace(node: string, namespace: string, ours: string): void {
    this.#once(["namespace", node, namespace], "a node is cordoned for locks in another namespace", {
      node,
      namespace,
      ours,
      hint: "if no fleetlock uses that namespace any more, uncordon the node and remove the annotation " +
        "fleetlock.internal/cordoned-for",
    });
  }

  /** A host that had a node has reported, and has had none until its reply was due. */
  notBack({ group, id, node }: Pick<Hold, "group" | "id" | "node">): void {
    this.#targets.log?.warning("the node of the host has not come back: its slot is freed", {
      node: node?.name,
      group,
      id,
    });
  }

  /** The annotation by which a node passes rules once is removed, for one grant. */
  skipUsed(node: string, rules: string): void {
    this.#targets.log?.info("the skip annotation of a node is removed: it counts for one grant", { node, rules });
    const note = `Removed the annotation fleetlock.internal/skip: ${rules.slice(0, 200)}`;
    this.#targets.events?.record({ kind: "Node", name: node }, "SkipUsed", note);
  }

  /**
   * The annotation of a node that got its slot without it could not be removed, so that a later grant may rest on it.
   */
  skipStays(node: string, error: unknown): void {
    const hint = "remove the annotation fleetlock.internal/skip: it lets the node pass rules once more";
    this.#targets.log?.error("cannot remove the skip annotation of a node", { node, error, hint });
    const note = "Cannot remove the annotation fleetlock.internal/skip, which lets the Node pass rules once more";
    this.#targets.events?.record({ kind: "Node", name: node }, "SkipStays", note, true);
  }

  /** Several nodes share an id, although none of their clients has asked yet. */
  #shared(id: string, nodes: readonly string[]): void {
    this.#targets.log?.warning("several nodes have the same id: give each host a machine-id of its own", { id, nodes });
  }

  /** Several nodes have a client's id. */
  ambiguous(id: ClientId, nodes: readonly string[]): void {
    this.#targets.log?.error("several nodes have the same id: none of them may reboot", { id, nodes });
  }

  /**
   * Makes what the watch of the nodes tells, with the reports about it.
   *
   * @param malformed How many nodes have a malformed machine-id.
   * @param others Are told that a node is new or has changed, and that the watch may have missed something.
   */
  nodeListener(
    malformed: () => number,
    others: { readonly changed: (node: NodeView) => void; readonly missed: () => void },
  ): NodeListener {
    return {
      changed: others.changed,
      synced: () => {
        others.missed();
        this.#nodesSynced(malformed());
      },
      lost: (error) => {
        others.missed();
        this.#nodesLost(malformed(), error);
      },
      malformed: (name) => this.#malformed(name, malformed()),
      shared: (id, names) => this.#shared(id, names),
    };
  }

  /** A node's machine-id is malformed. `count` is the number of such nodes. */
  #malformed(node: string, count: number): void {
    this.#targets.observer?.malformedNodes?.(count);
    this.#targets.log?.warning("the machine-id of a node is malformed: it has no id that Zincati would send", { node });
  }

  /** The watch of the nodes is in step with the cluster. `malformed` is how many nodes have a malformed machine-id. */
  #nodesSynced(malformed: number): void {
    this.#targets.observer?.nodesSynced?.(true);
    this.#targets.observer?.malformedNodes?.(malformed);
  }

  /** The watch of the nodes fell behind. */
  #nodesLost(malformed: number, error: unknown): void {
    this.#targets.observer?.nodesSynced?.(false);
    this.#targets.observer?.malformedNodes?.(malformed);
    this.#targets.log?.warning("the watch of the nodes is behind", { error });
  }

  /** An optional permission is missing. Logged once for each. */
  forbidden(error: Error): void {
    this.#once(["forbidden", error.message], "an optional permission is missing", { error });
  }

  #once(key: readonly string[], message: string, fields: Record<string, unknown>): void {
    const text = JSON.stringify(key);
    if (this.#told.has(text)) return;
    if (this.#told.size >= MAX_TOLD) this.#told.clear();
    this.#told.add(text);
    this.#targets.log?.warning(message, fields);
  }

  #repaired(node: string, { group, id }: CordonOwner, level: "info" | "warning", message: string): void {
    this.#targets.observer?.repaired?.();
    this.#targets.log?.[level](message, { node, group, id });
    this.#uncordonedEvent(node, `${id} in group ${group} no longer holds its slot`);
  }

  #uncordonedEvent(node: string, why: string): void {
    this.#targets.events?.record({ kind: "Node", name: node }, "Uncordoned", `Uncordoned: ${why}`);
  }
}
