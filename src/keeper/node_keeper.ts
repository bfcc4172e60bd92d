/**
 * The node keeper on Kubernetes: finds a client's Node, runs its drain for as many requests as ask for it, waits for
 * its return, lifts our own cordons, and cleans up stale ones. It keeps no locks and never takes one; it reads them
 * through {@link NodeKeeperOptions.readHolder}.
 *
 * Longer than 330 lines because it is where all parts of the keeper meet, and each of its methods joins two or more.
 *
 * @module
 */

import { isSameHold } from "../lock/hold_ages.ts";
import type { Clock } from "../lock/clock.ts";
import type { ClientId, Group } from "../lock/identity.ts";
import type {
  DrainOutcome,
  GoneOutcome,
  Hold,
  LookOutcome,
  NodeIdentity,
  NodeKeeper,
  PodLeft,
  ReturnOutcome,
} from "../lock/node_keeper.ts";
import type { HeldNode } from "../lock/semaphore.ts";
import { within } from "../lock/within.ts";
import type { KubernetesClient } from "../kubernetes/client.ts";
import { CordonRepair } from "./cordon_repair.ts";
import type { DrainContext } from "./drain/drain_task.ts";
import { PodCalls } from "./drain/pod_calls.ts";
import type { ProofOptions } from "./drain/proof.ts";
import { type DrainLeft, Drains } from "./drains.ts";
import { FleetView } from "./fleet_view.ts";
import { GoneHosts } from "./gone_hosts.ts";
import { findNode, type HoldVerdict, proveHold } from "./hold_proof.ts";
import type { NodeKeeperOptions } from "./keeper_options.ts";
import { Look } from "./look.ts";
import { type CordonOwner, cordonOwners } from "./nodes/cordon.ts";
import type { NodeView } from "./nodes/node.ts";
import { NodeCalls } from "./nodes/node_calls.ts";
import { successorOf } from "./nodes/node_choice.ts";
import { NodeCordon } from "./nodes/node_cordon.ts";
import { NodeWatch } from "./nodes/node_watch.ts";
import { ReturnWait } from "./nodes/return_wait.ts";
import { isSameClient } from "./nodes/zincati_id.ts";
import { NodeReports } from "./node_reports.ts";
import { DrainReports } from "./reports.ts";

export type { NodeKeeperOptions };

/** See the module. Call {@link run} once. Dispose of it to stop its drains, which any replica can resume. */
export class KubernetesNodeKeeper implements NodeKeeper {
  readonly #options: NodeKeeperOptions;
  /** The namespace of the locks. */
  readonly #namespace: string;
  readonly #clock: Clock;
  readonly #client: KubernetesClient;
  readonly #calls: NodeCalls;
  readonly #pods: PodCalls;
  readonly #nodes: NodeWatch;
  readonly #gone: GoneHosts;
  readonly #proof: Omit<ProofOptions, "exhausted">;
  readonly #cordon: NodeCordon;
  readonly #return: ReturnWait;
  readonly #reports: NodeReports;
  readonly #drainReports: DrainReports;
  readonly #repair: CordonRepair;
  readonly #look: Look;
  readonly #drains: Drains;
  /** What the policies may know of the nodes and their pods. */
  readonly fleet: FleetView;
  readonly #closing = new AbortController();
  #running: Promise<unknown> = Promise.resolve();

  /** Makes it over `client`. The caller disposes of the client, after the keeper. */
  constructor(client: KubernetesClient, options: NodeKeeperOptions) {
    const { clock = client.clock, permissions, drainOptions = {} } = options;
    this.#options = options;
    this.#client = client;
    this.#namespace = client.namespace;
    this.#clock = clock;
    this.#reports = new NodeReports(options);
    this.#drainReports = new DrainReports(options, clock);
    const [reports, drainReports] = [this.#reports, this.#drainReports];
    this.#calls = new NodeCalls(client, options.keepsLabels);
    this.#pods = new PodCalls(client);
    const listener = reports.nodeListener(() => this.#nodes.malformed, {
      changed: (node) => {
        this.#gone.nodeSeen(node);
        this.#repair.nodeChanged(node);
        options.nodeChanged?.(node);
      },
      missed: () => this.#gone.missed(),
    });
    const { ghostMs, freshNodes } = options;
    this.#nodes = new NodeWatch(this.#calls, listener, { clock, ghostMs, freshNodes });
    const [calls, pods, nodes, { namespace }] = [this.#calls, this.#pods, this.#nodes, client];
    this.#cordon = new NodeCordon(calls, nodes);
    this.#return = new ReturnWait({
      calls,
      nodes,
      clock,
      forbidden: (error) => reports.forbidden(error),
      absent: (hold) => reports.notBack(hold),
    });
    const policy = drainOptions.pods ?? {};
    const ambiguous = (id: ClientId, names: readonly string[]) => reports.ambiguous(id, names);
    this.#proof = { pods, clock: client.clock, policy };
    this.#gone = new GoneHosts({ nodes, calls, proof: this.#proof, clock });
    this.#look = new Look({ nodes, pods, policy, permissions, clock, ambiguous });
    this.fleet = new FleetView({ nodes, calls, pods, policy, namespace, reports });
    this.#drains = new Drains(drainOptions, this.#drainContext(), {
      drainBegan: (task) => drainReports.drainBegan(task),
      drainEnded: (task, end, error) => {
        const node = nodes.peek(task.node);
        drainReports.drainEnded(task, end, error);
        if (node !== undefined) this.#repair.nodeChanged(node);
      },
    }, clock);
    this.#repair = new CordonRepair({
      namespace,
      nodes,
      cordon: this.#cordon,
      reports,
      clock,
      clientHolds: (owner) => this.#clientHolds(owner),
      isBusy: (node) => this.#drains.isBusy(node),
    });
  }

  /** Whether the watch of the nodes is in step with the cluster. */
  get isSynced(): boolean {
    return this.#nodes.isSynced;
  }

  /** The nodes as the watch saw them last. */
  get view(): Pick<NodeWatch, "isSynced" | "peek" | "peekById"> {
    return this.#nodes;
  }

  /** See {@link Drains.leftOf}. */
  drainOf(group: Group, { id, since }: Pick<Hold, "id" | "since">): DrainLeft | undefined {
    return this.#drains.leftOf(group, id, since, (task) => this.#drainReports.blockedOf(task));
  }

  /** Follows the nodes and cleans up stale cordons until the keeper is disposed of. Does not throw. */
  run(): Promise<void> {
    const { signal } = this.#closing;
    const running = Promise.all([this.#nodes.run(signal), this.#repair.run(signal), this.#sweep()]);
    this.#running = running;
    return running.then(() => {});
  }

  /** See {@link NodeKeeper.look}. */
  async look(id: ClientId): Promise<LookOutcome> {
    return await this.#look.forClient(id);
  }

  /** See {@link NodeKeeper.showsNode}. */
  showsNode(id: ClientId): boolean {
    return this.#nodes.isSynced && this.#nodes.peekById(id).length > 0;
  }

  /** See {@link NodeKeeper.takeSkip}. */
  takeSkip(node: NodeIdentity, skip: string): Promise<boolean> {
    return this.fleet.takeSkip(node, skip);
  }

  /** See {@link NodeKeeper.drain}. */
  async drain(hold: Hold, waitMs: number, signal: AbortSignal): Promise<DrainOutcome> {
    const { node: noted } = hold;
    if (noted === undefined || hold.isNodeUnreadable) {
      const found = await findNode(hold, { nodes: this.#nodes });
      return this.#answer(hold, found) ?? { kind: "unreadable" };
    }
    const answered = new AbortController();
    const wait = this.#clock.sleep(waitMs, AbortSignal.any([signal, answered.signal])).catch(() => {});
    try {
      return await this.#drainNoted(hold, noted, wait, signal);
    } finally {
      answered.abort();
    }
  }

  /** See {@link NodeKeeper.awaitReturn}. */
  async awaitReturn(hold: Hold, waitMs: number, signal: AbortSignal): Promise<ReturnOutcome> {
    if (this.#options.waitReady === false) return { kind: "ready" };
    return await this.#return.forHold(hold, this.#clock.monotonic() + waitMs, signal);
  }

  /** See {@link NodeKeeper.absentSince}. */
  absentSince(hold: Hold): number | undefined {
    return this.#gone.absentSince(hold);
  }

  /** See {@link NodeKeeper.proveGone}. */
  async proveGone(hold: Hold, signal: AbortSignal): Promise<GoneOutcome> {
    return await this.#gone.prove(hold, signal);
  }

  /** See {@link NodeKeeper.uncordon}. */
  async uncordon(group: Group, id: ClientId, since?: number): Promise<void> {
    // Each lock is read after its cordon or drain was seen, so a hold that is over then is over for good.
    const isOver = async (owner: CordonOwner) =>
      since === undefined ? !(await this.#holdExists(owner)) : isSameHold(owner.since, since);
    const ending: Promise<unknown>[] = [];
    for (const owner of this.#drains.owners(group, id)) {
      if (await isOver(owner)) ending.push(...this.#drains.end(owner).map((drain) => drain.end));
    }
    await Promise.allSettled(ending);
    const synced = this.#nodes.isSynced;
    const isOurs = (node: NodeView) => this.#ownedBy(node, group, id).length > 0;
    for (const node of synced ? this.#nodes.marked.filter(isOurs) : await this.#calls.listNodes(isOurs)) {
      for (const owner of this.#ownedBy(node, group, id)) {
        if (await isOver(owner) && await this.#cordon.lift(node.name, owner, !synced)) {
          this.#reports.uncordoned(node.name, owner);
        }
      }
    }
  }

  /**
   * Tells the keeper that a hold of a client may have ended, as a watch of the locks shows. Once a read confirms it,
   * the client's drain stops and our cordon is lifted.
   */
  holdEnded(group: Group, id: ClientId): void {
    for (const node of this.#nodes.marked) {
      if (this.#ownedBy(node, group, id).length > 0) this.#repair.suspect(node, group);
    }
    this.#checkHolds(this.#drains.owners(group, id)).catch(() => {});
  }

  /** Stops the drains where they are, and answers their requests. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort();
    await this.#drains[Symbol.asyncDispose]();
    await this.#running;
  }

  #drainContext(): DrainContext {
    return {
      pods: this.#pods,
      nodes: this.#calls,
      view: this.#nodes,
      cordon: this.#cordon,
      clock: this.#client.clock,
      listener: this.#drainReports,
      holdExists: (owner) => this.#holdExists(owner),
      random: this.#options.random ?? Math.random,
    };
  }

  /** Drains the Node that a hold notes until a proof for this request succeeds, or until the wait ends. */
  async #drainNoted(hold: Hold, noted: HeldNode, wait: Promise<void>, signal: AbortSignal): Promise<DrainOutcome> {
    const owner = this.#ownerOf(hold);
    const pace = this.#drains.paceOf(owner, noted);
    const isRunning = this.#drains.isRunning(owner, noted);
    const isMoved = successorOf(hold.id, noted, this.#nodes.peek(noted.name)) === "same_host";
    // A node that was drained before is most likely empty still, and a drain of a Node that is gone waits for pods that
    // the host's next Node keeps.
    let isToDrain = !isMoved && (isRunning || (noted.phase !== "drained" && pace.leftMs === 0));
    let isTimedOut = false;
    for (let tries = 0;; tries++) {
      // The write of this request has shown the hold. It may have ended while the request waited.
      if (tries > 0 && isToDrain && !(await this.#holdExists(owner))) return { kind: "abandoned" };
      if (isToDrain) {
        const drain = this.#drains.join(owner, noted, hold.rule, hold.age);
        const end = await Promise.race([drain.end, wait]);
        if (end === undefined) return draining(noted, drain.left, drain.reason);
        if (end.kind !== "emptied" && end.kind !== "proceed") return end;
        // The operator waives the pods that are left, and nothing else of what a yes rests on.
        isTimedOut = end.kind === "proceed";
      }
      const verdict = await this.#prove(hold, noted, isTimedOut, signal);
      if (verdict === undefined) return draining(noted, []);
      const answer = this.#answer(hold, verdict);
      if (answer !== undefined) return answer;
      const { pods, reason } = verdict.kind === "not_empty" ? verdict : { pods: [] };
      if (isToDrain) pace.failed(reason === undefined);
      if (pace.leftMs > 0 && await within(pace.leftMs, wait, this.#clock) !== "late") {
        return draining(noted, pods, reason);
      }
      isToDrain = true;
    }
  }

  /** @returns Undefined where the client has gone meanwhile. */
  async #prove(
    hold: Hold,
    noted: HeldNode,
    isTimedOut: boolean,
    signal: AbortSignal,
  ): Promise<HoldVerdict | undefined> {
    const { exhausted } = this.#drains.memoryOf(this.#ownerOf(hold), noted);
    const proof = { ...this.#proof, exhausted, isTimedOut };
    try {
      const options = { nodes: this.#nodes, calls: this.#calls, proof, clock: this.#clock };
      return await proveHold(hold, noted, options, signal);
    } catch (error) {
      if (signal.aborted) return undefined;
      throw error;
    }
  }

  /** @returns Undefined where the node has to be drained (again). */
  #answer(hold: Hold, verdict: HoldVerdict): DrainOutcome | undefined {
    switch (verdict.kind) {
      case "not_empty":
        return undefined;
      case "ambiguous":
        this.#reports.ambiguous(hold.id, verdict.nodes);
        return verdict;
      case "drained": {
        const { staying, ...outcome } = verdict;
        // The end of a drain that timed out has been told.
        const isTimedOut = staying.some(({ why }) => why === "timed_out");
        if (hold.node !== undefined && !isTimedOut) this.#drainReports.proven(hold, hold.node, staying);
        return outcome;
      }
      case "moved":
        if (hold.node !== undefined) this.#drainReports.moved(hold, hold.node, verdict.node);
        return verdict;
      case "unreadable":
        return verdict;
    }
  }

  #ownerOf({ group, id, since }: Hold): CordonOwner {
    return { namespace: this.#namespace, group, id, since };
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

  /** Ends what is done for those holds that no longer exist. */
  async #checkHolds(owners: readonly CordonOwner[]): Promise<void> {
    for (const owner of owners) if (!(await this.#holdExists(owner))) this.#drains.end(owner);
  }

  /** Checks everything from time to time, in case a watch missed something. */
  async #sweep(): Promise<void> {
    const { signal } = this.#closing;
    while (!signal.aborted) {
      await this.#clock.sleep(this.#options.sweepMs ?? 60_000, signal).catch(() => {});
      if (signal.aborted) return;
      this.#repair.suspectAll();
      await this.#checkHolds(this.#drains.owners()).catch(() => {});
    }
  }
}

/** The answer while a drain goes on. */
function draining({ name }: HeldNode, pods: readonly PodLeft[], reason?: string): DrainOutcome {
  return { kind: "draining", node: name, pods, ...(reason !== undefined && { reason }) };
}
