/**
 * What came to the simulation after its first seeds were kept as tests: agents that are started again while they ask,
 * machines that crash, limits that are reached, and what administrators edit in Leases besides. It is drawn from random
 * numbers of its own, for the seeds that {@link isLater} names, and its incidents follow all others in a plan. So the
 * seeds that tests and mutants name, and the places of their incidents, stay what they are.
 *
 * @module
 */

import { Random } from "../../src/simulator/random.ts";
import { freeAll, freeSlots, holdersOf, someHost, takeRight } from "./administrator.ts";
import type { Fault } from "./faults.ts";
import type { Host } from "./hosts/host.ts";
import type { Incident, Plan } from "./plan.ts";
import { ifPossible } from "./world/machine.ts";
import type { Stored } from "./world/objects.ts";
import type { World } from "./world.ts";

/** The annotation with the records of a Lease's holders. */
const HOLDERS = "fleetlock.internal/holders";

/** How often administrators make room for a group that is refused because there are too many, in milliseconds. */
const ROOM_MS = 60_000;

/** What the plan of a seed says about the limits of the program, and the incidents of this module. */
export interface LaterPlan {
  readonly flags: Readonly<Record<string, string>>;
  /** How many calls of a replica may wait for their turn; undefined as the program says. */
  readonly maxWaiting?: number;
  /** The incidents until a time, in milliseconds from the start. */
  incidentsUntil(endMs: number): Incident[];
}

const NOTHING: LaterPlan = { flags: {}, incidentsUntil: () => [] };

const KILLED = "replica killed while it drains";

/** What happens only to Leases, Nodes and the API server. */
const CLUSTER_KINDS: readonly string[] = [
  "one of several holders taken out of the Lease",
  "holder added that never asks",
  "annotation of the holders broken",
  "right to write taken away for a while",
  KILLED,
];

const HOST_KINDS: readonly string[] = ["agent started again while it asks", "machine crashes"];

const ROOM = "Lease of a group at rest deleted";

/**
 * Whether the plan of a seed has more than the first plans had: about two of seven seeds, none of which a test named.
 */
export function isLater(seed: number): boolean {
  return seed > 100 && [1, 4, 5, 6, 15].includes(seed % 18);
}

/** Draws it for a plan with some groups. */
export function laterPlanOf(seed: number, store: Plan["store"], groups: number): LaterPlan {
  if (!isLater(seed)) return NOTHING;
  const random = new Random(seed ^ 0x1a7e6);
  const inCluster = store === "kubernetes";
  const isFull = random.chance(0.4) && inCluster && groups > 1;
  const isNarrow = random.chance(0.3) && inCluster;
  // A replica asks for about twenty permissions at once, which mostly find room.
  const maxWaiting = 12 + random.below(16);
  // Drains end by their time-out only where something holds them up.
  const isLate = random.chance(0.3) && inCluster;
  const kinds = [
    ...HOST_KINDS.filter(() => random.chance(0.7)),
    ...CLUSTER_KINDS.filter(() => random.chance(0.5) && inCluster),
    ...(isFull ? [ROOM] : []),
    ...(isLate ? ["budget allows nothing for a while"] : []),
  ];
  const pauseMs = random.pick([60_000, 200_000]);
  return {
    flags: {
      // Each group but one has a place. The last one gets it when somebody deletes the Lease of another.
      ...(isFull && { "max-groups": `${groups - 1}` }),
      ...(isLate && { "drain-on-timeout": random.pick(["proceed", "delete"]), "drain-timeout": "2m" }),
      ...(isNarrow && { "kube-concurrency": `${1 + random.below(3)}` }),
    },
    ...(isNarrow && { maxWaiting }),
    incidentsUntil(endMs) {
      const incidents: Incident[] = [];
      if (kinds.length === 0) return incidents;
      for (let at = random.between(0, pauseMs); at < endMs; at += random.between(0, 2 * pauseMs)) {
        incidents.push({ at, kind: random.pick(kinds), seed: random.bits() });
      }
      return incidents;
    },
  };
}

/** Everything of the kind, by name. */
export const LATER_ACTS: Readonly<Record<string, Fault>> = {
  "agent started again while it asks"(world, random, took) {
    const asking = world.hosts.filter(({ askingSince }) => askingSince !== undefined);
    if (asking.length > 0 && pickDrained(asking, random).restartAgent(random)) took();
  },
  "machine crashes"(world, random, took) {
    if (pickDrained(world.hosts, random).crash(random)) took();
  },
  "one of several holders taken out of the Lease"(world, random, took) {
    const lease = pickLease(world, random, (one) => holdersOf(one).length > 1);
    if (lease === undefined) return;
    took();
    const id = random.pick(holdersOf(lease));
    freeSlots(world, groupOf(lease), [id], `takes out ${id}`);
  },
  "holder added that never asks"(world, random, took) {
    const slots = Math.min(...world.replicas.map((replica) => replica.slots));
    const lease = pickLease(world, random, (one) => holdersOf(one).length < slots);
    if (lease === undefined) return;
    const group = groupOf(lease);
    const id = random.hex(32);
    world.note(group, `an administrator adds the holder ${id}, which never asks`);
    took();
    const holderIdentity = [...holdersOf(lease), id].join(",");
    world.api.store.update("leases", keyOf(group), (now) => ({ ...now, spec: { ...now.spec, holderIdentity } }));
    world.scheduler.after(random.between(30_000, 600_000), () => {
      const now = world.api.store.get("leases", keyOf(group));
      if (now !== undefined && holdersOf(now).includes(id)) freeSlots(world, group, [id], `takes out ${id}`);
    });
  },
  "annotation of the holders broken"(world, random, took) {
    const lease = pickLease(world, random, (one) => holdersOf(one).length > 0);
    if (lease === undefined) return;
    const group = groupOf(lease);
    const text = brokenRecord(lease.metadata.annotations?.[HOLDERS] ?? "[]", random);
    world.note(group, `an administrator sets the records of its holders to ${text ?? "nothing"}`);
    took();
    setRecord(world, group, text);
    world.scheduler.after(
      random.between(20_000, random.chance(0.5) ? 200_000 : 900_000),
      () => mendRecord(world, group),
    );
  },
  "right to write taken away for a while"(world, random, took) {
    took();
    takeRight(world, random, ["create leases", "delete pods", "get pods", "create events"]);
  },
  [KILLED](world, random, took) {
    const replica = world.hosts.find((host) => host.isCordoned && host.waitsFor?.process !== undefined)?.waitsFor;
    if (replica === undefined) return;
    world.note(replica.name, "is killed while a host that is being drained waits for its answer");
    took();
    replica.kill();
    world.scheduler.after(random.between(100, 60_000), () => world.startReplica(replica, 0));
  },
  [ROOM](world, random, took) {
    const lease = pickLease(world, random, (one) => holdersOf(one).length === 0);
    if (lease === undefined) return;
    took();
    deleteLease(world, lease);
  },
};

/**
 * Puts right what keeps a fleet from coming to rest, once the faults are over; and makes room for groups from then on.
 */
export function endLater(world: World): void {
  for (const lease of world.api.store.list("leases")) mendRecord(world, groupOf(lease));
  makeRoom(world);
}

/**
 * Deletes the Lease of a group at rest while a host of another is refused because there are too many groups: as an
 * administrator would, and again and again, since the groups then take turns.
 */
function makeRoom(world: World): void {
  if (world.maxGroups === undefined || world.hosts.every((host) => host.isDone)) return;
  const refused = new Set(
    world.hosts.filter(({ lastReply }) => lastReply.includes("too_many_groups")).map(({ group }) => group),
  );
  const leases = world.api.store.list("leases");
  const isThere = (group: string) => leases.some((lease) => groupOf(lease) === group);
  if ([...refused].some((group) => !isThere(group)) && leases.length >= world.maxGroups) {
    const atRest = leases.find((lease) => holdersOf(lease).length === 0);
    if (atRest !== undefined) deleteLease(world, atRest);
  }
  world.scheduler.after(ROOM_MS, () => makeRoom(world));
}

function deleteLease(world: World, lease: Stored): void {
  world.note(groupOf(lease), "an administrator deletes the Lease, which nobody holds");
  ifPossible(() => world.api.store.delete("leases", keyOf(groupOf(lease))));
}

/** A host: mostly one that is being drained, where an act hurts most. */
function pickDrained(hosts: readonly Host[], random: Random): Host {
  const drained = hosts.filter(({ askingSince, isCordoned }) => askingSince !== undefined && isCordoned);
  return random.pick(drained.length > 0 && random.chance(0.7) ? drained : hosts);
}

/** The Lease of a host's group, if it suits, else of another that does. None that is being deleted. */
function pickLease(world: World, random: Random, suits: (lease: Stored) => boolean): Stored | undefined {
  const first = keyOf(someHost(world, random).group);
  const suited = world.api.store.list("leases").filter((one) => !one.metadata.deletionTimestamp && suits(one));
  return suited.find((one) => keyOf(groupOf(one)) === first) ?? suited[0];
}

/** Breaks the records of holders, as an edit by hand does. @returns Undefined where they are removed. */
function brokenRecord(text: string, random: Random): string | undefined {
  const records = JSON.parse(text.startsWith("[") ? text : "[]");
  const [first, ...others] = records;
  switch (random.below(6)) {
    case 0:
      return undefined;
    case 1:
      return "?";
    case 2:
      return "{}";
    case 3:
      return `[{"node":"n1"}]`;
    case 4:
      return JSON.stringify(first === undefined ? [] : [{ ...first, node: 5 }, ...others]);
    default:
      return JSON.stringify(first === undefined ? [] : [first, first, ...others]);
  }
}

/** Frees the slots of a group whose records are not to be understood, and removes the records. */
function mendRecord(world: World, group: string): void {
  const lease = world.api.store.get("leases", keyOf(group));
  if (lease === undefined || isWhole(lease)) return;
  freeAll(world, group);
  world.note(group, "an administrator removes the records of its holders");
  setRecord(world, group, undefined);
}

/** Whether the records of a Lease are of its holders, one each, and their Nodes can be understood. */
function isWhole(lease: Stored): boolean {
  const text = lease.metadata.annotations?.[HOLDERS];
  if (text === undefined) return true;
  try {
    const records: { readonly id?: string; readonly node?: unknown; readonly uid?: unknown }[] = JSON.parse(text);
    const ids = records.map(({ id }) => id);
    const areNamed = records.every(({ node, uid }) => {
      return node === undefined || (typeof node === "string" && typeof uid === "string");
    });
    return areNamed && ids.every((id) => id !== undefined) && new Set(ids).size === ids.length;
  } catch {
    return false;
  }
}

function setRecord(world: World, group: string, text: string | undefined): void {
  ifPossible(() =>
    world.api.store.update("leases", keyOf(group), (lease) => {
      const { [HOLDERS]: _, ...annotations } = lease.metadata.annotations ?? {};
      const edited = text === undefined ? annotations : { ...annotations, [HOLDERS]: text };
      return { ...lease, metadata: { ...lease.metadata, annotations: edited } };
    })
  );
}

function groupOf(lease: Stored): string {
  return lease.metadata.name.replace(/^fleetlock-/, "");
}

function keyOf(group: string): string {
  return `ops/fleetlock-${group}`;
}
