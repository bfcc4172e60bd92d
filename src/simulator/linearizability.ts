/**
 * The exact check of a short history: searches for an order of the operations,
 * each placed between its invocation and its completion, in which a counting
 * semaphore gives the same replies. It tries all orders that matter, so its cost
 * may grow exponentially with the number of concurrent operations. For long
 * histories, the checker has faster tests.
 *
 * @module
 */

import { effectOf } from "./effects.ts";
import type { Operation } from "./history.ts";

/** Options of {@link findLinearization}. */
export interface LinearizationOptions {
  /** How many slots the group has. */
  readonly slots: number;
  /**
   * How long after its invocation an operation of unknown outcome can take effect, in nanoseconds.
   *
   * @default {Infinity}
   */
  readonly lateNs?: number;
  /** How old the state that a refusal is based on may be at its invocation, in nanoseconds. @default {0} */
  readonly refusalWindowNs?: number;
  /** How many states to examine before the search gives up. @default {200_000} */
  readonly maxStates?: number;
}

/** What {@link findLinearization} found. */
export type Linearization =
  | { readonly kind: "linearizable" }
  /** No order explains `operation`. An order explains all before it, and leaves one of the sets in `holders`. */
  | {
    readonly kind: "violation";
    readonly operation: Operation;
    readonly holders: readonly (readonly string[])[];
    /** The operations in progress at that time. */
    readonly pending: readonly Operation[];
  }
  /** The search gave up. */
  | { readonly kind: "undecided" };

/** An operation of the model. */
interface Step {
  readonly id: number;
  readonly operation: Operation;
  readonly kind: "acquire" | "release" | "full";
  /** Whether the order must contain it. */
  readonly required: boolean;
  /** Whether no other step of the client that can change the lock is possible at the same time. */
  readonly alone: boolean;
  readonly from: number;
  readonly to: number;
}

/** A state that the operations so far can have produced. */
interface Configuration {
  /** The clients that hold a slot, sorted. */
  readonly holders: readonly string[];
  /** The ids of the steps in progress that are already in the order, sorted. */
  readonly done: readonly number[];
}

/**
 * Searches for an order of one group's operations that explains every reply.
 *
 * The search adds a step to the order as late as possible: when the step
 * completes, it tries which of the steps in progress may have come before it. It
 * keeps every state that this can produce, without duplicates.
 */
export function findLinearization(history: readonly Operation[], options: LinearizationOptions): Linearization {
  const { slots, lateNs = Infinity, refusalWindowNs = 0, maxStates = 200_000 } = options;
  const steps = markAlone(history.flatMap((operation, id) => toStep(operation, id, lateNs, refusalWindowNs)));
  const events = steps.flatMap((step) => [{ at: step.from, begin: true, step }, { at: step.to, begin: false, step }])
    .sort((a, b) => a.at - b.at || Number(b.begin) - Number(a.begin));

  const pending = new Map<number, Step>();
  let states = 0;
  let configurations: Configuration[] = [{ holders: [], done: [] }];

  for (const { begin, step } of events) {
    if (begin) {
      pending.set(step.id, step);
      // The other steps in progress have been settled in these states before.
      configurations = unique(configurations.map((each) => settle(each, [step], slots)));
      continue;
    }
    const next = new Map<string, Configuration>();
    const keep = ({ holders, done }: Configuration) => {
      const without = { holders, done: done.filter((id) => id !== step.id) };
      next.set(keyOf(without), without);
    };
    for (const configuration of configurations) {
      const done = configuration.done.includes(step.id);
      if (done || !step.required) keep(configuration);
      if (done) continue;
      if ((states += explore(configuration, step, pending, slots, keep, maxStates - states)) >= maxStates) {
        return { kind: "undecided" };
      }
    }
    pending.delete(step.id);
    if (next.size === 0) {
      return {
        kind: "violation",
        operation: step.operation,
        holders: configurations.map((each) => each.holders),
        pending: [...pending.values()].map((each) => each.operation),
      };
    }
    configurations = [...next.values()];
  }
  return { kind: "linearizable" };
}

function toStep(operation: Operation, id: number, lateNs: number, refusalWindowNs: number): Step[] {
  if (operation.outcome === "refused" && operation.kind === "lock_held") {
    const from = operation.invoked - refusalWindowNs;
    return [{ id, operation, kind: "full", required: true, alone: false, from, to: operation.completed! }];
  }
  const effect = effectOf(operation, lateNs);
  if (effect === undefined) return [];
  const kind = operation.operation === "pre-reboot" ? "acquire" : "release";
  return [{ id, operation, kind, required: effect.certain, alone: false, from: effect.from, to: effect.to }];
}

/** Sets {@link Step.alone} of every step. */
function markAlone(steps: readonly Step[]): Step[] {
  const shared = new Set<number>();
  const changing = steps.filter((step) => step.kind !== "full");
  for (const own of Map.groupBy(changing, (step) => step.operation.client).values()) {
    own.sort((a, b) => a.from - b.from);
    let latest: Step | undefined;
    for (const step of own) {
      if (latest !== undefined && step.from <= latest.to) shared.add(step.id).add(latest.id);
      if (latest === undefined || step.to > latest.to) latest = step;
    }
  }
  return steps.map((step) => ({ ...step, alone: step.kind !== "full" && !shared.has(step.id) }));
}

/** Finds every state in which `target` is in the order, after any steps in progress that may come before it. */
function explore(
  start: Configuration,
  target: Step,
  pending: ReadonlyMap<number, Step>,
  slots: number,
  found: (configuration: Configuration) => void,
  maxStates: number,
): number {
  const seen = new Set([keyOf(start)]);
  const open = [start];
  for (let current = open.pop(); current !== undefined && seen.size < maxStates; current = open.pop()) {
    for (const step of pending.values()) {
      if (step.kind === "full" || current.done.includes(step.id)) continue;
      const holders = apply(step, current.holders, slots);
      if (holders === undefined) continue;
      const next = settle({ holders, done: insert(current.done, step.id) }, pending.values(), slots);
      const key = keyOf(next);
      if (seen.has(key)) continue;
      seen.add(key);
      if (next.done.includes(target.id)) found(next);
      else open.push(next);
    }
  }
  return seen.size;
}

/** The model: the holders after a step; undefined when the step is impossible now, or optional and without effect. */
function apply(step: Step, holders: readonly string[], slots: number): readonly string[] | undefined {
  const { client } = step.operation;
  const holds = holders.includes(client);
  if (step.kind === "release") {
    if (holds) return holders.filter((holder) => holder !== client);
    return step.required ? holders : undefined;
  }
  if (holds) return step.required ? holders : undefined;
  return holders.length < slots ? insert(holders, client) : undefined;
}

/**
 * Adds the steps in progress that change nothing in this state to the order: the refusals that the state explains, and
 * releases without a hold and grants to a holder if no other step of the client can make them change something.
 * Because they change nothing, no other order explains more, and the search need not try their orders.
 */
function settle(configuration: Configuration, steps: Iterable<Step>, slots: number): Configuration {
  const { holders } = configuration;
  const isFull = holders.length >= slots;
  const done = new Set(configuration.done);
  const added: number[] = [];
  for (const step of steps) {
    if (step.kind === "full" ? !isFull : !step.alone) continue;
    const holds = holders.includes(step.operation.client);
    const changesNothing = step.kind === "acquire" ? holds : !holds;
    if (changesNothing && !done.has(step.id)) added.push(step.id);
  }
  if (added.length === 0) return configuration;
  return { holders, done: [...configuration.done, ...added].sort((a, b) => a - b) };
}

function insert<T extends string | number>(sorted: readonly T[], item: T): readonly T[] {
  const at = sorted.findIndex((each) => each > item);
  return at < 0 ? [...sorted, item] : [...sorted.slice(0, at), item, ...sorted.slice(at)];
}

function keyOf({ holders, done }: Configuration): string {
  return `${holders.join(",")}|${done.join(",")}`;
}

function unique(configurations: readonly Configuration[]): Configuration[] {
  return [...new Map(configurations.map((each) => [keyOf(each), each])).values()];
}
