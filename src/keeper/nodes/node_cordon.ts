/**
 * Cordons nodes and lifts our own cordons. Each patch takes effect only on the state that it was decided on. The
 * decisions are those of cordon.ts.
 *
 * @module
 */

import { UnavailableError } from "../../lock/errors.ts";
import { type CordonOwner, type NodePatch, planCordon, planRepair, planUncordon } from "./cordon.ts";
import type { NodeCalls } from "./node_calls.ts";
import type { NodeWatch } from "./node_watch.ts";
import type { NodeView } from "./node.ts";

/** How often a patch is repeated after a conflict. Kubelets and controllers change a Node a few times a minute. */
const MAX_CONFLICTS = 10;

/** See the module. All methods throw {@link UnavailableError} or the signal's reason. */
export class NodeCordon {
  readonly #calls: NodeCalls;
  readonly #watch: NodeWatch;

  /** Makes it over `calls`. `watch` gives the state to decide on first, and learns the result of each patch. */
  constructor(calls: NodeCalls, watch: NodeWatch) {
    this.#calls = calls;
    this.#watch = watch;
  }

  /**
   * Cordons a node for a hold (get and patch nodes).
   *
   * @param node The very Node. A later one of the same name is left alone.
   * @param holdExists Reads whether the hold still exists. Asked before each patch of a state that was read, not of
   * one that the watch has seen.
   * @param readFirst Whether to read the node first instead of deciding on what the watch has seen.
   * @returns "already" where the node was cordoned before, for this hold or by an administrator; "gone" where it does
   * not exist; "not_held" where the hold does not.
   */
  async set(
    { name, uid }: Pick<NodeView, "name" | "uid">,
    owner: CordonOwner,
    holdExists: () => Promise<boolean>,
    readFirst: boolean,
    signal: AbortSignal,
  ): Promise<"cordoned" | "already" | "gone" | "not_held"> {
    const decide = async (node: NodeView, read: boolean) => {
      const patch = planCordon(node, owner);
      // What the watch has seen may be behind. A patch would fail on that; without one, only a read tells.
      if (!read && (node.uid !== uid || patch === undefined)) return "unsure";
      if (node.uid !== uid) return "gone";
      // Another replica may have lifted the cordon and freed the slot. Then the cordon must not come back.
      return patch !== undefined && read && !(await holdExists()) ? "not_held" : patch;
    };
    const outcome = await this.#change(name, decide, readFirst, signal);
    if (outcome === "unsure") return await this.set({ name, uid }, owner, holdExists, true, signal);
    if (typeof outcome === "string") return outcome === "nothing" ? "already" : outcome;
    // Without a cordon that is ours, the patch removed a stale annotation from an administrator's.
    return outcome.cordon === null ? "already" : "cordoned";
  }

  /**
   * Lifts our cordon for a hold (get and patch nodes). Makes no call where the watch has seen the node without our
   * cordon, unless it is read first.
   *
   * @param readFirst Whether to read the node first instead of deciding on what the watch has seen.
   * @returns Whether there was a cordon to lift. False also where the cordon is an administrator's by now, and only our
   * annotation was removed.
   */
  async lift(name: string, owner: CordonOwner, readFirst: boolean, signal?: AbortSignal): Promise<boolean> {
    const decide = (node: NodeView) => Promise.resolve(planUncordon(node, owner));
    const outcome = await this.#change(name, decide, readFirst, signal);
    return typeof outcome !== "string" && !(outcome.cordon === null && outcome.unschedulable === undefined);
  }

  /**
   * Cleans up a node's stale cordon (patch nodes), unless the node has changed since it was seen.
   *
   * @param isHeld Whether an owner still holds its slot. The caller must have read it after `node` was seen.
   * @returns "right" where nothing was stale; "gone" where the node does not exist.
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
    readFirst: boolean,
    signal?: AbortSignal,
  ): Promise<NodePatch | "nothing" | "gone" | T> {
    let seen = readFirst ? undefined : this.#watch.peek(name);
    for (let conflicts = 0; conflicts <= MAX_CONFLICTS; conflicts++) {
      const known = this.#watch.peek(name);
      const node = seen ?? await this.#calls.getNode(name, signal);
      if (node === undefined) return this.#gone(known);
      const patch = await decide(node, seen === undefined);
      if (patch === undefined) return "nothing";
      if (typeof patch === "string") return patch;
      const result = await this.#calls.patchNode(node, patch, signal);
      if (result === "gone") return this.#gone(known);
      if (result !== "conflict") {
        this.#watch.learn(result);
        return patch;
      }
      seen = undefined;
    }
    throw new UnavailableError(
      `cannot cordon or uncordon the node ${name}: others change it all the time`,
    );
  }

  /** @param known The node as the watch had seen it before the call that found none. */
  #gone(known: NodeView | undefined): "gone" {
    this.#watch.forget(known);
    return "gone";
  }
}
