/**
 * Finds the Nodes of clients as they were at one moment after the request for them, so that it also proves that a
 * client has none: a host without a Node gets its yes without a drain, and the watch may be behind a Node that has just
 * joined.
 *
 * It reads whole Nodes, apart from a few, only where the watch is not in step or far behind. There are three ways, from
 * the cheapest to the one that always works:
 *
 * 1. Where Nodes change all the time: read the version that the Nodes are at, and wait until the watch has reached it.
 * 2. Read which Nodes there are and their versions, and read those whose version the watch has not seen.
 * 3. Read all Nodes, page by page.
 *
 * Each way shows one moment. Two readings of different moments could miss a host that joins again under another name
 * between them.
 *
 * @module
 */

import type { Clock } from "../../lock/clock.ts";
import { comparableId } from "../../lock/identity.ts";
import { isSameState, type NodeView } from "./node.ts";
import type { ObjectVersion } from "../../kubernetes/list_pages.ts";
import type { NodeCalls } from "./node_calls.ts";

/** What the watch of the Nodes has seen. */
export interface SeenNodes {
  /** Whether it is in step. */
  readonly isSynced: boolean;
  /** Waits where it has just begun, until it is in step or has failed, for a bounded time. */
  started(): Promise<void>;
  /** The version up to which it has told everything. */
  readonly moment: bigint;
  /** How often our own calls have changed what is seen, ahead of the watch. */
  readonly ownChanges: number;
  /** How many Nodes there are. */
  readonly count: number;
  /** A Node. */
  peek(name: string): NodeView | undefined;
  /** The Nodes with an id. */
  peekById(id: string): NodeView[];
  /** Notes a Node as one of our own calls returned it. What else rests on what is seen should know of it, too. */
  learn(node: NodeView): void;
  /** Waits until a condition is met, which is asked after each change. */
  until(condition: () => boolean, ms: number, signal: AbortSignal): Promise<boolean>;
}

/** The calls that {@link FreshNodes} makes. */
export type FreshNodesCalls = Pick<NodeCalls, "currentVersion" | "listVersions" | "nodeAt" | "listNodes">;

/** When Nodes count as many that change all the time, so that to wait for a change is the cheapest way. */
export interface FrequentChanges {
  /** More Nodes than these are many: a list of their versions takes longer than to wait for a change. */
  readonly nodes: number;
  /** How many changes must have come within {@link withinMs}, 1 or more. */
  readonly changes: number;
  /** See {@link changes}, in milliseconds. */
  readonly withinMs: number;
}

/**
 * How a wait for the watch ended: it proved what the Nodes are ("proven"), or another way had to, since the version of
 * the Nodes is earlier than what the watch had shown ("went_back"), the watch showed nothing later in time ("late"), or
 * our own calls changed what is seen meanwhile ("changed").
 */
export type WaitOutcome = "proven" | "went_back" | "late" | "changed";

/** Options of {@link FreshNodes}. */
export interface FreshNodesOptions {
  /** When to wait for the watch. @default {{ nodes: 500, changes: 10, withinMs: 3_000 }} */
  readonly frequent?: FrequentChanges;
  /** Is told how each wait for the watch ended, for tests. Must not throw. */
  readonly waited?: (outcome: WaitOutcome) => void;
}

/** What a search has found. */
export interface FoundNodes {
  /** The Nodes. */
  readonly nodes: NodeView[];
  /** When the reading began that shows them, by {@link Clock.monotonic}: they were so at some moment after it. */
  readonly readAt: number;
}

/** The requests that share a reading which has not begun. */
interface Reading {
  /** The ids that they look for. */
  readonly wanted: Set<string>;
  /** The Nodes that have one of them. */
  readonly found: Promise<FoundNodes>;
}

/** How many readings may run at a time where each is cheap. */
const MAX_CHEAP = 4;

/** How long a request waits for others that may share its reading while a cheap one runs, in milliseconds. */
const GATHER_MS = 20;

/** The default of {@link FreshNodesOptions.frequent}. */
const FREQUENT: FrequentChanges = { nodes: 500, changes: 10, withinMs: 3_000 };

/** How long to wait for the watch to reach a version, in milliseconds. */
const PATIENCE_MS = 2_000;

/** How many Nodes that the watch shows in another state are read singly. More are read with all others. */
const MAX_SINGLE = 50;

const never = new AbortController().signal;

/** See the module. */
export class FreshNodes {
  readonly #calls: FreshNodesCalls;
  readonly #seen: SeenNodes;
  readonly #clock: Clock;
  readonly #frequent: FrequentChanges;
  readonly #waited: (outcome: WaitOutcome) => void;
  /** The readings that run. Each settles when its reading ends, and never rejects. */
  readonly #running = new Set<Promise<void>>();
  #next: Reading | undefined;
  /** When the last changes came, oldest first, by the clock's monotonic time. */
  readonly #changes: number[] = [];

  /** Makes one that reads by `calls` what the watch has not seen. */
  constructor(calls: FreshNodesCalls, seen: SeenNodes, clock: Clock, options: FreshNodesOptions = {}) {
    this.#calls = calls;
    this.#seen = seen;
    this.#clock = clock;
    this.#frequent = options.frequent ?? FREQUENT;
    this.#waited = options.waited ?? (() => {});
  }

  /** Notes that the watch has shown a change. */
  noteChange(): void {
    this.#changes.push(this.#clock.monotonic());
    if (this.#changes.length > this.#frequent.changes) this.#changes.shift();
  }

  /**
   * Finds the Nodes with a client's id, or a machine-id, at a moment after the call. A reading that runs already may be
   * of a moment before it, so requests share one only if they came before it began.
   *
   * @throws {UnavailableError} The Nodes could not be read.
   */
  async byId(id: string): Promise<FoundNodes> {
    const wanted = comparableId(id);
    const reading = this.#next ??= this.#prepare();
    reading.wanted.add(wanted);
    const { nodes, readAt } = await reading.found;
    return { nodes: nodes.filter(({ ids }) => ids.includes(wanted)), readAt };
  }

  #prepare(): Reading {
    const wanted = new Set<string>();
    const found = this.#turn().then(() => {
      this.#next = undefined;
      const reading = this.#read(wanted);
      const ended = reading.then(() => {}, () => {}).then(() => void this.#running.delete(ended));
      this.#running.add(ended);
      return reading;
    });
    return { wanted, found };
  }

  /**
   * Waits until the next reading may begin: where the watch is in step and none runs, at once. While the watch begins,
   * all requests wait for it and then share one reading: it is about to have what they would read. An API server
   * answers most lists only when its own watch of the store has shown progress, up to 100 ms later, so a cheap one need
   * not wait for those before it.
   */
  async #turn(): Promise<void> {
    await this.#seen.started();
    if (this.#running.size === 0) return;
    const isCheap = this.#seen.isSynced && (!this.#areMany() || this.#changesAreFrequent());
    if (!isCheap || this.#running.size >= MAX_CHEAP) return await Promise.race(this.#running);
    const over = new AbortController();
    const gathered = this.#clock.sleep(GATHER_MS, over.signal).catch(() => {});
    await Promise.race([...this.#running, gathered]);
    over.abort();
  }

  async #read(wanted: ReadonlySet<string>): Promise<FoundNodes> {
    const isWanted = (node: NodeView) => node.ids.some((id) => wanted.has(id));
    const ways = [() => this.#byWaiting(wanted), () => this.#byVersions(isWanted)];
    for (const way of ways) {
      const readAt = this.#clock.monotonic();
      const nodes = await way();
      if (nodes !== undefined) return { nodes, readAt };
    }
    const readAt = this.#clock.monotonic();
    return { nodes: await this.#byListing(isWanted), readAt };
  }

  /** @returns Undefined where that is not worth a try, or did not succeed. */
  async #byWaiting(wanted: ReadonlySet<string>): Promise<NodeView[] | undefined> {
    const seen = this.#seen;
    if (!seen.isSynced || !this.#areMany() || !this.#changesAreFrequent()) return undefined;
    const outcome = await this.#wait();
    this.#waited(outcome);
    if (outcome !== "proven") return undefined;
    // A Node may have several of the ids.
    return [...new Set([...wanted].flatMap((id) => seen.peekById(id)))];
  }

  async #wait(): Promise<WaitOutcome> {
    const seen = this.#seen;
    const { moment, ownChanges } = seen;
    const version = BigInt(await this.#calls.currentVersion());
    // The version went back, so etcd was restored from a backup, and the watch has seen what is no longer true.
    if (version < moment) return "went_back";
    // The same version may be of another past, too: only what the watch shows from now on proves anything.
    const target = version > moment ? version : version + 1n;
    const isReached = () => seen.isSynced && seen.moment >= target;
    await seen.until(isReached, PATIENCE_MS, never);
    if (!isReached()) return "late";
    // What our own calls have shown meanwhile may be of a later moment than the rest.
    return seen.ownChanges === ownChanges ? "proven" : "changed";
  }

  /** @returns Undefined where the watch is not in step, or too far behind. */
  async #byVersions(isWanted: (node: NodeView) => boolean): Promise<NodeView[] | undefined> {
    const seen = this.#seen;
    if (!seen.isSynced) return undefined;
    const { moment } = seen;
    const { items, version } = await this.#calls.listVersions();
    if (!seen.isSynced || BigInt(version) < moment) return undefined;
    const found: NodeView[] = [];
    const others: ObjectVersion[] = [];
    for (const listed of items) {
      const known = seen.peek(listed.name);
      if (!isSameState(known, listed)) others.push(listed);
      else if (isWanted(known)) found.push(known);
    }
    if (others.length > MAX_SINGLE) return undefined;
    const read = await Promise.all(others.map(async (listed) => {
      return { listed, node: await this.#calls.nodeAt(listed.name, version) };
    }));
    for (const { node } of read) if (node !== undefined) seen.learn(node);
    for (const { listed, node } of read) {
      if (!isSameState(node, listed)) return undefined;
      if (isWanted(node)) found.push(node);
    }
    return found;
  }

  async #byListing(isWanted: (node: NodeView) => boolean): Promise<NodeView[]> {
    return await this.#calls.listNodes((node) => {
      this.#seen.learn(node);
      return isWanted(node);
    });
  }

  #areMany(): boolean {
    return this.#seen.count > this.#frequent.nodes;
  }

  #changesAreFrequent(): boolean {
    const { changes, withinMs } = this.#frequent;
    const [oldest] = this.#changes;
    return this.#changes.length === changes && this.#clock.monotonic() - oldest! <= withinMs;
  }
}
