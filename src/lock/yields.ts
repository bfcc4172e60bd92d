/**
 * Frees the slots of hosts that cannot reboot, so that one node never stops its
 * group: the drain of the node has timed out where the rule is to yield, or
 * somebody paused the group with its drains. First comes the conditional write that
 * frees the slot, only while the hold has had no yes; then our cordon is lifted. If
 * the process ends in between, the node keeper's cordon repair lifts it.
 *
 * A request that waits for its drain yields by itself. {@link Yields.run} does it
 * where nobody asks: for the drains of this process as they time out, and a little
 * later for every other hold, since the replica that drained it may be gone. Such a
 * drain is begun again, tries each pod once, and then says which pods are left.
 *
 * @module
 */

import type { Clock } from "./clock.ts";
import { UnavailableError } from "./errors.ts";
import { pauseAt } from "./group_notes.ts";
import type { GroupView } from "./group_view.ts";
import type { YieldCause } from "./hold_outcomes.ts";
import type { Holds } from "./holds.ts";
import { type AgeBounds, ageWithin } from "./hold_ages.ts";
import type { Group } from "./identity.ts";
import type { DrainOutcome, DrainRule, Hold, NodeKeeper } from "./node_keeper.ts";
import type { Deferral, Pause } from "./policy.ts";
import { type Refused, refused, refusedFor } from "./outcomes.ts";
import { type GroupState, type Holder, holderOf, mayHaveHadYes } from "./semaphore.ts";
import { WakeableSleep } from "./wakeable_sleep.ts";
import { describeDeferral, describePause } from "./wording.ts";

/** What {@link Yields} works with. */
export interface YieldsOptions {
  /** Drains the nodes, and lifts their cordons. Without one, nothing yields. */
  readonly keeper?: NodeKeeper;
  /** How the nodes of a group are drained. */
  readonly ruleOf: (group: Group) => DrainRule;
  /** How old a hold is, as far as this process has seen that by itself. */
  readonly ageOf: (group: Group, holder: Holder) => AgeBounds;
  /** The time by which holds are granted. */
  readonly clock: Clock;
  /** A number from 0 (inclusive) to 1, for jitter. */
  readonly random: () => number;
}

/** The time-out of a drain where nobody said one, in milliseconds: the node keeper's. */
const TIMEOUT_MS = 15 * 60_000;

/**
 * How long after its time-out a hold that another replica drains is looked at, in milliseconds, and how much that
 * varies.
 */
const GRACE_MS = 30_000;

/** How long one look at a drain that has timed out waits for its end, in milliseconds. */
const WAIT_MS = 60_000;

/**
 * The pause before a hold that did not yield is looked at again, in milliseconds. A changed rule is noticed as late.
 */
const AGAIN_MS = 30_000;

/** The longest sleep while there is nothing to yield, in milliseconds. A change of a group ends it. */
const IDLE_MS = 3_600_000;

/** What is remembered of a hold that may have to yield. */
interface Watched {
  /** How long after its time-out to look at it, in milliseconds. */
  graceMs: number;
  /** Not before this time, by the monotonic clock. */
  notBefore: number;
  /** Whether it is being looked at. */
  isBusy: boolean;
}

/** See the module. */
export class Yields {
  readonly #holds: Holds;
  readonly #view: GroupView;
  readonly #options: YieldsOptions;
  readonly #sleep: WakeableSleep;
  readonly #watched = new Map<string, Watched>();

  /** Watches the holds in `view`. */
  constructor(holds: Holds, view: GroupView, options: YieldsOptions) {
    this.#holds = holds;
    this.#view = view;
    this.#options = options;
    this.#sleep = new WakeableSleep(options.clock);
  }

  /** Makes what the keeper is asked to drain. From now on, this process looks after the hold. */
  toDrain(holder: Holder, group: Group): Hold {
    const { id, since, node, isNodeUnreadable } = holder;
    const rule = this.#options.ruleOf(group);
    if (rule.onTimeout === "yield" && !mayHaveHadYes(holder)) {
      const watched = this.#watch(group, holder);
      // The watch may have shown the grant already.
      if (watched.graceMs > 0) this.#sleep.wake();
      watched.graceMs = 0;
    }
    return { group, id, since, node, isNodeUnreadable, rule, age: this.#options.ageOf(group, holder) };
  }

  /**
   * Yields where a drain has timed out and its rule is to do so.
   *
   * @returns The refusal of the client; undefined where the hold stays.
   * @throws {UnavailableError} The store failed; whether the slot was freed is unknown.
   */
  async afterDrain(
    holder: Holder,
    group: Group,
    { yields, pods }: Extract<DrainOutcome, { kind: "failed" }>,
  ): Promise<Refused | undefined> {
    if (yields !== true) return undefined;
    const outcome = await this.#yield(holder, group, { kind: "timed_out", pods });
    switch (outcome.kind) {
      case "yielded":
        return refuseDeferred(outcome.deferral);
      case "stays":
        return undefined;
      case "not_held":
        // Who waits for the drain beside this request was faster.
        return refuseDeferred(outcome.state.notes?.deferred?.find(({ id }) => id === holder.id));
      case "refused":
        return outcome;
    }
  }

  /**
   * Yields where the group is paused with its drains.
   *
   * @param state The group's state, as a write of this request has returned it.
   * @returns The refusal of the client; undefined where the hold stays.
   * @throws {UnavailableError} The store failed; whether the slot was freed is unknown.
   */
  async toPause(holder: Holder, group: Group, { notes }: GroupState): Promise<Refused | undefined> {
    const pause = pauseAt(notes, this.#options.clock.now());
    if (pause?.drains !== true || mayHaveHadYes(holder)) return undefined;
    const outcome = await this.#yield(holder, group, { kind: "paused" });
    switch (outcome.kind) {
      case "yielded":
        return refusePaused(pause, group);
      case "stays":
        return undefined;
      case "not_held":
        return this.refuseEnded(holder, group, outcome.state);
      case "refused":
        return outcome;
    }
  }

  /**
   * Tells a client that its hold has ended during its request: by the pause of the group where one stands, to which a
   * drain in the background may have yielded.
   *
   * @param state The group's state. @default as it was seen last
   */
  refuseEnded(
    { id, since }: Holder,
    group: Group,
    state: GroupState | undefined = this.#view.get(group)?.state,
  ): Refused {
    const pause = pauseAt(state?.notes, this.#options.clock.now());
    const hasEnded = state !== undefined && holderOf(state, id)?.since !== since;
    return hasEnded && pause !== undefined ? refusePaused(pause, group) : refused({ kind: "contended" });
  }

  /** Has {@link run} look at the groups again. */
  groupChanged(): void {
    this.#sleep.wake();
  }

  /** Yields where nobody asks, until the signal aborts. Does not throw. */
  async run(signal: AbortSignal): Promise<void> {
    if (this.#options.keeper === undefined) return;
    const running = new Set<Promise<void>>();
    while (!signal.aborted) {
      const { due, nextInMs } = this.#due();
      for (const [watched, look] of due) {
        watched.isBusy = true;
        const one: Promise<void> = look(signal).finally(() => {
          watched.isBusy = false;
          watched.notBefore = this.#options.clock.monotonic() + AGAIN_MS;
          running.delete(one);
          this.#sleep.wake();
        });
        running.add(one);
      }
      await this.#sleep.sleep(nextInMs, signal);
    }
    await Promise.all(running);
  }

  /** Finds the holds to look at now, and when to look again. Forgets the holds that are over. */
  #due(): { due: [Watched, (signal: AbortSignal) => Promise<void>][]; nextInMs: number } {
    const { clock, ruleOf, ageOf } = this.#options;
    const due: [Watched, (signal: AbortSignal) => Promise<void>][] = [];
    const current = new Set<string>();
    let nextInMs = IDLE_MS;
    for (const [group, { state }] of this.#view.groups) {
      const isPaused = pauseAt(state.notes, clock.now())?.drains === true;
      const rule = ruleOf(group);
      for (const holder of state.holders) {
        if (mayHaveHadYes(holder)) continue;
        const watched = this.#watch(group, holder);
        current.add(keyOf(group, holder));
        if (watched.isBusy) continue;
        // The rule may change while the group does not.
        const yieldsAfterMs = rule.onTimeout === "yield" ? (rule.timeoutMs ?? TIMEOUT_MS) + watched.graceMs : undefined;
        const ageMs = ageWithin(clock.now() - holder.since, ageOf(group, holder));
        const timeLeftMs = isPaused || yieldsAfterMs === undefined ? 0 : yieldsAfterMs - ageMs;
        // A fraction of a millisecond may be too short for a sleep to pass it.
        const leftMs = Math.ceil(Math.max(watched.notBefore - clock.monotonic(), timeLeftMs));
        if (leftMs > 0) nextInMs = Math.min(nextInMs, leftMs, AGAIN_MS);
        else if (isPaused) due.push([watched, () => this.#lookAtPaused(holder, group, state)]);
        else if (yieldsAfterMs !== undefined) due.push([watched, (signal) => this.#lookAtLate(holder, group, signal)]);
        else nextInMs = Math.min(nextInMs, AGAIN_MS);
      }
    }
    for (const key of this.#watched.keys()) if (!current.has(key)) this.#watched.delete(key);
    return { due, nextInMs };
  }

  async #lookAtPaused(holder: Holder, group: Group, state: GroupState): Promise<void> {
    try {
      await this.toPause(holder, group, state);
    } catch (error) {
      if (!(error instanceof UnavailableError)) throw error;
    }
  }

  /** Lets the drain end whose time-out has passed, or tries it once more, and yields where it fails again. */
  async #lookAtLate(holder: Holder, group: Group, signal: AbortSignal): Promise<void> {
    try {
      // The view may be behind, and a node is drained only for a hold that is there.
      const hold = await this.#holds.reread(holder, group);
      if (hold === undefined || mayHaveHadYes(hold)) return;
      const outcome = await this.#options.keeper!.drain(this.toDrain(hold, group), WAIT_MS, signal);
      // What else it ends in is for the client's next request to find: without one, nobody is told a yes.
      if (outcome.kind === "failed") await this.afterDrain(hold, group, outcome);
    } catch (error) {
      if (!(error instanceof UnavailableError)) throw error;
    }
  }

  async #yield(holder: Holder, group: Group, cause: YieldCause): ReturnType<Holds["yield"]> {
    const outcome = await this.#holds.yield(holder, group, cause);
    if (outcome.kind !== "yielded") return outcome;
    try {
      await this.#options.keeper?.uncordon(group, holder.id, holder.since);
    } catch (error) {
      // The slot is free for others, and the cordon is stale now: the keeper's repair lifts it.
      if (!(error instanceof UnavailableError)) throw error;
    }
    return outcome;
  }

  #watch(group: Group, holder: Holder): Watched {
    const key = keyOf(group, holder);
    const known = this.#watched.get(key) ??
      { graceMs: GRACE_MS * (1 + this.#options.random()), notBefore: -Infinity, isBusy: false };
    this.#watched.set(key, known);
    return known;
  }
}

/** Tells a client that its group is paused. */
function refusePaused(pause: Pause, group: Group): Refused {
  const { until } = pause;
  const sentence = describePause(pause, group);
  return refusedFor([{ kind: "paused", rule: "paused", sentence, ...(until !== undefined && { until }) }])!;
}

/** Tells a client that it has yielded. */
function refuseDeferred(deferral: Deferral | undefined): Refused | undefined {
  if (deferral === undefined) return refused({ kind: "contended" });
  const { until } = deferral;
  return refusedFor([{ kind: "deferred", rule: "drain.onTimeout", sentence: describeDeferral(deferral), until }]);
}

/** Names a hold. */
function keyOf(group: Group, { id, since }: Holder): string {
  return JSON.stringify([group, id, since]);
}
