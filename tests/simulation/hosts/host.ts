/**
 * A host: its machine and its update agent, which behaves as Zincati does. It reports steady-state until a 2xx, finds
 * an update, asks pre-reboot until a 2xx, reboots, and reports again. Everything odd that it does is drawn from the
 * seed.
 *
 * @module
 */

import type { Random } from "../../../src/simulator/random.ts";
import type { Scheduler } from "../engine/scheduler.ts";
import type { Machine } from "../world/machine.ts";
import type { Answered, Replica } from "../world/replica.ts";
import type { Observer, Turn } from "../observer.ts";

/** How long Zincati waits before it asks again, in milliseconds. */
const POLL_MS: readonly [number, number] = [300_000, 330_000];

/** How long Zincati waits for an answer, in milliseconds. */
const REQUEST_MS = 1_800_000;

/** How long after a request was read its server notices that the client hung up before, in milliseconds. */
const NOTICE_MS = 5;

/** What a host does that not every host does. */
export interface Habits {
  /** How often it postpones a reboot, and asks again each minute. */
  readonly postponeChance: number;
  /** How often its agent is started again after a yes, so that it reports without having rebooted. */
  readonly crashChance: number;
  /** How often it gives a request up early, as a proxy that cuts connections makes it. */
  readonly cutChance: number;
  /** How often its agent reports before its kubelet is up. */
  readonly earlyAgentChance: number;
  /** How often it comes back under another name. */
  readonly renameChance: number;
}

/** What a host works with. */
export interface HostOptions {
  readonly group: string;
  readonly scheduler: Scheduler;
  readonly random: Random;
  readonly replicas: readonly Replica[];
  readonly observer: Observer;
  readonly habits: Habits;
  /** When it begins to look for updates, in milliseconds from the start. */
  readonly beginMs: number;
  /** How many updates it applies. */
  readonly updates: number;
}

/** An answer as the agent sees it. */
interface Reply {
  readonly status: number;
  readonly kind?: string;
}

/** See the module. */
export class Host {
  readonly machine: Machine;
  /** How many updates it has applied. */
  turns = 0;
  /** When it last asked for the update that it waits for, in milliseconds since the epoch; undefined while it waits for none. */
  askingSince: number | undefined;
  /** Until when it does not come up, in milliseconds since the epoch. */
  heldDownUntil = 0;
  /** Called once, before it sends its next request for a slot. */
  beforeNextAsk: ((replica: Replica) => void) | undefined;
  /** What it was told last. */
  lastReply = "";
  readonly #options: HostOptions;
  #isBusy = true;

  /** Makes one that does nothing yet. */
  constructor(machine: Machine, options: HostOptions) {
    this.machine = machine;
    this.#options = options;
  }

  /** Its group. */
  get group(): string {
    return this.#options.group;
  }

  /** Its id. */
  get id(): string {
    return this.machine.id;
  }

  /** How many updates it has not applied yet. */
  get turnsLeft(): number {
    return Math.max(0, this.#options.updates - this.turns);
  }

  /** Whether it has applied all its updates. */
  get isDone(): boolean {
    return this.turnsLeft === 0;
  }

  /** Whether it asks, reboots or reports. */
  get isBusy(): boolean {
    return this.#isBusy;
  }

  /** Lives until it is done. */
  async run(): Promise<void> {
    const { scheduler, random, beginMs } = this.#options;
    await scheduler.sleep(random.between(0, 5_000));
    await this.#report();
    this.#isBusy = false;
    await scheduler.sleep(beginMs);
    while (!this.isDone) {
      this.#isBusy = true;
      this.askingSince = scheduler.now;
      const turn = await this.#ask();
      this.askingSince = undefined;
      if (random.chance(this.#options.habits.crashChance)) {
        this.#options.observer.note(this.id, "its agent is started again before the reboot");
        await this.#report(turn);
        this.#options.observer.over(this.id);
        continue;
      }
      await this.#reboot(turn);
      this.turns++;
      this.#isBusy = false;
      await scheduler.sleep(random.between(10_000, 600_000));
    }
  }

  /** Asks until a yes that it follows. */
  async #ask(): Promise<Turn> {
    const { random, scheduler, observer, habits, group } = this.#options;
    let turn: Turn | undefined;
    let drainedBy: string | undefined;
    let postpone = random.chance(habits.postponeChance) ? 1 + random.below(3) : 0;
    for (;;) {
      const replica = random.pick(this.#options.replicas);
      this.beforeNextAsk?.(replica);
      this.beforeNextAsk = undefined;
      const asked = observer.asked(this.id, this.group, "pre-reboot", this.machine);
      const reply = await this.#send("pre-reboot", replica, asked);
      if (reply !== undefined && reply.status >= 200 && reply.status < 300) {
        turn ??= observer.begin(this.id, group, this.machine);
        observer.yes(turn, asked);
        if (drainedBy !== undefined && drainedBy !== processOf(replica)) {
          observer.count("yes after another process's drain");
        }
        if (postpone-- <= 0) return turn;
        await scheduler.sleep(60_000);
        continue;
      }
      if (reply !== undefined && turn !== undefined) {
        // Its slot was taken from it before its reboot: Zincati goes on asking.
        observer.over(this.id);
        turn = undefined;
      }
      if (reply?.kind === "draining") drainedBy ??= processOf(replica);
      await scheduler.sleep(random.between(...POLL_MS));
    }
  }

  async #reboot(turn: Turn): Promise<void> {
    const { scheduler, random, observer, habits } = this.#options;
    const { machine } = this;
    await scheduler.sleep(random.between(500, 5_000));
    observer.note(this.id, `${machine.name} goes down`);
    machine.goDown();
    await scheduler.sleep(random.between(30_000, 180_000));
    while (this.heldDownUntil > scheduler.now) await scheduler.sleep(10_000);
    machine.comeUp();
    if (random.chance(habits.renameChance)) machine.name = `${machine.name}x`;
    observer.note(this.id, `${machine.name} is up again`);
    const isEarly = random.chance(habits.earlyAgentChance);
    const kubelet = async () => {
      if (isEarly) await scheduler.sleep(random.between(1_000, 90_000));
      machine.startKubelet();
    };
    const agent = async () => {
      if (!isEarly) await scheduler.sleep(random.between(1_000, 10_000));
      await this.#report(turn);
    };
    await Promise.all([kubelet(), agent()]);
    observer.over(this.id);
  }

  /** Reports steady-state until a 2xx. */
  async #report(turn?: Turn): Promise<void> {
    const { random, scheduler, observer } = this.#options;
    for (;;) {
      if (turn !== undefined) turn.reportedAt ??= scheduler.now;
      const replica = random.pick(this.#options.replicas);
      const asked = observer.asked(this.id, this.group, "steady-state", this.machine);
      const reply = await this.#send("steady-state", replica, asked);
      if (reply !== undefined && reply.status >= 200 && reply.status < 300) return;
      await scheduler.sleep(random.between(...POLL_MS));
    }
  }

  /** Sends a request. Undefined if no answer came. */
  #send(
    endpoint: "pre-reboot" | "steady-state",
    replica: Replica,
    asked: ReturnType<Observer["asked"]>,
  ): Promise<Reply | undefined> {
    const { scheduler, random, observer, habits, group } = this.#options;
    const latency = () => random.between(0.5, 20);
    const cutMs = random.chance(habits.cutChance) ? random.between(10, 200_000) : REQUEST_MS;
    const body = JSON.stringify({ client_params: { id: this.id, group } }, null, 2);
    return new Promise((resolve) => {
      let isOver = false;
      const end = (answer: Answered | undefined, why = "no answer") => {
        if (isOver) return;
        isOver = true;
        scheduler.cancel(cut);
        const kind = answer === undefined || answer.status < 300 ? undefined : JSON.parse(answer.text).kind;
        this.lastReply = answer === undefined ? why : `${answer.status} ${answer.text.trim()}`;
        observer.replied(this.id, group, endpoint, replica, asked, answer, kind ?? why);
        resolve(answer && { status: answer.status, kind });
      };
      const hungUp = new AbortController();
      const cut = scheduler.after(cutMs, () => {
        end(undefined, "given up");
        hungUp.abort();
      });
      const arrive = (wasQueued = false) => {
        // A request that its client gave up before it arrived is not delivered, unless the connection had taken it: a
        // process that was stopped reads it later, and then notices that the client has hung up.
        if (isOver) {
          if (!wasQueued) return;
          const late = new AbortController();
          if (replica.request(`/v1/${endpoint}`, body, late.signal, () => {})) {
            observer.count("request of a client that is gone is read");
            scheduler.after(NOTICE_MS, () => late.abort());
          }
          return;
        }
        asked.arrived();
        const isTaken = replica.request(`/v1/${endpoint}`, body, hungUp.signal, (answer) => {
          asked.responded(answer.status < 300);
          scheduler.after(latency(), () => end(answer));
        });
        if (!isTaken) scheduler.after(latency(), () => end(undefined, "connection refused"));
      };
      // A request waits in the queue of a paused process, and is lost with one that is killed.
      scheduler.after(latency(), () => {
        const { process } = replica;
        if (process === undefined) arrive();
        else {
          const isQueued = process.backlog !== undefined;
          if (isQueued) asked.queued();
          scheduler.after(0, () => arrive(isQueued), process);
          process.whenKilled(() => scheduler.after(latency(), () => end(undefined, "connection reset")));
        }
      });
    });
  }
}

/** The process of a replica, by its name and how often it was started. */
function processOf({ name, starts }: Replica): string {
  return `${name}/${starts}`;
}
