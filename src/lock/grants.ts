/**
 * The way from a free slot to a grant: the policies judge, what lets the client's Node pass rules once is removed, and
 * the conditional write follows. It bounds how old a judgement may be at the grant, and knows no rule.
 *
 * @module
 */

import type { Clock } from "./clock.ts";
import type { Ticket } from "./group_writer.ts";
import type { Gate, Permit, Proven } from "./hold_outcomes.ts";
import type { Holds } from "./holds.ts";
import type { ClientId, Group } from "./identity.ts";
import type { NodeIdentity, NodeKeeper } from "./node_keeper.ts";
import { type Refused, refused, refusedFor } from "./outcomes.ts";
import type { GrantPolicy, IgnoredReason, PolicyQuestion } from "./policy.ts";
import type { Presence } from "./presence.ts";
import { heldNode } from "./prover.ts";
import type { GroupState, Holder } from "./semaphore.ts";

/** How often one request has the policies judge because the skip that they went by was used up meanwhile. */
const MAX_JUDGEMENTS = 3;

/** How old an answer of the policies may be when the write of a grant begins and when it ends, in milliseconds. */
const ANSWER_TTL_MS = 1_000;

/**
 * How long to wait for the sign that a client has hung up, in milliseconds. A slot that is taken for nobody costs a
 * person's attention, and one that is freed by mistake an outage, so that a release waits longer.
 */
const NOTICE_MS = 2;

/** How old a judgement may be when the write of a grant begins, in milliseconds. */
const JUDGEMENT_TTL_MS = 60_000;

/** Is told of grants in which policies played a part. Its methods must not throw. */
export interface GrantsObserver {
  /** A slot that a request of this process took stays taken: from now on, no rule makes the request give it back. */
  kept?(group: Group, holder: Holder): void;
  /** A slot was granted although there were these reasons not to, none of which counts. */
  grantedDespite?(group: Group, holder: Holder, ignored: readonly IgnoredReason[]): void;
  /** What let a Node pass these rules once was removed for a request that then took no slot. It is used up. */
  skipLost?(group: Group, id: ClientId, node: NodeIdentity, rules: string): void;
  /** A slot that was just granted is given back, because a rule spoke against it by the time it was written. */
  takenBack?(group: Group, holder: Holder, refusal: Refused["refusal"]): void;
}

/** What {@link Grants} works with. */
export interface GrantsOptions {
  /** Says what speaks against a grant. */
  readonly policy: GrantPolicy;
  /** Removes skips; undefined where nodes are not drained. */
  readonly keeper?: Pick<NodeKeeper, "takeSkip">;
  /** Measures the age of judgements. */
  readonly clock: Pick<Clock, "monotonic">;
  /** Is told what happens. */
  readonly observer: GrantsObserver;
}

/** That the policies allow a grant. */
interface Allowed {
  readonly kind: "allowed";
  readonly slots: number;
  readonly ignored: readonly IgnoredReason[];
  /** The skip that this request has removed, on which the answer rests; undefined where it rests on none. */
  readonly taken?: string;
  /** Whether the answer rests on a skip that was left alone because every slot seemed to be taken. */
  readonly isSkipLeft: boolean;
  /** {@link Clock.monotonic} when the judgement began. */
  readonly judgedAt: number;
}

/** What asks the policies again around the write of a grant. */
interface Gates extends Pick<Permit, "slotsOn"> {
  /** Asked for the state that was written, without the grant: what speaks against it by now. */
  readonly late: Gate;
}

/** See the module. Its methods throw {@link "./errors.ts".UnavailableError} where the store or the cluster fails. */
export class Grants {
  readonly #holds: Holds;
  readonly #options: GrantsOptions;

  /** Works on the holds of a store. */
  constructor(holds: Holds, options: GrantsOptions) {
    this.#holds = holds;
    this.#options = options;
  }

  /**
   * Grants a slot, or renews the hold that the client got meanwhile.
   *
   * @param question Whom to grant it, and the state in which a slot seemed to be free.
   * @param arrival The request's ticket.
   * @param client Whether the client is still there. One that is gone gets no slot.
   */
  async grant(
    question: PolicyQuestion,
    arrival: Ticket,
    client: Presence,
  ): Promise<Proven | Refused> {
    const { group, id, node } = question;
    if (await client.settled(NOTICE_MS)) return refused({ kind: "contended" });
    const allowed = await this.#judge(question);
    if (allowed.kind === "refused") return allowed;
    const { taken, ignored, slots } = allowed;
    const { slotsOn, late } = this.#gates(question, allowed, client);
    const { observer } = this.#options;
    // The hold that this request took, until it is certain that it was given back.
    let kept: Holder | undefined;
    try {
      const acquired = await this.#holds.grant(id, group, arrival, {
        slots,
        node: node && heldNode(node, "draining"),
        slotsOn,
      });
      if (acquired.kind !== "granted") return acquired;
      kept = acquired.holder;
      const refusal = late(without(acquired.written.state, id));
      if (refusal === undefined) return acquired;
      const over = await this.#takeBack(kept, group, arrival, refusal);
      if (over === refusal) kept = undefined;
      return over;
    } finally {
      if (kept !== undefined) {
        observer.kept?.(group, kept);
        if (ignored.length > 0) observer.grantedDespite?.(group, kept, ignored);
      } else if (taken !== undefined) {
        observer.skipLost?.(group, id, node!, taken);
      }
    }
  }

  /** Asks the policies, and removes the skip on which their answer rests: of all who try, one may grant by it. */
  async #judge(question: PolicyQuestion): Promise<Allowed | Refused> {
    const { policy, keeper, clock } = this.#options;
    const { node, state } = question;
    for (let judgements = 0; judgements < MAX_JUDGEMENTS; judgements++) {
      const judgedAt = clock.monotonic();
      // What was gathered for a question stays with it, so that each judgement needs its own.
      const { slots, reasons, ignored, skip } = await policy.judge({ ...question });
      const refusal = refusedFor(reasons);
      if (refusal !== undefined) return refusal;
      const allowed = { kind: "allowed", slots, ignored, judgedAt } as const;
      if (skip === undefined) return { ...allowed, isSkipLeft: false };
      if (state.holders.length >= slots) return { ...allowed, isSkipLeft: true };
      if (node !== undefined && await keeper?.takeSkip(node, skip)) {
        return { ...allowed, taken: skip, isSkipLeft: false };
      }
    }
    return refused({ kind: "contended" });
  }

  /**
   * Makes what asks the policies again before the write of a grant, where that is written on another state than the one
   * that was judged or where the last answer is too old, and after the write, where that took long. A skip counts only
   * where this request has removed it.
   */
  #gates(
    question: PolicyQuestion,
    { slots, taken = "", isSkipLeft, judgedAt }: Allowed,
    client: Pick<Presence, "isGone">,
  ): Gates {
    const { policy, clock } = this.#options;
    let answered = { state: question.state, slots, at: judgedAt };
    const isOld = () => clock.monotonic() - answered.at > ANSWER_TTL_MS;
    const ask = (state: GroupState) => {
      const at = clock.monotonic();
      const answer = policy.peek({ ...question, state, skip: taken });
      const refusal = refusedFor(answer.reasons);
      // Nodes may have left since the judgement. Those that have joined count for the next request.
      if (refusal === undefined) answered = { state, slots: Math.min(answer.slots, slots), at };
      return refusal;
    };
    return {
      slotsOn(state) {
        // Facts that were gathered so long ago, such as the time, may no longer be true.
        const isOutdated = clock.monotonic() - judgedAt > JUDGEMENT_TTL_MS;
        if (isSkipLeft || isOutdated || client.isGone) return refused({ kind: "contended" });
        const refusal = state !== answered.state || isOld() ? ask(state) : undefined;
        return refusal ?? answered.slots;
      },
      late: (state) => isOld() ? ask(state) : undefined,
    };
  }

  /**
   * Gives back a slot that nobody knows of yet. The client has no yes for it: a request that could end in one would
   * have renewed the hold, and then the hold stays.
   *
   * @returns The very refusal that was passed where the slot is free again, another one where the hold stays.
   */
  async #takeBack(holder: Holder, group: Group, arrival: Ticket, refusal: Refused): Promise<Refused> {
    const over = await this.#holds.release(holder, group, arrival, false);
    if (over.kind === "refused") return over;
    this.#options.observer.takenBack?.(group, holder, refusal.refusal);
    return refusal;
  }
}

/** The state without a client's own hold, about which policies are never asked. */
function without(state: GroupState, id: ClientId): GroupState {
  return { ...state, holders: state.holders.filter((holder) => holder.id !== id) };
}
