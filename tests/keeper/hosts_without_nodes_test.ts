/**
 * What a host that has no Node costs, from the look before its grant to its release. On a cluster in memory.
 *
 * @module
 */

import { deepEqual, equal, ok, rejects } from "node:assert/strict";
import { KubernetesNodeKeeper } from "../../src/keeper/node_keeper.ts";
import { ForbiddenError } from "../../src/kubernetes/errors.ts";
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
  // After a search ahead of the grant, the drain of the same request has no call left.
  const askedAt = clock.monotonic();
  await clock.pass(1);
  deepEqual(await callsOf(() => keeper.searchAhead(ID, askedAt)), ["list nodes"]);
  await clock.pass(200);
  deepEqual(await callsOf(() => keeper.drain({ ...hold, askedAt }, 1_000, never), "drained"), []);
  deepEqual(await callsOf(() => keeper.drain({ ...hold, askedAt: clock.monotonic() }, 1_000, never), "drained"), [
    "list nodes",
  ]);
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

Deno.test("a grant waits for the search ahead of it for 250 ms, and is told of its failure", async () => {
  const clock = new IdleClock();
  const cluster = new FakeCluster(clock);
  await using keeper = new KubernetesNodeKeeper(cluster.client, {
    readHolder: () => Promise.resolve(undefined),
    log: { info() {}, warning() {}, error() {} },
  });
  keeper.run();
  await clock.pass(1);
  const hold: Hold = { group: parseGroup("default")!, id: ID, since: clock.now(), node: undefined };
  const began = clock.monotonic();
  await clock.pass(1);
  const gate = Promise.withResolvers<void>();
  cluster.hook = (call, when) => call === "list nodes" && when === "after" ? gate.promise : undefined;
  await clock.until(keeper.searchAhead(ID, began));
  equal(clock.monotonic() - began, 251);
  // The drain waits for the same search, and tells when that began and ended.
  const draining = keeper.drain({ ...hold, askedAt: began }, 1_000, never);
  await clock.pass(100);
  gate.resolve();
  const outcome = await clock.until(draining);
  ok(outcome.kind === "drained");
  deepEqual([outcome.readAt, outcome.confirmedAt, outcome.endedAt], [began + 1, began + 1, clock.monotonic()]);
  equal(cluster.pages.length, 1);
  cluster.hook = () => {};
  cluster.denied.add("list nodes");
  await rejects(clock.until(keeper.searchAhead(ID, clock.monotonic())), ForbiddenError);
  // One that fails after the wait fails the drain.
  const askedAt = clock.monotonic();
  await clock.pass(1);
  const late = Promise.withResolvers<void>();
  cluster.hook = (call, when) => call === "list nodes" && when === "before" ? late.promise : undefined;
  await clock.until(keeper.searchAhead(ID, askedAt));
  const failing = rejects(keeper.drain({ ...hold, askedAt }, 1_000, never), ForbiddenError);
  late.resolve();
  await clock.until(failing);
  await clock.until(keeper[Symbol.asyncDispose]());
});
