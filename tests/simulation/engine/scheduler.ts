/**
 * Virtual time. One queue of events orders everything that happens in a run, and between two events all microtasks of
 * the code under test are run. It knows nothing of what the events do.
 *
 * The code under test waits for nothing but its clock, its network and its requests, which all are events here. So one
 * turn of the event loop between two events drains everything that can go on, and a seed determines the run.
 *
 * @module
 */

import { setImmediate } from "node:timers";

/** Whose events these are. The events of a dead owner are dropped, and those of a paused one wait. */
export interface Owner {
  /** Whether it has ended. */
  readonly isDead: boolean;
  /** The events that wait while it is paused; undefined while it is not. */
  readonly backlog: ScheduledEvent[] | undefined;
}

/** An event in the queue. */
export interface ScheduledEvent {
  /** When it happens, in milliseconds since the epoch. */
  readonly at: number;
  /** The order among events of the same time. */
  readonly order: number;
  /** What happens; undefined once it is cancelled. */
  run: (() => void) | undefined;
  /** Whose it is; undefined for the world's. */
  readonly owner: Owner | undefined;
}

/** How many events may happen at one time: more of them mean that something repeats itself without a pause. */
const MAX_AT_ONCE = 100_000;

/** See the module. */
export class Scheduler {
  /** Takes what an event throws. By default, it ends the run. */
  onThrow: (error: unknown) => void = (error) => {
    throw error;
  };
  readonly #heap: ScheduledEvent[] = [];
  #now: number;
  #order = 0;
  #count = 0;

  /** Starts at a time, in milliseconds since the epoch. */
  constructor(now: number) {
    this.#now = now;
  }

  /** The true time, in milliseconds since the epoch. */
  get now(): number {
    return this.#now;
  }

  /** How many events have happened. */
  get count(): number {
    return this.#count;
  }

  /** Adds an event that happens after a while, in milliseconds. */
  after(ms: number, run: () => void, owner?: Owner): ScheduledEvent {
    const event: ScheduledEvent = { at: this.#now + Math.max(ms, 0), order: this.#order++, run, owner };
    push(this.#heap, event);
    return event;
  }

  /** Takes an event out. */
  cancel(event: ScheduledEvent): void {
    event.run = undefined;
  }

  /** Waits. For the actors of the world, which nothing stops. */
  sleep(ms: number): Promise<void> {
    return new Promise((resolve) => this.after(ms, resolve));
  }

  /** Puts the events that waited for an owner back into the queue, in their order. */
  release(events: readonly ScheduledEvent[]): void {
    for (const { run, owner } of events) if (run !== undefined) this.after(0, run, owner);
  }

  /**
   * Lets events happen until a condition is met.
   *
   * @param until The latest time, in milliseconds since the epoch. It is the time then where the condition was not met.
   * @returns Whether the condition was met.
   * @throws {Error} Time stands still.
   */
  async run(isDone: () => boolean, until: number): Promise<boolean> {
    let atOnce = 0;
    while (!isDone()) {
      const next = this.#heap[0];
      if (next === undefined || next.at > until) {
        this.#now = Math.max(this.#now, until);
        return false;
      }
      pop(this.#heap);
      if (next.run === undefined || next.owner?.isDead) continue;
      atOnce = next.at > this.#now ? 0 : atOnce + 1;
      if (atOnce > MAX_AT_ONCE) throw new Error(`time stands still: ${MAX_AT_ONCE} events at one time`);
      this.#now = Math.max(this.#now, next.at);
      if (next.owner?.backlog !== undefined) {
        next.owner.backlog.push(next);
        continue;
      }
      this.#count++;
      const { run } = next;
      next.run = undefined;
      try {
        run();
      } catch (error) {
        this.onThrow(error);
      }
      await turn();
    }
    return true;
  }
}

/** Runs all microtasks. */
export function turn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}

function isBefore(one: ScheduledEvent, other: ScheduledEvent): boolean {
  return one.at < other.at || (one.at === other.at && one.order < other.order);
}

function push(heap: ScheduledEvent[], event: ScheduledEvent): void {
  let index = heap.length;
  heap.push(event);
  while (index > 0) {
    const parent = (index - 1) >> 1;
    if (!isBefore(event, heap[parent]!)) break;
    heap[index] = heap[parent]!;
    index = parent;
  }
  heap[index] = event;
}

function pop(heap: ScheduledEvent[]): void {
  const last = heap.pop()!;
  if (heap.length === 0) return;
  let index = 0;
  for (;;) {
    let child = 2 * index + 1;
    if (child >= heap.length) break;
    if (child + 1 < heap.length && isBefore(heap[child + 1]!, heap[child]!)) child++;
    if (!isBefore(heap[child]!, last)) break;
    heap[index] = heap[child]!;
    index = child;
  }
  heap[index] = last;
}
