/**
 * The two operations of the protocol, step by step: who gets a slot, and when a
 * slot is free again. Each step is a transaction on the client's hold
 * ({@link "./holds.ts"}), a question to the node keeper, which knows what makes
 * a host safe to reboot, or the proof of a yes ({@link "./prover.ts"}).
 *
 * @module
 */

import { type Clock, systemClock } from "./clock.ts";
import { Grants } from "./grants.ts";
import { GroupPlaces } from "./group_places.ts";
import { GroupWriter, type Ticket } from "./group_writer.ts";
import { GroupView } from "./group_view.ts";
import { HoldAges } from "./hold_ages.ts";
import { isSamePause } from "./group_notes.ts";
import type { Held, Proven } from "./hold_outcomes.ts";
import { Holds } from "./holds.ts";
import type { ClientId, Group } from "./identity.ts";
import { UnavailableError } from "./errors.ts";
import type { LockStore, Versioned } from "./lock_store.ts";
import type { LockObserver, LockServiceOptions } from "./lock_service_options.ts";
import type { NodeIdentity, NodeKeeper } from "./node_keeper.ts";
import { type PreRebootOutcome, type Refused, refused, refusedFor, type SteadyStateOutcome } from "./outcomes.ts";
import { type GrantPolicy, slotsOnly } from "./policy.ts";
import { type HangUp, Presence } from "./presence.ts";
import { Prover } from "./prover.ts";
import { type GroupState, type Holder, holderOf, isSameStage, mayHaveHadYes } from "./semaphore.ts";
import { GoneNodes, type PlannedRelease } from "./gone_nodes.ts";
import { Yields } from "./yields.ts";

export type { LockObserver, LockServiceOptions };

/** How long a release waits for the sign that its client has hung up, in milliseconds. See {@link Presence}. */
const NOTICE_MS = 20;

/** That a look found nothing that speaks against a grant. */
interface Looked {
  readonly kind: "clear";
  readonly node?: NodeIdentity;
}

/**
 * Grants and frees slots. Any number of them may share one store: every yes
 * rests on a conditional write, and every release on one or on a read that began
 * during the request. Faults of the store are thrown as
 * {@link "./errors.ts".UnavailableError}. After one, the client may repeat the
 * same request to any replica.
 */
export class LockService {
  readonly #store: LockStore;
  readonly #view: GroupView;
  readonly #writer: GroupWriter;
  readonly #holds: Holds;
  readonly #policy: GrantPolicy;
  readonly #places: GroupPlaces;
  readonly #keeper?: NodeKeeper;
  readonly #clock: Clock;
  readonly #replyWaitMs: number;
  readonly #stopping: AbortSignal;
  readonly #prover: Prover;
  readonly #grants: Grants;
  readonly #yields: Yields;
  readonly #gone: GoneNodes;
  readonly #ages: HoldAges;
  readonly #observer: LockObserver;

  /**
   * Creates a service that knows nothing of the store yet.
   *
   * @param store Where the locks are. The caller owns it and closes it after the service's last request.
   */
  constructor(store: LockStore, options: LockServiceOptions = {}) {
    const { observer = {}, keeper, clock = systemClock } = options;
    this.#store = store;
    this.#policy = options.policy ?? slotsOnly(() => 1);
    this.#keeper = keeper;
    this.#clock = clock;
    this.#replyWaitMs = options.replyWaitMs ?? 240_000;
    this.#stopping = options.stopping ?? new AbortController().signal;
    this.#observer = observer;
    this.#ages = new HoldAges(clock);
    this.#view = new GroupView({
      synced: () => {
        this.#ages.synced();
        observer.synced?.();
      },
      lost: (reason) => {
        this.#ages.lost();
        observer.lost?.(reason);
      },
      ended: (group, id) => keeper?.holdEnded(group, id),
      changed: (group, before, after) => {
        this.#ages.changed(group, after);
        this.#yields.groupChanged();
        this.#gone.groupChanged();
        observer.changed?.(group, before, after);
        const pause = after.notes?.pause;
        if (!isSamePause(pause, before?.notes?.pause)) observer.pauseChanged?.(group, pause);
      },
    });
    this.#places = new GroupPlaces(options.maxGroups ?? 64, this.#view, () => this.groups());
    this.#writer = new GroupWriter(store, this.#view, { clock, random: options.random });
    const slotsOf = (group: Group) => this.#policy.slotsOf(group);
    this.#holds = new Holds(this.#writer, { slotsOf, clock, observer });
    this.#grants = new Grants(this.#holds, { policy: this.#policy, keeper, clock, observer });
    this.#yields = new Yields(this.#holds, this.#view, {
      keeper,
      ruleOf: (group) => ({ ...options.drain, ...this.#policy.drainOf(group) }),
      ageOf: (group, holder) => this.#ages.of(group, holder),
      clock,
      random: options.random ?? Math.random,
    });
    this.#gone = new GoneNodes(this.#holds, this.#view, {
      keeper,
      graceOf: (group) => this.#policy.goneAfter(group),
      clock,
    });
    this.#prover = new Prover(this.#holds, {
      keeper,
      replyWaitMs: this.#replyWaitMs,
      stopping: this.#stopping,
      clock,
      slotsOf,
      yields: this.#yields,
      view: this.#view,
    });
  }

  /** Says how many clients of a group may hold a slot. */
  slotsOf(group: Group): number {
    return this.#policy.slotsOf(group);
  }

  /**
   * Follows the store's changes until the signal aborts, so that refusals need no read; and frees the slots of hosts
   * that cannot be drained or whose Nodes are gone, where the rule is to do so and nobody asks.
   */
  async watch(signal: AbortSignal): Promise<void> {
    await Promise.all([this.#store.watch(this.#view, signal), this.#yields.run(signal), this.#gone.run(signal)]);
  }

  /**
   * Lists all groups: from the watch; while that is behind, from the store; and
   * if the store does not answer or may not be listed, those that this process knows.
   */
  async groups(): Promise<ReadonlyMap<Group, Versioned>> {
    if (this.#view.isSynced) return this.#view.groups;
    try {
      return (await this.#store.list()).groups;
    } catch (error) {
      if (error instanceof UnavailableError) return this.#view.groups;
      throw error;
    }
  }

  /** The groups as this process saw them last. They are complete only while {@link isInStep}. */
  get knownGroups(): ReadonlyMap<Group, Versioned> {
    return this.#view.groups;
  }

  /** For how long this process has seen a hold, in milliseconds. Clocks that are wrong do not matter. */
  seenForMs(group: Group, hold: Pick<Holder, "id" | "since">): number {
    return this.#ages.of(group, hold).atLeastMs;
  }

  /** When a hold is to be freed because its Node is gone; undefined where that is not planned. It makes no calls. */
  plannedRelease(group: Group, hold: Pick<Holder, "id" | "since">): PlannedRelease | undefined {
    return this.#gone.releaseOf(group, hold);
  }

  /** Whether the watch of the store is in step. */
  get isInStep(): boolean {
    return this.#view.isSynced;
  }

  /** See {@link GroupWriter.probe}. */
  probe(group: Group): Promise<void> {
    return this.#writer.probe(group);
  }

  /**
   * Answers a client that asks for a slot of its group, or whether it still holds
   * one, and drains its node.
   *
   * @param hangUp Tells when the client hangs up, where that can be told. See {@link Presence}.
   * @throws {UnavailableError} The store or the cluster failed; whether a slot was taken is unknown.
   */
  async preReboot(id: ClientId, group: Group, hangUp?: HangUp): Promise<PreRebootOutcome> {
    using _asking = this.#gone.asking(id);
    const arrival = this.#writer.arrive();
    const acquired = await this.#acquire(id, group, arrival, hangUp);
    if (acquired.kind !== "refused") return await this.#prover.prove(acquired, group, arrival);
    const { refusal } = acquired;
    if ("reasons" in refusal) this.#observer.refusedFor?.(refusal.reasons);
    return acquired;
  }

  /**
   * Answers a client that runs and no longer needs its slot. If it holds one, the
   * slot is freed once the node is ready, and then the node uncordoned; if not, the
   * outcome is "not_held".
   *
   * @param hangUp Tells when the client hangs up, where that can be told. See {@link Presence}.
   * @throws {UnavailableError} The store or the cluster failed; whether the slot was freed is unknown. The next request
   * of the client goes on where this one stopped.
   */
  async steadyState(id: ClientId, group: Group, hangUp?: HangUp): Promise<SteadyStateOutcome> {
    using _asking = this.#gone.asking(id);
    const client = new Presence(hangUp, this.#clock);
    const arrival = this.#writer.arrive();
    // The request ends the hold that is seen first. It must not end a later one, which the client got from another
    // replica while this request waited, nor one that a pre-reboot request has renewed meanwhile, perhaps with a yes.
    const needs = (found: Held) => found.kind === "held" && !this.#awaitsNode(found.holder) ? "in_step" : "fresh";
    const first = await this.#holds.find(id, group, arrival, needs);
    if (first.kind === "refused") return first;
    if (first.kind === "not_held") {
      this.#reportHeldElsewhere(id, group);
      await this.#keeper?.uncordon(group, id);
      return { kind: "not_held" };
    }
    const back = await this.#awaitReturn(first.holder, group, arrival);
    if (back.kind === "refused") return back;
    if (await client.settled(NOTICE_MS)) return refused({ kind: "contended" });
    const over = await this.#holds.release(first.holder, group, arrival, back.hasRebooted);
    // Only who has ended the hold may lift its cordon: until then, another replica may rest a yes on it.
    if (over.kind !== "refused") await this.#keeper?.uncordon(group, id, first.holder.since);
    return over;
  }

  /**
   * Takes or renews a slot: renew the hold if there is one, else ask whether a grant is allowed, then grant. What
   * refuses without a call comes first.
   */
  async #acquire(id: ClientId, group: Group, arrival: Ticket, hangUp?: HangUp): Promise<Proven | Refused> {
    const { groups } = this.#view;
    const gate = (state: GroupState) => refusedFor(this.#policy.peek({ group, id, state, groups }).reasons);
    const free = await this.#holds.renew(id, group, arrival, gate);
    if (free.kind !== "free") return free;
    using place = await this.#places.reserve(group);
    if (place === undefined) return refused({ kind: "too_many_groups", limit: this.#places.limit });
    const client = new Presence(hangUp, this.#clock);
    const seen = await this.#look(id);
    if (seen.kind === "refused") return seen;
    const { node } = seen;
    const question = { group, id, state: free.state, groups, ...(node && { node }) };
    const acquired = await this.#grants.grant(question, arrival, client);
    if (acquired.kind === "granted" && this.#keeper !== undefined && node === undefined) {
      this.#observer.grantedWithoutNode?.(group, acquired.holder);
    }
    return acquired;
  }

  /** Tells the observer of another group in which a client seems to hold a slot. */
  #reportHeldElsewhere(id: ClientId, group: Group): void {
    for (const [other, { state }] of this.#view.groups) {
      if (other !== group && holderOf(state, id) !== undefined) this.#observer.heldElsewhere?.(group, id, other);
    }
  }

  /** Looks for the client's node, and whether it can be drained at all. */
  async #look(id: ClientId): Promise<Refused | Looked> {
    if (this.#keeper === undefined) return { kind: "clear" };
    const seen = await this.#keeper.look(id);
    switch (seen.kind) {
      case "clear":
        return seen;
      case "ambiguous":
        return refused({ kind: "node_ambiguous", nodes: seen.nodes });
      case "drain_refused":
        return refused({ kind: "drain_refused", node: seen.node, pods: seen.pods });
      case "permission_missing":
        return refused({ kind: "permission_missing", permission: seen.permission });
    }
  }

  /**
   * Whether a release of a hold waits for a Node. The Node that is noted and the drain's phase decide how its return is
   * judged, so a view that is behind would mislead. Where there is no Node, the write that frees the slot is proof
   * enough.
   */
  #awaitsNode({ node, isNodeUnreadable }: Holder): boolean {
    return this.#keeper !== undefined && (node !== undefined || isNodeUnreadable === true);
  }

  /**
   * Waits until the host of a hold is back, and tells whether from a reboot. Where no Node can tell, a hold that may
   * have had its yes is one that was used. Refused where the host is not back, or where the hold changed meanwhile.
   */
  async #awaitReturn(
    hold: Holder,
    group: Group,
    arrival: Ticket,
  ): Promise<Refused | { readonly kind: "back"; readonly hasRebooted: boolean }> {
    if (this.#keeper === undefined) return { kind: "back", hasRebooted: mayHaveHadYes(hold) };
    const { id, since, node, isNodeUnreadable } = hold;
    const asked = { group, id, since, node, isNodeUnreadable };
    const back = await this.#keeper.awaitReturn(asked, this.#replyWaitMs, this.#stopping);
    if (back.kind === "not_ready") return refused({ kind: "node_not_ready", node: back.node, reason: back.reason });
    const now = await this.#holds.find(id, group, arrival, () => "in_step");
    if (now.kind === "held" && !isSameStage(now.holder, hold)) return refused({ kind: "contended" });
    return now.kind === "refused" ? now : { kind: "back", hasRebooted: back.rebooted ?? mayHaveHadYes(hold) };
  }
}
