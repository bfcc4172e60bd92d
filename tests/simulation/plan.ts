/**
 * What a seed determines before a run begins: the fleet, its workloads, the flags of the program, the habits of the
 * hosts, and the schedule of faults and of what administrators do. The schedule is data, so that it can be shrunk.
 *
 * @module
 */

import { Random } from "../../src/simulator/random.ts";
import { aimedIncidentsUntil } from "./aimed_acts.ts";
import { busyIncidentsUntil } from "./busy_acts.ts";
import { CLUSTER_ACTS } from "./cluster_acts.ts";
import { FAULT_KINDS } from "./faults.ts";
import { goneNodesOf } from "./gone_nodes.ts";
import { heldBackIncidentsUntil } from "./held_back_acts.ts";
import { hasHostsWithoutNodes, MANY_UPDATES, withoutNodeIncidentsUntil } from "./host_without_node_acts.ts";
import type { Habits } from "./hosts/host.ts";
import { lateDrainPlanOf } from "./late_drain_acts.ts";
import { laterPlanOf } from "./later_acts.ts";
import { POLICY_ACTS } from "./policy_acts.ts";
import type { Workload } from "./world/controllers.ts";
import type { Budget } from "./world/budgets.ts";

/** One fault, or one thing that an administrator does. */
export interface Incident {
  /** When it begins, in milliseconds from the start. */
  readonly at: number;
  /** Which one. */
  readonly kind: string;
  /** Determines what it is about and how long it lasts. */
  readonly seed: number;
}

/** One host. */
export interface PlannedHost {
  readonly name: string;
  readonly group: string;
  readonly isNamed: boolean;
  readonly beginMs: number;
  readonly updates: number;
}

/** See the module. */
export interface Plan {
  readonly seed: number;
  /** Where the locks are. Nodes play a part only in a cluster. */
  readonly store: "kubernetes" | "sqlite" | "memory";
  readonly replicas: number;
  /** How many slots each group has at first, and in the end. */
  readonly slots: number;
  readonly hosts: readonly PlannedHost[];
  readonly workloads: readonly Workload[];
  readonly budgets: readonly Budget[];
  readonly flags: Readonly<Record<string, string>>;
  readonly habits: Habits;
  /** How long a Node must be gone until its hold is freed, in milliseconds; undefined where it never is. */
  readonly goneAfterMs?: number;
  /** Whether Nodes count as many that change all the time, as in a big cluster. */
  readonly nodesChangeOften: boolean;
  /** How long replicas wait before they ask for their permissions again, in milliseconds. */
  readonly permissionIntervalMs: number;
  /** Whether the API server streams lists. */
  readonly hasWatchList: boolean;
  /** How many objects a page of a list has at most, whatever the call asks for. */
  readonly pageSize: number;
  /** Whether some volumes stay attached for good once their pods are gone. */
  readonly volumesStay: boolean;
  /** When all faults are over, in milliseconds from the start. */
  readonly faultsEndMs: number;
  /** How many calls of a replica may wait for their turn; undefined as the program says. */
  readonly maxWaiting?: number;
  /** In the order of their times, but for those that came later to the simulation, which come after all others. */
  readonly incidents: readonly Incident[];
}

/** What the caller decides instead of the seed. */
export interface PlanOptions {
  readonly replicas?: number;
  readonly hosts?: number;
  /** Whether there are no faults at all. */
  readonly isCalm?: boolean;
  /** Where the locks are. */
  readonly store?: Plan["store"];
  /** Whether Nodes count as many that change all the time. */
  readonly nodesChangeOften?: boolean;
}

/**
 * How long replicas wait before they ask for their permissions again, in milliseconds: as the program does, and so long
 * that it happens at their start alone. With the first, these questions are two thirds of all calls and a third of the
 * time that a run takes, so that most seeds do without.
 */
const PERMISSIONS_MS = 300_000;
const CALM_PERMISSIONS_MS = 86_400_000;

/** How long a turn of a group takes on average, in milliseconds, for the choice of when faults are over. */
const TURN_MS = 420_000;

/** Makes the plan of a seed. */
export function planOf(seed: number, options: PlanOptions = {}): Plan {
  const random = new Random(seed);
  // Most seeds are about a cluster, where most can go wrong. A run on SQLite takes five times as long.
  const store = options.store ?? (seed % 24 === 12 ? "sqlite" : seed % 25 === 24 ? "memory" : "kubernetes");
  const drawnReplicas = 2 + random.below(4);
  // What is in memory is lost with its process, and shared with nobody.
  const replicas = store === "memory" ? 1 : options.replicas ?? drawnReplicas;
  const drawnHosts = 4 + random.below(8);
  const count = options.hosts ?? drawnHosts;
  const groups = 1 + random.below(Math.min(3, Math.ceil(count / 4)));
  const drawnUpdates = random.chance(0.3) ? 2 : 1;
  const updates = hasHostsWithoutNodes(seed, store) ? MANY_UPDATES : drawnUpdates;
  const hosts = Array.from({ length: count }, (_, index): PlannedHost => ({
    name: `n${index + 1}`,
    group: `g${index % groups + 1}`,
    isNamed: random.chance(0.15),
    beginMs: random.between(0, 60_000),
    updates,
  }));
  const workloads = workloadsOf(random, count, hosts);
  const budgets = workloads.filter(({ kind }) => kind !== "DaemonSet").filter(() => random.chance(0.6)).map(
    ({ name, replicas }): Budget => ({ name: `${name}-budget`, app: name, minAvailable: Math.max(0, replicas - 1) }),
  );
  const policies = policiesOf(seed, store);
  const { goneAfterMs, longerMs, incidentsUntil } = goneNodesOf(seed, store);
  const cluster = clusterOf(seed, store);
  const later = laterPlanOf(seed, store, groups);
  const lateDrains = lateDrainPlanOf(seed, store);
  // A sixth of the seeds: those that no test had named when this came.
  const nodesChangeOften = store === "kubernetes" && (options.nodesChangeOften ?? [3, 8].includes(seed % 12));
  // The same for what came still later.
  const volumesStay = store === "kubernetes" && seed > 130 && [17, 23, 38].includes(seed % 48);
  const faultsEndMs = Math.ceil(count / groups) * updates * TURN_MS + longerMs;
  return {
    seed,
    store,
    replicas,
    slots: policies.slots,
    hosts,
    workloads,
    budgets,
    volumesStay,
    flags: {
      ...flagsOf(random),
      ...policies.flags,
      ...later.flags,
      ...lateDrains.flags,
      // A request is over before the wait for the volumes is. A host that yields before it asks again, and on which a pod
      // comes back during each such wait, would never get its turn.
      ...(volumesStay && { "reply-wait": "30s" }),
      ...(volumesStay && policies.flags["drain-on-timeout"] === "yield" && { "drain-timeout": "15m" }),
    },
    habits: {
      // A host that asks once more after its yes is judged by one quick proof, which a drain does not hide.
      postponeChance: Math.max(random.chance(0.5) ? 0.3 : 0, nodesChangeOften ? 0.6 : 0),
      crashChance: random.chance(0.5) ? 0.1 : 0,
      cutChance: random.chance(0.5) ? 0.15 : 0,
      earlyAgentChance: random.chance(0.7) ? 0.4 : 0,
      renameChance: random.chance(0.2) ? 0.2 : 0,
    },
    permissionIntervalMs: [1, 3].includes(seed % 5) ? PERMISSIONS_MS : CALM_PERMISSIONS_MS,
    nodesChangeOften,
    hasWatchList: random.chance(0.7),
    pageSize: cluster.pageSize,
    faultsEndMs,
    ...(goneAfterMs !== undefined && { goneAfterMs }),
    ...(later.maxWaiting !== undefined && { maxWaiting: later.maxWaiting }),
    incidents: options.isCalm ? [] : [
      ...[
        ...incidentsOf(random, faultsEndMs, INCIDENT_KINDS[store]),
        ...policies.incidentsUntil(faultsEndMs),
        ...cluster.incidentsUntil(faultsEndMs),
        ...incidentsUntil(faultsEndMs),
        ...(nodesChangeOften ? busyIncidentsUntil(seed, faultsEndMs) : []),
      ].sort((one, other) => one.at - other.at),
      ...later.incidentsUntil(faultsEndMs),
      ...(nodesChangeOften ? aimedIncidentsUntil(seed, faultsEndMs) : []),
      ...heldBackIncidentsUntil(seed, store, faultsEndMs),
      ...lateDrains.incidentsUntil(faultsEndMs),
      ...withoutNodeIncidentsUntil(seed, store, faultsEndMs),
    ],
  };
}

/** How long a drain of a plan may take, in milliseconds. */
export function drainTimeoutMs({ flags }: Plan): number {
  return parseInt(flags["drain-timeout"] ?? "15m") * 60_000;
}

/** How long a reply of a replica waits for a Node to return, in milliseconds. */
export function replyWaitMs({ flags }: Plan): number {
  return flags["reply-wait"] === "30s" ? 30_000 : 240_000;
}

function workloadsOf(random: Random, nodes: number, hosts: readonly PlannedHost[]): Workload[] {
  const workload = (name: string, more: Partial<Workload>): Workload => ({
    name,
    kind: "ReplicaSet",
    replicas: 1 + random.below(Math.min(nodes, 4)),
    tolerates: false,
    stopMs: random.between(200, 20_000),
    ...more,
  });
  const all = [workload("web", { replicas: Math.min(nodes, 5) }), workload("agent", { kind: "DaemonSet" })];
  if (random.chance(0.5)) all.push(workload("db", { kind: "StatefulSet", hasVolume: true }));
  if (random.chance(0.4)) all.push(workload("stubborn", { tolerates: true }));
  if (random.chance(0.3)) all.push(workload("kept", { hasFinalizer: true }));
  if (random.chance(0.2)) all.push(workload("pinned", { replicas: 1, pinnedTo: random.pick(hosts).name, stopMs: 500 }));
  return all;
}

function flagsOf(random: Random): Record<string, string> {
  const onTimeout = random.chance(0.7) ? "refuse" : random.pick(["proceed", "delete"]);
  return {
    "drain-on-timeout": onTimeout,
    ...(random.chance(0.3) && { "drain-timeout": "2m" }),
    ...(random.chance(0.3) && { "reply-wait": "30s" }),
    ...(random.chance(0.2) && { "drain-concurrency": "2" }),
    ...(random.chance(0.1) && { "kube-concurrency": "2" }),
  };
}

/** What policies do in a run. They have random numbers of their own, so that most seeds do without them. */
function policiesOf(seed: number, store: Plan["store"]): {
  readonly slots: number;
  readonly flags: Readonly<Record<string, string>>;
  incidentsUntil(endMs: number): Incident[];
} {
  const random = new Random(seed ^ 0x9011c1e5);
  const slots = random.chance(0.25) ? 2 + random.below(2) : 1;
  const yields = random.chance(0.2) && store === "kubernetes";
  const acts = Object.keys(POLICY_ACTS).filter(() => random.chance(0.15));
  return {
    slots,
    flags: yields ? { "drain-on-timeout": "yield", ...(random.chance(0.7) && { "drain-timeout": "2m" }) } : {},
    incidentsUntil(endMs) {
      const incidents: Incident[] = [];
      if (store !== "kubernetes" || acts.length === 0) return incidents;
      for (let at = random.between(0, 300_000); at < endMs; at += random.between(0, 600_000)) {
        incidents.push({ at, kind: random.pick(acts), seed: random.bits() });
      }
      return incidents;
    },
  };
}

/** Which lists come in pages, and what happens to Nodes and pods besides, under a quarter of the seeds. */
function clusterOf(seed: number, store: Plan["store"]): {
  readonly pageSize: number;
  incidentsUntil(endMs: number): Incident[];
} {
  const random = new Random(seed ^ 0xc1a57e2);
  const kinds = Object.keys(CLUSTER_ACTS).filter(() => random.chance(0.5));
  if (store !== "kubernetes" || seed % 4 !== 0) return { pageSize: Infinity, incidentsUntil: () => [] };
  return {
    pageSize: random.chance(0.5) ? 2 : Infinity,
    incidentsUntil(endMs) {
      const incidents: Incident[] = [];
      if (kinds.length === 0) return incidents;
      for (let at = random.between(0, 200_000); at < endMs; at += random.between(0, 300_000)) {
        incidents.push({ at, kind: random.pick(kinds), seed: random.bits() });
      }
      return incidents;
    },
  };
}

/** What can happen with each store. */
const INCIDENT_KINDS: Readonly<Record<Plan["store"], readonly string[]>> = {
  kubernetes: FAULT_KINDS,
  sqlite: ["replica killed", "all replicas killed", "replica paused", "clock jumps", "host never comes back for long"],
  memory: ["replica paused", "clock jumps"],
};

function incidentsOf(random: Random, endMs: number, possible: readonly string[]): Incident[] {
  // Some seeds know many faults, others few: what one kind does alone is lost among many.
  const kinds = possible.filter(() => random.chance(random.chance(0.3) ? 1 : 0.5));
  if (kinds.length === 0) return [];
  const pauseMs = random.pick([20_000, 60_000, 180_000]);
  const incidents: Incident[] = [];
  for (let at = random.between(0, pauseMs); at < endMs; at += random.between(0, 2 * pauseMs)) {
    incidents.push({ at, kind: random.pick(kinds), seed: random.bits() });
  }
  return incidents;
}
