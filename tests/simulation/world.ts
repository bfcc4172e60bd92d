/**
 * One simulated world: the API server, the network, the machines, the controllers, the hosts and the replicas of a
 * plan, wired together. It makes nothing happen by itself; {@link "./run.ts".runPlan} does.
 *
 * @module
 */

import { nodeFact } from "../chaos/nodes/history.ts";
import { recordOf } from "../chaos/nodes/judge.ts";
import { endLater } from "./later_acts.ts";
import { clearCordon, freeForgotten, holdersOf } from "./administrator.ts";
import { Random } from "../../src/simulator/random.ts";
import type { SimulatedProcess } from "./engine/process.ts";
import { Scheduler } from "./engine/scheduler.ts";
import { DrainTries } from "./drain_tries.ts";
import { EvictionWatch } from "./eviction_watch.ts";
import { Host, type HostListener } from "./hosts/host.ts";
import { Observer } from "./observer.ts";
import { drainTimeoutMs, type Plan, replyWaitMs } from "./plan.ts";
import { endPolicies } from "./policy_acts.ts";
import { Timeline } from "./timeline.ts";
import { type ApiCall, ApiServer } from "./world/api.ts";
import { Controllers } from "./world/controllers.ts";
import { ifPossible, Machine } from "./world/machine.ts";
import { LimitWatch } from "./world/limits.ts";
import type { Stored } from "./world/objects.ts";
import type { Link, NetworkListener, ServerState } from "./world/network.ts";
import { Replica } from "./world/replica.ts";
import { notedName } from "./yes_check.ts";

/** When every run begins, in milliseconds since the epoch. */
const START = Date.UTC(2030, 0, 7, 8);

/** Where Nodes count as many that change all the time, every fleet is one of many. */
const OFTEN = { nodes: 0, changes: 1, withinMs: 3_600_000 };

/** How much longer than a wait for the watch of the Nodes the next report of a kubelet may take, in milliseconds. */
const BEAT_MS = 2_500;

/** How often an administrator removes the Nodes that hosts have left, once the faults are over, in milliseconds. */
const LEFT_MS = 600_000;

/** For how long a watch must have shown a Node at a yes without one that is wrong, in milliseconds. */
const SHOWN_MS = 1_000;

/** The same of one beside the noted Node, for which the program looks before it notes the end of the drain. */
const SHOWN_BESIDE_MS = 2_500;

/** Something to do after a call of a replica has taken effect. */
interface Trap {
  readonly replica: Replica;
  left: number;
  readonly isMeant: (call: ApiCall) => boolean;
  readonly spring: (call: ApiCall) => void;
}

/** See the module. */
export class World implements Disposable {
  readonly scheduler: Scheduler = new Scheduler(START);
  readonly timeline: Timeline;
  readonly observer: Observer;
  readonly evictions: EvictionWatch;
  readonly tries: DrainTries;
  readonly api: ApiServer;
  readonly server: ServerState = { isAway: false, failChance: 0, failStatus: 500 };
  readonly controllers: Controllers;
  readonly hosts: readonly Host[];
  readonly machines: readonly Machine[];
  readonly replicas: readonly Replica[];
  /** Whether Nodes count as many that change all the time. */
  readonly nodesChangeOften: boolean;
  /** Whether the faults are over. */
  isHealed = false;
  /**
   * How long all replicas were stopped at most, in milliseconds. Right after it, they answer by what they saw before, and
   * do what has waited for them.
   */
  longestStopMs = 0;
  /** The folder of the database, where there is one. */
  readonly #folder: string | undefined;
  readonly #traps = new Set<Trap>();
  /** Determines when kubelets report; undefined where they report only what changes. */
  readonly #beats: Random | undefined;
  /** How many groups there may be; undefined where there are never too many. */
  readonly maxGroups: number | undefined;
  readonly #limits: LimitWatch;
  /** How long a drain may take, in milliseconds. */
  readonly drainTimeoutMs: number;
  /** How many slots each group has in the end. */
  readonly #slots: number;

  /** Makes the world of a plan. */
  constructor(plan: Plan) {
    const random = new Random(plan.seed ^ 0x5eed);
    const { scheduler } = this;
    const timeline = this.timeline = new Timeline(() => scheduler.now);
    const observer = this.observer = new Observer(scheduler, timeline);
    const api = this.api = new ApiServer({
      now: () => scheduler.now,
      random: random.fork(),
      hasWatchList: plan.hasWatchList,
      pageSize: plan.pageSize,
      renewal: (node) => this.machines.find(({ name }) => name === node)?.renewal,
    });
    this.nodesChangeOften = plan.nodesChangeOften;
    this.#beats = plan.nodesChangeOften ? new Random(plan.seed ^ 0xbea7) : undefined;
    this.#slots = observer.slots = plan.slots;
    observer.replyWaitMs = replyWaitMs(plan);
    observer.freesGone = plan.goneAfterMs !== undefined;
    observer.seesLocks = plan.store === "kubernetes";
    this.#limits = new LimitWatch(() => scheduler.now, (what) => timeline.count(`limit reached: ${what}`));
    const maxGroups = plan.flags["max-groups"];
    this.maxGroups = maxGroups === undefined ? undefined : Number(maxGroups);
    this.#folder = plan.store === "sqlite" ? Deno.makeTempDirSync({ prefix: "fleetlock-simulation-" }) : undefined;
    const store = { kubernetes: "kubernetes", memory: "memory", sqlite: `sqlite:${this.#folder}/locks.db` }[plan.store];
    observer.mostSlots = () => Math.max(...this.replicas.map((replica) => replica.slots));
    observer.writer = () => this.replicas.find(({ name }) => name === api.caller)?.name;
    this.drainTimeoutMs = drainTimeoutMs(plan);
    if (plan.flags["drain-on-timeout"] === "proceed") observer.proceedsAfterMs = this.drainTimeoutMs;
    this.tries = new DrainTries({ scheduler, observer, plan });
    this.evictions = new EvictionWatch({
      scheduler,
      observer,
      tries: this.tries,
      api,
      plan,
      hostOn: (node) => this.hosts.find(({ machine }) => machine.name === node),
    });
    api.disruptions.budgets.push(...plan.budgets.map((budget) => ({ ...budget })));
    this.machines = plan.hosts.map(({ name, isNamed }) => {
      return new Machine(name, isNamed, { scheduler, store: api.store, random: random.fork(), note: this.note });
    });
    this.controllers = new Controllers({
      scheduler,
      store: api.store,
      random: random.fork(),
      workloads: plan.workloads,
      machines: this.machines,
      volumesStay: plan.volumesStay,
    });
    this.replicas = Array.from({ length: plan.replicas }, (_, index) =>
      new Replica({
        name: `r${index + 1}`,
        scheduler,
        api,
        server: this.server,
        random: random.fork(),
        slots: plan.slots,
        goneAfterMs: plan.goneAfterMs,
        flags: { ...plan.flags, store },
        permissionIntervalMs: plan.permissionIntervalMs,
        maxWaiting: plan.maxWaiting,
        freshNodes: {
          ...(plan.nodesChangeOften && { frequent: OFTEN }),
          waited: (outcome) => timeline.count(`wait for the watch of the Nodes: ${outcome}`),
        },
        listener: (process) => this.#listener(process),
        failed: (error) => observer.violate("fault", `r${index + 1} fails: ${(error as Error)?.stack ?? error}`),
      }));
    this.hosts = plan.hosts.map(({ group, beginMs, updates }, index) =>
      new Host(this.machines[index]!, {
        group,
        scheduler,
        random: random.fork(),
        replicas: this.replicas,
        observer,
        habits: plan.habits,
        beginMs,
        updates,
        listener: this.#hostListener,
      })
    );
    // The observer comes first: what controllers do about a change is a later one.
    api.store.listen((change) => {
      observer.changed(change);
      for (const { link } of this.replicas) link?.changed(change);
      this.controllers.changed(change);
    });
  }

  /** Removes the database, and ends the count of limits that are reached. */
  [Symbol.dispose](): void {
    this.#limits[Symbol.dispose]();
    if (this.#folder !== undefined) Deno.removeSync(this.#folder, { recursive: true });
  }

  /** Adds a line to the timeline. */
  readonly note = (about: string, text: string): void => this.timeline.add(about, text);

  /** Starts a replica that does not run. */
  readonly startReplica = (replica: Replica, offsetMs: number): void => {
    if (replica.process !== undefined) return;
    this.timeline.add(replica.name, "is started");
    replica.start(offsetMs);
  };

  /**
   * Calls `spring` once, right after a call of a replica has taken effect: one that changes something, or that is
   * meant.
   */
  readonly onCall = (
    replica: Replica,
    skipped: number,
    spring: (call: ApiCall) => void,
    isMeant: (call: ApiCall) => boolean = ({ method }) => method !== "GET",
  ): void => {
    this.#traps.add({ replica, left: skipped, spring, isMeant });
  };

  /** Puts right all that faults have broken, so that the fleet can come to rest. */
  heal(): void {
    const { server, api, replicas, machines, controllers } = this;
    this.isHealed = true;
    this.#traps.clear();
    server.isAway = false;
    server.failChance = 0;
    api.denied.clear();
    api.expiresNextPage = false;
    for (const budget of api.disruptions.budgets) Object.assign(budget, { isFrozen: false, isVanishing: false });
    controllers.behindMs = 1_500;
    this.#removeLeft();
    for (const machine of machines) {
      machine.isSlow = false;
      if (!machine.isDown && !machine.isKubeletUp) machine.startKubelet();
    }
    for (const replica of replicas) {
      replica.process?.resume();
      this.startReplica(replica, 0);
      const calm = { isCut: false, isRefused: false, lossChance: 0, lateMs: 0, delayMs: 0, lagMs: 0 };
      Object.assign(replica.link!.state, calm);
    }
    for (const host of this.hosts) host.heldDownUntil = 0;
    // Somebody sees to a workload that is put on a Node that is no more: its pods would come back there for ever.
    controllers.givesUpLostPins = true;
    freeForgotten(this);
    endLater(this);
    endPolicies(this, this.#slots);
    // A backup may have brought a finalizer back that was done.
    for (const [plural, prefix] of [["leases", "ops/"], ["nodes", ""]] as const) {
      for (const object of api.store.list(plural)) {
        const { name, finalizers, deletionTimestamp } = object.metadata;
        if (!(finalizers?.length > 0)) continue;
        // Without it, a Lease that is being deleted ends, and with it what it holds.
        if (plural === "leases" && deletionTimestamp) {
          for (const id of holdersOf(object)) this.observer.freeing(name.replace(/^fleetlock-/, ""), id);
        }
        ifPossible(() =>
          api.store.update(plural, prefix + name, (now) => ({ ...now, metadata: { ...now.metadata, finalizers: [] } }))
        );
      }
    }
    // And the annotation of a cordon that nobody can read.
    for (const { metadata: { name, annotations } } of api.store.list("nodes")) {
      if (["{}", "[]", "?"].includes(annotations?.["fleetlock.internal/cordoned-for"])) clearCordon(this, name);
    }
    for (const machine of machines) {
      if (machine.isKubeletUp && machine.node === undefined) machine.report();
    }
    this.timeline.add("world", "the faults are over");
  }

  /** Removes the Nodes that their hosts have left, now and from time to time: budgets would count their pods for ever. */
  #removeLeft(): void {
    const { api, machines, scheduler } = this;
    for (const node of api.store.list("nodes")) {
      const isLeft = machines.every(({ name }) => name !== node.metadata.name);
      if (isLeft) ifPossible(() => api.store.delete("nodes", node.metadata.name));
    }
    scheduler.after(LEFT_MS, () => this.#removeLeft());
  }

  #listener(process: SimulatedProcess): NetworkListener {
    return {
      sent: (call) => {
        this.#checkFresh(call);
        this.evictions.sent(process, call);
      },
      lost: ({ method }) => {
        if (method !== "GET") this.timeline.count("write whose answer was lost");
      },
      shown: (object) => this.evictions.shown(process, object),
      arrived: (call, status) => this.#arrived(process, call, status),
    };
  }

  /** Counts the situations of the requests of hosts. */
  readonly #hostListener: HostListener = {
    arrived: ({ group }, { link }) => {
      const { timeline } = this;
      const lease = this.api.store.get("leases", `ops/fleetlock-${group}`);
      if (lease?.metadata.deletionTimestamp) timeline.count("Lease in deletion at a request");
      for (const plural of ["leases", "nodes"]) {
        if (link?.isBehind(plural)) timeline.count(`stale watch of the ${plural} at a request`);
      }
    },
    answered: (host, { name, link, process }, endpoint, { status }) => {
      const { timeline } = this;
      if (status >= 400 && status < 500 && link?.isBehind("leases")) timeline.count("stale watch at a refusal");
      if (status >= 300 || endpoint !== "pre-reboot") return;
      if (link?.isBehind("leases") || link?.isBehind("nodes")) timeline.count("stale watch at a yes");
      this.observer.answering(
        host.id,
        this.tries.tooShort(process, notedName(this.observer.history, host.group, host.id, this.observer.moment)),
      );
      this.#checkShown(host, name, link);
    },
  };

  /**
   * A watch proves nothing, but what it has shown for a while speaks against a yes: a Node of the host beside the noted
   * one.
   */
  #checkShown({ group, id, machine }: Host, replica: string, link: Link | undefined): void {
    const { observer } = this;
    if (observer.isWithoutNode(group, id)) {
      const shown = link?.nodeShownFor(SHOWN_MS, (node) => isNodeOf(machine, node));
      const message = `${replica} gives ${id} a yes without a Node, and was shown ${shown}`;
      if (shown !== undefined) observer.violate("unproven yes", message, id, group, shown);
      return;
    }
    const { uid } = recordOf(observer.history, { group, id }, observer.moment);
    if (uid === undefined) return;
    const other = link?.nodeShownFor(SHOWN_BESIDE_MS, (node) => {
      return isNodeOf(machine, node) && node.metadata.uid !== uid && nodeFact(node).ready === "True";
    });
    const message = `${replica} gives ${id} a yes, and was shown ${other} beside the Node that its hold notes`;
    if (other !== undefined) observer.violate("unproven yes", message, id, group, other);
  }

  /** No answer may come from a cache of the API server that is behind: what a yes rests on is read from etcd. */
  #checkFresh({ user, method, path }: ApiCall): void {
    const parameters = new URLSearchParams(path.split("?", 2)[1]);
    const isWatch = parameters.has("watch");
    const version = parameters.get("resourceVersion");
    const match = parameters.get("resourceVersionMatch");
    const mayBeStale = version === "0" || (!isWatch && version !== null && match !== "Exact");
    if (mayBeStale) this.observer.violate("stale read", `${user} sends ${method} ${path}`, user);
  }

  /**
   * Has a kubelet report a while after a replica has asked for the version of the Nodes, since a replica then waits for
   * a change. With thousands of Nodes, one would come anyway. At other times, nobody needs it.
   */
  #beatAfter({ path }: ApiCall): void {
    const random = this.#beats;
    if (random === undefined || !path.startsWith("/api/v1/nodes?limit=1")) return;
    // Most come in time, and some before the answer.
    const ms = random.between(0, random.chance(0.3) ? 10 : BEAT_MS);
    this.scheduler.after(ms, () => random.pick(this.machines).beat());
  }

  #arrived(process: SimulatedProcess, call: ApiCall, status: number): void {
    const { timeline } = this;
    this.#beatAfter(call);
    const path = call.path.replace(/\?.*/, "").replace(/^\/apis?\//, "");
    if (/selfsubject|events\.k8s/.test(path)) return;
    timeline.add(call.user, `${call.method} ${path}${/watch=/.test(call.path) ? " (watch)" : ""}: ${status || 200}`);
    if (status === 409) timeline.count("conflict");
    if (status === 429) timeline.count("refused by a budget or overload");
    if (status === 410) timeline.count(/[?&]continue=/.test(call.path) ? "page of a list expired" : "version expired");
    if (status === 200 && /[?&]continue=/.test(call.path)) timeline.count("list in pages");
    if (process.isDead) timeline.count("call of a killed process arrives");
    if (status >= 400) return;
    if (status >= 0) this.tries.called(process, call);
    if (call.method === "DELETE" && /\/pods\//.test(path)) timeline.count("pod deleted past its budget");
    for (const trap of this.#traps) {
      if (trap.replica.process !== process || !trap.isMeant(call) || trap.left-- > 0) continue;
      this.#traps.delete(trap);
      trap.spring(call);
    }
  }
}

/** Whether a Node shows the id of a machine's host. */
function isNodeOf({ id, machineId, isNamed }: Machine, node: Stored): boolean {
  if (node.metadata.annotations?.["fleetlock.internal/id"] === id) return true;
  return !isNamed && node.status?.nodeInfo?.machineID === machineId;
}
