/**
 * A host's update agent, which behaves as Zincati does: it reports steady-state
 * until a 2xx, finds an update, asks pre-reboot until a 2xx, reboots, and reports
 * again. It tells the observer what it gets.
 *
 * @module
 */

import { systemClock } from "../../../src/lock/clock.ts";
import type { Random } from "../../../src/simulator/random.ts";
import { preReboot, type Reply, steadyState } from "../../support/zincati.ts";
import type { Machine } from "./machine.ts";
import type { Observer, Turn } from "./observer.ts";

/** A replica as a host sees it. */
export interface Target {
  readonly name: string;
  readonly url: string;
  /** How often it has been started: a hold may begin before a restart and be served after it. */
  readonly starts: () => number;
}

/** How long until a host asks again, in milliseconds. Zincati waits 300 to 330 s. */
const POLL_MS: readonly [number, number] = [600, 1_400];
/** How long a host has nothing to do after a turn, in milliseconds. */
const IDLE_MS: readonly [number, number] = [200, 3_000];
/** How long a machine is down, in milliseconds. */
const DOWN_MS: readonly [number, number] = [800, 2_500];
/** How often a host postpones its reboot and asks again. */
const POSTPONE_CHANCE = 0.15;
/** How often an agent reports before the kubelet of its machine is up. */
const EARLY_AGENT_CHANCE = 0.4;

/** See the module. */
export class Host {
  readonly machine: Machine;
  readonly group: string;
  /** How many turns it has had. */
  turns = 0;
  /** How many of its drains were begun by one process and completed by another. */
  resumed = 0;
  /** Replies by status and kind. */
  readonly replies: Map<string, number> = new Map();
  /** The value of the last reply that was not a 2xx. */
  lastReply = "";
  /** Whether it looks for updates. */
  isActive = true;
  readonly #targets: readonly Target[];
  readonly #observer: Observer;
  readonly #random: Random;

  constructor(
    machine: Machine,
    group: string,
    context: { readonly targets: readonly Target[]; readonly observer: Observer; readonly random: Random },
  ) {
    this.machine = machine;
    this.group = group;
    this.#targets = context.targets;
    this.#observer = context.observer;
    this.#random = context.random;
  }

  /** Its id. */
  get id(): string {
    return this.machine.identity.id;
  }

  /** Runs until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    await this.#report(signal);
    while (!signal.aborted) {
      await this.#wait(IDLE_MS, signal);
      if (!this.isActive) continue;
      const turn = await this.#askUntilYes(signal);
      if (turn === undefined) continue;
      await this.#reboot(turn, signal);
      this.turns++;
    }
  }

  /** Asks until a yes. Undefined if the run is over first, or the yes was withdrawn before the reboot. */
  async #askUntilYes(signal: AbortSignal): Promise<Turn | undefined> {
    let began: string | undefined;
    let turn: Turn | undefined;
    let postpone = this.#random.chance(POSTPONE_CHANCE) ? 1 + this.#random.below(2) : 0;
    while (!signal.aborted) {
      const target = this.#random.pick(this.#targets);
      const process = `${target.name}/${target.starts()}`;
      const asked = Date.now();
      const reply = await this.#ask(preReboot, target, signal);
      if (reply !== undefined && reply.status >= 200 && reply.status < 300) {
        turn ??= { group: this.group, id: this.id, node: this.machine.identity.name, yesAt: Date.now() };
        const { machineId, isNamed } = this.machine.identity;
        await this.#observer.yes(turn, asked, target.name, isNamed ? undefined : machineId);
        if (began !== undefined && began !== process) this.resumed++;
        began = undefined;
        if (postpone-- <= 0) return turn;
      } else if (reply !== undefined && turn !== undefined) {
        // Its slot was taken from it before its reboot: Zincati goes on asking.
        this.#observer.over(this.id);
        turn = undefined;
      }
      if (reply?.kind === "draining") began ??= process;
      await this.#wait(POLL_MS, signal);
    }
    if (turn !== undefined) this.#observer.over(this.id);
    return undefined;
  }

  async #reboot(turn: Turn, signal: AbortSignal): Promise<void> {
    const { machine } = this;
    await this.#wait([50, 300], signal);
    this.#observer.note("goes down", this.group, this.id, turn.node);
    await machine.goDown(this.#random.between(...DOWN_MS));
    this.#observer.note("is up again", this.group, this.id, turn.node);
    const kubelet = async () => {
      if (this.#random.chance(EARLY_AGENT_CHANCE)) await this.#wait([300, 1_500], signal);
      turn.backAt = Date.now();
      // A kubelet that starts renews its Lease and reports its status side by side.
      if (this.#random.chance(0.5)) {
        await machine.renewLease();
        await this.#wait([0, 500], signal);
      }
      await machine.register();
    };
    await Promise.all([kubelet(), this.#report(signal, turn)]);
    this.#observer.over(this.id);
  }

  /** Reports steady-state until a 2xx. */
  async #report(signal: AbortSignal, turn?: Turn): Promise<void> {
    while (!signal.aborted) {
      if (turn !== undefined) turn.reportedAt ??= Date.now();
      const reply = await this.#ask(steadyState, this.#random.pick(this.#targets), signal);
      if (reply !== undefined && reply.status >= 200 && reply.status < 300) return;
      await this.#wait(POLL_MS, signal);
    }
  }

  /** Sends a request. Undefined if no answer came. */
  async #ask(
    endpoint: typeof preReboot,
    { name, url }: Target,
    signal: AbortSignal,
  ): Promise<Reply | undefined> {
    const path = endpoint === preReboot ? "pre-reboot" : "steady-state";
    // A refused connection costs nothing, so that a replica that restarts gets no flood.
    const reply = await endpoint(url, this.id, this.group, signal).catch(() => undefined);
    const outcome = reply === undefined ? "no answer" : `${reply.status} ${reply.kind ?? ""}`.trimEnd();
    this.replies.set(`${path}: ${outcome}`, (this.replies.get(`${path}: ${outcome}`) ?? 0) + 1);
    const value = `${path} at ${name}: ${outcome} ${reply?.value ?? ""}`;
    if (reply?.kind !== undefined) this.lastReply = value;
    if (reply?.kind !== "lock_held") this.#observer.note(value, this.group, this.id);
    return reply;
  }

  async #wait([min, max]: readonly [number, number], signal: AbortSignal): Promise<void> {
    await systemClock.sleep(this.#random.between(min, max), signal).catch(() => {});
  }
}
