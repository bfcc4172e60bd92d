/**
 * The node keeper on Kubernetes: finds a client's Node, runs its drain for as
 * many requests as ask for it, waits for its return, lifts our own cordons, and
 * puts right what was left behind. It holds no locks and never asks for one; what
 * it must know of them it is told by two callbacks.
 *
 * @module
 */

import { type Clock, systemClock } from "../lock/clock.ts";
import type { ClientId, Group } from "../lock/identity.ts";
import { parseClientId, parseGroup } from "../lock/identity.ts";
import { UnavailableError } from "../lock/errors.ts";
import type { DrainOutcome, Hold, NodeKeeper, NodeMatch, ReturnOutcome } from "../lock/node_keeper.ts";
import type { KubernetesClient } from "../kubernetes/client.ts";
import { type CordonOwner, cordonOwners } from "./nodes/cordon.ts";
import { CordonRepair } from "./cordon_repair.ts";
import { Drain, type DrainContext, type DrainOptions, type DrainTask } from "./drain/drain.ts";
import { ForbiddenError } from "../kubernetes/errors.ts";
import { KeeperReports, type ReportTargets } from "./reports.ts";
import { NodeCalls } from "./nodes/node_calls.ts";
import { NodeCordon } from "./nodes/node_cordon.ts";
import { NodeWatch } from "./nodes/node_watch.ts";
import { judgeReturn, kubeletIsAlive } from "./nodes/node_return.ts";
import type { NodeView } from "./nodes/node.ts";
import { comparableId } from "./nodes/zincati_id.ts";

/** Options of {@link KubernetesNodeKeeper}. */
export interface NodeKeeperOptions extends ReportTargets {
  /** Whether nodes are cordoned and drained. @default {true} */
  readonly drain?: boolean;
  /** How they are. */
  readonly drainOptions?: DrainOptions;
  /** Whether a slot stays taken until its node is ready. @default {true} */
  readonly waitReady?: boolean;
  /**
   * Reads afresh whether a client holds a slot, and since when (milliseconds
   * since the epoch). May throw: then it is unknown.
   */
  readHolder(id: ClientId, group: Group): Promise<{ readonly since: number } | undefined>;
  /** How often holds of running drains and of cordons are looked at without a cause, in milliseconds. @default {60_000} */
  readonly sweepMs?: number;
  /** Time. @default {systemClock} */
  readonly clock?: Clock;
  /** A number from 0 (inclusive) to 1, for jitter. @default {Math.random} */
  readonly random?: () => number;
}

/** How long to wait for a view that is behind, in milliseconds. */
const VIEW_LAG_MS = 500;

/** Two grants to one client lie at least this far apart, in milliseconds; what differs by less is one, kept less exactly. */
const SAME_HOLD_MS = 1_000;

/** See the module. Call {@link run} once; dispose of it to stop its drains, which any replica may resume. */
export class KubernetesNodeKeeper implements NodeKeeper {
  readonly #options: NodeKeeperOptions;
  /** The namespace of the locks. */
  readonly #namespace: string;
  readonly #clock: Clock;
  readonly #calls: NodeCalls;
  readonly #nodes: NodeWatch;
  readonly #cordon: NodeCordon;
  readonly #reports: KeeperReports;
  readonly #repair: CordonRepair;
  readonly #drains = new Map<string, Drain>();
  readonly #closing = new AbortController();
  #running: Promise<unknown> = Promise.resolve();

  /** Makes it over `client`, which stays its owner's to dispose of, after the keeper. */
  constructor(client: KubernetesClient, options: NodeKeeperOptions) {
    this.#options = options;
    this.#namespace = client.namespace;
    this.#clock = options.clock ?? systemClock;
    this.#reports = new KeeperReports(options, this.#clock);
    this.#calls = new NodeCalls(client);
    this.#nodes = new NodeWatch(this.#calls, {
      changed: (node) => this.#repair.suspect(node),
      synced: () => this.#reports.watch(this.#nodes.malformed),
      lost: (error) => this.#reports.watch(this.#nodes.malformed, error),
      malformed: (name) => this.#reports.malformed(name, this.#nodes.malformed),
    }, this.#clock);
    this.#cordon = new NodeCordon(this.#calls, this.#nodes);
    this.#repair = new CordonRepair({
      namespace: client.namespace,
      nodes: this.#nodes,
      cordon: this.#cordon,
      reports: this.#reports,
      clock: this.#clock,
      isHeld: (owner) => this.#isHeld(owner, false),
      isBusy: (node) => [...this.#drains.values()].some(({ task }) => task.node === node),
    });
  }

  /** Whether the view of the nodes is in step with the cluster. */
  get isSynced(): boolean {
    return this.#nodes.isSynced;
  }

  /** Follows the nodes and keeps their cordons right, until disposed of. Does not throw. */
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
    if (this.#options.drain === false) return { kind: "drained" };
    const owner = { namespace: this.#namespace, group: hold.group, id: hold.id, since: hold.since };
    const given = new AbortController();
    const stop = () => given.abort();
    signal.addEventListener("abort", stop, { once: true });
    if (signal.aborted) stop();
    const wait = this.#clock.sleep(waitMs, given.signal).catch(() => {});
    try {
      for (;;) {
        let drain = this.#drains.get(keyOf(owner));
        if (drain === undefined) {
          const node = await this.#nodeOf(hold);
          if (node === undefined) return { kind: "drained" };
          drain = this.#begin({ node, owner, again: hold.node?.phase === "drained" });
        }
        const outcome = await Promise.race([drain.outcome, wait]);
        if (outcome === undefined) return { kind: "draining", node: drain.task.node, pods: drain.left };
        // The host may have joined again under another name, before the watch shows it.
        if (!drain.isNodeGone) return outcome;
      }
    } finally {
      given.abort();
      signal.removeEventListener("abort", stop);
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
      const outcome = await this.#awaitNode(name, hold, deadline, signal);
      if (outcome.kind === "not_ready") return outcome;
    }
    return { kind: "ready" };
  }

  /** See {@link NodeKeeper.uncordon}. */
  async uncordon(group: Group, id: ClientId, since?: number): Promise<void> {
    // The cordon or drain is seen first, its lock read after it: what is over then is so for good.
    const isOver = async (owner: CordonOwner) =>
      since === undefined ? !(await this.#isHeld(owner, true)) : isSameHold(owner.since, since);
    const ending: Drain[] = [];
    for (const drain of this.#drainsOf(group, id)) {
      if (!(await isOver(drain.task.owner))) continue;
      drain.stop("hold_gone");
      ending.push(drain);
    }
    await Promise.allSettled(ending.map((drain) => drain.outcome));
    const synced = this.#nodes.isSynced;
    for (const node of synced ? [...this.#nodes.nodes] : await this.#calls.listNodes()) {
      for (const owner of this.#ownedBy(node, group, id)) {
        if (await isOver(owner) && await this.#cordon.lift(node.name, owner, !synced)) {
          this.#reports.uncordoned(node.name, group, id, false);
        }
      }
    }
  }

  /**
   * Tells the keeper that a client holds its slot no more, or another one, as a
   * watch of the locks shows: its drain ends and our cordon is lifted, once a
   * fresh read has confirmed it.
   */
  holdEnded(group: Group, id: ClientId): void {
    for (const node of this.#nodes.nodes) {
      if (this.#ownedBy(node, group, id).length > 0) this.#repair.suspect(node, true);
    }
    this.#checkDrains(this.#drainsOf(group, id)).catch(() => {});
  }

  /** Stops the drains where they are, and answers their requests. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort();
    for (const drain of this.#drains.values()) drain.stop("closing");
    await Promise.allSettled([...this.#drains.values()].map((drain) => drain.outcome));
    await this.#running;
  }

  /** The node to drain: the one that the client runs on now. Undefined where there is none. */
  async #nodeOf(hold: Hold): Promise<string | undefined> {
    const nodes = await this.#nodes.byId(hold.id);
    const names = nodes.map((node) => node.name);
    const noted = hold.node?.name;
    if (noted !== undefined && names.includes(noted)) return noted;
    if (names.length > 1) {
      throw new UnavailableError(`the nodes ${names.sort().join(" and ")} have one id`, {
        publicMessage: `the nodes ${names.join(" and ")} have one id`,
      });
    }
    return names[0];
  }

  #begin(task: DrainTask): Drain {
    const key = keyOf(task.owner);
    const running = this.#drains.get(key);
    if (running !== undefined) return running;
    // What runs for an earlier hold of the client has nothing left to do.
    for (const other of this.#drainsOf(task.owner.group, task.owner.id)) other.stop("hold_gone");
    const context: DrainContext = {
      calls: this.#calls,
      cordon: this.#cordon,
      clock: this.#clock,
      listener: this.#reports,
      isHeld: (owner) => this.#isHeld(owner, true),
      random: this.#options.random ?? Math.random,
    };
    this.#reports.drainBegan(task);
    const drain = new Drain(task, this.#options.drainOptions ?? {}, context);
    this.#drains.set(key, drain);
    if (this.#closing.signal.aborted) drain.stop("closing");
    drain.outcome.then(
      (outcome) => this.#reports.drainEnded(task, outcome),
      (error) => this.#reports.drainEnded(task, undefined, error),
    ).finally(() => {
      this.#drains.delete(key);
      const node = this.#nodes.peek(task.node);
      if (node !== undefined) this.#repair.suspect(node);
    });
    return drain;
  }

  #drainsOf(group: string, id: string): Drain[] {
    return [...this.#drains.values()].filter(({ task: { owner } }) => owner.group === group && isSameId(owner.id, id));
  }

  /** For which holds of a client a node is cordoned. */
  #ownedBy(node: NodeView, group: string, id: string): CordonOwner[] {
    return cordonOwners(node.cordon).filter((one) => {
      return one.namespace === this.#namespace && one.group === group && isSameId(one.id, id);
    });
  }

  async #awaitNode(name: string, hold: Hold, deadline: number, signal: AbortSignal): Promise<ReturnOutcome> {
    const bootId = hold.node?.bootId;
    const leftMs = () => Math.max(deadline - this.#clock.monotonic(), 0);
    let node = await this.#nodes.byName(name, signal);
    while (true) {
      if (judgeReturn(node, bootId).kind === "not_ready") {
        await this.#nodes.until(name, (one) => judgeReturn(one, bootId).kind !== "not_ready", leftMs(), signal);
      }
      // The view may be behind; what frees the slot is read afresh.
      node = await this.#calls.getNode(name);
      if (node !== undefined) this.#nodes.learn(node);
      const sight = judgeReturn(node, bootId);
      if (sight.kind === "ready") return sight;
      if (sight.kind === "same_boot") {
        // Only a client that was told yes may have rebooted.
        if (hold.node?.phase !== "drained" || await this.#kubeletIsAlive(name, leftMs(), signal)) {
          node = await this.#calls.getNode(name);
          const now = judgeReturn(node, bootId);
          if (now.kind !== "not_ready") return { kind: "ready" };
        } else {
          return { kind: "not_ready", node: name, reason: "its kubelet has not reported since the reboot" };
        }
      }
      // Where the view shows it ready and a read does not, the view is behind: give it a moment.
      await this.#clock.sleep(Math.min(VIEW_LAG_MS, leftMs()), signal).catch(() => {});
      if (signal.aborted || leftMs() === 0) {
        const reason = sight.kind === "not_ready" ? sight.reason : "it became unready again";
        return { kind: "not_ready", node: name, reason };
      }
    }
  }

  async #kubeletIsAlive(name: string, ms: number, signal: AbortSignal): Promise<boolean> {
    try {
      return await kubeletIsAlive(() => this.#calls.kubeletRenewal(name), this.#clock, ms, signal);
    } catch (error) {
      if (!(error instanceof ForbiddenError)) throw error;
      this.#reports.forbidden(error);
      return true;
    }
  }

  /**
   * Whether an owner's lock is still held, by a fresh read.
   *
   * @param exactly Whether a later hold of the same client counts as another.
   */
  async #isHeld(owner: CordonOwner, exactly: boolean): Promise<boolean> {
    const [id, group] = [parseClientId(owner.id), parseGroup(owner.group)];
    if (id === undefined || group === undefined) return false;
    const holder = await this.#options.readHolder(id, group);
    return holder !== undefined && (!exactly || isSameHold(holder.since, owner.since));
  }

  async #checkDrains(drains: readonly Drain[]): Promise<void> {
    for (const drain of drains) {
      if (!(await this.#isHeld(drain.task.owner, true))) drain.stop("hold_gone");
    }
  }

  /** From time to time looks at everything, where a watch may have told nothing. */
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

function keyOf({ group, id, since }: CordonOwner): string {
  return JSON.stringify([group, id, since]);
}

/** Whether two times of a grant to one client are one grant. */
function isSameHold(since: number, other: number): boolean {
  return Math.abs(since - other) < SAME_HOLD_MS;
}

function isSameId(one: string, other: string): boolean {
  return comparableId(one) === comparableId(other);
}
