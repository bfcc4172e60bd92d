/**
 * The Nodes of the cluster, kept up to date by a watch: finds them by a client's id or by name, and waits for their
 * changes. While the watch is behind, lookups ask the API server. It changes nothing in the cluster.
 *
 * @module
 */

import { type Clock, systemClock } from "../../lock/clock.ts";
import type { ClientId } from "../../lock/identity.ts";
import type { NodeCalls } from "./node_calls.ts";
import { isNewer, type NodeView } from "./node.ts";
import { comparableId } from "./zincati_id.ts";

/** Told by {@link NodeWatch}. The methods must not throw. */
export interface NodeListener {
  /** A node is new or has changed. Not called for a state that `learn` was told before. */
  changed?(node: NodeView): void;
  /** The watch is in step with the cluster. */
  synced?(): void;
  /** The watch falls behind. */
  lost?(error: unknown): void;
  /** A node's machine-id is malformed, so it matches no client. Called once for each node. */
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

  /** Whether what it has seen is in step with the cluster. */
  get isSynced(): boolean {
    return this.#synced;
  }

  /** How many nodes have a malformed machine-id. */
  get malformed(): number {
    return [...this.#nodes.values()].filter((node) => node.malformed).length;
  }

  /** All nodes, as last seen. */
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

  /** A node as last seen; undefined where none of that name was seen. It may be behind, so it proves nothing. */
  peek(name: string): NodeView | undefined {
    return this.#nodes.get(name);
  }

  /**
   * Finds the nodes on which a client may run. Where it has seen none, it always lists the nodes (list nodes): a host
   * without a node gets its yes without a drain, and the watch's connection may have gone silent before the node
   * joined.
   *
   * @throws {UnavailableError} The nodes could not be listed.
   */
  async byId(id: ClientId): Promise<NodeView[]> {
    const wanted = comparableId(id);
    const names = this.#synced ? this.#byId.get(wanted) : undefined;
    if (names !== undefined) return [...names].map((name) => this.#nodes.get(name)!);
    // Simultaneous requests share one listing.
    this.#listing ??= this.#calls.listNodes().finally(() => this.#listing = undefined);
    return (await this.#listing).filter((node) => node.ids.includes(wanted));
  }

  /**
   * Finds a node by its name, by a read (get nodes) while the watch is behind.
   *
   * @returns Undefined where there is none.
   * @throws {UnavailableError} The node could not be read.
   */
  async byName(name: string, signal?: AbortSignal): Promise<NodeView | undefined> {
    return this.#synced ? this.#nodes.get(name) : await this.#calls.getNode(name, signal);
  }

  /** Notes a node as one of our own calls returned it. */
  learn(node: NodeView): void {
    const known = this.#nodes.get(node.name);
    // A node that the watch does not show may have been deleted since the call.
    if (known?.uid === node.uid && isNewer(node, known)) this.#set(node);
  }

  /** Notes that one of our own calls found no node of a name. If one comes later, the watch shows it. */
  forget(name: string): void {
    if (!this.#nodes.has(name)) return;
    this.#unlink(name);
    this.#nodes.delete(name);
    this.#malformed.delete(name);
    this.#wake(name);
  }

  /**
   * Waits until a node meets a condition.
   *
   * @param name The node's name.
   * @param condition Asked at once and after each change. Its argument is undefined where there is no node.
   * @param ms How long to wait at most, in milliseconds.
   * @param signal Ends the wait at once.
   * @returns Whether the node met the condition in time.
   */
  async until(
    name: string,
    condition: (node: NodeView | undefined) => boolean,
    ms: number,
    signal: AbortSignal,
  ): Promise<boolean> {
    const done = new AbortController();
    let reached = false;
    const look = () => {
      if (reached || !this.#synced || !condition(this.#nodes.get(name))) return;
      reached = true;
      done.abort();
    };
    const onChange = (changed: string) => {
      if (changed === name || changed === "") look();
    };
    this.#waiters.add(onChange);
    try {
      look();
      await this.#clock.sleep(ms, AbortSignal.any([signal, done.signal])).catch(() => {});
      return reached;
    } finally {
      this.#waiters.delete(onChange);
    }
  }

  #listed(nodes: readonly NodeView[], moment: bigint): void {
    // The version went back, so etcd was restored from a backup: what was seen since then is no longer true.
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
    // The deletion of an earlier node of the same name says nothing about the current one.
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
