/**
 * The two operations of the protocol: read, decide, write conditionally, and
 * again where another was quicker. It owns when the store is asked and what a
 * yes rests on; what a slot is belongs to the semaphore, where locks are kept to
 * the store, what makes a host safe to reboot to the node keeper.
 *
 * @module
 */

import { type Clock, systemClock } from "./clock.ts";
import { GroupView, type ViewObserver } from "./group_view.ts";
import type { ClientId, Group } from "./identity.ts";
import { UnavailableError } from "./errors.ts";
import { ABSENT, type LockStore, type Versioned } from "./lock_store.ts";
import type { DrainOutcome, NodeKeeper, NodeMatch, PodLeft } from "./node_keeper.ts";
import { acquire, amend, type GroupState, type HeldNode, type Holder, holderOf, release } from "./semaphore.ts";

/** Why the answer is "not now". The client may ask again. */
export type Refusal =
  /** Every slot is taken. */
  | { readonly kind: "lock_held"; readonly holders: readonly Holder[]; readonly slots: number }
  /** Others changed the group again and again while this request tried, or took the slot away. */
  | { readonly kind: "contended" }
  /** The group is new, and there are as many as may be. */
  | { readonly kind: "too_many_groups"; readonly limit: number }
  /** Several nodes have the client's id. */
  | { readonly kind: "node_ambiguous"; readonly nodes: readonly string[] }
  /** The client holds a slot; its node's pods are not gone yet. */
  | { readonly kind: "draining"; readonly node: string; readonly pods: readonly PodLeft[] }
  /** The client holds a slot; its node's pods did not go in time. */
  | { readonly kind: "drain_failed"; readonly node: string; readonly pods: readonly PodLeft[] }
  /** The client keeps its slot until its node is ready. */
  | { readonly kind: "node_not_ready"; readonly node: string; readonly reason: string };

/** A refused request. */
export interface Refused {
  /** Tells it from the other outcomes. */
  readonly kind: "refused";
  /** Why. */
  readonly refusal: Refusal;
}

/** The outcome of {@link LockService.preReboot}: the client may reboot, or not now. */
export type PreRebootOutcome =
  /** The client took a slot. */
  | { readonly kind: "granted"; readonly holder: Holder }
  /** The client held a slot before, and still does. */
  | { readonly kind: "renewed"; readonly holder: Holder }
  | Refused;

/** The outcome of {@link LockService.steadyState}. */
export type SteadyStateOutcome =
  /** The client gave its slot back, which it had been holding as `holder` says. */
  | { readonly kind: "released"; readonly holder: Holder }
  /** The client held nothing. */
  | { readonly kind: "not_held" }
  | Refused;

/** Options of {@link LockService}. */
export interface LockServiceOptions {
  /** How many clients of a group may reboot at a time. @default {1} */
  readonly slots?: number;
  /** How many groups there may be; a further one is refused. @default {64} */
  readonly maxGroups?: number;
  /** Empties the hosts before they reboot; without one, a slot alone is enough for a yes. */
  readonly keeper?: NodeKeeper;
  /** How long an answer may wait for the node keeper, in milliseconds. @default {240000} */
  readonly replyWaitMs?: number;
  /** Ends such waits at once, when the server stops. */
  readonly stopping?: AbortSignal;
  /** What the grants' times and the pauses between tries go by. @default {systemClock} */
  readonly clock?: Clock;
  /** A number from 0 (inclusive) to 1, for jitter. @default {Math.random} */
  readonly random?: () => number;
  /** Told what happens. */
  readonly observer?: LockObserver;
}

/** Told what happens to the locks. Its methods must not throw. */
export interface LockObserver extends ViewObserver {
  /** A request of this process took a slot; its drain, if any, is still to come. */
  granted?(group: Group, holder: Holder): void;
  /** A request of this process gave a slot back. */
  released?(group: Group, holder: Holder): void;
}

/** How often a write is tried against others' before the client is sent away. */
const MAX_CONFLICTS = 10;

/** The longest first pause after a conflict, in milliseconds; it doubles with each. */
const CONFLICT_PAUSE_MS = 10;

/**
 * How long a write's proof may lie back when the yes is given, in milliseconds.
 * A process that was paused in between must not give it: the world has moved on.
 */
const PROOF_TTL_MS = 15_000;

/** What an answer may rest on, weakest first. */
const enum Proof {
  /** Whatever was seen last, however long ago. */
  Anything,
  /** A view that is in step with the store, or another request's operation. */
  InStep,
  /** A read begun, or a write tried, after this request arrived. */
  Fresh,
}

/** What to do about the state that was seen. */
type Decision<T> =
  /** Write it; the answer then rests on the write. */
  | { readonly write: GroupState; readonly then: (written: GroupState) => T }
  /** Nothing is to be written; the answer is good if what was seen is worth that much. */
  | { readonly answer: T; readonly needs: Proof };

/** What a store operation saw, and when it began. */
interface Observation {
  readonly found: Versioned;
  /** The operation's place in the order in which this service began operations and took requests. */
  readonly ticket: number;
  /** {@link Clock.monotonic} when it began. */
  readonly began: number;
  /** Whether it was a conditional write that took effect. */
  readonly wrote: boolean;
}

/**
 * Grants and frees slots. Safe in any number over one store: every yes rests on
 * a conditional write, and every release on one or on a read begun within the
 * request. Faults of the store are thrown as
 * {@link "./errors.ts".UnavailableError}; after one, the same request
 * may be repeated to any replica.
 *
 * In one process at most one operation a group is under way: whoever comes
 * meanwhile waits for its result and decides on that. So when a slot comes
 * free, a crowd of clients costs one write, not one each.
 */
export class LockService {
  /** How many clients of a group may reboot at a time. */
  readonly slots: number;
  readonly #store: LockStore;
  readonly #view: GroupView;
  readonly #maxGroups: number;
  readonly #keeper?: NodeKeeper;
  readonly #replyWaitMs: number;
  readonly #stopping: AbortSignal;
  readonly #observer: LockObserver;
  readonly #clock: Clock;
  readonly #random: () => number;
  readonly #running = new Map<Group, Promise<Observation>>();
  /** How many requests are about to make a group that the store does not have yet. */
  readonly #coming = new Map<Group, number>();
  #ticket = 0;
  /** Whether the store's last operation failed. */
  #isAway = false;

  /**
   * Starts with nothing known of the store.
   *
   * @param store Where the locks are. The caller owns it and closes it after the service's last request.
   */
  constructor(store: LockStore, options: LockServiceOptions = {}) {
    this.#store = store;
    this.slots = options.slots ?? 1;
    this.#maxGroups = options.maxGroups ?? 64;
    this.#keeper = options.keeper;
    this.#replyWaitMs = options.replyWaitMs ?? 240_000;
    this.#stopping = options.stopping ?? new AbortController().signal;
    this.#clock = options.clock ?? systemClock;
    this.#random = options.random ?? Math.random;
    this.#observer = options.observer ?? {};
    this.#view = new GroupView(this.#observer);
  }

  /** Follows the store's changes until the signal aborts, so that refusals need no read. */
  watch(signal: AbortSignal): Promise<void> {
    return this.#store.watch(this.#view, signal);
  }

  /** Whether refusals can be given without asking the store. */
  get isSynced(): boolean {
    return this.#view.isSynced;
  }

  /**
   * All groups, from the watch; while that is behind, from the store; and where
   * the store does not answer or lets nobody list, those that this process knows.
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

  /**
   * Asks the store whether it answers, unless the watch shows it and the last
   * operation did not show the opposite: a watch whose connection has gone silent
   * finds out later.
   *
   * @param group Any group; it need not exist.
   * @throws {UnavailableError} It does not.
   */
  async probe(group: Group): Promise<void> {
    if (!this.#view.isSynced || this.#isAway) await (this.#running.get(group) ?? this.#read(group));
  }

  /**
   * Asks the store who holds what, past every cache.
   *
   * @returns The hold, or undefined where the client holds nothing.
   * @throws {UnavailableError} The store does not answer.
   */
  async readHolder(id: ClientId, group: Group): Promise<Holder | undefined> {
    return holderOf((await this.#store.read(group)).state, id);
  }

  /**
   * A client asks for a slot of its group, or whether it still holds one, and
   * for its node to be emptied.
   *
   * @throws {UnavailableError} The store or the cluster failed; whether a slot was taken is unknown.
   */
  async preReboot(id: ClientId, group: Group): Promise<PreRebootOutcome> {
    const acquired = await this.#acquire(id, group);
    if (acquired.kind === "refused" || this.#keeper === undefined) return acquired;
    const provenAt = this.#clock.monotonic();
    // With a grant, the node that was found just before is noted.
    const match = acquired.kind === "granted" ? matchOf(acquired.holder) : await this.#keeper.match(id);
    switch (match.kind) {
      case "none":
        if (this.#clock.monotonic() - provenAt > PROOF_TTL_MS) return await this.preReboot(id, group);
        return acquired;
      case "ambiguous":
        return refused({ kind: "node_ambiguous", nodes: match.nodes });
      case "node": {
        const { since, node } = acquired.holder;
        const outcome = await this.#keeper.drain({ group, id, since, node }, this.#replyWaitMs, this.#stopping);
        return await this.#conclude(outcome, acquired, group, node ?? heldNode(match));
      }
    }
  }

  /**
   * A client says that it runs and needs its slot no more. One that holds none
   * is told so. One that holds one gets rid of it when its node is ready.
   *
   * @throws {UnavailableError} The store or the cluster failed; whether the slot was freed is unknown.
   */
  async steadyState(id: ClientId, group: Group): Promise<SteadyStateOutcome> {
    const arrival = ++this.#ticket;
    const keeper = this.#keeper;
    // What is over is the hold that is seen first. A later one, which the client got elsewhere while this request was
    // held up, is none of its business, and nor is one whose drain has ended meanwhile, perhaps in a yes.
    const hold = await this.#settle<Holder | undefined>(group, arrival, (state) => {
      const answer = holderOf(state, id);
      // How far its drain is tells how its return is to be judged: a view that is behind would mislead.
      return { answer, needs: answer === undefined || keeper !== undefined ? Proof.Fresh : Proof.InStep };
    });
    if (hold !== undefined && "refusal" in hold) return hold;
    if (hold !== undefined && keeper !== undefined) {
      const { since, node } = hold;
      const back = await keeper.awaitReturn({ group, id, since, node }, this.#replyWaitMs, this.#stopping);
      if (back.kind === "not_ready") return refused({ kind: "node_not_ready", node: back.node, reason: back.reason });
      const now = await this.#settle<Holder | undefined>(group, arrival, (state) => {
        return { answer: holderOf(state, id), needs: Proof.InStep };
      });
      if (now !== undefined && ("refusal" in now || !isSameStage(now, hold))) return refused({ kind: "contended" });
    }
    await keeper?.uncordon(group, id, hold?.since);
    if (hold === undefined) return { kind: "not_held" };
    return await this.#settle<SteadyStateOutcome>(group, arrival, (state) => {
      const wish = release(state, id, this.#clock.now());
      if (wish.kind === "not_held") return { answer: { kind: "not_held" }, needs: Proof.Fresh };
      const holder = holderOf(state, id)!;
      if (!isSameStage(holder, hold)) return { answer: refused({ kind: "contended" }), needs: Proof.Fresh };
      return {
        write: wish.next,
        then: () => {
          this.#observer.released?.(group, holder);
          return { kind: "released", holder };
        },
      };
    });
  }

  /** Takes or renews a slot. */
  async #acquire(id: ClientId, group: Group): Promise<PreRebootOutcome> {
    const arrival = ++this.#ticket;
    let granted = false;
    const decide =
      (permit?: { readonly node?: HeldNode }) => (state: GroupState): Decision<PreRebootOutcome | "ask"> => {
        const wish = acquire(state, id, this.slots, this.#clock.now(), permit?.node);
        switch (wish.kind) {
          case "full": {
            const refusal: Refusal = { kind: "lock_held", holders: state.holders, slots: this.slots };
            return { answer: refused(refusal), needs: Proof.InStep };
          }
          case "grant":
            if (permit === undefined) return { answer: "ask", needs: Proof.Anything };
            return {
              write: wish.next,
              then: (written) => {
                const holder = holderOf(written, id)!;
                granted = true;
                this.#observer.granted?.(group, holder);
                return { kind: "granted", holder };
              },
            };
          case "renew":
            // A grant of this very request that had to be proven again is still a grant.
            return {
              write: wish.next,
              then: (written) => ({ kind: granted ? "granted" : "renewed", holder: holderOf(written, id)! }),
            };
        }
      };
    const outcome = await this.#settle(group, arrival, decide());
    if (outcome !== "ask") return outcome;
    using place = await this.#takePlace(group);
    if (place === undefined) return refused({ kind: "too_many_groups", limit: this.#maxGroups });
    const permission = await this.#mayGrant(id);
    if ("kind" in permission) return refused(permission);
    const decided = await this.#settle(group, arrival, decide(permission));
    return decided === "ask" ? refused({ kind: "contended" }) : decided;
  }

  /**
   * Makes sure that a group may be there. One that is new counts from then on,
   * though it will be in the store only later, so that a burst of new groups
   * does not get past the limit.
   *
   * @returns To be disposed of when the group is in the store, or will not be; undefined where there is no place for it.
   */
  async #takePlace(group: Group): Promise<Disposable | undefined> {
    if ((this.#view.get(group)?.version ?? ABSENT.version) !== ABSENT.version) return { [Symbol.dispose]() {} };
    const groups = await this.groups();
    const coming = [...this.#coming.keys()].filter((each) => !groups.has(each));
    const isNew = !groups.has(group) && !this.#coming.has(group);
    if (isNew && groups.size + coming.length >= this.#maxGroups) return undefined;
    const count = (change: number) => {
      const requests = (this.#coming.get(group) ?? 0) + change;
      if (requests > 0) this.#coming.set(group, requests);
      else this.#coming.delete(group);
    };
    count(1);
    return { [Symbol.dispose]: () => count(-1) };
  }

  /** Asks whatever may have a reason not to grant a free slot now. */
  async #mayGrant(id: ClientId): Promise<Refusal | { readonly node?: HeldNode }> {
    const match: NodeMatch = await this.#keeper?.match(id) ?? { kind: "none" };
    switch (match.kind) {
      case "none":
        return {};
      case "node":
        return { node: heldNode(match) };
      case "ambiguous":
        return { kind: "node_ambiguous", nodes: match.nodes };
    }
  }

  /** Makes an answer of a drain's outcome. A yes is proven by the write that notes the drain's end. */
  async #conclude(
    outcome: DrainOutcome,
    acquired: Exclude<PreRebootOutcome, Refused>,
    group: Group,
    node: HeldNode,
  ): Promise<PreRebootOutcome> {
    switch (outcome.kind) {
      case "drained":
      case "proceed": {
        const holder = await this.#amend(acquired.holder, group, { ...node, phase: "drained" });
        return holder === undefined ? refused({ kind: "contended" }) : { kind: acquired.kind, holder };
      }
      case "failed":
        if (node.phase !== "failed") await this.#amend(acquired.holder, group, { ...node, phase: "failed" });
        return refused({ kind: "drain_failed", node: outcome.node, pods: outcome.pods });
      case "draining":
        return refused({ kind: "draining", node: outcome.node, pods: outcome.pods });
      case "abandoned":
        return refused({ kind: "contended" });
      case "ambiguous":
        return refused({ kind: "node_ambiguous", nodes: outcome.nodes });
    }
  }

  /** Notes how far a holder's node is. Undefined where that hold is over. */
  async #amend(hold: Holder, group: Group, node: HeldNode): Promise<Holder | undefined> {
    const outcome = await this.#settle<Holder | Refused | undefined>(group, ++this.#ticket, (state) => {
      const next = amend(state, hold, this.#clock.now(), node);
      if (next === undefined) return { answer: undefined, needs: Proof.Fresh };
      return { write: next, then: (written) => holderOf(written, hold.id) };
    });
    return outcome !== undefined && "refusal" in outcome ? undefined : outcome;
  }

  /**
   * Decides on what is known of a group, and finds out more until the decision
   * is written or rests on proof enough.
   *
   * @param arrival The request's ticket.
   */
  async #settle<T>(
    group: Group,
    arrival: number,
    decide: (state: GroupState) => Decision<T>,
  ): Promise<T | Refused> {
    let seen = this.#view.get(group);
    let proof = this.#view.isSynced ? Proof.InStep : Proof.Anything;
    for (let conflicts = 0; conflicts <= MAX_CONFLICTS;) {
      const decision = seen && decide(seen.state);
      if (decision !== undefined && "answer" in decision && proof >= decision.needs) return decision.answer;
      const running = this.#running.get(group);
      if (running !== undefined || decision === undefined || "answer" in decision) {
        const observation: Observation = await (running ?? this.#read(group));
        seen = observation.found;
        proof = observation.ticket > arrival ? Proof.Fresh : Proof.InStep;
        continue;
      }
      const observation: Observation = await this.#write(group, seen!, decision.write);
      seen = observation.found;
      proof = Proof.Fresh;
      if (observation.wrote) {
        const answer = decision.then(seen.state);
        if (this.#clock.monotonic() - observation.began <= PROOF_TTL_MS) return answer;
      } else {
        await this.#clock.sleep(this.#random() * CONFLICT_PAUSE_MS * 2 ** conflicts);
      }
      conflicts++;
    }
    return refused({ kind: "contended" });
  }

  #read(group: Group): Promise<Observation> {
    return this.#run(group, async () => ({ found: await this.#store.read(group), wrote: false }));
  }

  /** Writes; where that conflicts, reads what is there instead, in the same turn. */
  #write(group: Group, expected: Versioned, next: GroupState): Promise<Observation> {
    return this.#run(group, async () => {
      const written = await this.#store.write(group, expected, next);
      return written === "conflict"
        ? { found: await this.#store.read(group), wrote: false }
        : { found: written, wrote: true };
    });
  }

  /** Runs the group's one operation. Must not be called while another runs. */
  #run(group: Group, operate: () => Promise<{ found: Versioned; wrote: boolean }>): Promise<Observation> {
    const ticket = ++this.#ticket;
    const began = this.#clock.monotonic();
    const operation = (async () => {
      try {
        const result = await operate();
        this.#isAway = false;
        this.#view.learn(group, result.found);
        return { ...result, ticket, began };
      } catch (error) {
        this.#isAway = true;
        throw error;
      } finally {
        this.#running.delete(group);
      }
    })();
    this.#running.set(group, operation);
    return operation;
  }
}

/** Whether a client's hold is the same grant, and its drain as far as before. */
function isSameStage(one: Holder, other: Holder): boolean {
  return one.since === other.since && one.node?.phase === other.node?.phase;
}

function heldNode(match: Extract<NodeMatch, { kind: "node" }>): HeldNode {
  return { name: match.name, bootId: match.bootId, phase: "draining" };
}

function matchOf({ node }: Holder): NodeMatch {
  return node === undefined ? { kind: "none" } : { kind: "node", name: node.name, bootId: node.bootId };
}

function refused(refusal: Refusal): Refused {
  return { kind: "refused", refusal };
}
