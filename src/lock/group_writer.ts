/**
 * How a group is read and written: it decides what the store is asked, what an
 * answer may rest on, and what happens when another writer is faster. It does
 * not know what a decision is about; that belongs to the lock service.
 *
 * @module
 */

import { type Clock, systemClock } from "./clock.ts";
import type { GroupView } from "./group_view.ts";
import type { Group } from "./identity.ts";
import type { LockStore, Versioned } from "./lock_store.ts";
import { type Refused, refused } from "./outcomes.ts";
import type { GroupState } from "./semaphore.ts";

/** How many writes of one transaction may conflict or come too late before the client is sent away. */
const MAX_CONFLICTS = 10;

/** The longest pause after the first conflict, in milliseconds. It doubles with each further one. */
const CONFLICT_PAUSE_MS = 10;

/**
 * How old a proof may be when the yes that rests on it is given, in
 * milliseconds. A process that was paused for longer proves the hold again,
 * since the group may have changed meanwhile.
 */
export const PROOF_TTL_MS = 15_000;

/** Every {@link Proof}, weakest first. */
const PROOFS = ["anything", "in_step", "fresh"] as const;

/**
 * What an answer rests on, weakest first: "anything" is whatever was seen last;
 * "in_step" is a view in step with the store, or the result of another request's
 * operation; "fresh" is a read that began, or a write that was tried, after the
 * request arrived.
 */
export type Proof = typeof PROOFS[number];

/** A request's place in the order in which requests arrived and operations began. */
export type Ticket = number & { readonly __brand: "Ticket" };

/** What to do about the state that was seen. */
export type Decision<T> =
  /** Write `next`. The answer is made from the state as written, and rests on that write. */
  | { readonly kind: "write"; readonly next: GroupState; readonly answer: (written: GroupState) => T }
  /** Write nothing. The answer is good if what was seen is worth at least `needs`. */
  | { readonly kind: "answer"; readonly needs: Proof; readonly answer: T };

/**
 * Decides on a state. It may be called several times in one transaction, each
 * time on a newer state.
 *
 * @param late The answer of this transaction's last write whose proof was too old when it came back, if there is one.
 */
export type Decide<T> = (state: GroupState, late: T | undefined) => Decision<T>;

/** Options of {@link GroupWriter}. */
export interface GroupWriterOptions {
  /** Measures the age of proofs, and the pauses between tries. @default {systemClock} */
  readonly clock?: Clock;
  /** A number from 0 (inclusive) to 1, for jitter. @default {Math.random} */
  readonly random?: () => number;
}

/** What a store operation saw, and when it began. */
interface Observation {
  readonly found: Versioned;
  /** The operation's place in the order of requests and operations. */
  readonly ticket: Ticket;
  /** {@link Clock.monotonic} when it began. */
  readonly began: number;
  /** Whether it was a conditional write that took effect. */
  readonly wrote: boolean;
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
   * Asks the store whether it answers, unless the watch is in step and the last
   * operation did not fail. The operation counts because a watch on a silent
   * connection notices late.
   *
   * @param group Any group; it need not exist.
   * @throws {UnavailableError} The store does not answer.
   */
  async probe(group: Group): Promise<void> {
    if (!this.#view.isSynced || this.#lastFailed) await (this.#running.get(group) ?? this.#read(group));
  }

  /**
   * Decides on what is known of a group, and reads or writes until the answer
   * rests on enough proof.
   *
   * @param arrival The request's ticket, which says what counts as fresh.
   * @returns The answer, or a refusal as "contended" where other writers were faster too often.
   * @throws {UnavailableError} The store failed; whether a write took effect is unknown.
   */
  async transact<T>(group: Group, arrival: Ticket, decide: Decide<T>): Promise<T | Refused> {
    let seen = this.#view.get(group);
    let proof: Proof = this.#view.isSynced ? "in_step" : "anything";
    let late: T | undefined;
    for (let conflicts = 0; conflicts <= MAX_CONFLICTS;) {
      const decision = seen && decide(seen.state, late);
      if (decision?.kind === "answer" && isEnough(proof, decision.needs)) return decision.answer;
      const running = this.#running.get(group);
      if (running !== undefined || seen === undefined || decision?.kind !== "write") {
        const observation = await (running ?? this.#read(group));
        seen = observation.found;
        proof = observation.ticket > arrival ? "fresh" : "in_step";
        continue;
      }
      const observation = await this.#write(group, seen, decision.next);
      seen = observation.found;
      proof = "fresh";
      if (observation.wrote) {
        late = decision.answer(seen.state);
        if (this.#clock.monotonic() - observation.began <= PROOF_TTL_MS) return late;
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

  /** Writes. After a conflict, it reads the group in the same turn. */
  #write(group: Group, expected: Versioned, next: GroupState): Promise<Observation> {
    return this.#run(group, async () => {
      const written = await this.#store.write(group, expected, next);
      return written === "conflict"
        ? { found: await this.#store.read(group), wrote: false }
        : { found: written, wrote: true };
    });
  }

  /** Runs an operation on a group. The caller makes sure that no other one runs. */
  #run(group: Group, operate: () => Promise<{ found: Versioned; wrote: boolean }>): Promise<Observation> {
    const ticket = this.arrive();
    const began = this.#clock.monotonic();
    const operation = (async () => {
      try {
        const result = await operate();
        this.#lastFailed = false;
        this.#view.learn(group, result.found);
        return { ...result, ticket, began };
      } catch (error) {
        this.#lastFailed = true;
        throw error;
      } finally {
        this.#running.delete(group);
      }
    })();
    this.#running.set(group, operation);
    return operation;
  }
}

function isEnough(proof: Proof, needed: Proof): boolean {
  return PROOFS.indexOf(proof) >= PROOFS.indexOf(needed);
}
