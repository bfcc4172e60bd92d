/**
 * A host: its machine and its update agent, which behaves as Zincati does. It reports steady-state until a 2xx, finds
 * an update, asks pre-reboot until a 2xx, reboots, and reports again. Everything odd that it does is drawn from the
 * seed: its habits, and what incidents do to it, such as an agent that is started again while it asks.
 *
 * @module
 */

import type { Random } from "../../../src/simulator/random.ts";
import type { SimulatedProcess } from "../engine/process.ts";
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
  /** Told of each request that a replica takes, and of each answer, for the situations that it was in. */
  readonly listener: HostListener;
}

/** What is told of the requests of hosts, at the moment when a replica takes one or answers it. */
export interface HostListener {
  arrived(host: Host, replica: Replica): void;
  answered(host: Host, replica: Replica, endpoint: Endpoint, answer: Answered): void;
}

/** An endpoint of the protocol. */
export type Endpoint = "pre-reboot" | "steady-state";

/** What ends what the agent does: the agent is started again, or its machine has crashed. */
interface Interruption {
  readonly kind: "restarted" | "crashed";
  /** How long the agent takes until it reports, and until it asks again, in milliseconds. */
  readonly startMs: number;
  readonly findMs: number;
  /** How long the machine is down, and its kubelet takes to start, in milliseconds. */
  readonly downMs: number;
  readonly kubeletMs: number;
}

/** A process that was asked. */
interface AskedProcess {
  readonly name: string;
  readonly process: SimulatedProcess | undefined;
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
  /**
   * When it last asked for the update that it waits for, in milliseconds since the epoch; undefined while it waits for
   * none.
   */
  askingSince: number | undefined;
  /** Until when it does not come up, in milliseconds since the epoch. */
  heldDownUntil = 0;
  /** Called once, before it sends its next request for a slot. */
  beforeNextAsk: ((replica: Replica) => void) | undefined;
  /** What it was told last. */
  lastReply = "";
  readonly #options: HostOptions;
  #isBusy = true;
  /** Ends its wait between two requests for a slot; undefined at other times. */
  #wake: (() => void) | undefined;
  /** Ends what its agent waits for while it asks; undefined at other times. */
  #interrupt: ((interruption: Interruption) => void) | undefined;
  /** What has ended the last wait; undefined where the agent goes on as before. */
  #interruption: Interruption | undefined;
  #waitsFor: Replica | undefined;
  /** Ends once a host that crashed while it asked for nothing is up again. */
  #recovered: Promise<void> = Promise.resolve();
  #isRecovering = false;

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

  /** Whether its Node is cordoned for somebody. */
  get isCordoned(): boolean {
    return this.machine.node?.metadata.annotations?.["fleetlock.internal/cordoned-for"] !== undefined;
  }

  /** The replica whose answer to pre-reboot it waits for; undefined at other times. */
  get waitsFor(): Replica | undefined {
    return this.#waitsFor;
  }

  /** Lives until it is done. */
  async run(): Promise<void> {
    const { scheduler, random, beginMs } = this.#options;
    await scheduler.sleep(random.between(0, 5_000));
    await this.#report();
    this.#isBusy = false;
    await scheduler.sleep(beginMs);
    while (!this.isDone) {
      await this.#recovered;
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

  /**
   * Starts its agent again while it asks, as `systemctl restart zincati` does: it hangs up, reports, finds the update
   * again and asks again. Where it is being drained, a report thus comes in the middle of its drain.
   *
   * @returns Whether it was asking.
   */
  restartAgent(random: Random): boolean {
    if (this.#interrupt === undefined) return false;
    this.#options.observer.note(this.id, "its agent is started again while it asks");
    this.#interrupt(interruptionOf("restarted", random));
    return true;
  }

  /** Has it ask for a slot at once where it waits to ask again. @returns Whether it does. */
  askNow(): boolean {
    const wake = this.#wake;
    wake?.();
    return wake !== undefined;
  }

  /**
   * Its machine goes down without having been allowed to, and boots the system that it ran. Nobody tells the replicas:
   * a request that is under way goes on.
   *
   * @returns Whether it could: one that reboots, reports or has just crashed, or whose kubelet does not run, is left
   * alone.
   */
  crash(random: Random): boolean {
    const { observer } = this.#options;
    const isIdle = !this.#isBusy && !this.#isRecovering;
    if ((this.#interrupt === undefined && !isIdle) || !this.machine.isKubeletUp) return false;
    observer.note(this.id, `${this.machine.name} crashes`);
    observer.crashed(this.id, this.machine);
    const interruption = interruptionOf("crashed", random);
    this.machine.goDown();
    if (this.#interrupt !== undefined) this.#interrupt(interruption);
    else {
      this.#isRecovering = true;
      this.#recovered = this.#recover(interruption).then(() => void (this.#isRecovering = false));
    }
    return true;
  }

  /** Goes on after an interruption, up to the report that an agent begins with. */
  async #recover({ kind, startMs, downMs, kubeletMs }: Interruption, turn?: Turn): Promise<void> {
    const { scheduler, observer } = this.#options;
    const { machine } = this;
    if (kind === "restarted") {
      await scheduler.sleep(startMs);
      return await this.#report(turn);
    }
    await scheduler.sleep(downMs);
    while (this.heldDownUntil > scheduler.now) await scheduler.sleep(10_000);
    machine.comeUp();
    observer.note(this.id, `${machine.name} is up again after its crash`);
    const kubelet = async () => {
      await scheduler.sleep(kubeletMs);
      machine.startKubelet();
    };
    const agent = async () => {
      await scheduler.sleep(startMs);
      await this.#report(turn);
    };
    await Promise.all([kubelet(), agent()]);
  }

  /** Waits while it asks: until the time has passed or something interrupts it. */
  #sleepAsking(ms: number): Promise<void> {
    const { scheduler } = this.#options;
    return new Promise((resolve) => {
      const over = () => {
        this.#interrupt = this.#wake = undefined;
        resolve();
      };
      const event = scheduler.after(ms, over);
      this.#wake = () => {
        scheduler.cancel(event);
        over();
      };
      this.#interrupt = (interruption) => {
        scheduler.cancel(event);
        this.#interruption = interruption;
        over();
      };
    });
  }

  /** Asks until a yes that it follows. */
  async #ask(): Promise<Turn> {
    const { random, scheduler, observer, habits, group } = this.#options;
    let turn: Turn | undefined;
    let before: AskedProcess | undefined;
    let postpone = random.chance(habits.postponeChance) ? 1 + random.below(3) : 0;
    for (;;) {
      const replica = random.pick(this.#options.replicas);
      this.beforeNextAsk?.(replica);
      this.beforeNextAsk = undefined;
      const asked = observer.asked(this.id, this.group, "pre-reboot", this.machine);
      const now: AskedProcess = { name: nameOf(replica), process: replica.process };
      const wasCordoned = this.isCordoned;
      const reply = await this.#send("pre-reboot", replica, asked);
      before = this.#countDrains(reply, now, before, wasCordoned);
      if (reply !== undefined && reply.status >= 200 && reply.status < 300) {
        turn ??= observer.begin(this.id, group, this.machine);
        observer.yes(turn, asked);
        if (postpone-- <= 0) return turn;
        await this.#sleepAsking(60_000);
      } else {
        if (reply !== undefined && turn !== undefined) {
          // Its slot was taken from it before its reboot: Zincati goes on asking.
          observer.over(this.id);
          turn = undefined;
        }
        if (this.#interruption === undefined) await this.#sleepAsking(random.between(...POLL_MS));
      }
      const interruption = this.#interruption;
      if (interruption === undefined) continue;
      this.#interruption = undefined;
      await this.#recover(interruption, turn);
      if (turn !== undefined) observer.over(this.id);
      turn = before = undefined;
      await scheduler.sleep(interruption.findMs);
    }
  }

  /**
   * Counts drains that a process goes on with, and yeses after them.
   *
   * @param before The process that was killed while it answered, or else the first one that drained.
   * @param wasCordoned Whether the Node was cordoned when the request was sent.
   * @returns The same after the request.
   */
  #countDrains(
    reply: Reply | undefined,
    now: AskedProcess,
    before: AskedProcess | undefined,
    wasCordoned: boolean,
  ): AskedProcess | undefined {
    const { observer } = this.#options;
    const isYes = reply !== undefined && reply.status < 300;
    const isDraining = reply?.kind === "draining";
    if (reply === undefined && now.process?.isDead) return now;
    if (before === undefined || before.name === now.name) return before ?? (isDraining ? now : undefined);
    if (!isYes && !isDraining) return before;
    const wasKilled = before.process?.isDead === true;
    if (wasCordoned) observer.count(wasKilled ? "resumed drain, after a kill" : "drain of several processes");
    if (isYes) observer.count(wasKilled ? "yes after kill" : "yes after another process's drain");
    return wasKilled ? now : before;
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
    endpoint: Endpoint,
    replica: Replica,
    asked: ReturnType<Observer["asked"]>,
  ): Promise<Reply | undefined> {
    const { scheduler, random, observer, habits, group, listener } = this.#options;
    const latency = () => random.between(0.5, 20);
    const cutMs = random.chance(habits.cutChance) ? random.between(10, 200_000) : REQUEST_MS;
    const body = JSON.stringify({ client_params: { id: this.id, group } }, null, 2);
    return new Promise((resolve) => {
      let isOver = false;
      const end = (answer: Answered | undefined, why = "no answer") => {
        if (isOver) return;
        isOver = true;
        this.#interrupt = undefined;
        this.#waitsFor = undefined;
        scheduler.cancel(cut);
        const kind = answer === undefined || answer.status < 300 ? undefined : JSON.parse(answer.text).kind;
        this.lastReply = answer === undefined ? why : `${answer.status} ${answer.text.trim()}`;
        observer.replied(this.id, group, endpoint, replica, asked, answer, kind ?? why);
        resolve(answer && { status: answer.status, kind });
      };
      const hungUp = new AbortController();
      if (endpoint === "pre-reboot") {
        this.#waitsFor = replica;
        this.#interrupt = (interruption) => {
          this.#interruption = interruption;
          end(undefined, interruption.kind);
          // A machine that crashes does not close its connections.
          if (interruption.kind === "restarted") hungUp.abort();
        };
      }
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
        listener.arrived(this, replica);
        const isTaken = replica.request(`/v1/${endpoint}`, body, hungUp.signal, (answer) => {
          asked.responded(answer.status < 300);
          listener.answered(this, replica, endpoint, answer);
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

/** Names the process of a replica, by its name and how often it was started. */
function nameOf({ name, starts }: Replica): string {
  return `${name}/${starts}`;
}

function interruptionOf(kind: Interruption["kind"], random: Random): Interruption {
  return {
    kind,
    startMs: random.between(500, random.chance(0.5) ? 3_000 : 20_000),
    findMs: random.between(1_000, random.chance(0.5) ? 10_000 : 120_000),
    downMs: random.between(5_000, random.chance(0.5) ? 45_000 : 240_000),
    kubeletMs: random.between(500, random.chance(0.5) ? 2_000 : 60_000),
  };
}
