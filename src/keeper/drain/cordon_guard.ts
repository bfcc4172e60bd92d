/**
 * Sees to it that one drain's node is cordoned while pods are evicted from it, and knows whether that very Node still
 * exists. It sets the cordon again where others lift it, but only a few times. It knows nothing of pods.
 *
 * @module
 */

import type { SeenNode } from "../../lock/yes.ts";
import { isNewer, type NodeView } from "../nodes/node.ts";
import { successorOf } from "../nodes/node_choice.ts";
import type { CallRetry } from "./call_retry.ts";
import type { DrainContext, DrainTask } from "./drain_task.ts";

/** The state of a drain's node. */
export type GuardedState =
  /** It is cordoned, as far as is known. */
  | "cordoned"
  /** The Node of the task is gone. There may be another one of its name, which the drain must leave alone. */
  | "gone"
  /** The hold is gone, so there must be no cordon. */
  | "not_held"
  /** Others lift the cordon again and again. */
  | "insisted";

/**
 * The pauses before the cordon is set again, in milliseconds, over all drains of a hold. Each further drain has the
 * last one left. An administrator who uncordons a node to cordon it for reasons of his own is faster than the first:
 * the cordon is then his, and stays.
 */
const PAUSES_MS = [5_000, 10_000, 20_000];

/**
 * How long a cordon counts as set after a read or a write has shown it, in milliseconds: while the watch is in step,
 * since its connection may have gone silent, and while it is not.
 */
const CONFIRMED_MS = 10_000;
const CONFIRMED_BLIND_MS = 1_000;

/** What a {@link CordonGuard} works with. */
export interface CordonGuardOptions {
  /** What is drained. */
  readonly task: DrainTask;
  /** With what. */
  readonly context: DrainContext;
  /** Repeats its calls. */
  readonly retry: CallRetry;
  /** Ends its calls and pauses, with the signal's reason. */
  readonly signal: AbortSignal;
}

/**
 * See the module. Call {@link begin} first. The methods that return a promise throw an UnavailableError where the
 * cluster denies a call or does not answer until the time-out, or the signal's reason.
 */
export class CordonGuard {
  readonly #options: CordonGuardOptions;
  /** The Node of that name, as it was read last. */
  #read: NodeView | undefined;
  /** What the watch showed when the state was found out last. While it shows the same, nothing has changed. */
  #checked: NodeView | undefined;
  #state: GuardedState | undefined;
  /** When a read or a write last showed the Node, by the clock's monotonic time. */
  #confirmedAt = -Infinity;

  /** Makes one that has done nothing yet. */
  constructor(options: CordonGuardOptions) {
    this.#options = options;
  }

  /** Whether the Node of the task is gone. */
  get isGone(): boolean {
    return this.#state === "gone";
  }

  /** The Node that has the name, as last seen; undefined where there is none, or none was seen. */
  get node(): SeenNode | undefined {
    const seen = this.#seen;
    const read = this.#read;
    if (this.isGone || seen?.uid !== this.#options.task.uid) return read;
    return read !== undefined && isNewer(read, seen) ? read : seen;
  }

  /**
   * Whether the host has registered again under the same name: the Node of the task is gone, and the one that has its
   * name is the same host's. Its pods are drained there, so nothing is left to wait for here.
   */
  get isRegisteredAgain(): boolean {
    const { task } = this.#options;
    return this.isGone && successorOf(task.owner.id, task, this.#read) === "same_host";
  }

  /** Whether what is known of the cordon is recent enough for an eviction. If not, {@link confirm} it first. */
  get isConfirmed(): boolean {
    const { clock, view } = this.#options.context;
    return clock.monotonic() - this.#confirmedAt < (view.isSynced ? CONFIRMED_MS : CONFIRMED_BLIND_MS);
  }

  /** Whether what the watch shows by now still allows what the state that was found out last did. */
  get isUnchanged(): boolean {
    const seen = this.#seen;
    return seen === this.#checked || this.#isShownCordoned(seen);
  }

  /** Cordons the node (get and patch nodes), unless an earlier drain of the hold has done so. */
  async begin(): Promise<GuardedState> {
    const { uid, memory } = this.#options.task;
    // Others who have stopped lifting the cordon must not hold back the host for ever.
    memory.cordonedAgain = Math.min(memory.cordonedAgain, PAUSES_MS.length - 1);
    // If what the watch shows were enough, a node that an earlier drain found empty would not be drained again.
    if (memory.wasCordoned) return await this.#look(memory.wasEmptied);
    const state = await this.#set(this.#seen?.uid !== uid);
    if (state === "cordoned") memory.wasCordoned = true;
    return state;
  }

  /**
   * Finds out whether the node is still cordoned. Makes a call only where the watch shows anything else (get nodes),
   * and sets the cordon again where that is true (patch nodes), after a pause.
   */
  async check(): Promise<GuardedState> {
    return await this.#look(false);
  }

  /** Finds out by a read (get nodes) whether the node is still cordoned, and sets the cordon again where it is not. */
  async confirm(): Promise<GuardedState> {
    return await this.#look(true);
  }

  /** Reads the Node (get nodes), which also tells the API server's time. Does not repeat the call. */
  async read(): Promise<void> {
    const { task, context: { nodes }, signal } = this.#options;
    const node = await nodes.getNode(task.node, signal);
    // Whether it is gone or uncordoned is for the next check to say.
    if (node?.uid === task.uid) this.#read = node;
  }

  get #seen(): NodeView | undefined {
    return this.#options.context.view.peek(this.#options.task.node);
  }

  async #look(readFirst: boolean): Promise<GuardedState> {
    const { uid } = this.#options.task;
    const seen = this.#seen;
    if (!readFirst) {
      if (this.#state !== undefined && seen === this.#checked) return this.#state;
      if (this.#isShownCordoned(seen)) return this.#is("cordoned", seen);
    }
    const node = await this.#get();
    if (node?.uid !== uid) return this.#is("gone", seen);
    // The watch is behind, or ahead: what it shows next tells more.
    if (node.unschedulable) return this.#is("cordoned", seen);
    return await this.#restore();
  }

  #isShownCordoned(seen: NodeView | undefined): boolean {
    return !this.isGone && seen?.uid === this.#options.task.uid && seen.unschedulable;
  }

  async #restore(): Promise<GuardedState> {
    const { task, context: { clock, listener }, signal } = this.#options;
    const pauseMs = PAUSES_MS[task.memory.cordonedAgain];
    if (pauseMs === undefined) return this.#is("insisted", this.#seen);
    task.memory.cordonedAgain++;
    listener.uncordonedByOthers(task);
    await clock.sleep(pauseMs, signal);
    return await this.#set(true);
  }

  async #set(readFirst: boolean): Promise<GuardedState> {
    const { task, context: { clock, cordon, listener, holdExists }, retry, signal } = this.#options;
    const { node: name, uid, owner } = task;
    // What the watch shows during the call may be newer than the answer.
    const seen = this.#seen;
    const result = await retry.persist(() => {
      return cordon.set({ name, uid }, owner, () => holdExists(owner), readFirst, signal);
    });
    this.#confirmedAt = clock.monotonic();
    switch (result) {
      case "cordoned":
        listener.cordoned(task);
        return this.#is("cordoned", seen);
      case "already":
        return this.#is("cordoned", seen);
      case "not_held":
        return result;
      case "gone": {
        const seenNow = this.#seen;
        const node = await this.#get();
        return node?.uid === uid ? await this.#restore() : this.#is("gone", seenNow);
      }
    }
  }

  async #get(): Promise<NodeView | undefined> {
    const { task, context: { clock, nodes }, retry, signal } = this.#options;
    this.#read = await retry.persist(() => nodes.getNode(task.node, signal));
    this.#confirmedAt = clock.monotonic();
    return this.#read;
  }

  #is(state: GuardedState, seen: NodeView | undefined): GuardedState {
    this.#checked = seen;
    return this.#state = state;
  }
}
