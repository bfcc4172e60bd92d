/**
 * The two operations of the protocol, step by step: who gets a slot, and when a
 * slot is free again. Each step is a transaction on the client's hold
 * ({@link "./holds.ts"}), a question to the node keeper, which knows what makes
 * a host safe to reboot, or the proof of a yes ({@link "./prover.ts"}).
 *
 * @module
 */

import { type Clock, systemClock } from "./clock.ts";
import { GroupPlaces } from "./group_places.ts";
import { GroupWriter, type Ticket } from "./group_writer.ts";
import { GroupView } from "./group_view.ts";
import { isSamePause } from "./group_notes.ts";
import type { Acquired, HoldsObserver, Looked, Permitted } from "./hold_outcomes.ts";
import { Holds } from "./holds.ts";
import type { ClientId, Group } from "./identity.ts";
import { UnavailableError } from "./errors.ts";
import type { LockStore, Versioned } from "./lock_store.ts";
import type { DrainRule, LookDepth, NodeIdentity, NodeKeeper } from "./node_keeper.ts";
import { type PreRebootOutcome, type Refused, refused, refusedFor, type SteadyStateOutcome } from "./outcomes.ts";
import { type GrantPolicy, type IgnoredReason, type Pause, type Reason, slotsOnly } from "./policy.ts";
import { heldNode, Prover } from "./prover.ts";
import { type GroupState, type Holder, holderOf, isSameStage, mayHaveHadYes } from "./semaphore.ts";
import { Yields } from "./yields.ts";

/** Options of {@link LockService}. */
export interface LockServiceOptions {
  /** Says how many clients of a group may reboot at a time, and what speaks against a grant. @default {one slot, and nothing speaks against it} */
  readonly policy?: GrantPolicy;
  /** How many groups may exist; a further one is refused. @default {64} */
  readonly maxGroups?: number;
  /** Drains the hosts before they reboot. Without one, a slot alone is enough for a yes. */
  readonly keeper?: NodeKeeper;
  /** How nodes are drained where the policy says nothing else; the keeper's own way where nothing is said here. */
  readonly drain?: DrainRule;
  /** How long an answer may wait for the node keeper, in milliseconds. @default {240000} */
  readonly replyWaitMs?: number;
  /** Ends such waits at once, when the server stops. */
  readonly stopping?: AbortSignal;
  /** Gives the time of grants, and measures proofs and pauses. @default {systemClock} */
  readonly clock?: Clock;
  /** A number from 0 (inclusive) to 1, for jitter. @default {Math.random} */
  readonly random?: () => number;
  /** Is told what happens. */
  readonly observer?: LockObserver;
}

/** Is told what happens to the locks. Its methods must not throw. */
export interface LockObserver extends HoldsObserver {
  /** The watch of the store is in step. */
  synced?(): void;
  /** The watch of the store fell behind. */
  lost?(reason: unknown): void;
  /** This process saw another state of a group than before; undefined where it knew nothing of it. */
  changed?(group: Group, before: GroupState | undefined, after: GroupState): void;
  /** A slot was granted, as {@link granted} told, to a client whose id no Node has, although hosts are drained. */
  grantedWithoutNode?(group: Group, holder: Holder): void;
  /** Policies refused a request for these reasons. Told for each such request, so it must be cheap. */
  refusedFor?(reasons: readonly Reason[]): void;
  /** A slot was granted although there were these reasons not to, none of which counts. */
  grantedDespite?(group: Group, holder: Holder, ignored: readonly IgnoredReason[]): void;
  /** The pause of a group has changed in the store; undefined where there is none any more. */
  pauseChanged?(group: Group, pause: Pause | undefined): void;
  /**
   * A client reported for a group in which it holds nothing, and seems to hold a slot of another one: its group may
   * have been changed on the host during a reboot.
   */
  heldElsewhere?(group: Group, id: ClientId, other: Group): void;
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
  readonly #yields: Yields;
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
    this.#view = new GroupView({
      synced: () => observer.synced?.(),
      lost: (reason) => observer.lost?.(reason),
      ended: (group, id) => keeper?.holdEnded(group, id),
      changed: (group, before, after) => {
        this.#yields.groupChanged();
        observer.changed?.(group, before, after);
        const pause = after.notes?.pause;
        if (!isSamePause(pause, before?.notes?.pause)) observer.pauseChanged?.(group, pause);
      },
    });
    this.#places = new GroupPlaces(options.maxGroups ?? 64, this.#view, () => this.groups());
    this.#writer = new GroupWriter(store, this.#view, { clock, random: options.random });
    const slotsOf = (group: Group) => this.#policy.slotsOf(group);
    this.#holds = new Holds(this.#writer, { slotsOf, clock, observer });
    this.#yields = new Yields(this.#holds, this.#view, {
      keeper,
      ruleOf: (group) => ({ ...options.drain, ...this.#policy.drainOf(group) }),
      clock,
      random: options.random ?? Math.random,
    });
    this.#prover = new Prover(this.#holds, {
      keeper,
      replyWaitMs: this.#replyWaitMs,
      stopping: this.#stopping,
      clock,
      slotsOf,
      yields: this.#yields,
    });
  }

  /** Says how many clients of a group may hold a slot. */
  slotsOf(group: Group): number {
    return this.#policy.slotsOf(group);
  }

  /**
   * Follows the store's changes until the signal aborts, so that refusals need no read; and frees the slots of hosts that
   * cannot be drained, where the rule is to do so and nobody asks.
   */
  async watch(signal: AbortSignal): Promise<void> {
    await Promise.all([this.#store.watch(this.#view, signal), this.#yields.run(signal)]);
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
   * @throws {UnavailableError} The store or the cluster failed; whether a slot was taken is unknown.
   */
  async preReboot(id: ClientId, group: Group): Promise<PreRebootOutcome> {
    const arrival = this.#writer.arrive();
    const acquired = await this.#acquire(id, group, arrival);
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
   * @throws {UnavailableError} The store or the cluster failed; whether the slot was freed is unknown. The next request
   * of the client goes on where this one stopped.
   */
  async steadyState(id: ClientId, group: Group): Promise<SteadyStateOutcome> {
    const arrival = this.#writer.arrive();
    // The request ends the hold that is seen first. It must not end a later one, which the client got from another
    // replica while this request waited, nor one that a pre-reboot request has renewed meanwhile, perhaps with a yes.
    // The drain phase decides how the node's return is judged, so a view that is behind would mislead.
    const held = this.#keeper === undefined ? "in_step" : "fresh";
    const first = await this.#holds.find(id, group, arrival, { held, not_held: "fresh" });
    if (first.kind === "refused") return first;
    if (first.kind === "not_held") {
      this.#reportHeldElsewhere(id, group);
      await this.#keeper?.uncordon(group, id);
      return { kind: "not_held" };
    }
    const back = await this.#awaitReturn(first.holder, group, arrival);
    if (back.kind === "refused") return back;
    const over = await this.#holds.release(first.holder, group, arrival, back.hasRebooted);
    // Only who has ended the hold may lift its cordon: until then, another replica may rest a yes on it.
    if (over.kind !== "refused") await this.#keeper?.uncordon(group, id, first.holder.since);
    return over;
  }

  /**
   * Takes or renews a slot: renew the hold if there is one, else ask whether a grant is allowed, then grant. What refuses
   * without a call comes first.
   */
  async #acquire(id: ClientId, group: Group, arrival: Ticket): Promise<Acquired | Refused> {
    const gate = (state: GroupState, node?: NodeIdentity) => {
      return refusedFor(this.#policy.peek({ group, id, state, ...(node && { node }) }).reasons);
    };
    const free = await this.#holds.renew(id, group, arrival, gate);
    if (free.kind !== "free") return free;
    using place = await this.#places.reserve(group);
    if (place === undefined) return refused({ kind: "too_many_groups", limit: this.#places.limit });
    const permitted = await this.#permit(id, group, free.state);
    if (permitted.kind === "refused") return permitted;
    const { node, absence, slots, ignored } = permitted;
    const acquired = await this.#holds.grant(id, group, arrival, {
      slots,
      node: node && heldNode(node, "draining"),
      // What has proven that there is no Node came after the policies, and may have taken long.
      judged: absence === undefined ? free.state : undefined,
      gate: (state) => gate(state, node),
    });
    // A hold that the client got meanwhile is not what was looked at.
    if (acquired.kind !== "granted") return acquired;
    const { holder } = acquired;
    if (ignored.length > 0) this.#observer.grantedDespite?.(group, holder, ignored);
    if (this.#keeper !== undefined && node === undefined) this.#observer.grantedWithoutNode?.(group, holder);
    return { ...acquired, absence };
  }

  /**
   * Finds out whether a slot may be granted: the look, then the policies, and last, where the look has found no Node, the
   * reading that proves it. After that, only the grant's write is left, so that one write shows the slot taken, by a hold
   * about no Node, after the reading: both together are the proof of the yes.
   */
  async #permit(id: ClientId, group: Group, state: GroupState): Promise<Permitted | Refused> {
    const judge = async (seen: Looked | Refused): Promise<Permitted | Refused> => {
      if (seen.kind === "refused") return seen;
      const { node } = seen;
      const { slots, reasons, ignored } = await this.#policy.judge({ group, id, state, ...(node && { node }) });
      return refusedFor(reasons) ?? { ...seen, slots, ignored };
    };
    const permitted = await judge(await this.#look(id, "seen"));
    if (permitted.kind === "refused" || permitted.node !== undefined || permitted.absence !== undefined) {
      return permitted;
    }
    const proven = await this.#look(id, "fresh");
    // A Node that has just joined is one that the policies have not been asked about.
    return proven.kind === "refused" || proven.node === undefined ? { ...permitted, ...proven } : await judge(proven);
  }

  /** Tells the observer of another group in which a client seems to hold a slot. */
  #reportHeldElsewhere(id: ClientId, group: Group): void {
    for (const [other, { state }] of this.#view.groups) {
      if (other !== group && holderOf(state, id) !== undefined) this.#observer.heldElsewhere?.(group, id, other);
    }
  }

  /** Looks for the client's node, and whether it can be drained at all. */
  async #look(id: ClientId, depth: LookDepth): Promise<Refused | Looked> {
    if (this.#keeper === undefined) return { kind: "clear" };
    const seen = await this.#keeper.look(id, depth);
    switch (seen.kind) {
      case "clear": {
        const { kind, node, readAt } = seen;
        const isAbsent = node === undefined && readAt !== undefined;
        return { kind, node, ...(isAbsent && { absence: { readAt, foundAt: this.#clock.monotonic() } }) };
      }
      case "ambiguous":
        return refused({ kind: "node_ambiguous", nodes: seen.nodes });
      case "drain_refused":
        return refused({ kind: "drain_refused", node: seen.node, pods: seen.pods });
      case "permission_missing":
        return refused({ kind: "permission_missing", permission: seen.permission });
    }
  }

  /**
   * Waits until the host of a hold is back, and tells whether from a reboot. Where no Node can tell, a hold that may have
   * had its yes is one that was used. Refused where the host is not back, or where the hold changed meanwhile.
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
    const now = await this.#holds.find(id, group, arrival, { held: "in_step", not_held: "in_step" });
    if (now.kind === "held" && !isSameStage(now.holder, hold)) return refused({ kind: "contended" });
    return now.kind === "refused" ? now : { kind: "back", hasRebooted: back.rebooted ?? mayHaveHadYes(hold) };
  }
}
