/**
 * 30 nodes in three groups with three slots each roll by the rules of a file: one group has a window and yields, one
 * settles after each reboot, one takes its slots from a percentage. Two real servers on a real API server answer; the
 * history of what the hosts saw is checked.
 *
 * @module
 */

import { deepEqual, equal, ok } from "node:assert/strict";
import {
  allowDisruptions,
  createBudget,
  createNode,
  createPod,
  podsOn,
  setNodeStatus,
  type TestNode,
} from "../support/cluster_objects.ts";
import { parseSimulationOptions } from "../../src/simulator/options.ts";
import { runSimulation } from "../../src/simulator/simulator.ts";
import { until } from "../support/condition.ts";
import { clusterTest, useControlPlane } from "../support/control_plane.ts";
import { startReplicas } from "../support/replicas.ts";
import { preReboot, steadyState } from "../support/zincati.ts";

const plane = useControlPlane();

const GROUPS = ["storage", "web", "edge"] as const;
const SLOTS = 3;
const SETTLE_MS = 1_000;

/** What a host did: it may be rebooting from the yes on, and until its report is confirmed it holds its slot. */
interface Turn {
  readonly group: string;
  readonly node: string;
  readonly from: number;
  readonly to: number;
}

/** The most turns of a group that overlap. */
function mostAtOnce(turns: readonly Turn[]): number {
  return Math.max(...turns.map(({ from }) => turns.filter((one) => one.from <= from && from < one.to).length));
}

clusterTest(
  "30 nodes in 3 groups with 3 slots, a window, settle and a node that yields roll without a violation",
  async () => {
    const namespace = await plane().createNamespace();
    const hosts: { group: string; node: TestNode }[] = [];
    for (let n = 0; n < 30; n++) {
      const group = GROUPS[n % GROUPS.length]!;
      const node = await createNode(plane(), { labels: { tier: `${namespace}-${group}` } });
      await createPod(plane(), { namespace, name: `pod-${n}`, node: node.name, graceSeconds: 0 });
      hosts.push({ group, node });
    }
    // The first host of storage cannot be drained until all others are through.
    const stuck = hosts[0]!.node;
    await createBudget(plane(), namespace, "guarded", { app: "guarded" }, 0);
    const labels = { app: "guarded" };
    await createPod(plane(), { namespace, name: "guarded", node: stuck.name, graceSeconds: 0, labels });

    const minutesAgo = new Date(Date.now() - 60 * 60_000).toISOString().slice(11, 16);
    const path = `${plane().folder}/${namespace}.yaml`;
    await Deno.writeTextFile(
      path,
      JSON.stringify({
        allowUnknownGroups: false,
        groups: {
          storage: {
            slots: SLOTS,
            allow: [{ at: minutesAgo, for: "3h", cutoff: "10m" }],
            drain: { timeout: "3s", onTimeout: "yield" },
          },
          web: { slots: SLOTS, settle: `${SETTLE_MS}ms` },
          edge: { nodes: `tier=${namespace}-edge`, slots: "30%", unavailable: "count", health: { budgets: "refuse" } },
        },
      }),
    );
    await using all = await startReplicas(plane(), { namespace, count: 2, flags: { config: path } });

    const turns: Turn[] = [];
    const refusals = new Map<string, Set<string>>();
    const violations: string[] = [];
    const roll = async ({ group, node }: { group: string; node: TestNode }, place: number) => {
      const url = () => all.urls[place++ % all.urls.length]!;
      await until(async () => {
        const { status, kind } = await preReboot(url(), node.id, group);
        if (status === 200) return true;
        refusals.set(group, (refusals.get(group) ?? new Set()).add(kind!));
        // Zincati would wait 5 minutes.
        await new Promise((resolve) => setTimeout(resolve, 200));
        return false;
      }, { timeoutMs: 120_000, what: `a yes for ${node.name} of ${group}` });
      const from = performance.now();
      if ((await podsOn(plane(), node.name)).size > 0) violations.push(`${node.name} got its yes with pods`);
      await setNodeStatus(plane(), node.name, { bootId: crypto.randomUUID(), ready: "False" });
      await new Promise((resolve) => setTimeout(resolve, 100));
      await setNodeStatus(plane(), node.name, { ready: "True" });
      const to = performance.now();
      await until(async () => (await steadyState(url(), node.id, group)).status === 200, { timeoutMs: 60_000 });
      turns.push({ group, node: node.name, from, to });
      return true;
    };
    const [first, ...others] = hosts;
    // The stuck host asks first, and yields.
    await until(async () => (await preReboot(all.urls[0], stuck.id, "storage")).kind === "deferred", {
      timeoutMs: 30_000,
    });
    await Promise.all(others.map(roll));
    equal((await preReboot(all.urls[0], stuck.id, "storage")).kind, "deferred");
    await allowDisruptions(plane(), namespace, "guarded");
    // An operator ends the wait by hand.
    await plane().kubectl(
      "annotate",
      "lease",
      "fleetlock-storage",
      "--namespace",
      namespace,
      "fleetlock.internal/notes-",
    );
    await roll(first!, 0);

    deepEqual(violations, []);
    equal(turns.length, 30);
    for (const group of GROUPS) {
      const ofGroup = turns.filter((turn) => turn.group === group);
      equal(ofGroup.length, 10);
      ok(mostAtOnce(ofGroup) <= SLOTS, `${mostAtOnce(ofGroup)} hosts of ${group} at once`);
      ok(refusals.get(group)?.has("lock_held"), `the slots of ${group} were never full`);
    }
    ok(refusals.get("web")!.has("settling"));
    for (const { name } of hosts.map(({ node }) => node)) {
      const { spec } = await plane().request("GET", `/api/v1/nodes/${name}`);
      equal(spec.unschedulable, undefined);
    }
  },
);

clusterTest(
  "30 hosts of the simulator in 3 groups with 3 slots, a window and settle roll without a violation",
  async () => {
    const namespace = await plane().createNamespace();
    const path = `${plane().folder}/${namespace}.yaml`;
    const allow = [{ at: new Date(Date.now() - 3_600_000).toISOString().slice(11, 16), for: "3h" }];
    const defaults = { slots: SLOTS };
    const groups = { "sim-1": { allow }, "sim-2": { settle: `${SETTLE_MS}ms` }, "sim-3": {} };
    await Deno.writeTextFile(path, JSON.stringify({ allowUnknownGroups: false, defaults, groups }));
    const flags = { config: path, drain: "false" };
    await using all = await startReplicas(plane(), { namespace, count: 2, flags });
    const fleet = { clients: "30", groups: "3", slots: `${SLOTS}`, speed: "1200", rounds: "1" };
    const options = parseSimulationOptions({ ...fleet, target: all.urls.join(",") });
    const summary = await runSimulation(options, { write() {} });
    equal(summary.violationCount, 0);
    equal(summary.ended, "done");
    ok(summary.refusals.settling! > 0, JSON.stringify(summary.refusals));
    ok(summary.refusals.lock_held! > 0, JSON.stringify(summary.refusals));
  },
);
