/**
 * What happens while the answer to a call that has taken effect is on its way for seconds: the slot that it shows is
 * freed, or the host whose Node it does not show joins. Faults that are drawn at random hold answers back at times at
 * which nothing changes. They are drawn from random numbers of their own, for seeds that no test and no mutant names,
 * and come after all other incidents of a plan.
 *
 * @module
 */

import { Random } from "../../src/simulator/random.ts";
import { freeSlots, holdersOf } from "./administrator.ts";
import { hasFreeSlot, takeNodeOfWaiting } from "./aimed_acts.ts";
import type { Fault } from "./faults.ts";
import { recordOf } from "./group_check.ts";
import type { Host } from "./hosts/host.ts";
import type { Incident, Plan } from "./plan.ts";
import type { ApiCall } from "./world/api.ts";
import { ifPossible } from "./world/machine.ts";
import type { Stored } from "./world/objects.ts";
import type { Replica } from "./world/replica.ts";
import type { World } from "./world.ts";

/** How long an answer is held back, in milliseconds: longer than a proof lasts, and shorter than the program waits. */
const HELD_BACK_MS = [2_000, 9_000] as const;

/** How long a Node stays away for a search that does not come, in milliseconds. */
const AWAY_MS = 1_500_000;

/** The incidents of some seeds until a time, in milliseconds from the start. */
export function heldBackIncidentsUntil(seed: number, store: Plan["store"], endMs: number): Incident[] {
  if (store !== "kubernetes" || ![17, 19, 31].includes(seed % 36)) return [];
  const random = new Random(seed ^ 0x4e1db);
  const incidents: Incident[] = [];
  for (let at = random.between(0, 200_000); at < endMs; at += random.between(0, 300_000)) {
    incidents.push({ at, kind: random.pick(Object.keys(HELD_BACK_ACTS)), seed: random.bits() });
  }
  return incidents;
}

/** What happens, by name. */
export const HELD_BACK_ACTS: Readonly<Record<string, Fault>> = {
  "slot freed while the answer that shows it is held back"(world, random, took) {
    const { replicas, scheduler, onCall } = world;
    const replica = random.pick(replicas);
    const isPause = random.chance(0.3);
    const ms = random.between(...HELD_BACK_MS);
    const freedMs = random.between(20, 800);
    const holder = (call: ApiCall) => askingHolder(world, replica, call);
    onCall(replica, 0, (call) => {
      const { id, group } = holder(call)!;
      const { process, link } = replica;
      took();
      world.note(replica.name, isPause ? "is paused after a write" : "waits for the answer to a write");
      if (!isPause) link?.holdBack(ms);
      else if (process?.backlog === undefined) {
        process?.pause();
        scheduler.after(ms, () => process?.resume());
      }
      scheduler.after(freedMs, () => free(world, group, id));
    }, (call) => holder(call) !== undefined);
  },
  "Node joins while the answer to the search for it is held back"(world, random, took) {
    const { scheduler, onCall } = world;
    const host = takeNodeOfWaiting(world, random);
    if (host === undefined) return;
    const { machine } = host;
    const begin = scheduler.now;
    const ms = random.between(...HELD_BACK_MS);
    const searches = random.below(3);
    const join = () => {
      if (machine.isKubeletUp || machine.isDown || world.isHealed) return;
      world.note(machine.name, "its kubelet is started again");
      machine.startKubelet();
      ifPossible(() => machine.report());
    };
    // The search before the grant, the one after it, or the one that is made because that was slow.
    const holdBack = (replica: Replica, left: number) => {
      onCall(replica, 0, () => {
        if (machine.isKubeletUp) return;
        world.note(replica.name, `waits for the answer to a search for the Node of ${machine.name}`);
        replica.link?.holdBack(ms);
        // A trap that is set at once would spring for this very call.
        if (left > 0) return void scheduler.after(0, () => holdBack(replica, left - 1));
        took();
        scheduler.after(random.between(0, 200), join);
      }, (call) => isSearch(call) && host.waitsFor === replica);
    };
    const ask = (replica: Replica) => {
      if (machine.isKubeletUp || machine.isDown || world.isHealed) return;
      if (scheduler.now - begin > AWAY_MS) return join();
      // The host has taken the order, and asks again in five minutes.
      scheduler.after(0, () => void (host.beforeNextAsk = ask));
      if (hasFreeSlot(world, host)) holdBack(replica, searches);
    };
    host.beforeNextAsk = ask;
  },
};

/** The host that waits for a replica's answer and whose hold a write shows that may come right before its yes. */
function askingHolder({ hosts }: World, replica: Replica, { method, path, body = "" }: ApiCall): Host | undefined {
  if (method !== "PUT" || !path.includes("/leases/")) return undefined;
  const waiting = hosts.filter((host) => host.askingSince !== undefined && host.waitsFor === replica);
  if (waiting.length === 0) return undefined;
  const lease: Stored = JSON.parse(body);
  const isNear = (id: string) => {
    const record = recordOf(lease, id);
    return record !== undefined && (record.node === undefined || record.phase === "drained");
  };
  const ids = holdersOf(lease);
  return waiting.find(({ id }) => ids.includes(id) && isNear(id));
}

/** Whether a call lists Nodes. */
export function isSearch({ method, path }: ApiCall): boolean {
  return method === "GET" && /^\/api\/v1\/nodes\?/.test(path) && !/[?&]watch=/.test(path);
}

/** Frees the slot of a client, as an administrator does. */
export function free(world: World, group: string, id: string): void {
  const lease = world.api.store.get("leases", `ops/fleetlock-${group}`);
  if (lease === undefined || !holdersOf(lease).includes(id)) return;
  freeSlots(world, group, [id], `frees the slot of ${id}`);
}
