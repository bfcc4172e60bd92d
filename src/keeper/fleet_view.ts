/**
 * What the operator's policies may know of the Nodes and of the pods on them: the Nodes as the watch has seen them, the
 * pods on one Node, and what their budgets say. It decides nothing. The one thing that it changes is the annotation
 * `fleetlock.internal/skip`, which counts once.
 *
 * @module
 */

import { UnavailableError } from "../lock/errors.ts";
import type { ClientId, Group } from "../lock/identity.ts";
import type { NodeIdentity } from "../lock/node_keeper.ts";
import type { LabelSelector } from "../kubernetes/label_selector.ts";
import type { PodCalls } from "./drain/pod_calls.ts";
import { judge, type PodPolicy, type PodView } from "./drain/pods.ts";
import type { NodeReports } from "./node_reports.ts";
import { cordonOwners } from "./nodes/cordon.ts";
import type { NodeView } from "./nodes/node.ts";
import type { NodeCalls } from "./nodes/node_calls.ts";
import { chooseNode } from "./nodes/node_choice.ts";
import type { NodeWatch } from "./nodes/node_watch.ts";

/** A Node, as the policies see it. */
export interface SeenNode {
  /** Its name. */
  readonly name: string;
  /** Its UID. */
  readonly uid: string;
  /** Whether its Ready condition is "True". */
  readonly isReady: boolean;
  /** Whether it is cordoned. */
  readonly isCordoned: boolean;
  /**
   * The holds for which servers of this namespace have cordoned it, as its annotation says; undefined where they have
   * not.
   */
  readonly cordonedFor?: readonly { readonly group: Group; readonly id: ClientId; readonly since: number }[];
  /** The annotation `fleetlock.internal/hold`. */
  readonly hold?: string;
  /** The annotation `fleetlock.internal/skip`. */
  readonly skip?: string;
}

/** Nodes that were counted. */
export interface FleetCount {
  /** How many they are. */
  readonly count: number;
  /** Those that are not ready or that are cordoned. */
  readonly suspects: readonly SeenNode[];
}

/** What a {@link FleetView} works with. */
export interface FleetViewOptions {
  /** The Nodes as last seen. */
  readonly nodes: Pick<NodeWatch, "isSynced" | "edition" | "nodes" | "peek" | "peekById" | "isGhost" | "learn">;
  /** Reads and changes one Node. */
  readonly calls: Pick<NodeCalls, "getNode" | "patchNode">;
  /** Lists the pods of a Node, and tries their evictions. */
  readonly pods: Pick<PodCalls, "listPods" | "tryEviction">;
  /** Which pods a drain evicts. */
  readonly policy: PodPolicy;
  /** The namespace of this server's locks. */
  readonly namespace: string;
  /** Told of annotations that are used up. */
  readonly reports: Pick<NodeReports, "skipUsed" | "skipStays">;
}

/** How many evictions of one Node's pods are tried at a time. */
const TRIES = 8;

/** How often a patch is repeated after a conflict. */
const MAX_CONFLICTS = 5;

/** See the module. */
export class FleetView {
  readonly #options: FleetViewOptions;

  /** Makes a view over what the keeper knows. */
  constructor(options: FleetViewOptions) {
    this.#options = options;
  }

  /** Whether the Nodes are in step with the cluster. */
  get isSynced(): boolean {
    return this.#options.nodes.isSynced;
  }

  /** Grows with each change of a Node that makes a difference here. */
  get edition(): number {
    return this.#options.nodes.edition;
  }

  /** Counts the Nodes whose labels match, as last seen; all of them where there is no selector. */
  count(matches: LabelSelector | undefined): FleetCount {
    const suspects: SeenNode[] = [];
    let count = 0;
    for (const node of this.#options.nodes.nodes) {
      if (matches !== undefined && !matches(node.labels)) continue;
      count++;
      if (node.ready !== "True" || node.unschedulable) suspects.push(this.#see(node));
    }
    return { count, suspects };
  }

  /** The Node on which a client runs, as last seen; several where nobody can tell which one it is. */
  candidates(id: ClientId): SeenNode[] {
    const { nodes } = this.#options;
    const found = nodes.peekById(id);
    const choice = chooseNode(found, (node) => nodes.isGhost(node));
    return (choice.kind === "node" ? [choice.node] : found).map((node) => this.#see(node));
  }

  /** A Node as last seen; undefined where that very Node was not seen. */
  find({ name, uid }: NodeIdentity): SeenNode | undefined {
    const node = this.#options.nodes.peek(name);
    return node?.uid === uid ? this.#see(node) : undefined;
  }

  /**
   * Reads a Node (get nodes). Undefined where there is none of that UID.
   *
   * @throws {UnavailableError} The API server does not answer.
   */
  async read({ name, uid }: NodeIdentity, signal: AbortSignal): Promise<SeenNode | undefined> {
    const node = await this.#options.calls.getNode(name, signal);
    return node?.uid === uid ? this.#see(node) : undefined;
  }

  /**
   * Lists the pods on a Node that a selector matches and that have not finished (list pods), as `namespace/name`.
   *
   * @throws {UnavailableError} The API server does not answer.
   */
  async podsOn({ name }: NodeIdentity, matches: LabelSelector, signal: AbortSignal): Promise<string[]> {
    const pods = await this.#options.pods.listPods(name, signal);
    return pods.filter((pod) => !pod.finished && matches(pod.labels)).map(nameOf);
  }

  /**
   * Tries the evictions that a drain of a Node would begin with, without effect (list pods, create pods/eviction).
   *
   * @returns Why budgets refuse some of them now, a sentence a pod.
   * @throws {UnavailableError} The API server does not answer.
   */
  async budgetRefusals({ name }: NodeIdentity, signal: AbortSignal): Promise<string[]> {
    const { pods: calls, policy } = this.#options;
    const pods = (await calls.listPods(name, signal)).filter((pod) => judge(pod, policy).kind === "evict");
    const refusals: string[] = [];
    const rest = pods.values();
    const tryRest = async () => {
      for (const pod of rest) {
        const why = await this.#refusalOf(pod, signal);
        if (why !== undefined) refusals.push(`${nameOf(pod)}: ${why}`);
      }
    };
    await Promise.all(Array.from({ length: TRIES }, tryRest));
    // The same refusals make the same sentence, whichever answer came first.
    return refusals.sort();
  }

  /**
   * Removes the annotation by which a Node passes rules (get and patch nodes), provided that it says what was seen.
   *
   * @returns Whether this call has removed it. False where the Node or the annotation is another one by now, and where
   * others change the Node all the time.
   * @throws {UnavailableError} The API server does not answer; whether the annotation was removed is unknown.
   */
  async takeSkip({ name, uid }: NodeIdentity, skip: string): Promise<boolean> {
    const { calls, nodes, reports } = this.#options;
    for (let tries = 0; tries <= MAX_CONFLICTS; tries++) {
      const node = await calls.getNode(name);
      if (node?.uid !== uid) return false;
      if (node.skip !== skip) {
        // Whoever asks again must see what is there now.
        nodes.learn(node);
        return false;
      }
      const result = await calls.patchNode(node, { skip: null });
      if (result === "gone") return false;
      if (result === "conflict") continue;
      nodes.learn(result);
      reports.skipUsed(name, skip);
      return true;
    }
    return false;
  }

  /**
   * Removes the annotation of a Node that got a slot without it, if the watch shows one (get and patch nodes), so that
   * no later grant rests on it. Does not throw.
   */
  async dropSkip(node: NodeIdentity): Promise<void> {
    const skip = this.find(node)?.skip;
    try {
      if (skip !== undefined) await this.takeSkip(node, skip);
    } catch (error) {
      this.#options.reports.skipStays(node.name, error);
    }
  }

  async #refusalOf(pod: PodView, signal: AbortSignal): Promise<string | undefined> {
    const answer = await this.#options.pods.tryEviction(pod, signal);
    switch (answer.kind) {
      case "blocked":
      case "several_budgets":
        return answer.reason;
      case "failed":
        throw new UnavailableError(`cannot try the eviction of ${nameOf(pod)}: ${answer.reason}`, {
          publicMessage: `the eviction of ${nameOf(pod)} cannot be tried`,
        });
      case "accepted":
      case "gone":
      case "replaced":
      case "namespace_ending":
        return undefined;
    }
  }

  #see({ name, uid, ready, unschedulable, cordon, hold, skip }: NodeView): SeenNode {
    const cordonedFor = cordonOwners(cordon).filter(({ namespace }) => namespace === this.#options.namespace);
    return {
      name,
      uid,
      isReady: ready === "True",
      isCordoned: unschedulable,
      ...(cordonedFor.length > 0 && { cordonedFor }),
      ...(hold !== undefined && { hold }),
      ...(skip !== undefined && { skip }),
    };
  }
}

function nameOf({ namespace, name }: PodView): string {
  return `${namespace}/${name}`;
}
