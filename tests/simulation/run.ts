/**
 * Runs the world of a plan from its start to its end, and says what it found.
 *
 * Liveness: once the faults are over, each host gets its turn within {@link TURN_BOUND_MS} for each turn that its group
 * still has before it, and one more for what hosts do by chance: a reboot that is not made, a request that is cut off.
 *
 * @module
 */

import { checkHistory } from "../../src/simulator/checker.ts";
import type { Operation } from "../../src/simulator/history.ts";
import { turn } from "./engine/scheduler.ts";
import { INCIDENTS } from "./faults.ts";
import { holdersOf } from "./administrator.ts";
import type { Violation } from "./observer.ts";
import type { Incident, Plan } from "./plan.ts";
import { Random } from "../../src/simulator/random.ts";
import type { Timeline } from "./timeline.ts";
import type { Replica } from "./world/replica.ts";
import { World } from "./world.ts";

/**
 * The longest times of the parts of a turn, in milliseconds, in their order. `hosts/host.ts` is where they come from.
 */
const PARTS_MS = {
  /** The slot is free, and the next host asks: Zincati polls after 300 to 330 s. */
  poll: 330_000,
  /** Two replies that wait for the drain (reply-wait, 240 s), each with the poll after it; pods end within 20 s. */
  drain: 2 * (240_000 + 330_000),
  /** It postpones its reboot up to three times. */
  postponing: 3 * 60_000,
  /** It goes down, and comes up. */
  reboot: 5_000 + 180_000,
  /** Its agent may run before its kubelet. */
  kubelet: 90_000,
  /** A report that waits for the kubelet (reply-wait), and is repeated once. */
  report: 240_000 + 330_000,
};

/** How long a turn may take once the faults are over, in milliseconds: 42 minutes. */
const TURN_BOUND_MS = Object.values(PARTS_MS).reduce((sum, ms) => sum + ms, 0);

/** How long the cluster may take to come to rest after the last turn, in milliseconds. */
const REST_MS = 300_000;

/** How long a replica may take to stop, in milliseconds. */
const STOP_MS = 60_000;

/** When the hosts begin, and when all replicas are in step and idle before, in milliseconds from the start. */
const HOSTS_AT_MS = 20_000;
const IDLE_AT_MS = 19_000;

/** How long after the last turn the replicas are idle again, in milliseconds. */
const IDLE_AFTER_MS = 30_000;

/** How often a replica that waits for something at rest is looked at again, a second later each time. */
const IDLE_TRIES = 60;

/** What a run found. */
export interface RunResult {
  readonly plan: Plan;
  readonly violations: readonly Violation[];
  readonly timeline: Timeline;
  /** How many reboots there were. */
  readonly turns: number;
  /** How long the run was, in milliseconds of virtual time. */
  readonly virtualMs: number;
  /** How many events happened. */
  readonly events: number;
}

/** Options of {@link runPlan}. */
export interface RunOptions {
  /** Whether to end at the first violation. @default {true} */
  readonly endsAtViolation?: boolean;
  /** Called with the world before anything happens in it: for the tests of the simulation itself. */
  readonly prepare?: (world: World) => void;
  /** Called once all hosts are done and nobody holds a slot, before the replicas are stopped: likewise. */
  readonly atRest?: (world: World) => Promise<void>;
}

/** Runs a plan. What the code under test or the world throws is a violation of the run. */
export async function runPlan(plan: Plan, options: RunOptions = {}): Promise<RunResult> {
  using faults = new GlobalFaults(plan.seed);
  using world = new World(plan);
  const { scheduler, observer, timeline, hosts } = world;
  const start = scheduler.now;
  const failed = (what: string, error: unknown) => {
    observer.violate("fault", `${what}: ${(error as Error)?.stack ?? error}`);
  };
  faults.onUnhandled = (error) => failed("nobody handles", error);
  scheduler.onThrow = (error) => failed("an event throws", error);
  try {
    options.prepare?.(world);
    await play(world, plan, options);
  } catch (error) {
    failed("the run throws", error);
  }
  await turn();

  return {
    plan,
    violations: observer.violations,
    timeline,
    turns: hosts.reduce((sum, host) => sum + host.turns, 0),
    virtualMs: scheduler.now - start,
    events: scheduler.count,
  };
}

/** Lets everything happen, and checks what is left in the end, unless the run ends before. */
async function play(world: World, plan: Plan, { endsAtViolation = true, atRest }: RunOptions): Promise<void> {
  const { scheduler, observer, hosts, replicas } = world;
  const start = scheduler.now;
  const endsEarly = () => endsAtViolation && observer.violations.length > 0;
  for (const { machine } of hosts) machine.startKubelet();
  scheduler.after(5_000, () => world.controllers.begin());
  for (const replica of replicas) world.startReplica(replica, 0);
  const idle = new Map<Replica, Waits>();
  for (const replica of replicas) scheduler.after(IDLE_AT_MS, () => idle.set(replica, waitsOf(replica)));
  for (const host of hosts) scheduler.after(HOSTS_AT_MS, () => host.run());
  for (const incident of plan.incidents) scheduler.after(30_000 + incident.at, () => happen(world, incident));
  scheduler.after(30_000 + plan.faultsEndMs, () => world.heal());

  const areDone = () => hosts.every((host) => host.isDone);
  const healedAt = start + 30_000 + plan.faultsEndMs;
  await scheduler.run(endsEarly, healedAt);
  const left = Map.groupBy(hosts, ({ group }) => group).values().map((each) => {
    return each.reduce((sum, { turnsLeft }) => sum + turnsLeft, 0);
  });
  await scheduler.run(() => endsEarly() || areDone(), healedAt + (Math.max(...left) + 1) * TURN_BOUND_MS);
  if (endsEarly()) return;
  for (const { id, group, machine, lastReply } of hosts.filter((one) => !one.isDone)) {
    observer.violate("no turn", `${id} of ${group} got no turn in time; last: ${lastReply}`, id, group, machine.name);
  }
  if (endsEarly()) return;
  // A hold that a backup brought back is looked at from time to time until an administrator frees it.
  await scheduler.run(() => isFree(world), scheduler.now + REST_MS);
  // Not only much later: a timer that is left over ends by itself at some time.
  await scheduler.run(() => false, scheduler.now + IDLE_AFTER_MS);
  await checkIdle(world, idle);
  await scheduler.run(() => false, scheduler.now + REST_MS);
  checkRest(world);
  await checkIdle(world, idle);
  await atRest?.(world);
  await stopAll(world);
  checkOperations(world, plan);
}

function happen(world: World, { kind, seed }: Incident): void {
  let isCounted = false;
  INCIDENTS[kind]!(world, new Random(seed), () => {
    if (!isCounted) world.timeline.count(`fault: ${kind}`);
    isCounted = true;
  });
}

/** Checks that nothing of the program is left in a cluster whose hosts are all done. */
function checkRest({ api, observer }: World): void {
  for (const node of api.store.all("nodes")) {
    const { name, annotations = {} } = node.metadata;
    const owner = annotations["fleetlock.internal/cordoned-for"];
    if (owner !== undefined) observer.violate("not at rest", `${name} is still cordoned for ${owner}`, name);
    else if (node.spec?.unschedulable && !observer.adminCordons.has(name)) {
      observer.violate("not at rest", `${name} is still cordoned`, name);
    }
  }
  for (const lease of api.store.all("leases")) {
    const holders = holdersOf(lease);
    const { name } = lease.metadata;
    if (holders.length > 0) observer.violate("not at rest", `${name} is still held by ${holders.join(", ")}`, name);
  }
}

/** Whether nobody holds a slot. */
function isFree({ api }: World): boolean {
  return api.store.list("leases").every((lease) => holdersOf(lease).length === 0);
}

/** What a replica waits for. */
interface Waits {
  readonly timers: number;
  readonly watches: number;
  readonly calls: number;
}

function waitsOf({ process, link }: Replica): Waits {
  return { timers: process?.sleeping ?? 0, watches: link?.watches.size ?? 0, calls: link?.calling ?? 0 };
}

/**
 * Checks that each replica waits for no more and no less than it did before the first request: the timers and the
 * watches that run for ever. A drain that runs has a watch of its pods, and whatever waits for a time or an answer a
 * timer. What is kept in memory without either does not show here; `memory_test.ts` looks at it.
 */
async function checkIdle({ replicas, scheduler, observer, timeline }: World, idle: ReadonlyMap<Replica, Waits>) {
  for (const replica of replicas) {
    const expected = JSON.stringify(idle.get(replica));
    const isIdle = () => JSON.stringify(waitsOf(replica)) === expected;
    // What is asked for from time to time may be under way.
    for (let tries = 0; tries < IDLE_TRIES && !isIdle(); tries++) {
      await scheduler.run(() => false, scheduler.now + 1_000);
    }
    if (isIdle()) timeline.count("replica waits at rest for what it waited for before the first request");
    else {
      const message = `${replica.name} waits for ${JSON.stringify(waitsOf(replica))} at rest instead of ${expected}`;
      observer.violate("left over", message, replica.name);
    }
  }
}

/** Stops all replicas as SIGTERM does, and checks that nothing is left of them. */
async function stopAll({ replicas, scheduler, observer }: World): Promise<void> {
  let left = replicas.length;
  for (const replica of replicas) {
    replica.stop().then((remains) => {
      left--;
      for (const what of remains) observer.violate("left over", what, replica.name);
    }, (error) => observer.violate("fault", `${replica.name} does not stop: ${error?.stack ?? error}`));
  }
  await turn();
  await scheduler.run(() => left === 0, scheduler.now + STOP_MS);
  if (left > 0) observer.violate("left over", `${left} replicas do not stop`);
}

/**
 * Checks that an order of all requests explains every answer. A restore of etcd counts as what it does: holds that are
 * freed and given at that moment. While groups have another number of slots on each replica, nobody can tell from the
 * replies whether a refusal is right: then the grants alone are checked, against the most slots that any of them noted.
 */
function checkOperations({ observer, timeline, longestStopMs }: World, { incidents, slots }: Plan): void {
  const isFixed = !incidents.some(({ kind }) => kind === "slots changed");
  const operations = isFixed ? observer.operations : observer.operations.map(withoutRefusal);
  const most = isFixed ? slots : Math.max(slots, observer.mostNoted);
  const result = checkHistory(operations, {
    slots: most,
    lateMs: 600_000 + longestStopMs,
    refusalWindowMs: 400_000 + longestStopMs,
  });
  for (const { kind, group, message } of result.violations) {
    observer.violate("history", `${kind} in ${group}: ${message}`, group);
  }
  timeline.count("history of a group: searched for an order", result.searched);
  timeline.count("history of a group: too long or too wide to be searched", result.notSearched);
  if (!isFixed) timeline.count("history of a run: its slots changed, so that only grants are checked");
  if (observer.wasRestored) timeline.count("history of a run: over a restore of etcd");
}

/** The operation, without what a refusal for want of a slot says. */
function withoutRefusal(operation: Operation): Operation {
  const says = operation.outcome === "refused" && operation.kind === "lock_held";
  return says ? { ...operation, outcome: "error", kind: "unreachable" } : operation;
}

/** Makes the randomness of the runtime that of the seed, and takes what nobody handles. */
class GlobalFaults implements Disposable {
  onUnhandled: (error: unknown) => void = () => {};
  readonly #random = Math.random;
  readonly #uuid = crypto.randomUUID;
  readonly #rejected = (event: PromiseRejectionEvent): void => {
    event.preventDefault();
    this.onUnhandled(event.reason);
  };
  readonly #thrown = (event: ErrorEvent): void => {
    event.preventDefault();
    this.onUnhandled(event.error ?? event.message);
  };

  constructor(seed: number) {
    const random = new Random(seed ^ 0xd1ce);
    Math.random = () => random.next();
    crypto.randomUUID = () => `${random.hex(8)}-0000-4000-8000-${random.hex(12)}`;
    globalThis.addEventListener("unhandledrejection", this.#rejected);
    globalThis.addEventListener("error", this.#thrown);
  }

  [Symbol.dispose](): void {
    Math.random = this.#random;
    crypto.randomUUID = this.#uuid;
    globalThis.removeEventListener("unhandledrejection", this.#rejected);
    globalThis.removeEventListener("error", this.#thrown);
  }
}
