/**
 * The faults of replicas, connections and the API server. Each is drawn from its own seed, so that a schedule without
 * some of them is still a schedule.
 *
 * A watch of Kubernetes never drops single events and goes on: the API server ends it instead. So a watch misses events
 * only by a gap: it goes silent ("watches silent", "connections gone silent for good", "partition"), or it ends and the
 * next one begins later ("connections reset", "API server away"), from a version that etcd may have forgotten by then
 * ("versions compacted", "etcd restored from a backup"), so that the program must list again.
 *
 * @module
 */

import type { Random } from "../../src/simulator/random.ts";
import { ADMINISTRATOR_ACTS } from "./administrator.ts";
import { AIMED_ACTS } from "./aimed_acts.ts";
import { CLUSTER_ACTS } from "./cluster_acts.ts";
import { BUSY_ACTS } from "./busy_acts.ts";
import { GONE_NODE_ACTS } from "./gone_nodes.ts";
import { HELD_BACK_ACTS } from "./held_back_acts.ts";
import { HOST_WITHOUT_NODE_ACTS } from "./host_without_node_acts.ts";
import { LATE_DRAIN_ACTS } from "./late_drain_acts.ts";
import { LATER_ACTS } from "./later_acts.ts";
import type { LinkState } from "./world/network.ts";
import { POLICY_ACTS } from "./policy_acts.ts";
import type { World } from "./world.ts";

/** A fault. It ends by itself. It calls `took` when it takes effect, which not every fault can, or can at once. */
export type Fault = (world: World, random: Random, took: () => void) => void;

/** Changes the link of a replica for a while. */
function disturbLink(
  world: World,
  random: Random,
  took: () => void,
  text: string,
  change: Partial<LinkState>,
  [minMs, maxMs]: readonly [number, number],
): void {
  const { replicas, scheduler, timeline } = world;
  const replica = random.pick(replicas);
  const { link } = replica;
  if (link === undefined) return;
  const before: Partial<LinkState> = {};
  const calm: LinkState = { isCut: false, isRefused: false, lossChance: 0, lateMs: 0, delayMs: 0, lagMs: 0 };
  for (const name of Object.keys(change) as (keyof LinkState)[]) Object.assign(before, { [name]: calm[name] });
  timeline.add(replica.name, text);
  took();
  Object.assign(link.state, change);
  scheduler.after(random.between(minMs, maxMs), () => {
    timeline.add(replica.name, `end of: ${text}`);
    Object.assign(link.state, before);
  });
}

/** The faults of the program's processes, its connections and the API server, by name. */
const FAULTS: Readonly<Record<string, Fault>> = {
  "replica killed"({ replicas, scheduler, timeline, startReplica }, random, took) {
    const replica = random.pick(replicas);
    if (replica.process === undefined) return;
    timeline.add(replica.name, "is killed");
    took();
    replica.kill();
    const offsetMs = random.chance(0.3) ? random.between(-7_200_000, 7_200_000) : 0;
    scheduler.after(random.between(100, 60_000), () => startReplica(replica, offsetMs));
  },
  "all replicas killed"({ replicas, scheduler, timeline, startReplica }, random, took) {
    for (const replica of replicas) {
      if (replica.process === undefined) continue;
      timeline.add(replica.name, "is killed");
      took();
      replica.kill();
      scheduler.after(random.between(100, 20_000), () => startReplica(replica, 0));
    }
  },
  "replica killed in the middle of a call"({ replicas, scheduler, timeline, startReplica, onCall }, random, took) {
    const replica = random.pick(replicas);
    const skipped = random.below(20);
    onCall(replica, skipped, () => {
      timeline.add(replica.name, "is killed right after a call of it has taken effect");
      took();
      replica.kill();
      scheduler.after(random.between(100, 30_000), () => startReplica(replica, 0));
    });
  },
  "replica paused"({ replicas, scheduler, timeline }, random, took) {
    const replica = random.pick(replicas);
    const { process } = replica;
    if (process === undefined || process.backlog !== undefined) return;
    timeline.add(replica.name, "is paused");
    took();
    process.pause();
    scheduler.after(random.between(500, random.chance(0.3) ? 600_000 : 30_000), () => {
      timeline.add(replica.name, "goes on");
      process.resume();
    });
  },
  "clock jumps"({ replicas, timeline }, random, took) {
    const replica = random.pick(replicas);
    if (replica.process === undefined) return;
    replica.process.offsetMs = random.between(-10_000_000, 10_000_000);
    took();
    timeline.add(replica.name, `its clock is ${Math.round(replica.process.offsetMs / 1000)} s ahead`);
  },
  "partition": (world, random, took) =>
    disturbLink(world, random, took, "is cut off", { isCut: true }, [1_000, 180_000]),
  "connections refused": (world, random, took) => {
    disturbLink(world, random, took, "its connections are refused", { isRefused: true }, [500, 90_000]);
  },
  "answers lost": (world, random, took) => {
    const lossChance = random.between(0.05, 0.7);
    disturbLink(world, random, took, "answers to it are lost", { lossChance }, [2_000, 120_000]);
  },
  "calls late": (world, random, took) => {
    disturbLink(world, random, took, "its calls arrive late", { lateMs: random.between(1_000, 25_000) }, [
      2_000,
      60_000,
    ]);
  },
  "answers slow": (world, random, took) => {
    disturbLink(world, random, took, "answers to it are slow", { delayMs: random.between(100, 9_000) }, [
      2_000,
      120_000,
    ]);
  },
  "watches lag": (world, random, took) => {
    disturbLink(world, random, took, "its watches lag", { lagMs: random.between(500, 60_000) }, [5_000, 300_000]);
  },
  "watches silent"({ replicas, timeline }, random, took) {
    const { link, name } = random.pick(replicas);
    for (const watch of link?.watches ?? []) {
      if (!random.chance(0.7)) continue;
      watch.isSilent = true;
      took();
    }
    timeline.add(name, "its watches are silent");
  },
  "connections gone silent for good"({ replicas, timeline }, random, took) {
    const { link, name } = random.pick(replicas);
    link?.silence();
    if (link !== undefined) took();
    timeline.add(name, "its connections are silent for good");
  },
  "connections reset"({ replicas, timeline }, random, took) {
    const { link, name } = random.pick(replicas);
    link?.reset();
    if (link !== undefined) took();
    timeline.add(name, "its connections are reset");
  },
  "versions compacted"({ api, replicas, timeline }, random, took) {
    took();
    api.store.compact();
    timeline.add("etcd", "forgets all versions");
    for (const { link } of replicas) {
      for (const watch of [...link?.watches ?? []]) if (random.chance(0.5)) watch.expire();
    }
  },
  "API server away"({ server, scheduler, timeline, replicas }, random, took) {
    if (server.isAway) return;
    took();
    server.isAway = true;
    timeline.add("API server", "is away");
    for (const { link } of replicas) link?.reset();
    scheduler.after(random.between(500, 120_000), () => {
      server.isAway = false;
      timeline.add("API server", "is back");
    });
  },
  "API server fails"({ server, scheduler, timeline }, random, took) {
    took();
    server.failChance = random.between(0.02, 0.5);
    server.failStatus = random.pick([500, 503, 504, 429]);
    timeline.add("API server", `answers ${server.failStatus} to some calls`);
    scheduler.after(random.between(1_000, 90_000), () => {
      server.failChance = 0;
      timeline.add("API server", "fails no more");
    });
  },
};

/** Everything that can happen, by name. */
export const INCIDENTS: Readonly<Record<string, Fault>> = {
  ...FAULTS,
  ...ADMINISTRATOR_ACTS,
  ...AIMED_ACTS,
  ...CLUSTER_ACTS,
  ...POLICY_ACTS,
  ...GONE_NODE_ACTS,
  ...BUSY_ACTS,
  ...LATER_ACTS,
  ...HELD_BACK_ACTS,
  ...LATE_DRAIN_ACTS,
  ...HOST_WITHOUT_NODE_ACTS,
};

/** The names of what can happen under every seed of a cluster. */
export const FAULT_KINDS: readonly string[] = Object.keys({ ...FAULTS, ...ADMINISTRATOR_ACTS });
