/**
 * The transactions on a client's hold: renew it, grant one, find it, note its
 * node, release it. Each is one decision of the semaphore that the group writer
 * proves or writes. It asks no node keeper and knows no limits; the order of the
 * steps belongs to the lock service and the prover.
 *
 * @module
 */

import type { Clock } from "./clock.ts";
import type { Decision, GroupWriter, Proof, Ticket, Written } from "./group_writer.ts";
import type { ClientId, Group } from "./identity.ts";
import type { Versioned } from "./lock_store.ts";
import { type Refused, refused, type SteadyStateOutcome } from "./outcomes.ts";
import {
  acquire,
  amend,
  type GroupState,
  type HeldNode,
  type Holder,
  holderOf,
  mayGoOn,
  release,
} from "./semaphore.ts";

/** Is told of the slots that change hands. Its methods must not throw. */
export interface HoldsObserver {
  /** A request of this process took a slot. The drain, if there is one, comes next. */
  granted?(group: Group, holder: Holder): void;
  /** A request of this process gave a slot back. */
  released?(group: Group, holder: Holder): void;
}

/** What {@link Holds} works with. */
export interface HoldsOptions {
  /** How many clients of a group may hold a slot. */
  readonly slotsOf: (group: Group) => number;
  /** Gives the time of grants and writes. */
  readonly clock: Clock;
  /** Is told of grants and releases. */
  readonly observer: HoldsObserver;
}

/** Whether a client holds a slot. */
export type Held =
  /** It does, as `holder` says. */
  | { readonly kind: "held"; readonly holder: Holder }
  /** It does not. */
  | { readonly kind: "not_held" };

/** A hold that this request has written, and what the store returned for the write. */
export interface Proven {
  /** Whether this request took the slot, or the client held it before. */
  readonly kind: "granted" | "renewed";
  /** The hold as it was written. */
  readonly holder: Holder;
  /** What the store returned. */
  readonly written: Written;
}

/** The outcome of {@link Holds.renew}. */
export type Renewal =
  /** The client holds a slot, proven by a write. */
  | Proven
  /** The client holds no slot, and at least one seemed free. */
  | { readonly kind: "free" }
  | Refused;

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
   */
  renew(id: ClientId, group: Group, arrival: Ticket): Promise<Renewal> {
    return this.#writer.transact<Renewal>(group, arrival, ({ state, ending }) => {
      if (ending !== undefined) return refuseEnding(ending);
      const wish = acquire(state, id, this.#options.slotsOf(group), this.#options.clock.now());
      switch (wish.kind) {
        case "renew":
          return { kind: "write", next: wish.next, answer: (written) => proven("renewed", id, written) };
        case "grant":
          return { kind: "answer", needs: "anything", answer: { kind: "free" } };
        case "full":
          return this.#refuse(state, id, group);
      }
    });
  }

  /**
   * Grants the client a slot, or renews the hold that it got meanwhile. Refused
   * as {@link renew} is.
   *
   * @param arrival The request's ticket.
   * @param node The client's node, noted with a new grant.
   */
  grant(id: ClientId, group: Group, arrival: Ticket, node: HeldNode | undefined): Promise<Proven | Refused> {
    const { slotsOf, clock, observer } = this.#options;
    return this.#writer.transact<Proven | Refused>(group, arrival, ({ state, ending }) => {
      if (ending !== undefined) return refuseEnding(ending);
      const wish = acquire(state, id, slotsOf(group), clock.now(), node);
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
          return this.#refuse(state, id, group);
      }
    });
  }

  /**
   * Finds the client's hold.
   *
   * @param arrival The request's ticket.
   * @param needs What a hold that is found must rest on, and what "not_held" must.
   */
  find(
    id: ClientId,
    group: Group,
    arrival: Ticket,
    needs: Readonly<Record<Held["kind"], Proof>>,
  ): Promise<Held | Refused> {
    return this.#writer.transact<Held>(group, arrival, ({ state }) => {
      const holder = holderOf(state, id);
      return holder === undefined
        ? { kind: "answer", needs: needs.not_held, answer: { kind: "not_held" } }
        : { kind: "answer", needs: needs.held, answer: { kind: "held", holder } };
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
      const noted = holderOf(state, id)?.node;
      const isSameNode = noted?.uid === holder.node?.uid || noted?.uid === node.uid;
      const stays = noted?.uid === node.uid && noted.phase === "drained" && node.phase !== "drained";
      const next = amend(state, { id, since }, this.#options.clock.now(), stays ? noted : node);
      if (next === undefined || !isSameNode) return CONTENDED;
      // Once it is drained, it goes on before all others. So this write must not rest on an earlier look at its turn.
      if (node.phase === "drained" && !mayGoOn(state, id, this.#options.slotsOf(group))) {
        return this.#refuse(state, id, group);
      }
      return { kind: "write", next, answer: (written) => proven(kind, id, written) };
    });
  }

  /**
   * Frees the slot of a hold. Refused as "contended" where the client has another
   * hold by now, or a pre-reboot request has renewed or noted this one.
   *
   * @param arrival The request's ticket.
   */
  release(hold: Holder, group: Group, arrival: Ticket): Promise<SteadyStateOutcome> {
    return this.#writer.transact<SteadyStateOutcome>(group, arrival, ({ state }) => {
      const holder = holderOf(state, hold.id);
      const wish = release(state, hold.id, this.#options.clock.now());
      if (holder === undefined || wish.kind === "not_held") return NOT_HELD;
      if (!isSameStage(holder, hold)) return CONTENDED;
      return {
        kind: "write",
        next: wish.next,
        answer: () => {
          this.#options.observer.released?.(group, holder);
          return { kind: "released", holder };
        },
      };
    });
  }

  #refuse(state: GroupState, id: ClientId, group: Group): Decision<Refused> {
    return { kind: "answer", needs: "in_step", answer: refuseFull(state, id, this.#options.slotsOf(group)) };
  }
}

/** That a hold has ended is certain only by what was read or written during the request. */
const NOT_HELD: Decision<{ readonly kind: "not_held" }> = {
  kind: "answer",
  needs: "fresh",
  answer: { kind: "not_held" },
};

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

/**
 * Whether two records of a client are of the same grant and the same node, with its drain at the same phase, and no
 * pre-reboot request has written in between. Such a request may have ended in a yes.
 */
export function isSameStage(one: Holder, other: Holder): boolean {
  return one.since === other.since && one.renewed === other.renewed &&
    one.node?.uid === other.node?.uid && one.node?.phase === other.node?.phase;
}
