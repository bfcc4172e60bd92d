/**
 * The Nodes of the cluster, kept by a watch: found by a client's id or by name,
 * and waited for. While the watch is behind, lookups read afresh. It changes
 * nothing in the cluster.
 *
 * @module
 */

import { type Clock, systemClock } from "../../lock/clock.ts";
import type { NodeCalls } from "./node_calls.ts";
import { isNewer, type NodeView } from "./node.ts";
import { comparableId } from "./zincati_id.ts";

/** Told by {@link NodeWatch}. The methods must not throw. */
export interface NodeListener {
  /** A node is new or has changed; not called for what was `learn`ed before. */
  changed?(node: NodeView): void;
  /** The watch is in step with the cluster. */
  synced?(): void;
  /** The watch falls behind. */
  lost?(error: unknown): void;
  /** A node's machine-id is no machine-id, so that no client matches it by that. Once a node. */
  malformed?(name: string): void;
}

/** See the module. */
export class NodeWatch {
  readonly #calls: NodeCalls;
  readonly #clock: Clock;
  readonly #listener: NodeListener;
  readonly #nodes = new Map<string, NodeView>();
  readonly #byId = new Map<string, Set<string>>();
  readonly #malformed = new Set<string>();
  readonly #waiters = new Set<(name: string) => void>();
  #synced = false;
  /** The version up to which the watch has told everything. */
  #moment = 0n;
  #listing: Promise<NodeView[]> | undefined;

  /** Makes one that has seen nothing yet. */
  constructor(calls: NodeCalls, listener: NodeListener = {}, clock: Clock = systemClock) {
    this.#calls = calls;
    this.#listener = listener;
    this.#clock = clock;
  }

  /** Whether the view is in step with the cluster. */
  get isSynced(): boolean {
    return this.#synced;
  }

  /** How many nodes have a machine-id that is none. */
  get malformed(): number {
    return [...this.#nodes.values()].filter((node) => node.malformed).length;
  }

  /** All nodes seen last. */
  get nodes(): Iterable<NodeView> {
    return this.#nodes.values();
  }

  /** Follows the Nodes (list and watch nodes) until the signal aborts. Does not throw. */
  async run(signal: AbortSignal): Promise<void> {
    await this.#calls.watchNodes({
      synced: (nodes, version) => this.#listed(nodes, BigInt(version || 0)),
      changed: (type, node) => {
        const version = BigInt(node.resourceVersion || 0);
        if (version > this.#moment) this.#moment = version;
        if (type === "DELETED") this.#remove(node);
        else this.#take(node);
      },
      lost: (error) => {
        this.#synced = false;
        this.#listener.lost?.(error);
      },
    }, signal);
    this.#synced = false;
  }

  /** A node as it was seen last; undefined where none of that name was. It may be behind, so it proves nothing. */
  peek(name: string): NodeView | undefined {
    return this.#nodes.get(name);
  }

  /**
   * Finds the nodes on which a client may run. That there is none is always read
   * afresh: a host without a node gets its yes without a drain, and the watch's
   * connection may have gone silent before the node joined.
   *
   * @param id A client's id.
   * @throws {UnavailableError} The nodes had to be listed (list nodes), and could not be.
   */
  async byId(id: string): Promise<NodeView[]> {
    const wanted = comparableId(id);
    const names = this.#synced ? this.#byId.get(wanted) : undefined;
    if (names !== undefined) return [...names].map((name) => this.#nodes.get(name)!);
    // A crowd of clients shares one listing.
    this.#listing ??= this.#calls.listNodes().finally(() => this.#listing = undefined);
    return (await this.#listing).filter((node) => node.ids.includes(wanted));
  }

  /**
   * Finds a node by its name.
   *
   * @returns Undefined where there is none.
   * @throws {UnavailableError} The watch is behind, and the node could not be read (get nodes).
   */
  async byName(name: string, signal?: AbortSignal): Promise<NodeView | undefined> {
    return this.#synced ? this.#nodes.get(name) : await this.#calls.getNode(name, signal);
  }

  /** Takes in a node as one of our own calls returned it. */
  learn(node: NodeView): void {
    const known = this.#nodes.get(node.name);
    // A node that the watch has not shown may have been deleted since the call.
    if (known?.uid === node.uid && isNewer(node, known)) this.#set(node);
  }

  /** Takes in that one of our own calls found no node of a name. If there is one after all, the watch will show it. */
  forget(name: string): void {
    if (!this.#nodes.has(name)) return;
    this.#unlink(name);
    this.#nodes.delete(name);
    this.#malformed.delete(name);
    this.#wake(name);
  }

  /**
   * Waits until a node is as wanted.
   *
   * @param name The node's name.
   * @param holds Asked about the node at once and after each change; undefined stands for no node.
   * @param ms How long to wait at most, in milliseconds.
   * @param signal Ends the wait at once.
   * @returns Whether it became so.
   */
  async until(
    name: string,
    holds: (node: NodeView | undefined) => boolean,
    ms: number,
    signal: AbortSignal,
  ): Promise<boolean> {
    const done = new AbortController();
    let reached = false;
    const look = () => {
      if (reached || !this.#synced || !holds(this.#nodes.get(name))) return;
      reached = true;
      done.abort();
    };
    const onChange = (changed: string) => {
      if (changed === name || changed === "") look();
    };
    const stop = () => done.abort();
    signal.addEventListener("abort", stop, { once: true });
    if (signal.aborted) stop();
    this.#waiters.add(onChange);
    try {
      look();
      await this.#clock.sleep(ms, done.signal).catch(() => {});
      return reached;
    } finally {
      this.#waiters.delete(onChange);
      signal.removeEventListener("abort", stop);
    }
  }

  #listed(nodes: readonly NodeView[], moment: bigint): void {
    // An earlier moment than the last: etcd itself has gone back, to a backup, and what was seen since is not so.
    if (moment < this.#moment) { for (const name of [...this.#nodes.keys()]) this.forget(name); }
    this.#moment = moment;
    const names = new Set(nodes.map((node) => node.name));
    for (const node of this.#nodes.values()) if (!names.has(node.name)) this.#remove(node);
    for (const node of nodes) this.#take(node);
    this.#synced = true;
    this.#listener.synced?.();
    this.#wake("");
  }

  #take(node: NodeView): void {
    const known = this.#nodes.get(node.name);
    if (known !== undefined && !isNewer(node, known)) return;
    this.#set(node);
    if (node.malformed && !this.#malformed.has(node.name)) {
      this.#malformed.add(node.name);
      this.#listener.malformed?.(node.name);
    }
    this.#listener.changed?.(node);
    this.#wake(node.name);
  }

  #set(node: NodeView): void {
    this.#unlink(node.name);
    this.#nodes.set(node.name, node);
    for (const id of node.ids) {
      const names = this.#byId.get(id);
      if (names === undefined) this.#byId.set(id, new Set([node.name]));
      else names.add(node.name);
    }
  }

  #remove(node: NodeView): void {
    const known = this.#nodes.get(node.name);
    // The deletion of an earlier node of the name says nothing of the one there is now.
    if (known === undefined || isNewer(known, node)) return;
    this.forget(node.name);
  }

  #unlink(name: string): void {
    for (const id of this.#nodes.get(name)?.ids ?? []) {
      const names = this.#byId.get(id);
      names?.delete(name);
      if (names?.size === 0) this.#byId.delete(id);
    }
  }

  #wake(name: string): void {
    for (const waiter of [...this.#waiters]) waiter(name);
  }
}
