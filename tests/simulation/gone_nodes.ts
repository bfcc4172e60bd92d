/**
 * Nodes that are deleted while their hosts are down for longer than the operator's grace period, where some seeds let
 * the program free such holds; and the check of each such release, by the history of the Nodes and the Lease alone.
 *
 * @module
 */

import { Random } from "../../src/simulator/random.ts";
import type { History, NodeFact, Version } from "../chaos/nodes/history.ts";
import type { Fault } from "./faults.ts";
import type { Host } from "./hosts/host.ts";
import { notedUid, recordOf } from "./group_check.ts";
import type { Incident, Plan } from "./plan.ts";
import type { Machine } from "./world/machine.ts";
import { ifPossible } from "./world/machine.ts";
import type { Stored } from "./world/objects.ts";
import type { World } from "./world.ts";

/** The shortest grace period that a configuration file may say, in milliseconds. */
const GRACE_MS = 600_000;

/**
 * How long after the last reading of a Node the release may arrive, in milliseconds: a proof's age, and a late call.
 */
const ARRIVAL_MS = 60_000;

/** How far a replica's idea of the API server's time may be off, in milliseconds. */
const CLOCK_MS = 2_000;

/** What the plan of a seed says about holds whose Nodes are gone. */
export interface GonePlan {
  /** The grace period, in milliseconds; undefined where such holds stay. */
  readonly goneAfterMs?: number;
  /** How much longer than otherwise the faults last, in milliseconds, so that grace periods end before they do. */
  readonly longerMs: number;
  /** The incidents until a time, in milliseconds from the start. */
  incidentsUntil(endMs: number): Incident[];
}

/** Draws it. It has random numbers of its own, so that other seeds stay as they are. */
export function goneNodesOf(seed: number, store: Plan["store"]): GonePlan {
  const random = new Random(seed ^ 0x60de);
  if (store !== "kubernetes" || !random.chance(0.25)) return { longerMs: 0, incidentsUntil: () => [] };
  return {
    goneAfterMs: GRACE_MS,
    longerMs: 3 * GRACE_MS,
    incidentsUntil(endMs) {
      const incidents: Incident[] = [];
      for (let at = random.between(0, 300_000); at < endMs; at += random.between(60_000, 400_000)) {
        incidents.push({ at, kind: "Node deleted for good", seed: random.bits() });
      }
      return incidents;
    },
  };
}

/** What happens, by name. */
export const GONE_NODE_ACTS: Readonly<Record<string, Fault>> = {
  "Node deleted for good"(world, random, took) {
    const { scheduler } = world;
    const begin = scheduler.now;
    const look = () => {
      if (world.isHealed || scheduler.now - begin > 300_000) return;
      const host = world.hosts.find(({ machine, heldDownUntil }) => {
        return machine.isDown && machine.node !== undefined && heldDownUntil <= scheduler.now;
      });
      if (host === undefined) scheduler.after(5_000, look);
      else {
        took();
        deleteNode(world, random, host);
      }
    };
    look();
  },
};

/** Deletes the Node of a host that is down, which stays down for long. */
function deleteNode(world: World, random: Random, host: Host): void {
  const { scheduler } = world;
  const { machine } = host;
  const { store } = world.api;
  host.heldDownUntil = scheduler.now + random.between(0.5 * GRACE_MS, 2.5 * GRACE_MS);
  world.note(machine.name, "an administrator deletes the Node, whose host stays down for long");
  const before = machine.node!;
  ifPossible(() => store.delete("nodes", machine.name));
  if (!random.chance(0.4)) return;
  // It shows up for a moment: its kubelet registers before the host goes down again.
  scheduler.after(random.between(10_000, 1.2 * GRACE_MS), () => {
    if (!machine.isDown || machine.node !== undefined || world.isHealed) return;
    const name = random.chance(0.5) ? machine.name : `${machine.name}z`;
    if (store.get("nodes", name) !== undefined) return;
    world.note(name, "its kubelet registers for a moment");
    const { labels, annotations } = before.metadata;
    const status = before.status;
    store.create("nodes", { metadata: { name, labels, ...(annotations && { annotations }) }, spec: {}, status });
    scheduler.after(random.between(10, 30_000), () => ifPossible(() => store.delete("nodes", name)));
  });
}

/** What tells whose a Node is. */
type Identified = Pick<Machine, "id" | "machineId" | "isNamed">;

/** Whether a Node shows the id of a host. */
function showsIdOf({ id, machineId, isNamed }: Identified, fact: NodeFact): boolean {
  return fact.namedId === id || (!isNamed && fact.machineId === machineId);
}

/**
 * Says what is wrong with the release of a hold whose host had its yes and has not reported. Undefined where it holds.
 */
export function wrongGoneRelease(
  history: History,
  before: Stored,
  machine: Identified,
  now: number,
): string | undefined {
  const record = recordOf(before, machine.id);
  if (record?.node === undefined) return "its hold notes no Node";
  const from = now - GRACE_MS;
  if (record.renewed !== undefined && Date.parse(record.renewed) > from + CLOCK_MS) {
    return `its hold was renewed at ${record.renewed}`;
  }
  const isHosts = (name: string, fact: NodeFact) => name === record.node || showsIdOf(machine, fact);
  for (const name of history.nodes.keys) {
    const versions = history.nodes.versions(name);
    const wasThere = ({ at, fact }: Version<NodeFact>, index: number) => {
      const until = versions[index + 1]?.at ?? Infinity;
      return fact !== undefined && isHosts(name, fact) && until > from && at < now - ARRIVAL_MS;
    };
    if (versions.some(wasThere)) return `the Node ${name} was there within the grace period`;
  }
  return undefined;
}

/**
 * Whether a host whose hold notes a Node has had none for so long that no read on which a release rests may have seen
 * one: neither the noted one, by its UID, nor one that shows the host's id.
 */
export function hadNoNode(
  history: History,
  before: Stored,
  machine: Identified,
  now: number,
): boolean {
  const noted = notedUid(before, machine.id);
  const isHosts = (fact: NodeFact) => fact.uid === noted || showsIdOf(machine, fact);
  return [...history.nodes.keys].every((name) => {
    const versions = history.nodes.versions(name);
    return versions.every(({ fact }, index) => {
      const until = versions[index + 1]?.at ?? Infinity;
      return fact === undefined || until <= now - ARRIVAL_MS || !isHosts(fact);
    });
  });
}
