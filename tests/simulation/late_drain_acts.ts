/**
 * What happens while pods that a budget holds back keep a drain from its end until its time is over: its host joins as
 * another Node, a second Node shows the host's id, or nobody can drain from the start until after the time limit. Then
 * `proceed` and `delete` permit more than a drain does, and each of that needs reasons of its own. Faults that are
 * drawn at random hit such a moment in none of hundreds of seeds. They are drawn from random numbers of their own, for
 * seeds that no test and no mutant named before, and come after all other incidents of a plan.
 *
 * @module
 */

import { Random } from "../../src/simulator/random.ts";
import { look } from "./aimed_acts.ts";
import { deleteWithFinalizer, uncordon } from "./administrator.ts";
import { askingHolders, rename } from "./busy_acts.ts";
import type { Fault } from "./faults.ts";
import type { Host } from "./hosts/host.ts";
import type { Incident, Plan } from "./plan.ts";
import type { ApiCall } from "./world/api.ts";
import { ifPossible } from "./world/machine.ts";
import type { World } from "./world.ts";

/** What the plan of a seed says about time-outs, and the incidents of this module. */
export interface LateDrainPlan {
  readonly flags: Readonly<Record<string, string>>;
  /** The incidents until a time, in milliseconds from the start. */
  incidentsUntil(endMs: number): Incident[];
}

/** How long budgets hold pods back after the moment that an act is about, in milliseconds. */
const HELD_BACK_MS = [10_000, 900_000] as const;

/** How long to look for a drain, in milliseconds. */
const LOOK_MS = 600_000;

/** What changes right before the time of a drain is over. */
type Change = (world: World, random: Random, host: Host, took: () => void) => void;

/** Draws it for a plan: a sixth of the seeds, none of which a test named. */
export function lateDrainPlanOf(seed: number, store: Plan["store"]): LateDrainPlan {
  if (store !== "kubernetes" || seed <= 130 || ![2, 4, 10, 21].includes(seed % 24)) {
    return { flags: {}, incidentsUntil: () => [] };
  }
  const random = new Random(seed ^ 0x1a7ed);
  const flags = {
    "drain-on-timeout": random.pick(["proceed", "proceed", "delete"]),
    "drain-timeout": random.pick(["2m", "2m", "2m", "4m", "7m"]),
  };
  return {
    flags,
    incidentsUntil(endMs) {
      const incidents: Incident[] = [];
      for (let at = random.between(0, 200_000); at < endMs; at += random.between(0, 300_000)) {
        const kind = random.chance(0.25) ? OUTAGE : random.pick(Object.keys(LATE_DRAIN_ACTS));
        incidents.push({ at, kind, seed: random.bits() });
      }
      return incidents;
    },
  };
}

const OUTAGE = "outage from the start of a drain until after its time";

/** What happens, by name. */
export const LATE_DRAIN_ACTS: Readonly<Record<string, Fault>> = {
  "host joins as another Node when the time of its drain is nearly over": beforeTimeOut((world, random, host, took) => {
    rename(world, random, took, host, host.waitsFor ?? random.pick(world.replicas), random.chance(0.3));
  }),
  "second Node shows the id of a host when the time of its drain is nearly over": beforeTimeOut(addSecondNode),
  "Node deleted and registered again when the time of its drain is nearly over": beforeTimeOut(
    ({ api, note, scheduler }, random, { machine }, took) => {
      note(machine.name, "an administrator deletes the Node");
      took();
      ifPossible(() => api.store.delete("nodes", machine.name));
      scheduler.after(random.between(0, random.chance(0.5) ? 3_000 : 60_000), () => {
        if (machine.isKubeletUp && machine.node === undefined) machine.report();
      });
    },
  ),
  "Node deleted with a finalizer when the time of its drain is nearly over": beforeTimeOut(
    (world, random, { machine }, took) => deleteWithFinalizer(world, random, machine, took),
  ),
  "Node uncordoned when the time of its drain is nearly over": beforeTimeOut((world, _random, { machine }, took) => {
    if (uncordon(world, machine.name)) took();
  }),
  [OUTAGE](world, random, took) {
    const { scheduler, drainTimeoutMs } = world;
    const begin = scheduler.now;
    const release = holdPodsBack(world);
    if (release === undefined) return;
    scheduler.after(LOOK_MS, () => isOver || release());
    const outage = random.pick(OUTAGES);
    const startMs = random.chance(0.6) ? random.between(0, 50) : random.between(0, 0.9 * drainTimeoutMs);
    const moreMs = random.between(-10_000, random.chance(0.5) ? 60_000 : 600_000);
    const isFirst = random.chance(0.5);
    let isOver = false;
    const granted = (call: ApiCall) => {
      if (isOver || scheduler.now - begin > LOOK_MS) return undefined;
      return askingHolders(world).find((host) => isStartOf(world, call, host, isFirst));
    };
    for (const replica of world.replicas) {
      world.onCall(replica, 0, (call) => {
        const host = granted(call)!;
        isOver = true;
        const until = world.observer.grantOf(host.group, host.id)!.at + drainTimeoutMs + moreMs;
        scheduler.after(startMs, () => {
          if (world.isHealed) return;
          took();
          world.note(host.machine.name, "nobody can drain it from now on");
          const end = outage(world, random);
          const forMs = Math.max(until - scheduler.now, 0);
          world.longestStopMs = Math.max(world.longestStopMs, forMs);
          scheduler.after(forMs, () => {
            if (!world.isHealed) end();
            scheduler.after(random.between(...HELD_BACK_MS), release);
          });
        });
      }, (call) => granted(call) !== undefined);
    }
  },
};

/** Ways in which nobody can drain. Each begins now, and returns what ends it. */
const OUTAGES: readonly ((world: World, random: Random) => () => void)[] = [
  function killAll({ replicas, scheduler, note, startReplica }, random) {
    for (const replica of replicas) {
      note(replica.name, "is killed");
      replica.kill();
    }
    return () => {
      for (const replica of replicas) scheduler.after(random.between(0, 5_000), () => startReplica(replica, 0));
    };
  },
  function pauseAll({ replicas, note }) {
    const paused = replicas.flatMap(({ name, process }) => {
      if (process === undefined || process.backlog !== undefined) return [];
      note(name, "is paused");
      process.pause();
      return [{ name, process }];
    });
    return () => {
      for (const { name, process } of paused) {
        note(name, "goes on");
        process.resume();
      }
    };
  },
  function takeAwayServer({ replicas, server, note }) {
    note("API server", "is away");
    server.isAway = true;
    for (const { link } of replicas) link?.reset();
    return () => {
      note("API server", "is back");
      server.isAway = false;
    };
  },
];

/** Whether a call begins the drain of a host's Node: the grant, or the cordon that follows it. */
function isStartOf({ observer, scheduler }: World, { method, path }: ApiCall, host: Host, isGrant: boolean): boolean {
  const { group, id, machine } = host;
  const grant = observer.grantOf(group, id);
  if (grant === undefined || host.waitsFor === undefined) return false;
  if (isGrant) return grant.at === scheduler.now && path.includes("/leases");
  return method === "PATCH" && path.startsWith(`/api/v1/nodes/${machine.name}`) && scheduler.now - grant.at < 5_000;
}

/** Makes an act of a change that comes right before the time of a drain is over, or a part of its time before. */
function beforeTimeOut(change: Change): Fault {
  return (world, random, took) => {
    const { scheduler, drainTimeoutMs, observer } = world;
    const release = holdPodsBack(world);
    if (release === undefined) return;
    const beforeMs = random.between(0, random.pick([5_000, 5_000, 30_000, 0.5 * drainTimeoutMs]));
    let isFound = false;
    scheduler.after(LOOK_MS, () => isFound || release());
    look(world, () => {
      const grantOf = ({ group, id }: Host) => observer.grantOf(group, id)?.at ?? -Infinity;
      const host = askingHolders(world).find((one) => {
        return one.isCordoned && hasPodsLeft(world, one) && scheduler.now - grantOf(one) < 0.4 * drainTimeoutMs;
      });
      if (host === undefined) return false;
      isFound = true;
      scheduler.after(Math.max(grantOf(host) + drainTimeoutMs - beforeMs - scheduler.now, 0), () => {
        scheduler.after(random.between(...HELD_BACK_MS), release);
        const { machine } = host;
        const isAsking = host.askingSince !== undefined && !machine.isDown && machine.isKubeletUp;
        if (!world.isHealed && isAsking && machine.node !== undefined) change(world, random, host, took);
      });
      return true;
    });
  };
}

/** The worlds in which pods are held back. */
const HOLDING = new WeakSet<World>();

/**
 * Lets no pod go that a budget may hold back.
 *
 * @returns What lets them go; undefined where another act holds them back, since two at a time spoil each other.
 */
function holdPodsBack(world: World): (() => void) | undefined {
  if (world.isHealed || HOLDING.has(world)) return undefined;
  HOLDING.add(world);
  const { api: { disruptions: { budgets }, store }, note } = world;
  note("budgets", "allow nothing");
  const controlled = store.list("pods").filter(({ metadata }) => metadata.ownerReferences?.[0]?.kind !== "DaemonSet");
  for (const app of new Set(controlled.map(({ metadata }) => metadata.labels.app))) {
    if (!budgets.some((budget) => budget.app === app)) budgets.push({ name: `${app}-late`, app, minAvailable: 0 });
  }
  for (const budget of budgets) budget.isFrozen = true;
  return () => {
    if (!HOLDING.delete(world)) return;
    note("budgets", "allow something again");
    for (const budget of budgets) budget.isFrozen = false;
  };
}

/** Whether pods run on the Node of a host that its drain waits for. */
function hasPodsLeft({ api }: World, { machine }: Host): boolean {
  return api.store.list("pods").some(({ metadata, spec, status }) => {
    const isDrained = metadata.ownerReferences?.[0]?.kind !== "DaemonSet" && !metadata.deletionTimestamp;
    return spec.nodeName === machine.name && isDrained && status.phase === "Running";
  });
}

/**
 * Registers a further Node that shows the id of a host, as a clone of its machine does. It is deleted after a while.
 */
function addSecondNode({ api, note, scheduler }: World, random: Random, { machine }: Host, took: () => void): void {
  const { name, isNamed, id, node } = machine;
  const second = `${name}c`;
  const ms = random.between(5_000, random.chance(0.5) ? 60_000 : 600_000);
  const isMade = ifPossible(() =>
    api.store.create("nodes", {
      metadata: {
        name: second,
        labels: { "kubernetes.io/hostname": second },
        ...(isNamed && { annotations: { "fleetlock.internal/id": id } }),
      },
      spec: {},
      status: { ...node!.status, nodeInfo: { ...node!.status.nodeInfo, bootID: random.hex(32) } },
    })
  );
  if (isMade === undefined) return;
  took();
  note(second, `it shows the id of ${name}`);
  scheduler.after(ms, () => ifPossible(() => api.store.delete("nodes", second)));
}
