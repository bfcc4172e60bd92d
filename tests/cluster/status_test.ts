/** The account of the state, as two replicas of the whole program show it during a drain and a reboot. @module */

import { deepEqual, equal, match } from "node:assert/strict";
import type { Account, HolderAccount } from "../../src/status/account.ts";
import { allowDisruptions, createBudget, createNode, createPod, setNodeStatus } from "../support/cluster_objects.ts";
import { until } from "../support/condition.ts";
import { clusterTest, useControlPlane } from "../support/control_plane.ts";
import { type Program, startProgram } from "../support/program.ts";
import { preReboot, steadyState } from "../support/zincati.ts";

const plane = useControlPlane();

async function accountOf({ url }: Program): Promise<Account> {
  return await (await fetch(`${url}/status.json`)).json();
}

/** Waits until a replica shows a hold in a stage. */
async function untilStage(program: Program, stage: HolderAccount["stage"]): Promise<HolderAccount> {
  let holder: HolderAccount | undefined;
  await until(async () => (holder = (await accountOf(program)).groups[0]?.holders[0])?.stage === stage, {
    timeoutMs: 30_000,
    what: () => `the stage ${stage}; the hold is ${JSON.stringify(holder)}`,
  });
  return holder!;
}

clusterTest("each replica shows the stages of a hold, and only what it knows itself", async () => {
  const namespace = await plane().createNamespace();
  const node = await createNode(plane());
  const labels = { app: "guarded" };
  await createBudget(plane(), namespace, "guarded", labels, 0);
  await createPod(plane(), { namespace, node: node.name, name: "guarded", graceSeconds: 0, labels });
  const environment = { KUBECONFIG: plane().kubeconfig, NAMESPACE: namespace, POD_NAME: "replica-1" };
  await using first = await startProgram(["--reply-wait=1s"], environment);
  await using second = await startProgram(["--status-page=true"], { ...environment, POD_NAME: "replica-2" });

  equal((await preReboot(first.url, node.id)).status, 423);
  const { pods, node: shown, id, lastPoll } = await untilStage(first, "blocked");
  deepEqual([pods?.map(({ pod }) => pod), shown, id], [[`${namespace}/guarded`], node.name, `${node.id.slice(0, 8)}…`]);
  match(pods![0]!.reason, /guarded/);
  equal(typeof lastPoll, "string");
  const elsewhere = await untilStage(second, "draining");
  deepEqual([elsewhere.pods, elsewhere.lastPoll, elsewhere.node], [undefined, undefined, node.name]);
  const account = await accountOf(first);
  deepEqual([account.replica, account.store, account.isInStep, account.areNodesInStep], [
    "replica-1",
    "kubernetes",
    true,
    true,
  ]);
  deepEqual(account.groups[0]!.waiting, []);

  await allowDisruptions(plane(), namespace, "guarded");
  await until(async () => (await preReboot(first.url, node.id)).status === 200, { timeoutMs: 30_000 });
  for (const replica of [first, second]) await untilStage(replica, "granted-not-rebooting");
  await setNodeStatus(plane(), node.name, { ready: "Unknown" });
  for (const replica of [first, second]) await untilStage(replica, "rebooting");
  await setNodeStatus(plane(), node.name, { bootId: "boot-2", ready: "True" });
  for (const replica of [first, second]) await untilStage(replica, "back-not-reporting");
  equal((await steadyState(second.url, node.id)).status, 200);
  for (const replica of [first, second]) {
    await until(async () => (await accountOf(replica)).groups[0]!.holders.length === 0);
    const { turns } = (await accountOf(replica)).groups[0]!;
    deepEqual(turns.map((turn) => turn.node), [node.name]);
  }
});

clusterTest("a reboot without a slot is counted and logged, and one with a slot is not", async () => {
  const namespace = await plane().createNamespace();
  const [asks, silent] = [await createNode(plane()), await createNode(plane())];
  const environment = { KUBECONFIG: plane().kubeconfig, NAMESPACE: namespace };
  await using program = await startProgram(["--status-page=false"], environment);
  const metric = async () => {
    const text = await (await fetch(`${program.url}/metrics`)).text();
    return /^fleetlock_unheld_reboots_total (\d+)$/m.exec(text)?.[1];
  };
  await until(async () => (await preReboot(program.url, asks.id)).status === 200);
  match(
    await (await fetch(`${program.url}/metrics`)).text(),
    /^fleetlock_lock_stuck\{group="default",state="granted-not-rebooting"\} 0$/m,
  );
  for (const path of ["/", "/status.json", "/events"]) {
    const reply = await fetch(`${program.url}${path}`);
    equal(reply.status, 404);
    await reply.body?.cancel();
  }
  equal(await metric(), "0");
  await setNodeStatus(plane(), asks.name, { bootId: "boot-2", ready: "True" });
  equal((await steadyState(program.url, asks.id)).status, 200);
  await setNodeStatus(plane(), silent.name, { bootId: "boot-2", ready: "True" });
  await until(async () => await metric() === "1");
  await until(() => /held no slot/.test(program.log()));
  const told = program.log().split("\n").filter((line) => /held no slot/.test(line));
  deepEqual(told.map((line) => JSON.parse(line).node), [silent.name]);
});

clusterTest(
  "a host that comes back with its old image is shown, counted and logged once, until its image changes",
  async () => {
    const namespace = await plane().createNamespace();
    const node = await createNode(plane(), { osImage: "CoreOS 40" });
    await using program = await startProgram([], { KUBECONFIG: plane().kubeconfig, NAMESPACE: namespace });
    const series = async () => {
      const text = await (await fetch(`${program.url}/metrics`)).text();
      return /^fleetlock_lock_stuck\{group="default",state="rolled-back"\} (\d+)$/m.exec(text)?.[1];
    };
    const turn = async (bootId: string, osImage: string) => {
      await until(async () => (await preReboot(program.url, node.id)).status === 200);
      await untilStage(program, "granted-not-rebooting");
      await setNodeStatus(plane(), node.name, { bootId, osImage, ready: "True" });
      await untilStage(program, "back-not-reporting");
      await until(async () => (await steadyState(program.url, node.id)).status === 200);
      await until(async () => (await accountOf(program)).groups[0]!.holders.length === 0);
      return (await accountOf(program)).groups[0]!.turns?.[0]?.isSameImage;
    };
    equal(await turn("boot-2", "CoreOS 40"), true);
    equal(await series(), "1");
    equal(await turn("boot-3", "CoreOS 41"), false);
    equal(await series(), undefined);
    await program.stop();
    equal(program.log().split("\n").filter((line) => /with the image that it had before/.test(line)).length, 1);
  },
);
