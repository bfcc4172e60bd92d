/**
 * The node keeper on Kubernetes: finds a client's Node, runs its drain for as many requests as ask for it, waits for
 * its return, lifts our own cordons, and cleans up stale ones. It keeps no locks and never takes one; it reads them
 * through {@link NodeKeeperOptions.readHolder}.
 *
 * @module
 */

import { type Clock, systemClock } from "../lock/clock.ts";
import type { ClientId, Group } from "../lock/identity.ts";
import type { DrainOutcome, Hold, NodeKeeper, NodeMatch, ReturnOutcome } from "../lock/node_keeper.ts";
import type { KubernetesClient } from "../kubernetes/client.ts";
import { CordonRepair } from "./cordon_repair.ts";
import { Drain } from "./drain/drain.ts";
import type { DrainContext, DrainOptions, DrainTask } from "./drain/drain_task.ts";
import { PodCalls } from "./drain/pod_calls.ts";
import { type CordonOwner, cordonOwners } from "./nodes/cordon.ts";
import type { NodeView } from "./nodes/node.ts";
import { NodeCalls } from "./nodes/node_calls.ts";
import { NodeCordon } from "./nodes/node_cordon.ts";
import { NodeWatch } from "./nodes/node_watch.ts";
import { ReturnWait } from "./nodes/return_wait.ts";
import { isSameClient } from "./nodes/zincati_id.ts";
import { KeeperReports, type ReportTargets } from "./reports.ts";

/** Options of {@link KubernetesNodeKeeper}. */
export interface NodeKeeperOptions extends ReportTargets {
  /** How nodes are drained. */
  readonly drainOptions?: DrainOptions;
  /** Whether a client keeps its slot until its node is ready. @default {true} */
  readonly waitReady?: boolean;
  /**
   * Reads, past every cache, whether a client holds a slot and since when (milliseconds since the epoch). Where it
   * throws, the answer is unknown.
   */
  readHolder(id: ClientId, group: Group): Promise<{ readonly since: number } | undefined>;
  /** How often to check all cordons and running drains without a cause, in milliseconds. @default {60_000} */
  readonly sweepMs?: number;
  /** Time. @default {systemClock} */
  readonly clock?: Clock;
  /** A number from 0 (inclusive) to 1 (exclusive), for jitter. @default {Math.random} */
  readonly random?: () => number;
}

/** Two times of a grant to one client that differ by less than this, in milliseconds, mean the same grant. */
const SAME_HOLD_MS = 1_000;

/** See the module. Call {@link run} once. Dispose of it to stop its drains, which any replica can resume. */
export class KubernetesNodeKeeper implements NodeKeeper {
  readonly #options: NodeKeeperOptions;
  /** The namespace of the locks. */
  readonly #namespace: string;
  readonly #clock: Clock;
  readonly #calls: NodeCalls;
  readonly #nodes: NodeWatch;
  readonly #cordon: NodeCordon;
  readonly #return: ReturnWait;
  readonly #reports: KeeperReports;
  readonly #repair: CordonRepair;
  readonly #drainContext: DrainContext;
  readonly #drains = new Map<string, Drain>();
  readonly #closing = new AbortController();
  #running: Promise<unknown> = Promise.resolve();

  /** Makes it over `client`. The caller disposes of the client, after the keeper. */
  constructor(client: KubernetesClient, options: NodeKeeperOptions) {
    const { clock = systemClock, random = Math.random } = options;
    this.#options = options;
    this.#namespace = client.namespace;
    this.#clock = clock;
    this.#reports = new KeeperReports(options, clock);
    this.#calls = new NodeCalls(client);
    this.#nodes = new NodeWatch(this.#calls, {
      changed: (node) => this.#repair.nodeChanged(node),
      synced: () => this.#reports.nodesSynced(this.#nodes.malformed),
      lost: (error) => this.#reports.nodesLost(this.#nodes.malformed, error),
      malformed: (name) => this.#reports.malformed(name, this.#nodes.malformed),
    }, clock);
    this.#cordon = new NodeCordon(this.#calls, this.#nodes);
    this.#return = new ReturnWait({
      calls: this.#calls,
      nodes: this.#nodes,
      clock,
      forbidden: (error) => this.#reports.forbidden(error),
    });
    this.#repair = new CordonRepair({
      namespace: client.namespace,
      nodes: this.#nodes,
      cordon: this.#cordon,
      reports: this.#reports,
      clock,
      clientHolds: (owner) => this.#clientHolds(owner),
      isBusy: (node) => [...this.#drains.values()].some(({ task }) => task.node === node),
    });
    this.#drainContext = {
      pods: new PodCalls(client),
      nodes: this.#calls,
      cordon: this.#cordon,
      clock,
      listener: this.#reports,
      holdExists: (owner) => this.#holdExists(owner),
      random,
    };
  }

  /** Whether the watch of the nodes is in step with the cluster. */
  get isSynced(): boolean {
    return this.#nodes.isSynced;
  }

  /** Follows the nodes and cleans up stale cordons until the keeper is disposed of. Does not throw. */
  run(): Promise<void> {
    const { signal } = this.#closing;
    const running = Promise.all([this.#nodes.run(signal), this.#repair.run(signal), this.#sweep()]);
    this.#running = running;
    return running.then(() => {});
  }

  /** See {@link NodeKeeper.match}. */
  async match(id: ClientId): Promise<NodeMatch> {
    const nodes = await this.#nodes.byId(id);
    if (nodes.length > 1) {
      const names = nodes.map((node) => node.name).sort();
      this.#reports.ambiguous(id, names);
      return { kind: "ambiguous", nodes: names };
    }
    const [node] = nodes;
    return node === undefined ? { kind: "none" } : { kind: "node", name: node.name, bootId: node.bootId };
  }

  /** See {@link NodeKeeper.drain}. */
  async drain(hold: Hold, waitMs: number, signal: AbortSignal): Promise<DrainOutcome> {
    const owner = { namespace: this.#namespace, group: hold.group, id: hold.id, since: hold.since };
    const answered = new AbortController();
    const wait = this.#clock.sleep(waitMs, AbortSignal.any([signal, answered.signal])).catch(() => {});
    try {
      while (true) {
        let drain = this.#drains.get(keyOf(owner));
        if (drain === undefined) {
          const target = await this.#targetOf(hold);
          switch (target.kind) {
            case "none":
              return { kind: "drained" };
            case "ambiguous":
              return target;
            case "node":
              drain = this.#begin({ node: target.name, owner, again: hold.node?.phase === "drained" });
          }
        }
        const end = await Promise.race([drain.end, wait]);
        if (end === undefined) return { kind: "draining", node: drain.task.node, pods: drain.left };
        // The host may have joined again under another name, so look for its node again.
        if (end.kind !== "node_gone") return end;
      }
    } finally {
      answered.abort();
    }
  }

  /** See {@link NodeKeeper.awaitReturn}. */
  async awaitReturn(hold: Hold, waitMs: number, signal: AbortSignal): Promise<ReturnOutcome> {
    if (this.#options.waitReady === false) return { kind: "ready" };
    const deadline = this.#clock.monotonic() + waitMs;
    const names = hold.node === undefined
      ? (await this.#nodes.byId(hold.id)).map((node) => node.name)
      : [hold.node.name];
    for (const name of names) {
      const outcome = await this.#return.forNode(name, hold, deadline, signal);
      if (outcome.kind === "not_ready") return outcome;
    }
    return { kind: "ready" };
  }

  /** See {@link NodeKeeper.uncordon}. */
  async uncordon(group: Group, id: ClientId, since?: number): Promise<void> {
    // Each lock is read after its cordon or drain was seen, so a hold that is over then is over for good.
    const isOver = async (owner: CordonOwner) =>
      since === undefined ? !(await this.#holdExists(owner)) : isSameHold(owner.since, since);
    const ending: Drain[] = [];
    for (const drain of this.#drainsOf(group, id)) {
      if (!(await isOver(drain.task.owner))) continue;
      drain.stop("hold_gone");
      ending.push(drain);
    }
    await Promise.allSettled(ending.map((drain) => drain.end));
    const synced = this.#nodes.isSynced;
    for (const node of synced ? [...this.#nodes.nodes] : await this.#calls.listNodes()) {
      for (const owner of this.#ownedBy(node, group, id)) {
        if (await isOver(owner) && await this.#cordon.lift(node.name, owner, !synced)) {
          this.#reports.uncordoned(node.name, owner);
        }
      }
    }
  }

  /**
   * Tells the keeper that a hold of a client may have ended, as a watch of the locks shows. Once a read confirms it, the
   * client's drain stops and our cordon is lifted.
   */
  holdEnded(group: Group, id: ClientId): void {
    for (const node of this.#nodes.nodes) {
      if (this.#ownedBy(node, group, id).length > 0) this.#repair.suspect(node);
    }
    this.#checkDrains(this.#drainsOf(group, id)).catch(() => {});
  }

  /** Stops the drains where they are, and answers their requests. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort();
    for (const drain of this.#drains.values()) drain.stop("closing");
    await Promise.allSettled([...this.#drains.values()].map((drain) => drain.end));
    await this.#running;
  }

  /** The node to drain: the one on which the client runs now, preferably the one that was noted at the grant. */
  async #targetOf(hold: Hold): Promise<Target> {
    const names = (await this.#nodes.byId(hold.id)).map((node) => node.name).sort();
    const noted = hold.node?.name;
    if (noted !== undefined && names.includes(noted)) return { kind: "node", name: noted };
    const [name, ...others] = names;
    if (name === undefined) return { kind: "none" };
    return others.length === 0 ? { kind: "node", name } : { kind: "ambiguous", nodes: names };
  }

  #begin(task: DrainTask): Drain {
    const key = keyOf(task.owner);
    const running = this.#drains.get(key);
    if (running !== undefined) return running;
    // A drain for an earlier hold of the client has nothing left to do.
    for (const other of this.#drainsOf(task.owner.group, task.owner.id)) other.stop("hold_gone");
    this.#reports.drainBegan(task);
    const drain = new Drain(task, this.#options.drainOptions ?? {}, this.#drainContext);
    this.#drains.set(key, drain);
    if (this.#closing.signal.aborted) drain.stop("closing");
    drain.end.then(
      (end) => this.#reports.drainEnded(task, end),
      (error) => this.#reports.drainEnded(task, undefined, error),
    ).finally(() => {
      this.#drains.delete(key);
      const node = this.#nodes.peek(task.node);
      if (node !== undefined) this.#repair.nodeChanged(node);
    });
    return drain;
  }

  #drainsOf(group: Group, id: ClientId): Drain[] {
    return [...this.#drains.values()].filter(({ task: { owner } }) => {
      return owner.group === group && isSameClient(owner.id, id);
    });
  }

  /** The holds of a client that a node is cordoned for. */
  #ownedBy(node: NodeView, group: Group, id: ClientId): CordonOwner[] {
    return cordonOwners(node.cordon).filter((owner) => {
      return owner.namespace === this.#namespace && owner.group === group && isSameClient(owner.id, id);
    });
  }

  /** Reads whether this very hold still exists. A later hold of the same client is another one. */
  async #holdExists({ id, group, since }: CordonOwner): Promise<boolean> {
    const holder = await this.#options.readHolder(id, group);
    return holder !== undefined && isSameHold(holder.since, since);
  }

  /** Reads whether the owner's client holds a slot of the group, by this hold or a later one. */
  async #clientHolds({ id, group }: CordonOwner): Promise<boolean> {
    return await this.#options.readHolder(id, group) !== undefined;
  }

  /** Stops those drains whose hold no longer exists. */
  async #checkDrains(drains: readonly Drain[]): Promise<void> {
    for (const drain of drains) {
      if (!(await this.#holdExists(drain.task.owner))) drain.stop("hold_gone");
    }
  }

  /** Checks everything from time to time, in case a watch missed something. */
  async #sweep(): Promise<void> {
    const { signal } = this.#closing;
    while (!signal.aborted) {
      await this.#clock.sleep(this.#options.sweepMs ?? 60_000, signal).catch(() => {});
      if (signal.aborted) return;
      this.#repair.suspectAll();
      await this.#checkDrains([...this.#drains.values()]).catch(() => {});
    }
  }
}

/** What to drain for a hold. */
type Target =
  | { readonly kind: "node"; readonly name: string }
  /** The client runs on no node. */
  | { readonly kind: "none" }
  /** The client may run on any of several nodes. */
  | { readonly kind: "ambiguous"; readonly nodes: readonly string[] };

function keyOf({ group, id, since }: CordonOwner): string {
  return JSON.stringify([group, id, since]);
}

/**
 * Whether two times of a grant to one client mean the same grant. The times of one grant may differ by less than a
 * second: a Lease that has lost its annotation, or that another program wrote, may keep only whole seconds. Two grants
 * to one client are further apart, since the host releases its slot in between.
 */
function isSameHold(since: number, other: number): boolean {
  return Math.abs(since - other) < SAME_HOLD_MS;
}
