/**
 * How a group is read and written: it decides what the store is asked, what an
 * answer may rest on, and what happens when another writer is faster. It does
 * not know what a decision is about; that belongs to the lock service.
 *
 * @module
 */

import { type Clock, systemClock } from "./clock.ts";
import { MalformedGroupError } from "./errors.ts";
import type { GroupView } from "./group_view.ts";
import type { Group } from "./identity.ts";
import type { LockStore, Versioned } from "./lock_store.ts";
import { type Refused, refused } from "./outcomes.ts";
import { type GroupState, type Holder, holderOf } from "./semaphore.ts";

/** How many writes of one transaction may conflict before the client is sent away. */
const MAX_CONFLICTS = 10;

/** The longest pause after the first conflict, in milliseconds. It doubles with each further one. */
const CONFLICT_PAUSE_MS = 10;

/**
 * What an answer rests on, weakest first: "anything" is whatever was seen last;
 * "in_step" is a view in step with the store, or the result of another request's
 * operation; "fresh" is a read that began, or a write that was tried, after the
 * request arrived.
 */
export type Proof = "anything" | "in_step" | "fresh";

/** Every {@link Proof}, weakest first. */
const PROOFS: readonly Proof[] = ["anything", "in_step", "fresh"];

/** A request's place in the order in which requests arrived and operations began. */
export type Ticket = number & { readonly __brand: "Ticket" };

/** What the store returned for a conditional write that took effect. */
export interface Written extends Pick<Versioned, "state" | "ending"> {
  /** {@link Clock.monotonic} when the write began. */
  readonly began: number;
}

/** What to do about the state that was seen. */
export type Decision<T> =
  /** Write `next`. The answer is made from what the store returned, and rests on that write. */
  | { readonly kind: "write"; readonly next: GroupState; readonly answer: (written: Written) => T }
  /** Write nothing. The answer is good if what was seen is worth at least `needs`. */
  | { readonly kind: "answer"; readonly needs: Proof; readonly answer: T };

/**
 * Decides on a group. It may be called several times in one transaction, each
 * time on a newer state.
 */
export type Decide<T> = (found: Versioned) => Decision<T>;

/** Options of {@link GroupWriter}. */
export interface GroupWriterOptions {
  /** Tells when writes begin, and measures the pauses between tries. @default {systemClock} */
  readonly clock?: Clock;
  /** A number from 0 (inclusive) to 1, for jitter. @default {Math.random} */
  readonly random?: () => number;
}

/** What a store operation saw, and when it began. */
interface Observation {
  /** The group as it was read or written; "conflict" where a write saw nothing but that another writer was faster. */
  readonly found: Versioned | "conflict";
  /** The operation's place in the order of requests and operations. */
  readonly ticket: Ticket;
  /** {@link Clock.monotonic} when it began. */
  readonly began: number;
}

/**
 * Reads and writes the groups of one store.
 *
 * At most one operation per group runs at a time in a process. Requests that
 * arrive meanwhile wait for its result and decide on that. So when a slot comes
 * free, a crowd of clients costs one write instead of one each.
 */
export class GroupWriter {
  readonly #store: LockStore;
  readonly #view: GroupView;
  readonly #clock: Clock;
  readonly #random: () => number;
  readonly #running = new Map<Group, Promise<Observation>>();
  #lastTicket = 0;
  /** Whether the store's last operation failed. */
  #lastFailed = false;

  /**
   * Creates a writer.
   *
   * @param store Where the groups are. The caller owns it.
   * @param view What is known of the store. The writer adds what it reads and writes.
   */
  constructor(store: LockStore, view: GroupView, options: GroupWriterOptions = {}) {
    this.#store = store;
    this.#view = view;
    this.#clock = options.clock ?? systemClock;
    this.#random = options.random ?? Math.random;
  }

  /** Gives a request its ticket. Call it when the request arrives. */
  arrive(): Ticket {
    return ++this.#lastTicket as Ticket;
  }

  /**
   * Asks the store whether it takes writes, if it can tell, and whether it
   * answers, unless the watch is in step and the last operation did not fail. The
   * operation counts because a watch on a silent connection notices late.
   *
   * @param group Any group; it need not exist.
   * @throws {UnavailableError} The store does not answer, or takes no writes.
   */
  async probe(group: Group): Promise<void> {
    await this.#store.checkWritable?.();
    if (this.#view.isSynced && !this.#lastFailed) return;
    try {
      await (this.#running.get(group) ?? this.#read(group));
    } catch (error) {
      // The store answers. Only this group is damaged.
      if (!(error instanceof MalformedGroupError)) throw error;
    }
  }

  /**
   * Decides on what is known of a group, and reads or writes until the answer
   * rests on enough proof.
   *
   * @param arrival The request's ticket, which says what counts as fresh.
   * @returns The answer; or a refusal as "contended" where other writers were faster too often, or as "write_altered"
   * where the store kept something else than was written.
   * @throws {UnavailableError} The store failed; whether a write took effect is unknown.
   */
  async transact<T>(group: Group, arrival: Ticket, decide: Decide<T>): Promise<T | Refused> {
    let seen = this.#view.get(group);
    let proof: Proof = this.#view.isSynced ? "in_step" : "anything";
    for (let conflicts = 0; conflicts <= MAX_CONFLICTS;) {
      const decision = seen && decide(seen);
      if (decision?.kind === "answer" && isEnough(proof, decision.needs)) return decision.answer;
      const running = this.#running.get(group);
      if (running !== undefined || seen === undefined || decision?.kind !== "write") {
        const observation = await (running ?? this.#read(group));
        seen = observation.found === "conflict" ? undefined : observation.found;
        proof = observation.ticket > arrival ? "fresh" : "in_step";
        continue;
      }
      const { found, began } = await this.#write(group, seen, decision.next);
      if (found !== "conflict") {
        if (!isAsSent(decision.next, found.state)) return refused({ kind: "write_altered" });
        return decision.answer({ state: found.state, ending: found.ending, began });
      }
      // The read comes after the pause: what was read before it would be out of date again where the group changes
      // often.
      seen = undefined;
      if (conflicts < MAX_CONFLICTS) await this.#clock.sleep(this.#random() * CONFLICT_PAUSE_MS * 2 ** conflicts);
      conflicts++;
    }
    return refused({ kind: "contended" });
  }

  #read(group: Group): Promise<Observation> {
    return this.#run(group, () => this.#store.read(group));
  }

  #write(group: Group, expected: Versioned, next: GroupState): Promise<Observation> {
    return this.#run(group, () => this.#store.write(group, expected, next));
  }

  /** Runs an operation on a group. The caller makes sure that no other one runs. */
  #run(group: Group, operate: () => Promise<Versioned | "conflict">): Promise<Observation> {
    const ticket = this.arrive();
    const began = this.#clock.monotonic();
    const operation = (async () => {
      try {
        const found = await operate();
        this.#lastFailed = false;
        if (found !== "conflict") this.#view.learn(group, found);
        return { found, ticket, began };
      } catch (error) {
        this.#lastFailed = !(error instanceof MalformedGroupError);
        throw error;
      } finally {
        this.#running.delete(group);
      }
    })();
    this.#running.set(group, operation);
    return operation;
  }
}

/**
 * Whether the store kept the holders that were written. Whoever changes requests on their way may have changed them.
 */
function isAsSent(sent: GroupState, kept: GroupState): boolean {
  return kept.holders.length === sent.holders.length &&
    sent.holders.every((holder) => isSameHold(holder, holderOf(kept, holder.id)));
}

/** Whether two records agree in all that a decision may rest on. A time that is not a number equals itself. */
function isSameHold(one: Holder, other: Holder | undefined): boolean {
  return Object.is(one.since, other?.since) &&
    Object.is(one.renewed, other?.renewed) &&
    one.node?.name === other?.node?.name &&
    one.node?.uid === other?.node?.uid &&
    one.node?.machineId === other?.node?.machineId &&
    one.node?.bootId === other?.node?.bootId &&
    one.node?.phase === other?.node?.phase &&
    one.isNodeUnreadable === other?.isNodeUnreadable &&
    one.slots === other?.slots &&
    one.hadYes === other?.hadYes;
}

function isEnough(proof: Proof, needed: Proof): boolean {
  return PROOFS.indexOf(proof) >= PROOFS.indexOf(needed);
}
