/**
 * Waits until the node of a hold is back from its reboot. What "back" means is decided in `node_return.ts`.
 *
 * @module
 */

import type { Clock } from "../../lock/clock.ts";
import type { Hold, ReturnOutcome } from "../../lock/node_keeper.ts";
import { ForbiddenError } from "../../kubernetes/errors.ts";
import type { NodeCalls } from "./node_calls.ts";
import { judgeReturn, kubeletIsAlive } from "./node_return.ts";
import type { NodeWatch } from "./node_watch.ts";

/** How long to wait for a watch that is behind a read, in milliseconds. */
const LAG_MS = 500;

/** What a {@link ReturnWait} works with. */
export interface ReturnWaitOptions {
  /** The calls. */
  readonly calls: Pick<NodeCalls, "getNode" | "kubeletRenewal">;
  /** Shows when a node changes. */
  readonly nodes: NodeWatch;
  /** Time. */
  readonly clock: Clock;
  /** Called where the permission to read kubelets' Leases is missing. A kubelet then counts as running. */
  forbidden(error: ForbiddenError): void;
}

/** See the module. */
export class ReturnWait {
  readonly #options: ReturnWaitOptions;

  /** Makes one. */
  constructor(options: ReturnWaitOptions) {
    this.#options = options;
  }

  /**
   * Waits until a node is ready after its reboot.
   *
   * @param name The node's name.
   * @param hold The hold that ends when the node is back.
   * @param deadline Until when to wait, by {@link Clock.monotonic}.
   * @param signal Ends the wait at once.
   * @throws {UnavailableError} The node or its kubelet's Lease could not be read.
   */
  async forNode(name: string, hold: Hold, deadline: number, signal: AbortSignal): Promise<ReturnOutcome> {
    const { calls, nodes, clock } = this.#options;
    const bootId = hold.node?.bootId;
    const leftMs = () => Math.max(deadline - clock.monotonic(), 0);
    let node = await nodes.byName(name, signal);
    while (true) {
      if (judgeReturn(node, bootId).kind === "not_ready") {
        await nodes.until(name, (one) => judgeReturn(one, bootId).kind !== "not_ready", leftMs(), signal);
      }
      // The watch may be behind, so a read decides whether the slot is freed.
      node = await calls.getNode(name);
      if (node !== undefined) nodes.learn(node);
      const state = judgeReturn(node, bootId);
      if (state.kind === "ready") return state;
      if (state.kind === "same_boot") {
        // Only a client that was told yes can have rebooted.
        const mayHaveRebooted = hold.node?.phase === "drained";
        if (mayHaveRebooted && !(await this.#kubeletIsAlive(name, leftMs(), signal))) {
          return { kind: "not_ready", node: name, reason: "its kubelet has not reported since the reboot" };
        }
        node = await calls.getNode(name);
        if (judgeReturn(node, bootId).kind !== "not_ready") return { kind: "ready" };
      }
      // If the watch shows the node ready and a read does not, the watch is behind: give it a moment.
      await clock.sleep(Math.min(LAG_MS, leftMs()), signal).catch(() => {});
      if (signal.aborted || leftMs() === 0) {
        const reason = state.kind === "not_ready" ? state.reason : "it became unready again";
        return { kind: "not_ready", node: name, reason };
      }
    }
  }

  async #kubeletIsAlive(name: string, ms: number, signal: AbortSignal): Promise<boolean> {
    const { calls, clock, forbidden } = this.#options;
    try {
      return await kubeletIsAlive(() => calls.kubeletRenewal(name), clock, ms, signal);
    } catch (error) {
      if (!(error instanceof ForbiddenError)) throw error;
      forbidden(error);
      return true;
    }
  }
}
