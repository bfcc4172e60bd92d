/**
 * The transactions on a client's hold: renew it, grant one, find it, note its
 * node, release it. Each is one decision of the semaphore that the group writer
 * proves or writes. It asks no node keeper and knows no limits; the order of the
 * steps belongs to the lock service and the prover.
 *
 * @module
 */

import type { Decision, GroupWriter, Proof, Ticket, Written } from "./group_writer.ts";
import type { ClientId, Group } from "./identity.ts";
import type {
  Gate,
  GoneRelease,
  Held,
  HoldsOptions,
  Permit,
  Proven,
  Renewal,
  YieldCause,
  Yielding,
} from "./hold_outcomes.ts";
import { pauseAt, withDeferral, withoutDeferral, withReturn } from "./group_notes.ts";
import type { Versioned } from "./lock_store.ts";
import { type Refused, refused, type SteadyStateOutcome } from "./outcomes.ts";
import {
  acquire,
  amend,
  type GroupState,
  type HeldNode,
  type Holder,
  holderOf,
  isSameHoldAndNode,
  isSameStage,
  mayGoOn,
  mayHaveHadYes,
  release,
  withYes,
} from "./semaphore.ts";

/** See the module. Its methods throw {@link "./errors.ts".UnavailableError} where the store fails. */
export class Holds {
  readonly #writer: GroupWriter;
  readonly #options: HoldsOptions;

  /** Works on the groups of a writer. */
  constructor(writer: GroupWriter, options: HoldsOptions) {
    this.#writer = writer;
    this.#options = options;
  }

  /**
   * Renews the client's hold, if it has one. Refused as "lock_held" where others hold every slot or come before the
   * client, and as "lock_ending" where the group's object is being deleted.
   *
   * @param arrival The request's ticket.
   * @param gate Asked where the client holds nothing and a slot seems free.
   */
  renew(id: ClientId, group: Group, arrival: Ticket, gate: Gate = () => undefined): Promise<Renewal> {
    return this.#writer.transact<Renewal>(group, arrival, ({ state, ending }) => {
      if (ending !== undefined) return refuseEnding(ending);
      const slots = this.#options.slotsOf(group);
      const wish = acquire(state, id, slots, this.#options.clock.now());
      switch (wish.kind) {
        case "renew":
          return { kind: "write", next: wish.next, answer: (written) => proven("renewed", id, written) };
        case "grant": {
          const refusal = gate(state);
          // What speaks against a grant may be over in the store while the view is behind.
          if (refusal !== undefined) return { kind: "answer", needs: "in_step", answer: refusal };
          return { kind: "answer", needs: "anything", answer: { kind: "free", state } };
        }
        case "full":
          return this.#refuse(state, id, slots);
      }
    });
  }

  /**
   * Grants the client a slot, or renews the hold that it got meanwhile. Refused
   * as {@link renew} is.
   *
   * @param arrival The request's ticket.
   */
  grant(id: ClientId, group: Group, arrival: Ticket, permit: Permit): Promise<Proven | Refused> {
    const { slotsOf, clock, observer } = this.#options;
    return this.#writer.transact<Proven | Refused>(group, arrival, ({ state, ending }) => {
      if (ending !== undefined) return refuseEnding(ending);
      const isHeld = holderOf(state, id) !== undefined;
      const isFull = state.holders.length >= permit.slots;
      const slots = isHeld ? slotsOf(group) : isFull ? permit.slots : permit.slotsOn(state);
      if (typeof slots !== "number") return { kind: "answer", needs: "in_step", answer: slots };
      const wish = acquire(state, id, slots, clock.now(), permit.node);
      switch (wish.kind) {
        case "grant":
          return {
            kind: "write",
            next: wish.next,
            answer: (written) => {
              const granted = proven("granted", id, written);
              observer.granted?.(group, granted.holder);
              return granted;
            },
          };
        case "renew":
          return { kind: "write", next: wish.next, answer: (written) => proven("renewed", id, written) };
        case "full":
          return this.#refuse(state, id, slots);
      }
    });
  }

  /**
   * Finds the client's hold.
   *
   * @param arrival The request's ticket.
   * @param needs Says what the answer must rest on. @default {() => "fresh"}
   */
  find(
    id: ClientId,
    group: Group,
    arrival: Ticket,
    needs: (found: Held) => Proof = () => "fresh",
  ): Promise<Held | Refused> {
    return this.#writer.transact<Held>(group, arrival, ({ state }) => {
      const holder = holderOf(state, id);
      const found: Held = holder === undefined ? { kind: "not_held" } : { kind: "held", holder };
      return { kind: "answer", needs: needs(found), answer: found };
    });
  }

  /**
   * Notes with a hold which node it is about and how far the drain is. That a node is drained stays noted, since a yes
   * may have rested on it. Refused as "contended" where the hold has ended or another request has noted another node,
   * as "lock_held" where the node is drained but others come before the client, and as "lock_ending" where the group's
   * object is being deleted.
   *
   * @param hold The hold as this request has proven it.
   */
  note({ kind, holder }: Proven, group: Group, node: HeldNode): Promise<Proven | Refused> {
    const { id, since } = holder;
    return this.#writer.transact<Proven | Refused>(group, this.#writer.arrive(), ({ state, ending }) => {
      if (ending !== undefined) return refuseEnding(ending);
      const current = holderOf(state, id);
      const noted = current?.node;
      // Every other request renews the hold before it can say yes. So a hold that this request took, and that none has
      // renewed, is one whose client has had no yes.
      const isUnused = kind === "granted" && current?.renewed === since;
      const isSameNode = noted?.uid === holder.node?.uid || noted?.uid === node.uid;
      const stays = noted?.uid === node.uid && noted.phase === "drained" && node.phase !== "drained";
      const next = amend(state, { id, since }, this.#options.clock.now(), stays ? noted : node, isUnused);
      if (next === undefined || !isSameNode) return CONTENDED;
      // Once it is drained, it goes on before all others. So this write must not rest on an earlier look at its turn.
      const isDrained = node.phase === "drained";
      const slots = this.#options.slotsOf(group);
      if (isDrained && !mayGoOn(state, id, slots)) return this.#refuse(state, id, slots);
      return {
        kind: "write",
        next: isDrained ? withoutDeferral(next, id) : next,
        answer: (written) => proven(kind, id, written),
      };
    });
  }

  /**
   * Notes that a request for a hold is about to be answered with a yes, although its node was not drained. Refused as
   * "contended" where the hold has ended, as "lock_held" where others come before the client, and as "lock_ending"
   * where the group's object is being deleted.
   *
   * @param hold The hold as this request has proven it.
   */
  noteYes({ kind, holder: { id, since } }: Proven, group: Group): Promise<Proven | Refused> {
    return this.#writer.transact<Proven | Refused>(group, this.#writer.arrive(), ({ state, ending }) => {
      if (ending !== undefined) return refuseEnding(ending);
      const next = withYes(state, { id, since }, this.#options.clock.now());
      if (next === undefined) return CONTENDED;
      const slots = this.#options.slotsOf(group);
      if (!mayGoOn(state, id, slots)) return this.#refuse(state, id, slots);
      return { kind: "write", next, answer: (written) => proven(kind, id, written) };
    });
  }

  /**
   * Frees the slot of a hold. Refused as "contended" where the client has another
   * hold by now, or a pre-reboot request has renewed or noted this one.
   *
   * @param arrival The request's ticket.
   * @param hasRebooted Whether the host is back from a reboot, which is noted in the same write.
   */
  release(hold: Holder, group: Group, arrival: Ticket, hasRebooted: boolean): Promise<SteadyStateOutcome> {
    return this.#writer.transact<SteadyStateOutcome>(group, arrival, ({ state }) => {
      const holder = holderOf(state, hold.id);
      const wish = release(state, hold.id, this.#options.clock.now());
      if (holder === undefined || wish.kind === "not_held") return NOT_HELD;
      if (!isSameStage(holder, hold)) return CONTENDED;
      return {
        kind: "write",
        next: hasRebooted ? withReturn(wish.next) : wish.next,
        answer: () => {
          this.#options.observer.released?.(group, holder);
          return { kind: "released", holder };
        },
      };
    });
  }

  /**
   * Frees the slot of a host that cannot reboot, so that others come first. Its next hold begins anew.
   *
   * @param hold The hold, with the node that cannot be drained. A hold that may have had a yes stays: its host may
   * reboot at any moment. The write that notes a node as drained comes before its yes, so that of the two writes one
   * fails.
   */
  yield(hold: Holder, group: Group, cause: YieldCause): Promise<Yielding | Refused> {
    const { clock, observer } = this.#options;
    return this.#writer.transact<Yielding>(group, this.#writer.arrive(), ({ state }) => {
      const holder = holderOf(state, hold.id);
      const now = clock.now();
      const wish = release(state, hold.id, now);
      if (wish.kind === "not_held" || holder?.since !== hold.since) {
        return { kind: "answer", needs: "fresh", answer: { kind: "not_held", state } };
      }
      const isPaused = cause.kind === "paused" && pauseAt(state.notes, now)?.drains === true;
      const isTimedOut = cause.kind === "timed_out" && holder.node?.uid === hold.node?.uid;
      if (mayHaveHadYes(holder) || !(isPaused || isTimedOut)) return STAYS;
      const node = holder.node?.name ?? "";
      const noted = cause.kind === "timed_out"
        ? withDeferral(wish.next, { id: hold.id, node, pods: cause.pods }, now)
        : { state: wish.next, deferral: undefined };
      return {
        kind: "write",
        next: noted.state,
        answer: () => {
          observer.yielded?.(group, holder, cause.kind, noted.deferral);
          return { kind: "yielded", ...(noted.deferral && { deferral: noted.deferral }) };
        },
      };
    });
  }

  /**
   * Frees the slot of a host whose Node is gone, also of one that may have had its yes.
   *
   * @param hold The hold as it was for all of the grace period. One that has changed since stays.
   * @param mayFree Asked right before each write.
   */
  releaseGone(hold: Holder, group: Group, mayFree: () => boolean): Promise<GoneRelease | Refused> {
    const { clock, observer } = this.#options;
    return this.#writer.transact<GoneRelease>(group, this.#writer.arrive(), ({ state }) => {
      const holder = holderOf(state, hold.id);
      const wish = release(state, hold.id, clock.now());
      if (wish.kind === "not_held" || holder?.since !== hold.since) return NOT_HELD;
      if (!isSameStage(holder, hold) || !mayFree()) return GONE_STAYS;
      return {
        kind: "write",
        next: wish.next,
        answer: () => {
          observer.releasedGone?.(group, holder);
          return { kind: "released" };
        },
      };
    });
  }

  /**
   * Reads a hold afresh that this request has proven. Refused as "contended" where it has ended, or is about another
   * node by now.
   *
   * @param hold The hold as this request has proven it.
   */
  confirm({ kind, holder }: Proven, group: Group): Promise<Proven | Refused> {
    const began = this.#options.clock.monotonic();
    return this.#writer.transact<Proven | Refused>(group, this.#writer.arrive(), ({ state, ending }) => {
      const found = holderOf(state, holder.id);
      if (found === undefined || !isSameHoldAndNode(found, holder)) return CONTENDED;
      return { kind: "answer", needs: "fresh", answer: { kind, holder: found, written: { state, ending, began } } };
    });
  }

  /** Reads a hold afresh. Undefined where it has ended. */
  async reread({ id, since }: Holder, group: Group): Promise<Holder | undefined> {
    const found = await this.find(id, group, this.#writer.arrive());
    return found.kind === "held" && found.holder.since === since ? found.holder : undefined;
  }

  #refuse(state: GroupState, id: ClientId, slots: number): Decision<Refused> {
    return { kind: "answer", needs: "in_step", answer: refuseFull(state, id, slots) };
  }
}

/** That a hold has ended is certain only by what was read or written during the request. */
const NOT_HELD: Decision<{ readonly kind: "not_held" }> = {
  kind: "answer",
  needs: "fresh",
  answer: { kind: "not_held" },
};

/** That a hold stays is certain only by the same. */
const STAYS: Decision<Yielding> = { kind: "answer", needs: "fresh", answer: { kind: "stays" } };

/** And so is that one whose Node is gone stays. */
const GONE_STAYS: Decision<GoneRelease> = { kind: "answer", needs: "fresh", answer: { kind: "stays" } };

/** That a hold has changed is certain only by the same. */
const CONTENDED: Decision<Refused> = { kind: "answer", needs: "fresh", answer: refused({ kind: "contended" }) };

/**
 * Makes the refusal of a client whose turn it is not, which names the other holders. For a client that is no holder it
 * has the group's own list, not a copy, so that the reply to one waiting host serves all others.
 */
export function refuseFull(state: GroupState, id: ClientId, slots: number): Refused {
  const others = holderOf(state, id) === undefined ? state.holders : state.holders.filter((one) => one.id !== id);
  return refused({ kind: "lock_held", holders: others, slots });
}

/** That the group's object is being deleted is a refusal, which may rest on the view. */
function refuseEnding(ending: NonNullable<Versioned["ending"]>): Decision<Refused> {
  return { kind: "answer", needs: "in_step", answer: refused({ kind: "lock_ending", ...ending }) };
}

/** The writer has compared what was written with what was sent, so the holder is there. */
function proven(kind: Proven["kind"], id: ClientId, written: Written): Proven {
  return { kind, holder: holderOf(written.state, id)!, written };
}
