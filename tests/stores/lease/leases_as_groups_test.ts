/** Which Leases are groups: in lists, in a watch, and where they are read and written. The calls are a fake. @module */

import type { V1Lease } from "@kubernetes/client-node/dist/gen/models/V1Lease.js";
import { deepEqual, equal } from "node:assert/strict";
import type { ResourceWatcher } from "../../../src/kubernetes/watch.ts";
import { parseGroup } from "../../../src/lock/identity.ts";
import { ABSENT, type Versioned } from "../../../src/lock/lock_store.ts";
import type { Leases } from "../../../src/stores/lease/leases.ts";
import { LeaseLockStore } from "../../../src/stores/lease/store.ts";

const group = parseGroup("default")!;

function lease(name: string, resourceVersion: string, more: Partial<V1Lease["metadata"]> = {}, holderIdentity = "a") {
  return { metadata: { name, namespace: "ns", resourceVersion, ...more }, spec: { holderIdentity } } as V1Lease;
}

const OURS = lease("fleetlock-default", "5");
const ENCODED = lease("fleetlock.x-57orkers", "6");
const THEIRS = lease("leader", "7");
const DRAIN_RECORD = lease("fleetlock-drain-node-1", "8", {}, "done");

/** A store over calls that a test scripts. Calls that it does not script fail. */
function storeOver(calls: Partial<Leases>): LeaseLockStore {
  return new LeaseLockStore({ namespace: "ns", ...calls } as Leases);
}

const told = (found: Versioned) => [found.version, found.state.holders.map(({ id }) => id), found.ending];

Deno.test("Lease store: a list has the Leases that are groups, by their groups, and the version of the list", async () => {
  const signal = new AbortController().signal;
  const store = storeOver({
    list(given) {
      equal(given, signal);
      return Promise.resolve({ items: [OURS, THEIRS, DRAIN_RECORD, ENCODED], resourceVersion: "9" });
    },
  });
  const { groups, version } = await store.list({ signal });
  equal(version, 9);
  deepEqual([...groups].map(([name, found]) => [name, ...told(found)]), [
    ["default", 5, ["a"], undefined],
    ["Workers", 6, ["a"], undefined],
  ]);
});

Deno.test("Lease store: a watch tells the changes of the Leases that are groups, and what is deleted as absent", async () => {
  const events: unknown[][] = [];
  const stop = new AbortController();
  let watcher: ResourceWatcher<V1Lease> | undefined;
  const store = storeOver({
    watch(given, signal) {
      equal(signal, stop.signal);
      watcher = given;
      return Promise.resolve();
    },
  });
  await store.watch({
    synced: ({ groups, version }) => void events.push(["synced", [...groups.keys()], version]),
    changed: (name, found, version) => void events.push(["changed", name, ...told(found), version]),
    lost: (reason) => void events.push(["lost", reason]),
  }, stop.signal);
  watcher!.synced([OURS, THEIRS], "9");
  watcher!.changed("ADDED", ENCODED);
  watcher!.changed("MODIFIED", lease("fleetlock-default", "10", {}, "b"));
  watcher!.changed("MODIFIED", THEIRS);
  watcher!.changed("MODIFIED", lease("fleetlock-drain-node-1", "11", {}, "done"));
  watcher!.changed("DELETED", lease("fleetlock-default", "12", {}, "b"));
  watcher!.lost("away");
  deepEqual(events, [
    ["synced", ["default"], 9],
    ["changed", "Workers", 6, ["a"], undefined, 6],
    ["changed", "default", 10, ["b"], undefined, 10],
    ["changed", "drain-node-1", 0, [], undefined, 11],
    ["changed", "default", 0, [], undefined, 12],
    ["lost", "away"],
  ]);
});

Deno.test("Lease store: a read tells whether the Lease is being deleted, and with which finalizers", async () => {
  const found = new Map([
    ["fleetlock-default", lease("fleetlock-default", "5", { deletionTimestamp: new Date(1) })],
    ["fleetlock-kept", lease("fleetlock-kept", "6", { deletionTimestamp: new Date(1), finalizers: ["example.com/f"] })],
  ]);
  const store = storeOver({ get: (name) => Promise.resolve(found.get(name)) });
  const ending = async (name: string) => (await store.read(parseGroup(name)!)).ending;
  deepEqual(await ending("default"), { object: "Lease ns/fleetlock-default", finalizers: [] });
  deepEqual(await ending("kept"), { object: "Lease ns/fleetlock-kept", finalizers: ["example.com/f"] });
  equal(await store.read(parseGroup("other")!), ABSENT);
});

Deno.test("Lease store: a group that is absent is created, another one replaced, and a conflict is told as one", async () => {
  const sent: unknown[][] = [];
  const answers: (V1Lease | "conflict")[] = [OURS, "conflict", OURS, "conflict"];
  const send = (call: string) => (body: V1Lease) => {
    const { name, namespace, resourceVersion } = body.metadata!;
    sent.push([call, name, namespace, resourceVersion, body.spec!.holderIdentity]);
    return Promise.resolve(answers.shift()!);
  };
  const store = storeOver({ create: send("create"), replace: send("replace"), get: () => Promise.resolve(OURS) });
  const next = { holders: [], transitions: 1 };
  const base = await store.read(group);
  const results: (Versioned | "conflict")[] = [];
  for (const expected of [ABSENT, ABSENT, base, base]) results.push(await store.write(group, expected, next));
  deepEqual(results.map((each) => each === "conflict" ? each : each.version), [5, "conflict", 5, "conflict"]);
  deepEqual(sent, [
    ["create", "fleetlock-default", "ns", undefined, ""],
    ["create", "fleetlock-default", "ns", undefined, ""],
    ["replace", "fleetlock-default", "ns", "5", ""],
    ["replace", "fleetlock-default", "ns", "5", ""],
  ]);
  await store[Symbol.asyncDispose]();
});
