/**
 * What happens under the seeds in which the watch of the Nodes proves which ones a host has: hosts that join again
 * under another name right before they ask, at a replica whose watch does not show that, or shows what a backup has
 * undone. Elsewhere such a moment is hit once in hundreds of seeds.
 *
 * @module
 */

import { Random } from "../../src/simulator/random.ts";
import { ADMINISTRATOR_ACTS, holdersOf } from "./administrator.ts";
import type { Fault } from "./faults.ts";
import type { Host } from "./hosts/host.ts";
import type { Incident } from "./plan.ts";
import { ifPossible } from "./world/machine.ts";
import type { Replica } from "./world/replica.ts";
import type { World } from "./world.ts";

/** How long to look for a host that asks, in milliseconds. */
const LOOK_MS = 600_000;

const RENAME = "Node registered under another name as its host asks";
const RESTORE = "etcd restored from a backup, and hosts ask as other Nodes";

/** The incidents of a seed until a time, in milliseconds from the start. They have random numbers of their own. */
export function busyIncidentsUntil(seed: number, endMs: number): Incident[] {
  const random = new Random(seed ^ 0xb5f);
  const restoreChance = random.chance(0.5) ? 0.2 : 0;
  const incidents: Incident[] = [];
  for (let at = random.between(0, 200_000); at < endMs; at += random.between(0, 400_000)) {
    incidents.push({ at, kind: random.chance(restoreChance) ? RESTORE : RENAME, seed: random.bits() });
  }
  return incidents;
}

/** What happens, by name. */
export const BUSY_ACTS: Readonly<Record<string, Fault>> = {
  [RENAME](world, random, took) {
    const { scheduler } = world;
    const begin = scheduler.now;
    const isMissed = random.chance(0.7);
    const look = () => {
      if (world.isHealed || scheduler.now - begin > LOOK_MS) return;
      const [host] = askingHolders(world);
      if (host === undefined) return void scheduler.after(5_000, look);
      host.beforeNextAsk = (replica) => rename(world, random, took, host, replica, isMissed);
    };
    look();
  },
  // Watches then show the old history, and the versions of the new one come again.
  [RESTORE](world, random, took) {
    const { scheduler, observer } = world;
    const begin = scheduler.now;
    ADMINISTRATOR_ACTS["etcd restored from a backup"]!(world, random, () => {});
    const look = () => {
      if (world.isHealed || scheduler.now - begin > LOOK_MS + 1_000) return;
      if (observer.restoredAt < begin) {
        random.pick(world.machines).beat();
        return void scheduler.after(random.between(100, 2_000), look);
      }
      for (const host of askingHolders(world)) {
        host.beforeNextAsk = (replica) => rename(world, random, took, host, replica, false);
      }
    };
    scheduler.after(1_000, look);
  },
};

/** The hosts that hold a slot and go on asking. */
export function askingHolders({ api, hosts }: World): Host[] {
  const held = new Set(api.store.list("leases").flatMap(holdersOf));
  return hosts.filter(({ id, askingSince }) => askingSince !== undefined && held.has(id));
}

/** Starts a host's kubelet again under another name, where the watch of the replica may miss that. */
export function rename(
  world: World,
  random: Random,
  took: () => void,
  host: Host,
  replica: Replica,
  isMissed: boolean,
): void {
  const { machine } = host;
  if (world.isHealed || !machine.isKubeletUp || machine.isDown) return;
  const before = machine.name;
  took();
  world.timeline.count("Node registered under another name right before a request");
  world.note(before, `its kubelet is started again as ${before}z, and its host asks`);
  if (isMissed) {
    for (const watch of replica.link?.watches ?? []) if (watch.request.kind.plural === "nodes") watch.isSilent = true;
  }
  machine.stopKubelet();
  machine.name = `${before}z`;
  machine.startKubelet();
  ifPossible(() => machine.report());
  world.scheduler.after(random.between(1_000, 600_000), () => {
    ifPossible(() => world.api.store.delete("nodes", before));
  });
}
