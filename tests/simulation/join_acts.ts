/**
 * Nodes that join again right before their host asks for a slot, at a replica whose watch has shown that they are gone and
 * does not show that they are back. Elsewhere such a moment is not hit in thousands of seeds.
 *
 * @module
 */

import { Random } from "../../src/simulator/random.ts";
import { holdersOf } from "./administrator.ts";
import type { Fault } from "./faults.ts";
import type { Host } from "./hosts/host.ts";
import type { Incident } from "./plan.ts";
import { ifPossible } from "./world/machine.ts";
import type { Replica } from "./world/replica.ts";
import type { World } from "./world.ts";

/** How long a Node stays away at most, in milliseconds. */
const AWAY_MS = 1_500_000;

const JOIN = "Node joins again as its host asks for a free slot";

/** The incidents of some seeds until a time, in milliseconds from the start. They have random numbers of their own. */
export function joinIncidentsUntil(seed: number, endMs: number): Incident[] {
  if (![8, 15].includes(seed % 36)) return [];
  const random = new Random(seed ^ 0x101);
  const incidents: Incident[] = [];
  for (let at = random.between(0, 200_000); at < endMs; at += random.between(0, 400_000)) {
    incidents.push({ at, kind: JOIN, seed: random.bits() });
  }
  return incidents;
}

/** What happens, by name. */
export const JOIN_ACTS: Readonly<Record<string, Fault>> = {
  [JOIN](world, random) {
    const { api, hosts, scheduler, timeline } = world;
    const held = new Set(api.store.list("leases").flatMap(holdersOf));
    const waiting = hosts.filter(({ id, isDone, machine }) => {
      return !isDone && !held.has(id) && machine.isKubeletUp && !machine.isDown && machine.node !== undefined;
    });
    if (waiting.length === 0 || world.isHealed) return;
    const host = random.pick(waiting);
    const { machine } = host;
    const begin = scheduler.now;
    world.note(machine.name, "its kubelet is stopped, and an administrator deletes the Node");
    machine.stopKubelet();
    ifPossible(() => api.store.delete("nodes", machine.name));
    const join = (replica: Replica) => {
      if (machine.isKubeletUp || machine.isDown || world.isHealed) return;
      const isOver = scheduler.now - begin > AWAY_MS;
      if (!isOver && !hasFreeSlot(world, host)) {
        // The host has taken the order, and asks again in five minutes.
        scheduler.after(0, () => void (host.beforeNextAsk = join));
        return;
      }
      timeline.count("Node joined again right before a request");
      world.note(machine.name, "its kubelet is started again, and its host asks");
      for (const watch of replica.link?.watches ?? []) if (watch.request.kind.plural === "nodes") watch.isSilent = true;
      machine.startKubelet();
      ifPossible(() => machine.report());
    };
    host.beforeNextAsk = join;
  },
};

/** Whether the Lease of the host's group names nobody. */
function hasFreeSlot({ api }: World, { group }: Host): boolean {
  const lease = api.store.get("leases", `ops/fleetlock-${group}`);
  return lease === undefined || holdersOf(lease).length === 0;
}
