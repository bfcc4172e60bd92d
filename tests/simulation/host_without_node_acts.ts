/**
 * What happens within the few milliseconds in which a host without a Node gets its slot: it joins while its grant is
 * written or while a slow search goes on, its slot goes to another host while its Node is searched for, and several such
 * hosts ask at once, of which one has just joined. A search that began before the grant, or one that nothing follows,
 * would be no proof. Faults that are drawn at random hit such a moment in none of hundreds of seeds. They are drawn from random
 * numbers of their own, for seeds that no test and no mutant named before, and come after all other incidents of a plan.
 *
 * @module
 */

import { Random } from "../../src/simulator/random.ts";
import { holdersOf } from "./administrator.ts";
import { hasFreeSlot, takeNodeOfWaiting } from "./aimed_acts.ts";
import type { Fault } from "./faults.ts";
import { free, isSearch } from "./held_back_acts.ts";
import type { Host } from "./hosts/host.ts";
import type { Incident, Plan } from "./plan.ts";
import type { ApiCall } from "./world/api.ts";
import { ifPossible } from "./world/machine.ts";
import type { Replica } from "./world/replica.ts";
import type { World } from "./world.ts";

/** How long a Node stays away at most, in milliseconds. */
const AWAY_MS = 1_500_000;

/** How many hosts without Nodes ask at once at most. */
const AT_ONCE = 3;

/** How long the acts of one moment may be apart, in milliseconds: what a write or a list takes. */
const APART_MS = 60;

/** How many updates each host applies in such a run: each act needs a host that has its turn before it. */
export const MANY_UPDATES = 4;

/** Whether the plan of a seed has these acts. */
export function hasHostsWithoutNodes(seed: number, store: Plan["store"]): boolean {
  return store === "kubernetes" && seed > 130 && [14, 18, 28].includes(seed % 48);
}

/** How long the answer to a slow search takes, in milliseconds. */
const SLOW_MS = [1_500, 9_000] as const;

/** When a host joins that a slow search does not show, in milliseconds. */
const JOINS_MS = [300, 800] as const;

/** The incidents of some seeds until a time, in milliseconds from the start. */
export function withoutNodeIncidentsUntil(seed: number, store: Plan["store"], endMs: number): Incident[] {
  if (!hasHostsWithoutNodes(seed, store)) return [];
  const random = new Random(seed ^ 0x40de);
  const incidents: Incident[] = [];
  for (let at = random.between(0, 100_000); at < endMs; at += random.between(0, 150_000)) {
    incidents.push({ at, kind: random.pick(Object.keys(HOST_WITHOUT_NODE_ACTS)), seed: random.bits() });
  }
  return incidents;
}

/** What happens, by name. */
export const HOST_WITHOUT_NODE_ACTS: Readonly<Record<string, Fault>> = {
  "host joins while its grant is written"(world, random, took) {
    const isSilent = random.chance(0.7);
    const joinMs = random.between(0, APART_MS);
    askWithoutNode(world, random, (host, replica) => {
      world.onCall(replica, 0, () => {
        if (host.machine.isKubeletUp) return;
        took();
        world.note(host.machine.name, "its kubelet is started again while the grant to its host is written");
        if (isSilent) silenceNodes(replica);
        world.scheduler.after(joinMs, () => join(world, host));
      }, (call) => grants(call, host));
    });
  },
  "host joins while the answer to the search that follows its grant is held back"(world, random, took) {
    const heldBackMs = random.between(...SLOW_MS);
    const joinMs = random.between(...JOINS_MS);
    askWithoutNode(world, random, (host, replica) => {
      world.onCall(replica, 0, () => {
        if (host.machine.isKubeletUp) return;
        took();
        world.note(replica.name, `waits for the answer to a search for the Node of ${host.machine.name}`);
        replica.link?.holdBack(heldBackMs);
        world.scheduler.after(joinMs, () => join(world, host));
      }, (call) => isSearch(call) && host.waitsFor === replica);
    });
  },
  "slot of a host without a Node goes to another while its Node is searched for"(world, random, took) {
    const heldBackMs = random.between(0, 600);
    const freedMs = random.between(0, random.chance(0.5) ? APART_MS : heldBackMs);
    askWithoutNode(world, random, (host, replica) => {
      const { scheduler } = world;
      world.onCall(replica, 0, () => {
        if (host.machine.isKubeletUp) return;
        world.note(replica.name, `waits for the answer to a search for the Node of ${host.machine.name}`);
        replica.link?.holdBack(heldBackMs);
        scheduler.after(freedMs, () => {
          took();
          free(world, host.group, host.id);
          const others = world.hosts.filter(({ group, id }) => group === host.group && id !== host.id);
          for (const other of others) if (other.askNow()) break;
        });
      }, (call) => isSearch(call) && host.waitsFor === replica);
    });
  },
  "hosts without Nodes ask at once, and one of them has just joined"(world, random, took) {
    const { scheduler, replicas } = world;
    const hosts: Host[] = [];
    for (let count = 0; count < AT_ONCE; count++) hosts.push(...[takeNodeOfWaiting(world, random) ?? []].flat());
    if (hosts.length === 0) return;
    const joining = random.pick(hosts);
    const isSilent = random.chance(0.7);
    scheduler.after(random.between(1_000, 120_000), () => {
      if (isSilent) { for (const replica of replicas) silenceNodes(replica); }
      world.note(joining.machine.name, "its kubelet is started again, and hosts without Nodes ask");
      join(world, joining);
      for (const host of hosts) {
        const at = random.between(0, APART_MS / 3);
        scheduler.after(at, () => {
          if (host.askNow() && host === joining) took();
        });
        scheduler.after(random.between(60_000, AWAY_MS), () => join(world, host));
      }
    });
  },
};

/**
 * Takes the Node of a waiting host away until it asks for a free slot, and calls `act` right before. Its kubelet is
 * started again by and by.
 */
function askWithoutNode(world: World, random: Random, act: (host: Host, replica: Replica) => void): void {
  const host = takeNodeOfWaiting(world, random);
  if (host === undefined) return;
  const { scheduler } = world;
  const ask = (replica: Replica) => {
    if (host.machine.isKubeletUp || host.machine.isDown || world.isHealed) return;
    // The host has taken the order, and asks again in five minutes.
    scheduler.after(0, () => void (host.beforeNextAsk = ask));
    if (hasFreeSlot(world, host)) act(host, replica);
  };
  host.beforeNextAsk = ask;
  scheduler.after(AWAY_MS, () => join(world, host));
}

/** Starts the kubelet of a host again, which registers its Node. */
function join(world: World, { machine }: Host): void {
  if (machine.isKubeletUp || machine.isDown || world.isHealed) return;
  machine.startKubelet();
  ifPossible(() => machine.report());
}

function silenceNodes({ link }: Replica): void {
  for (const watch of link?.watches ?? []) if (watch.request.kind.plural === "nodes") watch.isSilent = true;
}

/** Whether a call writes a Lease that names a host which it did not hold before. */
function grants({ method, path, body = "" }: ApiCall, { id }: Host): boolean {
  if (!["PUT", "POST"].includes(method) || !/\/leases(\/|$|\?)/.test(path)) return false;
  return holdersOf(JSON.parse(body || "{}")).includes(id);
}
