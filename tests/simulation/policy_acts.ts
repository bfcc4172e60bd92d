/**
 * What administrators do by policies: they give the groups another number of slots, which the replicas come to know one
 * after the other, and pause groups for a while.
 *
 * @module
 */

import type { Fault } from "./faults.ts";
import { NOTES, PAUSED } from "./group_check.ts";
import { ifPossible } from "./world/machine.ts";
import type { World } from "./world.ts";

/** The most slots that a group gets. */
export const MAX_SLOTS = 3;

/** How long the replicas differ in their slots, in milliseconds. */
const ROLLOUT_MS = 120_000;

/** Everything that administrators do by policies, by name. */
export const POLICY_ACTS: Readonly<Record<string, Fault>> = {
  "slots changed"(world, random, took) {
    const slots = 1 + random.below(MAX_SLOTS);
    world.note("policies", `each group gets ${slots} slots`);
    for (const replica of world.replicas) {
      world.scheduler.after(random.between(0, ROLLOUT_MS), () => {
        if (world.isHealed) return;
        if (replica.slots !== slots) took();
        replica.slots = slots;
        world.note(replica.name, `has ${slots} slots a group`);
      });
    }
  },
  "group paused for a while"(world, random, took) {
    const { group } = random.pick(world.hosts);
    const key = `ops/fleetlock-${group}`;
    const until = new Date(world.scheduler.now + random.between(20_000, 900_000)).toISOString();
    const text = random.pick([
      "it burns",
      '{"reason":"it burns","drains":true}',
      JSON.stringify({ reason: "x", until }),
    ]);
    const set = ifPossible(() =>
      world.api.store.update("leases", key, (lease) => ({
        ...lease,
        metadata: { ...lease.metadata, annotations: { ...lease.metadata.annotations, [PAUSED]: text } },
      }))
    );
    if (set === undefined) return;
    took();
    world.note(group, `an administrator pauses it: ${text}`);
    world.scheduler.after(random.between(10_000, 600_000), () => {
      world.note(group, "an administrator lifts its pause");
      withoutAnnotation(world, key, PAUSED);
    });
  },
};

/** Puts an end to all that policies refuse. */
export function endPolicies(world: World, slots: number): void {
  for (const replica of world.replicas) replica.slots = slots;
  for (const { metadata: { name } } of world.api.store.list("leases")) {
    withoutAnnotation(world, `ops/${name}`, PAUSED);
    withoutAnnotation(world, `ops/${name}`, NOTES);
  }
}

function withoutAnnotation(world: World, key: string, annotation: string): void {
  ifPossible(() =>
    world.api.store.update("leases", key, (lease) => {
      const { [annotation]: known, ...annotations } = lease.metadata.annotations ?? {};
      return known === undefined ? lease : { ...lease, metadata: { ...lease.metadata, annotations } };
    })
  );
}
