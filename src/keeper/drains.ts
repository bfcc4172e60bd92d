/**
 * The drains that run in this process, and what it remembers of each hold's drains. It decides neither what to drain
 * nor when a hold is over.
 *
 * @module
 */

import type { Clock } from "../lock/clock.ts";
import { type AgeBounds, isSameHold } from "../lock/hold_ages.ts";
import type { ClientId, Group } from "../lock/identity.ts";
import type { DrainRule, PodLeft } from "../lock/node_keeper.ts";
import type { HeldNode } from "../lock/semaphore.ts";
import { Drain, type DrainEnd } from "./drain/drain.ts";
import { DrainMemory } from "./drain/drain_memory.ts";
import type { DrainContext, DrainOptions, DrainTask } from "./drain/drain_task.ts";
import type { CordonOwner } from "./nodes/cordon.ts";
import { isSameClient } from "./nodes/zincati_id.ts";

/** Told when drains begin and end. The methods must not throw. */
export interface DrainsListener {
  /** A drain begins. */
  drainBegan(task: DrainTask): void;
  /** A drain ended, by itself or (with `end` undefined) by a fault. */
  drainEnded(task: DrainTask, end: DrainEnd | undefined, error?: unknown): void;
}

/**
 * The first and the longest pause between two drains that were for nothing, in milliseconds; it doubles with each. Pods
 * come and go within seconds. Anything else waits for a person or a controller.
 */
const PODS_PAUSE_MS = { first: 500, longest: 5_000 };
const OTHER_PAUSE_MS = { first: 2_000, longest: 10_000 };

/** The pauses between the drains of one Node of a hold, over all requests. */
export class DrainPace {
  readonly #clock: Pick<Clock, "monotonic">;
  #pauseMs = 0;
  #notBefore = -Infinity;

  /** Makes one that asks for no pause yet. */
  constructor(clock: Pick<Clock, "monotonic">) {
    this.#clock = clock;
  }

  /** How long to wait until the next drain, in milliseconds. */
  get leftMs(): number {
    return Math.max(this.#notBefore - this.#clock.monotonic(), 0);
  }

  /** Notes that what a drain found was not true for long: another one at once would find the same. */
  failed(isForPods: boolean): void {
    const { first, longest } = isForPods ? PODS_PAUSE_MS : OTHER_PAUSE_MS;
    this.#pauseMs = Math.min(Math.max(this.#pauseMs * 2, first), longest);
    this.#notBefore = this.#clock.monotonic() + this.#pauseMs;
  }
}

/** What the drains of a hold wait for. */
export interface DrainLeft {
  /** The pods that are left. */
  readonly pods: readonly PodLeft[];
  /** How many of them a budget holds back. */
  readonly blocked: number;
}

/** What is remembered of a Node of a hold. */
interface RememberedNode {
  readonly memory: DrainMemory;
  readonly pace: DrainPace;
}

/** What is remembered of a hold. */
interface Remembered {
  readonly owner: CordonOwner;
  /** By the UID. The host of a hold may move from one Node to another. */
  readonly nodes: Map<string, RememberedNode>;
}

/** See the module. Dispose of it to stop the drains where they are. */
export class Drains implements AsyncDisposable {
  readonly #options: DrainOptions;
  readonly #context: DrainContext;
  readonly #listener: DrainsListener;
  readonly #clock: Pick<Clock, "monotonic">;
  /** By hold and node. A hold has several while its host moves from one Node to another. */
  readonly #running = new Map<string, Drain>();
  readonly #memories = new Map<string, Remembered>();
  #isClosing = false;

  /** Makes one without drains. `clock` measures the pauses between them. */
  constructor(
    options: DrainOptions,
    context: DrainContext,
    listener: DrainsListener,
    clock: Pick<Clock, "monotonic">,
  ) {
    this.#clock = clock;
    this.#options = options;
    this.#context = context;
    this.#listener = listener;
  }

  /**
   * Begins the drain of a node for a hold, or joins the one that runs.
   *
   * @param rule How the nodes of the group are drained, where that differs from the options for all. A drain that runs
   * goes by the rule with which it began.
   * @param age How old the hold is, as far as this process has seen that by itself.
   */
  join(
    owner: CordonOwner,
    { name, uid, machineId, phase }: HeldNode,
    rule: DrainRule = {},
    age?: AgeBounds,
  ): Drain {
    const key = JSON.stringify([keyOf(owner), uid]);
    const running = this.#running.get(key);
    if (running !== undefined) return running;
    // A drain for an earlier hold of the client has nothing left to do.
    for (const other of this.of(owner.group, owner.id)) {
      if (!isSameHold(other.task.owner.since, owner.since)) other.stop("hold_gone");
    }
    const memory = this.memoryOf(owner, { uid });
    const task = { node: name, uid, machineId, owner, memory, again: phase === "drained", ...(age && { age }) };
    this.#listener.drainBegan(task);
    const { timeoutMs = this.#options.timeoutMs, onTimeout = this.#options.onTimeout } = rule;
    const drain = new Drain(task, { ...this.#options, timeoutMs, onTimeout }, this.#context);
    this.#running.set(key, drain);
    if (this.#isClosing) drain.stop("closing");
    drain.end.then(
      (end) => this.#ended(key, task, end),
      (error) => this.#ended(key, task, undefined, error),
    );
    return drain;
  }

  /** Whether a drain of a hold runs on the very Node that is noted. */
  isRunning(owner: CordonOwner, { uid }: HeldNode): boolean {
    return this.#running.has(JSON.stringify([keyOf(owner), uid]));
  }

  /** What the drains of a Node of a hold remember. */
  memoryOf(owner: CordonOwner, node: Pick<HeldNode, "uid">): DrainMemory {
    return this.#rememberedOf(owner, node).memory;
  }

  /** When a Node of a hold may be drained again. */
  paceOf(owner: CordonOwner, node: Pick<HeldNode, "uid">): DrainPace {
    return this.#rememberedOf(owner, node).pace;
  }

  /** The drains that run for a client in a group. */
  of(group: Group, id: ClientId): Drain[] {
    return [...this.#running.values()].filter(({ task: { owner } }) => {
      return owner.group === group && isSameClient(owner.id, id);
    });
  }

  /**
   * The pods that the drains of a hold wait for.
   *
   * @param blockedOf Says how many of a drain's pods a budget holds back.
   * @returns Undefined where no drain of the hold runs here.
   */
  leftOf(group: Group, id: ClientId, since: number, blockedOf: (task: DrainTask) => number): DrainLeft | undefined {
    const drains = this.of(group, id).filter(({ task }) => isSameHold(task.owner.since, since));
    if (drains.length === 0) return undefined;
    const blocked = drains.reduce((sum, { task }) => sum + blockedOf(task), 0);
    return { pods: drains.flatMap(({ left }) => left), blocked };
  }

  /** The holds that have a drain or a memory here: all of them, or those of a client in a group. */
  owners(group?: Group, id?: ClientId): CordonOwner[] {
    const all = [...this.#memories.values()].map(({ owner }) => owner);
    return group === undefined || id === undefined
      ? all
      : all.filter((owner) => owner.group === group && isSameClient(owner.id, id));
  }

  /** Whether a node is being drained. */
  isBusy(node: string): boolean {
    return [...this.#running.values()].some(({ task }) => task.node === node);
  }

  /** Stops the drains of a hold that is over, and forgets the hold. Returns the drains, which end soon. */
  end(over: CordonOwner): Drain[] {
    this.#memories.delete(keyOf(over));
    const ending = this.of(over.group, over.id).filter(({ task: { owner } }) => keyOf(owner) === keyOf(over));
    for (const drain of ending) drain.stop("hold_gone");
    return ending;
  }

  /** Stops the drains where they are, and waits until they have ended. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#isClosing = true;
    const running = [...this.#running.values()];
    for (const drain of running) drain.stop("closing");
    await Promise.allSettled(running.map((drain) => drain.end));
  }

  #rememberedOf(owner: CordonOwner, { uid }: Pick<HeldNode, "uid">): RememberedNode {
    const key = keyOf(owner);
    const hold = this.#memories.get(key) ?? { owner, nodes: new Map() };
    this.#memories.set(key, hold);
    const node = hold.nodes.get(uid) ?? { memory: new DrainMemory(), pace: new DrainPace(this.#clock) };
    hold.nodes.set(uid, node);
    return node;
  }

  #ended(key: string, task: DrainTask, end: DrainEnd | undefined, error?: unknown): void {
    this.#running.delete(key);
    if (end?.kind === "abandoned") this.#memories.delete(keyOf(task.owner));
    this.#listener.drainEnded(task, end, error);
  }
}

function keyOf({ group, id, since }: CordonOwner): string {
  return JSON.stringify([group, id, since]);
}
