/**
 * What administrators do to a cluster while a fleet updates. Each act is told to
 * the observer before it happens, since what it explains may be seen at once.
 *
 * @module
 */

import type { Random } from "../../../src/simulator/random.ts";
import type { ControlPlane } from "../../support/control_plane.ts";
import type { Host } from "./host.ts";
import type { Observer } from "./observer.ts";
import type { Workloads } from "./workloads.ts";

const MERGE = "application/merge-patch+json";
const STRATEGIC = "application/strategic-merge-patch+json";

/** How long a kubelet is dead whose pods are given up, in milliseconds. */
const DEAD_MS = 20_000;

/** What administrators act on. */
export interface Fleet {
  readonly plane: ControlPlane;
  readonly namespace: string;
  readonly hosts: readonly Host[];
  readonly workloads: Workloads;
  readonly observer: Observer;
}

/** A kind of act, which puts right at its end what would keep the run from coming to rest. */
export type Act = (fleet: Fleet, random: Random, wait: (ms: number) => Promise<void>) => Promise<void>;

/** Everything that administrators do, by name. */
export const ADMINISTRATOR_ACTS: Readonly<Record<string, Act>> = {
  async "node uncordoned"(fleet, random) {
    await uncordon(fleet, someNode(fleet, random));
  },
  async "node cordoned for a while"(fleet, random, wait) {
    const node = random.pick(fleet.hosts).machine.identity.name;
    if (!(await cordon(fleet, node))) return;
    await wait(random.between(2_000, 8_000));
    await uncordon(fleet, node);
  },
  async "node uncordoned, and cordoned again"(fleet, random, wait) {
    const node = someNode(fleet, random);
    await uncordon(fleet, node);
    await wait(random.between(0, 800));
    if (!(await cordon(fleet, node))) return;
    await wait(random.between(5_000, 10_000));
    await uncordon(fleet, node);
  },
  async "holder taken out of the Lease"(fleet, random) {
    const { plane, observer } = fleet;
    const group = random.pick(fleet.hosts).group;
    const lease = await plane.request("GET", leaseOf(fleet, group)).catch(() => undefined);
    const id = lease?.spec.holderIdentity;
    if (!id) return;
    const undo = observer.freeing(group, id);
    lease.spec.holderIdentity = "";
    await plane.request("PUT", leaseOf(fleet, group), lease).catch(undo);
  },
  async "Lease deleted"(fleet, random) {
    const { plane, observer } = fleet;
    const group = random.pick(fleet.hosts).group;
    const lease = await plane.request("GET", leaseOf(fleet, group)).catch(() => undefined);
    if (!lease?.spec.holderIdentity) return;
    const undo = observer.freeing(group, lease.spec.holderIdentity);
    const { uid, resourceVersion } = lease.metadata;
    await plane.request("DELETE", leaseOf(fleet, group), { preconditions: { uid, resourceVersion } }).catch(undo);
  },
  async "Node deleted and registered again"(fleet, random, wait) {
    const { machine } = someHost(fleet, random);
    const { name } = machine.identity;
    fleet.observer.uncordoning(name);
    await fleet.plane.request("DELETE", `/api/v1/nodes/${name}`).catch(() => {});
    await wait(random.between(0, 2_000));
    // Its kubelet is started again. That of a machine that is down starts with it.
    if (!machine.isDown) await machine.register();
  },
  async "id lost for a while"(fleet, random, wait) {
    const { machine } = someHost(fleet, random);
    const { name, id, isNamed } = machine.identity;
    const change = async (isLost: boolean) => {
      fleet.observer.note(isLost ? "its id is lost" : "its id is back", name);
      const annotations = { "fleetlock.internal/id": isLost ? null : id };
      const path = `/api/v1/nodes/${name}`;
      if (isNamed) await fleet.plane.request("PATCH", path, { metadata: { annotations } }, MERGE).catch(() => {});
      else {
        machine.reportsMachineId = !isLost;
        const nodeInfo = { machineID: isLost ? "" : machine.identity.machineId };
        await fleet.plane.request("PATCH", `${path}/status`, { status: { nodeInfo } }, STRATEGIC).catch(() => {});
      }
    };
    await change(true);
    await wait(random.between(500, 4_000));
    await change(false);
  },
  async "budget allows nothing for a while"(fleet, random, wait) {
    fleet.observer.note("the budget allows nothing");
    await fleet.workloads.setBudget(0);
    await wait(random.between(2_000, 6_000));
    await fleet.workloads.setBudget(2);
    fleet.observer.note("the budget allows something again");
  },
  async "kubelet dead for a while"(fleet, random, wait) {
    const { machine } = someHost(fleet, random);
    if (!machine.isUp) return;
    machine.isUp = false;
    fleet.observer.note("its kubelet is dead", machine.identity.name);
    await machine.setReady("Unknown");
    // A long one outlasts the grace of its pods.
    await wait(random.chance(0.5) ? random.between(2_000, 5_000) : DEAD_MS);
    // A machine that has rebooted meanwhile, or does so now, has started its kubelet itself, or will.
    if (!machine.isUp && !machine.isDown) await machine.register();
  },
};

/** Uncordons a Node as `kubectl uncordon` does. */
export async function uncordon({ plane, observer }: Fleet, node: string): Promise<void> {
  observer.uncordoning(node);
  await plane.request(
    "PATCH",
    `/api/v1/nodes/${node}?fieldManager=kubectl`,
    { spec: { unschedulable: null } },
    STRATEGIC,
  ).catch(() => {});
}

/** Cordons a Node if it is not cordoned. Returns whether it did. */
async function cordon({ plane, observer }: Fleet, node: string): Promise<boolean> {
  for (let attempt = 0; attempt < 5; attempt++) {
    const seen = await plane.request("GET", `/api/v1/nodes/${node}`).catch(() => undefined);
    if (seen === undefined || seen.spec.unschedulable) return false;
    const { resourceVersion } = seen.metadata;
    const patch = { metadata: { resourceVersion }, spec: { unschedulable: true } };
    const path = `/api/v1/nodes/${node}?fieldManager=kubectl`;
    const written = await plane.request("PATCH", path, patch, STRATEGIC).catch(() => undefined);
    if (written === undefined) continue;
    observer.cordoned(node, Number(written.metadata.resourceVersion));
    return true;
  }
  return false;
}

/** A host: mostly one in its turn or being drained, where an act hurts most. */
function someHost({ hosts, observer }: Fleet, random: Random): Host {
  const cordoned = hosts.filter(({ machine }) => {
    return observer.history.nodes.now(machine.identity.name)?.cordonedFor !== undefined;
  });
  return random.pick(cordoned.length > 0 && random.chance(0.75) ? cordoned : hosts);
}

function someNode(fleet: Fleet, random: Random): string {
  return someHost(fleet, random).machine.identity.name;
}

function leaseOf({ namespace }: Fleet, group: string): string {
  return `/apis/coordination.k8s.io/v1/namespaces/${namespace}/leases/fleetlock-${group}`;
}
