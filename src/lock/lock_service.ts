/**
 * The two operations of the protocol: read, decide, write conditionally, and
 * again where another was quicker. It owns when the store is asked and what a
 * yes rests on; what a slot is belongs to the semaphore, where locks are kept to
 * the store.
 *
 * @module
 */

import { type Clock, systemClock } from "./clock.ts";
import { GroupView } from "./group_view.ts";
import type { ClientId, Group } from "./identity.ts";
import { ABSENT, type LockStore, StoreUnavailableError, type Versioned } from "./lock_store.ts";
import { acquire, type GroupState, type Holder, holderOf, release } from "./semaphore.ts";

/** Why a slot is not given now. The client may ask again. */
export type Refusal =
  /** Every slot is taken. */
  | { readonly kind: "lock_held"; readonly holders: readonly Holder[]; readonly slots: number }
  /** Others changed the group again and again while this request tried. */
  | { readonly kind: "contended" }
  /** The group is new, and there are as many as may be. */
  | { readonly kind: "too_many_groups"; readonly limit: number };

/** The outcome of {@link LockService.preReboot}. */
export type PreRebootOutcome =
  /** The client took a slot. */
  | { readonly kind: "granted"; readonly holder: Holder }
  /** The client held a slot before, and still does. */
  | { readonly kind: "renewed"; readonly holder: Holder }
  | { readonly kind: "refused"; readonly refusal: Refusal };

/** The outcome of {@link LockService.steadyState}. */
export type SteadyStateOutcome =
  /** The client gave its slot back, which it had been holding as `holder` says. */
  | { readonly kind: "released"; readonly holder: Holder }
  /** The client held nothing. */
  | { readonly kind: "not_held" }
  | { readonly kind: "refused"; readonly refusal: Refusal };

/** Options of {@link LockService}. */
export interface LockServiceOptions {
  /** How many clients of a group may reboot at a time. @default {1} */
  readonly slots?: number;
  /** How many groups there may be; a further one is refused. @default {64} */
  readonly maxGroups?: number;
  /** @default {systemClock} */
  readonly clock?: Clock;
  /** A number from 0 (inclusive) to 1, for jitter. @default {Math.random} */
  readonly random?: () => number;
  /** Told when the watch of the store gets in step (undefined) and when it falls behind (the reason). */
  readonly onWatch?: (lost?: unknown) => void;
}

/** How often a write is tried against others' before the client is sent away. */
const MAX_CONFLICTS = 10;

/** The longest first pause after a conflict; it doubles with each. */
const CONFLICT_PAUSE_MS = 10;

/**
 * How long a write's proof may lie back when the yes is given. A process that
 * was paused in between must not give it: the world has moved on.
 */
const PROOF_TTL_MS = 15_000;

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
 * {@link "./lock_store.ts".StoreUnavailableError}; after one, the same request
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
  readonly #clock: Clock;
  readonly #random: () => number;
  readonly #running = new Map<Group, Promise<Observation>>();
  #ticket = 0;

  /** @param store Where the locks are. The caller owns it and closes it after the service's last request. */
  constructor(store: LockStore, options: LockServiceOptions = {}) {
    this.#store = store;
    this.slots = options.slots ?? 1;
    this.#maxGroups = options.maxGroups ?? 64;
    this.#clock = options.clock ?? systemClock;
    this.#random = options.random ?? Math.random;
    const onWatch = options.onWatch ?? (() => {});
    this.#view = new GroupView({ synced: () => onWatch(), lost: (reason) => onWatch(reason) });
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
      if (error instanceof StoreUnavailableError) return this.#view.groups;
      throw error;
    }
  }

  /**
   * Asks the store whether it answers, unless the watch shows it.
   *
   * @param group Any group; it need not exist.
   * @throws {StoreUnavailableError} It does not.
   */
  async probe(group: Group): Promise<void> {
    if (!this.#view.isSynced) await this.#store.read(group);
  }

  /**
   * A client asks for a slot of its group, or whether it still holds one.
   *
   * @throws {StoreUnavailableError} The store failed; whether a slot was taken is unknown.
   */
  async preReboot(id: ClientId, group: Group): Promise<PreRebootOutcome> {
    let seen = this.#view.get(group);
    let current = this.#view.isSynced;
    let granted = false;
    for (let conflicts = 0; conflicts <= MAX_CONFLICTS;) {
      const now = this.#clock.now();
      const wish = seen && acquire(seen.state, id, this.slots, now);
      if (wish?.kind === "full" && current) {
        return refused({ kind: "lock_held", holders: seen!.state.holders, slots: this.slots });
      }
      const running = this.#running.get(group);
      if (running !== undefined) {
        seen = (await running).found;
        current = true;
        continue;
      }
      if (wish === undefined || wish.kind === "full") {
        seen = (await this.#read(group)).found;
        current = true;
        continue;
      }
      if (seen!.version === ABSENT.version && !(await this.#mayCreate())) {
        return refused({ kind: "too_many_groups", limit: this.#maxGroups });
      }
      // Between the look above and here another request may have begun an operation (mayCreate waits).
      if (this.#running.has(group)) continue;
      const outcome = await this.#write(group, seen!, wish.next);
      seen = outcome.found;
      current = true;
      if (!outcome.wrote) {
        await this.#pause(conflicts++);
        continue;
      }
      granted ||= wish.kind === "grant";
      if (this.#clock.monotonic() - outcome.began <= PROOF_TTL_MS) {
        return { kind: granted ? "granted" : "renewed", holder: holderOf(seen.state, id)! };
      }
      conflicts++;
    }
    return refused({ kind: "contended" });
  }

  /**
   * A client says that it runs and needs its slot no more. One that holds none is told so.
   *
   * @throws {StoreUnavailableError} The store failed; whether the slot was freed is unknown.
   */
  async steadyState(id: ClientId, group: Group): Promise<SteadyStateOutcome> {
    const arrival = ++this.#ticket;
    let seen = this.#view.isSynced ? this.#view.get(group) : undefined;
    let proven = false;
    let held: Holder | undefined;
    for (let conflicts = 0; conflicts <= MAX_CONFLICTS;) {
      const wish = seen && release(seen.state, id, this.#clock.now());
      if (wish?.kind === "not_held" && proven) return { kind: "not_held" };
      const running = this.#running.get(group);
      if (running !== undefined || wish === undefined || wish.kind === "not_held") {
        // Only what began after this request came proves that the client holds nothing.
        const observation: Observation = await (running ?? this.#read(group));
        seen = observation.found;
        proven = observation.ticket > arrival;
        continue;
      }
      held = holderOf(seen!.state, id);
      const outcome = await this.#write(group, seen!, wish.next);
      if (outcome.wrote) return { kind: "released", holder: held! };
      seen = outcome.found;
      proven = true;
      await this.#pause(conflicts++);
    }
    return refused({ kind: "contended" });
  }

  async #mayCreate(): Promise<boolean> {
    return (await this.groups()).size < this.#maxGroups;
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
        this.#view.learn(group, result.found);
        return { ...result, ticket, began };
      } finally {
        this.#running.delete(group);
      }
    })();
    this.#running.set(group, operation);
    return operation;
  }

  #pause(conflicts: number): Promise<void> {
    return this.#clock.sleep(this.#random() * CONFLICT_PAUSE_MS * 2 ** conflicts);
  }
}

function refused(refusal: Refusal): { kind: "refused"; refusal: Refusal } {
  return { kind: "refused", refusal };
}
