/**
 * Looks, before a slot is granted, whether the client's node can be drained at all: whether it is known which node that
 * is, whether the server may drain it, and whether the operator's policy allows it. It changes nothing.
 *
 * @module
 */

import type { Clock } from "../lock/clock.ts";
import type { ClientId } from "../lock/identity.ts";
import type { LookOutcome } from "../lock/node_keeper.ts";
import { describePermission, ForbiddenError, type Permission } from "../kubernetes/errors.ts";
import { type PodPolicy, refusedPods } from "./drain/pods.ts";
import type { PodCalls } from "./drain/pod_calls.ts";
import { type NodeView, seenIdentityOf } from "./nodes/node.ts";
import { chooseNode } from "./nodes/node_choice.ts";
import type { NodeWatch } from "./nodes/node_watch.ts";

/** Knows which permissions the server lacks. */
export interface MissingPermissions {
  /** A permission without which no node can be drained; undefined where none is known to be missing. */
  missingForDrain(): Permission | undefined;
}

/** What a {@link Look} works with. */
export interface LookOptions {
  /** Finds the client's node. */
  readonly nodes: Pick<NodeWatch, "listById" | "peekById" | "started" | "isSynced" | "isGhost">;
  /** Lists its pods. */
  readonly pods: Pick<PodCalls, "listPods">;
  /** Which pods are evicted. */
  readonly policy: PodPolicy;
  /** Knows which permissions are missing. Without it, only a refused call shows that. */
  readonly permissions?: MissingPermissions;
  /** Time. */
  readonly clock: Pick<Clock, "monotonic">;
  /** Told of several nodes that have a client's id. Must not throw. */
  ambiguous(id: ClientId, nodes: readonly string[]): void;
}

/** A refusal that was found by calls. */
type Refusal = Extract<LookOutcome, { kind: "drain_refused" | "permission_missing" }>;

/** How long a refusal is kept, in milliseconds, so that a client that asks again costs no calls. */
const KEPT_MS = 30_000;

/** The key of a refusal that is about no single node. */
const ALL_NODES = "";

/** See the module. */
export class Look {
  readonly #options: LookOptions;
  /** The refusals of the last 30 s, by the node's UID, oldest first. */
  readonly #kept = new Map<string, { readonly until: number; readonly refusal: Refusal }>();

  /** Makes one that has seen nothing yet. */
  constructor(options: LookOptions) {
    this.#options = options;
  }

  /** See {@link "../lock/node_keeper.ts".NodeKeeper.look}. */
  async forClient(id: ClientId): Promise<LookOutcome> {
    const { nodes, permissions, ambiguous } = this.#options;
    const missing = permissions?.missingForDrain();
    if (missing !== undefined) return { kind: "permission_missing", permission: describePermission(missing) };
    await nodes.started();
    // No yes rests on this. Where the watch is behind a Node that has just joined, the proof of the yes finds that
    // Node.
    const found = nodes.isSynced ? nodes.peekById(id) : await this.#unlessRefused(ALL_NODES, () => nodes.listById(id));
    if (!Array.isArray(found)) return found;
    const choice = chooseNode(found, (node) => nodes.isGhost(node));
    switch (choice.kind) {
      case "none":
        return { kind: "clear" };
      case "ambiguous":
        ambiguous(id, choice.nodes);
        return choice;
      case "node": {
        const { node } = choice;
        const refusal = await this.#unlessRefused(node.uid, () => this.#refusalOf(node));
        return refusal ?? { kind: "clear", node: seenIdentityOf(node) };
      }
    }
  }

  async #refusalOf({ name, uid }: NodeView): Promise<Refusal | undefined> {
    const { pods: calls, policy } = this.#options;
    // Under any other policy, nothing that a list shows could be refused.
    if (policy.unmanaged !== "refuse" && policy.emptyDir !== "refuse") return undefined;
    const pods = refusedPods(await calls.listPods(name), policy);
    return pods.length === 0 ? undefined : this.#keep(uid, { kind: "drain_refused", node: name, pods });
  }

  /** Makes a call, except where it would only find again what was found a moment ago. */
  async #unlessRefused<T>(key: string, call: () => Promise<T>): Promise<T | Refusal> {
    const kept = this.#kept.get(key);
    if (kept !== undefined && this.#options.clock.monotonic() < kept.until) return kept.refusal;
    try {
      return await call();
    } catch (error) {
      if (!(error instanceof ForbiddenError)) throw error;
      return this.#keep(key, { kind: "permission_missing", permission: describePermission(error.permission) });
    }
  }

  #keep(key: string, refusal: Refusal): Refusal {
    const now = this.#options.clock.monotonic();
    for (const [other, { until }] of this.#kept) if (until <= now) this.#kept.delete(other);
    this.#kept.set(key, { until: now + KEPT_MS, refusal });
    return refusal;
  }
}
