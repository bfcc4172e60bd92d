/**
 * Finds out whether the Node of a hold's host is gone, for who frees the slots of such hosts.
 *
 * A Node counts as the host's if it has the name that the hold notes, whatever its UID is, or the client's id, or the
 * machine-id that the hold notes. Since when none has been there is what the watch of the Nodes has shown without a
 * break: a Node that comes and goes ends the time, and so does a watch that falls behind or lists anew, since a Node
 * may have been there in between. What the watch has seen may be behind, so it proves nothing; {@link GoneHosts.prove}
 * does.
 *
 * @module
 */

import type { Clock } from "../lock/clock.ts";
import type { GoneOutcome, Hold } from "../lock/node_keeper.ts";
import { judgeNode } from "../lock/yes.ts";
import { collectEvidence, type ProofOptions } from "./drain/proof.ts";
import type { NodeView } from "./nodes/node.ts";
import type { NodeCalls } from "./nodes/node_calls.ts";
import type { NodeWatch } from "./nodes/node_watch.ts";
import { comparableId } from "../lock/identity.ts";

/** What {@link GoneHosts} works with. */
export interface GoneHostsOptions {
  /** Follows the Nodes, and finds those of a client. */
  readonly nodes: Pick<NodeWatch, "isSynced" | "moment" | "peek" | "peekById" | "until" | "listById">;
  /** Reads the noted Node, and which version the Nodes are at. */
  readonly calls: Pick<NodeCalls, "getNode" | "currentVersion">;
  /** Lists the pods. */
  readonly proof: Omit<ProofOptions, "exhausted">;
  /** Time. */
  readonly clock: Pick<Clock, "monotonic">;
}

/** The time in which a host has had no Node. */
interface Absence {
  readonly name: string;
  readonly ids: readonly string[];
  readonly since: number;
  /** When somebody asked for it last. */
  askedAt: number;
}

/** How long after the last question a time is forgotten, in milliseconds. */
const FORGET_MS = 600_000;

/**
 * How long to wait until the watch has told everything up to a moment, in milliseconds. An API server sends a bookmark
 * every minute.
 */
const CATCH_UP_MS = 120_000;

/** See the module. It must be told what the watch of the Nodes tells. */
export class GoneHosts {
  readonly #options: GoneHostsOptions;
  readonly #absences = new Map<string, Absence>();

  /** Makes one that has seen nothing yet. */
  constructor(options: GoneHostsOptions) {
    this.#options = options;
  }

  /** See {@link "../lock/node_keeper.ts".NodeKeeper.absentSince}. */
  absentSince({ group, id, since, node }: Hold): number | undefined {
    if (node === undefined) return undefined;
    const { nodes, clock } = this.#options;
    const key = JSON.stringify([group, id, since, node.name, node.uid]);
    const ids = idsOf({ id, node });
    const isThere = nodes.peek(node.name) !== undefined || ids.some((one) => nodes.peekById(one).length > 0);
    if (!nodes.isSynced || isThere) {
      this.#absences.delete(key);
      return undefined;
    }
    const askedAt = clock.monotonic();
    let absence = this.#absences.get(key);
    if (absence === undefined) {
      for (const [other, one] of this.#absences) if (one.askedAt < askedAt - FORGET_MS) this.#absences.delete(other);
      this.#absences.set(key, absence = { name: node.name, ids, since: askedAt, askedAt });
    }
    absence.askedAt = askedAt;
    return absence.since;
  }

  /** The watch shows a Node. */
  nodeSeen({ name, ids }: Pick<NodeView, "name" | "ids">): void {
    for (const [key, one] of this.#absences) {
      if (one.name === name || one.ids.some((id) => ids.includes(id))) this.#absences.delete(key);
    }
  }

  /** The watch may have missed something. */
  missed(): void {
    this.#absences.clear();
  }

  /**
   * See {@link "../lock/node_keeper.ts".NodeKeeper.proveGone} (get and list nodes; list pods).
   *
   * First the watch must tell everything up to the call, so that a Node that came and went is no longer hidden in a
   * connection that has gone silent. Then the Nodes and pods are read.
   *
   * @param signal Ends the wait. The outcome is then "unseen", or the signal's reason is thrown.
   * @throws {UnavailableError} The Nodes or pods could not be read.
   */
  async prove(hold: Hold, signal: AbortSignal): Promise<GoneOutcome> {
    const { node: noted, since } = hold;
    const { nodes, calls, proof, clock } = this.#options;
    if (noted === undefined) return { kind: "unseen" };
    const { moment } = nodes;
    const version = BigInt(await calls.currentVersion(signal));
    // The version went back, so etcd was restored from a backup, and the watch has seen what is no longer true.
    if (version < moment) return { kind: "unseen" };
    if (!await nodes.until(() => nodes.moment >= version, CATCH_UP_MS, signal)) return { kind: "unseen" };
    const readAt = clock.monotonic();
    const named = await calls.getNode(noted.name, signal);
    if (named !== undefined) return { kind: "there", node: named.name };
    const [other] = (await Promise.all(idsOf(hold).map((id) => nodes.listById(id)))).flat();
    if (other !== undefined) return { kind: "there", node: other.name };
    // The same pods as a drain sees gone must be gone: who is left may still run there, and is not replaced elsewhere.
    const evidence = await collectEvidence(noted, undefined, since, { ...proof, exhausted: new Map() }, signal);
    const verdict = judgeNode(evidence);
    if (verdict.kind !== "pods_left") return { kind: "gone", readAt };
    const reason = "its node no longer exists, but the pod does";
    return { kind: "pods_left", pods: verdict.pods.map(({ namespace, name }) => ({ namespace, name, reason })) };
  }
}

/** The ids by which the Node of a hold's host is known, besides its name. */
function idsOf({ id, node }: Pick<Hold, "id" | "node">): string[] {
  return [id, ...(node?.machineId === undefined ? [] : [node.machineId])].map((one) => comparableId(one.trim()));
}
