/**
 * What administrators, controllers and kubelets do to a cluster while a fleet updates. Each act is told to the observer
 * before it happens. What would keep a run from coming to rest is put right by the act itself.
 *
 * @module
 */

import type { Random } from "../../src/simulator/random.ts";
import type { Fault } from "./faults.ts";
import type { Host } from "./hosts/host.ts";
import { ifPossible, type Machine, withReady } from "./world/machine.ts";
import type { Stored } from "./world/objects.ts";
import { ownFields } from "./world/patch.ts";
import type { World } from "./world.ts";

/** The annotation that says for whom a node is cordoned. */
const CORDONED_FOR = "fleetlock.internal/cordoned-for";

/** Everything that administrators do, by name. */
export const ADMINISTRATOR_ACTS: Readonly<Record<string, Fault>> = {
  "node uncordoned"(world, random, took) {
    if (uncordon(world, someHost(world, random).machine.name)) took();
  },
  "node cordoned for a while"(world, random, took) {
    const { name } = someHost(world, random).machine;
    if (!cordon(world, name)) return;
    took();
    world.scheduler.after(random.between(2_000, 300_000), () => uncordon(world, name));
  },
  "node uncordoned, and cordoned again"(world, random, took) {
    const { name } = someHost(world, random).machine;
    if (uncordon(world, name)) took();
    world.scheduler.after(random.between(0, 4_000), () => {
      if (!cordon(world, name)) return;
      world.scheduler.after(random.between(5_000, 200_000), () => uncordon(world, name));
    });
  },
  "holder taken out of the Lease"(world, random, took) {
    const { group } = someHost(world, random);
    if (freeAll(world, group)) took();
  },
  "Lease deleted"(world, random, took) {
    const { group } = someHost(world, random);
    const key = `ops/fleetlock-${group}`;
    const lease = world.api.store.get("leases", key);
    if (lease === undefined) return;
    for (const id of holdersOf(lease)) world.observer.freeing(group, id);
    world.note(group, "an administrator deletes the Lease");
    took();
    ifPossible(() => world.api.store.delete("leases", key));
  },
  "Lease deleted with a finalizer"(world, random, took) {
    const { group } = someHost(world, random);
    const key = `ops/fleetlock-${group}`;
    const { store } = world.api;
    const lease = store.get("leases", key);
    if (lease === undefined || lease.metadata.deletionTimestamp) return;
    world.note(group, "an administrator deletes the Lease, which has a finalizer");
    took();
    store.update("leases", key, (now) => ({ ...now, metadata: { ...now.metadata, finalizers: ["sim/hold"] } }));
    store.delete("leases", key);
    world.scheduler.after(random.between(1_000, 120_000), () => {
      const now = store.get("leases", key);
      if (now === undefined) return;
      // A backup from before the deletion brings the Lease back as it was.
      if (now.metadata.deletionTimestamp) { for (const id of holdersOf(now)) world.observer.freeing(group, id); }
      store.update("leases", key, (last) => ({ ...last, metadata: { ...last.metadata, finalizers: [] } }));
    });
  },
  "Node deleted and registered again"(world, random, took) {
    const { machine } = someHost(world, random);
    if (machine.node === undefined) return;
    world.note(machine.name, "an administrator deletes the Node");
    took();
    world.api.store.delete("nodes", machine.name);
    world.scheduler.after(random.between(0, 60_000), () => {
      // Its kubelet is started again. That of a machine that is down starts with it.
      if (machine.isKubeletUp && machine.node === undefined) machine.report();
    });
  },
  "id lost for a while"(world, random, took) {
    const { machine } = someHost(world, random);
    const { store } = world.api;
    const change = (isLost: boolean) =>
      ifPossible(() =>
        store.update("nodes", machine.name, (node) => {
          world.note(machine.name, isLost ? "its id is lost" : "its id is back");
          if (machine.isNamed) {
            const { "fleetlock.internal/id": _, ...annotations } = node.metadata.annotations ?? {};
            const named = isLost ? annotations : { ...annotations, "fleetlock.internal/id": machine.id };
            return { ...node, metadata: { ...node.metadata, annotations: named } };
          }
          const nodeInfo = { ...node.status.nodeInfo, machineID: isLost ? "" : machine.machineId };
          return { ...node, status: { ...node.status, nodeInfo } };
        })
      );
    if (change(true) !== undefined) took();
    world.scheduler.after(random.between(500, 60_000), () => change(false));
  },
  "budget allows nothing for a while"(world, random, took) {
    const { budgets } = world.api.disruptions;
    if (budgets.length === 0) return;
    const budget = random.pick(budgets);
    budget.isFrozen = true;
    took();
    world.note(budget.name, "allows nothing");
    world.scheduler.after(random.between(2_000, random.chance(0.3) ? 1_500_000 : 120_000), () => {
      budget.isFrozen = false;
      world.note(budget.name, "allows something again");
    });
  },
  "budget deleted and made again for a while"(world, random, took) {
    const { budgets } = world.api.disruptions;
    if (budgets.length === 0) return;
    const budget = random.pick(budgets);
    budget.isVanishing = true;
    took();
    world.note(budget.name, "is deleted and made again");
    world.scheduler.after(random.between(1_000, 60_000), () => void (budget.isVanishing = false));
  },
  "Node deleted with a finalizer"(world, random, took) {
    deleteWithFinalizer(world, random, someHost(world, random).machine, took);
  },
  "host never comes back for long"(world, random, took) {
    const host = world.hosts.find(({ machine }) => machine.isDown);
    if (host === undefined || host.heldDownUntil > world.scheduler.now) return;
    host.heldDownUntil = world.scheduler.now + random.between(300_000, 1_800_000);
    world.note(host.machine.name, "it does not come up for long");
    took();
    if (!random.chance(0.5)) return;
    // An administrator lets the others go on meanwhile.
    world.scheduler.after(random.between(60_000, 300_000), () => {
      freeAll(world, host.group);
    });
  },
  "Node registered under another name"(world, random, took) {
    const { machine } = someHost(world, random);
    if (!machine.isKubeletUp || machine.isDown) return;
    const before = machine.name;
    world.note(before, `its kubelet is started again as ${before}y`);
    took();
    machine.stopKubelet();
    machine.name = `${before}y`;
    machine.startKubelet();
    // An administrator removes the old one, sooner or later.
    world.scheduler.after(random.between(1_000, 600_000), () => {
      ifPossible(() => world.api.store.delete("nodes", before));
    });
  },
  "annotation of a cordon edited"(world, random, took) {
    const { machine } = someHost(world, random);
    const text = random.pick(["", "{}", "[]", "?"]);
    ifPossible(() =>
      world.api.store.update("nodes", machine.name, (node) => {
        if (node.metadata.annotations?.[CORDONED_FOR] === undefined) return node;
        world.note(machine.name, `an administrator sets the annotation of its cordon to ${text || "nothing"}`);
        took();
        // A Node that is not cordoned may be cordoned by the program all the same.
        if (node.spec?.unschedulable) world.observer.adminCordons.add(machine.name);
        const { [CORDONED_FOR]: _, ...annotations } = node.metadata.annotations;
        const edited = text === "" ? annotations : { ...annotations, [CORDONED_FOR]: text };
        return { ...node, metadata: { ...node.metadata, annotations: edited } };
      })
    );
    // Whoever edits it also clears up.
    world.scheduler.after(random.between(60_000, 300_000), () => {
      const now = machine.node?.metadata.annotations?.[CORDONED_FOR];
      if (now === text) clearCordon(world, machine.name);
      else uncordon(world, machine.name);
    });
  },
  "etcd restored from a backup"(world, random, took) {
    const { api, scheduler, observer, replicas } = world;
    const backup = api.store.backup();
    const cordons = new Set(observer.adminCordons);
    world.note("etcd", "a backup is made");
    scheduler.after(random.between(5_000, 600_000), () => {
      if (world.isHealed) return;
      world.note("etcd", "goes back to the backup");
      took();
      observer.restoring(
        api.store.list("leases").flatMap((lease) => {
          return holdersOf(lease).map((id) => ({ group: lease.metadata.name.replace(/^fleetlock-/, ""), id }));
        }),
      );
      // The API server starts anew, as it must: otherwise its cache would show the old history for good. It shows
      // nothing of this to those that watched. Where it was told to stop, it ends their watches in order. Those that do
      // not notice that it is away, such as a replica that is paused, then go on at versions of the future.
      const isOrderly = random.chance(0.5);
      if (!world.server.isAway) {
        world.server.isAway = true;
        scheduler.after(random.between(500, 10_000), () => void (world.server.isAway = false));
      }
      for (const { link } of replicas) {
        if (isOrderly && !world.nodesChangeOften) link?.endWatches();
        // Where its machine loses its power, nobody ends them.
        else if (!isOrderly) link?.reset();
        for (const watch of link?.watches ?? []) watch.isSilent = true;
      }
      api.store.restore(backup);
      observer.adminCordons.clear();
      for (const name of cordons) observer.adminCordons.add(name);
      world.evictions.forget();
      scheduler.after(random.between(60_000, 300_000), () => freeForgotten(world));
      for (const machine of world.machines) {
        if (machine.isKubeletUp) {
          scheduler.after(random.between(100, 20_000), () => machine.isKubeletUp && machine.report());
        }
      }
      // The attach-detach controller detaches what no pod uses that the backup knows.
      scheduler.after(15_000, () => {
        const pods = new Set(
          api.store.list("pods").map(({ metadata }) => `${metadata.name}-${metadata.uid.slice(0, 8)}`),
        );
        for (const { metadata: { name } } of api.store.list("volumeattachments")) {
          if (!pods.has(name)) ifPossible(() => api.store.delete("volumeattachments", name));
        }
      });
      // The node controller finds out which kubelets do not report.
      scheduler.after(random.between(40_000, 50_000), () => {
        for (const { metadata: { name } } of api.store.list("nodes")) {
          if (world.machines.some((machine) => machine.name === name && machine.isKubeletUp)) continue;
          ifPossible(() => api.store.update("nodes", name, (node) => withReady(node, "Unknown", scheduler.now)));
        }
      });
    });
  },
  "kubelet dead for a while"(world, random, took) {
    const { machine } = someHost(world, random);
    if (!machine.isKubeletUp || machine.isDown) return;
    world.note(machine.name, "its kubelet is dead");
    took();
    machine.stopKubelet();
    world.scheduler.after(random.between(5_000, 400_000), () => {
      if (machine.isDown) return;
      world.note(machine.name, "its kubelet runs again");
      machine.startKubelet();
    });
  },
  "pods stop slowly for a while"(world, random, took) {
    const { machine } = someHost(world, random);
    machine.isSlow = true;
    world.note(machine.name, "its pods stop slowly");
    took();
    world.scheduler.after(random.between(10_000, 300_000), () => void (machine.isSlow = false));
  },
  "scheduler behind for a while"(world, random, took) {
    world.controllers.behindMs = random.between(2_000, 20_000);
    world.note("scheduler", "is behind");
    took();
    world.scheduler.after(random.between(10_000, 300_000), () => void (world.controllers.behindMs = 1_500));
  },
  "right taken away for a while"(world, random, took) {
    took();
    takeRight(world, random, [
      "list pods",
      "watch pods",
      "create pods/eviction",
      "patch nodes",
      "get nodes",
      "list nodes",
      "watch nodes",
      "update leases",
      "get leases",
      "list leases",
      "watch leases",
      "list volumeattachments",
    ]);
  },
};

/** Deletes the Node of a machine, which a finalizer keeps for a while. */
export function deleteWithFinalizer(world: World, random: Random, machine: Machine, took: () => void): void {
  const { store } = world.api;
  const { name } = machine;
  if (machine.node === undefined || machine.node.metadata.deletionTimestamp) return;
  world.note(name, "an administrator deletes the Node, which has a finalizer");
  took();
  store.update("nodes", name, (node) => ({ ...node, metadata: { ...node.metadata, finalizers: ["sim/hold"] } }));
  store.delete("nodes", name);
  world.scheduler.after(random.between(5_000, 240_000), () => {
    ifPossible(() =>
      store.update("nodes", name, (node) => ({ ...node, metadata: { ...node.metadata, finalizers: [] } }))
    );
    world.scheduler.after(random.between(1_000, 30_000), () => {
      if (machine.isKubeletUp && machine.node === undefined) machine.report();
    });
  });
}

/** Takes one of some rights away from all replicas for a while. */
export function takeRight(world: World, random: Random, rights: readonly string[]): void {
  const right = random.pick(rights);
  world.api.denied.add(right);
  world.note("API server", `denies ${right}`);
  world.scheduler.after(random.between(1_000, 180_000), () => {
    world.api.denied.delete(right);
    world.note("API server", `allows ${right} again`);
  });
}

/** Uncordons a Node and removes what is left of the annotation of its cordon. */
export function clearCordon(world: World, name: string): void {
  ifPossible(() =>
    world.api.store.update("nodes", name, (node) => {
      const { [CORDONED_FOR]: _, ...annotations } = node.metadata.annotations ?? {};
      return { ...node, metadata: { ...node.metadata, annotations } };
    })
  );
  uncordon(world, name);
}

/** Uncordons a Node as `kubectl uncordon` does. @returns Whether it was cordoned. */
export function uncordon(world: World, name: string): boolean {
  world.observer.adminCordons.delete(name);
  return changeCordon(world, name, false);
}

/** Cordons a Node if it is not cordoned. Returns whether it did. */
export function cordon(world: World, name: string): boolean {
  const node = world.api.store.get("nodes", name);
  if (node === undefined || node.spec?.unschedulable) return false;
  world.observer.adminCordons.add(name);
  changeCordon(world, name, true);
  return true;
}

function changeCordon(world: World, name: string, unschedulable: boolean): boolean {
  const { store } = world.api;
  const node = store.get("nodes", name);
  if (node === undefined || (node.spec?.unschedulable === true) === unschedulable) return false;
  world.note(name, `an administrator ${unschedulable ? "cordons" : "uncordons"} it`);
  const time = `${new Date(world.scheduler.now).toISOString().slice(0, 19)}Z`;
  store.update("nodes", name, (before) => {
    const { unschedulable: _, ...spec } = before.spec ?? {};
    const after = { ...before, spec: unschedulable ? { ...spec, unschedulable } : spec };
    return ownFields(before, after, "kubectl", time);
  });
  return true;
}

/** Frees all slots of a group. @returns Whether there were any. */
export function freeAll(world: World, group: string): boolean {
  const key = `ops/fleetlock-${group}`;
  const lease = world.api.store.get("leases", key);
  if (lease === undefined || holdersOf(lease).length === 0) return false;
  freeSlots(world, group, holdersOf(lease), "frees its slots");
  return true;
}

/** Takes holders out of the Lease of a group. `says` is what the timeline says that an administrator does. */
export function freeSlots(world: World, group: string, ids: readonly string[], says: string): void {
  world.note(group, `an administrator ${says}`);
  for (const id of ids) world.observer.freeing(group, id);
  world.api.store.update("leases", `ops/fleetlock-${group}`, (now) => {
    const holderIdentity = holdersOf(now).filter((id) => !ids.includes(id)).join(",");
    return { ...now, spec: { ...now.spec, holderIdentity } };
  });
}

/** Frees the slots of hosts that neither ask nor reboot, which only a restored Lease names. */
export function freeForgotten(world: World): void {
  for (const lease of world.api.store.list("leases")) {
    const group = lease.metadata.name.replace(/^fleetlock-/, "");
    const forgotten = holdersOf(lease).filter((id) => !world.hosts.some((host) => host.id === id && host.isBusy));
    if (forgotten.length === 0) continue;
    freeSlots(world, group, forgotten, `frees the slot of ${forgotten.join(", ")}`);
  }
}

/** The ids of the holders of a Lease. */
export function holdersOf(lease: Stored): string[] {
  return (lease.spec?.holderIdentity ?? "").split(",").filter((id: string) => id !== "");
}

/** A host: mostly one in its turn or being drained, where an act hurts most. */
export function someHost({ hosts }: World, random: Random): Host {
  const cordoned = hosts.filter((host) => host.isCordoned);
  return random.pick(cordoned.length > 0 && random.chance(0.75) ? cordoned : hosts);
}
