/**
 * Cordons nodes and lifts our own cordons, by patches that take effect only on
 * the very state they were decided from. What is to be done is cordon.ts's decision.
 *
 * @module
 */

import { UnavailableError } from "../../lock/errors.ts";
import { type CordonOwner, type NodePatch, planCordon, planRepair, planUncordon } from "./cordon.ts";
import type { NodeCalls } from "./node_calls.ts";
import type { NodeWatch } from "./node_watch.ts";
import type { NodeView } from "./node.ts";

/** How often a patch is tried against others' changes. Kubelets and controllers change a Node a few times a minute. */
const MAX_CONFLICTS = 10;

/** See the module. All methods throw {@link UnavailableError} or the signal's reason. */
export class NodeCordon {
  readonly #calls: NodeCalls;
  readonly #watch: NodeWatch;

  /** Makes it over `calls`; `watch` gives the state to begin with, and learns what comes of it. */
  constructor(calls: NodeCalls, watch: NodeWatch) {
    this.#calls = calls;
    this.#watch = watch;
  }

  /**
   * Cordons a node for a hold (get and patch nodes).
   *
   * @param isHeld Whether the hold still is; asked before each patch but that of what the watch has seen.
   * @param fresh Whether to read the node first.
   * @returns "already" where it was cordoned before: for this hold, or by an administrator.
   */
  async set(
    name: string,
    owner: CordonOwner,
    isHeld: () => Promise<boolean>,
    fresh: boolean,
    signal: AbortSignal,
  ): Promise<"cordoned" | "already" | "gone" | "not_held"> {
    const decide = async (node: NodeView, read: boolean) => {
      const patch = planCordon(node, owner);
      // Another replica may have lifted the cordon and freed the slot: then it must not come back.
      return patch !== undefined && read && !(await isHeld()) ? "not_held" : patch;
    };
    const outcome = await this.#change(name, decide, fresh, signal);
    return outcome === "changed" ? "cordoned" : outcome === "nothing" ? "already" : outcome;
  }

  /**
   * Lifts our cordon for a hold (get and patch nodes). Where the node was seen
   * without one, and is not to be read, there is no call.
   *
   * @param fresh Whether to read the node first.
   * @returns Whether there was one.
   */
  async lift(name: string, owner: CordonOwner, fresh: boolean, signal?: AbortSignal): Promise<boolean> {
    const decide = (node: NodeView) => Promise.resolve(planUncordon(node, owner));
    return (await this.#change(name, decide, fresh, signal)) === "changed";
  }

  /**
   * Puts a node right whose cordon outlived its hold (patch nodes), unless it has changed since it was seen.
   *
   * @param isHeld Whether an owner still holds its slot. It must have been found out after `node` was seen.
   * @returns "right" where nothing was wrong with it.
   */
  async repair(
    node: NodeView,
    isHeld: (owner: CordonOwner) => boolean,
    signal?: AbortSignal,
  ): Promise<"right" | "repaired" | "conflict" | "gone"> {
    const patch = planRepair(node, isHeld);
    if (patch === undefined) return "right";
    const result = await this.#calls.patchNode(node, patch, signal);
    if (result === "gone" || result === "conflict") return result;
    this.#watch.learn(result);
    return "repaired";
  }

  async #change<T extends string>(
    name: string,
    decide: (node: NodeView, read: boolean) => Promise<NodePatch | T | undefined>,
    fresh: boolean,
    signal?: AbortSignal,
  ): Promise<"changed" | "nothing" | "gone" | T> {
    let seen = fresh ? undefined : this.#watch.peek(name);
    for (let conflicts = 0; conflicts <= MAX_CONFLICTS; conflicts++) {
      const node = seen ?? await this.#calls.getNode(name, signal);
      if (node === undefined) return this.#gone(name);
      const patch = await decide(node, seen === undefined);
      if (patch === undefined) return "nothing";
      if (typeof patch === "string") return patch;
      const result = await this.#calls.patchNode(node, patch, signal);
      if (result === "gone") return this.#gone(name);
      if (result !== "conflict") {
        this.#watch.learn(result);
        return "changed";
      }
      seen = undefined;
    }
    throw new UnavailableError(
      `others changed the node ${name} again and again while it was to be cordoned or uncordoned`,
    );
  }

  #gone(name: string): "gone" {
    this.#watch.forget(name);
    return "gone";
  }
}
