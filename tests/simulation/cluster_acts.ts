/**
 * What happens to Nodes, pods and lists besides what administrators do by hand: other machine-ids, foreground
 * deletions, and lists that expire between two pages. They have random numbers of their own, so that most seeds do
 * without.
 *
 * @module
 */

import type { Random } from "../../src/simulator/random.ts";
import type { Fault } from "./faults.ts";
import { someHost } from "./administrator.ts";
import { ifPossible, keyOf } from "./world/machine.ts";
import type { World } from "./world.ts";

/** The finalizer of an object whose dependents are deleted first. */
const FOREGROUND = "foregroundDeletion";

/** Everything of the kind, by name. */
export const CLUSTER_ACTS: Readonly<Record<string, Fault>> = {
  "machine-id changed to another for a while"(world, random, took) {
    showMachineId(world, random, took, random.hex(32));
  },
  "machine-id of another host for a while"(world, random, took) {
    showMachineId(world, random, took, random.pick(world.hosts).machine.machineId);
  },
  "pod deleted in the foreground"(world, random, took) {
    const { machine } = someHost(world, random);
    const pods = world.api.store.list("pods").filter(({ spec, metadata }) => {
      return spec.nodeName === machine.name && !metadata.deletionTimestamp;
    });
    if (pods.length === 0) return;
    const pod = random.pick(pods);
    world.note(machine.name, `an administrator deletes ${pod.metadata.name} in the foreground`);
    // The garbage collector removes the finalizer, as the controllers of the model do.
    world.api.store.delete("pods", keyOf(pod), { graceMs: 30_000, isForeground: true });
    world.timeline.count("pod in a foreground deletion");
    took();
  },
  "Node deleted in the foreground"(world, random, took) {
    const { machine } = someHost(world, random);
    const { store } = world.api;
    const { name } = machine;
    if (machine.node === undefined || machine.node.metadata.deletionTimestamp) return;
    world.note(name, "an administrator deletes the Node in the foreground");
    store.delete("nodes", name, { isForeground: true });
    world.timeline.count("Node in a foreground deletion");
    took();
    world.scheduler.after(random.between(200, 20_000), () => {
      ifPossible(() =>
        store.update("nodes", name, (node) => {
          const finalizers = (node.metadata.finalizers ?? []).filter((one: string) => one !== FOREGROUND);
          return { ...node, metadata: { ...node.metadata, finalizers } };
        })
      );
      world.scheduler.after(random.between(1_000, 30_000), () => {
        if (machine.isKubeletUp && machine.node === undefined) machine.report();
      });
    });
  },
  "versions compacted in the middle of a list"(world, _random, took) {
    world.api.expiresNextPage = true;
    world.api.onExpiredPage = took;
  },
};

/** Makes a Node show a machine-id that is not its host's. Its host goes on to send the id that it had. */
function showMachineId(world: World, random: Random, took: () => void, machineId: string): void {
  const { machine } = someHost(world, random);
  if (machine.isNamed || machineId === machine.machineId) return;
  const show = (machineID: string) =>
    ifPossible(() =>
      world.api.store.update("nodes", machine.name, (node) => {
        return { ...node, status: { ...node.status, nodeInfo: { ...node.status.nodeInfo, machineID } } };
      })
    );
  if (show(machineId) === undefined) return;
  took();
  world.note(machine.name, `it shows the machine-id ${machineId.slice(0, 8)}`);
  world.scheduler.after(random.between(500, 120_000), () => {
    world.note(machine.name, "it shows its own machine-id");
    show(machine.machineId);
  });
}
