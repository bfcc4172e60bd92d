/**
 * Waits until the host of a hold is back from its reboot. What "back" means is decided in `node_return.ts`. What the
 * watch has seen only tells when it is worth to read; reads that begin after the request decide.
 *
 * @module
 */

import { comparableId } from "../../lock/identity.ts";
import type { Clock } from "../../lock/clock.ts";
import type { Hold, ReturnOutcome } from "../../lock/node_keeper.ts";
import { ForbiddenError } from "../../kubernetes/errors.ts";
import type { NodeView } from "./node.ts";
import type { NodeCalls } from "./node_calls.ts";
import { judgeReturn, kubeletIsAlive, type ReturnState } from "./node_return.ts";
import type { NodeWatch } from "./node_watch.ts";

/** How long to wait for a watch that is behind a read, in milliseconds. */
const LAG_MS = 500;

/** How often to read while the watch is behind, in milliseconds. */
const BLIND_MS = 5_000;

/** Why a node that is ready does not count as back. */
const SILENT_REASON = "its kubelet has not reported since this request came";

/** Why a host without a Node does not count as back. */
const ABSENT_REASON = "its Node does not exist";

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
  /** Called where the wait for a host that had a Node has ended, and it has none: its slot is about to be freed. */
  absent(hold: Hold): void;
}

/** See the module. */
export class ReturnWait {
  readonly #options: ReturnWaitOptions;

  /** Makes one. */
  constructor(options: ReturnWaitOptions) {
    this.#options = options;
  }

  /**
   * Waits until the host of a hold is back.
   *
   * A host that had a Node and has none now counts as back only when the wait is over: it has left the cluster, and its
   * slot must not stay taken for ever. Before, its kubelet may be about to register a Node after the reboot.
   *
   * @param hold The hold that ends then.
   * @param deadline Until when to wait, by {@link Clock.monotonic}.
   * @param signal Ends the wait at once.
   * @throws {UnavailableError} A node or its kubelet's Lease could not be read.
   */
  async forHold(hold: Hold, deadline: number, signal: AbortSignal): Promise<ReturnOutcome> {
    const { nodes, clock, absent } = this.#options;
    const leftMs = () => Math.max(deadline - clock.monotonic(), 0);
    const shows = (...kinds: ReturnState["kind"][]) => kinds.includes(judgeReturn(hold, this.#seen(hold)).kind);
    // The watch may not have seen a Node that has joined: where it shows none, a read must say so first.
    if (nodes.isSynced) await nodes.until(() => !shows("not_ready"), leftMs(), signal);
    while (true) {
      const isDue = leftMs() === 0;
      let state = await this.#read(hold);
      if (state.kind === "same_boot") {
        // Whatever the hold notes, its client may have been told yes: the note of a drain that begins anew on another
        // Node, or that others edited, does not say that it was not.
        const { name, uid } = state.node;
        const silent: ReturnOutcome = { kind: "not_ready", node: name, reason: SILENT_REASON };
        const isAlive = await this.#kubeletIsAlive(name, leftMs(), signal);
        if (isAlive === false) return silent;
        state = await this.#read(hold);
        if (state.kind === "same_boot") {
          if (state.node.uid === uid) return isAlive === true ? sameBoot(hold, state.node.bootId) : { kind: "ready" };
          state = silent;
        }
      }
      if (state.kind === "ready") return state;
      // If the watch shows the node ready and a read does not, the watch is behind: give it a moment.
      await clock.sleep(Math.min(LAG_MS, leftMs()), signal).catch(() => {});
      if (state.kind !== "absent") {
        if (signal.aborted || leftMs() === 0) return state;
      } else if (signal.aborted) {
        return { kind: "not_ready", node: hold.node?.name ?? hold.id, reason: ABSENT_REASON };
      } else if (isDue) {
        absent(hold);
        return { kind: "ready" };
      }
      const mayBeBack = () => shows("ready", "same_boot");
      await nodes.until(mayBeBack, nodes.isSynced ? leftMs() : Math.min(leftMs(), BLIND_MS), signal);
    }
  }

  /** The nodes of the host as the watch has seen them, the noted one first. */
  #seen(hold: Hold): NodeView[] {
    const { nodes } = this.#options;
    const noted = hold.node && nodes.peek(hold.node.name);
    const others = nodes.peekById(hold.id).filter(({ uid }) => uid !== hold.node?.uid);
    return noted?.uid === hold.node?.uid && noted !== undefined ? [noted, ...others] : others;
  }

  /** Reads what the nodes of the host show now. */
  async #read(hold: Hold): Promise<ReturnState> {
    const { calls, nodes } = this.#options;
    const read = hold.node && await calls.getNode(hold.node.name);
    if (read !== undefined) nodes.learn(read);
    const noted = read?.uid === hold.node?.uid ? read : undefined;
    const hasId = noted?.ids.includes(comparableId(hold.id)) === true;
    if (noted !== undefined && hasId) {
      const state = judgeReturn(hold, [noted]);
      if (state.kind === "ready") return state;
    }
    // A hold that notes no Node was granted to a host that had none. If one has joined since then, the watch shows it.
    const hadNode = hold.node !== undefined || hold.isNodeUnreadable === true;
    const others = await this.#readOthers(hold, hadNode && noted === undefined);
    // The noted one showed the client's id once. Where it does not any more, and another one does, that one is the
    // host's, and the noted bootID says nothing of it.
    if (noted !== undefined && !hasId && others.length > 0) return judgeReturn({}, others);
    const state = judgeReturn(hold, noted === undefined ? others : [noted, ...others]);
    // A watch that is behind may still show the noted one, for which the wait would read and list again at once.
    if (state.kind === "absent") nodes.forget(hold.node);
    return state;
  }

  /**
   * Reads the nodes with the client's id, except the noted one.
   *
   * @param isComplete Whether a list must show that there are none.
   */
  async #readOthers({ id, node }: Hold, isComplete: boolean): Promise<NodeView[]> {
    const { calls, nodes } = this.#options;
    const isOther = (one: NodeView | undefined): one is NodeView => {
      return one !== undefined && one.uid !== node?.uid && one.ids.includes(comparableId(id));
    };
    const gone: NodeView[] = [];
    if (nodes.isSynced) {
      const seen = nodes.peekById(id).filter(isOther);
      const read = await Promise.all(seen.map(({ name }) => calls.getNode(name)));
      const found = read.filter(isOther);
      if (found.length > 0 || !isComplete) return found;
      gone.push(...seen.filter(({ uid }, index) => uid !== read[index]?.uid));
    }
    const listed = (await nodes.listById(id)).filter(isOther);
    if (listed.length === 0) { for (const one of gone) nodes.forget(one); }
    return listed;
  }

  async #kubeletIsAlive(name: string, ms: number, signal: AbortSignal): Promise<boolean | "unknown"> {
    const { calls, clock, forbidden } = this.#options;
    try {
      return await kubeletIsAlive(() => calls.kubeletRenewal(name), clock, ms, signal);
    } catch (error) {
      if (!(error instanceof ForbiddenError)) throw error;
      forbidden(error);
      return "unknown";
    }
  }
}

/**
 * The kubelet has shown that it runs the boot that the hold notes, so that its host has not rebooted; or one of the two
 * names none.
 */
function sameBoot({ node, isNodeUnreadable }: Hold, bootId: string | undefined): ReturnOutcome {
  const isKnown = !isNodeUnreadable && node?.bootId !== undefined && node.bootId === bootId;
  return { kind: "ready", ...(isKnown && { rebooted: false }) };
}
