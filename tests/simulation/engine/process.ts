/**
 * A process of a replica, as far as time is concerned: it can be paused, resumed and killed, and it has a clock of its
 * own, whose wall time may be wrong. A killed process never goes on: nothing that it waits for arrives.
 *
 * @module
 */

import type { Clock } from "../../../src/lock/clock.ts";
import type { Owner, ScheduledEvent, Scheduler } from "./scheduler.ts";

/** See the module. */
export class SimulatedProcess implements Owner, Clock {
  /** How far its wall clock is ahead, in milliseconds. It may be changed at any time. */
  offsetMs = 0;
  readonly #scheduler: Scheduler;
  readonly #bootedAt: number;
  readonly #sleeping = new Set<ScheduledEvent>();
  #isDead = false;
  #backlog: ScheduledEvent[] | undefined;
  readonly #killed: (() => void)[] = [];

  /** Starts one now. */
  constructor(scheduler: Scheduler) {
    this.#scheduler = scheduler;
    this.#bootedAt = scheduler.now - 10_000;
  }

  /** See {@link Owner.isDead}. */
  get isDead(): boolean {
    return this.#isDead;
  }

  /** See {@link Owner.backlog}. */
  get backlog(): ScheduledEvent[] | undefined {
    return this.#backlog;
  }

  /** How many of its waits are under way. */
  get sleeping(): number {
    return this.#sleeping.size;
  }

  /** Ends it for good. */
  kill(): void {
    this.#isDead = true;
    this.#backlog = undefined;
    for (const call of this.#killed.splice(0)) call();
  }

  /** Calls `call` when it is killed. */
  whenKilled(call: () => void): void {
    this.#killed.push(call);
  }

  /** Stops it as SIGSTOP does. Its monotonic clock goes on. */
  pause(): void {
    this.#backlog ??= [];
  }

  /** Lets it go on. */
  resume(): void {
    const events = this.#backlog ?? [];
    this.#backlog = undefined;
    this.#scheduler.release(events);
  }

  /** See {@link Clock.now}. */
  now(): number {
    return this.#scheduler.now + this.offsetMs;
  }

  /** See {@link Clock.monotonic}. */
  monotonic(): number {
    return this.#scheduler.now - this.#bootedAt;
  }

  /** See {@link Clock.sleep}. */
  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    if (signal?.aborted) return Promise.reject(signal.reason);
    if (!(ms >= 0)) throw new RangeError(`Cannot sleep for ${ms} ms`);
    return new Promise((resolve, reject) => {
      const event = this.#scheduler.after(ms, () => {
        this.#sleeping.delete(event);
        signal?.removeEventListener("abort", abort);
        resolve();
      }, this);
      const abort = () => {
        this.#sleeping.delete(event);
        this.#scheduler.cancel(event);
        reject(signal!.reason);
      };
      this.#sleeping.add(event);
      signal?.addEventListener("abort", abort, { once: true });
    });
  }
}
