/**
 * What happens at the very moment at which it can do harm, which faults that are drawn at random do not hit in
 * thousands of seeds: Nodes that join again or lose their id right before their hosts ask, a replica that stops between
 * its last write and its yes, and an administrator who takes over the cordon of a host that reboots.
 *
 * @module
 */

import { Random } from "../../src/simulator/random.ts";
import { readRecords } from "../chaos/nodes/history.ts";
import { cordon, holdersOf, uncordon } from "./administrator.ts";
import { askingHolders, rename } from "./busy_acts.ts";
import type { Fault } from "./faults.ts";
import { PAUSED } from "./group_check.ts";
import type { Host } from "./hosts/host.ts";
import type { Incident } from "./plan.ts";
import type { Stored } from "./world/objects.ts";
import { ifPossible } from "./world/machine.ts";
import type { ApiCall } from "./world/api.ts";
import type { Replica } from "./world/replica.ts";
import type { World } from "./world.ts";

/** How long a Node stays away at most, in milliseconds. */
const AWAY_MS = 1_500_000;

/** How long to look for a host at which something can happen, in milliseconds. */
const LOOK_MS = 600_000;

/** How long a replica stops, in milliseconds: far longer than a proof lasts. */
const STOP_MS = 40_000;

/** The incidents of some seeds until a time, in milliseconds from the start. They have random numbers of their own. */
export function aimedIncidentsUntil(seed: number, endMs: number): Incident[] {
  if (![8, 15].includes(seed % 36)) return [];
  const random = new Random(seed ^ 0x101);
  const incidents: Incident[] = [];
  for (let at = random.between(0, 200_000); at < endMs; at += random.between(0, 300_000)) {
    incidents.push({ at, kind: random.pick(Object.keys(AIMED_ACTS)), seed: random.bits() });
  }
  return incidents;
}

/** Calls `act` until it returns true, the time is over or the faults are. */
export function look(world: World, act: () => boolean): void {
  const { scheduler } = world;
  const begin = scheduler.now;
  const again = () => {
    if (world.isHealed || scheduler.now - begin > LOOK_MS || act()) return;
    scheduler.after(2_000, again);
  };
  again();
}

/** What happens, by name. */
export const AIMED_ACTS: Readonly<Record<string, Fault>> = {
  "Node joins again as its host asks for a free slot"(world, random, took) {
    const { scheduler } = world;
    const host = takeNodeOfWaiting(world, random);
    if (host === undefined) return;
    const { machine } = host;
    const begin = scheduler.now;
    const join = (replica: Replica) => {
      if (machine.isKubeletUp || machine.isDown || world.isHealed) return;
      const isOver = scheduler.now - begin > AWAY_MS;
      if (!isOver && !hasFreeSlot(world, host)) {
        // The host has taken the order, and asks again in five minutes.
        scheduler.after(0, () => void (host.beforeNextAsk = join));
        return;
      }
      took();
      world.note(machine.name, "its kubelet is started again, and its host asks");
      for (const watch of replica.link?.watches ?? []) if (watch.request.kind.plural === "nodes") watch.isSilent = true;
      machine.startKubelet();
      ifPossible(() => machine.report());
    };
    host.beforeNextAsk = join;
  },
  "Node loses its id as its host asks under another name"(world, random, took) {
    look(world, () => {
      const host = askingHolders(world).find(({ machine }) => !machine.isNamed && machine.node !== undefined);
      if (host === undefined) return false;
      const before = host.machine.name;
      host.beforeNextAsk = (replica) => {
        rename(world, random, () => {}, host, replica, true);
        if (host.machine.name === before) return;
        took();
        world.note(before, "it shows another machine-id");
        ifPossible(() =>
          world.api.store.update("nodes", before, (node) => {
            const nodeInfo = { ...node.status.nodeInfo, machineID: random.hex(32) };
            return { ...node, status: { ...node.status, nodeInfo } };
          })
        );
      };
      return true;
    });
  },
  "replica stops between the note of a drain and its yes"(world, random, took) {
    const { replicas, scheduler, timeline, onCall } = world;
    const replica = random.pick(replicas);
    const trap = (call: ApiCall) => {
      const [node] = call.method === "PUT" ? namesOfDrained(call.body) : [];
      if (node === undefined || replica.process === undefined) {
        if (!world.isHealed) scheduler.after(0, () => onCall(replica, 0, trap));
        return;
      }
      took();
      timeline.add(replica.name, "stops right after it has noted a drain");
      const { process } = replica;
      process.pause();
      scheduler.after(100, () => uncordon(world, node));
      scheduler.after(STOP_MS, () => process.resume());
    };
    onCall(replica, 0, trap);
  },
  "group paused with its drains while a host that may reboot asks again"(world, random, took) {
    const { api, scheduler, observer } = world;
    look(world, () => {
      const host = world.hosts.find(({ id, group, askingSince }) => {
        return askingSince !== undefined && observer.turnsOf(group).some((turn) => turn.id === id);
      });
      if (host === undefined) return false;
      const key = `ops/fleetlock-${host.group}`;
      took();
      world.note(host.group, "an administrator pauses it with its drains");
      const pauseText = '{"reason":"it burns","drains":true}';
      ifPossible(() => api.store.update("leases", key, (lease) => withAnnotation(lease, PAUSED, pauseText)));
      scheduler.after(random.between(70_000, 300_000), () => {
        world.note(host.group, "an administrator lifts its pause");
        ifPossible(() => api.store.update("leases", key, (lease) => withAnnotation(lease, PAUSED, undefined)));
      });
      return true;
    });
  },
  "administrator takes over the cordon of a host that reboots"(world, _random, took) {
    look(world, () => {
      const host = world.hosts.find(({ machine: { isDown, node } }) => {
        return isDown && node?.spec?.unschedulable && !world.observer.adminCordons.has(node.metadata.name);
      });
      if (host === undefined) return false;
      const { name } = host.machine;
      uncordon(world, name);
      if (cordon(world, name)) took();
      return true;
    });
  },
};

/** Sets or removes an annotation of an object. */
function withAnnotation(object: Stored, name: string, value: string | undefined): Stored {
  const { [name]: _, ...others } = object.metadata.annotations ?? {};
  const annotations = value === undefined ? others : { ...others, [name]: value };
  return { ...object, metadata: { ...object.metadata, annotations } };
}

/** The Nodes that a Lease notes as drained, the last one first. */
function namesOfDrained(body = ""): string[] {
  const annotation = JSON.parse(body || "{}").metadata?.annotations?.["fleetlock.internal/holders"] ?? "";
  return readRecords(annotation).flatMap(({ node, phase }) =>
    phase === "drained" && typeof node === "string" ? [node] : []
  ).reverse();
}

/**
 * Stops the kubelet of a host that has no slot yet, and deletes its Node. @returns The host; undefined where there is
 * none.
 */
export function takeNodeOfWaiting(world: World, random: Random): Host | undefined {
  const { api, hosts } = world;
  const held = new Set(api.store.list("leases").flatMap(holdersOf));
  const waiting = hosts.filter(({ id, isDone, machine }) => {
    return !isDone && !held.has(id) && machine.isKubeletUp && !machine.isDown && machine.node !== undefined;
  });
  if (waiting.length === 0 || world.isHealed) return undefined;
  const host = random.pick(waiting);
  const { machine } = host;
  world.note(machine.name, "its kubelet is stopped, and an administrator deletes the Node");
  machine.stopKubelet();
  ifPossible(() => api.store.delete("nodes", machine.name));
  return host;
}

/** Whether the Lease of the host's group names nobody. */
export function hasFreeSlot({ api }: World, { group }: Host): boolean {
  const lease = api.store.get("leases", `ops/fleetlock-${group}`);
  return lease === undefined || holdersOf(lease).length === 0;
}
