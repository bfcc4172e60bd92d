/**
 * The Nodes of the cluster, kept up to date by a watch: finds them by a client's id or by name, and waits for their
 * changes. What it has seen may be behind, so it never proves that there is no Node: {@link FreshNodes} does.
 * It changes nothing in the cluster.
 *
 * @module
 */

import { type Clock, systemClock } from "../../lock/clock.ts";
import { type ClientId, comparableId } from "../../lock/identity.ts";
import { type FoundNodes, FreshNodes, type FreshNodesOptions } from "./fresh_nodes.ts";
import type { NodeListener } from "./node_listener.ts";
import type { NodeCalls } from "./node_calls.ts";
import { NamesById } from "./names_by_id.ts";
import { countsAlike, isNewer, type NodeView } from "./node.ts";
import { Waiters } from "./waiters.ts";

/** Options of {@link NodeWatch}. */
export interface NodeWatchOptions {
  /** Time. @default {systemClock} */
  readonly clock?: Clock;
  /** How long a node must have been seen not ready until it counts as a ghost, in milliseconds. @default {120_000} */
  readonly ghostMs?: number;
  /** How it reads Nodes that the watch may not have seen. */
  readonly freshNodes?: FreshNodesOptions;
}

/**
 * How long a request waits for a watch that has just begun, in milliseconds. To list all Nodes beside it would make
 * both slower, and take twice the memory.
 */
const START_MS = 30_000;

/** How many sets of nodes that share an id are remembered. Beyond that, a set may be told again. */
const MAX_SHARED = 1_000;

/** See the module. */
export class NodeWatch {
  readonly #calls: NodeCalls;
  readonly #clock: Clock;
  readonly #ghostMs: number;
  readonly #listener: NodeListener;
  readonly #nodes = new Map<string, NodeView>();
  readonly #byId = new NamesById();
  /** The names of the nodes with {@link "./cordon.ts".CORDON_ANNOTATION}: a few of thousands. */
  readonly #marked = new Set<string>();
  readonly #malformed = new Set<string>();
  /** The sets of nodes that were told to share an id. */
  readonly #shared = new Set<string>();
  /** Since when each node has been seen not ready without interruption, by UID and the clock's monotonic time. */
  readonly #notReady = new Map<string, number>();
  readonly #waiters: Waiters;
  #synced = false;
  /** Whether the watch has begun, and has neither come into step nor failed yet. */
  #starting = false;
  /** The version up to which the watch has told everything. */
  #moment = 0n;
  #ownChanges = 0;
  #edition = 0;
  readonly #fresh: FreshNodes;

  /** Makes one that has seen nothing yet. */
  constructor(calls: NodeCalls, listener: NodeListener = {}, options: NodeWatchOptions = {}) {
    this.#calls = calls;
    this.#listener = listener;
    this.#clock = options.clock ?? systemClock;
    this.#ghostMs = options.ghostMs ?? 120_000;
    this.#waiters = new Waiters(this.#clock);
    this.#fresh = new FreshNodes(calls, this, this.#clock, options.freshNodes);
  }

  /** Whether what it has seen is in step with the cluster. */
  get isSynced(): boolean {
    return this.#synced;
  }

  /** The version up to which the watch has told everything. */
  get moment(): bigint {
    return this.#moment;
  }

  /** How often our own calls have changed what is seen, ahead of the watch. */
  get ownChanges(): number {
    return this.#ownChanges;
  }

  /** Grows with each change that makes a difference to who counts nodes, and not with heartbeats. */
  get edition(): number {
    return this.#edition;
  }

  /** How many nodes have a malformed machine-id. */
  get malformed(): number {
    return [...this.#nodes.values()].filter((node) => node.malformed).length;
  }

  /** How many nodes there are, as last seen. */
  get count(): number {
    return this.#nodes.size;
  }

  /** All nodes, as last seen. */
  get nodes(): Iterable<NodeView> {
    return this.#nodes.values();
  }

  /** The nodes with our annotation on a cordon, as last seen, whatever it says. */
  get marked(): NodeView[] {
    return [...this.#marked].map((name) => this.#nodes.get(name)!);
  }

  /** Follows the Nodes (list and watch nodes) until the signal aborts. Does not throw. */
  async run(signal: AbortSignal): Promise<void> {
    this.#starting = true;
    await this.#calls.watchNodes(
      {
        synced: (nodes, version) => this.#listed(nodes, BigInt(version || 0)),
        changed: (type, node) => {
          this.#reach(node.resourceVersion);
          if (type === "DELETED") this.#remove(node);
          else this.#take(node);
          this.#fresh.noteChange();
          this.#waiters.wake();
        },
        reached: (version) => {
          this.#reach(version);
          this.#waiters.wake();
        },
        lost: (error) => {
          this.#synced = false;
          this.#starting = false;
          this.#waiters.wake();
          // A node may be ready in between.
          this.#notReady.clear();
          this.#listener.lost?.(error);
        },
      },
      signal,
      this.#nodes,
    );
    this.#synced = false;
    this.#starting = false;
    this.#waiters.wake();
  }

  /**
   * Waits where the watch has just begun, until it is in step or has failed, and no longer than 30 s. Afterwards
   * {@link isSynced} tells.
   */
  async started(): Promise<void> {
    if (this.#starting) await this.#waiters.until(() => !this.#starting, START_MS);
  }

  /** A node as last seen; undefined where none of that name was seen. It may be behind, so it proves nothing. */
  peek(name: string): NodeView | undefined {
    return this.#nodes.get(name);
  }

  /** The nodes with a client's id, as last seen. It may be behind. */
  peekById(id: string): NodeView[] {
    return this.#byId.get(comparableId(id)).map((name) => this.#nodes.get(name)!);
  }

  /**
   * Finds the nodes on which a client may run. Where it has seen some, they are candidates, which a read must confirm.
   * Where it has seen none, see {@link search}: a host without a node gets its yes without a drain, and the watch's
   * connection may have gone silent before the node joined.
   *
   * @param except The UID of a node that does not count.
   * @throws {UnavailableError} The nodes could not be listed.
   */
  async byId(id: ClientId, except?: string): Promise<FoundNodes> {
    const isOther = ({ uid }: NodeView) => uid !== except;
    await this.started();
    const seen = this.#synced ? this.peekById(id).filter(isOther) : [];
    const found = seen.length > 0 ? { nodes: seen, readAt: this.#clock.monotonic() } : await this.search(id);
    return { ...found, nodes: found.nodes.filter(isOther) };
  }

  /**
   * Finds the nodes with a client's id, or a machine-id, at a moment after the call. See {@link FreshNodes}.
   *
   * @throws {UnavailableError} The nodes could not be listed.
   */
  search(id: string): Promise<FoundNodes> {
    return this.#fresh.byId(id);
  }

  /** {@link search} where it does not matter how old the moment is. */
  async listById(id: string): Promise<NodeView[]> {
    return (await this.search(id)).nodes;
  }

  /**
   * Whether a node counts as a ghost: it is not ready now, and the watch has seen it so for a while.
   *
   * @param node As read last.
   */
  isGhost(node: NodeView): boolean {
    const since = this.#notReady.get(node.uid);
    return node.ready !== "True" && since !== undefined && this.#clock.monotonic() - since >= this.#ghostMs;
  }

  /** Notes a node as one of our own calls returned it. */
  learn(node: NodeView): void {
    const known = this.#nodes.get(node.name);
    // A node that the watch does not show may have been deleted since the call.
    if (known?.uid !== node.uid || !isNewer(node, known)) return;
    this.#ownChanges++;
    this.#set(node);
  }

  /**
   * Notes that one of our own calls found no node of a name any more. The watch may have shown another one while the
   * call ran, which stays.
   *
   * @param seen The node as it was seen before the call; undefined where none was.
   */
  forget(seen: Pick<NodeView, "name" | "uid"> | undefined): void {
    if (seen === undefined || this.#nodes.get(seen.name)?.uid !== seen.uid) return;
    this.#ownChanges++;
    this.#drop(seen.name);
  }

  /** Notes that the watch has told everything up to a version. */
  #reach(resourceVersion: string): void {
    const version = BigInt(resourceVersion || 0);
    if (version > this.#moment) this.#moment = version;
  }

  #drop(name: string): void {
    const known = this.#nodes.get(name);
    if (known === undefined) return;
    this.#notReady.delete(known.uid);
    this.#edition++;
    this.#unlink(name);
    this.#nodes.delete(name);
    this.#marked.delete(name);
    this.#malformed.delete(name);
    this.#waiters.wake();
  }

  /**
   * Waits until what is seen meets a condition. While the watch is behind, nothing does.
   *
   * @param condition Asked at once and after each change.
   * @param ms How long to wait at most, in milliseconds.
   * @param signal Ends the wait at once.
   * @returns Whether the condition was met in time.
   */
  until(condition: () => boolean, ms: number, signal: AbortSignal): Promise<boolean> {
    return this.#waiters.until(() => this.#synced && condition(), ms, signal);
  }

  #listed(nodes: readonly NodeView[], moment: bigint): void {
    // The version went back, so etcd was restored from a backup: what was seen since then is no longer true.
    if (moment < this.#moment) { for (const name of [...this.#nodes.keys()]) this.#drop(name); }
    this.#moment = moment;
    const names = new Set(nodes.map((node) => node.name));
    for (const node of this.#nodes.values()) if (!names.has(node.name)) this.#remove(node);
    for (const node of nodes) this.#take(node, moment);
    this.#synced = true;
    this.#starting = false;
    this.#listener.synced?.();
    this.#waiters.wake();
  }

  /**
   * Takes a state that the watch shows.
   *
   * @param moment The version of the list that shows it; what was known at that version is replaced whatever its own
   * version. It may be the higher one: from before a cluster was restored from a backup.
   */
  #take(node: NodeView, moment = 0n): void {
    const known = this.#nodes.get(node.name);
    const isListed = known !== undefined && BigInt(known.resourceVersion || 0) <= moment;
    if (known !== undefined && !isListed && !isNewer(node, known)) {
      this.#noteReady(known);
      return;
    }
    this.#set(node);
    if (node.malformed && !this.#malformed.has(node.name)) {
      this.#malformed.add(node.name);
      this.#listener.malformed?.(node.name);
    }
    this.#listener.changed?.(node);
    this.#waiters.wake();
  }

  #set(node: NodeView): void {
    const known = this.#nodes.get(node.name);
    if (known !== undefined && known.uid !== node.uid) this.#notReady.delete(known.uid);
    if (known === undefined || !countsAlike(known, node)) this.#edition++;
    this.#unlink(node.name);
    this.#nodes.set(node.name, node);
    if (node.cordon === undefined) this.#marked.delete(node.name);
    else this.#marked.add(node.name);
    for (const id of node.ids) {
      this.#byId.add(id, node.name);
      this.#tellShared(id, this.#byId.get(id).sort());
    }
    this.#noteReady(node);
  }

  /** A node with several ids may share all of them with others, which is one thing to tell. */
  #tellShared(id: string, names: readonly string[]): void {
    if (names.length < 2) return;
    const key = names.join(" ");
    if (this.#shared.has(key)) return;
    if (this.#shared.size >= MAX_SHARED) this.#shared.clear();
    this.#shared.add(key);
    this.#listener.shared?.(id, names);
  }

  #noteReady({ uid, ready }: NodeView): void {
    if (ready === "True") this.#notReady.delete(uid);
    else if (!this.#notReady.has(uid)) this.#notReady.set(uid, this.#clock.monotonic());
  }

  #remove(node: NodeView): void {
    const known = this.#nodes.get(node.name);
    // The deletion of an earlier node of the same name says nothing about the current one.
    if (known === undefined || isNewer(known, node)) return;
    this.#drop(node.name);
  }

  #unlink(name: string): void {
    for (const id of this.#nodes.get(name)?.ids ?? []) this.#byId.delete(id, name);
  }
}
