/**
 * What a host that has no Node costs, from the look before its grant to its release. On a cluster in memory.
 *
 * @module
 */

import { deepEqual, equal, ok } from "node:assert/strict";
import { KubernetesNodeKeeper } from "../../src/keeper/node_keeper.ts";
import { parseClientId, parseGroup } from "../../src/lock/identity.ts";
import type { Hold } from "../../src/lock/node_keeper.ts";
import { IdleClock } from "../support/fake_clock.ts";
import { FakeCluster } from "./fake_cluster.ts";

const ID = parseClientId("978a225b3d7b40e9acd7ce9b62f68444")!;
const MACHINE = "1c09ca98649c4c7abc779cd04c96812e";
const never = new AbortController().signal;

Deno.test("a host without a Node costs one list of versions for its lock, and no call for its release", async () => {
  const clock = new IdleClock();
  const cluster = new FakeCluster(clock);
  await using keeper = new KubernetesNodeKeeper(cluster.client, {
    readHolder: () => Promise.resolve(undefined),
    log: { info() {}, warning() {}, error() {} },
  });
  cluster.put({ name: "b", uid: "uid-b", machineID: "ad432f2cb0c28bbcd1f87a20199237f9" });
  keeper.run();
  await clock.pass(1);
  ok(keeper.isSynced);
  const hold: Hold = { group: parseGroup("default")!, id: ID, since: clock.now(), node: undefined };
  const callsOf = async (ask: () => Promise<{ kind: string } | void>, kind?: string) => {
    const before = cluster.calls.length;
    const outcome = await clock.until(ask());
    if (kind !== undefined) equal(outcome?.kind, kind);
    return cluster.calls.slice(before);
  };
  deepEqual(await callsOf(() => keeper.look(ID), "clear"), []);
  deepEqual(await callsOf(() => keeper.drain(hold, 1_000, never), "drained"), ["list nodes"]);
  deepEqual(cluster.pages.map(({ limit }) => limit), ["500"]);
  deepEqual(await callsOf(() => keeper.awaitReturn(hold, 1_000, never), "ready"), []);
  deepEqual(await callsOf(() => keeper.uncordon(hold.group, ID, hold.since)), []);
  // A Node that has joined since then is read, and must be ready.
  cluster.put({ name: "a", uid: "uid-a", machineID: MACHINE, ready: "False" });
  await clock.pass(1);
  const joined = await callsOf(() => keeper.awaitReturn(hold, 0, never), "not_ready");
  deepEqual(new Set(joined), new Set(["get nodes"]));
  // What the hold noted cannot be understood, so it may have been about a Node that the watch does not show yet, or
  // that joins before the reply is due.
  cluster.remove("a");
  await clock.pass(1);
  const unreadable = { ...hold, isNodeUnreadable: true };
  deepEqual(await callsOf(() => keeper.awaitReturn(unreadable, 1_000, never), "ready"), [
    "list nodes",
    "list nodes",
  ]);
  await clock.until(keeper[Symbol.asyncDispose]());
});
